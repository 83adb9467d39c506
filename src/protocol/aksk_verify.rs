//! The gateway's side of SDK-HMAC-SHA256: who refuses what, and why (protocol.md 2.9 and §3).
//!
//! Invariant: as strict as the documents, because it stands for the marketplace in sandbox and tests.

use super::aksk::{
    ALGORITHM, CONTENT_SHA256, Credentials, Request, SDK_DATE, UNSIGNED_PAYLOAD, header,
    parse_sdk_date, sha256_hex, string_to_sign_over,
};
use super::hex;
use crate::domain::time::{MINUTE_MS, Timestamp};
use ring::hmac;

/// How far `x-sdk-date` may be from the gateway's clock, in milliseconds (protocol.md 2.9).
pub const DATE_WINDOW_MS: i64 = 15 * MINUTE_MS;

/// Why a signed request is refused, as the gateway would (protocol.md 2.9, APIGW.0301).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AkskRefused {
    /// No `Authorization` header.
    #[error("the caller sent no Authorization header: sign the request")]
    Missing,
    /// The header, or what it names, is not of the documented form.
    #[error("the caller's signature is malformed: {0}")]
    Malformed(&'static str),
    /// Another access key.
    #[error("the caller's access key id is unknown here: compare it with the configured one")]
    UnknownAccessKey,
    /// `x-sdk-date` too far away.
    #[error(
        "the caller's x-sdk-date is {skew_ms} ms from our clock, more than 15 minutes: set its clock"
    )]
    Clock {
        /// Our clock minus `x-sdk-date`, in milliseconds.
        skew_ms: i64,
    },
    /// The signature is not that of the request under this key.
    #[error(
        "the caller's signature does not fit the request: compare secret key, path, headers and body"
    )]
    Signature,
}

/// Checks a request as the gateway does. `request.headers` holds all headers that arrived.
///
/// # Errors
/// [`AkskRefused`], the first fault found in the order: form, access key, clock, signature.
pub fn verify(
    credentials: &Credentials,
    request: &Request<'_>,
    authorization: Option<&str>,
    now: Timestamp,
) -> Result<(), AkskRefused> {
    let claim = Claim::parse(authorization.ok_or(AkskRefused::Missing)?)?;
    claim.check_headers(request)?;
    if claim.access_key_id != credentials.access_key_id() {
        return Err(AkskRefused::UnknownAccessKey);
    }
    let date = header(request.headers, SDK_DATE);
    let signed_at = parse_sdk_date(date)
        .ok_or(AkskRefused::Malformed("x-sdk-date is not yyyyMMdd'T'HHmmss'Z'"))?;
    let skew_ms = now.ms_since(signed_at);
    if skew_ms.saturating_abs() > DATE_WINDOW_MS {
        return Err(AkskRefused::Clock { skew_ms });
    }
    check_content_hash(request)?;
    let text = string_to_sign_over(request, &claim.signed_headers);
    hmac::verify(&credentials.key, text.as_bytes(), &claim.signature)
        .map_err(|_| AkskRefused::Signature)
}

/// What an `Authorization` header says.
struct Claim<'a> {
    access_key_id: &'a str,
    signed_headers: Vec<String>,
    signature: [u8; 32],
}

impl<'a> Claim<'a> {
    fn parse(text: &'a str) -> Result<Self, AkskRefused> {
        use AkskRefused::Malformed;
        let parts = text
            .strip_prefix(ALGORITHM)
            .and_then(|rest| rest.strip_prefix(' '))
            .ok_or(Malformed("the algorithm is not SDK-HMAC-SHA256"))?;
        let [access, headers, signature] = parts.split(", ").collect::<Vec<_>>()[..] else {
            return Err(Malformed("Authorization needs Access, SignedHeaders and Signature"));
        };
        let access_key_id =
            access.strip_prefix("Access=").ok_or(Malformed("Access= is missing"))?;
        let headers =
            headers.strip_prefix("SignedHeaders=").ok_or(Malformed("SignedHeaders= is missing"))?;
        let signature = signature
            .strip_prefix("Signature=")
            .and_then(hex::decode_32)
            .ok_or(Malformed("Signature= is not 64 hex digits"))?;
        let signed_headers = headers.split(';').map(str::to_owned).collect();
        Ok(Self { access_key_id, signed_headers, signature })
    }

    fn check_headers(&self, request: &Request<'_>) -> Result<(), AkskRefused> {
        use AkskRefused::Malformed;
        let names = &self.signed_headers;
        if !names.is_sorted_by(|a, b| a < b) || names.iter().any(|n| *n != n.to_ascii_lowercase()) {
            return Err(Malformed("SignedHeaders must be sorted, lower case, each once"));
        }
        for required in ["host", SDK_DATE] {
            if !names.iter().any(|name| name == required) {
                return Err(Malformed("SignedHeaders must hold host and x-sdk-date"));
            }
        }
        for name in names {
            let sent = request.headers.iter().filter(|(h, _)| h.eq_ignore_ascii_case(name));
            if sent.count() != 1 {
                return Err(Malformed("a signed header is not sent exactly once"));
            }
        }
        let stands_for_body =
            request.headers.iter().any(|(h, _)| h.eq_ignore_ascii_case(CONTENT_SHA256));
        if stands_for_body && !names.iter().any(|name| name == CONTENT_SHA256) {
            return Err(Malformed("x-sdk-content-sha256 is sent but not signed"));
        }
        Ok(())
    }
}

