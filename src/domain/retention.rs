//! When what is known of a code may be forgotten.
//!
//! Invariant: in the fifteen days after a freeze began, whatever the settings, nothing of a code is forgotten
//! that is not fifteen days older than it need be: the buyer may still renew, and the merchant must have kept
//! the data (protocol.md 4.5). What is older goes in any case, because a chain has no holes: one code that is
//! frozen again and again would keep the records of all.

use super::time::{DAY_MS, Timestamp};

/// The freeze period that a merchant must provide.
pub const FREEZE_KEEPS_MS: i64 = 15 * DAY_MS;

/// Whether a record made at `made_at` may be forgotten, if records are kept for `keep_days` and a freeze
/// of its code last began at `frozen_at`.
#[must_use]
pub fn may_go(
    made_at: Timestamp,
    keep_days: i64,
    frozen_at: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let (kept_from, kept_longest) = {
        let kept = now.plus_ms(-keep_days.saturating_mul(DAY_MS));
        (kept, kept.plus_ms(-FREEZE_KEEPS_MS))
    };
    made_at < kept_longest
        || made_at < kept_from
            && frozen_at.is_none_or(|frozen_at| frozen_at < freezes_that_keep(now))
}

/// Freezes that began at or after this keep the data of their codes.
#[must_use]
pub const fn freezes_that_keep(now: Timestamp) -> Timestamp {
    now.plus_ms(-FREEZE_KEEPS_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    fn before(ms: i64) -> Timestamp {
        NOW.plus_ms(-ms)
    }

    proptest! {
        #[test]
        fn a_freeze_keeps_everything_for_fifteen_days(
            age in 0..400 * DAY_MS,
            keep_days in 0..400_i64,
            frozen in 0..=FREEZE_KEEPS_MS,
        ) {
            let too_old = age > keep_days * DAY_MS + FREEZE_KEEPS_MS;
            prop_assert_eq!(may_go(before(age), keep_days, Some(before(frozen)), NOW), too_old);
        }

        #[test]
        fn else_the_settings_hold(
            age in 0..400 * DAY_MS,
            keep_days in 0..400_i64,
            longer in 1..400 * DAY_MS,
        ) {
            let old = age > keep_days * DAY_MS;
            prop_assert_eq!(may_go(before(age), keep_days, None, NOW), old);
            let over = Some(before(FREEZE_KEEPS_MS + longer));
            prop_assert_eq!(may_go(before(age), keep_days, over, NOW), old);
        }
    }
}
