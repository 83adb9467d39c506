//! Is this callback the marketplace's? Signature, time window and parameters (protocol.md §5).
//!
//! Invariant: a [`Verified`] exists only for a body that one of our live access keys signed within the
//! last (or next) 60 seconds. There is no other way to make one and no switch to skip a check.

use super::hex;
pub use super::parameters::NONCE_MAX_CHARS;
use super::parameters::Parameters;
use super::sorted_form::sorted_form;
use crate::domain::outcome::ResultCode;
use crate::domain::time::{MINUTE_MS, Timestamp};
use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;

/// How far the signed timestamp may be from our clock, in milliseconds, either way (protocol.md 5.1).
pub const WINDOW_MS: i64 = MINUTE_MS;

/// The key (Key值) that the seller's console binds to the callback interface.
#[derive(Clone)]
pub struct AccessKey {
    /// The key is part of the signed text as well as the key of the hash.
    text: SecretString,
    key: hmac::Key,
}

impl AccessKey {
    /// Takes the key as the console shows it.
    #[must_use]
    pub fn new(text: SecretString) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, text.expose_secret().as_bytes());
        Self { text, key }
    }

    /// `accessKey + nonce + timestamp + inner`, which is what the signature covers (protocol.md 5.1).
    fn canonical(&self, body: &[u8], timestamp: &str, nonce: &str) -> SecretString {
        let inner = hex::encode(hmac::sign(&self.key, body).as_ref());
        SecretString::from([self.text.expose_secret(), nonce, timestamp, &inner].concat())
    }

    fn holds(&self, body: &[u8], timestamp: &str, nonce: &str, signature: &[u8; 32]) -> bool {
        let canonical = self.canonical(body, timestamp, nonce);
        hmac::verify(&self.key, canonical.expose_secret().as_bytes(), signature).is_ok()
    }
}

/// Never the key.
impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(redacted)")
    }
}

/// The signature of `body`: 64 lower-case hex digits. For the heartbeat and the simulator.
#[must_use]
pub fn sign(key: &AccessKey, body: &[u8], timestamp: Timestamp, nonce: &str) -> String {
    let canonical = key.canonical(body, &timestamp.as_ms().to_string(), nonce);
    hex::encode(hmac::sign(&key.key, canonical.expose_secret().as_bytes()).as_ref())
}

/// The query of a signed callback. `nonce` is alphanumeric and goes into the URL as it is.
#[must_use]
pub fn signed_query(key: &AccessKey, body: &[u8], timestamp: Timestamp, nonce: &str) -> String {
    let signature = sign(key, body, timestamp, nonce);
    format!("signature={signature}&timestamp={}&nonce={nonce}", timestamp.as_ms())
}

/// A body that the marketplace signed. Only [`verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<'a> {
    body: &'a [u8],
    signed_at: Timestamp,
    nonce: String,
    key_index: usize,
}

impl<'a> Verified<'a> {
    /// The bytes as they arrived.
    #[must_use]
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The signed timestamp: the only order that status calls have.
    #[must_use]
    pub const fn signed_at(&self) -> Timestamp {
        self.signed_at
    }

    /// The nonce after decoding; with [`Verified::signed_at`] the key of the replay record.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// SHA-256 of the body: the same nonce with another body is no replay of the same call.
    #[must_use]
    pub fn body_digest(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, self.body).as_ref());
        bytes
    }

    /// Which of our keys signed: 0 is the newest.
    #[must_use]
    pub const fn key_index(&self) -> usize {
        self.key_index
    }

    /// Our clock minus the signed timestamp, in milliseconds: travel time plus clock skew.
    #[must_use]
    pub const fn skew_ms(&self, now: Timestamp) -> i64 {
        now.ms_since(self.signed_at)
    }
}