/// A body hash given as a header must be the body's, unless it says that the body is not signed.
fn check_content_hash(request: &Request<'_>) -> Result<(), AkskRefused> {
    let given = header(request.headers, CONTENT_SHA256);
    if given.is_empty() || given == UNSIGNED_PAYLOAD || given == sha256_hex(request.body) {
        Ok(())
    } else {
        Err(AkskRefused::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::aksk::authorization;
    use secrecy::SecretString;

    const HEADERS: [(&str, &str); 3] = [
        ("Content-Type", "application/json"),
        ("X-Sdk-Date", "20261121T083000Z"),
        ("Host", "mkt.myhuaweicloud.com"),
    ];

    fn credentials(sk: &str) -> Credentials {
        Credentials::new("AKEXAMPLE0000000TEST".to_owned(), SecretString::from(sk))
    }

    fn request<'a>(headers: &'a [(&'a str, &'a str)], body: &'a [u8]) -> Request<'a> {
        Request { method: "POST", path: "/license/activate", query: &[], headers, body }
    }

    fn noon() -> Timestamp {
        parse_sdk_date("20261121T083000Z").expect("a date")
    }

    #[test]
    fn what_we_sign_is_accepted_with_headers_that_others_added() {
        let key = credentials("sk");
        let header = authorization(&key, &request(&HEADERS, b"{}"));
        let mut arrived = HEADERS.to_vec();
        arrived.extend([("user-agent", "x"), ("content-length", "2")]);
        assert_eq!(verify(&key, &request(&arrived, b"{}"), Some(&header), noon()), Ok(()));
    }

    #[test]
    fn each_fault_has_its_name() {
        let key = credentials("sk");
        let good = authorization(&key, &request(&HEADERS, b"{}"));
        let check = |headers: &[(&str, &str)], body: &[u8], text: Option<&str>, now| {
            verify(&key, &request(headers, body), text, now).expect_err("refused")
        };
        let refused = |text: &str| check(&HEADERS, b"{}", Some(text), noon());
        assert_eq!(check(&HEADERS, b"{}", None, noon()), AkskRefused::Missing);
        assert_eq!(check(&HEADERS, b"{ }", Some(&good), noon()), AkskRefused::Signature);
        let other =
            HEADERS.map(|(n, v)| if n == "Host" { (n, "mkt.myhuaweicloud.cn") } else { (n, v) });
        assert_eq!(check(&other, b"{}", Some(&good), noon()), AkskRefused::Signature);
        let foreign = authorization(&credentials("ks"), &request(&HEADERS, b"{}"));
        assert_eq!(refused(&foreign), AkskRefused::Signature);
        assert_eq!(refused(&good.replace("AKEX", "AKEY")), AkskRefused::UnknownAccessKey);
        for bad in [
            String::new(),
            "Bearer x".to_owned(),
            good.replace("SDK-HMAC-SHA256 ", "SDK-HMAC-SHA256"),
            good.replace(", ", ","),
            good.replace("host;", ""),
            good.replace("content-type;host", "host;content-type"),
            good.replace("content-type", "Content-Type"),
            good.replace("content-type;", "content-type;date;"),
            good[..good.len() - 1].to_owned(),
        ] {
            assert!(matches!(refused(&bad), AkskRefused::Malformed(_)), "{bad}");
        }
    }

    #[test]
    fn the_clock_may_be_a_quarter_of_an_hour_away_on_both_sides() {
        let key = credentials("sk");
        let header = authorization(&key, &request(&HEADERS, b""));
        for (ms, ok) in [
            (DATE_WINDOW_MS, true),
            (-DATE_WINDOW_MS, true),
            (DATE_WINDOW_MS + 1, false),
            (-DATE_WINDOW_MS - 1, false),
        ] {
            let result = verify(&key, &request(&HEADERS, b""), Some(&header), noon().plus_ms(ms));
            let expected = if ok { Ok(()) } else { Err(AkskRefused::Clock { skew_ms: ms }) };
            assert_eq!(result, expected);
        }
    }

    #[test]
    fn a_body_hash_in_a_header_counts_only_when_it_is_true_and_signed() {
        let key = credentials("sk");
        let with =
            |hash: &'static str| [HEADERS.as_slice(), &[("X-Sdk-Content-Sha256", hash)]].concat();
        let unsigned = with(UNSIGNED_PAYLOAD);
        let header = authorization(&key, &request(&unsigned, b"a"));
        assert_eq!(verify(&key, &request(&unsigned, b"b"), Some(&header), noon()), Ok(()));
        let plain = authorization(&key, &request(&HEADERS, b"a"));
        let refused = verify(&key, &request(&unsigned, b"a"), Some(&plain), noon());
        assert!(matches!(refused, Err(AkskRefused::Malformed(_))));
        let lie = with("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let header = authorization(&key, &request(&lie, b""));
        assert_eq!(verify(&key, &request(&lie, b""), Some(&header), noon()), Ok(()));
        assert_eq!(
            verify(&key, &request(&lie, b"a"), Some(&header), noon()),
            Err(AkskRefused::Signature)
        );
    }
}
