//! What the software reports of its use: the clients it saw, or how many there were on the day.
//!
//! Invariant: a client is named by its keyed hash; only [`ClientId`] holds what the software called it, and
//! it does not print.

use super::license::Code;
use super::outcome::Outcome;
use super::time::{DAY_MS, HOUR_MS, Timestamp};
use std::fmt;

/// The longest client id that is taken, in characters. It is hashed, so that the marketplace's bound of
/// 256 (protocol.md 2.6) is no bound for it.
pub const CLIENT_ID_MAX_CHARS: usize = 1_024;
/// The greatest count: nine digits (protocol.md 2.6).
pub const ACTIVE_NUM_MAX: u32 = 999_999_999;

/// The first wait after a refusal that may pass; it doubles up to a day.
const FIRST_WAIT_MS: i64 = HOUR_MS;
/// Entries that are refused for so long are given up.
const GIVE_UP_MS: i64 = 7 * DAY_MS;

/// What the software calls a client: an account, a device. It may be personal, so it is hashed at once.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientId(String);

/// Why a text is no client id. The caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadClientId {
    /// Empty.
    #[error("is empty")]
    Empty,
    /// Longer than [`CLIENT_ID_MAX_CHARS`].
    #[error("has more than 1024 characters")]
    TooLong,
    /// It holds control characters.
    #[error("holds control characters")]
    Control,
}

impl ClientId {
    /// Takes any text of 1 to 1024 characters without control characters, as it is.
    ///
    /// # Errors
    /// [`BadClientId`].
    pub fn parse(text: &str) -> Result<Self, BadClientId> {
        if text.is_empty() {
            return Err(BadClientId::Empty);
        }
        if text.chars().count() > CLIENT_ID_MAX_CHARS {
            return Err(BadClientId::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(BadClientId::Control);
        }
        Ok(Self(text.to_owned()))
    }

    /// The text, to be hashed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientId([redacted])")
    }
}

/// A client's keyed hash: the same client has the same one on this installation, and on no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientHash(pub [u8; 32]);

/// How many clients were active on the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActiveNum(u32);

/// Why a number is no count. The caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is greater than 999999999")]
pub struct BadActiveNum;

impl ActiveNum {
    /// Takes at most nine digits.
    ///
    /// # Errors
    /// [`BadActiveNum`].
    pub fn parse(number: u64) -> Result<Self, BadActiveNum> {
        let number = u32::try_from(number).map_err(|_| BadActiveNum)?;
        if number > ACTIVE_NUM_MAX { Err(BadActiveNum) } else { Ok(Self(number)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// One entry of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Entry {
    /// So many clients were active on the day.
    Active(ActiveNum),
    /// This client was seen.
    Client(ClientHash),
}

/// The entries of one code in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The code.
    pub code: Code,
    /// What was seen, in the order in which it is sent.
    pub entries: Vec<Entry>,
}

/// What becomes of entries that the marketplace refused for their code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They are sent again then.
    Later(Timestamp),
    /// They are kept as failed, and somebody is told.
    GivenUp,
}

/// The fate of entries that were refused with `outcome`: what may pass is waited for, an hour first and a
/// day at last, for seven days in all. `released` is what we know of the code, `tries` how often it was
/// refused before, `since` when it was first sent.
#[must_use]
pub fn fate(
    outcome: Outcome,
    released: bool,
    tries: u32,
    since: Timestamp,
    now: Timestamp,
) -> Fate {
    let may_pass = match outcome {
        Outcome::UnknownCode => false,
        // Which state it is tells a query: a code that is over reports no more.
        Outcome::IllegalState => !released,
        Outcome::NotReceived
        | Outcome::NotActivated
        | Outcome::InvalidInBatch
        | Outcome::Permanent
        | Outcome::Retry
        | Outcome::Stop
        | Outcome::Unrecognised
        | Outcome::Done => true,
    };
    if !may_pass || now.ms_since(since) >= GIVE_UP_MS {
        return Fate::GivenUp;
    }
    let wait = FIRST_WAIT_MS.saturating_mul(1 << tries.min(8)).min(DAY_MS);
    Fate::Later(now.plus_ms(wait))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    #[test]
    fn a_client_id_is_any_text_of_a_bounded_length_and_does_not_print() {
        for good in ["a", " ", "用户@example.com", &"x".repeat(CLIENT_ID_MAX_CHARS)] {
            let id = ClientId::parse(good).expect("a client id");
            assert_eq!(id.expose(), good);
            assert_eq!(format!("{id:?}"), "ClientId([redacted])");
        }
        assert_eq!(ClientId::parse(""), Err(BadClientId::Empty));
        let long = "码".repeat(CLIENT_ID_MAX_CHARS + 1);
        assert_eq!(ClientId::parse(&long), Err(BadClientId::TooLong));
        for bad in ["a\n", "\0", "\u{7f}", "a\u{85}b"] {
            assert_eq!(ClientId::parse(bad), Err(BadClientId::Control), "{bad:?}");
        }
    }

    #[test]
    fn a_count_has_nine_digits_at_most() {
        assert_eq!(ActiveNum::parse(0).map(ActiveNum::get), Ok(0));
        assert_eq!(ActiveNum::parse(999_999_999).map(ActiveNum::get), Ok(ACTIVE_NUM_MAX));
        for bad in [1_000_000_000, u64::from(u32::MAX) + 1, u64::MAX] {
            assert_eq!(ActiveNum::parse(bad), Err(BadActiveNum));
        }
    }

    #[test]
    fn what_may_pass_is_waited_for_but_not_for_ever() {
        let later = |tries, hours| {
            let told = fate(Outcome::NotActivated, false, tries, NOW, NOW);
            assert_eq!(told, Fate::Later(NOW.plus_ms(hours * HOUR_MS)), "{tries}");
        };
        for (tries, hours) in [(0, 1), (1, 2), (4, 16), (5, 24), (6, 24), (u32::MAX, 24)] {
            later(tries, hours);
        }
        let last = NOW.plus_ms(GIVE_UP_MS);
        assert_eq!(fate(Outcome::NotActivated, false, 9, NOW, last), Fate::GivenUp);
        assert_ne!(fate(Outcome::NotActivated, false, 9, NOW, last.plus_ms(-1)), Fate::GivenUp);
    }

    #[test]
    fn what_cannot_pass_is_given_up_at_once() {
        assert_eq!(fate(Outcome::UnknownCode, false, 0, NOW, NOW), Fate::GivenUp);
        assert_eq!(fate(Outcome::IllegalState, true, 0, NOW, NOW), Fate::GivenUp);
        assert_ne!(fate(Outcome::IllegalState, false, 0, NOW, NOW), Fate::GivenUp);
        assert_ne!(fate(Outcome::NotActivated, true, 0, NOW, NOW), Fate::GivenUp);
    }
}
