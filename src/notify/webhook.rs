//! A signed webhook after the Standard Webhooks specification (standardwebhooks.com, version 1): headers
//! `webhook-id`, `webhook-timestamp` (seconds) and `webhook-signature`, which is `v1,` and the base64 of
//! HMAC-SHA256 over `id.timestamp.body`, with the bytes that stand in base64 behind `whsec_` as the key.
//!
//! Invariant: the id and the body of a message are the same at every try; the timestamp is the try's own.

use super::letter::Letter;
use super::wire::Post;
use crate::domain::language::Language;
use crate::domain::time::{SECOND_MS, Timestamp};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

/// What a secret begins with.
const PREFIX: &str = "whsec_";

/// A webhook.
pub(super) struct Webhook {
    post: Post,
    key: hmac::Key,
}

impl Webhook {
    pub(super) fn new(
        url: &SecretString,
        secret: &SecretString,
        extra_ca: Option<&[u8]>,
    ) -> Result<Self, String> {
        let wrong = || "its secret is not whsec_ and base64".to_owned();
        let text = secret.expose_secret().strip_prefix(PREFIX).ok_or_else(wrong)?;
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| wrong())?;
        Ok(Self { post: Post::new(url, extra_ca)?, key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) })
    }

    /// Any 2xx takes the message.
    pub(super) async fn send(
        &self,
        letter: &Letter,
        language: Language,
        now: Timestamp,
    ) -> Result<(), String> {
        let body = body(letter, language);
        let at = now.as_ms().div_euclid(SECOND_MS).to_string();
        let signature = signature(&self.key, &letter.id, &at, &body);
        let headers = [
            ("webhook-id", letter.id.as_str()),
            ("webhook-timestamp", at.as_str()),
            ("webhook-signature", signature.as_str()),
        ];
        match self.post.json(&[], &headers, body).await?.status {
            200..=299 => Ok(()),
            status => Err(format!("it answered HTTP {status}")),
        }
    }
}

fn signature(key: &hmac::Key, id: &str, at: &str, body: &str) -> String {
    let signed = hmac::sign(key, format!("{id}.{at}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(signed))
}

fn body(letter: &Letter, language: Language) -> String {
    let phase = letter.phase.map_or("test", |phase| phase.as_str());
    let facts = &letter.facts;
    json!({
        "type": format!("alarm.{phase}"),
        "timestamp": letter.told_at.to_string(),
        "data": {
            "installation": letter.installation,
            "title": letter.title(language),
            "number": letter.number,
            "id": facts.cause,
            "kind": facts.kind,
            "severity": letter.severity.as_str(),
            "since": letter.since.to_string(),
            "code": facts.code,
            "text": facts.text,
            "what_to_do": facts.what_to_do,
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example that the specification gives.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
        assert_eq!(
            signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "{\"test\": 2432232314}"),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }
}
