//! Activations that may have got through: asked about before they are repeated (product.md §3.2, hazards.md).

use super::market::{Api, Market, alive, error};
use super::wire::date_in_days;
use super::{Daemon, wait_until, wait_within};
use crate::peer::Say;
use Api::{Activate, Query};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn activate(daemon: &Daemon, code: &str) -> String {
    let report = daemon.order(&format!("/v1/licenses/{code}/activate"), Value::Null).await;
    report["outcome"].as_str().expect("an outcome").to_owned()
}

#[tokio::test]
async fn a_lost_activation_that_got_through_is_found_by_the_question() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for (code, lost) in [("PL1", Say::Cut), ("PL2", Say::Break { http: 200 })] {
        daemon.register(code, true).await;
        market.says(Activate, code, [lost]);
        market.says(Query, code, [alive(&date_in_days(100))]);
        assert_eq!(activate(&daemon, code).await, "retry_later");
        assert_eq!(activate(&daemon, code).await, "asked");
        assert_eq!(daemon.state(code).await, "activated");
        assert_eq!(market.asked(code), [Activate, Query]);
    }
}

#[tokio::test]
async fn an_activation_lost_again_is_asked_about_again() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.register("PL1", true).await;
    market.says(Activate, "PL1", [Say::Cut]);
    market.says(Query, "PL1", [error(200, "92020011")]);
    for round in 1..4 {
        assert_eq!(activate(&daemon, "PL1").await, "retry_later", "round {round}");
    }
    assert_eq!(market.asked("PL1"), [Activate, Query, Activate, Query, Activate]);
}

#[tokio::test]
async fn a_lost_activation_of_a_code_unknown_there_is_not_repeated() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.register("PL1", true).await;
    market.says(Activate, "PL1", [Say::Cut]);
    market.says(Query, "PL1", [error(200, "92020005")]);
    assert_eq!(activate(&daemon, "PL1").await, "retry_later");
    assert_eq!(activate(&daemon, "PL1").await, "refused");
    assert_eq!(market.asked("PL1"), [Activate, Query]);
    assert!(daemon.license("PL1").await["next_activation_at"].is_null(), "parked");
}

#[tokio::test]
async fn a_question_about_a_lost_activation_that_fails_waits_before_it_is_asked_again() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.says(Activate, "PL1", [Say::Cut]);
    market.says(Query, "PL1", [Say::Cut]);
    daemon.order("/v1/licenses", json!({"code": "PL1"})).await;
    wait_until("it is asked", async || (market.count_of(Query, "PL1") > 0).then_some(())).await;
    let storm = wait_until("a storm", async || (market.count_of(Query, "PL1") > 3).then_some(()));
    let storm = tokio::time::timeout(Duration::from_secs(2), storm).await;
    assert!(storm.is_err(), "asked {} times in two seconds", market.count_of(Query, "PL1"));
    assert_eq!(market.count_of(Activate, "PL1"), 1);
    market.says(Query, "PL1", [alive(&date_in_days(100))]);
    assert_eq!(activate(&daemon, "PL1").await, "asked");
    assert_eq!(
        (daemon.state("PL1").await.as_str(), market.count_of(Activate, "PL1")),
        ("activated", 1)
    );
}

#[tokio::test]
async fn an_activation_that_hangs_is_given_up_within_ten_seconds_and_asked_about() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.register("PL1", true).await;
    market.says(Activate, "PL1", [Say::Hang]);
    market.says(Query, "PL1", [alive(&date_in_days(100))]);
    let begun = Instant::now();
    assert_eq!(activate(&daemon, "PL1").await, "retry_later");
    assert!(begun.elapsed() < Duration::from_millis(10_500), "{:?}", begun.elapsed());
    // The background goes on after 5 s, give or take a fifth.
    wait_within(Duration::from_secs(8), "it is asked", async || {
        (daemon.state("PL1").await == "activated").then_some(())
    })
    .await;
    assert_eq!(market.asked("PL1")[..2], [Activate, Query]);
}

#[tokio::test]
async fn an_activation_open_at_a_crash_is_asked_about_first() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    market.says(Activate, "PL1", [Say::Hang]);
    market.says(Query, "PL1", [alive(&date_in_days(100))]);
    daemon.order("/v1/licenses", json!({"code": "PL1"})).await;
    wait_until("it was sent", async || (market.count_of(Activate, "PL1") > 0).then_some(())).await;
    daemon.kill();
    daemon.again().await;
    daemon.until_state("PL1", "activated").await;
    assert_eq!(market.count_of(Activate, "PL1"), 1);
    assert_eq!(market.asked("PL1")[1], Query);
}
