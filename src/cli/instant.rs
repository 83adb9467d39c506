//! Times on the command line: RFC 3339, a date, or how long ago.

use crate::clock::Clock;
use crate::domain::time::{DAY_MS, DateText, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use std::str::FromStr;

/// What the options that take a time say in their help.
pub(super) const WHEN: &str = "2026-11-22T08:00:00Z, 2026-11-22 (UTC), or 90s, 30m, 2h, 7d ago";

/// A time as an operator writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// At this instant.
    At(Timestamp),
    /// So many milliseconds ago.
    Ago(i64),
}

/// Why a text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time; write it as {WHEN}")]
pub(super) struct BadWhen;

impl When {
    /// The instant meant, now.
    pub(super) fn instant(self) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(ms) => Clock::system().now().plus_ms(-ms),
        }
    }
}

impl FromStr for When {
    type Err = BadWhen;
    fn from_str(text: &str) -> Result<Self, BadWhen> {
        ago(text).map(Self::Ago).or_else(|| at(text).map(Self::At)).ok_or(BadWhen)
    }
}

fn ago(text: &str) -> Option<i64> {
    let unit_at = text.len().checked_sub(1)?;
    let unit = match text.get(unit_at..)? {
        "s" => SECOND_MS,
        "m" => MINUTE_MS,
        "h" => HOUR_MS,
        "d" => DAY_MS,
        _ => return None,
    };
    let number = &text[..unit_at];
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse::<u32>().ok().map(|n| i64::from(n) * unit)).flatten()
}

/// `yyyy-mm-dd` with or without `Thh:mm:ss[.fraction](Z|±hh:mm)`.
fn at(text: &str) -> Option<Timestamp> {
    if !text.is_ascii() {
        return None;
    }
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00Z"));
    let (clock, rest) = time.split_at_checked(8)?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = rest.split_at(zone_at);
    let separators = |text: &str, at: [usize; 2], mark: u8| {
        at.into_iter().all(|at| text.as_bytes().get(at) == Some(&mark))
    };
    if date.len() != 10 || !separators(date, [4, 7], b'-') || !separators(clock, [2, 5], b':') {
        return None;
    }
    let digits = format!("{}{}", date.replace('-', ""), clock.replace(':', ""));
    let whole = DateText::parse(&digits).ok()?.utc();
    Some(whole.plus_ms(fraction_ms(fraction)? - offset_ms(zone)?))
}

fn fraction_ms(text: &str) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix('.')?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<3}").get(..3)?.parse().ok()
}

fn offset_ms(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let number = |text: &str, below: i64| {
        let good = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|n| good && *n < below)
    };
    Some(sign * (number(hours, 24)? * HOUR_MS + number(minutes, 60)? * MINUTE_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_in_utc_and_with_an_offset() {
        for (text, expected) in [
            ("2026-11-22", "2026-11-22T00:00:00.000Z"),
            ("2026-11-22T08:00:00Z", "2026-11-22T08:00:00.000Z"),
            ("2026-11-22 08:00:00.1234z", "2026-11-22T08:00:00.123Z"),
            ("2026-11-22T08:00:00.5+08:00", "2026-11-22T00:00:00.500Z"),
            ("2026-11-22T08:00:00-00:30", "2026-11-22T08:30:00.000Z"),
        ] {
            let found = text.parse().map(|when: When| when.instant().to_string());
            assert_eq!(found.as_deref(), Ok(expected), "{text}");
        }
        assert_eq!("90s".parse(), Ok(When::Ago(90_000)));
        assert_eq!("7d".parse(), Ok(When::Ago(7 * DAY_MS)));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "h",
            "-1h",
            "1w",
            "1.5h",
            "yesterday",
            "2026-02-30",
            "2026-11-22T08:00",
            "2026-11-22T08:00:00",
            "2026-11-22T08:00:00.Z",
            "2026-11-22T08:00:00+8",
            "2026-11-22T08:00:00+08:60",
            "2026/11/22",
            "20261122",
            "2026-11-22T08:00:00Zx",
            "２h",
        ] {
            assert_eq!(bad.parse::<When>(), Err(BadWhen), "{bad}");
        }
    }
}
