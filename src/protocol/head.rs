//! The head of a callback's request as evidence keeps it: JSON, as received, without secrets.
//!
//! Invariant: a value that could let somebody in is kept as its SHA-256 only; and a stranger cannot make
//! the record long.

use super::hex;
use percent_encoding::percent_decode_str;
use ring::digest::{SHA256, digest};
use serde::Serialize;

/// A target or a value is cut here, in characters.
const VALUE_MAX: usize = 1_024;
/// All names and values together; what comes after is only counted.
const ALL_MAX: usize = 6 << 10;
/// What the name of a secret header or parameter has in it.
const SECRETS: [&str; 8] =
    ["signature", "authorization", "auth-", "token", "secret", "cookie", "password", "-key"];

#[derive(Serialize)]
struct Head<'a> {
    method: &'a str,
    target: String,
    headers: Vec<(&'a str, String)>,
    /// Headers that were not kept.
    omitted: u32,
}

/// The head as JSON. Values of headers are read as ISO 8859-1, so that no byte is lost.
#[must_use]
pub fn record<'a>(
    method: &str,
    path: &str,
    query: Option<&str>,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> String {
    let target =
        query.map_or_else(|| cut(path), |query| format!("{}?{}", cut(path), masked(query)));
    let mut left = ALL_MAX.saturating_sub(target.len());
    let mut head = Head { method, target, headers: Vec::with_capacity(8), omitted: 0 };
    let secrets = secrets_of(query.unwrap_or_default());
    let repeats = |value: &[u8]| secrets.iter().any(|secret| holds(value, secret.as_bytes()));
    for (name, value) in headers {
        // A proxy may tell the whole target once more.
        let value =
            if is_secret(name) || repeats(value) { digest_of(value) } else { cut(&latin(value)) };
        let length = name.len() + value.len();
        if length > left {
            head.omitted += 1;
            continue;
        }
        left -= length;
        head.headers.push((name, value));
    }
    serde_json::to_string(&head).unwrap_or_default()
}

/// The values of the secret parameters.
fn secrets_of(query: &str) -> Vec<&str> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let secret = |(name, _): &(&str, _)| is_secret(&percent_decode_str(name).decode_utf8_lossy());
    pairs.filter(secret).map(|(_, value)| value).filter(|value| !value.is_empty()).collect()
}

fn holds(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn masked(query: &str) -> String {
    let parameter = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if is_secret(&percent_decode_str(name).decode_utf8_lossy()) => {
            format!("{name}={}", digest_of(value.as_bytes()))
        }
        Some(_) | None => pair.to_owned(),
    };
    cut(&query.split('&').map(parameter).collect::<Vec<_>>().join("&"))
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRETS.iter().any(|secret| name.contains(secret))
}

fn digest_of(value: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest(&SHA256, value).as_ref()))
}

fn latin(value: &[u8]) -> String {
    value.iter().copied().map(char::from).collect()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(VALUE_MAX) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}… ({} bytes)", &text[..at], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn recorded(query: &str, headers: &[(&str, &[u8])]) -> Value {
        let text = record("POST", "/callback", Some(query), headers.iter().copied());
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn signatures_and_tokens_are_kept_as_digests() {
        let digest = format!("sha256:{}", hex::encode(digest(&SHA256, b"abc").as_ref()));
        let head = recorded(
            "signature=abc&timestamp=1&nonce=n&%53ignature=abc",
            &[
                ("host", b"a"),
                ("authorization", b"abc"),
                ("x-auth-token", b"abc"),
                ("x-o", b"\xe4"),
            ],
        );
        let target =
            format!("/callback?signature={digest}&timestamp=1&nonce=n&%53ignature={digest}");
        let headers = json!([
            ["host", "a"],
            ["authorization", digest],
            ["x-auth-token", digest],
            ["x-o", "ä"]
        ]);
        assert_eq!(
            head,
            json!({ "method": "POST", "target": target, "headers": headers, "omitted": 0 })
        );
    }

    #[test]
    fn a_header_that_repeats_the_query_is_kept_as_its_digest() {
        let original = b"/callback?signature=abc&timestamp=1";
        let head = recorded("signature=abc&timestamp=1", &[("x-original-uri", original)]);
        let digest = format!("sha256:{}", hex::encode(digest(&SHA256, original).as_ref()));
        assert_eq!(head["headers"], json!([["x-original-uri", digest]]));
    }

    proptest! {
        #[test]
        fn whatever_comes_it_is_short_json_without_the_secret(
            query in ".{0,4000}",
            values in proptest::collection::vec((0..3_usize, proptest::collection::vec(any::<u8>(), 0..3000)), 0..40),
        ) {
            let names = ["x-one", "cookie", "user-agent"];
            let secret = "s3cret-s3cret";
            let query = format!("signature={secret}&{query}");
            let headers = values.iter().map(|(name, value)| (names[*name], value.as_slice()));
            let text = record("POST", "/c", Some(&query), headers.chain([("authorization", secret.as_bytes())]));
            prop_assert!(serde_json::from_str::<Value>(&text).is_ok());
            prop_assert!(!text.contains(secret));
            // A control character is six bytes of JSON.
            prop_assert!(text.len() < 8 * ALL_MAX, "{}", text.len());
        }
    }
}
