//! The availability heartbeat through a proxy with faults: each has a diagnosis of its own and one alarm within
//! one slot, and is gone within one slot after the repair (product.md §5; protocol.md §6).

use super::fault_proxy::{Fault, FaultProxy, Served};
use super::market::Market;
use super::{Daemon, PATH, Setup, wait_within};
use serde_json::{Value, json};
use std::time::Duration;

/// Longer than the slowest heartbeat here: one answer after 25 s.
const SLOWEST: Duration = Duration::from_mins(1);

struct Stage {
    daemon: Daemon,
    proxy: FaultProxy,
    _market: Market,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn start(host: &str) -> Self {
        let (market, proxy) = (Market::start().await, FaultProxy::start().await);
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root.pem");
        std::fs::write(&root, proxy.root_pem()).expect("written");
        let daemon = Daemon::with(Setup {
            endpoints: vec![market.http()],
            callback: public_url(host, proxy.port()),
            marketplace: format!("extra-ca-file = \"{}\"", root.display()),
            ..Setup::default()
        })
        .await;
        proxy.pass_on_to(daemon.callback_addr());
        Self { daemon, proxy, _market: market, _folder: folder }
    }

    /// One slot of the heartbeat.
    async fn slot(&self) -> Value {
        let newest = async || self.daemon.items("/v1/probes?limit=1").await[0].clone();
        let before = newest().await["id"].clone();
        self.daemon.order("/v1/jobs/heartbeat/run", Value::Null).await;
        wait_within(SLOWEST, "a heartbeat is recorded", async || {
            Some(newest().await).filter(|probe| probe["id"] != before)
        })
        .await
    }

    async fn alarms(&self) -> Vec<Value> {
        self.daemon.items("/v1/alarms").await
    }

    /// A slot with a fault: which step must fail, and with which diagnosis. The steps that fail besides
    /// are given back.
    async fn fails(&self, step: &str, diagnosis: &str) -> Vec<Value> {
        let probe = self.slot().await;
        assert_eq!(probe["outcome"], "failed", "{diagnosis}: {probe}");
        let steps = probe["steps"].as_array().expect("steps").clone();
        assert_eq!(steps.len(), 10, "each is recorded: {probe}");
        let failed: Vec<_> = steps.iter().filter(|step| step["outcome"] == "failed").collect();
        assert_eq!((&failed[0]["name"], &failed[0]["detail"]), (&json!(step), &json!(diagnosis)));
        assert!(failed.iter().all(|step| step["what_to_do"].is_string()), "{probe}");
        let alarms = self.alarms().await;
        assert_eq!(alarms.len(), 1, "one alarm for one cause: {alarms:?}");
        let alarm = &alarms[0];
        assert_eq!((&alarm["kind"], &alarm["severity"]), (&json!("heartbeat"), &json!("high")));
        let text = alarm["text"].as_str().expect("a text");
        assert!(text.ends_with(&format!(" failed ({step}): {diagnosis}")), "{text}");
        steps
    }

    /// A slot after the repair.
    async fn passes(&self) -> Value {
        let probe = self.slot().await;
        assert_eq!(probe["outcome"], "ok", "{probe}");
        let alarms = self.alarms().await;
        // What failed in the morning may be told by the delisting clock in the afternoon.
        let heartbeat = alarms.iter().find(|alarm| alarm["kind"] == "heartbeat");
        assert_eq!(heartbeat, None, "it goes by itself");
        probe
    }
}

fn public_url(host: &str, port: u16) -> String {
    format!("public-url = \"https://{host}:{port}{PATH}\"")
}

