//! Where a call's signature, timestamp and nonce stand, and in which other forms they may have been signed.

use super::cause::{Cause, Fault};
use super::schemes::AuthToken;
use crate::domain::time::{SECOND_MS, Timestamp};
use crate::protocol::hex;
use crate::protocol::parameters::url_decode;
use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The headers in which some callers put what belongs into the URL, lower case.
pub const SIGNATURE_HEADERS: [&str; 8] = [
    "signature",
    "timestamp",
    "nonce",
    "x-sign",
    "x-timestamp",
    "x-nonce",
    "authtoken",
    "authorization",
];

/// The names of signature, timestamp and nonce, the right ones first; lower case.
const QUERY_NAMES: [[&str; 3]; 3] = [
    ["signature", "timestamp", "nonce"],
    ["sign", "timestamp", "nonce"],
    ["x-sign", "x-timestamp", "x-nonce"],
];
/// The scheme of calls in the other direction.
const OPEN_API: &str = "SDK-HMAC-SHA256";

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a call carries to prove itself.
pub(super) enum Found {
    Sent(Sent),
    AuthToken(AuthToken),
    /// Nothing; the fault says what was seen instead.
    Nowhere(Fault),
}

/// The three parameters.
pub(super) struct Sent {
    pub(super) signature: String,
    pub(super) timestamp: String,
    /// Decoded once.
    pub(super) nonce: String,
    /// As it stands in the URL.
    nonce_raw: String,
    /// That they do not stand where they should.
    pub(super) place: Option<Fault>,
}

/// A form in which a parameter may have been signed.
pub(super) struct Form {
    pub(super) text: String,
    pub(super) fault: Option<Fault>,
}

/// Finds what the call carries.
pub(super) fn locate(query: Option<&str>, headers: &[(&'static str, String)]) -> Found {
    let query = query.unwrap_or("");
    if let Some(sent) = in_query(query).or_else(|| in_headers(headers)) {
        return Found::Sent(sent);
    }
    if let Some(token) = auth_token(query, headers) {
        return Found::AuthToken(token);
    }
    let header = |name| headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value);
    Found::Nowhere(if header("authorization").is_some_and(|value| value.starts_with(OPEN_API)) {
        Fault::new(Cause::OpenApiSignature, "it is signed as calls of the open API are (AK/SK)")
    } else if query.is_empty() {
        Fault::new(Cause::NoQuery, "it has no query string")
    } else {
        Fault::new(Cause::NoSignature, "its query string holds no signature")
    })
}

fn in_query(query: &str) -> Option<Sent> {
    let raw = |wanted: &str| {
        let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(name, _)| {
            url_decode(name).is_some_and(|name| name.eq_ignore_ascii_case(wanted))
        })
    };
    let ([s, t, n], place) = QUERY_NAMES.into_iter().enumerate().find_map(|(nth, names)| {
        let [Some(s), Some(t), Some(n)] = names.map(raw) else { return None };
        let right =
            nth == 0 && [s, t, n].iter().all(|(name, _)| !name.contains(char::is_uppercase));
        let what = "its parameters have other names than signature, timestamp and nonce";
        let place = (!right).then(|| Fault::new(Cause::Elsewhere, what));
        Some(([s.1, t.1, n.1], place))
    })?;
    Some(Sent {
        signature: url_decode(s)?,
        timestamp: url_decode(t)?,
        nonce: url_decode(n)?,
        nonce_raw: n.to_owned(),
        place,
    })
}

