//! Which scheduled slot is due: a function of the zone, the times of day, what has run, and now.
//!
//! The only place of the domain that knows time zones. A slot is named by its local date and time,
//! so that neither daylight saving nor a clock that jumps can make one slot two.

use super::dial_test::{Half, Windows};
use super::license::Expiry;
use super::time::{DateText, HOUR_MS, MINUTE_MS, Timestamp};
use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _};
use std::fmt;
use std::str::FromStr;

/// A time zone by its IANA name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Zone(chrono_tz::Tz);

/// Why a text names no zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such time zone; give an IANA name such as \"Asia/Shanghai\" or \"UTC\"")]
pub struct BadZone;

impl FromStr for Zone {
    type Err = BadZone;
    fn from_str(name: &str) -> Result<Self, BadZone> {
        name.parse().map(Self).map_err(|_| BadZone)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

impl Zone {
    /// Coordinated universal time.
    pub const UTC: Self = Self(chrono_tz::Tz::UTC);
    /// The marketplace's zone.
    pub const SHANGHAI: Self = Self(chrono_tz::Tz::Asia__Shanghai);

    /// The expiry that `text` names when it is read in this zone.
    #[must_use]
    pub fn expiry(self, text: DateText) -> Expiry {
        let local = Self::local(text.utc(), chrono_tz::Tz::UTC);
        Expiry { text, at: self.instant(local) }
    }

    /// The local date and time `yyyy-mm-ddThh:mm` that a clock on the wall shows at `at`.
    #[must_use]
    pub fn wall(self, at: Timestamp) -> String {
        Self::local(at, self.0).format("%Y-%m-%dT%H:%M").to_string()
    }

    /// The local date and time to the second, `yyyy-mm-dd hh:mm:ss`.
    #[must_use]
    pub fn date_time(self, at: Timestamp) -> String {
        Self::local(at, self.0).format("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// How far the zone is ahead of UTC at `at`, as `+08:00`.
    #[must_use]
    pub fn offset(self, at: Timestamp) -> String {
        let ahead_ms = Self::local(at, self.0).and_utc().timestamp_millis()
            - Self::local(at, chrono_tz::Tz::UTC).and_utc().timestamp_millis();
        let (sign, minutes) = (if ahead_ms < 0 { '-' } else { '+' }, ahead_ms.abs() / MINUTE_MS);
        format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }

    fn local(at: Timestamp, zone: chrono_tz::Tz) -> NaiveDateTime {
        DateTime::from_timestamp_millis(at.as_ms())
            .unwrap_or(DateTime::UNIX_EPOCH)
            .with_timezone(&zone)
            .naive_local()
    }

    /// The first instant at which a wall clock shows `local`, or has just skipped it.
    fn instant(self, local: NaiveDateTime) -> Timestamp {
        let shown = |minutes: i64| {
            let local = local + TimeDelta::minutes(minutes);
            self.0.from_local_datetime(&local).earliest().map(|at| at.timestamp_millis())
        };
        // A gap is at most a day wide (Samoa left out 2011-12-30): step over it by quarter hours, then back to
        // its end by minutes, for not every gap ends at a full quarter (Casey 2020-10-04: 00:01 to 03:01).
        let behind =
            (0..=96).map(|quarters| quarters * 15).find(|minutes| shown(*minutes).is_some());
        let behind = behind.unwrap_or(0);
        let first = (0..=behind).rev().take_while(|minutes| shown(*minutes).is_some()).last();
        let at = shown(first.unwrap_or(behind));
        Timestamp::from_ms(at.unwrap_or_else(|| local.and_utc().timestamp_millis()))
    }
}

/// The instant that an RFC 3339 text names, whatever its offset.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let at = DateTime::parse_from_rfc3339(text).ok()?;
    Some(Timestamp::from_ms(at.timestamp_millis()))
}

/// A time of day, `hh:mm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(NaiveTime);

/// Why a text is not a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time of day; write it as \"08:00\"")]
pub struct BadTimeOfDay;

impl TimeOfDay {
    /// When the nightly upkeep runs: 03:30, when no dial test and few buyers are about.
    pub const UPKEEP: Self = Self(match NaiveTime::from_hms_opt(3, 30, 0) {
        Some(time) => time,
        None => NaiveTime::MIN,
    });
}

impl FromStr for TimeOfDay {
    type Err = BadTimeOfDay;
    fn from_str(text: &str) -> Result<Self, BadTimeOfDay> {
        if text.len() != 5 {
            return Err(BadTimeOfDay);
        }
        NaiveTime::parse_from_str(text, "%H:%M").map(Self).map_err(|_| BadTimeOfDay)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%H:%M"))
    }
}

impl TimeOfDay {
    /// The time of this minute of the day; midnight when there is no such minute.
    #[must_use]
    pub fn of_minute(minute: u16) -> Self {
        let (hour, minute) = (u32::from(minute / 60), u32::from(minute % 60));
        Self(NaiveTime::from_hms_opt(hour, minute, 0).unwrap_or(NaiveTime::MIN))
    }
}

/// When the availability heartbeat runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeartbeatTimes {
    /// Before the marketplace's dial test, wherever it moves.
    Auto,
    /// At these times; never empty.
    At(Vec<TimeOfDay>),
}

impl fmt::Display for HeartbeatTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::At(times) => {
                let times: Vec<_> = times.iter().map(ToString::to_string).collect();
                f.write_str(&times.join(", "))
            }
        }
    }
}

