//! What each answer of the marketplace comes to (product.md §3.2, every row; §9, marketplace calls).

use super::market::{Api, Market, alive, done, error, expired, released};
use super::wire::date_in_days;
use super::{Daemon, now, wait_within};
use crate::peer::Say;
use Api::{Activate, Query};
use authcoded::domain::slots::parse_rfc3339;
use serde_json::{Value, json};
use std::time::Duration;

async fn activate(daemon: &Daemon, code: &str) -> Value {
    daemon.order(&format!("/v1/licenses/{code}/activate"), Value::Null).await
}

async fn query(daemon: &Daemon, code: &str) -> Value {
    daemon.order(&format!("/v1/licenses/{code}/query"), Value::Null).await
}

/// Outcome and code of a report.
fn said(report: &Value) -> (&str, Option<&str>) {
    (report["outcome"].as_str().expect("an outcome"), report["error_code"].as_str())
}

/// Seconds from now until a time in JSON.
fn seconds_until(at: &Value) -> i64 {
    let at = parse_rfc3339(at.as_str().expect("a time")).expect("a time");
    at.ms_since(now()) / 1_000
}

#[tokio::test]
async fn faults_and_throttling_are_tried_again_until_they_are_over() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    // Whether it may have been done, and whether a second try now could do better.
    let cases = [
        ("PL1", error(200, "92020001"), Some("92020001"), false, true),
        ("PL2", error(500, "92020001"), Some("92020001"), true, true),
        ("PL3", error(502, "APIGW.0201"), Some("APIGW.0201"), true, true),
        ("PL4", Say::new(503, "<html>busy</html>"), None, true, true),
        ("PL5", error(429, "APIGW.0308"), Some("APIGW.0308"), false, false),
        ("PL6", Say::new(429, ""), None, false, false),
        ("PL7", Say::Cut, None, true, false),
        ("PL8", Say::Break { http: 200 }, None, true, false),
    ];
    for (code, say, error_code, in_doubt, again) in &cases {
        daemon.register(code, true).await;
        let end = date_in_days(200);
        let (say, last) = (say.clone(), done(&end));
        if *again {
            market.says(Activate, code, [say.clone(), say, last]);
        } else {
            market.says(Activate, code, [say, last]);
        }
        if *in_doubt {
            market.says(Query, code, [error(200, "92020011"), alive(&end)]);
        }
        let report = activate(&daemon, code).await;
        assert_eq!(said(&report), ("retry_later", *error_code), "{code}");
        let license = &report["license"];
        assert_eq!(
            (&license["state"], &license["last_error_code"]),
            (&json!("received"), &json!(error_code))
        );
        assert!((0..=6).contains(&seconds_until(&license["next_activation_at"])), "{license}");
    }
    for (code, _, _, in_doubt, again) in cases {
        let license = daemon.until_state(code, "activated").await;
        assert_eq!(
            (&license["last_error_code"], &license["next_activation_at"]),
            (&Value::Null, &Value::Null)
        );
        let mut expected = vec![Activate];
        expected.extend(again.then_some(Activate));
        expected.extend(in_doubt.then_some(Query));
        expected.push(Activate);
        assert_eq!(market.asked(code)[..expected.len()], expected, "{code}");
    }
}

