//! Every vector of both published files, with every field the files give.

use authcoded::domain::outcome::ResultCode;
use authcoded::domain::slots::Zone;
use authcoded::domain::time::Timestamp;
use authcoded::protocol::aksk::{self, Credentials};
use authcoded::protocol::callback;
use authcoded::protocol::callback_auth::{self, AccessKey, AuthError};
use ring::{digest, hmac};
use secrecy::SecretString;
use serde_json::Value;

const AKSK: &str = include_str!("../vectors/aksk-vectors.json");
const CALLBACK: &str = include_str!("../vectors/callback-vectors.json");

fn load(file: &str) -> Value {
    serde_json::from_str(file).expect("a vector file is JSON")
}

fn list<'a>(file: &'a Value, name: &str) -> &'a Vec<Value> {
    file[name].as_array().expect("a list of vectors")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hmac_hex(key: &str, data: &[u8]) -> String {
    hex(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), data).as_ref())
}

fn access_key(vector: &Value) -> AccessKey {
    AccessKey::new(SecretString::from(text(vector, "access_key")))
}

fn pairs(map: &Value) -> Vec<(&str, &str)> {
    let map = map.as_object().expect("headers");
    map.iter().map(|(name, value)| (name.as_str(), value.as_str().expect("a value"))).collect()
}

#[test]
fn aksk_vectors() {
    let file = load(AKSK);
    let vectors = list(&file, "vectors");
    assert_eq!(vectors.len(), 12);
    assert_eq!(text(&file, "algorithm"), aksk::ALGORITHM);
    for vector in vectors {
        aksk_vector(vector);
    }
}

fn aksk_vector(vector: &Value) {
    let name = text(vector, "name");
    let sent = &vector["request"];
    let body = text(sent, "body_utf8").as_bytes();
    assert_eq!(hex(body), text(sent, "body_hex"), "{name}");

    // What the caller must add before signing: Host, and the stand-in for a body that is not JSON.
    let mut headers = pairs(&sent["headers"]);
    let content_type = headers.iter().find(|(n, _)| *n == "Content-Type").map(|(_, v)| *v);
    if !headers.iter().any(|(n, _)| *n == "Host") {
        headers.push(("Host", text(sent, "host")));
    }
    if let Some(value) = aksk::content_sha256_header(content_type) {
        headers.push(("X-Sdk-Content-Sha256", value));
    }
    let mut finals = pairs(&vector["final_headers"]);
    finals.retain(|(n, _)| *n != "Authorization");
    finals.sort_unstable();
    headers.sort_unstable();
    assert_eq!(headers, finals, "{name}");

    let query: Vec<(&str, &str)> = list(sent, "query")
        .iter()
        .map(|pair| (pair[0].as_str().expect("a key"), pair[1].as_str().expect("a value")))
        .collect();
    let (method, path) = (text(sent, "method"), text(sent, "path"));
    let target: Vec<String> = query.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let target =
        if target.is_empty() { path.to_owned() } else { format!("{path}?{}", target.join("&")) };
    assert_eq!(target, text(sent, "request_target"), "{name}");

    let request = aksk::Request { method, path, query: &query, headers: &headers, body };
    let canonical = aksk::canonical_request(&request);
    assert_eq!(canonical, text(vector, "canonical_request"), "{name}");
    let payload = text(vector, "payload_sha256");
    assert!(canonical.ends_with(payload), "{name}");
    assert!(payload == aksk::UNSIGNED_PAYLOAD || payload == sha256(body), "{name}");
    assert_eq!(aksk::string_to_sign(&request), text(vector, "string_to_sign"), "{name}");

    let sk = SecretString::from(text(vector, "sk"));
    let credentials = Credentials::new(text(vector, "ak").to_owned(), sk);
    let header = aksk::authorization(&credentials, &request);
    assert_eq!(header, text(vector, "authorization"), "{name}");
    assert!(header.ends_with(text(vector, "signature")), "{name}");
    assert_eq!(header, text(&vector["final_headers"], "Authorization"), "{name}");

    let date = text(&vector["final_headers"], "X-Sdk-Date");
    let now = aksk::parse_sdk_date(date).expect("a date");
    assert_eq!(aksk::sdk_date(now), date);
    assert_eq!(aksk::verify(&credentials, &request, Some(&header), now), Ok(()), "{name}");
    let late = now.plus_ms(aksk::DATE_WINDOW_MS + 1);
    assert!(aksk::verify(&credentials, &request, Some(&header), late).is_err(), "{name}");
}

#[test]
fn callback_vectors() {
    let file = load(CALLBACK);
    let vectors = list(&file, "vectors");
    assert_eq!(vectors.len(), 24);
    for vector in vectors {
        callback_arithmetic(vector);
        callback_verdict(vector);
    }
}