/// Why a callback is not taken for the marketplace's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No `signature` parameter.
    #[error("the caller sent no signature: not the marketplace, or a proxy drops the query string")]
    MissingSignature,
    /// No `timestamp` or `nonce`.
    #[error("the caller sent no {0}: not the marketplace, or a proxy changes the query string")]
    MissingParameter(&'static str),
    /// A parameter twice: the parts are joined without separators, so which one counts must be clear.
    #[error(
        "the caller sent {0} more than once: not the marketplace, or a proxy changes the query string"
    )]
    RepeatedParameter(&'static str),
    /// The timestamp is not 13 digits without a leading zero.
    #[error(
        "the caller's timestamp is not 13 digits of milliseconds: nothing to do unless it repeats"
    )]
    BadTimestamp,
    /// A timestamp in seconds, as guides of sister products print it; for licences it is never fresh.
    #[error(
        "the caller's timestamp is in seconds, License 2.0 signs milliseconds: \
         check that the console binds this address to the License interface"
    )]
    TimestampInSeconds,
    /// Further than 60 s from our clock.
    #[error(
        "the caller's timestamp is {skew_ms} ms from our clock, more than 60 s: \
         check this machine's clock (NTP) first, then think of a replay"
    )]
    Stale {
        /// Our clock minus the timestamp, in milliseconds.
        skew_ms: i64,
    },
    /// The nonce is empty, too long, not UTF-8 or holds control characters.
    #[error("the caller's nonce is empty, longer than 128 characters or not plain text")]
    BadNonce,
    /// No live key made this signature.
    #[error(
        "the signature fits none of our access keys: compare them with the key bound in the seller's \
         console, and check that no proxy changes the body"
    )]
    BadSignature,
}

impl AuthError {
    /// What is answered (product.md §6 and §9).
    #[must_use]
    pub const fn result_code(&self) -> ResultCode {
        match self {
            Self::MissingSignature
            | Self::TimestampInSeconds
            | Self::Stale { .. }
            | Self::BadSignature => ResultCode::NotAuthentic,
            Self::MissingParameter(_)
            | Self::RepeatedParameter(_)
            | Self::BadTimestamp
            | Self::BadNonce => ResultCode::Malformed,
        }
    }
}

/// Verifies a callback: its URL `query`, its raw `body`, our live `keys` (newest first), our clock.
///
/// The order of checks is that of protocol.md 5.3: presence, form and window, signature. The raw body
/// is tried under each key before the sorted form, and nothing is parsed unless the raw body fails.
///
/// # Errors
/// [`AuthError`], the first fault found.
pub fn verify<'a>(
    query: Option<&str>,
    body: &'a [u8],
    keys: &[AccessKey],
    now: Timestamp,
) -> Result<Verified<'a>, AuthError> {
    let parameters = Parameters::parse(query.unwrap_or(""))?;
    let signed_at = parse_timestamp(&parameters.timestamp)?;
    let skew_ms = now.ms_since(signed_at);
    if skew_ms.saturating_abs() > WINDOW_MS {
        return Err(AuthError::Stale { skew_ms });
    }
    let signature = hex::decode_32(&parameters.signature).ok_or(AuthError::BadSignature)?;
    let signer = |bytes: &[u8]| {
        let Parameters { timestamp, nonce, .. } = &parameters;
        keys.iter().position(|key| key.holds(bytes, timestamp, nonce, &signature))
    };
    let key_index =
        signer(body).or_else(|| signer(&sorted_form(body)?)).ok_or(AuthError::BadSignature)?;
    Ok(Verified { body, signed_at, nonce: parameters.nonce, key_index })
}

