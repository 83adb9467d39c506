//! Whole lives of codes between the real program and the simulated marketplace, which is as strict as the
//! documents, joined by nothing but the wire (product.md §7).

use super::wire::date_in_days;
use super::{ACCESS_KEY, Daemon, PATH, Setup, now, wait_until};
use crate::peer::{AK, SK};
use authcoded::clock::Clock;
use authcoded::simulator::{CertificateFiles, Settings, Simulator};
use serde_json::{Value, json};

/// The simulated marketplace with a daemon beside it.
struct World {
    simulator: Option<Simulator>,
    daemon: Daemon,
}

impl World {
    async fn start(speed: u32) -> Self {
        Self::with(Settings { speed, ..plain() }, Setup::default()).await
    }

    /// With settings of its own; TLS is spoken if the marketplace can.
    async fn with(settings: Settings, setup: Setup) -> Self {
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let simulator = Simulator::start(settings, Clock::system()).await.expect("it starts");
        let endpoints = vec![format!("{scheme}://{}", simulator.address())];
        let daemon = Daemon::with(Setup { endpoints, ..setup }).await;
        let world = Self { simulator: Some(simulator), daemon };
        world.introduce().await;
        world
    }

    /// Tells the marketplace where the daemon is now.
    async fn introduce(&self) {
        let url = format!("http://{}{PATH}", self.daemon.callback_addr());
        self.console("PUT", "callback-url", &json!({"url": url})).await;
    }

    async fn console(&self, method: &str, path: &str, body: &Value) -> Value {
        let to = self.simulator.as_ref().expect("it runs").address();
        let request = self.daemon.request(method, to, &format!("/console/{path}"));
        let request = if body.is_null() { request } else { request.body(body.to_string()) };
        let answer = self.daemon.plain(request).await;
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.text);
        answer.body
    }

    async fn act(&self, code: &str, act: &str) {
        self.console("POST", &format!("codes/{code}/{act}"), &Value::Null).await;
    }

    /// Waits until the marketplace has nothing more to tell: every call was answered as it wants, or a
    /// fault on order lost it.
    async fn all_told(&self) {
        wait_until("every call was answered", async || {
            let calls = self.console("GET", "calls", &Value::Null).await;
            let calls = calls["items"].as_array().expect("items").clone();
            calls
                .iter()
                .all(|call| call["state"] == "delivered" || call["state"] == "dropped")
                .then_some(())
        })
        .await;
    }

    async fn end(mut self) {
        self.daemon.stop().await;
        self.simulator.take().expect("it runs").stop().await;
    }
}

fn plain() -> Settings {
    Settings::new(ACCESS_KEY.into(), AK.to_owned(), SK.into())
}

#[tokio::test]
async fn a_code_lives_from_purchase_to_refund() {
    let world = World::start(1).await;
    let daemon = &world.daemon;
    world.console("POST", "codes", &json!({"license": "PL1"})).await;
    daemon.order("/v1/licenses", json!({"code": "PL1"})).await;
    daemon.until_kind("PL1", "activation_waiting").await;
    assert_eq!(daemon.state("PL1").await, "issued");
    world.act("PL1", "receive").await;
    let report = daemon.order("/v1/licenses/PL1/activate", Value::Null).await;
    assert_eq!(
        (&report["outcome"], &report["license"]["state"]),
        (&json!("done"), &json!("activated"))
    );
    assert_eq!(daemon.reason("PL1").await, "active");

    for (act, state, reason) in [
        ("renew", "renewed", "active"),
        ("unrenew", "activated", "active"),
        ("freeze", "frozen", "frozen"),
        ("unfreeze", "activated", "active"),
        ("renew", "renewed", "active"),
        ("refund", "released", "released"),
    ] {
        world.act("PL1", act).await;
        daemon.until_state("PL1", state).await;
        world.all_told().await;
        assert_eq!(daemon.reason("PL1").await, reason, "{act}");
    }
    let kinds = daemon.kinds("PL1").await;
    assert!(!kinds.contains(&"contradiction".to_owned()), "{kinds:?}");
    let seen = world.console("GET", "codes/PL1", &Value::Null).await;
    assert_eq!(seen["license"], "PL1");
    world.end().await;
}

#[tokio::test]
async fn an_expired_code_is_frozen_and_thawed_by_paying() {
    let world = World::start(1).await;
    let daemon = &world.daemon;
    let end = date_in_days(-1);
    world
        .console("POST", "codes", &json!({"license": "PL1", "expire_time": end, "received": true}))
        .await;
    daemon.order("/v1/licenses", json!({"code": "PL1"})).await;
    daemon.until_kind("PL1", "expired").await;
    assert_eq!(daemon.reason("PL1").await, "expired");
    world.act("PL1", "freeze").await;
    daemon.until_state("PL1", "frozen").await;
    world.act("PL1", "renew").await;
    daemon.until_state("PL1", "renewed").await;
    world.all_told().await;
    wait_until("it runs again", async || (daemon.reason("PL1").await == "active").then_some(()))
        .await;
    world.end().await;
}

