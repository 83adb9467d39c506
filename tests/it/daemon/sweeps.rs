//! The sweep by the real program: it keeps nobody waiting, and goes on after a stop or a gap.

use super::market::{Api, Market, alive, error, released};
use super::wire::{date_in, date_in_days, renewal};
use super::{Daemon, Setup, now, wait_until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A code that was never asked about, so that every sweep asks.
async fn never_asked(daemon: &Daemon, code: &str) {
    daemon.order("/v1/licenses", json!({"code": code, "activate": false})).await;
}

fn asked(market: &Market, code: &str) -> bool {
    !market.asked(code).is_empty()
}

async fn last_run(daemon: &Daemon) -> Value {
    let jobs = daemon.items("/v1/jobs").await;
    jobs.into_iter().find(|job| job["name"] == "reconcile").expect("a job")
}

/// More is owed and due than the pace allows in a minute.
#[tokio::test]
async fn neither_software_nor_callbacks_wait_for_a_sweep_and_a_burst_of_owed_calls() {
    let market = Market::start().await;
    let setup = Setup {
        endpoints: vec![market.http()],
        marketplace: "requests-per-second = 5".to_owned(),
        ..Setup::default()
    };
    let daemon = Daemon::with(setup).await;
    let (came, ends_in_ms) = (Instant::now(), 2_000);
    market.says(Api::Query, "PL1", [alive(&date_in(ends_in_ms))]);
    daemon.activated("PL1").await;
    market.says(Api::Query, "PL1", [released()]);
    for n in 0..40 {
        never_asked(&daemon, &format!("BULK{n}")).await;
        daemon.order("/v1/licenses", json!({"code": format!("OWED{n}")})).await;
    }
    daemon.order("/v1/jobs/reconcile/run", Value::Null).await;
    wait_until("both to be under way, and the end of the code to pass", async || {
        let under_way = |name: &str| (0..40).any(|n| asked(&market, &format!("{name}{n}")));
        let passed = came.elapsed() > Duration::from_millis(3_500);
        (passed && under_way("BULK") && under_way("OWED")).then_some(())
    })
    .await;

    // The last look before an end is told, and a question inside a callback.
    let answer = daemon.entitlement("PL1").await;
    assert_eq!(answer["reason"], "released", "asked within 800 ms: {answer}");
    let came = Instant::now();
    let call = renewal("STRANGER", "CS-1", &date_in_days(500));
    assert_eq!(daemon.callback(&call).await, "000000");
    assert!(came.elapsed() < Duration::from_secs(5));
    assert_eq!(daemon.verdict("STRANGER").await, "applied", "asked within the callback");
    for name in ["BULK", "OWED"] {
        let waiting = (0..40).filter(|n| !asked(&market, &format!("{name}{n}"))).count();
        assert!(waiting > 10, "the others still waited: {waiting}");
    }
}

#[tokio::test]
async fn a_sweep_that_a_stop_has_ended_goes_on_when_the_queue_opens() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    let codes = ["PL1", "PL2", "PL3", "PL4", "PL5"];
    for code in codes {
        never_asked(&daemon, code).await;
    }
    market.trouble(Some(error(401, "APIGW.0301")));
    daemon.order("/v1/jobs/reconcile/run", Value::Null).await;
    let run = wait_until("the sweep ends", async || {
        let run = last_run(&daemon).await;
        (run["last_counts"]["left"] == 5).then_some(run)
    })
    .await;
    let counts = json!({"seen": 2, "asked": 0, "failed": 0, "repaired": 0, "left": 5});
    assert_eq!((&run["last_outcome"], &run["last_counts"]), (&json!("ok"), &counts));
    assert_eq!(market.count(), 1, "one refusal is enough");

    daemon.stop().await;
    let opens = now().plus_ms(3_000).as_ms();
    let fact = "name = 'marketplace_stopped_until'";
    daemon.edit(&format!("UPDATE fact SET value = '{opens}' WHERE {fact}"));
    market.trouble(None);
    daemon.again().await;
    // The first one again, for it got no answer: the last in turn, for the sweep goes on behind it.
    wait_until("every code is asked about", async || {
        let others = codes[1..].iter().all(|code| market.count_of(Api::Query, code) > 0);
        (others && market.asked("PL1").len() == 2).then_some(())
    })
    .await;
    assert!(now().as_ms() >= opens, "nothing left before");
    wait_until("its end is recorded", async || {
        let run = last_run(&daemon).await;
        (run["last_counts"]["asked"] == 5 && run["last_counts"]["left"] == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_gap_is_noticed_at_the_start_and_every_code_is_asked_about() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    daemon.stop().await;
    // Asked lately, then down for half an hour.
    daemon.edit("UPDATE fact SET value = value - 1800000 WHERE name = 'heard_at'");
    let asked = market.count_of(Api::Query, "PL1");
    market.says(Api::Query, "PL1", [released()]);
    daemon.again().await;
    daemon.until_state("PL1", "released").await;
    assert_eq!(market.count_of(Api::Query, "PL1"), asked + 1);
}
