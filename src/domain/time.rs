//! Instants and the marketplace's zone-less date text. Nothing here reads the clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// One second in milliseconds.
pub const SECOND_MS: i64 = 1_000;
/// One minute in milliseconds.
pub const MINUTE_MS: i64 = 60 * SECOND_MS;
/// One hour in milliseconds.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// One day in milliseconds.
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// Beijing is eight hours ahead of UTC the whole year (no daylight saving since 1991).
pub const BEIJING_OFFSET_MS: i64 = 8 * HOUR_MS;

/// The latest instant that [`DateText`] can name: 9999-12-31T23:59:59Z.
const YEAR_9999_END_S: i64 = 253_402_300_799;

impl Timestamp {
    /// The instant `ms` milliseconds after the epoch.
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// `self - earlier` in milliseconds; negative when `earlier` is later.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant `ms` milliseconds later (earlier when negative), saturating.
    #[must_use]
    pub const fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The number of the day in Beijing that holds this instant, counted from 1970-01-01.
    #[must_use]
    pub const fn beijing_day(self) -> i64 {
        self.0.saturating_add(BEIJING_OFFSET_MS).div_euclid(DAY_MS)
    }

    /// The first instant of the day with this number in Beijing.
    #[must_use]
    pub const fn start_of_beijing_day(day: i64) -> Self {
        Self(day.saturating_mul(DAY_MS).saturating_sub(BEIJING_OFFSET_MS))
    }
}

/// The calendar month in Beijing that holds `at`: when it began, and `yyyy-mm`.
#[must_use]
pub fn beijing_month(at: Timestamp) -> (Timestamp, String) {
    let (year, month, _) = civil_from_days(at.beijing_day());
    let began = days_from_civil(year, month, 1).saturating_mul(DAY_MS);
    (Timestamp(began).plus_ms(-BEIJING_OFFSET_MS), format!("{year:04}-{month:02}"))
}

/// The date `yyyy-mm-dd` of the day with this number, counted from 1970-01-01.
#[must_use]
pub fn day_text(day: i64) -> String {
    let (year, month, day) = civil_from_days(day);
    format!("{year:04}-{month:02}-{day:02}")
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        self.plus_ms(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 in UTC with milliseconds, as all JSON and logs show time.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY_MS));
        let ms = self.0.rem_euclid(DAY_MS);
        let (h, m, s, milli) =
            (ms / HOUR_MS, ms / MINUTE_MS % 60, ms / SECOND_MS % 60, ms % SECOND_MS);
        write!(f, "{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{milli:03}Z")
    }
}

/// A `yyyyMMddHHmmss` text as the marketplace sends it: no zone, kept as received (protocol.md 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DateText {
    digits: [u8; 14],
    /// The instant if the text is read as UTC.
    utc: Timestamp,
}

/// Why a text is not a `yyyyMMddHHmmss` date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a yyyyMMddHHmmss date")]
pub struct BadDateText;

impl DateText {
    /// Parses exactly 14 digits that name a real calendar second from year 1970 on.
    ///
    /// # Errors
    /// [`BadDateText`] for anything else; a leap second is refused like any 61st second.
    pub fn parse(text: &str) -> Result<Self, BadDateText> {
        let digits: [u8; 14] = text.as_bytes().try_into().map_err(|_| BadDateText)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(BadDateText);
        }
        let number = |range: std::ops::Range<usize>| {
            digits[range].iter().fold(0i64, |n, d| n * 10 + i64::from(d - b'0'))
        };
        let (year, month, day) = (number(0..4), number(4..6), number(6..8));
        let (h, m, s) = (number(8..10), number(10..12), number(12..14));
        let in_range = year >= 1970
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && h < 24
            && m < 60
            && s < 60;
        if !in_range {
            return Err(BadDateText);
        }
        let seconds = days_from_civil(year, month, day) * 86_400 + h * 3_600 + m * 60 + s;
        Ok(Self { digits, utc: Timestamp(seconds * SECOND_MS) })
    }

    /// The text that reads as `at` (cut to the second) in UTC; instants outside 1970..=9999 are clamped.
    #[must_use]
    pub fn from_utc(at: Timestamp) -> Self {
        let seconds = at.0.div_euclid(SECOND_MS).clamp(0, YEAR_9999_END_S);
        let utc = Timestamp(seconds * SECOND_MS);
        let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
        let s = seconds.rem_euclid(86_400);
        let text =
            format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", s / 3600, s / 60 % 60, s % 60);
        let mut digits = [b'0'; 14];
        digits.copy_from_slice(text.as_bytes());
        Self { digits, utc }
    }

    /// The text as received.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits).unwrap_or_default()
    }

    /// The instant if the text is read as UTC: the later of the two readings.
    #[must_use]
    pub const fn utc(&self) -> Timestamp {
        self.utc
    }

    /// The instant if the text is read as Beijing time: the earlier of the two readings.
    #[must_use]
    pub const fn beijing(&self) -> Timestamp {
        self.utc.plus_ms(-BEIJING_OFFSET_MS)
    }
}

impl fmt::Display for DateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Year, month and day of a count of days since 1970-01-01 (proleptic Gregorian calendar).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    // Counted from 0000-03-01, so that the leap day is the last of its year; eras of 400 years.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days since 1970-01-01 of a date (proleptic Gregorian calendar).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_text_reads_both_ways_and_prints_as_received() {
        let text = DateText::parse("20271121083000").expect("a date");
        assert_eq!(text.utc().to_string(), "2027-11-21T08:30:00.000Z");
        assert_eq!(text.beijing().to_string(), "2027-11-21T00:30:00.000Z");
        assert_eq!(text.as_str(), "20271121083000");
    }

    #[test]
    fn impossible_dates_are_refused() {
        for bad in [
            "",
            "2027112108300",
            "202711210830000",
            "20271321083000",
            "20270229083000",
            "20271121240000",
            "20271121086000",
            "20271121083060",
            "2027112108300x",
            "19691231235959",
            "２0271121083000",
        ] {
            assert_eq!(DateText::parse(bad), Err(BadDateText), "{bad}");
        }
        assert!(DateText::parse("20280229000000").is_ok());
    }

    #[test]
    fn every_day_of_four_centuries_round_trips() {
        for day in 0..146_097 {
            let at = Timestamp::from_ms(day * DAY_MS + 12_345_000);
            let text = DateText::from_utc(at);
            assert_eq!(DateText::parse(text.as_str()).map(|t| t.utc()), Ok(at));
        }
    }

    #[test]
    fn a_day_has_its_date() {
        let at = DateText::parse("20240228160000").expect("a date").utc();
        assert_eq!(day_text(at.beijing_day()), "2024-02-29");
        assert_eq!(day_text(0), "1970-01-01");
    }

    #[test]
    fn a_month_begins_in_beijing() {
        let at = |text| DateText::parse(text).expect("a date").utc();
        let november = (at("20261031160000"), "2026-11".to_owned());
        assert_eq!(beijing_month(at("20261031160000")), november);
        assert_eq!(beijing_month(at("20261130155959")), november);
        assert_eq!(beijing_month(at("20261031155959")).1, "2026-10");
        assert_eq!(beijing_month(at("20261231160000")).1, "2027-01");
    }

    #[test]
    fn beijing_day_turns_at_sixteen_utc() {
        let before = DateText::parse("20261121155959").expect("a date").utc();
        let after = before.plus_ms(SECOND_MS);
        assert_eq!(before.beijing_day() + 1, after.beijing_day());
        assert_eq!(Timestamp::start_of_beijing_day(after.beijing_day()), after);
    }
}
