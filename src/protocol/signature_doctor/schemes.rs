//! How a signature may be made of a key, a body and the parameters: ours, near misses, and the schemes of
//! sister products (protocol.md 5.4).

use super::cause::{Cause, Fault};
use super::keys::Candidate;
use crate::protocol::hex;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac};
use secrecy::{ExposeSecret as _, SecretSlice};

/// What goes into a signed text beside the key.
pub(super) struct Parts<'a> {
    pub(super) nonce: &'a str,
    pub(super) timestamp: &'a str,
    pub(super) body: &'a [u8],
    /// HMAC of the body under the key.
    pub(super) digest: &'a [u8],
}

/// A way to put the parts together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    License2,
    InnerUpperCase,
    InnerBase64,
    InnerBytes,
    Unkeyed,
    Kit,
    TimeFirst,
    WithoutKey,
    BodyAlone,
}

impl Scheme {
    pub(super) const ALL: [Self; 9] = [
        Self::License2,
        Self::InnerUpperCase,
        Self::InnerBase64,
        Self::InnerBytes,
        Self::Unkeyed,
        Self::Kit,
        Self::TimeFirst,
        Self::WithoutKey,
        Self::BodyAlone,
    ];

    pub(super) const fn fault(self) -> Option<Fault> {
        let (cause, what) = match self {
            Self::License2 => return None,
            Self::InnerUpperCase => {
                (Cause::InnerHash, "the body's HMAC was signed in upper-case hex")
            }
            Self::InnerBase64 => (Cause::InnerHash, "the body's HMAC was signed in base64"),
            Self::InnerBytes => (Cause::InnerHash, "the body's HMAC was signed as bytes, not hex"),
            Self::Unkeyed => (Cause::UnkeyedHash, "the body was hashed without the key"),
            Self::Kit => (Cause::KitScheme, "it is signed as 联营kit signs (x-sign)"),
            Self::TimeFirst => (Cause::Parts, "the timestamp was signed before the nonce"),
            Self::WithoutKey => (Cause::Parts, "the key is missing in the signed text"),
            Self::BodyAlone => (Cause::Parts, "the body alone was signed"),
        };
        Some(Fault::new(cause, what))
    }

    /// Whether this key and this scheme made the signature.
    pub(super) fn holds(self, key: &Candidate, parts: &Parts<'_>, signature: &[u8; 32]) -> bool {
        let text = self.text(key.text.expose_secret().as_bytes(), parts);
        hmac::verify(&key.hmac, text.expose_secret(), signature).is_ok()
    }

    fn text(self, key: &[u8], parts: &Parts<'_>) -> SecretSlice<u8> {
        let inner = || hex::encode(parts.digest).into_bytes();
        let (nonce, time) = (parts.nonce.as_bytes(), parts.timestamp.as_bytes());
        let text = match self {
            Self::License2 => [key, nonce, time, &inner()].concat(),
            Self::InnerUpperCase => [key, nonce, time, &inner().to_ascii_uppercase()].concat(),
            Self::InnerBase64 => {
                [key, nonce, time, BASE64.encode(parts.digest).as_bytes()].concat()
            }
            Self::InnerBytes => [key, nonce, time, parts.digest].concat(),
            Self::Unkeyed => {
                let hash = digest::digest(&digest::SHA256, parts.body);
                [key, nonce, time, hex::encode(hash.as_ref()).as_bytes()].concat()
            }
            Self::Kit => [key, nonce, time, parts.body].concat(),
            Self::TimeFirst => [key, time, nonce, &inner()].concat(),
            Self::WithoutKey => [nonce, time, &inner()].concat(),
            Self::BodyAlone => parts.body.to_vec(),
        };
        SecretSlice::from(text)
    }
}

/// What SaaS V1 and License 1.0 send.
#[derive(Debug)]
pub(super) struct AuthToken {
    pub(super) token: String,
    pub(super) timestamp: String,
    /// The other parameters, decoded: `k=v` sorted by name and joined with `&`.
    pub(super) parameters: String,
}

/// Whether this key made the token: the key of its HMAC is the access key followed by the timestamp.
pub(super) fn auth_token_holds(key: &Candidate, sent: &AuthToken) -> bool {
    let secret = [key.text.expose_secret().as_bytes(), sent.timestamp.as_bytes()].concat();
    let secret = SecretSlice::from(secret);
    let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret());
    let token = BASE64.decode(sent.token.replace(' ', "+")).unwrap_or_default();
    hmac::verify(&hmac_key, sent.parameters.as_bytes(), &token).is_ok()
}
