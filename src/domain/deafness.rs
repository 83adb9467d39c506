//! Gaps in which we did not hear the marketplace: what may have been missed, and what shows that it was.
//!
//! Invariant: what a gap may have cost is never told smaller than it is. A call that was seen failing is
//! known by itself ([`super::retry_window`]); a gap speaks of those that were never seen.

use super::license::License;
use super::retry_window::{CALLBACK_SPAN_MS, RETRY_EVERY_MS};
use super::state::State;
use super::time::Timestamp;
use std::collections::BTreeSet;

/// Gaps nearer to each other are one: a call may have been tried in both and never between.
pub const TOGETHER_MS: i64 = 2 * RETRY_EVERY_MS;

/// Why we did not hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The daemon did not run.
    Down,
    /// It ran, but the machine slept or the clock jumped.
    Paused,
    /// Calls could not be stored, and were answered 000005.
    NotStored,
    /// Our clock was 60 s or more from the marketplace's: every call was refused as stale.
    Clock,
    /// Calls that name codes of ours were refused as not authentic, again and again: probably the key.
    NotAuthentic,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 5] =
        [Self::Down, Self::Paused, Self::NotStored, Self::Clock, Self::NotAuthentic];

    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Paused => "paused",
            Self::NotStored => "not_stored",
            Self::Clock => "clock",
            Self::NotAuthentic => "not_authentic",
        }
    }

    /// The cause that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }
}

/// A time in which calls may have been missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// When we last heard before it.
    pub from: Timestamp,
    /// When we heard again.
    pub until: Timestamp,
    /// Why.
    pub causes: BTreeSet<Cause>,
}

impl Gap {
    /// Both as one, when nothing lies between that would have let every call through.
    #[must_use]
    pub fn joined(&self, later: &Self) -> Option<Self> {
        (later.from.ms_since(self.until) <= TOGETHER_MS).then(|| Self {
            from: self.from.min(later.from),
            until: self.until.max(later.until),
            causes: self.causes.union(&later.causes).copied().collect(),
        })
    }

    /// Calls first made between these times were given up before it ended. A shorter gap has none: all that
    /// was tried in it is tried again behind it.
    #[must_use]
    pub fn given_up(&self) -> Option<(Timestamp, Timestamp)> {
        let last = self.until.plus_ms(-CALLBACK_SPAN_MS);
        (last >= self.from).then_some((self.from, last))
    }
}

/// A call that must have been made, because the marketplace holds what only it would have told us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Missed {
    /// The end moved away: a renewal.
    Renewal,
    /// The end came nearer: a renewal was given back.
    Unrenewal,
    /// The code is released.
    Release,
}

impl Missed {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Renewal, Self::Unrenewal, Self::Release];

    /// The scene on the wire, as restart lists show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Renewal => "RENEWAL",
            Self::Unrenewal => "UNSUBSCRIBE_RENEWAL_PERIOD",
            Self::Release => "RELEASE",
        }
    }

    /// The kind that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|missed| missed.as_str() == text)
    }

    /// What the first comparison after a gap shows, from the row before it and after. FREEZE and UNFREEZE leave no
    /// trace in an answer. A row that was never compared before shows nothing: its end was an estimate.
    #[must_use]
    pub fn between(before: &License, after: &License, gap_until: Timestamp) -> Option<Self> {
        let compared = before.marketplace_checked_at.filter(|at| *at < gap_until);
        if compared.is_none() || before.state() == State::Released {
            return None;
        }
        if after.state() == State::Released {
            return Some(Self::Release);
        }
        let (Some(was), Some(is)) = (before.expiry, after.expiry) else { return None };
        match is.at.ms_since(was.at) {
            0 => None,
            1.. => Some(Self::Renewal),
            _ => Some(Self::Unrenewal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::license::{Code, Expiry, Standing};
    use crate::domain::state::Live;
    use crate::domain::time::{DAY_MS, DateText, HOUR_MS, MINUTE_MS};
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    fn gap(from: i64, until: i64, cause: Cause) -> Gap {
        let (from, until) = (START.plus_ms(from), START.plus_ms(until));
        Gap { from, until, causes: BTreeSet::from([cause]) }
    }

    #[test]
    fn only_two_hours_cost_a_call() {
        assert_eq!(gap(0, 2 * HOUR_MS - 1, Cause::Down).given_up(), None);
        let long = gap(0, 3 * HOUR_MS, Cause::Down);
        assert_eq!(long.given_up(), Some((START, START.plus_ms(HOUR_MS))));
    }

    #[test]
    fn gaps_that_touch_are_one_with_both_causes() {
        let first = gap(0, 10 * MINUTE_MS, Cause::NotStored);
        let joined = first.joined(&gap(14 * MINUTE_MS, HOUR_MS, Cause::Down)).expect("one");
        assert_eq!((joined.from, joined.until), (START, START.plus_ms(HOUR_MS)));
        assert_eq!(joined.causes, BTreeSet::from([Cause::Down, Cause::NotStored]));
        assert_eq!(first.joined(&gap(14 * MINUTE_MS + 1, HOUR_MS, Cause::Down)), None);
    }

    #[test]
    fn an_answer_shows_the_call_that_was_missed() {
        let end = |days: i64| {
            let text = DateText::from_utc(START.plus_ms(days * DAY_MS));
            Some(Expiry { text, at: text.utc() })
        };
        let before = License {
            standing: Standing::Live(Live::Activated),
            expiry: end(30),
            marketplace_checked_at: Some(START),
            ..License::issued(Code::parse("PL1").expect("a code"), START)
        };
        let until = START.plus_ms(1);
        let with = |expiry| License { expiry, ..before.clone() };
        let seen = |after: &License| Missed::between(&before, after, until);
        assert_eq!(seen(&before), None);
        assert_eq!(seen(&with(end(60))), Some(Missed::Renewal));
        assert_eq!(seen(&with(end(7))), Some(Missed::Unrenewal));
        let over = License { standing: Standing::Released, ..before.clone() };
        assert_eq!(seen(&over), Some(Missed::Release));
        assert_eq!(Missed::between(&over, &over, until), None);
        assert_eq!(Missed::between(&before, &with(end(60)), START), None, "compared after the gap");
        let never = License { marketplace_checked_at: None, ..before.clone() };
        assert_eq!(Missed::between(&never, &with(end(60)), until), None, "an estimate");
    }

    proptest! {
        /// However an outage is cut into gaps, every call whose whole window lay in it is among those that are told.
        #[test]
        fn no_call_is_told_smaller_than_it_is(
            cuts in proptest::collection::vec((1..90 * MINUTE_MS, 0..=TOGETHER_MS), 1..12),
            began in 0..12 * HOUR_MS,
        ) {
            let mut whole: Option<Gap> = None;
            let mut at = 0;
            for (deaf, well) in cuts {
                let next = gap(at, at + deaf, Cause::Down);
                whole = match whole {
                    None => Some(next),
                    Some(so_far) => so_far.joined(&next),
                };
                at += deaf + well;
            }
            let whole = whole.expect("all of them touch");
            let began = START.plus_ms(began);
            if began >= whole.from && began.plus_ms(CALLBACK_SPAN_MS) <= whole.until {
                let (from, until) = whole.given_up().expect("two hours at least");
                prop_assert!(from <= began && began <= until);
            }
        }
    }
}
