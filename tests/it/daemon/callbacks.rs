//! Renewals, un-renewals and releases on codes in every state that matters (product.md §3, §3.1, §9).

use super::Daemon;
use super::market::{Api, Market, alive, error};
use super::wire::{but, date_in_days, freeze, release, renewal, unfreeze, unrenewal};
use super::{now, wait_until};
use authcoded::domain::time::DateText;
use serde_json::{Value, json};

/// What JSON shows of a date that the marketplace wrote, read as UTC.
fn shown(date: &str) -> Value {
    json!(DateText::parse(date).expect("a date").utc().to_string())
}

#[tokio::test]
async fn a_renewal_renews_an_activated_code_and_moves_its_end() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let end = date_in_days(700);
    let body = but(&renewal("PL1", "CS-1", &end), "productId", json!("product-2"));
    let before = now();
    assert_eq!(daemon.callback(&body).await, "000000");

    let license = daemon.license("PL1").await;
    assert_eq!(license["state"], "renewed");
    assert_eq!(
        (&license["expires_at"], &license["product_id"]),
        (&shown(&end), &json!("product-2"))
    );
    let events = daemon.events("PL1").await;
    let event = events.last().expect("an event");
    assert_eq!((&event["kind"], &event["source"]), (&json!("renewed"), &json!("callback")));
    assert_eq!((&event["from"], &event["to"]), (&json!("activated"), &json!("renewed")));
    assert_eq!(event["order_id"], "CS-1");
    let callback = daemon.last_callback("PL1").await;
    assert_eq!(
        (&callback["verdict"], &callback["result_code"]),
        (&json!("applied"), &json!("000000"))
    );
    assert_eq!(callback["activity"], "refreshLicenseCode");
    assert_eq!(callback["test"], false);
    assert!(callback["signed_at"].as_str() >= Some(before.to_string().as_str()));
    let kept: Value = serde_json::from_str(callback["body"].as_str().expect("text")).expect("JSON");
    assert_eq!(kept, body);

    let later = date_in_days(1_000);
    assert_eq!(daemon.callback(&renewal("PL1", "CS-2", &later)).await, "000000");
    let license = daemon.license("PL1").await;
    assert_eq!((&license["state"], &license["expires_at"]), (&json!("renewed"), &shown(&later)));
}

#[tokio::test]
async fn a_renewal_before_the_activation_is_stored_and_counts_when_it_comes() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for (code, received, state) in [("PL1", false, "issued"), ("PL2", true, "received")] {
        daemon.register(code, received).await;
        let end = date_in_days(400);
        assert_eq!(daemon.callback(&renewal(code, "CS-1", &end)).await, "000000");
        let license = daemon.license(code).await;
        assert_eq!((&license["state"], &license["expires_at"]), (&json!(state), &shown(&end)));
        let report = daemon.order(&format!("/v1/licenses/{code}/activate"), Value::Null).await;
        assert_eq!((&report["outcome"], &report["error_code"]), (&json!("done"), &Value::Null));
        assert_eq!(report["license"]["state"], "renewed");
        let kinds = daemon.kinds(code).await;
        let mut expected = vec!["registered", "received", "renewed", "activated", "renewed"];
        if !received {
            expected.swap(1, 2);
        }
        assert_eq!(&kinds[..5], expected, "{code}");
    }
}

#[tokio::test]
async fn un_renewals_end_renewals_one_by_one() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let callback = async |body: Value| assert_eq!(daemon.callback(&body).await, "000000");
    callback(renewal("PL1", "CS-1", &date_in_days(400))).await;
    callback(renewal("PL1", "CS-2", &date_in_days(800))).await;
    callback(unrenewal("PL1", "CS-3", &date_in_days(400))).await;
    assert_eq!(daemon.state("PL1").await, "renewed", "one renewal is left");
    let end = date_in_days(100);
    callback(unrenewal("PL1", "CS-4", &end)).await;
    let license = daemon.license("PL1").await;
    assert_eq!((&license["state"], &license["expires_at"]), (&json!("activated"), &shown(&end)));
    assert_eq!(daemon.reason("PL1").await, "active");
    // None is left: the expiry still moves, the state does not.
    let end = date_in_days(50);
    callback(unrenewal("PL1", "CS-5", &end)).await;
    let license = daemon.license("PL1").await;
    assert_eq!((&license["state"], &license["expires_at"]), (&json!("activated"), &shown(&end)));

    daemon.register("PL2", false).await;
    callback(unrenewal("PL2", "CS-6", &end)).await;
    let license = daemon.license("PL2").await;
    assert_eq!((&license["state"], &license["expires_at"]), (&json!("issued"), &shown(&end)));
}

