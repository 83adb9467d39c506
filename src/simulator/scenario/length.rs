//! Lengths of time as a story writes them: `"90 s"`, `"2 min"`, `"1 h"`, `"15 days"`.
//!
//! Invariant: a length is at most a hundred years, so that no sum of it overflows.

use serde::Deserialize;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A hundred years.
const LONGEST: Duration = Duration::from_hours(100 * 366 * 24);

/// How long something lasts, in the marketplace's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Length(pub Duration);

/// Why a text is no length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a length of time; write a whole number and s, min, h or days, such as \"2 min\""
)]
pub struct BadLength(String);

impl FromStr for Length {
    type Err = BadLength;

    fn from_str(text: &str) -> Result<Self, BadLength> {
        let parsed = || {
            let (number, unit) = text.trim().split_once(' ')?;
            let seconds = match unit.trim() {
                "s" => 1,
                "min" => 60,
                "h" => 3_600,
                "day" | "days" => 86_400,
                _ => return None,
            };
            let number: u64 = number.parse().ok()?;
            let length = Duration::from_secs(number.checked_mul(seconds)?);
            (length <= LONGEST).then_some(Self(length))
        };
        parsed().ok_or_else(|| BadLength(text.to_owned()))
    }
}

impl TryFrom<String> for Length {
    type Error = BadLength;

    fn try_from(text: String) -> Result<Self, BadLength> {
        text.parse()
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            s if s > 0 && s.is_multiple_of(86_400) => write!(f, "{} days", s / 86_400),
            s if s > 0 && s.is_multiple_of(3_600) => write!(f, "{} h", s / 3_600),
            s if s > 0 && s.is_multiple_of(60) => write!(f, "{} min", s / 60),
            s => write!(f, "{s} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_written_alike() {
        for text in ["0 s", "61 s", "2 min", "1 h", "15 days"] {
            assert_eq!(text.parse::<Length>().expect(text).to_string(), text);
        }
        assert_eq!("120 s".parse::<Length>(), "2 min".parse());
        for text in ["", "2", "2min", "two min", "-1 s", "1.5 h", "1 year", "36601 days"] {
            assert!(text.parse::<Length>().is_err(), "{text}");
        }
    }
}