fn outcomes(steps: &[Value]) -> Vec<&str> {
    steps.iter().map(|step| step["outcome"].as_str().expect("a word")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_certificate_has_its_own_name() {
    let stage = Stage::start("localhost").await;
    let probe = stage.passes().await;
    assert_eq!(probe["certificate_days"], 89, "{probe}");
    let tls = probe["steps"][2]["detail"].as_str().expect("a text");
    let expected = "TLS 1.3, the certificate is for localhost, 89 days left, 1 intermediate sent";
    assert_eq!(tls, expected);
    for (served, diagnosis) in [
        (Served::ExpiredDaysAgo(2), "TLS: the certificate expired 2 days ago"),
        (Served::For("other.example"), "TLS: the certificate is for other.example, not localhost"),
        (
            Served::WithoutIntermediate,
            "TLS: the server does not send its intermediate certificate (CN=Test Intermediate)",
        ),
        (Served::BySomebodyUnknown, "TLS: the chain ends at CN=Unknown Root, which nobody trusts"),
    ] {
        stage.proxy.serve(served);
        let steps = stage.fails("tls", diagnosis).await;
        let mut expected = vec!["ok", "ok", "failed"];
        expected.resize(10, "skipped");
        assert_eq!(outcomes(&steps), expected, "{diagnosis}");
        stage.proxy.serve(Served::Good);
        stage.passes().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_proxy_has_its_own_name() {
    let stage = Stage::start("localhost").await;
    stage.passes().await;
    let wrong_key = "answered 000001: is the newest access key the bound one?";
    for (fault, step, diagnosis, failing) in [
        (Fault::Status(502), "renewal", "proxy answered HTTP 502", 7),
        (
            Fault::ContentType("text/html"),
            "renewal",
            "content type text/html instead of application/json",
            7,
        ),
        (Fault::Without("resultMsg"), "renewal", "resultMsg is missing", 7),
        (Fault::Without("resultCode"), "renewal", "resultCode is missing", 7),
        (Fault::AcceptStale, "stale", "a stale call was accepted", 1),
        (
            Fault::Always("000000"),
            "wrong_signature",
            "a call with a wrong signature was accepted",
            2,
        ),
        (Fault::Always("000001"), "renewal", wrong_key, 5),
    ] {
        stage.proxy.fail(Some(fault));
        let steps = stage.fails(step, diagnosis).await;
        let failed = outcomes(&steps).iter().filter(|outcome| **outcome == "failed").count();
        assert_eq!(failed, failing, "{fault:?}: {steps:?}");
        stage.proxy.fail(None);
        stage.passes().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_after_25_seconds_is_measured() {
    let stage = Stage::start("localhost").await;
    stage.passes().await;
    stage.proxy.fail(Some(Fault::Delay(Duration::from_secs(25))));
    let steps = stage.fails("renewal", "answered in 25 s, limit 20 s").await;
    assert_eq!(outcomes(&steps)[4..], ["skipped"; 6], "the others are not waited for");
    stage.proxy.fail(None);
    stage.passes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_nowhere_and_a_door_that_is_closed() {
    let mut stage = Stage::start("no-such-name.invalid").await;
    let probe = stage.slot().await;
    let dns = &probe["steps"][0];
    let told = dns["detail"].as_str().expect("a text");
    assert!(told.starts_with("DNS: no answer for no-such-name.invalid ("), "{told}");
    let steps = stage.fails("dns", told).await;
    assert_eq!(outcomes(&steps)[1..], ["skipped"; 9]);
    let alarm = &stage.alarms().await[0];
    assert!(alarm["what_to_do"].as_str().is_some_and(|text| text.contains("DNS")), "{alarm}");

    stage.daemon.setup.callback = public_url("localhost", 1);
    stage.daemon.write_files();
    stage.daemon.restart().await;
    let probe = stage.slot().await;
    let told = probe["steps"][1]["detail"].as_str().expect("a text").to_owned();
    assert!(told.starts_with("TCP: no connection to localhost ("), "{told}");
    stage.fails("tcp", &told).await;

    stage.daemon.setup.callback = public_url("localhost", stage.proxy.port());
    stage.daemon.write_files();
    stage.daemon.restart().await;
    stage.proxy.pass_on_to(stage.daemon.callback_addr());
    stage.passes().await;
}
