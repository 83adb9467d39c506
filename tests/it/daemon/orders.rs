//! Order notifications between the real program and the simulated marketplace (protocol.md 4.6): a path
//! and a key of their own, an order that is asked about, and a code that is awaited until it comes.

use super::wire::{but, freeze, result_code};
use super::{ACCESS_KEY, Daemon, ORDER_KEY, PATH, Setup, Signed, nonce, now, signed, wait_until};
use crate::peer::{AK, SK};
use authcoded::clock::Clock;
use authcoded::domain::time::{DAY_MS, Timestamp};
use authcoded::protocol::callback_auth::{AccessKey, signed_query};
use authcoded::simulator::{Settings, Simulator};
use serde_json::{Value, json};

const ORDERS: &str = "/koogallery/orders";

/// The simulated marketplace with a daemon beside it that wants to be told of orders.
struct Office {
    simulator: Simulator,
    daemon: Daemon,
}

impl Office {
    async fn open() -> Self {
        Self::with("[orders]\naccess-key-files = [\"order-key\"]").await
    }

    async fn with(sections: &str) -> Self {
        let settings = Settings {
            order_key: Some(ORDER_KEY.into()),
            ..Settings::new(ACCESS_KEY.into(), AK.to_owned(), SK.into())
        };
        let simulator = Simulator::start(settings, Clock::system()).await.expect("it starts");
        let endpoints = vec![format!("http://{}", simulator.address())];
        let setup = Setup { endpoints, sections: sections.to_owned(), ..Setup::default() };
        let office = Self { simulator, daemon: Daemon::with(setup).await };
        let url = format!("http://{}{ORDERS}", office.daemon.callback_addr());
        office.console("PUT", "order-url", &json!({"url": url})).await;
        office
    }

    async fn console(&self, method: &str, path: &str, body: &Value) -> Value {
        let to = self.simulator.address();
        let request = self.daemon.request(method, to, &format!("/console/{path}"));
        let answer = self.daemon.plain(request.body(body.to_string())).await;
        assert!((200..300).contains(&answer.status), "{path}: {}", answer.text);
        answer.body
    }

    /// Somebody buys; the number of the order, which the daemon is told of if `notify` is set.
    async fn bought(&self, code: &str, notify: bool) -> String {
        let purchase = json!({"license": code, "received": true, "order_notify": notify});
        let code = self.console("POST", "codes", &purchase).await;
        code["order_id"].as_str().expect("an order").to_owned()
    }

    async fn faults(&self, fault: &str) {
        let rules = json!({"rules": [{"on": "order", "fault": fault}]});
        self.console("POST", "faults", &rules).await;
    }

    /// How many order queries the marketplace has seen.
    async fn queries(&self) -> usize {
        let seen = self.console("GET", "requests", &Value::Null).await;
        let items = seen["items"].as_array().expect("a list").clone();
        items.iter().filter(|seen| seen["path"].as_str().unwrap_or("").contains("order")).count()
    }

    async fn send(&self, call: &Signed, path: &str) -> String {
        let path = format!("{path}?{}", call.query);
        let request = self.daemon.request("POST", self.daemon.callback_addr(), &path);
        let request = request.header("content-type", "application/json").body(call.body.clone());
        result_code(&self.daemon.plain(request).await)
    }

    async fn notify(&self, body: &Value) -> String {
        self.send(&signed_for_orders(body, now(), &nonce()), ORDERS).await
    }

    async fn order(&self, id: &str) -> Option<Value> {
        let items = self.daemon.items("/v1/orders").await;
        items.into_iter().find(|order| order["order_id"] == id)
    }

    async fn until(&self, id: &str, wished: impl Fn(&Value) -> bool) -> Value {
        wait_until("the order is as wished", async || self.order(id).await.filter(|o| wished(o)))
            .await
    }

    async fn notices(&self, verdict: &str) -> Vec<Value> {
        self.daemon.items(&format!("/v1/callbacks?activity=orderNotify&verdict={verdict}")).await
    }

    async fn events(&self, id: &str) -> Vec<Value> {
        self.daemon.items(&format!("/v1/events?order_id={id}")).await
    }

    async fn awaited(&self) -> Value {
        self.daemon.see("/v1/summary").await["orders_awaited"].clone()
    }
}

