//! The marketplace's dial tests as the daemon sees them, and the delisting clock (product.md §5, §9).

use super::market::Market;
use super::wire::{but, freeze};
use super::{Daemon, Setup, now, wait_until};
use authcoded::domain::dial_test::{HalfDay, PROBE_CODE};
use authcoded::domain::time::DAY_MS;
use serde_json::{Value, json};

fn debug_case(code: &str) -> Value {
    but(&freeze(code), "testFlag", json!("1"))
}

async fn guard(daemon: &Daemon) -> Value {
    daemon.see("/v1/guard").await
}

async fn alarm(daemon: &Daemon, kind: &str) -> Option<Value> {
    daemon.items("/v1/alarms").await.into_iter().find(|alarm| alarm["kind"] == kind)
}

#[tokio::test]
async fn test_traffic_that_is_not_ours_is_a_dial_test() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.order("/v1/probes", Value::Null).await;
    assert_eq!(daemon.callback(&debug_case(PROBE_CODE)).await, "000000");
    assert_eq!(daemon.callback(&freeze("PL-REAL")).await, "000000");
    assert_eq!(guard(&daemon).await["dial_tests"]["last_at"], Value::Null, "ours, and no test");
    assert_eq!(daemon.callback(&debug_case("PL-SAVED")).await, "000000");
    let seen = wait_until("the dial test is noted", async || {
        Some(guard(&daemon).await).filter(|guard| guard["dial_tests"]["last_at"].is_string())
    })
    .await;
    let windows = ["morning", "afternoon"].map(|half| seen["dial_tests"][half].is_object());
    assert!(windows[0] != windows[1], "one half of the day is learnt: {seen}");
    assert_eq!(seen["delisting"]["failing_days"], 0);

    // A saved case that we cannot read fails the dial test, whatever our heartbeat says.
    let bad = but(&debug_case("PL-SAVED"), "status", json!("MELT"));
    assert_eq!(daemon.callback(&bad).await, "000002");
    wait_until("the failed dial test is counted", async || {
        (guard(&daemon).await["delisting"]["failing_days"] == 1).then_some(())
    })
    .await;
    let told = alarm(&daemon, "delisting").await.expect("an alarm");
    assert_eq!(told["severity"], "warning", "{told}");
    let metrics = daemon.plain(daemon.request("GET", daemon.admin_addr(), "/metrics")).await.text;
    for line in [
        "authcoded_delisting_failing_days 1",
        r#"authcoded_dial_test_calls_total{result="answered"} 1"#,
        r#"authcoded_dial_test_calls_total{result="refused"} 1"#,
        r#"authcoded_heartbeat_step_ok{step="renewal"} 1"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn an_operators_word_is_kept_over_a_restart_with_its_reason() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    let word = json!({"failing_days": 4, "reason": "the fourth mail came"});
    let told = daemon.order("/v1/guard/delisting", word).await;
    assert_eq!(told["delisting"]["failing_days"], 4, "{told}");
    daemon.restart().await;
    let told = guard(&daemon).await;
    assert_eq!(told["delisting"]["corrected"]["reason"], "the fourth mail came");
    let first = HalfDay::of(now().plus_ms(-3 * DAY_MS)).begins();
    let since = told["delisting"]["since"].as_str().expect("a time");
    assert!(since <= first.to_string().as_str(), "{since}");
    let alarm = alarm(&daemon, "delisting").await.expect("an alarm");
    assert_eq!(alarm["severity"], "emergency", "{alarm}");
    assert!(alarm["text"].as_str().is_some_and(|t| t.contains("one more freezes")), "{alarm}");
    let events = daemon.items("/v1/events?kind=operator").await;
    assert_eq!((events.len(), &events[0]["source"]), (1, &json!("operator")), "{events:?}");
}

#[tokio::test]
async fn a_dial_test_that_does_not_come_is_told_unless_the_product_is_not_on_sale() {
    let market = Market::start().await;
    for on_sale in [true, false] {
        let mut daemon = Daemon::with(Setup {
            endpoints: vec![market.http()],
            sections: format!("[guard]\non-sale = {on_sale}"),
            ..Setup::default()
        })
        .await;
        assert_eq!(alarm(&daemon, "dial_test_missing").await, None, "it was just installed");
        let heard = async || {
            // The minute's mark: calls are taken.
            let jobs = daemon.items("/v1/jobs").await;
            let worker = jobs.iter().find(|job| job["name"] == "activation").expect("the job");
            (worker["last_outcome"] == "ok").then_some(())
        };
        wait_until("the worker has looked", heard).await;
        daemon.stop().await;
        daemon.edit(&format!("UPDATE event SET at = at - {} WHERE id = 1", 10 * DAY_MS));
        daemon.again().await;
        let told = alarm(&daemon, "dial_test_missing").await;
        assert_eq!(told.is_some(), on_sale, "{told:?}");
        if let Some(told) = told {
            assert_eq!(told["severity"], "warning", "{told}");
            assert_eq!(daemon.callback(&debug_case("PL-SAVED")).await, "000000");
            wait_until("it goes when a dial test comes", async || {
                alarm(&daemon, "dial_test_missing").await.is_none().then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn the_heartbeat_moves_before_the_dial_tests() {
    let market = Market::start().await;
    let mut daemon = Daemon::with(Setup {
        endpoints: vec![market.http()],
        sections: "[schedule]\nheartbeat = \"auto\"".to_owned(),
        ..Setup::default()
    })
    .await;
    let schedule = async |daemon: &Daemon| {
        let jobs = daemon.items("/v1/jobs").await;
        jobs.into_iter().find(|job| job["name"] == "heartbeat").expect("the job")["schedule"]
            .clone()
    };
    assert_eq!(schedule(&daemon).await, "auto: 08:00 13:00 Asia/Shanghai");
    let probes = daemon.items("/v1/probes").await.len();
    daemon.stop().await;
    let day = now().beijing_day() - 1;
    for (half, minute) in [("morning", 9 * 60 + 12), ("afternoon", 14 * 60 + 5)] {
        let at = day * DAY_MS + (minute - 8 * 60) * 60_000;
        daemon
            .edit(&format!("INSERT INTO dial_test VALUES ({day}, '{half}', {at}, {at}, 5, NULL)"));
    }
    daemon.again().await;
    let line = "auto: 08:42 13:35 Asia/Shanghai";
    wait_until("the job has moved", async || (schedule(&daemon).await == line).then_some(())).await;
    assert_eq!(daemon.callback(&debug_case("PL-SAVED")).await, "000000");
    let slots = wait_until("the heartbeat of the start is over", async || {
        let slots = daemon.items("/v1/probes").await;
        (slots.len() > probes).then_some(slots)
    })
    .await;
    let named = slots.iter().filter(|probe| {
        let slot = probe["slot"].as_str().expect("a name");
        slot.ends_with("morning") || slot.ends_with("afternoon")
    });
    assert!(named.count() <= 2, "no half-day has two: {slots:?}");
}
