//! The log: one line per callback, transition, marketplace call and job, with the contract's field names
//! (product.md §6). That no line ever holds a secret is checked at the end of every run of the program.

use super::market::{Api, Market, error};
use super::wire::{but, date_in_days, freeze, renewal};
use super::{Daemon, Signed, signed, wait_until};
use serde_json::{Value, json};

/// The lines with this message that name this code, once there is one: an answer may overtake its line.
async fn about(daemon: &Daemon, message: &str, code: &str) -> Vec<Value> {
    wait_until("the line is read", async || {
        let lines = daemon.lines().into_iter();
        let about = |line: &Value| line["message"] == message && line["license.code"] == code;
        let lines: Vec<_> = lines.filter(about).collect();
        (!lines.is_empty()).then_some(lines)
    })
    .await
}

#[tokio::test]
async fn a_callback_and_the_transition_it_caused_are_one_line_each_under_one_request() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    assert_eq!(daemon.callback(&renewal("PL1", "CS-1", &date_in_days(400))).await, "000000");
    let lines = about(&daemon, "callback", "PL1").await;
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!((&line["order.id"], &line["result_code"]), (&json!("CS-1"), &json!("000000")));
    assert_eq!(
        (&line["verdict"], &line["activity"]),
        (&json!("applied"), &json!("refreshLicenseCode"))
    );
    assert!(line["duration_ms"].is_number(), "{line}");
    let request = line["request.id"].as_str().expect("a request id");
    assert!(!request.is_empty());

    let lines = daemon.lines().into_iter();
    let moved: Vec<_> = lines.filter(|line| line["event.kind"] == "renewed").collect();
    assert_eq!(moved.len(), 1);
    let moved = &moved[0];
    assert_eq!((&moved["license.code"], &moved["source"]), (&json!("PL1"), &json!("callback")));
    assert_eq!((&moved["from"], &moved["to"]), (&json!("activated"), &json!("renewed")));
    assert_eq!((&moved["order.id"], &moved["request.id"]), (&json!("CS-1"), &json!(request)));

    daemon.callback(&freeze("PL2")).await;
    let call = &about(&daemon, "callback", "PL2").await[0];
    assert_ne!(call["request.id"], json!(request));
    let asked = &about(&daemon, "marketplace call", "PL2").await[0];
    assert_eq!(asked["request.id"], call["request.id"], "the question inside it");
}

#[tokio::test]
async fn a_marketplace_call_is_one_line() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.says(Api::Activate, "PL1", [error(200, "92020004")]);
    daemon.register("PL1", true).await;
    daemon.order("/v1/licenses/PL1/activate", Value::Null).await;
    let lines = about(&daemon, "marketplace call", "PL1").await;
    assert_eq!(lines.len(), 1, "as many as the marketplace saw");
    let line = &lines[0];
    assert_eq!((&line["api"], &line["outcome"]), (&json!("activate"), &json!("not_received")));
    assert_eq!((&line["http"], &line["result_code"]), (&json!(200), &json!("92020004")));
    assert_eq!(line["endpoint"], json!(market.addr().to_string()));
    assert!(line["duration_ms"].is_number() && line["request.id"].is_string(), "{line}");
}

#[tokio::test]
async fn a_job_is_one_line_and_every_line_is_json() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for line in daemon.log() {
        let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
        for field in ["timestamp", "level", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
    }
    let jobs = daemon.lines().into_iter().filter(|line| line["job"] == "reconcile");
    let jobs: Vec<_> = jobs.collect();
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0]["outcome"], "ok");
    assert!(jobs[0]["duration_ms"].is_number() && jobs[0]["slot"].is_string(), "{}", jobs[0]);
}

#[tokio::test]
async fn refused_and_strange_calls_leave_nothing_of_the_caller_in_the_log() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let call = signed(&freeze("PL1"));
    let spoilt = |query: String| Signed { query, ..call.clone() };
    for query in [
        call.query.replace("signature=", "signature=0"),
        call.query.replace("timestamp=", "timestamp=0"),
        call.query.replace("nonce=", "nonce=x"),
        format!("{0}&{0}", call.query),
        format!("{}&token=topsecret", call.query),
        "token=topsecret".to_owned(),
    ] {
        daemon.reply(&spoilt(query)).await;
    }
    daemon
        .callback(&but(&freeze("PL1"), "status", json!("topsecret\u{1b}[31m\nlevel=ERROR")))
        .await;
    let path = "/topsecret?token=topsecret";
    daemon.plain(daemon.request("POST", daemon.callback_addr(), path)).await;
    daemon.plain(daemon.request("GET", daemon.admin_addr(), path).bearer_auth("topsecret")).await;
    let log = daemon.log();
    let told = log.iter().filter(|line| line.contains("topsecret")).collect::<Vec<_>>();
    // The word of the body is shown as a bounded, escaped sample; a query or a token never is.
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(!told[0].contains('\u{1b}') && told[0].contains("a word this version does not know"));
    for line in log {
        assert!(serde_json::from_str::<Value>(&line).is_ok(), "{line}");
    }
}