/// When a job is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// At these times of each day.
    Daily {
        /// The zone of the times.
        zone: Zone,
        /// The times; never empty.
        times: Vec<TimeOfDay>,
    },
    /// Once in each half of the marketplace's day, at times that may move: a slot is named by its half-day,
    /// so that a time that moves makes no second one.
    HalfDays {
        /// The time in the first half.
        morning: TimeOfDay,
        /// The time for the second half; it may lie shortly before noon.
        afternoon: TimeOfDay,
    },
    /// At this minute of each hour of UTC.
    Hourly {
        /// 0 to 59.
        minute: i64,
    },
    /// Each time this many milliseconds of UTC have passed since the epoch.
    Every(i64),
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daily { zone, times } => {
                for time in times {
                    write!(f, "{time} ")?;
                }
                write!(f, "{zone}")
            }
            Self::HalfDays { morning, afternoon } => {
                write!(f, "auto: {morning} {afternoon} {}", Zone::SHANGHAI)
            }
            Self::Hourly { minute } => write!(f, "hourly at minute {minute}"),
            Self::Every(ms) => write!(f, "every {} min", ms / MINUTE_MS),
        }
    }
}

/// One occasion of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name; unique for the job, whatever the clock does.
    pub name: String,
    /// When it is due.
    pub due: Timestamp,
}

impl Plan {
    /// The plan that is before the dial tests of these hours.
    #[must_use]
    pub fn before(windows: &Windows) -> Self {
        let [morning, afternoon] =
            Half::ALL.map(|half| TimeOfDay::of_minute(windows.heartbeat_minute(half)));
        Self::HalfDays { morning, afternoon }
    }

    /// The latest slot that is due at `now`, whether it has run or not. Earlier ones are missed for
    /// good: a job is caught up once, not once for each slot.
    #[must_use]
    pub fn latest(&self, now: Timestamp) -> Option<Slot> {
        match self {
            Self::Hourly { minute } => Some(hourly(now, *minute, 0)),
            Self::Every(ms) => Some(every(now.as_ms().div_euclid(*ms), *ms)),
            Self::Daily { zone, times } => latest(*zone, times, now).map(|slot| slot.by_time()),
            Self::HalfDays { morning, afternoon } => {
                latest(Zone::SHANGHAI, &[*morning, *afternoon], now)
                    .map(|slot| slot.by_half(*afternoon))
            }
        }
    }

