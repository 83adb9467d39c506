//! The stop of the queue after a refusal, and the second domain (product.md §3.2, §9; protocol.md 2.1, 2.9).

use super::market::{Api, Market, alive, error};
use super::wire::{date_in_days, freeze};
use super::{Daemon, now, wait_until};
use crate::peer::Say;
use authcoded::domain::slots::parse_rfc3339;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

/// Everything that makes the daemon call the marketplace, and what it says instead.
async fn try_everything(daemon: &Daemon, round: usize) {
    for act in ["query", "activate"] {
        let report = daemon.order(&format!("/v1/licenses/PL1/{act}"), Value::Null).await;
        assert_eq!(report["outcome"], "retry_later");
    }
    let unknown = format!("UNKNOWN{round}");
    assert_eq!(daemon.callback(&freeze(&unknown)).await, "000000");
    assert_eq!(daemon.verdict(&unknown).await, "orphan");
    let new = format!("NEW{round}");
    daemon.order("/v1/licenses", json!({"code": new})).await;
    daemon.entitlement("USED").await;
    let job = |jobs: Vec<Value>| jobs.into_iter().find(|job| job["name"] == "reconcile");
    let before = job(daemon.items("/v1/jobs").await).expect("a job")["last_started"].clone();
    daemon.order("/v1/jobs/reconcile/run", Value::Null).await;
    wait_until("the sweep is over", async || {
        let job = job(daemon.items("/v1/jobs").await).expect("a job");
        (job["last_started"] != before && !job["last_finished"].is_null()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_refusal_stops_the_whole_queue_for_five_minutes_also_over_a_restart() {
    for (say, error_code) in [
        (error(403, "92020001"), json!("92020001")),
        (error(401, "APIGW.0301"), json!("APIGW.0301")),
        (error(401, "APIGW.0303"), json!("APIGW.0303")),
        (error(403, "APIGW.0401"), json!("APIGW.0401")),
        (Say::new(401, "<html>who are you</html>"), Value::Null),
    ] {
        let market = Market::start().await;
        let mut daemon = Daemon::start(&[market.http()]).await;
        daemon.activated("USED").await;
        daemon.register("PL1", true).await;
        let summary = daemon.see("/v1/summary").await;
        assert_eq!(summary["marketplace"], json!({"reachable": true, "stopped_until": null}));
        let calls = market.count();

        market.trouble(Some(say));
        let begun = now();
        let report = daemon.order("/v1/licenses/PL1/activate", Value::Null).await;
        assert_eq!(
            (&report["outcome"], &report["error_code"]),
            (&json!("retry_later"), &error_code)
        );
        assert_eq!(market.count(), calls + 1, "one refusal is enough");
        let until = daemon.see("/v1/summary").await["marketplace"]["stopped_until"].clone();
        let stop = parse_rfc3339(until.as_str().expect("a time")).expect("a time").ms_since(begun);
        assert!((300_000..305_000).contains(&stop), "{stop}");
        assert!(daemon.see("/v1/summary").await["alarms"].as_u64() > Some(0));

        try_everything(&daemon, 1).await;
        daemon.restart().await;
        try_everything(&daemon, 2).await;
        daemon.kill();
        daemon.again().await;
        try_everything(&daemon, 3).await;
        assert_eq!(daemon.see("/v1/summary").await["marketplace"]["stopped_until"], until);
        assert_eq!(market.count(), calls + 1, "nothing left during the stop");
    }
}

#[tokio::test]
async fn a_domain_that_refuses_connections_or_is_faulty_is_passed_over() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let closed = format!("http://{}", socket.local_addr().expect("its address"));
    let second = Market::start().await;
    let daemon = Daemon::start(&[closed, second.http()]).await;
    daemon.activated("PL1").await;
    assert_eq!(second.asked("PL1"), [Api::Activate, Api::Query]);
    assert_eq!(daemon.see("/v1/summary").await["marketplace"]["reachable"], true);

    let (first, second) = (Market::start().await, Market::start().await);
    first.trouble(Some(error(503, "APIGW.0613")));
    let daemon = Daemon::start(&[first.http(), second.http()]).await;
    daemon.activated("PL1").await;
    assert_eq!(
        (first.asked("PL1").len(), second.asked("PL1").len()),
        (1, 2),
        "then it stays there"
    );
    let hosts = daemon.lines().into_iter().filter(|line| line["message"] == "marketplace call");
    let hosts: Vec<_> = hosts.map(|line| line["endpoint"].clone()).collect();
    let expected = [&first, &second, &second].map(|market| json!(market.addr().to_string()));
    assert_eq!(hosts, expected);
}

#[tokio::test]
async fn a_domain_that_answers_is_not_evaded() {
    let (first, second) = (Market::start().await, Market::start().await);
    let daemon = Daemon::start(&[first.http(), second.http()]).await;
    for (code, say) in [
        ("PL1", error(200, "92020001")),
        ("PL2", error(200, "92020002")),
        ("PL3", error(200, "92020004")),
        ("PL4", error(429, "APIGW.0308")),
        // What may have been done there is not done here once more.
        ("PL5", Say::Cut),
    ] {
        daemon.register(code, true).await;
        first.says(Api::Activate, code, [say]);
        daemon.order(&format!("/v1/licenses/{code}/activate"), Value::Null).await;
        assert_eq!(second.count(), 0, "{code}");
    }
    // A question costs nothing twice.
    first.says(Api::Query, "PL6", [Say::Cut]);
    second.says(Api::Query, "PL6", [alive(&date_in_days(9))]);
    daemon.register("PL6", true).await;
    let report = daemon.order("/v1/licenses/PL6/query", Value::Null).await;
    assert_eq!(
        (&report["outcome"], &report["license"]["state"]),
        (&json!("done"), &json!("activated"))
    );
    assert_eq!(second.count(), 1);
}

#[tokio::test]
async fn a_server_with_a_certificate_that_does_not_hold_is_told_and_not_replaced() {
    let (acceptor, _) = crate::marketplace::tls();
    let stranger = crate::peer::Peer::scripted(Some(acceptor), |_| {
        std::future::ready(alive(&date_in_days(300)))
    })
    .await;
    let second = Market::start().await;
    let daemon = Daemon::start(&[stranger.https(), second.http()]).await;
    daemon.register("PL1", true).await;
    let report = daemon.order("/v1/licenses/PL1/query", Value::Null).await;
    assert_eq!(
        (&report["outcome"], &report["license"]["state"]),
        (&json!("retry_later"), &json!("received"))
    );
    assert_eq!((stranger.count(), second.count()), (0, 0));
    assert_eq!(daemon.see("/v1/summary").await["marketplace"]["reachable"], false);
    let told = daemon.lines().into_iter().find(|line| line["outcome"] == "certificate");
    assert_eq!(told.expect("a line")["level"], "ERROR");
}
