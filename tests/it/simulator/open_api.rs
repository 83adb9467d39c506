//! What the merchant asks: gateway, form, codes, faults.

use super::{AK, Market, SK, answered, settings};
use authcoded::clock::Clock;
use authcoded::domain::outcome::{Outcome, of_answer};
use authcoded::domain::time::{MINUTE_MS, SECOND_MS};
use authcoded::protocol::aksk::Credentials;
use authcoded::protocol::open_api::{
    ACTIVATE_V1, ACTIVATE_V2, ORDER_V1, QUERY_V1, QUERY_V2, USAGE_V2,
};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_code_is_received_activated_queried_and_not_activated_twice() {
    let market = Market::start(settings()).await;
    let license = market.bought(json!({"validity_seconds": 86_400})).await;
    let body = json!({"license": license});

    assert_eq!(market.post(QUERY_V1, &body).await.code(), "92020011");
    assert_eq!(market.post(ACTIVATE_V1, &body).await.code(), "92020004");
    market.act(&format!("codes/{license}/receive"), json!({})).await;
    let activated = market.post(ACTIVATE_V1, &body).await;
    assert_eq!((activated.status, activated.code()), (200, "92020000"));
    assert_eq!(activated.content_type.as_deref(), Some("application/json;charset=UTF-8"));
    assert!(activated.date.expect("a date").ends_with(" GMT"));
    let info = activated.body["data"]["license_code_info"].as_str().expect("a text");
    let info: Value = serde_json::from_str(info).expect("JSON inside the text");
    assert_eq!(info["status"], "ALIVE");
    assert_eq!(market.post(ACTIVATE_V1, &body).await.code(), "92020003");

    let known = market.post(QUERY_V1, &body).await.body["data"].clone();
    assert_eq!((&known["status"], &known["license_code"]), (&json!("ALIVE"), &json!(license)));
    assert_eq!(known["expire_time"], info["expire_time"]);
    market.act(&format!("codes/{license}/expire"), json!({})).await;
    assert_eq!(market.post(QUERY_V1, &body).await.body["data"]["status"], "EXPIRED");
    market.act(&format!("codes/{license}/refund"), json!({})).await;
    assert_eq!(market.post(QUERY_V1, &body).await.body["data"]["status"], "RELEASED");
    assert_eq!(market.post(ACTIVATE_V1, &body).await.code(), "92020003");
    assert_eq!(market.post(QUERY_V1, &json!({"license": "PLNONE"})).await.code(), "92020005");
    market.simulator.stop().await;
}

#[tokio::test]
async fn the_gateway_lets_in_only_what_is_signed_right() {
    let market = Market::start(settings()).await;
    let body = r#"{"license":"PL1"}"#;
    let unsigned = market.client.post(market.url(QUERY_V1)).body(body);
    let unsigned = answered(unsigned.header("content-type", "application/json")).await;
    assert_eq!((unsigned.status, unsigned.code()), (401, "APIGW.0301"));
    assert!(unsigned.body["request_id"].is_string() && unsigned.body["error_msg"].is_string());

    let now = Clock::system().now();
    let stranger = Credentials::new("AKSOMEBODYELSE000000".to_owned(), SK.into());
    let late = now.plus_ms(-(15 * MINUTE_MS + 30 * SECOND_MS));
    for request in [
        market.signed(&stranger, now, &Method::POST, QUERY_V1, body),
        market.signed(&market.credentials, late, &Method::POST, QUERY_V1, body),
        market.signed(&market.credentials, now, &Method::POST, QUERY_V1, body).body("{}"),
    ] {
        let refused = answered(request).await;
        assert_eq!((refused.status, refused.code()), (401, "APIGW.0301"));
    }
    let unknown = market.ask(Method::POST, "/api/mkp-openapi-public/global/v3/x", body).await;
    assert_eq!((unknown.status, unknown.code()), (404, "APIGW.0101"));
    let wrong_method = market.ask(Method::PUT, QUERY_V1, body).await;
    assert_eq!((wrong_method.status, wrong_method.code()), (405, "95000002"));
    let no_json = market.ask(Method::POST, QUERY_V1, "license=PL1").await;
    assert_eq!((no_json.status, no_json.code()), (400, "95000004"));
    let too_long = json!({"license": "x".repeat(65)});
    assert_eq!(market.post(QUERY_V1, &too_long).await.code(), "95000001");
}