#[tokio::test]
async fn a_query_that_fails_is_told_and_asked_again() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for (code, say, error_code, again) in [
        ("PL1", error(500, "92020001"), Some("92020001"), true),
        ("PL2", error(429, "APIGW.0308"), Some("APIGW.0308"), false),
        ("PL3", Say::Cut, None, true),
        ("PL4", error(200, "92029999"), Some("92029999"), false),
    ] {
        daemon.activated(code).await;
        let last = alive(&date_in_days(77));
        if again {
            market.says(Query, code, [say.clone(), say, last]);
        } else {
            market.says(Query, code, [say, last]);
        }
        let report = query(&daemon, code).await;
        assert_eq!(said(&report), ("retry_later", error_code), "{code}");
        assert_eq!(report["license"]["state"], "activated");
    }
    for code in ["PL1", "PL2", "PL3", "PL4"] {
        wait_within(Duration::from_secs(20), "the background goes on", async || {
            let end =
                daemon.license(code).await["expires_at"].as_str().map(|end| end[..10].to_owned());
            let asked = date_in_days(77);
            let day = format!("{}-{}-{}", &asked[..4], &asked[4..6], &asked[6..8]);
            (end == Some(day)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_wrong_request_is_refused_for_good_and_tried_only_when_somebody_asks() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for (code, http, error_code) in [
        ("PL1", 200, "92020002"),
        ("PL2", 400, "95000001"),
        ("PL3", 405, "95000002"),
        ("PL4", 415, "95000003"),
        ("PL5", 400, "95000004"),
    ] {
        market.says(Activate, code, [error(http, error_code)]);
        daemon.order("/v1/licenses", json!({"code": code})).await;
        let event = daemon.until_kind(code, "activation_failed").await;
        assert_eq!(
            (&event["result_code"], &event["source"]),
            (&json!(error_code), &json!("activation"))
        );
        let license = daemon.license(code).await;
        assert_eq!(
            (&license["state"], &license["next_activation_at"]),
            (&json!("received"), &Value::Null)
        );
        assert_eq!(license["last_error_code"], error_code);
        let report = activate(&daemon, code).await;
        assert_eq!(said(&report), ("refused", Some(error_code)));
        assert_eq!(market.asked(code), [Activate, Activate], "once for each time it was asked for");
    }
}

#[tokio::test]
async fn an_illegal_state_is_asked_about() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let past = date_in_days(-10);
    for (code, answer, state, reason) in [
        ("PL1", alive(&date_in_days(300)), "activated", "active"),
        ("PL2", expired(&past), "activated", "expired"),
        ("PL3", released(), "released", "released"),
        ("PL4", error(200, "92020011"), "received", "not_activated"),
    ] {
        daemon.register(code, true).await;
        market.says(Activate, code, [error(200, "92020003")]);
        market.says(Query, code, [answer]);
        let report = activate(&daemon, code).await;
        assert_eq!(said(&report), ("asked", Some("92020003")));
        assert_eq!(report["license"]["state"], state);
        assert_eq!(market.asked(code)[..2], [Activate, Query]);
        assert_eq!(daemon.reason(code).await, reason);
    }
}

#[tokio::test]
async fn a_code_the_buyer_has_not_received_waits_on_the_ladder() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    market.says(Activate, "PL1", [error(200, "92020004")]);
    market.says(Query, "PL1", [error(200, "92020011")]);
    daemon.order("/v1/licenses", json!({"code": "PL1"})).await;
    daemon.until_kind("PL1", "activation_waiting").await;
    let license = daemon.license("PL1").await;
    assert_eq!(
        (&license["state"], &license["last_error_code"]),
        (&json!("issued"), &json!("92020004"))
    );
    let wait = seconds_until(&license["next_activation_at"]);
    assert!((590..=600).contains(&wait), "{wait}");
    let kinds = daemon.kinds("PL1").await;
    assert_eq!(kinds, ["registered", "received", "repaired", "activation_waiting"]);
    let told = &daemon.events("PL1").await[2];
    assert_eq!((&told["from"], &told["to"]), (&json!("received"), &json!("issued")));
    let summary = daemon.see("/v1/summary").await;
    assert_eq!((&summary["waiting_for_buyer"], &summary["alarms"]), (&json!(1), &json!(0)));
    assert_eq!(daemon.reason("PL1").await, "not_activated");

    for _ in 0..2 {
        let report = activate(&daemon, "PL1").await;
        assert_eq!(said(&report), ("waiting_for_buyer", Some("92020004")));
        assert_eq!(
            report["license"]["next_activation_at"], license["next_activation_at"],
            "it stays"
        );
    }
    assert_eq!(market.count_of(Activate, "PL1"), 3, "it was tried now, each time");
    daemon.restart().await;
    assert_eq!(daemon.license("PL1").await["next_activation_at"], license["next_activation_at"]);
    assert_eq!(market.count_of(Activate, "PL1"), 3);

    market.says(Activate, "PL1", [done(&date_in_days(300))]);
    market.says(Query, "PL1", [alive(&date_in_days(300))]);
    let report = activate(&daemon, "PL1").await;
    assert_eq!(said(&report), ("done", None));
    assert_eq!(report["license"]["state"], "activated");
    let kinds = daemon.kinds("PL1").await;
    assert_eq!(kinds[4..6], ["received", "activated"], "{kinds:?}");
    assert_eq!(daemon.see("/v1/summary").await["waiting_for_buyer"], 0);
}

#[tokio::test]
async fn a_code_unknown_there_is_parked_and_told() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.says(Activate, "PL1", [error(200, "92020005")]);
    daemon.register("PL1", true).await;
    let report = activate(&daemon, "PL1").await;
    assert_eq!(said(&report), ("refused", Some("92020005")));
    let license = &report["license"];
    assert_eq!(
        (&license["state"], &license["next_activation_at"]),
        (&json!("received"), &Value::Null)
    );
    let event = daemon.until_kind("PL1", "contradiction").await;
    assert_eq!(event["result_code"], "92020005");

    daemon.activated("PL2").await;
    market.says(Query, "PL2", [error(200, "92020005")]);
    let report = query(&daemon, "PL2").await;
    assert_eq!(said(&report), ("refused", Some("92020005")));
    assert_eq!(report["license"]["state"], "activated");
    assert_eq!(daemon.until_kind("PL2", "contradiction").await["result_code"], "92020005");
    assert_eq!(daemon.reason("PL2").await, "active", "unknown is not no");
    assert_eq!(daemon.see("/v1/summary").await["alarms"], 2);
}

