//! The keys that a caller may have signed with, right or wrong.

use super::cause::{Cause, Fault};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};

/// The keys of an installation, as one type of interface sees them.
pub struct KeyRing<'a> {
    /// Those that are accepted, newest first.
    pub live: &'a [SecretString],
    /// Those that were until they were replaced under way, newest first.
    pub replaced: &'a [SecretString],
    /// Those that were, newest first: known to the doctor only.
    pub retired: &'a [SecretString],
    /// Those that are accepted at another type of interface.
    pub other_interface: &'a [SecretString],
    /// The access key id of the open API.
    pub ak: &'a str,
    /// Its secret.
    pub sk: &'a SecretString,
}

/// A key, and what is wrong with its having signed.
pub(super) struct Candidate {
    pub(super) text: SecretString,
    pub(super) hmac: hmac::Key,
    pub(super) fault: Option<Fault>,
}

/// All of them, the likeliest first; none twice.
pub(super) fn candidates(ring: &KeyRing<'_>) -> Vec<Candidate> {
    let mut found = Vec::new();
    for key in ring.live {
        push(&mut found, key.expose_secret(), None);
    }
    for key in ring.replaced {
        let what = "it is signed with an access key that a reload has replaced";
        push(&mut found, key.expose_secret(), Some(Fault::new(Cause::PreviousKey, what)));
    }
    for (nth, key) in ring.retired.iter().enumerate() {
        let fault = if nth == 0 {
            Fault::new(Cause::PreviousKey, "it is signed with the previous access key")
        } else {
            let what = format!(
                "it is signed with an older access key, number {} of callback.retired-access-key-files",
                nth + 1
            );
            Fault { cause: Cause::OlderKey, what: what.into() }
        };
        push(&mut found, key.expose_secret(), Some(fault));
    }
    for key in ring.other_interface {
        let what = "it is signed with the key of another type of interface";
        push(&mut found, key.expose_secret(), Some(Fault::new(Cause::OtherInterfaceKey, what)));
    }
    let what = "it is signed with the SK of the open API";
    push(&mut found, ring.sk.expose_secret(), Some(Fault::new(Cause::OpenApiSecret, what)));
    let what = "it is signed with the AK of the open API";
    push(&mut found, ring.ak, Some(Fault::new(Cause::OpenApiKeyId, what)));
    for key in ring.live {
        for (text, what) in rewritten(key.expose_secret()) {
            push(&mut found, text.expose_secret(), Some(Fault::new(Cause::KeyText, what)));
        }
    }
    found
}

fn push(found: &mut Vec<Candidate>, text: &str, fault: Option<Fault>) {
    let known = found.iter().any(|candidate| candidate.text.expose_secret() == text);
    if !known && !text.is_empty() {
        let hmac = hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes());
        found.push(Candidate { text: SecretString::from(text), hmac, fault });
    }
}

/// What copying makes of a key.
fn rewritten(key: &str) -> Vec<(SecretString, &'static str)> {
    let quoted = key.trim_matches(['"', '\'']);
    let forms = [
        (format!("{key}\n"), "it is signed with our key and a line end behind it"),
        (format!("{key}\r\n"), "it is signed with our key and a line end (CR LF) behind it"),
        (format!("{key} "), "it is signed with our key and a blank behind it"),
        (format!(" {key}"), "it is signed with our key and a blank before it"),
        (quoted.to_owned(), "it is signed with our key without the quotes that our file has"),
        (format!("\"{key}\""), "it is signed with our key in quotes"),
        (
            percent_decode_str(key).decode_utf8_lossy().into_owned(),
            "it is signed with our key URL-decoded",
        ),
        (
            utf8_percent_encode(key, NON_ALPHANUMERIC).to_string(),
            "it is signed with our key URL-encoded",
        ),
        (key.to_lowercase(), "it is signed with our key in lower case"),
        (key.to_uppercase(), "it is signed with our key in upper case"),
        (key.replace('-', ""), "it is signed with our key without its hyphens"),
    ];
    forms.into_iter().map(|(text, what)| (SecretString::from(text), what)).collect()
}