/// Exactly 13 digits without a leading zero: nonce and timestamp are joined without a separator, so a
/// digit could otherwise move between them under the same signature (hazards: Signature).
fn parse_timestamp(text: &str) -> Result<Timestamp, AuthError> {
    let digits = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    match (text.len(), digits) {
        (13, true) => text.parse().map(Timestamp::from_ms).map_err(|_| AuthError::BadTimestamp),
        (10, true) => Err(AuthError::TimestampInSeconds),
        _ => Err(AuthError::BadTimestamp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);
    const NONCE: &str = "RLLUammMSInlrNWb";

    fn key(text: &str) -> AccessKey {
        AccessKey::new(SecretString::from(text))
    }

    fn check(query: &str, body: &[u8]) -> Result<(), AuthError> {
        verify(Some(query), body, &[key("new"), key("old")], NOW).map(|_| ())
    }

    #[test]
    fn either_live_key_is_taken_and_named() {
        for (index, name) in ["new", "old"].into_iter().enumerate() {
            let query = signed_query(&key(name), b"{}", NOW, NONCE);
            let keys = [key("new"), key("old")];
            let verified = verify(Some(&query), b"{}", &keys, NOW.plus_ms(7)).expect("verified");
            assert_eq!(verified.key_index(), index);
            assert_eq!((verified.body(), verified.signed_at()), (b"{}".as_slice(), NOW));
            assert_eq!((verified.nonce(), verified.skew_ms(NOW.plus_ms(7))), (NONCE, 7));
        }
        let foreign = signed_query(&key("other"), b"{}", NOW, NONCE);
        assert_eq!(check(&foreign, b"{}"), Err(AuthError::BadSignature));
        let query = signed_query(&key("new"), b"{}", NOW, NONCE);
        assert_eq!(verify(Some(&query), b"{}", &[], NOW), Err(AuthError::BadSignature));
    }

    #[test]
    fn the_window_is_sixty_seconds_on_both_sides() {
        for (ms, ok) in [(60_000, true), (-60_000, true), (60_001, false), (-60_001, false)] {
            let query = signed_query(&key("new"), b"{}", NOW.plus_ms(-ms), NONCE);
            let expected = if ok { Ok(()) } else { Err(AuthError::Stale { skew_ms: ms }) };
            assert_eq!(check(&query, b"{}"), expected);
        }
    }

    #[test]
    fn each_parameter_stands_exactly_once() {
        let s = sign(&key("new"), b"{}", NOW, NONCE);
        let (s, t, n) = (
            format!("signature={s}"),
            format!("timestamp={}", NOW.as_ms()),
            format!("nonce={NONCE}"),
        );
        let cases: &[(&[&str], Result<(), AuthError>)] = &[
            (&[&n, &t, &s], Ok(())),
            (&[&s, &t, &n, "", "x", "contentType=application/json"], Ok(())),
            (&[&t, &n], Err(AuthError::MissingSignature)),
            (&[], Err(AuthError::MissingSignature)),
            (&[&s, &n], Err(AuthError::MissingParameter("timestamp"))),
            (&[&s, &t], Err(AuthError::MissingParameter("nonce"))),
            (&[&s, &s, &t, &n], Err(AuthError::RepeatedParameter("signature"))),
            (&[&s, &t, &t, &n], Err(AuthError::RepeatedParameter("timestamp"))),
            (&[&s, &t, &n, "nonce"], Err(AuthError::RepeatedParameter("nonce"))),
            (&[&s, &t, &n, "%6eonce=x"], Err(AuthError::RepeatedParameter("nonce"))),
            (&["signature=", &t, &n], Err(AuthError::BadSignature)),
            (&["signature=%ff", &t, &n], Err(AuthError::BadSignature)),
            (&[&s, &t, "nonce="], Err(AuthError::BadNonce)),
            (&[&s, &t, "nonce=%ff"], Err(AuthError::BadNonce)),
            (&[&s, &t, "nonce=a%0ab"], Err(AuthError::BadNonce)),
        ];
        for (parts, expected) in cases {
            assert_eq!(check(&parts.join("&"), b"{}"), *expected, "{parts:?}");
        }
        assert_eq!(verify(None, b"{}", &[key("new")], NOW), Err(AuthError::MissingSignature));
    }

    #[test]
    fn a_timestamp_is_thirteen_digits() {
        let cases = [
            ("", AuthError::BadTimestamp),
            ("abc", AuthError::BadTimestamp),
            ("179524980000", AuthError::BadTimestamp),
            ("17952498000000", AuthError::BadTimestamp),
            ("0795249800000", AuthError::BadTimestamp),
            ("+795249800000", AuthError::BadTimestamp),
            ("1795249800000 ", AuthError::BadTimestamp),
            ("１795249800", AuthError::BadTimestamp),
            ("1795249800", AuthError::TimestampInSeconds),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_timestamp(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_nonce_is_decoded_once_and_a_plus_is_a_space() {
        for (sent, meant, ok) in [
            ("a%2Bb", "a+b", true),
            ("a+b", "a b", true),
            ("a%20b", "a b", true),
            ("a%252Bb", "a%2Bb", true),
            ("%E4%B8%AD", "中", true),
            ("a+b", "a+b", false),
        ] {
            let signature = sign(&key("new"), b"{}", NOW, meant);
            let query = format!("signature={signature}&timestamp={}&nonce={sent}", NOW.as_ms());
            assert_eq!(check(&query, b"{}").is_ok(), ok, "{sent}");
        }
        let longest = "n".repeat(NONCE_MAX_CHARS);
        let check_nonce = |nonce: &str| check(&signed_query(&key("new"), b"{}", NOW, nonce), b"{}");
        assert_eq!(check_nonce(&longest), Ok(()));
        assert_eq!(check_nonce(&format!("{longest}n")), Err(AuthError::BadNonce));
    }

    #[test]
    fn the_sorted_form_is_accepted_under_the_old_key_too() {
        let query = signed_query(&key("old"), br#"{"a":"1","b":"2"}"#, NOW, NONCE);
        assert_eq!(check(&query, br#"{ "b":"2", "c":null, "a":"1" }"#), Ok(()));
        assert_eq!(
            check(&query, br#"{ "b":"2", "a":"1", "a":"1" }"#),
            Err(AuthError::BadSignature)
        );
        assert_eq!(check(&query, br#"{ "b":"3", "a":"1" }"#), Err(AuthError::BadSignature));
    }

    #[test]
    fn keys_do_not_print() {
        assert_eq!(format!("{:?}", key("topsecret")), "AccessKey(redacted)");
    }

    proptest! {
        #[test]
        fn no_input_panics_or_passes(query in ".{0,200}", body in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(check(&query, &body).is_err());
        }

        #[test]
        fn no_json_body_panics(s in "[0-9a-f]{64}", nonce in ".{0,140}", body in "[\\[\\]{}:,\"\\\\a1nul u00e9]{0,60}") {
            let query = format!("signature={s}&timestamp={}&nonce={nonce}", NOW.as_ms());
            prop_assert!(check(&query, body.as_bytes()).is_err());
        }

        #[test]
        fn a_digit_cannot_move_between_nonce_and_timestamp(
            nonce in "[a-z0-9]{1,30}[0-9]", off in -60_000i64..=60_000,
        ) {
            let at = NOW.plus_ms(off);
            let signature = sign(&key("new"), b"{}", at, &nonce);
            let joined = format!("{nonce}{}", at.as_ms());
            for cut in 1..joined.len() {
                let (moved_nonce, moved_time) = joined.split_at(cut);
                let query = format!("signature={signature}&timestamp={moved_time}&nonce={moved_nonce}");
                prop_assert_eq!(check(&query, b"{}").is_ok(), moved_nonce == nonce);
            }
        }

        #[test]
        fn any_signed_body_is_taken(
            body in proptest::collection::vec(any::<u8>(), 0..300), nonce in "[A-Za-z0-9]{1,64}",
            off in -60_000i64..=60_000,
        ) {
            let query = signed_query(&key("old"), &body, NOW.plus_ms(off), &nonce);
            prop_assert_eq!(check(&query, &body), Ok(()));
        }
    }
}
