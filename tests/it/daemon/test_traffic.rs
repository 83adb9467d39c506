//! The marketplace's debug and dial-test calls: always answered, never applied (product.md §6, protocol.md §6).

use super::market::{Api, Market};
use super::wire::{but, date_in_days, freeze, release, renewal, unfreeze, unrenewal};
use super::{Daemon, Setup, Signed, nonce, now, signed, signed_at, wait_until};
use crate::peer::Say;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The five debug cases.
fn cases(code: &str) -> Vec<Value> {
    let end = date_in_days(400);
    let bodies = [
        release(code, Some("any-order")),
        renewal(code, "any-order", &end),
        unrenewal(code, "any-order", &end),
        freeze(code),
        unfreeze(code),
    ];
    bodies.iter().map(|body| but(body, "testFlag", json!("1"))).collect()
}

async fn tests_of(daemon: &Daemon, code: &str, count: usize) -> Vec<Value> {
    wait_until("test calls are recorded", async || {
        let items = daemon.items(&format!("/v1/callbacks?code={code}&verdict=test")).await;
        (items.len() >= count).then_some(items)
    })
    .await
}

#[tokio::test]
async fn test_calls_for_any_code_succeed_and_touch_nothing() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let before = (daemon.license("PL1").await, daemon.events("PL1").await);
    let calls = market.count();
    for _ in 0..2 {
        for code in ["PL1", "no-such-code"] {
            for body in cases(code) {
                assert_eq!(daemon.callback(&body).await, "000000", "{body}");
            }
        }
    }
    let recorded = tests_of(&daemon, "no-such-code", 10).await;
    assert!(recorded.iter().all(|callback| callback["test"] == true));
    assert!(recorded.iter().all(|callback| callback["result_code"] == "000000"));
    let unknown = daemon.admin("GET", "/v1/licenses/no-such-code", &Value::Null).await;
    unknown.is_problem(404);
    assert!(daemon.events("no-such-code").await.is_empty());
    assert_eq!((daemon.license("PL1").await, daemon.events("PL1").await), before);
    assert_eq!(market.count(), calls, "the marketplace is not asked about test calls");
    // The real calls with the same ids have their effect all the same.
    assert_eq!(daemon.callback(&renewal("PL1", "any-order", &date_in_days(400))).await, "000000");
    assert_eq!(daemon.state("PL1").await, "renewed");
}

#[tokio::test]
async fn the_same_test_call_again_is_answered_again() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let (at, nonce) = (now(), nonce());
    for body in cases("PL1") {
        assert_eq!(daemon.reply(&signed_at(&body, at, &nonce)).await, "000000");
        assert_eq!(daemon.reply(&signed_at(&body, at, &nonce)).await, "000000");
    }
    // It has not used up the nonce of a real call.
    daemon.activated("PL1").await;
    assert_eq!(daemon.reply(&signed_at(&freeze("PL1"), at, &nonce)).await, "000000");
    assert_eq!(daemon.state("PL1").await, "frozen");
}

#[tokio::test]
async fn test_calls_are_verified_like_real_ones() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for body in cases("PL1") {
        let forged = Signed { query: signed(&json!({})).query, ..signed(&body) };
        assert_eq!(daemon.reply(&forged).await, "000001", "{body}");
        let old = signed_at(&body, now().plus_ms(-61_000), &nonce());
        assert_eq!(daemon.reply(&old).await, "000001", "{body}");
        let bare = but(&body, "license", Value::Null);
        assert_eq!(daemon.callback(&bare).await, "000002", "{body}");
    }
}

#[tokio::test]
async fn test_calls_are_quick_while_the_marketplace_hangs() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.trouble(Some(Say::Hang));
    for body in cases("no-such-code") {
        let begun = Instant::now();
        assert_eq!(daemon.callback(&body).await, "000000");
        assert!(begun.elapsed() < Duration::from_secs(2), "the dial test's own limit");
    }
}

#[tokio::test]
async fn a_debug_case_saved_without_the_flag_succeeds_for_a_configured_code() {
    let market = Market::start().await;
    let callback = "probe-codes = [\"PROBE\"]".to_owned();
    let setup = Setup { endpoints: vec![market.http()], callback, ..Setup::default() };
    let daemon = Daemon::with(setup).await;
    for body in cases("PROBE") {
        let real = but(&body, "testFlag", json!("0"));
        assert_eq!(daemon.callback(&real).await, "000000");
        assert_eq!(daemon.callback(&but(&real, "testFlag", Value::Null)).await, "000000");
    }
    tests_of(&daemon, "PROBE", 10).await;
    assert_eq!(market.count_of(Api::Query, "PROBE"), 0);
}
