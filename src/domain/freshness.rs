//! How long an answer to the software stays the same while its row does (product.md §4).
//!
//! Invariant: within that time the decision, the days left, the wish to ask the marketplace and what a lease
//! says are those of a new answer, and its lease ends no later than a new one would.

use super::entitlement::{ASK_AGAIN_MS, Policy, ask_first, decide, grace_end};
use super::lease::claims;
use super::license::License;
use super::time::{DAY_MS, MINUTE_MS, Timestamp};

/// An answer is given again for so long at most: its lease should last about as long as a new one.
const LONGEST_MS: i64 = 5 * MINUTE_MS;

/// The first instant after `now` at which the answer of `now` could be another one; `None` if it must not be
/// given again at all, because the marketplace is to be asked before ([`ask_first`], also for `restored_at`).
#[must_use]
pub fn fresh_until(
    license: &License,
    now: Timestamp,
    policy: &Policy,
    restored_at: Option<Timestamp>,
) -> Option<Timestamp> {
    let reason = decide(Some(license), now, policy);
    if ask_first(license, now, reason, restored_at) {
        return None;
    }
    let turns = [
        license.expiry.map(|expiry| expiry.earliest().plus_ms(-policy.expiring_ms)),
        license.expiry.map(|expiry| expiry.latest()),
        grace_end(license, policy),
        day_less(license, now),
        license.ask_failed_at.map(|at| at.plus_ms(ASK_AGAIN_MS)),
        Some(Timestamp::start_of_beijing_day(now.beijing_day().saturating_add(1))),
    ];
    let lease_end = claims(license, reason, now, policy).map(|claims| claims.until);
    let until = turns
        .into_iter()
        .flatten()
        .filter(|turn| *turn > now)
        .chain(lease_end)
        .fold(now.plus_ms(LONGEST_MS), Timestamp::min);
    (until > now).then_some(until)
}

