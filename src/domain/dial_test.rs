//! The marketplace's dial test (拨测) as it is seen here: its half-days, its hours, and when one is missing.
//!
//! Half-days are Beijing's and halve its day at noon (protocol.md §6). What is seen is test traffic that is
//! not our own; that a person at the debug console sends the same is allowed for.

use super::time::{BEIJING_OFFSET_MS, DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};

/// The code of our own heartbeats: an id that no purchase has. Whatever names it is no dial test.
pub const PROBE_CODE: &str = "AUTHCODED-HEARTBEAT";

/// The marketplace's hours are learnt from this many days.
pub const LEARNT_FROM_DAYS: i64 = 14;
/// Our heartbeat runs this long before the earliest call of a dial test.
const AHEAD_MIN: u16 = 30;
/// The heartbeat's minute of the day while nothing is learnt: 08:00 and 13:00.
const UNLEARNT_MIN: [u16; 2] = [8 * 60, 13 * 60];
/// A first call that is earlier than all others by more than this was a person's.
const ALONE_MIN: u16 = 60;
/// Half-days that must have been seen before one of them may be called a person's.
const ALONE_AMONG: usize = 3;
/// A dial test is missed when it is later by this much than the latest that was seen.
const LATE_MS: i64 = HOUR_MS;
/// Where none was ever seen, none is missed before this.
const PATIENCE_MS: i64 = 3 * DAY_MS;
const HALF_MS: i64 = DAY_MS / 2;

/// A half of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Half {
    /// Until noon.
    Morning,
    /// From noon on.
    Afternoon,
}

impl Half {
    /// Both, the earlier first.
    pub const ALL: [Self; 2] = [Self::Morning, Self::Afternoon];

    /// The word used in columns, JSON and slots.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Morning => "morning",
            Self::Afternoon => "afternoon",
        }
    }

    /// The half that this word names.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|half| half.as_str() == word)
    }
}

/// Half a Beijing day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HalfDay {
    /// The day, counted from 1970-01-01.
    pub day: i64,
    /// Which half of it.
    pub half: Half,
}

impl HalfDay {
    /// The half-day that holds this instant.
    #[must_use]
    pub const fn of(at: Timestamp) -> Self {
        let in_day = at.as_ms().saturating_add(BEIJING_OFFSET_MS).rem_euclid(DAY_MS);
        let half = if in_day < HALF_MS { Half::Morning } else { Half::Afternoon };
        Self { day: at.beijing_day(), half }
    }

    /// Its first instant.
    #[must_use]
    pub const fn begins(self) -> Timestamp {
        let noon = match self.half {
            Half::Morning => 0,
            Half::Afternoon => HALF_MS,
        };
        Timestamp::from_ms(self.day.saturating_mul(DAY_MS) - BEIJING_OFFSET_MS).plus_ms(noon)
    }

    /// The one before it.
    #[must_use]
    pub const fn before(self) -> Self {
        match self.half {
            Half::Morning => Self { day: self.day - 1, half: Half::Afternoon },
            Half::Afternoon => Self { day: self.day, half: Half::Morning },
        }
    }
}

/// What came of the dial test of one half-day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialTest {
    /// The half-day.
    pub half_day: HalfDay,
    /// When its first call came.
    pub first_at: Timestamp,
    /// When its last call came.
    pub last_at: Timestamp,
    /// Its calls.
    pub calls: i64,
    /// When a call was last answered other than 000000, if one was.
    pub refused_at: Option<Timestamp>,
}

/// When dial tests begin in one half of the day: minutes of the Beijing day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The earliest first call.
    pub earliest: u16,
    /// The latest first call.
    pub latest: u16,
}

/// The marketplace's hours, as far as they are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Windows {
    /// Those before noon.
    pub morning: Option<Window>,
    /// Those after it.
    pub afternoon: Option<Window>,
}

