//! What the software may go on with while the daemon is away (product.md §4): verified by another
//! library, from what the daemon answers and its key set alone.

use super::market::{Api, Market, alive, expired};
use super::wire::{date_in, freeze};
use super::{Daemon, Setup, now, wait_until};
use authcoded::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;

/// The key set as anybody gets it: without a token.
pub(super) async fn key_set(daemon: &Daemon) -> JwkSet {
    let request = daemon.request("GET", daemon.software_addr(), "/.well-known/jwks.json");
    let answer = daemon.plain(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    serde_json::from_value(answer.body).expect("a JWK set")
}

/// What a software does with a lease; `None` when it does not hold.
pub(super) fn verified(lease: &str, set: &JwkSet, code: &str) -> Option<Value> {
    let kid = decode_header(lease).expect("a header").kid.expect("a kid");
    let key = DecodingKey::from_jwk(set.find(&kid)?).expect("a key");
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_issuer(&["authcoded"]);
    rules.set_required_spec_claims(&["exp", "nbf", "iss", "sub"]);
    rules.validate_nbf = true;
    rules.leeway = 0;
    rules.sub = Some(code.to_owned());
    decode::<Value>(lease, &key, &rules).ok().map(|token| token.claims)
}

pub(super) async fn lease_of(daemon: &Daemon, code: &str) -> String {
    let told = daemon.entitlement(code).await;
    told["lease"].as_str().unwrap_or_else(|| panic!("no lease in {told}")).to_owned()
}

fn seconds(claims: &Value, name: &str) -> i64 {
    claims[name].as_i64().expect("a number")
}

#[tokio::test]
async fn a_lease_says_what_the_answer_says_and_ends_in_time() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let now_s = || now().as_ms() / 1_000;
    daemon.activated("PL1").await;
    let set = key_set(&daemon).await;
    let told = daemon.entitlement("PL1").await;
    let lease = told["lease"].as_str().expect("a lease");
    let claims = verified(lease, &set, "PL1").expect("it holds");
    for name in ["decision", "reason", "state", "expires_at"] {
        assert_eq!(claims[name], told[name], "{name}");
    }
    assert_eq!(seconds(&claims, "exp") - seconds(&claims, "nbf"), DAY_MS / 1_000);
    assert!((now_s() - 60..=now_s()).contains(&seconds(&claims, "nbf")), "{claims}");
    assert!(verified(lease, &set, "PL2").is_none(), "of another code");
    let (signed, _) = lease.rsplit_once('.').expect("three parts");
    let (head, payload) = signed.split_once('.').expect("three parts");
    for forged in [
        format!("{signed}."),
        format!("{signed}.{}", "A".repeat(86)),
        format!("{head}.{}x.{}", payload, "A".repeat(86)),
    ] {
        assert!(verified(&forged, &set, "PL1").is_none(), "{forged}");
    }

    // Never more than five minutes past the end.
    market.says(Api::Query, "PL3", [alive(&date_in(HOUR_MS))]);
    daemon.activated("PL3").await;
    let claims = verified(&lease_of(&daemon, "PL3").await, &set, "PL3").expect("it holds");
    let left_s = seconds(&claims, "exp") - now_s();
    let longest_s = (HOUR_MS + 5 * MINUTE_MS) / 1_000;
    assert!((longest_s - 60..=longest_s).contains(&left_s), "{left_s}");

    // A denial has none.
    assert_eq!(daemon.callback(&freeze("PL1")).await, "000000");
    let told = daemon.entitlement("PL1").await;
    assert_eq!((&told["reason"], &told["lease"]), (&json!("frozen"), &Value::Null));
}

#[tokio::test]
async fn a_confirmed_end_takes_the_lease_away() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    lease_of(&daemon, "PL1").await;
    market.says(Api::Query, "PL1", [expired(&date_in(-HOUR_MS))]);
    daemon.order("/v1/licenses/PL1/query", json!({})).await;
    let told = daemon.entitlement("PL1").await;
    assert_eq!((&told["reason"], &told["lease"]), (&json!("expired"), &Value::Null));
}

#[tokio::test]
async fn the_same_key_signs_after_a_restart_and_an_old_one_is_known_until_its_leases_end() {
    let market = Market::start().await;
    let setup = Setup {
        endpoints: vec![market.http()],
        sections: "[policy]\nlease-hours = 2".to_owned(),
        ..Setup::default()
    };
    let mut daemon = Daemon::with(setup).await;
    daemon.activated("PL1").await;
    let first = lease_of(&daemon, "PL1").await;
    let claims = verified(&first, &key_set(&daemon).await, "PL1").expect("it holds");
    assert_eq!(seconds(&claims, "exp") - seconds(&claims, "nbf"), 2 * 3_600);
    daemon.restart().await;
    assert!(verified(&first, &key_set(&daemon).await, "PL1").is_some(), "after a restart");

    let reason = json!({"reason": "a backup was lost"});
    let keys = daemon.order("/v1/lease-keys/rotate", reason).await;
    let second = lease_of(&daemon, "PL1").await;
    let kid = |lease: &str| decode_header(lease).expect("a header").kid.expect("a kid");
    assert_eq!(keys["kid"], json!(kid(&second)));
    assert_ne!(kid(&first), kid(&second));
    let set = key_set(&daemon).await;
    assert_eq!(set.keys.len(), 2);
    for lease in [&first, &second] {
        assert!(verified(lease, &set, "PL1").is_some());
    }
    let told = daemon.items("/v1/events?kind=operator").await;
    let detail = told[0]["detail"].as_str().expect("a text");
    assert!(detail.contains("a backup was lost"), "{detail}");
    daemon.restart().await;
    assert_eq!(key_set(&daemon).await.keys.len(), 2, "the old one is known after a restart, too");
    assert_eq!(kid(&lease_of(&daemon, "PL1").await), kid(&second));
}

#[tokio::test]
async fn the_key_is_kept_like_a_secret() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    let file = daemon.folder().join("data/lease-keys");
    let mode = |file| std::fs::metadata(file).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    let text = std::fs::read_to_string(&file).expect("readable");
    let stored: Value = serde_json::from_str(&text).expect("JSON");
    let secret = stored["signing"].as_str().expect("a text").to_owned();
    daemon.order("/v1/lease-keys/rotate", json!({})).await;
    let logged = wait_until("the rotation is logged", async || {
        daemon.log().into_iter().find(|line| line.contains("a key for leases was made"))
    });
    logged.await;
    assert!(!daemon.log().iter().any(|line| line.contains(&secret)), "the key is in the log");

    // Open to others, or damaged: no start, and a word that says what to do.
    daemon.stop().await;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    let (code, told) = daemon.run_second();
    assert_ne!(code, Some(0));
    assert!(told.contains("chmod 600") && told.contains("lease-keys"), "{told}");
    std::fs::write(&file, text.replace("\"signing\"", "\"singing\"")).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let (code, told) = daemon.run_second();
    assert_ne!(code, Some(0));
    assert!(told.contains("lease-keys") && !told.contains(&secret), "{told}");
}