    /// The first slot after `now`.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Slot> {
        match self {
            Self::Hourly { minute } => Some(hourly(now, *minute, 1)),
            Self::Every(ms) => Some(every(now.as_ms().div_euclid(*ms) + 1, *ms)),
            Self::Daily { zone, times } => next(*zone, times, now).map(|slot| slot.by_time()),
            Self::HalfDays { morning, afternoon } => {
                next(Zone::SHANGHAI, &[*morning, *afternoon], now)
                    .map(|slot| slot.by_half(*afternoon))
            }
        }
    }
}

/// A slot that has no name yet.
#[derive(Debug, Clone, Copy)]
struct OnTheWall {
    local: NaiveDateTime,
    due: Timestamp,
}

impl OnTheWall {
    fn by_time(self) -> Slot {
        Slot { name: self.local.format("%Y-%m-%dT%H:%M").to_string(), due: self.due }
    }

    fn by_half(self, afternoon: TimeOfDay) -> Slot {
        let half = if self.local.time() == afternoon.0 { Half::Afternoon } else { Half::Morning };
        Slot { name: format!("{} {}", self.local.format("%Y-%m-%d"), half.as_str()), due: self.due }
    }
}

fn latest(zone: Zone, times: &[TimeOfDay], now: Timestamp) -> Option<OnTheWall> {
    around(zone, times, now).filter(|slot| slot.due <= now).max_by_key(|slot| slot.due)
}

fn next(zone: Zone, times: &[TimeOfDay], now: Timestamp) -> Option<OnTheWall> {
    around(zone, times, now).filter(|slot| slot.due > now).min_by_key(|slot| slot.due)
}

/// The slots of the days around `now`; two days each way cover every zone change there was.
fn around(zone: Zone, times: &[TimeOfDay], now: Timestamp) -> impl Iterator<Item = OnTheWall> + '_ {
    let today = Zone::local(now, zone.0).date();
    let days: [Option<NaiveDate>; 5] = [
        today.checked_sub_days(Days::new(2)),
        today.pred_opt(),
        Some(today),
        today.succ_opt(),
        today.checked_add_days(Days::new(2)),
    ];
    days.into_iter().flatten().flat_map(move |day| {
        times.iter().map(move |time| {
            let local = day.and_time(time.0);
            OnTheWall { local, due: zone.instant(local) }
        })
    })
}

/// The slot at `minute` that is so many hours after the latest one at `now`.
fn hourly(now: Timestamp, minute: i64, later: i64) -> Slot {
    let past_ms = minute * MINUTE_MS;
    let latest = now.plus_ms(-past_ms).as_ms().div_euclid(HOUR_MS);
    let due = Timestamp::from_ms((latest + later).saturating_mul(HOUR_MS)).plus_ms(past_ms);
    Slot { name: due.to_string(), due }
}