#[tokio::test]
async fn an_un_renewal_to_a_past_end_denies_at_once_and_without_grace() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    assert_eq!(daemon.callback(&renewal("PL1", "CS-1", &date_in_days(400))).await, "000000");
    market.trouble(Some(error(500, "92020001")));
    let past = date_in_days(-1);
    assert_eq!(daemon.callback(&unrenewal("PL1", "CS-2", &past)).await, "000000");
    let told = daemon.entitlement("PL1").await;
    assert_eq!((&told["decision"], &told["reason"]), (&json!("deny"), &json!("expired")));
    assert_eq!((&told["state"], &told["expires_at"]), (&json!("activated"), &shown(&past)));
    // What was paid for again runs again.
    assert_eq!(daemon.callback(&renewal("PL1", "CS-3", &date_in_days(300))).await, "000000");
    assert_eq!(daemon.reason("PL1").await, "active");
}

#[tokio::test]
async fn a_renewal_that_only_shortens_is_asked_about() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.says(Api::Query, "PL1", [alive(&date_in_days(300))]);
    daemon.activated("PL1").await;
    let long = date_in_days(800);
    assert_eq!(daemon.callback(&renewal("PL1", "CS-2", &long)).await, "000000");
    let asked = market.count_of(Api::Query, "PL1");
    market.says(Api::Query, "PL1", [alive(&long)]);
    // The earlier renewal was late; the marketplace knows better.
    assert_eq!(daemon.callback(&renewal("PL1", "CS-1", &date_in_days(500))).await, "000000");
    wait_until("the end is corrected", async || {
        (daemon.license("PL1").await["expires_at"] == shown(&long)).then_some(())
    })
    .await;
    assert!(market.count_of(Api::Query, "PL1") > asked);
    assert!(daemon.kinds("PL1").await.contains(&"repaired".to_owned()));
}

#[tokio::test]
async fn a_release_ends_a_code_in_any_state_with_or_without_an_order() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for (code, from, order) in [
        ("PL1", "issued", None),
        ("PL2", "received", Some("CS-refund-2")),
        ("PL3", "activated", Some("CS-refund-3")),
        ("PL4", "renewed", None),
        ("PL5", "frozen", Some("CS-refund-5")),
    ] {
        match from {
            "issued" | "received" => drop(daemon.register(code, from == "received").await),
            _ => daemon.activated(code).await,
        }
        if from == "renewed" {
            daemon.callback(&renewal(code, "CS-1", &date_in_days(400))).await;
        } else if from == "frozen" {
            daemon.callback(&freeze(code)).await;
        }
        assert_eq!(daemon.state(code).await, from);
        assert_eq!(daemon.callback(&release(code, order)).await, "000000");
        let license = daemon.license(code).await;
        assert_eq!(license["state"], "released");
        assert_eq!(
            (&license["frozen_since"], &license["next_activation_at"]),
            (&Value::Null, &Value::Null)
        );
        let event = daemon.until_kind(code, "released").await;
        assert_eq!((&event["from"], &event["to"]), (&json!(from), &json!("released")));
        assert_eq!((&event["order_id"], &event["source"]), (&json!(order), &json!("callback")));
        assert_eq!(daemon.reason(code).await, "released");
    }
}

#[tokio::test]
async fn nothing_revives_a_released_code_and_the_impossible_is_told() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    assert_eq!(daemon.callback(&release("PL1", None)).await, "000000");
    let before = daemon.license("PL1").await;
    let end = date_in_days(400);
    for impossible in
        [renewal("PL1", "CS-1", &end), unrenewal("PL1", "CS-2", &end), unfreeze("PL1")]
    {
        let events = daemon.events("PL1").await.len();
        assert_eq!(daemon.callback(&impossible).await, "000003");
        assert_eq!(daemon.verdict("PL1").await, "refused");
        let told = &daemon.events("PL1").await[events];
        assert_eq!(
            (&told["kind"], &told["result_code"]),
            (&json!("contradiction"), &json!("000003"))
        );
    }
    for harmless in [freeze("PL1"), release("PL1", Some("CS-refund"))] {
        assert_eq!(daemon.callback(&harmless).await, "000000");
        assert_eq!(daemon.verdict("PL1").await, "applied");
    }
    assert_eq!(daemon.license("PL1").await, before);
    assert_eq!(daemon.order("/v1/licenses/PL1/query", Value::Null).await["outcome"], "done");
    assert_eq!(daemon.state("PL1").await, "released", "ALIVE does not revive it either");
    let told = daemon.events("PL1").await;
    assert_eq!(told.last().expect("an event")["kind"], "contradiction");
    assert!(daemon.see("/v1/summary").await["alarms"].as_u64() > Some(0));
}
