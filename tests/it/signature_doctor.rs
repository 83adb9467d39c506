//! Every planted cause is named, none of them is accepted, and each cause that can be named is planted.

use authcoded::domain::outcome::ResultCode;
use authcoded::domain::time::Timestamp;
use authcoded::protocol::callback_auth::{AccessKey, verify};
use authcoded::protocol::signature_doctor::{Case, Cause, Doctor, KeyRing, SIGNATURE_HEADERS};
use secrecy::SecretString;
use serde_json::Value;
use std::collections::BTreeSet;

const VECTORS: &str = include_str!("../vectors/signature-doctor-vectors.json");

/// A refused call, as a vector describes it.
pub(crate) struct Planted {
    pub(crate) name: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) cause: Cause,
    also: Vec<Cause>,
    proven: bool,
}

fn file() -> Value {
    serde_json::from_str(VECTORS).expect("a vector file is JSON")
}

fn keys(list: &Value) -> Vec<SecretString> {
    let list = list.as_array().expect("keys").iter();
    list.map(|key| SecretString::from(key.as_str().expect("a key"))).collect()
}

fn cause(word: &Value) -> Cause {
    let word = word.as_str().expect("a word");
    Cause::parse(word).unwrap_or_else(|| panic!("{word} is no cause"))
}

pub(crate) fn planted() -> Vec<Planted> {
    let file = file();
    let vectors = file["vectors"].as_array().expect("vectors").iter();
    let planted = vectors.map(|vector| {
        let header = |name: &'static str| {
            let value = vector["headers"].get(name)?;
            Some((name, value.as_str().expect("a header").to_owned()))
        };
        let body = match vector["body_hex"].as_str() {
            Some(hex) => (0..hex.len() / 2)
                .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex"))
                .collect(),
            None => vector["body_utf8"].as_str().expect("a body").as_bytes().to_vec(),
        };
        Planted {
            name: vector["name"].as_str().expect("a name").to_owned(),
            query: vector["url_query"].as_str().map(str::to_owned),
            headers: SIGNATURE_HEADERS.into_iter().filter_map(header).collect(),
            body,
            cause: cause(&vector["cause"]),
            also: vector["also"].as_array().expect("causes").iter().map(cause).collect(),
            proven: vector["proven"].as_bool().expect("a flag"),
        }
    });
    planted.collect()
}

fn received_at() -> Timestamp {
    Timestamp::from_ms(file()["received_at_ms"].as_i64().expect("ms"))
}

#[test]
fn each_planted_cause_is_named() {
    let file = file();
    let ring = &file["keys"];
    let (live, retired) = (keys(&ring["live"]), keys(&ring["retired"]));
    let (other, sk) = (keys(&ring["other_interface"]), ring["sk"].as_str().expect("a key").into());
    let ak = ring["ak"].as_str().expect("a key");
    let ring = KeyRing {
        live: &live,
        replaced: &[],
        retired: &retired,
        other_interface: &other,
        ak,
        sk: &sk,
    };
    let doctor = Doctor::new(&ring);
    for Planted { name, query, headers, body, cause, also, proven } in planted() {
        let found = doctor.examine(&Case {
            query: query.as_deref(),
            headers: &headers,
            body: &body,
            received_at: received_at(),
            ahead_ms: None,
        });
        assert_eq!((found.cause(), found.proven()), (cause, proven), "{name}: {found}");
        let causes: Vec<_> = found.causes().skip(1).collect();
        assert_eq!(causes, also, "{name}: {found}");
    }
}

#[test]
fn none_of_them_is_accepted() {
    let live: Vec<_> = keys(&file()["keys"]["live"]).into_iter().map(AccessKey::new).collect();
    for Planted { name, query, body, .. } in planted() {
        let refusal = verify(query.as_deref(), &body, &live, received_at()).expect_err(&name);
        assert_eq!(refusal.result_code(), ResultCode::NotAuthentic, "{name}");
    }
}

#[test]
fn each_cause_is_planted() {
    let words = |causes: &mut dyn Iterator<Item = Cause>| -> BTreeSet<_> {
        causes.map(Cause::as_str).collect()
    };
    let planted = words(&mut planted().into_iter().map(|planted| planted.cause));
    assert_eq!(planted, words(&mut Cause::ALL.into_iter()));
}
