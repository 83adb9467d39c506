//! The delisting clock: how many days in a row the marketplace's dial test has failed, as far as we know.
//!
//! Five failing days in a row freeze trading (protocol.md §6). Where the documents are silent the clock runs
//! early: a day with one failing half-day fails, and so do days of silence before the first failure, because
//! nobody was there to answer.

use super::dial_test::HalfDay;
use super::time::Timestamp;
use std::collections::BTreeMap;

/// After so many failing days in a row trading is frozen.
pub const FREEZES_AT: i64 = 5;
/// The clock is not believed beyond this: what is asked for is a number of days, not a date.
pub const DAYS_MAX: i64 = 365;

/// Who saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// The marketplace: one of its dial tests came here.
    Marketplace,
    /// Our own heartbeat.
    Ourselves,
}

/// Something that was seen of our availability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub witness: Witness,
    /// Whether it failed.
    pub failed: bool,
}

/// An operator's word, which counts for more than all evidence before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// When it was given.
    pub at: Timestamp,
    /// Failing days in a row, that day included.
    pub failing_days: i64,
}

/// Where the clock stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delisting {
    /// Failing days in a row.
    pub failing_days: i64,
    /// The first of them, a Beijing day counted from 1970-01-01.
    pub first_day: Option<i64>,
}

impl Delisting {
    /// When the first failing day began.
    #[must_use]
    pub fn since(self) -> Option<Timestamp> {
        let half = super::dial_test::Half::Morning;
        self.first_day.map(|day| HalfDay { day, half }.begins())
    }
}

/// What is known of one half-day.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    dialled: bool,
    dial_failed: bool,
    /// Our last heartbeat of it.
    ours: Option<(Timestamp, bool)>,
}

impl Seen {
    fn add(&mut self, evidence: &Evidence) {
        match evidence.witness {
            Witness::Marketplace => {
                self.dialled = true;
                self.dial_failed |= evidence.failed;
            }
            Witness::Ourselves => {
                if self.ours.is_none_or(|(at, _)| at <= evidence.at) {
                    self.ours = Some((evidence.at, evidence.failed));
                }
            }
        }
    }

    /// What the marketplace saw decides; without it, how our last heartbeat went: what was repaired within
    /// the half-day was repaired before the dial test.
    fn failed(self) -> bool {
        if self.dialled { self.dial_failed } else { self.ours.is_some_and(|(_, failed)| failed) }
    }
}

