//! Whole lives of codes between the real program and the simulated marketplace, which is as strict as the
//! documents, joined by nothing but the wire (product.md §7).

use super::wire::date_in_days;
use super::{ACCESS_KEY, Daemon, PATH, Setup, wait_until};
use crate::peer::{AK, SK};
use authcoded::clock::Clock;
use authcoded::simulator::{Settings, Simulator};
use serde_json::{Value, json};

/// The simulated marketplace with a daemon beside it.
struct World {
    simulator: Option<Simulator>,
    daemon: Daemon,
}

impl World {
    async fn start(speed: u32) -> Self {
        let settings =
            Settings { speed, ..Settings::new(ACCESS_KEY.into(), AK.to_owned(), SK.into()) };
        let simulator = Simulator::start(settings, Clock::system()).await.expect("it starts");
        let endpoints = vec![format!("http://{}", simulator.address())];
        let daemon = Daemon::with(Setup { endpoints, ..Setup::default() }).await;
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

    /// Waits until the marketplace has nothing more to tell, and every call was answered as it wants.
    async fn all_told(&self) {
        wait_until("every call was answered", async || {
            let calls = self.console("GET", "calls", &Value::Null).await;
            let calls = calls["items"].as_array().expect("items").clone();
            calls.iter().all(|call| call["state"] == "delivered").then_some(())
        })
        .await;
    }

    async fn end(mut self) {
        self.daemon.stop().await;
        self.simulator.take().expect("it runs").stop().await;
    }
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
