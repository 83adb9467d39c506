//! Callbacks for codes we never saw: asked about, adopted, refused, or kept until the marketplace can be asked
//! (product.md §3.1, §9).

use super::market::{Api, Market, alive, error, expired};
use super::wire::{date_in_days, freeze, release, renewal, unfreeze, unrenewal};
use super::{Daemon, wait_until};
use crate::peer::Say;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;

async fn is_unknown(daemon: &Daemon, code: &str) {
    let answer = daemon.admin("GET", &format!("/v1/licenses/{code}"), &Value::Null).await;
    answer.is_problem(404);
}

#[tokio::test]
async fn a_code_the_marketplace_knows_is_adopted_and_the_call_applied() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let end = date_in_days(400);
    for (code, body, state, last) in [
        ("PL1", renewal("PL1", "CS-1", &end), "renewed", "renewed"),
        ("PL2", unrenewal("PL2", "CS-2", &end), "activated", "unrenewed"),
        ("PL3", freeze("PL3"), "frozen", "frozen"),
        ("PL4", unfreeze("PL4"), "activated", "observed"),
    ] {
        assert_eq!(daemon.callback(&body).await, "000000");
        assert_eq!(
            (daemon.verdict(code).await.as_str(), daemon.state(code).await.as_str()),
            ("applied", state)
        );
        let kinds = daemon.kinds(code).await;
        assert_eq!(kinds[..3], ["adopted", "received", "activated"], "{code}");
        assert!(kinds.contains(&last.to_owned()), "{kinds:?}");
    }
    market.says(Api::Query, "PL5", [expired(&date_in_days(-3))]);
    assert_eq!(daemon.callback(&freeze("PL5")).await, "000000");
    let license = daemon.license("PL5").await;
    assert_eq!(
        (&license["state"], &license["marketplace_status"]),
        (&json!("frozen"), &json!("expired"))
    );
}

#[tokio::test]
async fn a_code_the_marketplace_does_not_know_is_refused_until_it_does() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let body = renewal("PL1", "CS-1", &date_in_days(400));
    market.says(Api::Query, "PL1", [error(200, "92020005")]);
    assert_eq!(daemon.callback(&body).await, "000003");
    assert_eq!(daemon.verdict("PL1").await, "refused");
    is_unknown(&daemon, "PL1").await;
    let told = daemon.items("/v1/events?code=PL1").await;
    assert_eq!(told[0]["kind"], "contradiction");
    // The marketplace comes again for two hours; meanwhile its staff has put it right.
    market.says(Api::Query, "PL1", [alive(&date_in_days(100))]);
    assert_eq!(daemon.callback(&body).await, "000000");
    assert_eq!(daemon.state("PL1").await, "renewed");
}

#[tokio::test]
async fn a_freeze_of_a_code_known_there_but_not_activated_adopts_it_as_issued() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.says(Api::Query, "PL1", [error(200, "92020011")]);
    assert_eq!(daemon.callback(&freeze("PL1")).await, "000000");
    assert_eq!(daemon.state("PL1").await, "frozen");
    let events = daemon.events("PL1").await;
    let frozen = events.iter().find(|event| event["kind"] == "frozen").expect("it was frozen");
    assert_eq!((&events[0]["kind"], &frozen["from"]), (&json!("adopted"), &json!("issued")));
    assert_eq!(daemon.callback(&unfreeze("PL1")).await, "000000");
    assert_eq!(daemon.state("PL1").await, "issued");
}

