//! The truth is the marketplace's: what was lost on the way is found by asking, and a repair is an event.

use super::market::{Api, Market, alive, expired, released};
use super::wire::{date_in, date_in_days, renewal};
use super::{Daemon, wait_until};
use crate::peer::Say;
use serde_json::json;
use std::time::{Duration, Instant};

/// A code whose end, as we know it, is seconds away or past.
async fn ending(daemon: &Daemon, market: &Market, code: &str, in_ms: i64) {
    market.says(Api::Query, code, [alive(&date_in(in_ms))]);
    daemon.activated(code).await;
    let end = in_ms.max(0).unsigned_abs() + 1_500;
    let passed = Instant::now() + Duration::from_millis(end);
    wait_until("its end to pass", async || (Instant::now() >= passed).then_some(())).await;
}

#[tokio::test]
async fn a_lost_renewal_never_denies_while_the_marketplace_says_alive() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    ending(&daemon, &market, "PL1", 2_000).await;
    market.says(Api::Query, "PL1", [alive(&date_in_days(365))]);
    let answer = daemon.entitlement("PL1").await;
    assert_eq!((&answer["decision"], &answer["reason"]), (&json!("allow"), &json!("active")));
    assert!(daemon.kinds("PL1").await.contains(&"repaired".to_owned()));
}

#[tokio::test]
async fn a_lost_release_is_denied_at_the_next_look() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    ending(&daemon, &market, "PL1", 2_000).await;
    market.says(Api::Query, "PL1", [released()]);
    let answer = daemon.entitlement("PL1").await;
    assert_eq!((&answer["decision"], &answer["reason"]), (&json!("deny"), &json!("released")));
}

#[tokio::test]
async fn a_callback_that_arrives_during_a_question_is_not_overwritten_by_its_answer() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let asked = market.count_of(Api::Query, "PL1");
    // The answer was true when it was asked for; a renewal is applied before it arrives.
    let old = Say::Late(Duration::from_secs(2), Box::new(expired(&date_in_days(-1))));
    let end = date_in_days(700);
    market.says(Api::Query, "PL1", [old, alive(&end)]);
    let nothing = json!({});
    let question = daemon.admin("POST", "/v1/licenses/PL1/query", &nothing);
    let call = async {
        wait_until("the question to be under way", async || {
            (market.count_of(Api::Query, "PL1") > asked).then_some(())
        })
        .await;
        daemon.callback(&renewal("PL1", "CS-1", &date_in_days(500))).await
    };
    let (answer, code) = tokio::join!(question, call);
    assert_eq!((answer.status, code.as_str()), (200, "000000"));
    assert!(!daemon.kinds("PL1").await.contains(&"expired".to_owned()));
    wait_until("the question to be repeated", async || {
        (market.count_of(Api::Query, "PL1") >= asked + 2).then_some(())
    })
    .await;
    let license = wait_until("the truth", async || {
        let license = daemon.license("PL1").await;
        (license["expires_text"] == json!(end)).then_some(license)
    })
    .await;
    assert_eq!(license["state"], "renewed");
}

#[tokio::test]
async fn drift_is_shown_dry_and_repaired_on_demand() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for code in ["PL1", "PL2", "PL3"] {
        daemon.activated(code).await;
    }
    market.says(Api::Query, "PL2", [released()]);
    let page = daemon.see("/v1/drift").await;
    let items = page["items"].as_array().expect("a list");
    assert_eq!(items.len(), 1, "{page}");
    assert_eq!(
        (&items[0]["code"], &items[0]["local"], &items[0]["marketplace"], &items[0]["repair"]),
        (&json!("PL2"), &json!("activated"), &json!("released"), &json!("released"))
    );
    assert_eq!(daemon.state("PL2").await, "activated", "looking changes nothing");
    let plan = daemon.see("/v1/drift/plan").await;
    assert_eq!(plan["codes"], 3);
    let applied = daemon.order("/v1/drift/apply", json!({"codes": ["PL2", "PL9"]})).await;
    assert_eq!(applied["items"][0]["outcome"], "done");
    assert_eq!(applied["items"][1]["outcome"], "refused");
    assert_eq!(daemon.state("PL2").await, "released");
    let released = daemon.until_kind("PL2", "released").await;
    assert_eq!(released["source"], "query");
    let too_many =
        daemon.admin("POST", "/v1/drift/apply", &json!({"codes": vec!["PL1"; 1001]})).await;
    too_many.is_problem(400);
}