#[tokio::test]
async fn six_bad_signatures_lock_the_access_key_for_everyone() {
    let market = Market::start(settings()).await;
    let wrong = Credentials::new(AK.to_owned(), "not-the-secret-key".into());
    let now = Clock::system().now();
    let body = r#"{"license":"PL1"}"#;
    for _ in 0..6 {
        let refused = answered(market.signed(&wrong, now, &Method::POST, QUERY_V1, body)).await;
        assert_eq!(refused.status, 401);
    }
    let locked = market.ask(Method::POST, QUERY_V1, body).await;
    assert_eq!((locked.status, locked.code()), (401, "APIGW.0301"));
    let text = locked.body["error_msg"].as_str().expect("a text");
    assert!(text.contains("AK access failed to reach the limit,forbidden"), "{text}");
    let seen = market.see("requests").await;
    assert!(seen["ak_locked_until"].is_string());
    assert_eq!(seen["counters"]["v1/license/heartbeat APIGW.0301"], 7);

    market.console(Method::DELETE, "lock", &Value::Null).await;
    assert_eq!(market.ask(Method::POST, QUERY_V1, body).await.code(), "92020005");
}

#[tokio::test]
async fn a_batch_is_activated_whole_or_not_at_all() {
    let market = Market::start(settings()).await;
    let bought = market.act("codes", json!({"count": 3, "received": true})).await;
    let mut batch = bought["licenses"].as_array().expect("three codes").clone();
    let waiting = market.bought(json!({})).await;
    batch.push(json!(waiting));
    let refused = market.post(ACTIVATE_V2, &json!({"license_list": batch})).await;
    assert_eq!((refused.status, refused.code()), (200, "92020020"));
    let one = json!({"license": batch[0]});
    assert_eq!(market.post(QUERY_V1, &one).await.code(), "92020011", "nothing was activated");

    batch.pop();
    let done = market.post(ACTIVATE_V2, &json!({"license_list": batch})).await;
    assert_eq!(done.body, json!({"error_code": "92020000", "error_msg": "success"}));
    let known = market.post(QUERY_V2, &json!({"license_list": batch})).await;
    assert_eq!(known.body["data"].as_array().expect("a list").len(), 3);
    assert_eq!(known.body["data"][2]["status"], "ALIVE");
}

#[tokio::test]
async fn usage_adds_up_exactly() {
    let market = Market::start(settings()).await;
    let license = market.bought(json!({"received": true})).await;
    let idle = market.bought(json!({"received": true})).await;
    let report = |license: &str, entries: Value| json!({"usage_info": [{"license": license, "software_usage_Info": entries}]});
    assert_eq!(
        market.post(USAGE_V2, &report(&license, json!([{"id": "a"}]))).await.code(),
        "92020011"
    );
    market.post(ACTIVATE_V1, &json!({"license": license})).await;
    let entries = json!([{"id": "a"}, {"id": "b"}, {"active_num": 7}]);
    for _ in 0..2 {
        assert_eq!(
            market.post(USAGE_V2, &report(&license, entries.clone())).await.code(),
            "92020000"
        );
    }
    let both = json!({"usage_info": [
        {"license": license, "software_usage_Info": [{"id": "c"}]},
        {"license": idle, "software_usage_Info": [{"id": "c"}]},
    ]});
    let mixed = market.post(USAGE_V2, &both).await;
    assert_eq!(mixed.code(), "92020000");
    assert_eq!(mixed.body["data"]["check_fail_list"][0]["license"], json!(idle));
    let mixed_case =
        json!({"usage_info": [{"license": license, "software_usage_info": [{"id": "a"}]}]});
    assert_eq!(market.post(USAGE_V2, &mixed_case).await.code(), "95000001");

    let totals = market.see("usage").await["items"].clone();
    // The Beijing midnight may fall between the reports.
    let sum = |name: &str| {
        totals.as_array().expect("lines").iter().filter_map(|line| line[name].as_u64()).sum::<u64>()
    };
    assert_eq!(sum("entries"), 7);
    assert!(sum("distinct_clients") >= 3);
}