#[tokio::test]
async fn while_the_marketplace_refuses_connections_calls_are_kept_and_settled_when_it_is_back() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let endpoint = format!("http://{}", socket.local_addr().expect("its address"));
    let mut daemon = Daemon::start(&[endpoint]).await;
    let end = date_in_days(400);
    let renewed = renewal("PL1", "CS-1", &end);
    for body in [&renewed, &freeze("PL1"), &unfreeze("PL1"), &freeze("PL2"), &unfreeze("PL3")] {
        let begun = Instant::now();
        assert_eq!(daemon.callback(body).await, "000000");
        assert!(begun.elapsed() < Duration::from_secs(2), "nobody to wait for");
        let code = body["license"].as_str().expect("a code");
        assert_eq!(daemon.verdict(code).await, "orphan");
        is_unknown(&daemon, code).await;
    }
    assert_eq!(daemon.kinds("PL1").await, ["orphan", "orphan", "orphan"]);
    assert_eq!(daemon.callback(&renewed).await, "000000");
    assert_eq!(daemon.verdict("PL1").await, "repeated", "an order that waits is not kept twice");
    assert_eq!(daemon.reason("PL1").await, "unknown_code");
    daemon.kill();
    daemon.again().await;

    let market = Market::on(socket.listen(16).expect("a listener"));
    market.says(Api::Query, "PL2", [error(200, "92020005")]);
    let license = daemon.until_state("PL1", "renewed").await;
    assert!(license["expires_at"].is_string());
    let kinds = daemon.kinds("PL1").await;
    let position = |kind: &str| kinds.iter().position(|found| found == kind);
    assert!(position("adopted") < position("renewed"), "{kinds:?}");
    assert!(position("renewed") < position("frozen") && position("frozen") < position("thawed"));
    daemon.until_kind("PL2", "contradiction").await;
    is_unknown(&daemon, "PL2").await;
    daemon.until_state("PL3", "activated").await;
}

#[tokio::test]
async fn while_the_marketplace_hangs_the_answer_comes_within_six_seconds() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    market.trouble(Some(Say::Hang));
    let begun = Instant::now();
    assert_eq!(daemon.callback(&freeze("PL1")).await, "000000");
    let took = begun.elapsed();
    assert!((3..=6).contains(&took.as_secs()), "it asks, but not for long: {took:?}");
    assert_eq!(daemon.verdict("PL1").await, "orphan");
    let calls = daemon.lines().into_iter().filter(|line| line["message"] == "marketplace call");
    assert_eq!(calls.filter(|line| line["outcome"] == "lost").count(), 1, "the call is told");
    market.trouble(None);
    // The next question still hangs; a restart does not wait for it.
    daemon.restart().await;
    daemon.until_state("PL1", "frozen").await;
}

#[tokio::test]
async fn a_release_of_a_code_we_never_held_is_done_at_once_without_a_row() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.says(Api::Query, "PL1", [error(200, "92020005")]);
    market.says(Api::Query, "PL2", [alive(&date_in_days(10))]);
    for (code, order) in [("PL1", None), ("PL2", Some("CS-refund"))] {
        assert_eq!(daemon.callback(&release(code, order)).await, "000000");
        assert_eq!(daemon.verdict(code).await, "orphan");
    }
    // The marketplace released it and calls it alive: somebody should look.
    daemon.until_kind("PL2", "contradiction").await;
    wait_until("the marketplace was asked", async || {
        (market.count_of(Api::Query, "PL1") > 0).then_some(())
    })
    .await;
    for code in ["PL1", "PL2"] {
        is_unknown(&daemon, code).await;
    }
    assert_eq!(daemon.kinds("PL1").await, ["orphan"]);
    assert_eq!(daemon.callback(&release("PL1", None)).await, "000000");
    assert_eq!(daemon.verdict("PL1").await, "repeated");
    let hung = Instant::now();
    market.trouble(Some(Say::Hang));
    assert_eq!(daemon.callback(&release("PL3", None)).await, "000000");
    assert!(hung.elapsed() < Duration::from_secs(2), "a release asks nobody first");
}

#[tokio::test]
async fn calls_that_wait_are_applied_when_the_code_is_registered() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.trouble(Some(error(500, "92020001")));
    assert_eq!(daemon.callback(&renewal("PL1", "CS-1", &date_in_days(400))).await, "000000");
    assert_eq!(daemon.callback(&freeze("PL1")).await, "000000");
    let license = daemon.register("PL1", true).await;
    assert_eq!(license["state"], "frozen");
    assert!(license["expires_at"].is_string());
    assert_eq!(daemon.callback(&unfreeze("PL1")).await, "000000");
    market.says(Api::Query, "PL1", [error(200, "92020011")]);
    market.trouble(None);
    let report = daemon.order("/v1/licenses/PL1/activate", Value::Null).await;
    assert_eq!(report["license"]["state"], "renewed", "the renewal counts: {report}");
}