fn signed_for_orders(body: &Value, at: Timestamp, nonce: &str) -> Signed {
    let key = AccessKey::new(ORDER_KEY.into());
    let body = body.to_string().into_bytes();
    Signed { query: signed_query(&key, &body, at, nonce), body, headers: Vec::new() }
}

fn notice(order: &str) -> Value {
    json!({"activity": "orderNotify", "orderId": order, "orderLineId": format!("{order}-000001"),
           "testFlag": "0"})
}

#[tokio::test]
async fn a_purchase_is_noted_asked_about_and_arrives_with_its_code() {
    let office = Office::open().await;
    let daemon = &office.daemon;
    let order = office.bought("PL1", true).await;
    let shown = office.until(&order, |order| order["queried_at"].is_string()).await;
    assert_eq!((&shown["state"], &shown["code"]), (&json!("awaited"), &Value::Null));
    assert_eq!((&shown["kind"], &shown["product_id"]), (&json!("NEW"), &json!("12345")));
    assert_eq!(shown["order_line_id"], json!(format!("{order}-000001")));
    assert_eq!(shown["lines"][0]["order_line_id"], shown["order_line_id"]);
    assert!(shown["ends_at"].is_string() && shown["created_at"].is_string(), "{shown}");
    assert_eq!((&shown["next_query_at"], &shown["refused"]), (&Value::Null, &Value::Null));
    assert_eq!(office.awaited().await, 1);

    let inbox = office.notices("applied").await;
    assert_eq!((inbox.len(), &inbox[0]["code"]), (1, &Value::Null), "{inbox:?}");
    assert_eq!(inbox[0]["result_code"], "000000");
    let events = office.events(&order).await;
    let told: Vec<_> = events.iter().map(|e| (&e["kind"], &e["source"], &e["code"])).collect();
    let (observed, null) = (json!("observed"), Value::Null);
    let (callback, query) = (json!("callback"), json!("query"));
    assert_eq!(told, [(&observed, &query, &null), (&observed, &callback, &null)]);

    let body = json!({"code": "PL1", "order_id": order, "activate": false});
    daemon.order("/v1/licenses", body).await;
    let shown = office.order(&order).await.expect("the order");
    assert_eq!((&shown["state"], &shown["code"]), (&json!("arrived"), &json!("PL1")));
    assert_eq!(office.awaited().await, 0);
    assert!(daemon.items("/v1/orders?state=awaited").await.is_empty());
    assert_eq!(daemon.items("/v1/orders?state=arrived").await.len(), 1);

    // Nobody names the order of this one but the marketplace, when it is asked about the code.
    let order = office.bought("PL2", true).await;
    daemon.activated("PL2").await;
    let shown = office.until(&order, |order| order["state"] == "arrived").await;
    assert_eq!(shown["code"], "PL2");
}

/// What waits for a restart takes nothing with it that would not fit what is still in force.
#[tokio::test]
async fn a_reload_that_takes_the_section_away_or_moves_the_path_leaves_both_doors_as_they_were() {
    let office = Office::open().await;
    let daemon = &office.daemon;
    let moved = format!(
        "[callback]\npath = \"/elsewhere\"\npublic-url = \"http://{}/elsewhere\"",
        daemon.callback_addr()
    );
    daemon.configure("[callback]", &moved);
    daemon.configure("[orders]\naccess-key-files = [\"order-key\"]", "");
    let told = daemon.reload().await;
    let waits = told["needs_restart"].as_str().expect("a list");
    assert!(waits.contains("callback.path") && waits.contains("orders.path"), "{told}");
    assert_eq!(office.notify(&notice("MOCKPERIODYEARNEW")).await, "000000");
    let probe = daemon.order("/v1/probes", json!({})).await;
    assert_eq!(probe["outcome"], "ok", "the heartbeat knocks where the door is: {probe}");
}