impl Windows {
    /// Learns them from the dial tests of the last [`LEARNT_FROM_DAYS`] days before `now`.
    #[must_use]
    pub fn learn(seen: &[DialTest], now: Timestamp) -> Self {
        let since = now.beijing_day() - LEARNT_FROM_DAYS;
        let window = |half| {
            let seen = seen.iter().filter(|test| test.half_day.day > since);
            let of_half = seen.filter(|test| test.half_day.half == half);
            let mut minutes: Vec<u16> = of_half.map(|test| minute_of_day(test.first_at)).collect();
            minutes.sort_unstable();
            let alone = minutes.len() >= ALONE_AMONG && minutes[1] - minutes[0] > ALONE_MIN;
            let minutes = &minutes[usize::from(alone)..];
            Some(Window { earliest: *minutes.first()?, latest: *minutes.last()? })
        };
        Self { morning: window(Half::Morning), afternoon: window(Half::Afternoon) }
    }

    /// The hours in one half of the day.
    #[must_use]
    pub const fn of(&self, half: Half) -> Option<Window> {
        match half {
            Half::Morning => self.morning,
            Half::Afternoon => self.afternoon,
        }
    }

    /// The minute of the Beijing day at which our heartbeat runs, to be before the dial test of this half.
    #[must_use]
    pub fn heartbeat_minute(&self, half: Half) -> u16 {
        let unlearnt = UNLEARNT_MIN[usize::from(half == Half::Afternoon)];
        self.of(half).map_or(unlearnt, |window| window.earliest.saturating_sub(AHEAD_MIN))
    }
}

/// What is known for the question whether a dial test is missing.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// What was seen in the last days, in any order.
    pub seen: &'a [DialTest],
    /// Whether one was ever seen.
    pub ever: bool,
    /// Since when this installation has been there.
    pub installed: Timestamp,
    /// Since when we have been able to see one without a pause.
    pub up_since: Timestamp,
}

/// The half-day whose dial test should have been seen by now and was not.
#[must_use]
pub fn missing(watch: &Watch<'_>, now: Timestamp) -> Option<HalfDay> {
    if !watch.ever && now.ms_since(watch.installed) < PATIENCE_MS {
        return None;
    }
    let windows = Windows::learn(watch.seen, now);
    let was_seen = |half_day| watch.seen.iter().any(|test| test.half_day == half_day);
    let could_see = |half_day: HalfDay| {
        let earliest = windows.of(half_day.half).map_or(0, |window| window.earliest);
        watch.up_since <= half_day.begins_at(earliest)
    };
    let current = HalfDay::of(now);
    if was_seen(current) {
        return None;
    }
    let late = windows.of(current.half).is_some_and(|window| {
        let minute = current.begins_at(window.latest);
        now >= minute.plus_ms(LATE_MS)
    });
    let before = current.before();
    if late && could_see(current) {
        Some(current)
    } else {
        (!was_seen(before) && could_see(before)).then_some(before)
    }
}

impl HalfDay {
    /// When its Beijing day shows this minute; its own beginning if that is later.
    fn begins_at(self, minute: u16) -> Timestamp {
        let day = Self { day: self.day, half: Half::Morning }.begins();
        day.plus_ms(i64::from(minute) * MINUTE_MS).max(self.begins())
    }
}