#[tokio::test]
async fn orders_can_be_queried() {
    let market = Market::start(settings()).await;
    let code = market.act("codes", json!({})).await;
    let order_id = code["order_id"].as_str().expect("an order");
    let order = market.ask(Method::GET, &format!("{ORDER_V1}?orderId={order_id}"), "").await;
    assert_eq!(order.code(), "MKT.0000");
    let info = &order.body["orderInfo"];
    assert_eq!((&info["orderType"], &info["orderId"]), (&json!("NEW"), &json!(order_id)));
    assert_eq!(info["orderLine"][0]["orderLineId"], code["order_line_id"]);
    let mock = market.ask(Method::GET, &format!("{ORDER_V1}?orderId=MOCKPERIODYEARNEW"), "").await;
    assert_eq!(mock.code(), "MKT.0000");
    let none = market.ask(Method::GET, &format!("{ORDER_V1}?orderId=CSNONE"), "").await;
    assert_eq!((none.status, none.code()), (400, "MKT.0199"));
    assert_eq!(market.ask(Method::GET, ORDER_V1, "").await.code(), "MKT.0101");
}

#[tokio::test]
async fn a_cut_activation_has_happened_and_a_refused_one_has_not() {
    let market = Market::start(settings()).await;
    let bought = market.act("codes", json!({"count": 2, "received": true})).await;
    let body = |n: usize| json!({"license": bought["licenses"][n]}).to_string();
    let rules = json!({"rules": [
        {"on": "activate", "code": bought["licenses"][0], "times": 1, "fault": "cut"},
        {"on": "activate", "code": bought["licenses"][1], "times": 1, "fault": "cut_before"},
        {"on": "query", "code": bought["licenses"][1], "times": 1, "fault": "error_code:92020001"},
    ]});
    market.act("faults", rules).await;
    let now = Clock::system().now();
    for n in 0..2 {
        let request = market.signed(&market.credentials, now, &Method::POST, ACTIVATE_V1, &body(n));
        let lost = async { request.send().await?.bytes().await }.await;
        assert!(lost.is_err(), "the answer to {n} was cut");
    }
    let asked = market.ask(Method::POST, QUERY_V1, &body(0)).await;
    assert_eq!(asked.body["data"]["status"], "ALIVE");
    assert_eq!(market.ask(Method::POST, QUERY_V1, &body(1)).await.code(), "92020001");
    assert_eq!(market.ask(Method::POST, QUERY_V1, &body(1)).await.code(), "92020011");
    let left = market.see("faults").await;
    assert!(left["rules"].as_array().expect("rules").iter().all(|rule| rule["left"] == 0));
}

#[tokio::test]
async fn faults_spoil_answers_as_ordered() {
    let market = Market::start(settings()).await;
    let license = market.bought(json!({"received": true})).await;
    let body = json!({"license": license});
    market.post(ACTIVATE_V1, &body).await;
    for (fault, status, outcome) in [
        ("http_500", 500, Outcome::Retry),
        ("http_429", 429, Outcome::Retry),
        ("http_403", 403, Outcome::Stop),
        ("error_code:APIGW.0301", 401, Outcome::Stop),
        ("error_code:92029999", 200, Outcome::Unrecognised),
        ("status:401", 401, Outcome::Stop),
        ("html", 200, Outcome::Unrecognised),
        ("empty", 200, Outcome::Unrecognised),
        ("truncated", 200, Outcome::Unrecognised),
        ("unknown_status", 200, Outcome::Done),
        ("wrong_content_type", 200, Outcome::Done),
        ("delay_ms:5", 200, Outcome::Done),
    ] {
        let rule = json!({"rules": [{"on": "query", "times": 1, "fault": fault}]});
        market.act("faults", rule).await;
        let answer = market.post(QUERY_V1, &body).await;
        let code = Some(answer.code()).filter(|code| !code.is_empty());
        assert_eq!((answer.status, of_answer(answer.status, code)), (status, outcome), "{fault}");
    }
    let rule = json!({"rules": [{"on": "query", "times": 1, "fault": "skew_s:3600"}]});
    let before = market.post(QUERY_V1, &body).await.date;
    market.act("faults", rule).await;
    assert_ne!(market.post(QUERY_V1, &body).await.date, before);

    let hang = json!({"rules": [{"on": "query", "times": 1, "fault": "hang"}]});
    market.act("faults", hang).await;
    let now = Clock::system().now();
    let text = body.to_string();
    let request = market.signed(&market.credentials, now, &Method::POST, QUERY_V1, &text);
    let hanging = tokio::spawn(request.send());
    market.until("faults", |faults| faults["rules"][13]["left"] == 0).await;
    assert!(!hanging.is_finished());
    market.simulator.stop().await;
    assert!(hanging.await.expect("no panic").is_err(), "stopping ends what hangs");
}
