//! SDK-HMAC-SHA256: how the merchant signs its calls to the open API (protocol.md §3).
//!
//! Invariant: the secret key lives only inside a keyed hash, so nothing here can print it.

pub use super::aksk_verify::{AkskRefused, DATE_WINDOW_MS, verify};
use super::hex;
use crate::domain::time::{DateText, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::{digest, hmac};
use secrecy::{ExposeSecret, SecretString};
use std::fmt;

/// The name of the algorithm, first word of the `Authorization` header.
pub const ALGORITHM: &str = "SDK-HMAC-SHA256";
/// The header that carries the time of signing.
pub const SDK_DATE: &str = "x-sdk-date";
/// The header that, when present, stands for the body's hash.
pub const CONTENT_SHA256: &str = "x-sdk-content-sha256";
/// What the gateway's SDK signs instead of a body that is neither JSON nor BSON.
pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// RFC 3986: everything is encoded but letters, digits and `-_.~`.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An access key id with the key that proves it.
#[derive(Clone)]
pub struct Credentials {
    access_key_id: String,
    pub(super) key: hmac::Key,
}

impl Credentials {
    /// Takes the access key id (`ak`) and the secret key (`sk`) as the console gave them.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the text of the secret is wiped when it drops here"
    )]
    pub fn new(ak: String, sk: SecretString) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, sk.expose_secret().as_bytes());
        Self { access_key_id: ak, key }
    }

    /// The access key id; it names the merchant's account and is sent with each call.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// What may be shown of it: an ellipsis and its last four characters.
    #[must_use]
    pub fn shown(&self) -> String {
        let from = self.access_key_id.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
        format!("…{}", &self.access_key_id[from..])
    }
}

/// The last four characters of the access key id, nothing of the secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.shown())
    }
}

/// What is signed of an HTTP request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The method in capitals.
    pub method: &'a str,
    /// The path as sent: percent-encoded, without the query.
    pub path: &'a str,
    /// The decoded query pairs in any order.
    pub query: &'a [(&'a str, &'a str)],
    /// The headers to sign, `host` and `x-sdk-date` among them; names in any case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body's bytes.
    pub body: &'a [u8],
}

/// `x-sdk-date` of an instant: `yyyyMMdd'T'HHmmss'Z'` in UTC.
#[must_use]
pub fn sdk_date(now: Timestamp) -> String {
    let text = DateText::from_utc(now);
    let (date, time) = text.as_str().split_at(8);
    format!("{date}T{time}Z")
}

/// The instant that an `x-sdk-date` names; `None` if it is not exactly of that form.
#[must_use]
pub fn parse_sdk_date(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    if date.len() != 8 {
        return None;
    }
    DateText::parse(&format!("{date}{time}")).ok().map(|text| text.utc())
}

/// The value of [`CONTENT_SHA256`] that must be sent with (and signed for) this content type, if any.
///
/// The gateway's SDK adds it for everything but `application/json` and `application/bson`, to the letter.
#[must_use]
pub fn content_sha256_header(content_type: Option<&str>) -> Option<&'static str> {
    let signed = ["application/json", "application/bson"];
    content_type
        .filter(|text| !signed.iter().any(|json| text.starts_with(json)))
        .map(|_| UNSIGNED_PAYLOAD)
}

/// The value of the `Authorization` header. Every header whose name has no `_` is signed.
#[must_use]
pub fn authorization(credentials: &Credentials, request: &Request<'_>) -> String {
    let names = signable_names(request.headers);
    let tag = hmac::sign(&credentials.key, string_to_sign_over(request, &names).as_bytes());
    format!(
        "{ALGORITHM} Access={}, SignedHeaders={}, Signature={}",
        credentials.access_key_id,
        names.join(";"),
        hex::encode(tag.as_ref())
    )
}

/// The canonical request over all headers that [`authorization`] signs (protocol.md 3.2).
#[must_use]
pub fn canonical_request(request: &Request<'_>) -> String {
    canonical_over(request, &signable_names(request.headers))
}

/// What is handed to the keyed hash (protocol.md 3.3).
#[must_use]
pub fn string_to_sign(request: &Request<'_>) -> String {
    string_to_sign_over(request, &signable_names(request.headers))
}

fn signable_names(headers: &[(&str, &str)]) -> Vec<String> {
    let mut names: Vec<String> = headers
        .iter()
        .filter(|(name, _)| !name.contains('_'))
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

pub(super) fn string_to_sign_over(request: &Request<'_>, names: &[String]) -> String {
    let hash = sha256_hex(canonical_over(request, names).as_bytes());
    format!("{ALGORITHM}\n{}\n{hash}", header(request.headers, SDK_DATE))
}

fn canonical_over(request: &Request<'_>, names: &[String]) -> String {
    let mut block = String::new();
    for name in names {
        block.extend([name.as_str(), ":", header(request.headers, name), "\n"]);
    }
    let payload = match header(request.headers, CONTENT_SHA256) {
        "" => sha256_hex(request.body),
        given => given.to_owned(),
    };
    [
        request.method,
        &canonical_path(request.path),
        &canonical_query(request.query),
        &block,
        &names.join(";"),
        &payload,
    ]
    .join("\n")
}

/// The path for signing ends with a slash; the one that is sent does not (protocol.md 3.2).
fn canonical_path(path: &str) -> String {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let mut encoded = decoded.split('/').map(encode).collect::<Vec<_>>().join("/");
    if !encoded.ends_with('/') {
        encoded.push('/');
    }
    encoded
}

/// The query as it is signed, and as it is best sent: sorted and encoded, a space as `%20` (protocol.md 3.2).
#[must_use]
pub fn canonical_query(query: &[(&str, &str)]) -> String {
    let mut pairs = query.to_vec();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(key, value)| format!("{}={}", encode(key), encode(value)))
        .collect();
    pairs.join("&")
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The trimmed value of the first header of this name, or nothing.
pub(super) fn header<'a>(headers: &[(&str, &'a str)], name: &str) -> &'a str {
    headers.iter().find(|(h, _)| h.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(ak: &str) -> Credentials {
        Credentials::new(ak.to_owned(), SecretString::from("topsecret"))
    }

    #[test]
    fn paths_and_queries_are_encoded_as_rfc_3986_says() {
        assert_eq!(canonical_path("/"), "/");
        assert_eq!(canonical_path("/a%20b/c~d"), "/a%20b/c~d/");
        let query = [("b", "x y"), ("a", "2"), ("a", "1+*~"), ("ä", "")];
        assert_eq!(canonical_query(&query), "a=1%2B%2A~&a=2&b=x%20y&%C3%A4=");
    }

    #[test]
    fn dates_round_trip_and_bad_ones_are_refused() {
        let noon = parse_sdk_date("20261121T083000Z").expect("a date");
        assert_eq!(noon.to_string(), "2026-11-21T08:30:00.000Z");
        assert_eq!(sdk_date(noon), "20261121T083000Z");
        for bad in
            ["", "20261121T083000", "20261121083000Z", "2026112T1083000Z", "20261321T083000Z"]
        {
            assert_eq!(parse_sdk_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn debug_shows_four_characters_of_the_access_key() {
        let shown = |ak| format!("{:?}", credentials(ak));
        assert_eq!(shown("AKEXAMPLE0000000TEST"), "Credentials(…TEST)");
        assert_eq!(shown("AK"), "Credentials(…AK)");
        assert_eq!(shown(""), "Credentials(…)");
    }
}
