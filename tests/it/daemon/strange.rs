//! What no document tells of is kept and told, never applied; a domain that keeps failing rests.

use super::market::{Api, Market, alive, error};
use super::wire::date_in_days;
use super::{Daemon, wait_until};
use crate::peer::Say;
use serde_json::{Value, json};

async fn alarms(daemon: &Daemon, kind: &str) -> Vec<Value> {
    let alarms = daemon.items("/v1/alarms").await;
    alarms.into_iter().filter(|alarm| alarm["kind"] == kind).collect()
}

#[tokio::test]
async fn unknown_fields_and_statuses_are_kept_with_a_sample_once() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let before = daemon.license("PL1").await;
    let info = json!({"license_code": "PL1", "status": "FROZEN", "frozenBecause": "unpaid"});
    let strange = json!({"error_code": "92020000", "data": info}).to_string();
    market.says(Api::Query, "PL1", [Say::new(200, strange)]);
    for _ in 0..3 {
        let report = daemon.order("/v1/licenses/PL1/query", Value::Null).await;
        assert_eq!(report["outcome"], "retry_later", "never applied: {report}");
    }
    for _ in 0..2 {
        let told = wait_until("both are told", async || {
            let told = alarms(&daemon, "strange_answer").await;
            (told.len() == 2).then_some(told)
        });
        let texts: Vec<_> = told.await.iter().map(|alarm| alarm["text"].to_string()).collect();
        assert!(texts.iter().any(|text| text.contains("frozenBecause") && text.contains("unpaid")));
        assert!(
            texts.iter().any(|text| text.contains("unknown answer") && text.contains("FROZEN"))
        );
        let events = daemon.items("/v1/events?kind=observed").await;
        let events = events.iter().filter(|event| event["code"].is_null());
        assert_eq!(events.count(), 2, "once for each");
        // Kept over a restart, and not told anew.
        daemon.restart().await;
        daemon.order("/v1/licenses/PL1/query", Value::Null).await;
    }
    let after = daemon.license("PL1").await;
    for field in ["state", "expires_at", "marketplace_status", "frozen_since"] {
        assert_eq!(after[field], before[field], "{field}");
    }
}

#[tokio::test]
async fn a_domain_that_keeps_failing_rests_and_one_answer_ends_it() {
    let (first, second) = (Market::start().await, Market::start().await);
    let daemon = Daemon::start(&[first.http(), second.http()]).await;
    daemon.activated("PL1").await;
    first.trouble(Some(error(503, "APIGW.0613")));
    let ask = async || daemon.order("/v1/licenses/PL1/query", Value::Null).await["outcome"].clone();
    second.trouble(Some(error(503, "APIGW.0613")));
    for _ in 0..3 {
        assert_eq!(ask().await, "retry_later");
    }
    let away = alarms(&daemon, "marketplace_away").await;
    assert_eq!((away.len(), &away[0]["severity"]), (1, &json!("high")), "{away:?}");
    let metrics = daemon.request("GET", daemon.admin_addr(), "/metrics");
    let metrics = daemon.plain(metrics).await.text;
    assert_eq!(metrics.matches("authcoded_marketplace_domain_working{").count(), 2, "{metrics}");
    assert!(!metrics.contains("domain_working{endpoint=\"127.0.0.1\"} 1"), "{metrics}");
    // What nobody waits for is put off: a registration's activation does not reach the wire.
    let calls = first.count() + second.count();
    daemon.order("/v1/licenses", json!({"code": "PL2"})).await;
    daemon.order("/v1/jobs/activation/run", Value::Null).await;
    wait_until("the job is over", async || {
        let jobs = daemon.items("/v1/jobs").await;
        let job = jobs.into_iter().find(|job| job["name"] == "activation").expect("a job");
        (!job["last_finished"].is_null()).then_some(())
    })
    .await;
    assert_eq!(first.count() + second.count(), calls);
    // Somebody who waits is not put off, and the answer ends the rest.
    first.trouble(None);
    second.trouble(None);
    second.says(Api::Query, "PL1", [alive(&date_in_days(90))]);
    assert_eq!(ask().await, "done");
    assert!(alarms(&daemon, "marketplace_away").await.len() <= 1, "the other one may rest still");
    daemon.until_state("PL2", "activated").await;
}