#[tokio::test]
async fn calls_that_found_nobody_come_again_and_are_applied_once() {
    // Two minutes are three tenths of a second.
    let mut world = World::start(400).await;
    world.console("POST", "codes", &json!({"license": "PL1", "received": true})).await;
    world.daemon.order("/v1/licenses", json!({"code": "PL1"})).await;
    world.daemon.until_state("PL1", "activated").await;
    world.daemon.stop().await;
    world.act("PL1", "renew").await;
    wait_until("the call has failed", async || {
        let calls = world.console("GET", "calls", &Value::Null).await;
        let failed =
            calls["items"][0]["attempts"].as_array().is_some_and(|tries| !tries.is_empty());
        let failed = failed || calls["items"][0]["attempts"].as_u64() > Some(0);
        failed.then_some(())
    })
    .await;
    world.daemon.again().await;
    world.introduce().await;
    world.daemon.until_state("PL1", "renewed").await;
    world.all_told().await;
    let renewed = world.daemon.items("/v1/events?code=PL1&kind=renewed").await;
    assert_eq!(renewed.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn the_marketplaces_own_dial_test_is_passed() {
    let world = World::start(1).await;
    for _ in 0..2 {
        let test = world.console("POST", "dial-test", &Value::Null).await;
        assert_eq!(test["passed"], true, "{test}");
    }
    assert!(world.daemon.items("/v1/licenses").await.is_empty());
    world.end().await;
}

/// The marketplace's calls are lost, doubled, delayed past each other and spoilt; its answers break off.
#[tokio::test]
async fn calls_doubled_delayed_and_lost_leave_every_code_as_the_marketplace_has_it() {
    let seed = now().as_ms().unsigned_abs();
    println!("seed {seed}");
    // Two minutes are three tenths of a second.
    let world = World::with(Settings { speed: 400, seed, ..plain() }, Setup::default()).await;
    let daemon = &world.daemon;
    let codes: Vec<String> = (0..12).map(|n| format!("PL{n}")).collect();
    for code in &codes {
        world.console("POST", "codes", &json!({"license": code, "received": true})).await;
        daemon.order("/v1/licenses", json!({"code": code})).await;
    }
    for code in &codes {
        daemon.until_state(code, "activated").await;
    }
    let faulty = |on: &str, probability: f64, fault: &str| json!({"on": on, "probability": probability, "fault": fault});
    let rules = json!({"rules": [
        faulty("callback", 0.3, "duplicate"), faulty("callback", 0.2, "duplicate_resigned"),
        faulty("callback", 0.3, "delay_ms:120"), faulty("callback", 0.3, "delay_ms:350"),
        faulty("callback", 0.1, "drop"), faulty("callback", 0.1, "bad_signature"),
        faulty("query", 0.1, "cut"), faulty("query", 0.1, "http_503"), faulty("query", 0.1, "truncated"),
    ]});
    world.console("POST", "faults", &rules).await;
    for acts in [["renew", "freeze"], ["unfreeze", "renew"], ["unrenew", "freeze"]] {
        for act in acts {
            for code in &codes {
                world.act(code, act).await;
            }
        }
    }
    world.console("DELETE", "faults", &Value::Null).await;
    world.all_told().await;
    // Two are refunded, and the marketplace's word of it never arrives.
    for code in &codes[..2] {
        world.console("POST", &format!("codes/{code}/refund"), &json!({"silent": true})).await;
    }
    // What was dropped is not told again: a question finds it, today's sweep at the latest.
    let applied = daemon.order("/v1/drift/apply", json!({"codes": codes})).await;
    let outcomes = applied["items"].as_array().expect("items");
    assert!(outcomes.iter().all(|one| one["outcome"] == "done"), "seed {seed}: {applied}");
    for code in &codes[..2] {
        daemon.until_state(code, "released").await;
    }
    for code in &codes {
        let truth = world.console("GET", &format!("codes/{code}"), &Value::Null).await;
        wait_until(&format!("the end of {code} (seed {seed})"), async || {
            let license = daemon.license(code).await;
            let same =
                license["state"] == "released" || license["expires_text"] == truth["expire_time"];
            same.then_some(())
        })
        .await;
        let kinds = daemon.kinds(code).await;
        let count = |kind: &str| kinds.iter().filter(|seen| *seen == kind).count();
        assert!(count("renewed") <= 2, "seed {seed}: {kinds:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_marketplace_with_a_forged_certificate_is_not_spoken_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let files = CertificateFiles {
        certificate: folder.path().join("certificate.pem"),
        key: folder.path().join("key.pem"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).expect("written");
    std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
    let marketplace = format!("extra-ca-file = {:?}", files.certificate.display().to_string());
    let setup = Setup { marketplace, ..Setup::default() };
    let world = World::with(Settings { tls: Some(files), ..plain() }, setup).await;
    let daemon = &world.daemon;
    let forge = json!({"rules": [{"on": "connection", "fault": "wrong_certificate"}]});
    world.console("POST", "faults", &forge).await;
    world.console("POST", "codes", &json!({"license": "PL1", "received": true})).await;
    daemon.register("PL1", true).await;
    let refused = daemon.order("/v1/licenses/PL1/activate", Value::Null).await;
    assert_eq!(refused["outcome"], "retry_later", "{refused}");
    let asked = world.console("GET", "requests", &Value::Null).await;
    assert_eq!(asked["items"], json!([]), "no signed request left");
    assert!(daemon.log().iter().any(|line| line.contains("certificate")), "the log names it");

    world.console("DELETE", "faults", &Value::Null).await;
    let activated = daemon.order("/v1/licenses/PL1/activate", Value::Null).await;
    assert_eq!(activated["outcome"], "done", "{activated}");
    world.end().await;
}
