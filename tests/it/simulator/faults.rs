//! Faults of the marketplace's own calls: what the merchant sees, and what the marketplace makes of it.

use super::merchant::Merchant;
use super::{ACCESS_KEY, Market, settings};
use authcoded::clock::Clock;
use authcoded::protocol::callback_auth::AuthError;
use authcoded::simulator::Settings;
use reqwest::Method;
use serde_json::{Value, json};

fn toward(merchant: &Merchant) -> Settings {
    // Two minutes become ten milliseconds.
    Settings { callback_url: Some(merchant.url.clone()), speed: 12_000, ..settings() }
}

async fn fault(market: &Market, name: &str) {
    let rule = json!({"on": "callback", "times": 1, "fault": name});
    market.act("faults", json!({ "rules": [rule] })).await;
}

#[tokio::test]
async fn a_reordered_call_is_signed_first_and_comes_last() {
    let mut merchant = Merchant::start([]).await;
    let market = Market::start(toward(&merchant)).await;
    let license = market.bought(json!({"received": true})).await;
    fault(&market, "reorder").await;
    let began = Clock::system().now();
    market.act(&format!("codes/{license}/freeze"), json!({})).await;
    // Timestamps have milliseconds, and these two must not share one.
    market.until("codes", |_| Clock::system().now().ms_since(began) > 100).await;
    market.act(&format!("codes/{license}/unfreeze"), json!({})).await;
    let (first, second) = (merchant.next().await, merchant.next().await);
    assert_eq!(
        (&first.body["status"], &second.body["status"]),
        (&json!("UNFREEZE"), &json!("FREEZE"))
    );
    assert_eq!((&first.authentic, &second.authentic), (&Ok(()), &Ok(())));
    assert!(second.timestamp < first.timestamp, "{second:?} was signed before {first:?}");
    let through = |calls: &Value| {
        let items = calls["items"].as_array().expect("calls");
        items.iter().all(|call| call["state"] == "delivered")
    };
    market.until("calls", through).await;
}

#[tokio::test]
async fn a_reordered_call_that_nothing_overtakes_comes_all_the_same() {
    let mut merchant = Merchant::start([]).await;
    let market = Market::start(toward(&merchant)).await;
    let license = market.bought(json!({"received": true})).await;
    fault(&market, "reorder").await;
    market.act(&format!("codes/{license}/freeze"), json!({})).await;
    assert_eq!(merchant.next().await.body["status"], "FREEZE");
}

#[tokio::test]
async fn a_call_whose_answer_is_cut_off_was_heard_and_comes_again() {
    let mut merchant = Merchant::start([]).await;
    let market = Market::start(toward(&merchant)).await;
    let license = market.bought(json!({"received": true})).await;
    fault(&market, "cut").await;
    market.act(&format!("codes/{license}/renew"), json!({})).await;
    let (first, second) = (merchant.next().await, merchant.next().await);
    assert_eq!(first.text, second.text);
    assert_ne!(first.nonce, second.nonce, "a retry is signed anew");
    let calls = market.until("calls", |calls| calls["items"][0]["state"] == "delivered").await;
    let attempts = &calls["items"][0]["attempts"];
    assert!(attempts[0]["error"].as_str().expect("an error").contains("cut"), "{attempts}");
    assert_eq!((&attempts[0]["status"], &attempts[1]["error"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_call_can_be_signed_with_the_key_before_the_present_one() {
    let mut merchant = Merchant::start([]).await;
    let (new, old) = ("the-key-that-is-bound-since-today".into(), Some(ACCESS_KEY.into()));
    let rotated = Settings { access_key: new, old_access_key: old, ..toward(&merchant) };
    let market = Market::start(rotated).await;
    let license = market.bought(json!({"received": true})).await;
    // This merchant knows the old key only.
    fault(&market, "old_key").await;
    market.act(&format!("codes/{license}/renew"), json!({})).await;
    assert_eq!(merchant.next().await.authentic, Ok(()));
    market.act(&format!("codes/{license}/renew"), json!({})).await;
    assert_eq!(merchant.next().await.authentic, Err(AuthError::BadSignature));
    market.act("send", json!({"body": {}, "old_key": true})).await;
    assert_eq!(merchant.next().await.authentic, Ok(()));
}

#[tokio::test]
async fn without_an_old_key_nothing_can_be_signed_with_it() {
    let merchant = Merchant::start([]).await;
    let market = Market::start(toward(&merchant)).await;
    let rule = json!({"rules": [{"on": "callback", "fault": "old_key"}]});
    for (path, body) in [("faults", rule), ("send", json!({"body": {}, "old_key": true}))] {
        let answer = market.console(Method::POST, path, &body).await;
        assert_eq!(answer.status, 409, "{path}: {}", answer.body);
        assert!(answer.body["detail"].as_str().expect("a text").contains("--old-access-key-file"));
    }
}