fn every(n: i64, ms: i64) -> Slot {
    let due = Timestamp::from_ms(n.saturating_mul(ms));
    Slot { name: due.to_string(), due }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(zone: Zone) -> Plan {
        let times = ["08:00", "13:00"].map(|t| t.parse().expect("a time"));
        Plan::Daily { zone, times: times.to_vec() }
    }

    fn at(text: &str) -> Timestamp {
        DateText::parse(text).expect("a date").utc()
    }

    #[test]
    fn a_time_that_the_clock_skips_is_due_when_it_has_skipped_it() {
        let zone: Zone = "Antarctica/Casey".parse().expect("a zone");
        let plan = Plan::Daily { zone, times: vec!["02:30".parse().expect("a time")] };
        // 2020-10-04 00:01 became 03:01.
        let due = plan.latest(at("20201003170000")).expect("a slot").due;
        assert_eq!(due, at("20201003160100"));
    }

    #[test]
    fn the_two_slots_of_a_beijing_day() {
        let plan = heartbeat(Zone::SHANGHAI);
        let latest = |text| plan.latest(at(text)).map(|slot| slot.name);
        assert_eq!(latest("20261121235959"), Some("2026-11-21T13:00".to_owned()));
        assert_eq!(latest("20261122000000"), Some("2026-11-22T08:00".to_owned()));
        assert_eq!(latest("20261122050000"), Some("2026-11-22T13:00".to_owned()));
        let next = plan.next(at("20261122050000")).expect("there is always a next");
        assert_eq!((next.name.as_str(), next.due), ("2026-11-23T08:00", at("20261123000000")));
    }

    #[test]
    fn every_slot_of_a_year_comes_up_once_in_each_zone_with_strange_changes() {
        for name in ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Shanghai"] {
            let plan = Plan::Daily {
                zone: name.parse().expect("a zone"),
                times: ["02:30", "13:00"].map(|t| t.parse().expect("a time")).to_vec(),
            };
            let mut seen = std::collections::HashSet::new();
            let mut now = at("20260101120000");
            let mut last = None;
            while now < at("20270101120000") {
                let slot = plan.latest(now).expect("a slot");
                if last.as_ref() != Some(&slot.name) {
                    assert!(seen.insert(slot.name.clone()), "{name}: {} twice", slot.name);
                    last = Some(slot.name);
                }
                now = now.plus_ms(15 * MINUTE_MS);
            }
            assert!((730..=731).contains(&seen.len()), "{name}: {}", seen.len());
        }
    }

    #[test]
    fn a_time_that_moves_makes_no_second_slot_of_a_half_day() {
        let at_minutes = |morning, afternoon| Plan::HalfDays {
            morning: TimeOfDay::of_minute(morning),
            afternoon: TimeOfDay::of_minute(afternoon),
        };
        let unlearnt = Plan::before(&Windows::default());
        assert_eq!(unlearnt, at_minutes(8 * 60, 13 * 60));
        assert_eq!(unlearnt.to_string(), "auto: 08:00 13:00 Asia/Shanghai");
        let latest = |plan: &Plan, text| plan.latest(at(text)).map(|slot| slot.name);
        for plan in [&unlearnt, &at_minutes(8 * 60 + 30, 11 * 60 + 50)] {
            assert_eq!(latest(plan, "20261122004500"), Some("2026-11-22 morning".to_owned()));
            assert_eq!(latest(plan, "20261122053000"), Some("2026-11-22 afternoon".to_owned()));
            assert_eq!(latest(plan, "20261122160000"), Some("2026-11-22 afternoon".to_owned()));
        }
        let later = at_minutes(9 * 60 + 30, 13 * 60);
        assert_eq!(latest(&later, "20261122010000"), Some("2026-11-21 afternoon".to_owned()));
        let next = later.next(at("20261122010000")).expect("there is always a next");
        assert_eq!(next.name, "2026-11-22 morning");
    }

    #[test]
    fn a_plan_of_hours_counts_from_the_epoch() {
        let plan = Plan::Every(6 * HOUR_MS);
        let slot = plan.latest(at("20261122055959")).expect("a slot");
        assert_eq!(slot.due, at("20261122000000"));
        assert_eq!(plan.next(slot.due).expect("a slot").due, at("20261122060000"));
    }

    #[test]
    fn an_hourly_plan_has_its_minute_just_before_beijings_midnight() {
        let plan = Plan::Hourly { minute: 55 };
        let midnight = at("20261122160000");
        let last = plan.latest(midnight).expect("a slot");
        assert_eq!((last.due, plan.latest(last.due)), (at("20261122155500"), Some(last.clone())));
        let before = plan.latest(last.due.plus_ms(-1)).expect("a slot");
        assert_eq!(before.due, at("20261122145500"));
        assert_eq!(plan.next(last.due).expect("a slot").due, at("20261122165500"));
        assert_eq!(plan.next(last.due.plus_ms(-1)), Some(last));
        assert_eq!(plan.to_string(), "hourly at minute 55");
    }

    #[test]
    fn times_and_zones_are_strict() {
        for bad in ["8:00", "24:00", "08:60", "0800", "", "08:00:00"] {
            assert!(bad.parse::<TimeOfDay>().is_err(), "{bad}");
        }
        assert!("Beijing".parse::<Zone>().is_err());
    }
}
