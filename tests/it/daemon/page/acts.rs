//! What operators order from the page: the same as over the admin interface, with a reason in the chain.

use super::super::Daemon;
use super::super::market::{Api::Activate, Api::Query, Market, alive, done, error, released};
use super::super::wire::date_in_days;
use super::{Browser, between};
use serde_json::json;

/// The operator's events of a code, oldest first.
async fn orders(daemon: &Daemon, code: &str) -> Vec<String> {
    let events = daemon.events(code).await.into_iter();
    let orders = events.filter(|event| event["kind"] == "operator");
    orders
        .map(|event| {
            assert_eq!(event["source"], "operator");
            event["detail"].as_str().expect("text").to_owned()
        })
        .collect()
}

#[tokio::test]
async fn a_code_that_waits_is_activated_from_its_page() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.says(Activate, "PL1", [error(200, "92020004")]);
    daemon.order("/v1/licenses", json!({"code": "PL1"})).await;
    daemon.until_kind("PL1", "activation_waiting").await;
    let browser = Browser::signed_in(&daemon).await;
    let page = browser.page("/licenses/PL1").await;
    let link = "<a class=\"button\" href=\"/licenses/PL1?act=activate#confirm\">";
    assert!(page.contains(link), "{page}");
    let ask = [("act", "activate"), ("reason", "")];
    let answer = browser.submit("/licenses/PL1?act=activate", &ask).await;
    assert_eq!(answer.header("location"), "/licenses/PL1?told=waiting%5Ffor%5Fbuyer");
    let told = browser.page(answer.header("location")).await;
    assert!(told.contains("The buyer has not received the code yet"), "{told}");

    market.says(Activate, "PL1", [done(&date_in_days(30))]);
    let ask = [("act", "activate"), ("reason", "the buyer called: case 17")];
    let answer = browser.submit("/licenses/PL1?act=activate", &ask).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/licenses/PL1?told=done"));
    assert_eq!(daemon.state("PL1").await, "activated");
    assert_eq!(
        orders(&daemon, "PL1").await,
        ["ordered: activate", "ordered: activate; reason given: the buyer called: case 17"]
    );
    assert!(!browser.page("/licenses/PL1").await.contains(link), "there is nothing to activate");
}

#[tokio::test]
async fn a_code_is_asked_about_noted_as_received_and_released() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.register("PL1", false).await;
    let browser = Browser::signed_in(&daemon).await;
    let act = async |act: &str, reason: &str| {
        browser
            .submit(&format!("/licenses/PL1?act={act}"), &[("act", act), ("reason", reason)])
            .await
    };
    assert_eq!(act("received", "handed over at the fair").await.status, 303);
    assert_eq!(daemon.state("PL1").await, "received");
    market.says(Query, "PL1", [error(200, "92020011")]);
    assert_eq!(act("query", "looking").await.header("location"), "/licenses/PL1?told=done");
    let refused = act("release", " ").await;
    assert_eq!(refused.status, 400, "a reason must be given");
    assert!(refused.text.contains("A reason must be given"));
    assert_eq!(act("thaw", "x").await.status, 400);
    assert_eq!(act("release", &"x".repeat(1_001)).await.status, 400);
    assert_eq!(daemon.state("PL1").await, "received");
    assert_eq!(act("release", "refund\r\ncase 17").await.status, 303);
    assert_eq!(daemon.state("PL1").await, "released");
    assert_eq!(
        orders(&daemon, "PL1").await,
        [
            "reason given: handed over at the fair",
            "ordered: query; reason given: looking",
            "reason given: refund\ncase 17",
        ]
    );
    let again = act("received", "too late").await;
    assert_eq!(again.status, 409);
    assert!(again.text.contains("is released"), "{}", again.text);
    let page = browser.page("/licenses/PL1").await;
    for act in ["activate", "received", "release"] {
        assert!(!page.contains(&format!("?act={act}")), "{act} is not offered any more");
    }
}

#[tokio::test]
async fn a_comparison_changes_nothing_and_a_repair_does() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for code in ["PL1", "PL2", "PL3", "PL4"] {
        daemon.register(code, true).await;
    }
    for code in ["PL1", "PL3"] {
        market.says(Query, code, [alive(&date_in_days(30))]);
    }
    market.says(Query, "PL2", [error(200, "92020011")]);
    market.says(Query, "PL4", [released()]);
    let browser = Browser::signed_in(&daemon).await;
    browser.page("/drift").await;
    assert_eq!(market.count(), 0, "showing the page asks nobody");
    let looked = browser.submit("/drift", &[("limit", "20")]).await;
    assert_eq!(looked.status, 200, "{}", looked.text);
    let found = between(&looked.text, "<section id=\"found\">", "</section>");
    for code in ["PL1", "PL3", "PL4"] {
        assert!(found.contains(&format!(">{code}</a>")), "{code}: {found}");
    }
    assert!(!found.contains(">PL2</a>"), "it agrees: {found}");
    assert_eq!(between(found, "hidden aria-hidden=\"true\">", "<"), "PL1\nPL3\nPL4");
    for code in ["PL1", "PL2", "PL3", "PL4"] {
        assert_eq!(daemon.state(code).await, "received", "looking changes nothing");
    }

    let one = browser.submit("/drift", &[("act", "repair"), ("codes", "PL4")]).await;
    let found = between(&one.text, "<section id=\"found\">", "</section>");
    assert!(
        found.contains("PL4") && found.contains("released") && found.contains("Done."),
        "{found}"
    );
    assert_eq!(daemon.state("PL4").await, "released");
    let fields =
        [("act", "repair"), ("codes", "PL1\r\nPL3\r\nPL9"), ("reason", "after the outage")];
    let all = browser.submit("/drift", &fields).await;
    assert!(all.text.contains("no such code"), "{}", all.text);
    for code in ["PL1", "PL3"] {
        assert_eq!(daemon.state(code).await, "activated");
        assert_eq!(
            orders(&daemon, code).await,
            ["ordered: repair; reason given: after the outage"]
        );
    }
    let again = browser.submit("/drift", &[("limit", "20")]).await;
    assert!(again.text.contains("These codes agree"), "{}", again.text);
    let bad = browser.submit("/drift", &[("limit", "7000")]).await;
    assert_eq!(bad.status, 400);
}
