//! Activations and queries of many codes in one call (v2), by the real program: what a batch leaves open is
//! settled by calls about one code each.

use super::market::{ANY, Api, Market, alive, alive_all, done, error, released};
use super::wire::date_in_days;
use super::{Daemon, Setup, wait_until};
use crate::peer::Say;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const CODES: [&str; 5] = ["PL1", "PL2", "PL3", "PL4", "PL5"];

async fn with_batches(market: &Market) -> Daemon {
    let marketplace = "activation-batch = 3\nquery-batch = 3".to_owned();
    Daemon::with(Setup { endpoints: vec![market.http()], marketplace, ..Setup::default() }).await
}

/// Registers them while another activation is under way, so that they are owed together.
async fn registered_together(market: &Market, daemon: &Daemon) {
    let late = Say::Late(Duration::from_secs(3), Box::new(done(&date_in_days(365))));
    market.says(Api::Activate, "FIRST", [late]);
    daemon.order("/v1/licenses", json!({"code": "FIRST"})).await;
    wait_until("the first one is under way", async || {
        (market.count_of(Api::Activate, "FIRST") == 1).then_some(())
    })
    .await;
    for code in CODES {
        daemon.order("/v1/licenses", json!({"code": code})).await;
    }
}

async fn all_are_activated_with_their_end(daemon: &Daemon) {
    for code in CODES {
        let ends = wait_until("its end is known", async || {
            let license = daemon.license(code).await;
            let known = license["state"] == "activated" && !license["expires_at"].is_null();
            known.then_some(license)
        });
        ends.await;
    }
}

#[tokio::test]
async fn codes_that_are_owed_together_are_activated_in_batches_and_asked_about() {
    let market = Market::start().await;
    let daemon = with_batches(&market).await;
    registered_together(&market, &daemon).await;
    all_are_activated_with_their_end(&daemon).await;
    let batches = market.batches(Api::ActivateBatch);
    assert!(batches.iter().any(|batch| batch.len() > 1), "{batches:?}");
    assert!(batches.iter().all(|batch| batch.len() <= 3), "{batches:?}");
    assert!(!market.batches(Api::QueryBatch).is_empty());
    for code in CODES {
        let activations = |asked: &&Api| matches!(asked, Api::Activate | Api::ActivateBatch);
        let asked = market.asked(code);
        assert_eq!(asked.iter().filter(activations).count(), 1, "{code}: {asked:?}");
        assert_eq!(daemon.kinds(code).await.iter().filter(|kind| *kind == "activated").count(), 1);
    }
}

#[tokio::test]
async fn one_bad_code_of_a_batch_holds_up_no_other() {
    let market = Market::start().await;
    let daemon = with_batches(&market).await;
    market.says(Api::ActivateBatch, ANY, [error(200, "92020020")]);
    market.says(Api::Activate, "PL3", [error(200, "92020004")]);
    registered_together(&market, &daemon).await;
    for code in CODES {
        let expected = if code == "PL3" { "issued" } else { "activated" };
        daemon.until_state(code, expected).await;
    }
    wait_until("the bad one waits for its buyer", async || {
        let license = daemon.license("PL3").await;
        (license["last_error_code"] == "92020004").then_some(())
    })
    .await;
    assert!(!market.batches(Api::ActivateBatch).is_empty());
}

#[tokio::test]
async fn after_a_doubt_each_code_is_asked_about_before_it_is_activated_alone() {
    let market = Market::start().await;
    let daemon = with_batches(&market).await;
    market.says(Api::ActivateBatch, ANY, [Say::new(200, r#"{"error_code":"92029999"}"#)]);
    market.says(Api::Query, "PL2", [error(200, "92020011"), alive(&date_in_days(365))]);
    registered_together(&market, &daemon).await;
    all_are_activated_with_their_end(&daemon).await;
    let doubtful: BTreeSet<_> = market.batches(Api::ActivateBatch).into_iter().flatten().collect();
    assert!(doubtful.len() > 1, "{doubtful:?}");
    for code in doubtful {
        let asked = market.asked(&code);
        let place = |api: Api| asked.iter().position(|it| *it == api);
        let question = place(Api::Query).expect("asked");
        assert!(place(Api::Activate).is_none_or(|alone| alone > question), "{code}: {asked:?}");
        assert_eq!(place(Api::Activate).is_some(), code == "PL2", "{code}: {asked:?}");
    }
}

#[tokio::test]
async fn a_sweep_asks_about_many_at_once_and_alone_about_those_that_are_not_named() {
    let market = Market::start().await;
    let daemon = with_batches(&market).await;
    for code in CODES {
        daemon.order("/v1/licenses", json!({"code": code, "activate": false})).await;
    }
    let plan = daemon.see("/v1/drift/plan").await;
    assert_eq!((&plan["codes"], &plan["due"], &plan["calls"]), (&json!(5), &json!(5), &json!(2)));
    market.says(Api::QueryBatch, ANY, [alive_all(["PL1", "PL2"].into_iter(), &date_in_days(9))]);
    for code in ["PL3", "PL4", "PL5"] {
        market.says(Api::Query, code, [released()]);
    }
    daemon.order("/v1/jobs/reconcile/run", Value::Null).await;
    for code in CODES {
        let alive = ["PL1", "PL2"].contains(&code);
        daemon.until_state(code, if alive { "activated" } else { "released" }).await;
    }
    assert_eq!(market.batches(Api::QueryBatch), [vec!["PL1", "PL2", "PL3"], vec!["PL4", "PL5"]]);
    assert_eq!(market.count_of(Api::Query, "PL1"), 0);
}
