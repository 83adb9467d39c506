//! FREEZE and UNFREEZE, their order, and what thaws a code (product.md §3, §3.1, §9).

use super::market::{Api, Market, alive, error, expired};
use super::wire::{date_in_days, freeze, release, renewal, unfreeze, unrenewal};
use super::{Daemon, nonce, now, signed_at, wait_until};
use serde_json::{Value, json};

#[tokio::test]
async fn a_freeze_denies_and_an_unfreeze_brings_back_the_state_it_came_from() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for (code, from) in
        [("PL1", "issued"), ("PL2", "received"), ("PL3", "activated"), ("PL4", "renewed")]
    {
        // Asked after a status change, the marketplace says what it knows: these two were never activated.
        match from {
            "issued" | "received" => {
                market.says(Api::Query, code, [error(200, "92020011")]);
                daemon.register(code, from == "received").await;
            }
            _ => daemon.activated(code).await,
        }
        if from == "renewed" {
            daemon.callback(&renewal(code, "CS-1", &date_in_days(400))).await;
        }
        let asked = market.count_of(Api::Query, code);
        let (at, body) = (now(), freeze(code));
        assert_eq!(daemon.reply(&signed_at(&body, at, &nonce())).await, "000000");
        let license = daemon.license(code).await;
        assert_eq!(
            (&license["state"], &license["frozen_since"]),
            (&json!("frozen"), &json!(at.to_string()))
        );
        assert_eq!(daemon.reason(code).await, "frozen");
        wait_until("the marketplace is asked after a status change", async || {
            (market.count_of(Api::Query, code) > asked).then_some(())
        })
        .await;

        assert_eq!(daemon.callback(&body).await, "000000", "a freeze of a frozen code");
        assert_eq!(daemon.license(code).await["frozen_since"], json!(at.to_string()));
        assert_eq!(daemon.callback(&unfreeze(code)).await, "000000");
        let license = daemon.license(code).await;
        assert_eq!((&license["state"], &license["frozen_since"]), (&json!(from), &Value::Null));
        let event = daemon.until_kind(code, "thawed").await;
        assert_eq!((&event["from"], &event["to"]), (&json!("frozen"), &json!(from)));
        assert_eq!(daemon.callback(&unfreeze(code)).await, "000000", "an unfreeze of a live code");
        assert_eq!(
            (daemon.state(code).await.as_str(), daemon.verdict(code).await.as_str()),
            (from, "applied")
        );
    }
}

#[tokio::test]
async fn renewals_and_un_renewals_of_a_frozen_code_decide_what_it_thaws_to() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for code in ["PL1", "PL2"] {
        daemon.activated(code).await;
    }
    daemon.callback(&renewal("PL2", "CS-1", &date_in_days(400))).await;
    for code in ["PL1", "PL2"] {
        assert_eq!(daemon.callback(&freeze(code)).await, "000000");
    }
    let asked = market.count_of(Api::Query, "PL1");
    let (renew, unrenew) = (date_in_days(500), date_in_days(300));
    assert_eq!(daemon.callback(&renewal("PL1", "CS-2", &renew)).await, "000000");
    assert_eq!(daemon.callback(&unrenewal("PL2", "CS-3", &unrenew)).await, "000000");
    wait_until("a renewal while frozen is asked about", async || {
        (market.count_of(Api::Query, "PL1") > asked).then_some(())
    })
    .await;
    for (code, thawed) in [("PL1", "renewed"), ("PL2", "activated")] {
        assert_eq!(daemon.state(code).await, "frozen", "only its expiry changed");
        assert_eq!(daemon.callback(&unfreeze(code)).await, "000000");
        assert_eq!(daemon.state(code).await, thawed);
    }
}

#[tokio::test]
async fn a_freeze_for_an_unpaid_end_thaws_when_the_marketplace_shows_a_later_end() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let past = date_in_days(-2);
    market.says(Api::Query, "PL1", [expired(&past)]);
    daemon.activated("PL1").await;
    assert_eq!(daemon.reason("PL1").await, "expired");
    assert_eq!(daemon.callback(&freeze("PL1")).await, "000000");
    daemon.order("/v1/licenses/PL1/query", Value::Null).await;
    market.says(Api::Query, "PL1", [alive(&past)]);
    daemon.order("/v1/licenses/PL1/query", Value::Null).await;
    assert_eq!(daemon.state("PL1").await, "frozen", "alive, but with no later end");
    market.says(Api::Query, "PL1", [alive(&date_in_days(300))]);
    let report = daemon.order("/v1/licenses/PL1/query", Value::Null).await;
    assert_eq!(
        (&report["outcome"], &report["license"]["state"]),
        (&json!("done"), &json!("activated"))
    );
    let event = daemon.until_kind("PL1", "thawed").await;
    assert_eq!(event["source"], "query");
    assert_eq!(daemon.reason("PL1").await, "active");
}

#[tokio::test]
async fn a_freeze_before_the_end_is_not_thawed_by_a_query() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.says(Api::Query, "PL1", [alive(&date_in_days(100))]);
    daemon.activated("PL1").await;
    assert_eq!(daemon.callback(&freeze("PL1")).await, "000000");
    market.says(Api::Query, "PL1", [alive(&date_in_days(900))]);
    let report = daemon.order("/v1/licenses/PL1/query", Value::Null).await;
    assert_eq!(
        (&report["outcome"], &report["license"]["state"]),
        (&json!("done"), &json!("frozen"))
    );
    assert_eq!(daemon.reason("PL1").await, "frozen");
}

#[tokio::test]
async fn status_calls_are_ordered_by_what_was_signed_not_by_when_they_came() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let base = now();
    let send = async |daemon: &Daemon, body: Value, ms: i64| {
        let signed = signed_at(&body, base.plus_ms(ms), &nonce());
        assert_eq!(daemon.reply(&signed).await, "000000");
        (daemon.verdict("PL1").await, daemon.state("PL1").await)
    };
    let so = |verdict: &str, state: &str| (verdict.to_owned(), state.to_owned());
    // An UNFREEZE that changes nothing still counts as seen.
    assert_eq!(send(&daemon, unfreeze("PL1"), 0).await, so("applied", "activated"));
    let before = daemon.license("PL1").await;
    assert_eq!(send(&daemon, freeze("PL1"), -1).await, so("stale", "activated"));
    assert_eq!(daemon.license("PL1").await, before);
    assert_eq!(daemon.kinds("PL1").await.last().map(String::as_str), Some("stale"));
    assert_eq!(
        send(&daemon, freeze("PL1"), 0).await,
        so("applied", "frozen"),
        "equal is not stale"
    );
    assert_eq!(send(&daemon, unfreeze("PL1"), -1).await, so("stale", "frozen"));
    daemon.restart().await;
    assert_eq!(send(&daemon, unfreeze("PL1"), -1).await, so("stale", "frozen"), "after a restart");
    assert_eq!(send(&daemon, unfreeze("PL1"), 1).await, so("applied", "activated"));
    // Each code has its own order, and a release has none.
    daemon.activated("PL2").await;
    let other = signed_at(&freeze("PL2"), base.plus_ms(-5), &nonce());
    assert_eq!(daemon.reply(&other).await, "000000");
    assert_eq!(daemon.state("PL2").await, "frozen");
    assert_eq!(send(&daemon, release("PL1", None), -2).await, so("applied", "released"));
}