/// The fields that show the way to the signature, recomputed without our code, then with it.
fn callback_arithmetic(vector: &Value) {
    let name = text(vector, "name");
    let (key, body) = (text(vector, "access_key"), text(vector, "body_utf8"));
    assert_eq!(sha256(body.as_bytes()), text(vector, "body_sha256"), "{name}");
    let inner = hmac_hex(key, body.as_bytes());
    assert_eq!(inner, text(vector, "inner_hmac_raw"), "{name}");
    let (time, nonce) = (text(vector, "timestamp"), vector["nonce"].as_str().unwrap_or(""));
    let canonical = [key, nonce, time, &inner].concat();
    assert_eq!(canonical, text(vector, "canonical_request_raw"), "{name}");
    assert_eq!(hmac_hex(key, canonical.as_bytes()), text(vector, "signature_raw"), "{name}");
    let Ok(at) = time.parse().map(Timestamp::from_ms) else { return };
    let sign = |body: &str| callback_auth::sign(&access_key(vector), body.as_bytes(), at, nonce);
    assert_eq!(sign(body), text(vector, "signature_raw"), "{name}");
    if let Some(sorted) = vector["body_sorted_compact"].as_str() {
        assert_eq!(hmac_hex(key, sorted.as_bytes()), text(vector, "inner_hmac_sorted"), "{name}");
        assert_eq!(sign(sorted), text(vector, "signature_sorted"), "{name}");
    }
}

fn callback_verdict(vector: &Value) {
    let name = text(vector, "name");
    assert_eq!(
        (text(vector, "method"), text(vector, "content_type")),
        ("POST", "application/json")
    );
    let query = text(vector, "url_query");
    if let Some(sent) = vector["signature_sent"].as_str() {
        assert!(query.contains(sent), "{name}");
    }
    let body = text(vector, "body_utf8").as_bytes();
    let now = Timestamp::from_ms(vector["server_now_ms"].as_i64().expect("ms"));
    let keys = [AccessKey::new(SecretString::from("a newer key")), access_key(vector)];
    let code = match callback_auth::verify(Some(query), body, &keys, now) {
        Err(refused) => refused.result_code(),
        Ok(verified) => {
            assert_eq!(verified.nonce(), text(vector, "nonce"), "{name}");
            assert_eq!(
                verified.signed_at().as_ms().to_string(),
                text(vector, "timestamp"),
                "{name}"
            );
            assert_eq!(verified.key_index(), 1, "{name}");
            match callback::decode(&verified, Zone::UTC) {
                Ok(decoded) => {
                    assert!(
                        text(vector, "body_utf8").contains(decoded.activity.as_str()),
                        "{name}"
                    );
                    assert_eq!(
                        decoded.test,
                        text(vector, "body_utf8").contains("\"testFlag\":\"1\""),
                        "{name}"
                    );
                    ResultCode::Done
                }
                Err(refused) => refused.result_code(),
            }
        }
    };
    // A replay is found by the store: here it is authentic, like the first call.
    let seen = vector["nonce_already_seen"].as_bool().expect("a flag");
    assert_eq!(seen, text(vector, "expect") == "replay", "{name}");
    let expected = if seen { "000000" } else { text(vector, "expect_result_code") };
    assert_eq!(code.as_str(), expected, "{name}");
    assert_eq!(code == ResultCode::Done, text(vector, "expect") != "reject", "{name}");
}

/// The signatures of sister products must not open this door.
#[test]
fn other_variants_are_refused() {
    let file = load(CALLBACK);
    let variants = list(&file, "other_variants");
    assert_eq!(variants.len(), 6);
    let now = Timestamp::from_ms(file["server_now_default_ms"].as_i64().expect("ms"));
    for variant in variants {
        let name = text(variant, "name");
        let body = variant["body"].as_str().unwrap_or("").as_bytes();
        let keys = [access_key(variant)];
        let refused =
            |query: &str| callback_auth::verify(Some(query), body, &keys, now).expect_err(name);
        if let Some(url) = variant["url"].as_str() {
            let refusal = refused(url.trim_start_matches('?'));
            assert_eq!(refusal, AuthError::MissingSignature, "{name}");
        } else if let Some(sign) = variant["x_sign"].as_str() {
            let (time, nonce) = (text(variant, "x_timestamp"), text(variant, "x_nonce"));
            let query = format!("signature={sign}&timestamp={time}&nonce={nonce}");
            assert_eq!(refused(&query), AuthError::BadSignature, "{name}");
        } else {
            let query = format!(
                "signature={}&timestamp={}&nonce=x",
                text(variant, "signature"),
                now.as_ms()
            );
            assert_eq!(refused(&query), AuthError::BadSignature, "{name}");
        }
    }
}

/// Their keys are not published: the parameters are found, and only the signature is at fault.
#[test]
fn published_examples_are_parsed() {
    let file = load(CALLBACK);
    let examples = list(&file, "published_examples");
    assert_eq!(examples.len(), 3);
    for example in examples {
        let name = text(example, "name");
        let (_, query) = text(example, "url").split_once('?').expect("a query");
        let time = query.split("timestamp=").nth(1).and_then(|rest| rest.split('&').next());
        let now = Timestamp::from_ms(time.expect("a timestamp").parse().expect("ms"));
        let body = text(example, "body").as_bytes();
        assert!(serde_json::from_slice::<Value>(body).is_ok(), "{name}");
        let key = AccessKey::new(SecretString::from("unpublished"));
        let verify =
            |now| callback_auth::verify(Some(query), body, std::slice::from_ref(&key), now);
        assert_eq!(verify(now), Err(AuthError::BadSignature), "{name}");
        let late = now.plus_ms(60_001);
        assert_eq!(verify(late), Err(AuthError::Stale { skew_ms: 60_001 }), "{name}");
    }
}
