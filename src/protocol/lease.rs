//! Leases on paper: a JWT (RFC 7519) in compact serialisation (RFC 7515), signed with Ed25519 (RFC 8037),
//! and the key set that verifies it (RFC 7517).
//!
//! Invariant: a private key is never printed, and leaves this module only as bytes for its own file.

use crate::domain::lease::Claims;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt;

/// Who issues leases: the `iss` claim.
pub const ISSUER: &str = "authcoded";

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// The system has no randomness to make one.
    #[error("the system gives no randomness to make a key")]
    NoRandomness,
    /// The text is not base64url of a PKCS#8 document with an Ed25519 key.
    #[error("this is not an Ed25519 key as authcoded writes it")]
    Unreadable,
}

/// A key that signs leases.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
    /// The first part of every lease: the header, encoded.
    header: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.kid)
    }
}

/// A key that verifies leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// The key id: the thumbprint of the key (RFC 7638), so that no two keys share one.
    pub kid: String,
    /// The 32 bytes of the key in base64url.
    pub x: String,
}

impl PublicKey {
    /// The key of these 32 bytes in base64url, as [`PublicKey::x`] holds them.
    ///
    /// # Errors
    /// [`BadKey::Unreadable`].
    pub fn parse(x: &str) -> Result<Self, BadKey> {
        let bytes = URL_SAFE_NO_PAD.decode(x).map_err(|_| BadKey::Unreadable)?;
        if bytes.len() == 32 { Ok(Self::of(&bytes)) } else { Err(BadKey::Unreadable) }
    }

    fn of(bytes: &[u8]) -> Self {
        let x = URL_SAFE_NO_PAD.encode(bytes);
        // RFC 7638: the required members only, in the order of their names, without white space.
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()));
        Self { kid, x }
    }

    /// The key as a JWK.
    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid, "x": self.x})
    }
}

/// The JWK set of these keys, the signing one first.
pub fn jwks<'k>(keys: impl IntoIterator<Item = &'k PublicKey>) -> Value {
    json!({"keys": keys.into_iter().map(PublicKey::jwk).collect::<Vec<_>>()})
}

/// The claims in the order in which they are written.
#[derive(Serialize)]
struct Payload<'c> {
    iss: &'static str,
    sub: &'c str,
    iat: i64,
    nbf: i64,
    exp: i64,
    decision: &'static str,
    reason: &'static str,
    state: &'static str,
    expires_at: Option<String>,
}

impl SigningKey {
    /// Makes a key. The text is the private key for its file.
    ///
    /// # Errors
    /// [`BadKey::NoRandomness`].
    pub fn generate() -> Result<(Self, SecretString), BadKey> {
        let random = SystemRandom::new();
        let document = Ed25519KeyPair::generate_pkcs8(&random).map_err(|_| BadKey::NoRandomness)?;
        let text = SecretString::from(URL_SAFE_NO_PAD.encode(document.as_ref()));
        Ok((Self::parse(&text)?, text))
    }

    /// Reads a key as [`SigningKey::generate`] wrote it.
    ///
    /// # Errors
    /// [`BadKey::Unreadable`].
    pub fn parse(text: &SecretString) -> Result<Self, BadKey> {
        let document =
            URL_SAFE_NO_PAD.decode(text.expose_secret()).map_err(|_| BadKey::Unreadable)?;
        let pair = Ed25519KeyPair::from_pkcs8(&document).map_err(|_| BadKey::Unreadable)?;
        let public = PublicKey::of(pair.public_key().as_ref());
        let header = json!({"alg": "EdDSA", "kid": public.kid, "typ": "JWT"}).to_string();
        Ok(Self { pair, public, header: URL_SAFE_NO_PAD.encode(header) })
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a lease.
    #[must_use]
    pub fn sign(&self, claims: &Claims) -> String {
        let seconds = |at: crate::domain::time::Timestamp| at.as_ms().div_euclid(1_000);
        let payload = Payload {
            iss: ISSUER,
            sub: claims.code.as_str(),
            iat: seconds(claims.from),
            nbf: seconds(claims.from),
            exp: seconds(claims.until),
            decision: claims.reason.verdict().as_str(),
            reason: claims.reason.as_str(),
            state: claims.state.as_str(),
            expires_at: claims.expires_at.map(|at| at.to_string()),
        };
        // A struct of texts and numbers always serialises; an empty claim set would be refused by all.
        let payload = serde_json::to_vec(&payload).unwrap_or_default();
        let mut token = String::with_capacity(self.header.len() + payload.len() * 2 + 96);
        token.push_str(&self.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = self.pair.sign(token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut token);
        token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entitlement::Reason;
    use crate::domain::license::Code;
    use crate::domain::state::State;
    use crate::domain::time::Timestamp;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

    fn claims() -> Claims {
        let from = Timestamp::from_ms(2_000_000_000_000);
        Claims {
            code: Code::parse("授权-\"1\"").expect("a code"),
            reason: Reason::Expiring,
            state: State::Renewed,
            expires_at: Some(from.plus_ms(5_000)),
            from,
            until: from.plus_ms(3_600_000),
        }
    }

    /// RFC 8037, appendix A.3: the thumbprint of the key of appendix A.1.
    #[test]
    fn the_key_id_is_the_thumbprint_of_the_rfc() {
        let key = PublicKey::parse("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").expect("a key");
        assert_eq!(key.kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let (key, text) = SigningKey::generate().expect("a key");
        let again = SigningKey::parse(&text).expect("the same key");
        assert_eq!(again.public(), key.public());
        assert_eq!(again.sign(&claims()), key.sign(&claims()), "Ed25519 is deterministic");
        for bad in ["", "!", "AAAA", "MC4CAQAwBQYDK2VwBCIEIA"] {
            assert_eq!(SigningKey::parse(&bad.into()).err(), Some(BadKey::Unreadable), "{bad}");
        }
        assert!(!format!("{key:?}").contains(text.expose_secret()));
    }

    #[test]
    fn another_library_verifies_a_lease_by_its_key_set() {
        let (key, _) = SigningKey::generate().expect("a key");
        let (other, _) = SigningKey::generate().expect("a key");
        let token = key.sign(&claims());
        let set: jsonwebtoken::jwk::JwkSet =
            serde_json::from_value(jwks([other.public(), key.public()])).expect("a JWK set");
        let header = decode_header(&token).expect("a header");
        assert_eq!((header.alg, header.typ.as_deref()), (Algorithm::EdDSA, Some("JWT")));
        let jwk = set.find(header.kid.as_deref().expect("a kid")).expect("its key");
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.validate_exp = false;
        rules.set_issuer(&[ISSUER]);
        rules.sub = Some("授权-\"1\"".to_owned());
        let verify = |token: &str, key: &DecodingKey| decode::<Value>(token, key, &rules);
        let right = DecodingKey::from_jwk(jwk).expect("a key");
        let told = verify(&token, &right).expect("it holds").claims;
        assert_eq!(
            told,
            json!({"iss": "authcoded", "sub": "授权-\"1\"", "iat": 2_000_000_000, "nbf": 2_000_000_000,
                   "exp": 2_000_003_600, "decision": "allow", "reason": "expiring", "state": "renewed",
                   "expires_at": "2033-05-18T03:33:25.000Z"})
        );
        let wrong = DecodingKey::from_jwk(&set.keys[0]).expect("a key");
        assert!(verify(&token, &wrong).is_err(), "another key");
        for at in [0, token.len() / 2, token.len() - 3] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(bytes).expect("ASCII");
            assert!(verify(&tampered, &right).is_err(), "changed at {at}");
        }
    }
}