/// When there will be one whole day less until the expiry.
fn day_less(license: &License, now: Timestamp) -> Option<Timestamp> {
    let left = license.expiry?.at.ms_since(now);
    (left > 0).then(|| now.plus_ms(left % DAY_MS + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entitlement::{Reason, days_left};
    use crate::domain::license::{Code, Expiry, Freeze, MarketplaceStatus, Standing};
    use crate::domain::state::Live;
    use crate::domain::time::{DateText, HOUR_MS, SECOND_MS};
    use proptest::prelude::*;

    /// The end of the code that the tests are about.
    fn end() -> Timestamp {
        DateText::parse("20270601000000").expect("a date").utc()
    }

    fn activated() -> License {
        let mut license =
            License::issued(Code::parse("PL1").expect("a code"), end().plus_ms(-300 * DAY_MS));
        license.standing = Standing::Live(Live::Activated);
        license.expiry = Some(Expiry { text: DateText::from_utc(end()), at: end() });
        license
    }

    /// What an answer says of its time, without the lease's own times.
    fn says(
        license: &License,
        now: Timestamp,
        policy: &Policy,
        restored_at: Option<Timestamp>,
    ) -> (Reason, Option<i64>, bool) {
        let reason = decide(Some(license), now, policy);
        (reason, days_left(license, now), ask_first(license, now, reason, restored_at))
    }

    #[test]
    fn an_answer_stands_until_the_first_turn() {
        let policy = Policy::default();
        let fresh = |license: &License, now: Timestamp| {
            fresh_until(license, now, &policy, None).map(|until| until.ms_since(now))
        };
        let mut license = activated();
        let checked_at = |license: &mut License, at| license.marketplace_checked_at = Some(at);
        let noon = end().plus_ms(-30 * DAY_MS - 12 * HOUR_MS);
        assert_eq!(fresh(&license, noon), None, "the day's first use asks");
        checked_at(&mut license, noon.plus_ms(-SECOND_MS));
        assert_eq!(fresh(&license, noon), Some(LONGEST_MS));
        let restored_at = Some(noon);
        assert_eq!(
            fresh_until(&license, noon, &policy, restored_at),
            None,
            "a backup was put back"
        );
        license.ask_failed_at = Some(noon.plus_ms(-SECOND_MS));
        assert_eq!(fresh(&license, noon), Some(ASK_AGAIN_MS - SECOND_MS));
        license.ask_failed_at = None;
        let before = |turn: Timestamp| turn.plus_ms(-SECOND_MS);
        // A Beijing day begins at 16:00 UTC.
        let midnight = end().plus_ms(-10 * DAY_MS - 8 * HOUR_MS);
        for (turn, after) in [(midnight, 0), (end().plus_ms(-20 * DAY_MS), 1), (end(), 0)] {
            checked_at(&mut license, before(turn));
            assert_eq!(fresh(&license, before(turn)), Some(SECOND_MS + after), "{turn}");
        }
        checked_at(&mut license, end());
        let grace_end = end().plus_ms(policy.grace_ms);
        checked_at(&mut license, before(grace_end));
        assert_eq!(fresh(&license, before(grace_end)), Some(SECOND_MS));
        let no_leases = Policy { lease_ms: 0, ..policy };
        checked_at(&mut license, noon);
        assert_eq!(fresh_until(&license, noon, &no_leases, None), None, "its lease has ended");
    }

    prop_compose! {
        /// An instant around the end: near it, near a turn of a day, or anywhere.
        fn instant()(day in -12i64..8, hour in 0i64..24, ms in prop_oneof![-2i64..3, 0i64..HOUR_MS]) -> Timestamp {
            end().plus_ms(day * DAY_MS + hour * HOUR_MS + ms)
        }
    }

    fn standing() -> impl Strategy<Value = Standing> {
        let freeze = Freeze {
            since: end(),
            applied_at: end(),
            from: Live::Activated,
            expiry_then: Some(end()),
        };
        prop_oneof![
            6 => Just(Standing::Live(Live::Activated)),
            2 => Just(Standing::Live(Live::Renewed)),
            1 => Just(Standing::Live(Live::Received)),
            1 => Just(Standing::Frozen(freeze)),
            1 => Just(Standing::Released),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn within_its_time_an_answer_is_what_a_new_one_would_be(
            standing in standing(),
            expires in any::<bool>(),
            in_beijing in any::<bool>(),
            confirmed_at in proptest::option::weighted(0.2, instant()),
            checked_at in proptest::option::weighted(0.9, instant()),
            failed_at in proptest::option::weighted(0.4, instant()),
            restored_at in proptest::option::weighted(0.2, instant()),
            alive in any::<bool>(),
            now in instant(),
            asked_just_now in any::<bool>(),
            later in 0.0f64..1.0,
            grace_ms in 0i64..4 * DAY_MS,
            lease_ms in 0i64..2 * DAY_MS,
        ) {
            let mut license = activated();
            license.standing = standing;
            if !expires {
                license.expiry = None;
            } else if in_beijing {
                let text = DateText::from_utc(end());
                license.expiry = Some(Expiry { text, at: text.beijing() });
            }
            license.end_confirmed_at = confirmed_at;
            license.marketplace_checked_at = if asked_just_now { Some(now) } else { checked_at };
            license.ask_failed_at = failed_at;
            if alive {
                license.marketplace_status = MarketplaceStatus::Alive;
            }
            let policy = Policy { grace_ms, lease_ms, ..Policy::default() };
            let Some(until) = fresh_until(&license, now, &policy, restored_at) else { return Ok(()) };
            prop_assert!(until > now && until <= now.plus_ms(LONGEST_MS));
            let first = says(&license, now, &policy, restored_at);
            prop_assert!(!first.2);
            let leased = claims(&license, first.0, now, &policy);
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "minutes")]
            let within = ((until.ms_since(now) - 1) as f64 * later).round() as i64;
            for then in [now.plus_ms(within), until.plus_ms(-1)] {
                prop_assert_eq!(says(&license, then, &policy, restored_at), first, "at {}", then);
                let anew = claims(&license, first.0, then, &policy);
                prop_assert_eq!(leased.is_some(), anew.is_some());
                if let (Some(leased), Some(anew)) = (&leased, &anew) {
                    prop_assert!(leased.until > then && leased.until <= anew.until);
                    prop_assert!(leased.from <= then);
                }
            }
        }
    }
}