#[tokio::test]
async fn only_the_key_of_orders_opens_their_path_and_each_path_takes_its_own() {
    let office = Office::open().await;
    let body = notice("MOCKPERIODYEARNEW");
    assert_eq!(office.send(&signed(&body), ORDERS).await, "000001", "the key of licences");
    let for_orders = |body: &Value| signed_for_orders(body, now(), &nonce());
    assert_eq!(office.send(&for_orders(&freeze("PL1")), PATH).await, "000001");
    let old = signed_for_orders(&body, now().plus_ms(-61_000), &nonce());
    assert_eq!(office.send(&old, ORDERS).await, "000001");
    assert!(office.daemon.items("/v1/orders").await.is_empty());

    assert_eq!(office.notify(&freeze("PL1")).await, "000002");
    assert_eq!(office.send(&signed(&body), PATH).await, "000002");
    for path in ["orders.path", "callback.path"] {
        let why = format!("belongs to the path that {path} names");
        wait_until(&format!("it is told: {why}"), async || {
            let refused = office.daemon.items("/v1/callbacks?verdict=refused").await;
            refused
                .iter()
                .find(|call| call["detail"].as_str().is_some_and(|it| it.contains(&why)))?;
            Some(())
        })
        .await;
    }
    for field in ["activity", "orderId"] {
        assert_eq!(office.notify(&but(&body, field, Value::Null)).await, "000002", "{field}");
    }
    for (field, value) in [("orderId", "x".repeat(65)), ("testFlag", "2".to_owned())] {
        assert_eq!(office.notify(&but(&body, field, json!(value))).await, "000002", "{field}");
    }
    let request = office.daemon.request("GET", office.daemon.callback_addr(), ORDERS);
    assert_eq!(office.daemon.plain(request).await.status, 405);
    assert!(office.daemon.items("/v1/orders").await.is_empty());
    assert_eq!(office.queries().await, 0);
    assert_eq!(office.notify(&body).await, "000000");
}

#[tokio::test]
async fn a_test_call_is_recorded_and_nothing_else() {
    let office = Office::open().await;
    let body = but(&notice("CS-TEST"), "testFlag", json!("1"));
    for _ in 0..2 {
        assert_eq!(office.notify(&body).await, "000000");
    }
    let recorded = wait_until("test calls are recorded", async || {
        Some(office.notices("test").await).filter(|recorded| recorded.len() == 2)
    })
    .await;
    assert!(recorded.iter().all(|call| call["test"] == true && call["code"].is_null()));
    assert!(office.daemon.items("/v1/orders").await.is_empty());
    assert!(office.events("CS-TEST").await.is_empty());
    assert_eq!(office.queries().await, 0);
}

#[tokio::test]
async fn a_repeat_gets_the_stored_answer_and_has_no_second_effect() {
    let office = Office::open().await;
    let order = office.bought("PL1", false).await;
    let (at, once) = (now(), nonce());
    let call = signed_for_orders(&notice(&order), at, &once);
    assert_eq!(office.send(&call, ORDERS).await, "000000");
    office.until(&order, |order| order["queried_at"].is_string()).await;
    let before = office.order(&order).await;
    assert_eq!(office.send(&call, ORDERS).await, "000000", "the same nonce");
    let other = signed_for_orders(&notice("CS-OTHER"), at, &once);
    assert_eq!(office.send(&other, ORDERS).await, "000001", "the same nonce, another body");
    let bare = but(&notice(&order), "orderLineId", Value::Null);
    assert_eq!(office.notify(&bare).await, "000000", "another nonce, the same order");
    assert_eq!(office.notices("repeated").await.len(), 2);
    assert_eq!(office.order(&order).await, before);
    assert_eq!(office.events(&order).await.len(), 2);
    let queries = office.console("GET", "requests", &Value::Null).await;
    assert!(queries["counters"]["v1/order/query MKT.0000"] == 1, "{}", queries["counters"]);
}

#[tokio::test]
async fn an_order_is_asked_about_until_the_marketplace_answers_also_after_a_crash() {
    let mut office = Office::open().await;
    office.faults("http_503").await;
    let order = office.bought("PL1", true).await;
    let put_off = |order: &Value| order["next_query_at"].is_string() && !order["state"].is_null();
    office.until(&order, put_off).await;
    wait_until("it was asked about in vain", async || (office.queries().await > 0).then_some(()))
        .await;
    let report = office.daemon.order(&format!("/v1/orders/{order}/query"), Value::Null).await;
    assert_eq!(
        (&report["outcome"], &report["order"]["state"]),
        (&json!("retry_later"), &json!("awaited"))
    );
    office.daemon.kill();
    office.daemon.again().await;
    let kept = office.order(&order).await.expect("the order is kept");
    assert!(put_off(&kept) && kept["queried_at"].is_null(), "{kept}");
    office.console("DELETE", "faults", &Value::Null).await;
    let shown = office.until(&order, |order| order["queried_at"].is_string()).await;
    assert_eq!((&shown["state"], &shown["next_query_at"]), (&json!("awaited"), &Value::Null));
}