/// Where the clock stands after this evidence, which may come in any order.
#[must_use]
pub fn stand(evidence: &[Evidence], correction: Option<Correction>) -> Delisting {
    let mut halves: BTreeMap<HalfDay, Seen> = BTreeMap::new();
    let counts = |seen: &&Evidence| correction.is_none_or(|word| seen.at > word.at);
    for seen in evidence.iter().filter(counts) {
        halves.entry(HalfDay::of(seen.at)).or_default().add(seen);
    }
    let mut days: BTreeMap<i64, bool> = BTreeMap::new();
    for (half_day, seen) in halves {
        *days.entry(half_day.day).or_default() |= seen.failed();
    }
    let mut passed = None;
    let mut failing: Option<(i64, i64)> = None;
    if let Some(word) = correction {
        let day = word.at.beijing_day();
        if word.failing_days > 0 {
            failing = Some((day - word.failing_days + 1, day));
            // The word is of the whole day: that it went better later does not undo it.
            if days.get(&day) == Some(&false) {
                days.remove(&day);
            }
        } else {
            passed = Some(day);
        }
    }
    for (day, failed) in days {
        if failed {
            // A good word of this same day does not make its evening good.
            let after = passed.map_or(day, |last| (last + 1).min(day));
            let first = failing.map_or(after, |(first, _)| first);
            failing = Some((first, day));
        } else {
            (failing, passed) = (None, Some(day));
        }
    }
    failing.map_or_else(Delisting::default, |(first, last)| Delisting {
        failing_days: (last - first + 1).min(DAYS_MAX),
        first_day: Some(first),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dial_test::Half;
    use crate::domain::time::{DAY_MS, HOUR_MS};
    use proptest::prelude::*;

    /// An instant of day 100 and the days after, by its hour in Beijing.
    fn at(day: i64, hour: i64) -> Timestamp {
        HalfDay { day: 100 + day, half: Half::Morning }.begins().plus_ms(hour * HOUR_MS)
    }

    fn ours(day: i64, hour: i64, failed: bool) -> Evidence {
        Evidence { at: at(day, hour), witness: Witness::Ourselves, failed }
    }

    fn theirs(day: i64, hour: i64, failed: bool) -> Evidence {
        Evidence { at: at(day, hour), witness: Witness::Marketplace, failed }
    }

    fn days(evidence: &[Evidence]) -> i64 {
        stand(evidence, None).failing_days
    }

    #[test]
    fn days_in_a_row_are_counted_and_one_good_day_ends_them() {
        let mut seen = vec![ours(0, 8, false)];
        for day in 1..=4 {
            seen.push(ours(day, 8, true));
            assert_eq!(days(&seen), day);
        }
        assert_eq!(stand(&seen, None).since(), Some(at(1, 0)));
        seen.push(ours(5, 8, false));
        assert_eq!(stand(&seen, None), Delisting::default());
    }

    #[test]
    fn what_is_repaired_before_the_dial_test_did_not_fail() {
        assert_eq!(days(&[ours(0, 8, true), ours(0, 9, false)]), 0);
        assert_eq!(days(&[ours(0, 8, true), theirs(0, 9, false)]), 0);
        assert_eq!(days(&[ours(0, 8, true), ours(0, 13, false)]), 1, "the morning is lost");
        assert_eq!(days(&[ours(0, 8, false), theirs(0, 9, true), ours(0, 10, false)]), 1);
    }

    #[test]
    fn days_of_silence_before_a_failure_fail() {
        assert_eq!(days(&[ours(0, 13, false), ours(4, 8, true)]), 4);
        assert_eq!(days(&[ours(4, 8, true)]), 1, "there is no day before the first");
        assert_eq!(days(&[ours(0, 8, true), ours(3, 8, true)]), 4);
        assert_eq!(days(&[ours(0, 13, false), ours(4, 8, false)]), 0);
    }

    #[test]
    fn an_operator_knows_better() {
        let seen = [ours(0, 8, true), ours(1, 8, true), ours(2, 8, true)];
        let word = |day, hour, failing_days| Some(Correction { at: at(day, hour), failing_days });
        assert_eq!(stand(&seen, word(2, 9, 0)), Delisting::default());
        assert_eq!(stand(&seen, word(2, 9, 1)).failing_days, 1);
        assert_eq!(stand(&seen, word(1, 9, 0)).failing_days, 1, "and what came after counts");
        assert_eq!(stand(&seen, word(1, 9, 4)).failing_days, 5);
        let later = [ours(2, 13, false)];
        assert_eq!(stand(&later, word(2, 9, 3)).failing_days, 3, "this day is told already");
        assert_eq!(stand(&[ours(2, 13, true)], word(2, 9, 0)).failing_days, 1);
        assert_eq!(stand(&[ours(3, 8, false)], word(2, 9, 3)).failing_days, 0);
    }

    /// The rule once more, one day after the other and backwards.
    fn naive(evidence: &[Evidence]) -> i64 {
        let verdict = |day: i64| {
            let halves = Half::ALL.map(|half| {
                let half_day = HalfDay { day, half };
                let of_half = evidence.iter().filter(|seen| HalfDay::of(seen.at) == half_day);
                let (dialled, own): (Vec<&Evidence>, Vec<&Evidence>) =
                    of_half.partition(|seen| seen.witness == Witness::Marketplace);
                if dialled.is_empty() {
                    own.iter().max_by_key(|seen| seen.at).map(|seen| seen.failed)
                } else {
                    Some(dialled.iter().any(|seen| seen.failed))
                }
            });
            halves.into_iter().flatten().reduce(|one, other| one || other)
        };
        let Some(last) = (100..=130).rev().find(|day| verdict(*day).is_some()) else { return 0 };
        let Some(true) = verdict(last) else { return 0 };
        let before = (100..last).rev().find(|day| verdict(*day) == Some(false));
        let first = before.map(|day| day + 1);
        let first = first.or_else(|| (100..=last).find(|day| verdict(*day).is_some()));
        last - first.unwrap_or(last) + 1
    }

    prop_compose! {
        fn any_evidence()(
            minute in 0_i64..30 * 24 * 60, marketplace: bool, failed: bool,
        ) -> Evidence {
            let witness = if marketplace { Witness::Marketplace } else { Witness::Ourselves };
            Evidence { at: at(0, 0).plus_ms(minute * 60_000), witness, failed }
        }
    }

    proptest! {
        #[test]
        fn the_clock_is_the_naive_count(mut seen in prop::collection::vec(any_evidence(), 0..60)) {
            seen.sort_by_key(|seen| seen.at);
            seen.dedup_by_key(|seen| seen.at);
            prop_assert_eq!(days(&seen), naive(&seen));
        }

        #[test]
        fn its_order_does_not_matter_and_a_good_new_day_ends_it(
            seen in prop::collection::vec(any_evidence(), 0..40),
        ) {
            let mut apart = seen.clone();
            apart.sort_by_key(|seen| seen.at);
            apart.dedup_by_key(|seen| seen.at);
            let backwards: Vec<_> = apart.iter().rev().copied().collect();
            prop_assert_eq!(days(&apart), days(&backwards));
            let later = at(40, 8);
            let good = Evidence { at: later, witness: Witness::Ourselves, failed: false };
            let bad = Evidence { failed: true, ..good };
            let with = |one| apart.iter().copied().chain([one]).collect::<Vec<_>>();
            prop_assert_eq!(days(&with(good)), 0);
            prop_assert!(days(&with(bad)) > days(&apart).min(DAYS_MAX - 1));
            let cleared = Correction { at: later.plus_ms(DAY_MS), failing_days: 0 };
            prop_assert_eq!(stand(&with(bad), Some(cleared)).failing_days, 0);
        }
    }
}
