//! The three parameters of a callback's URL, each exactly once (protocol.md 5.1).
//!
//! Invariant: parts are signed without separators, so a parameter that stands twice is never taken.

use super::callback_auth::AuthError;
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// The longest nonce taken, in characters; the longest one seen has 64.
pub const NONCE_MAX_CHARS: usize = 128;

/// The three parameters after one URL decoding.
pub(super) struct Parameters {
    pub(super) signature: String,
    pub(super) timestamp: String,
    pub(super) nonce: String,
}

impl Parameters {
    /// Finds each parameter exactly once; others are no part of the signature and are ignored.
    pub(super) fn parse(query: &str) -> Result<Self, AuthError> {
        let signature = Found::find(query, "signature");
        let timestamp = Found::find(query, "timestamp");
        let nonce = Found::find(query, "nonce");
        if matches!(signature, Found::Never) {
            return Err(AuthError::MissingSignature);
        }
        let nonce = nonce.once("nonce")?.ok_or(AuthError::BadNonce)?;
        let bad_length = nonce.is_empty() || nonce.chars().count() > NONCE_MAX_CHARS;
        if bad_length || nonce.chars().any(char::is_control) {
            return Err(AuthError::BadNonce);
        }
        Ok(Self {
            timestamp: timestamp.once("timestamp")?.ok_or(AuthError::BadTimestamp)?,
            signature: signature.once("signature")?.ok_or(AuthError::BadSignature)?,
            nonce,
        })
    }
}

/// How often a parameter stands in a query.
enum Found {
    Never,
    /// Once; `None` when its value is not UTF-8.
    Once(Option<String>),
    Repeated,
}

impl Found {
    fn find(query: &str, name: &str) -> Self {
        let mut values = query.split('&').filter_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (url_decode(key).as_deref() == Some(name)).then_some(value)
        });
        match (values.next(), values.next()) {
            (None, _) => Self::Never,
            (Some(value), None) => Self::Once(url_decode(value)),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }

    fn once(self, name: &'static str) -> Result<Option<String>, AuthError> {
        match self {
            Self::Never => Err(AuthError::MissingParameter(name)),
            Self::Once(value) => Ok(value),
            Self::Repeated => Err(AuthError::RepeatedParameter(name)),
        }
    }
}

/// One decoding as Java's servlets and `URLDecoder` do it: `+` is a space, then percent signs. The
/// marketplace's code is Java, and a signer that means `+` writes `%2B` (protocol.md 5.1).
pub(super) fn url_decode(text: &str) -> Option<String> {
    let spaced: Cow<'_, str> =
        if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    percent_decode(spaced.as_bytes()).decode_utf8().ok().map(Cow::into_owned)
}