fn minute_of_day(at: Timestamp) -> u16 {
    let in_day = at.as_ms().saturating_add(BEIJING_OFFSET_MS).rem_euclid(DAY_MS);
    u16::try_from(in_day / MINUTE_MS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn test(day: i64, half: Half, minute: u16) -> DialTest {
        let half_day = HalfDay { day, half };
        let at = half_day.begins_at(minute);
        DialTest { half_day, first_at: at, last_at: at.plus_ms(5_000), calls: 5, refused_at: None }
    }

    #[test]
    fn a_half_day_turns_at_noon_and_midnight_in_beijing() {
        let noon = HalfDay { day: 20_000, half: Half::Afternoon };
        let minute = i64::from(minute_of_day(noon.begins()));
        assert_eq!(minute, 12 * 60);
        assert_eq!(HalfDay::of(noon.begins()), noon);
        assert_eq!(HalfDay::of(noon.begins().plus_ms(-1)), noon.before());
        assert_eq!(noon.before().before(), HalfDay { day: 19_999, half: Half::Afternoon });
    }

    #[test]
    fn the_heartbeat_moves_before_what_was_seen() {
        let now = HalfDay { day: 100, half: Half::Afternoon }.begins();
        let unlearnt = Windows::learn(&[test(86, Half::Morning, 600)], now);
        assert_eq!(Half::ALL.map(|half| unlearnt.heartbeat_minute(half)), [480, 780]);
        let seen = [
            test(90, Half::Morning, 565),
            test(91, Half::Morning, 9 * 60),
            test(92, Half::Morning, 571),
            test(92, Half::Afternoon, 12 * 60 + 10),
        ];
        let windows = Windows::learn(&seen, now);
        assert_eq!(windows.morning, Some(Window { earliest: 540, latest: 571 }));
        assert_eq!(Half::ALL.map(|half| windows.heartbeat_minute(half)), [510, 700]);
        let early = Windows::learn(&[test(99, Half::Morning, 10)], now);
        assert_eq!(early.heartbeat_minute(Half::Morning), 0, "not on the day before");
    }

    #[test]
    fn somebody_at_the_console_by_night_moves_nothing() {
        let now = HalfDay { day: 100, half: Half::Afternoon }.begins();
        let seen = [
            test(96, Half::Morning, 20),
            test(97, Half::Morning, 540),
            test(98, Half::Morning, 545),
        ];
        assert_eq!(Windows::learn(&seen, now).heartbeat_minute(Half::Morning), 510);
        let two = &seen[..2];
        assert_eq!(Windows::learn(two, now).heartbeat_minute(Half::Morning), 0, "who is to say");
    }

    #[test]
    fn a_dial_test_is_missed_when_it_is_late_and_could_have_been_seen() {
        let day = 100;
        let at = |half, minute| HalfDay { day, half }.begins_at(minute);
        let seen = [
            test(99, Half::Morning, 9 * 60),
            test(99, Half::Afternoon, 15 * 60),
            test(98, Half::Morning, 10 * 60),
        ];
        let long_ago = Timestamp::from_ms(0);
        let watch = Watch { seen: &seen, ever: true, installed: long_ago, up_since: long_ago };
        let morning = HalfDay { day, half: Half::Morning };
        assert_eq!(missing(&watch, at(Half::Morning, 10 * 60 + 59)), None);
        assert_eq!(missing(&watch, at(Half::Morning, 11 * 60)), Some(morning));
        assert_eq!(missing(&watch, at(Half::Afternoon, 13 * 60)), Some(morning));
        let came: Vec<_> = seen.into_iter().chain([test(day, Half::Morning, 660)]).collect();
        assert_eq!(missing(&Watch { seen: &came, ..watch }, at(Half::Morning, 661)), None);
        let just_up = Watch { up_since: at(Half::Morning, 9 * 60 + 1), ..watch };
        assert_eq!(missing(&just_up, at(Half::Morning, 11 * 60)), None, "it was not up in time");
        let never = Watch { seen: &[], ever: false, installed: at(Half::Morning, 0), ..watch };
        let in_days = |days: i64| at(Half::Morning, 60).plus_ms(days * DAY_MS);
        assert_eq!(missing(&never, in_days(2)), None, "it may not be on sale yet");
        assert!(missing(&never, in_days(3)).is_some());
    }

    proptest! {
        #[test]
        fn every_instant_is_in_its_half_day(ms in -4_000_000_000_000_i64..8_000_000_000_000) {
            let at = Timestamp::from_ms(ms);
            let half_day = HalfDay::of(at);
            prop_assert!((0..HALF_MS).contains(&at.ms_since(half_day.begins())));
            prop_assert_eq!(half_day.begins().ms_since(half_day.before().begins()), HALF_MS);
        }

        #[test]
        fn no_heartbeat_is_later_than_half_an_hour_before_the_usual_hours(
            minutes in prop::collection::vec(0_u16..720, 1..14),
        ) {
            let seen: Vec<_> = (90..).zip(&minutes)
                .map(|(day, minute)| test(day, Half::Morning, *minute)).collect();
            let now = HalfDay { day: 103, half: Half::Morning }.begins();
            let ours = Windows::learn(&seen, now).heartbeat_minute(Half::Morning);
            let unseen = minutes.iter().filter(|minute| **minute < ours + AHEAD_MIN).count();
            let clamped = ours == 0;
            prop_assert!(unseen <= 1 || clamped, "{} of {:?}", ours, minutes);
        }
    }
}
