//! May this code run? Asks authcoded, and goes by the last lease while authcoded is away.
//!
//! ```text
//! cargo run --example entitlement -- CODE                            exit 0 allow, 1 deny, 2 cannot tell
//! cargo run --example entitlement -- --check-lease LEASE JWKS CODE   exit 0 the lease holds, 1 refused
//! ```
//!
//! Needs jsonwebtoken, reqwest, serde_json and tokio. The settings are those of examples/README.md.
#![allow(clippy::disallowed_methods, reason = "in your product the environment is its own affair")]

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, process};

type Fallible<T> = Result<T, Box<dyn Error>>;

const ALLOW: u8 = 0;
const DENY: u8 = 1;
const CANNOT_TELL: u8 = 2;

fn setting(name: &str, otherwise: &str) -> String {
    env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(setting("AUTHCODED_FOLDER", "authcoded-lease")).join(name)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Not needed where reqwest comes with its usual features.
    _ = rustls::crypto::ring::default_provider().install_default();
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (told, status) = match args.as_slice() {
        ["--check-lease", lease, keys, code] => {
            match check_files(lease.into(), keys.into(), code) {
                Ok(reason) => (format!("allow {reason}"), ALLOW),
                Err(why) => (format!("refused: {why}"), DENY),
            }
        }
        [code] => ask(code).await,
        _ => ("entitlement CODE | --check-lease LEASE JWKS CODE".to_owned(), CANNOT_TELL),
    };
    println!("{told}");
    status.into()
}

async fn ask(code: &str) -> (String, u8) {
    let path = format!("/v1/entitlements/{}", utf8_percent_encode(code, NON_ALPHANUMERIC));
    let answer = get(&path).await.and_then(|body| Ok(serde_json::from_str::<Value>(&body)?));
    let word = |name: &str| answer.as_ref().ok().and_then(|answer| answer[name].as_str());
    match (word("decision"), word("reason")) {
        (Some("allow"), Some(reason)) => {
            if let Err(why) = keep(word("lease").unwrap_or_default(), code).await {
                eprintln!("the lease was not kept: {why}");
            }
            (format!("allow {reason}"), ALLOW)
        }
        (Some("deny"), Some(reason)) => {
            _ = fs::remove_file(file("lease.jwt"));
            (format!("deny {reason}"), DENY)
        }
        // Neither a yes nor a no: nobody listens, too slow, 5xx, a wrong token.
        _ => {
            eprintln!("no answer from authcoded: {answer:?}");
            match check_files(file("lease.jwt"), file("jwks.json"), code) {
                Ok(reason) => (format!("allow {reason} (lease)"), ALLOW),
                // Your product's own choice: stop, ask the user for patience, or go on for a day, say.
                Err(why) => (format!("cannot tell: {why}"), CANNOT_TELL),
            }
        }
    }
}

/// Keeps a lease that holds. The key set is fetched when the kept one does not know its key.
async fn keep(lease: &str, code: &str) -> Fallible<()> {
    let kept = fs::read_to_string(file("jwks.json")).unwrap_or_default();
    if check_lease(lease, &kept, code).is_err() {
        let keys = get("/.well-known/jwks.json").await?;
        check_lease(lease, &keys, code)?;
        store("jwks.json", &keys)?;
    }
    store("lease.jwt", lease)
}

fn check_files(lease: PathBuf, keys: PathBuf, code: &str) -> Fallible<String> {
    check_lease(&fs::read_to_string(lease)?, &fs::read_to_string(keys)?, code)
}

/// The reason that the lease gives, if it holds now, for this code, under one of these keys.
fn check_lease(lease: &str, keys: &str, code: &str) -> Fallible<String> {
    let kid = decode_header(lease.trim())?.kid.ok_or("it names no key")?;
    let keys: JwkSet = serde_json::from_str(keys)?;
    let key = DecodingKey::from_jwk(keys.find(&kid).ok_or("no such key")?)?;
    let mut rules = Validation::new(Algorithm::EdDSA); // never the one that the lease names
    rules.set_issuer(&["authcoded"]);
    rules.set_required_spec_claims(&["iss", "sub", "nbf", "exp"]);
    rules.sub = Some(code.to_owned());
    rules.validate_nbf = true;
    rules.leeway = 0;
    rules.reject_tokens_expiring_in_less_than = 1; // its own rule would take the second of `exp`, too
    let claims = decode::<Value>(lease.trim(), &key, &rules)?.claims;
    if claims["decision"] != "allow" {
        return Err("it does not allow anything".into());
    }
    Ok(claims["reason"].as_str().unwrap_or_default().to_owned())
}

async fn get(path: &str) -> Fallible<String> {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2));
    let socket = setting("AUTHCODED_SOCKET", "");
    let request = if socket.is_empty() {
        let url = setting("AUTHCODED_URL", "http://127.0.0.1:8652");
        let token = setting("AUTHCODED_TOKEN_FILE", "/etc/authcoded/software-token");
        client.build()?.get(url + path).bearer_auth(fs::read_to_string(token)?.trim())
    } else {
        client.unix_socket(socket).build()?.get(format!("http://localhost{path}"))
    };
    Ok(request.send().await?.error_for_status()?.text().await?)
}

/// Whole or not at all: a reader never sees half a file.
fn store(name: &str, text: &str) -> Fallible<()> {
    fs::create_dir_all(file(""))?;
    let fresh = file(&format!("{name}.{}", process::id()));
    fs::write(&fresh, text)?;
    Ok(fs::rename(fresh, file(name))?)
}
