//! Signs the marketplace's calls, rightly or in the way a fault wants (protocol.md 5).
//!
//! Invariant: what is signed is what is sent, byte by byte.

use super::message::Interface;
use super::state::Shared;
use crate::domain::time::Timestamp;
use crate::protocol::callback_auth::signed_query;

/// Which key signs a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// The one that is bound.
    Present,
    /// The one before it. Only where there is one.
    Old,
    /// One that was never bound.
    Wrong,
}

/// How a call is signed and dressed, when not as it should be.
#[derive(Debug, Clone)]
pub(super) struct Manner {
    /// Whose present key signs, unless another is wanted.
    pub interface: Interface,
    /// One digit of the signature is wrong.
    pub bad_signature: bool,
    /// The key.
    pub key: Key,
    /// The timestamp is so many seconds ahead.
    pub skew_s: i64,
    /// The nonce; a fresh one if none.
    pub nonce: Option<String>,
    /// The content type.
    pub content_type: &'static str,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            interface: Interface::Licences,
            bad_signature: false,
            key: Key::Present,
            skew_s: 0,
            nonce: None,
            content_type: "application/json",
        }
    }
}

/// A call ready to be posted, any number of times.
#[derive(Debug)]
pub(super) struct Signed {
    /// When it was signed, by the marketplace's clock.
    pub at: Timestamp,
    /// Where it goes, with the signature.
    pub url: String,
    /// The bytes signed.
    pub body: String,
    /// The content type.
    pub content_type: &'static str,
}

/// Signs `body` for `url` with the time of now and a nonce.
pub(super) fn sign(shared: &Shared, url: &str, body: &str, manner: &Manner) -> Signed {
    let at = shared.pace.now();
    let signed_at = at.plus_ms(manner.skew_s.saturating_mul(1_000));
    let nonce = manner.nonce.clone();
    let nonce = nonce.unwrap_or_else(|| shared.note(|state| state.kept.nonces.nonce()));
    let key = match manner.key {
        // Nothing is sent to an interface without a key; if it were, it must not look right.
        Key::Present => shared.key(manner.interface).unwrap_or(&shared.wrong_key),
        Key::Old => shared.old_key.as_ref().unwrap_or(&shared.wrong_key),
        Key::Wrong => &shared.wrong_key,
    };
    let mut query = signed_query(key, body.as_bytes(), signed_at, &nonce);
    if manner.bad_signature {
        query = with_a_wrong_digit(&query);
    }
    let joint = if url.contains('?') { '&' } else { '?' };
    Signed {
        at,
        url: format!("{url}{joint}{query}"),
        body: body.to_owned(),
        content_type: manner.content_type,
    }
}

fn with_a_wrong_digit(query: &str) -> String {
    const NAME: &str = "signature=";
    let digit = query.find(NAME).map_or(0, |at| at + NAME.len());
    let wrong = if query[digit..].starts_with('0') { "1" } else { "0" };
    let mut query = query.to_owned();
    query.replace_range(digit..=digit, wrong);
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_digit_is_one_digit() {
        let query = "signature=0abc&timestamp=1&nonce=x";
        assert_eq!(with_a_wrong_digit(query), "signature=1abc&timestamp=1&nonce=x");
        let query = "timestamp=1&signature=fabc";
        assert_eq!(with_a_wrong_digit(query), "timestamp=1&signature=0abc");
    }
}
