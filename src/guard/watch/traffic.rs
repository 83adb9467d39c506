//! What the callbacks themselves show: how many of them are refused, and how far their clock is from ours.

use super::alarm;
use crate::domain::time::{DAY_MS, MINUTE_MS, Timestamp};
use crate::guard::alarms::{Alarm, Severity};

/// Refusals are counted over so many minutes.
const MINUTES: usize = 10;
/// Fewer refusals than this are no trouble, whatever their share.
const REFUSED_MIN: u32 = 10;
/// The share of refused callbacks that is told, in percent.
const REFUSED_PERCENT: u32 = 50;
/// So many calls must agree on a skew: one may have been held up on its way.
const SKEWS: usize = 5;
/// An older call says nothing of the clock now.
const SKEW_FRESH_MS: i64 = DAY_MS;

/// Counts of the last minutes, and the skews of the last authentic calls.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    minutes: [Minute; MINUTES],
    skews: [Option<(Timestamp, i64)>; SKEWS],
    next_skew: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Minute {
    /// Counted from the epoch.
    number: i64,
    answered: u32,
    refused: u32,
}

impl Traffic {
    pub(super) fn answered(&mut self, at: Timestamp, refused: bool) {
        let number = at.as_ms().div_euclid(MINUTE_MS);
        let place = usize::try_from(number.rem_euclid(10)).unwrap_or(0) % MINUTES;
        let minute = &mut self.minutes[place];
        if minute.number != number {
            *minute = Minute { number, ..Minute::default() };
        }
        minute.answered = minute.answered.saturating_add(1);
        minute.refused = minute.refused.saturating_add(u32::from(refused));
    }

    pub(super) fn authentic(&mut self, at: Timestamp, skew_ms: i64) {
        self.skews[self.next_skew] = Some((at, skew_ms));
        self.next_skew = (self.next_skew + 1) % SKEWS;
    }

    /// The least skew of the last calls, once there are enough of them: what all of them show.
    pub(super) fn skew_ms(&self, now: Timestamp) -> Option<i64> {
        let fresh = |(at, _): &(Timestamp, i64)| now.ms_since(*at) < SKEW_FRESH_MS;
        let skews: Vec<i64> =
            self.skews.iter().flatten().filter(|seen| fresh(seen)).map(|(_, skew)| *skew).collect();
        if skews.len() < SKEWS {
            return None;
        }
        skews.into_iter().min_by_key(|skew| skew.saturating_abs())
    }

    /// Refused and answered callbacks of the last ten minutes.
    fn counts(&self, now: Timestamp) -> (u32, u32) {
        let number = now.as_ms().div_euclid(MINUTE_MS);
        let within = |minute: &&Minute| (0..10).contains(&(number - minute.number));
        self.minutes.iter().filter(within).fold((0, 0), |(refused, answered), minute| {
            (refused + minute.refused, answered + minute.answered)
        })
    }

    /// The share of refused callbacks, 0 when there were none.
    pub(super) fn refused_share(&self, now: Timestamp) -> f64 {
        let (refused, answered) = self.counts(now);
        f64::from(refused) / f64::from(answered.max(1))
    }

    pub(super) fn alarm(&self, now: Timestamp) -> Option<Alarm> {
        let (refused, answered) = self.counts(now);
        let many = u64::from(refused) * 100 >= u64::from(answered) * u64::from(REFUSED_PERCENT);
        let text =
            format!("{refused} of {answered} callbacks of the last ten minutes were refused");
        let what_to_do = "see `authcoded callback list --verdict refused` and the alarms of kind `signature`; if it is a stranger, limit the rate at the proxy";
        (refused >= REFUSED_MIN && many)
            .then(|| alarm("refusals", Severity::Warning, now, text, what_to_do))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    #[test]
    fn half_of_at_least_twenty_within_ten_minutes_is_told() {
        for (refused, taken, told) in
            [(9, 0, false), (10, 10, true), (10, 11, false), (99, 0, true)]
        {
            let mut traffic = Traffic::default();
            (0..refused).for_each(|_| traffic.answered(NOW, true));
            (0..taken).for_each(|_| traffic.answered(NOW, false));
            assert_eq!(traffic.alarm(NOW).is_some(), told, "{refused} {taken}");
            assert!(traffic.alarm(NOW.plus_ms(10 * MINUTE_MS)).is_none(), "it goes by itself");
        }
    }

    #[test]
    fn one_call_that_was_held_up_shows_no_skew() {
        let mut traffic = Traffic::default();
        (0..4).for_each(|_| traffic.authentic(NOW, 50_000));
        assert_eq!(traffic.skew_ms(NOW), None);
        traffic.authentic(NOW, 300);
        assert_eq!(traffic.skew_ms(NOW), Some(300));
        (0..5).for_each(|n| traffic.authentic(NOW, -30_000 - n));
        assert_eq!(traffic.skew_ms(NOW), Some(-30_000));
        assert_eq!(traffic.skew_ms(NOW.plus_ms(SKEW_FRESH_MS)), None);
    }

    proptest! {
        #[test]
        fn the_counts_are_those_of_the_last_ten_minutes(
            calls in proptest::collection::vec((0i64..2_000_000, any::<bool>()), 0..200),
        ) {
            let mut calls = calls;
            calls.sort_unstable();
            let mut traffic = Traffic::default();
            for (ms, refused) in &calls {
                traffic.answered(NOW.plus_ms(*ms), *refused);
            }
            let end = NOW.plus_ms(calls.last().map_or(0, |(ms, _)| *ms));
            let from = (end.as_ms().div_euclid(MINUTE_MS) - 9) * MINUTE_MS;
            let late = calls.iter().filter(|(ms, _)| NOW.plus_ms(*ms).as_ms() >= from);
            let (refused, all) = late.fold((0, 0), |(r, a), (_, refused)| (r + u32::from(*refused), a + 1));
            prop_assert_eq!(traffic.counts(end), (refused, all));
        }
    }
}