#[tokio::test]
async fn a_query_that_calls_a_code_not_activated_contradicts_only_one_that_is() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for (code, state, alarms) in
        [("PL1", "issued", 0), ("PL2", "received", 0), ("PL3", "activated", 1)]
    {
        match state {
            "activated" => daemon.activated(code).await,
            _ => drop(daemon.register(code, state == "received").await),
        }
        market.says(Query, code, [error(200, "92020011")]);
        let report = query(&daemon, code).await;
        let license = &report["license"];
        assert_eq!(
            (&license["state"], &license["last_error_code"]),
            (&json!(state), &json!("92020011"))
        );
        assert_eq!(said(&report), ("done", Some("92020011")));
        let kinds = daemon.kinds(code).await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "contradiction").count(), alarms);
    }
}

#[tokio::test]
async fn what_nobody_told_us_of_is_kept_and_never_taken_for_success() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for (code, say, kept) in [
        ("PL1", error(200, "92020020"), Some("92020020")),
        ("PL2", error(200, "92029999"), Some("92029999")),
        ("PL3", error(418, "92020000"), Some("92020000")),
        ("PL4", Say::new(200, "<html>welcome</html>"), None),
        ("PL5", Say::new(200, "{}"), None),
        ("PL6", Say::new(302, ""), None),
        ("PL7", error(404, "APIGW.9999"), Some("APIGW.9999")),
    ] {
        market.says(Activate, code, [say]);
        market.says(
            Query,
            code,
            [Say::new(200, r#"{"error_code":"92020000","data":{"status":"FROZEN"}}"#)],
        );
        daemon.register(code, true).await;
        let report = activate(&daemon, code).await;
        assert_eq!(said(&report), ("retry_later", kept));
        let license = &report["license"];
        assert_eq!(
            (&license["state"], &license["last_error_code"]),
            (&json!("received"), &json!(kept))
        );
        let report = query(&daemon, code).await;
        assert_eq!(said(&report).0, "retry_later", "a status nobody documented");
        assert_eq!(report["license"]["marketplace_status"], "unknown");
        assert_eq!(daemon.reason(code).await, "not_activated");
    }
    // The gateway's codes stand under either prefix.
    daemon.register("PL8", true).await;
    market.says(Activate, "PL8", [error(404, "APIG.0101")]);
    assert_eq!(said(&activate(&daemon, "PL8").await), ("refused", Some("APIG.0101")));
}
