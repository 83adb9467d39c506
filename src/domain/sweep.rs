//! When a code is to be compared with the marketplace: daily in use, more often when something happened
//! or is about to, weekly otherwise (product.md §5).
//!
//! Invariant: it follows from the row alone, so a sweep that was broken off goes on where it matters.

use super::license::License;
use super::state::State;
use super::time::{DAY_MS, HOUR_MS, Timestamp};

/// How often a sweep begins.
pub const EVERY_MS: i64 = 6 * HOUR_MS;
/// What falls due before the middle between two sweeps is asked in the first of them: codes that were
/// asked late in their sweep would miss every other one.
const HALF_MS: i64 = EVERY_MS / 2;
/// The age of an answer about a code that is watched: every sweep.
const WATCHED_MS: i64 = EVERY_MS - HALF_MS;
/// The same for a code in use: every day.
const IN_USE_MS: i64 = DAY_MS - HALF_MS;
/// The same for every other: within the week, even if its sweep takes a day.
const OTHERS_MS: i64 = 6 * DAY_MS;
/// How long before and after its end, and after a change, a code is watched.
const NEAR_MS: i64 = 72 * HOUR_MS;

/// Whether a code is to be compared now. Before `deaf_until` calls may have been missed.
#[must_use]
pub fn is_due(license: &License, deaf_until: Option<Timestamp>, now: Timestamp) -> bool {
    let Some(asked_at) = license.marketplace_checked_at else {
        return true;
    };
    let age = match license.state() {
        State::Released => return now.ms_since(asked_at) >= OTHERS_MS,
        State::Activated | State::Renewed | State::Frozen | State::Issued | State::Received
            if is_watched(license, now) =>
        {
            WATCHED_MS
        }
        State::Activated | State::Renewed | State::Frozen => IN_USE_MS,
        State::Issued | State::Received => OTHERS_MS,
    };
    deaf_until.is_some_and(|until| asked_at < until) || now.ms_since(asked_at) >= age
}

/// Whether a code is near its end, or changed a short while ago: such codes are compared first.
#[must_use]
pub fn is_watched(license: &License, now: Timestamp) -> bool {
    let near_end = license.expiry.is_some_and(|expiry| {
        expiry.earliest().ms_since(now) < NEAR_MS && now.ms_since(expiry.latest()) < NEAR_MS
    });
    let changed = [license.callback_at, license.activated_at, license.end_confirmed_at];
    let just_changed = changed.into_iter().flatten().any(|at| now.ms_since(at) < NEAR_MS);
    license.state() != State::Released && (near_end || just_changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::license::{Code, Expiry, Standing};
    use crate::domain::state::Live;
    use crate::domain::time::DateText;

    const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    fn license(standing: Standing) -> License {
        let mut license = License::issued(Code::parse("PL1").expect("a code"), NOW);
        (license.standing, license.marketplace_checked_at) = (standing, Some(NOW));
        license
    }

    fn in_use() -> License {
        license(Standing::Live(Live::Activated))
    }

    fn ending(at: Timestamp) -> License {
        let text = DateText::from_utc(at);
        License { expiry: Some(Expiry { text, at: text.utc() }), ..in_use() }
    }

    /// The first of the sweeps after the answer that asks again.
    fn asked_again(license: &License) -> Option<i64> {
        (1..=60).find(|n| is_due(license, None, NOW.plus_ms(n * EVERY_MS)))
    }

    #[test]
    fn a_code_is_asked_as_often_as_it_matters() {
        assert_eq!(asked_again(&in_use()), Some(4), "daily");
        assert_eq!(asked_again(&ending(NOW.plus_ms(90 * DAY_MS))), Some(4));
        for near in [2, 1, 0, -1, -2] {
            assert_eq!(asked_again(&ending(NOW.plus_ms(near * DAY_MS))), Some(1), "{near}");
        }
        assert_eq!(asked_again(&ending(NOW.plus_ms(-4 * DAY_MS))), Some(4), "long over");
        for standing in [Standing::Live(Live::Issued), Standing::Released] {
            assert_eq!(asked_again(&license(standing)), Some(24), "{standing:?}");
        }
        let never = License { marketplace_checked_at: None, ..in_use() };
        assert!(is_due(&never, None, NOW));
    }

    #[test]
    fn each_kind_of_change_is_watched_for_three_days() {
        let changed = [
            License { callback_at: Some(NOW), ..in_use() },
            License { activated_at: Some(NOW), ..in_use() },
            License { end_confirmed_at: Some(NOW), ..in_use() },
            License { callback_at: Some(NOW), ..license(Standing::Live(Live::Issued)) },
        ];
        for license in changed {
            assert_eq!(asked_again(&license), Some(1), "{license:?}");
            assert!(is_watched(&license, NOW.plus_ms(NEAR_MS - 1)));
            assert!(!is_watched(&license, NOW.plus_ms(NEAR_MS)));
        }
        let over = License { callback_at: Some(NOW), ..license(Standing::Released) };
        assert!(!is_watched(&over, NOW), "nothing can come any more");
    }

    #[test]
    fn a_code_that_was_asked_late_in_its_sweep_does_not_miss_the_next() {
        let late = NOW.plus_ms(2 * HOUR_MS);
        let watched = License { callback_at: Some(late), ..in_use() };
        let watched = License { marketplace_checked_at: Some(late), ..watched };
        assert!(is_due(&watched, None, NOW.plus_ms(EVERY_MS)));
        let daily = License { marketplace_checked_at: Some(late), ..in_use() };
        assert!(is_due(&daily, None, NOW.plus_ms(DAY_MS)));
        assert!(!is_due(&watched, None, late.plus_ms(HOUR_MS)), "a restart does not ask again");
    }

    #[test]
    fn after_a_gap_everything_is_due_but_what_is_over() {
        let gap = Some(NOW.plus_ms(1));
        assert!(is_due(&in_use(), gap, NOW));
        assert!(is_due(&license(Standing::Live(Live::Issued)), gap, NOW));
        assert!(!is_due(&license(Standing::Released), gap, NOW));
        assert!(!is_due(&in_use(), Some(NOW), NOW), "asked after the gap");
    }
}