#[tokio::test]
async fn an_order_that_cannot_be_read_is_unknown_and_one_that_is_not_ours_stops_the_queue_once() {
    let office = Office::open().await;
    assert_eq!(office.notify(&notice("CS-NOBODY-PLACED")).await, "000000");
    let shown = office.until("CS-NOBODY-PLACED", |order| order["state"] == "unknown").await;
    assert_eq!(
        (&shown["next_query_at"], &shown["last_error_code"]),
        (&Value::Null, &json!("MKT.0199"))
    );
    assert!(shown["refused"].as_str().is_some_and(|why| why.contains("MKT.0199")), "{shown}");
    let event = &office.events("CS-NOBODY-PLACED").await[0];
    assert_eq!(event["result_code"], "MKT.0199");
    assert_eq!(office.awaited().await, 0);

    assert_eq!(office.notify(&notice("MOCKMONTYRENEW")).await, "000000");
    let shown = office.until("MOCKMONTYRENEW", |order| order["kind"] == "RENEW").await;
    assert_eq!(shown["state"], "no_code");

    office.faults("error_code:MKT.0150").await;
    let order = office.bought("PL1", true).await;
    let shown = office.until(&order, |order| order["state"] == "unknown").await;
    assert_eq!(
        (&shown["last_error_code"], &shown["next_query_at"]),
        (&json!("MKT.0150"), &Value::Null)
    );
    let summary = office.daemon.see("/v1/summary").await;
    assert!(summary["marketplace"]["stopped_until"].is_string(), "{summary}");
}

#[tokio::test]
async fn a_code_that_does_not_come_for_three_days_is_an_alarm() {
    let mut office = Office::open().await;
    let order = office.bought("PL1", true).await;
    office.until(&order, |order| order["queried_at"].is_string()).await;
    let of_orders = async |office: &Office| {
        let mut alarms = office.daemon.items("/v1/alarms").await;
        alarms.retain(|alarm| alarm["kind"] == "orders_awaited");
        alarms
    };
    assert!(of_orders(&office).await.is_empty());
    office.daemon.stop().await;
    let then = now().plus_ms(-3 * DAY_MS - 60_000);
    office.daemon.edit(&format!("UPDATE order_notice SET notified_at = {}", then.as_ms()));
    office.daemon.again().await;
    let alarms = of_orders(&office).await;
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    let text = alarms[0]["text"].as_str().expect("a text");
    assert_eq!(text, format!("order {order} was bought, but no code was registered for it"));
    assert_eq!(
        (&alarms[0]["severity"], &alarms[0]["since"]),
        (&json!("warning"), &json!(then.to_string()))
    );
    let body = json!({"code": "PL1", "order_id": order, "activate": false});
    office.daemon.order("/v1/licenses", body).await;
    assert!(of_orders(&office).await.is_empty());
    // What the worker keeps of it says the same as the licence.
    office.daemon.order("/v1/jobs/activation/run", Value::Null).await;
    wait_until("the arrival is kept", async || {
        let jobs = office.daemon.items("/v1/jobs").await;
        jobs.iter().any(|job| job["last_counts"]["orders_arrived"] == 1).then_some(())
    })
    .await;
    let shown = office.order(&order).await.expect("the order");
    assert_eq!((&shown["state"], &shown["code"]), (&json!("arrived"), &json!("PL1")));
}

#[tokio::test]
async fn without_the_section_the_path_is_not_there() {
    let office = Office::with("").await;
    let call = signed_for_orders(&notice("CS1"), now(), &nonce());
    let path = format!("{ORDERS}?{}", call.query);
    let request = office.daemon.request("POST", office.daemon.callback_addr(), &path);
    assert_eq!(office.daemon.plain(request.body(call.body)).await.status, 404);
    assert_eq!(office.send(&signed(&notice("CS1")), PATH).await, "000002");
    assert!(office.daemon.items("/v1/orders").await.is_empty());
    // An operator may ask all the same, and sees without keeping.
    let order = office.bought("PL1", false).await;
    let report = office.daemon.order(&format!("/v1/orders/{order}/query"), Value::Null).await;
    assert_eq!(
        (&report["outcome"], &report["order"]["state"]),
        (&json!("done"), &json!("awaited"))
    );
    assert_eq!(report["order"]["notified_at"], Value::Null);
    assert!(office.daemon.items("/v1/orders").await.is_empty());
}