fn in_headers(headers: &[(&'static str, String)]) -> Option<Sent> {
    let header = |wanted| headers.iter().find(|(name, _)| *name == wanted).map(|(_, v)| v.clone());
    QUERY_NAMES.into_iter().find_map(|[signature, timestamp, nonce]| {
        let nonce = header(nonce)?;
        let what = "its parameters stand in headers, not in the URL";
        Some(Sent {
            signature: header(signature)?,
            timestamp: header(timestamp)?,
            nonce_raw: nonce.clone(),
            nonce,
            place: Some(Fault::new(Cause::Elsewhere, what)),
        })
    })
}

fn auth_token(query: &str, headers: &[(&'static str, String)]) -> Option<AuthToken> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((url_decode(name)?, url_decode(value)?))
        })
        .collect();
    let in_header = headers.iter().find(|(name, _)| *name == "authtoken").map(|(_, v)| v.clone());
    let in_query = pairs.iter().position(|(name, _)| name == "authToken");
    let token = match in_query {
        Some(at) => pairs.remove(at).1,
        None => in_header?,
    };
    pairs.sort();
    let timestamp = pairs.iter().find(|(name, _)| name == "timeStamp").map(|(_, v)| v.clone());
    let parameters: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Some(AuthToken {
        token,
        timestamp: timestamp.unwrap_or_default(),
        parameters: parameters.join("&"),
    })
}

impl Sent {
    /// When it was signed, whichever the unit.
    pub(super) fn signed_at(&self) -> Option<Timestamp> {
        let number: i64 = self.timestamp.parse().ok()?;
        match self.timestamp.len() {
            13 => Some(Timestamp::from_ms(number)),
            10 => Some(Timestamp::from_ms(number.saturating_mul(SECOND_MS))),
            _ => None,
        }
    }

    /// The signature's bytes, and what is wrong with how they are written.
    pub(super) fn signature_bytes(&self) -> Option<([u8; 32], Option<Fault>)> {
        let text = self.signature.as_str();
        if let Some(bytes) = hex::decode_32(text) {
            return Some((bytes, None));
        }
        let bare = text.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'');
        let bare = bare.rsplit_once('=').map_or(bare, |(prefix, rest)| {
            if prefix.is_empty() || rest.is_empty() { bare } else { rest }
        });
        let bare = bare.strip_prefix("0x").unwrap_or(bare);
        if let Some(bytes) = hex::decode_32(bare) {
            let what = "there is more around the signature's 64 hex digits";
            return Some((bytes, Some(Fault::new(Cause::SignatureForm, what))));
        }
        // A bare plus sign has been read as a blank by now.
        let safe = text.replace([' ', '+'], "-").replace('/', "_");
        let bytes = LENIENT.decode(safe).ok()?;
        let what = "the signature is written in base64";
        let fault = Some(Fault::new(Cause::SignatureBase64, what));
        let hex_inside = std::str::from_utf8(&bytes).ok().and_then(hex::decode_32);
        Some((bytes.try_into().ok().or(hex_inside)?, fault))
    }

    /// The nonce in the forms in which it may have been signed; the one we take first.
    pub(super) fn nonces(&self) -> Vec<Form> {
        let (raw, nonce) = (&self.nonce_raw, &self.nonce);
        let plus = if raw.contains('+') { Cause::PlusAsSpace } else { Cause::NotDecoded };
        let as_it_stands = "the nonce was signed as it stands in the URL: the signer does not encode it, or a proxy has decoded it already";
        let mut forms = vec![
            Form { text: nonce.clone(), fault: None },
            Form { text: raw.clone(), fault: Some(Fault::new(plus, as_it_stands)) },
        ];
        let mut push = |text: Option<String>, cause, what| {
            if let Some(text) = text
                && forms.iter().all(|form| form.text != text)
            {
                forms.push(Form { text, fault: Some(Fault::new(cause, what)) });
            }
        };
        push(
            percent_decode_str(raw).decode_utf8().ok().map(Into::into),
            Cause::PlusAsSpace,
            "a + of the nonce was signed as +, but stands in the URL without being encoded",
        );
        push(
            Some(utf8_percent_encode(nonce, NON_ALPHANUMERIC).to_string()),
            Cause::NotDecoded,
            "the nonce was signed in its URL-encoded form",
        );
        push(
            url_decode(nonce),
            Cause::EncodedTwice,
            "the nonce is URL-encoded twice: it must be decoded twice to fit",
        );
        push(
            Some(nonce.trim().to_owned()),
            Cause::NonceChanged,
            "blanks around the nonce were not signed",
        );
        push(
            Some(nonce.to_lowercase()),
            Cause::NonceChanged,
            "the nonce was signed in lower case, but sent otherwise",
        );
        push(
            Some(nonce.to_uppercase()),
            Cause::NonceChanged,
            "the nonce was signed in upper case, but sent otherwise",
        );
        forms
    }

    /// The timestamp in milliseconds and in seconds; the one that was sent first.
    pub(super) fn timestamps(&self) -> Vec<Form> {
        let sent = self.timestamp.clone();
        let seconds = |what| Some(Fault::new(Cause::Seconds, what));
        match (sent.len(), sent.is_ascii()) {
            (10, true) => vec![
                Form {
                    text: format!("{sent}000"),
                    fault: seconds("its timestamp is sent in seconds"),
                },
                Form { text: sent, fault: seconds("its timestamp is in seconds") },
            ],
            (13, true) => vec![
                Form {
                    text: sent[..10].to_owned(),
                    fault: seconds("its timestamp was signed in seconds, but sent in milliseconds"),
                },
                Form { text: sent, fault: None },
            ],
            _ => vec![Form { text: sent, fault: None }],
        }
    }
}
