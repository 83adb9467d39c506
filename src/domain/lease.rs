//! How long a signed answer may stand for itself, when nobody can be asked (product.md §4).
//!
//! Invariant: a lease never lasts longer than [`LONGEST_MS`], and never past an end that the marketplace
//! has named plus [`PAST_THE_END_MS`].

use super::entitlement::{Policy, Reason, Verdict, grace_end};
use super::license::{Code, License};
use super::state::State;
use super::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};

/// The longest lease; a retired key stays known for as long.
pub const LONGEST_MS: i64 = DAY_MS;
/// A lease may outlast the code's end by so much: clocks differ, and software asks once in a while.
const PAST_THE_END_MS: i64 = 5 * MINUTE_MS;
/// A lease in the grace after an end: the end may be confirmed at any time, so it is short.
const IN_GRACE_MS: i64 = HOUR_MS;

/// What a lease says: that `code` may run from `from` until `until`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The subject.
    pub code: Code,
    /// Why it may run.
    pub reason: Reason,
    /// Its state.
    pub state: State,
    /// The end of the code, as answers show it.
    pub expires_at: Option<Timestamp>,
    /// When it was made: it holds from then on. A whole second, because the claim is one.
    pub from: Timestamp,
    /// When it ends; a whole second.
    pub until: Timestamp,
}

/// The claims of a lease made at `now`; `None` for every denial.
#[must_use]
pub fn claims(
    license: &License,
    reason: Reason,
    now: Timestamp,
    policy: &Policy,
) -> Option<Claims> {
    if reason.verdict() == Verdict::Deny {
        return None;
    }
    let longest = now.plus_ms(policy.lease_ms.clamp(0, LONGEST_MS));
    let until = match (reason, license.expiry) {
        (Reason::GraceUnconfirmed | Reason::GraceOffline, _) => {
            let end = grace_end(license, policy).unwrap_or(now);
            longest.min(now.plus_ms(IN_GRACE_MS)).min(end)
        }
        (_, Some(expiry)) => longest.min(expiry.latest().plus_ms(PAST_THE_END_MS)),
        (_, None) => longest,
    };
    Some(Claims {
        code: license.code.clone(),
        reason,
        state: license.state(),
        expires_at: license.expiry.map(|expiry| expiry.at),
        from: whole_second(now),
        until: whole_second(until),
    })
}

fn whole_second(at: Timestamp) -> Timestamp {
    at.plus_ms(-at.as_ms().rem_euclid(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entitlement::decide;
    use crate::domain::license::{Expiry, Standing};
    use crate::domain::state::Live;
    use crate::domain::time::DateText;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        DateText::parse(text).expect("a date").utc()
    }

    fn ending(text: Option<&str>) -> License {
        let mut license =
            License::issued(Code::parse("PL1").expect("a code"), at("20260101000000"));
        license.standing = Standing::Live(Live::Renewed);
        license.expiry = text.map(|text| {
            let text = DateText::parse(text).expect("a date");
            Expiry { text, at: text.utc() }
        });
        license
    }

    fn lasts(license: &License, now: Timestamp) -> Option<i64> {
        let policy = Policy::default();
        let reason = decide(Some(license), now, &policy);
        claims(license, reason, now, &policy).map(|claims| claims.until.ms_since(claims.from))
    }

    #[test]
    fn a_lease_lasts_a_day_but_ends_with_the_code() {
        let license = ending(Some("20270101000000"));
        assert_eq!(lasts(&license, at("20261001000000")), Some(DAY_MS));
        assert_eq!(lasts(&license, at("20261231235959")), Some(5 * MINUTE_MS + 1_000));
        // Past the end and unconfirmed: an hour, and the last one ends with the grace.
        assert_eq!(lasts(&license, at("20270101000000")), Some(HOUR_MS));
        assert_eq!(lasts(&license, at("20270103235900")), Some(MINUTE_MS));
        assert_eq!(lasts(&license, at("20270104000000")), None);
        assert_eq!(lasts(&ending(None), at("20990101000000")), Some(DAY_MS));
    }

    #[test]
    fn a_denial_has_no_lease() {
        let mut license = ending(Some("20270101000000"));
        for standing in [Standing::Released, Standing::Live(Live::Issued)] {
            license.standing = standing;
            assert_eq!(lasts(&license, at("20261001000000")), None);
        }
    }

    proptest! {
        #[test]
        fn no_lease_is_longer_than_a_day_or_outlasts_a_known_end(
            now_ms in 0i64..400 * DAY_MS, ttl_ms in 0i64..3 * DAY_MS, confirmed: bool,
        ) {
            let mut license = ending(Some("20270101000000"));
            let now = at("20260101000000").plus_ms(now_ms);
            license.end_confirmed_at = confirmed.then_some(now);
            let policy = Policy { lease_ms: ttl_ms, ..Policy::default() };
            let reason = decide(Some(&license), now, &policy);
            let Some(lease) = claims(&license, reason, now, &policy) else { return Ok(()) };
            prop_assert!(!confirmed);
            prop_assert!(lease.until.ms_since(lease.from) <= LONGEST_MS + 999);
            prop_assert!(lease.until <= now.plus_ms(LONGEST_MS));
            let end = license.expiry.expect("set above").latest();
            let last = if now < end { end.plus_ms(PAST_THE_END_MS) } else { grace_end(&license, &policy).expect("an end") };
            prop_assert!(lease.until <= last);
        }
    }
}
