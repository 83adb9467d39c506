//! What the merchant is told: signatures, retries, restarts, dial tests, the console's own rules.

use super::merchant::{FINE, Merchant};
use super::{ACCESS_KEY, Market, answered, settings};
use authcoded::clock::Clock;
use authcoded::protocol::callback_auth::AuthError;
use authcoded::protocol::open_api::ACTIVATE_V1;
use authcoded::simulator::{BadDataFile, Settings, Simulator, StartError};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashSet;

fn toward(merchant: &Merchant, speed: u32) -> Settings {
    Settings { callback_url: Some(merchant.url.clone()), speed, ..settings() }
}

#[tokio::test]
async fn a_life_of_a_code_is_told_call_by_call() {
    let mut merchant = Merchant::start([]).await;
    let market = Market::start(toward(&merchant, 1)).await;
    let license = market.bought(json!({"received": true, "validity_seconds": 86_400})).await;
    market.post(ACTIVATE_V1, &json!({"license": license})).await;
    let act =
        async |name: &str, body: Value| market.act(&format!("codes/{license}/{name}"), body).await;

    let code = act("renew", json!({"seconds": 60})).await;
    let renewal = merchant.next().await;
    assert_eq!(renewal.authentic, Ok(()));
    assert_eq!(renewal.content_type, "application/json");
    assert_eq!(renewal.body["scene"], "RENEWAL");
    assert_eq!(renewal.body["expireTime"], code["expire_time"]);
    let sorted: Value = serde_json::from_str(&renewal.text).expect("JSON");
    assert_eq!(sorted.to_string(), renewal.text, "sorted and compact");

    act("unrenew", json!({})).await;
    let unrenewal = merchant.next().await;
    assert_eq!(unrenewal.body["scene"], "UNSUBSCRIBE_RENEWAL_PERIOD");
    assert_ne!(unrenewal.body["orderId"], renewal.body["orderId"]);

    act("expire", json!({})).await;
    act("freeze", json!({})).await;
    assert_eq!(merchant.next().await.body["status"], "FREEZE");
    act("renew", json!({})).await;
    let two = [merchant.next().await.body, merchant.next().await.body];
    assert!(two.iter().any(|body| body["status"] == "UNFREEZE"), "{two:?}");
    assert!(two.iter().any(|body| body["scene"] == "RENEWAL"), "{two:?}");

    act("renew", json!({"silent": true})).await;
    act("refund", json!({})).await;
    let refund = merchant.next().await;
    assert_eq!(refund.body["activity"], "releaseLicenseCode", "the silent renewal was not told");
    assert!(refund.body["orderId"].is_string());
    market.until("calls", |calls| calls["items"][0]["state"] == "delivered").await;
    market.simulator.stop().await;
}

#[tokio::test]
async fn a_failing_merchant_is_called_again_until_it_answers_right() {
    let bad = [
        (500, "application/json", FINE.2),
        (200, "text/html", FINE.2),
        (200, "application/json", "{}"),
        (200, "application/json", r#"{"resultCode":"000005","resultMsg":"later"}"#),
    ];
    let mut merchant = Merchant::start(bad).await;
    // Two minutes become ten milliseconds.
    let market = Market::start(toward(&merchant, 12_000)).await;
    let license = market.bought(json!({"received": true})).await;
    market.act(&format!("codes/{license}/renew"), json!({})).await;
    let mut nonces = HashSet::new();
    let mut texts = HashSet::new();
    for _ in 0..5 {
        let call = merchant.next().await;
        assert_eq!(call.authentic, Ok(()), "each attempt is signed anew");
        nonces.insert(call.nonce);
        texts.insert(call.text);
    }
    assert_eq!((nonces.len(), texts.len()), (5, 1));
    let calls = market.until("calls", |calls| calls["items"][0]["state"] == "delivered").await;
    let attempts = calls["items"][0]["attempts"].as_array().expect("attempts").clone();
    assert_eq!(attempts.len(), 5);
    for (attempt, word) in attempts.iter().zip(["500", "text/html", "resultCode", "000005"]) {
        assert!(attempt["error"].as_str().expect("an error").contains(word), "{attempt}");
    }
    assert_eq!(attempts[4]["error"], Value::Null);
}

#[tokio::test]
async fn after_sixty_one_attempts_a_call_waits_for_its_restart() {
    let mut merchant = Merchant::start(vec![(503, "text/plain", "down"); 61]).await;
    // Two minutes become one millisecond.
    let market = Market::start(toward(&merchant, 120_000)).await;
    let license = market.bought(json!({"received": true})).await;
    market.act(&format!("codes/{license}/release"), json!({})).await;
    let failed = market.until("failed", |failed| failed["items"][0]["id"].is_u64()).await;
    let call = &failed["items"][0];
    assert_eq!(call["attempts"].as_array().expect("attempts").len(), 61);
    assert_eq!((&call["state"], &call["next_at"]), (&json!("failed"), &Value::Null));
    for _ in 0..61 {
        merchant.next().await;
    }
    let restart = format!("failed/{}/restart", call["id"]);
    market.act(&restart, Value::Null).await;
    assert_eq!(merchant.next().await.body["license"], json!(license));
    market.until("failed", |failed| failed["items"] == json!([])).await;
    let again = market.console(Method::POST, &restart, &Value::Null).await;
    assert_eq!(again.status, 404);
}

#[tokio::test]
async fn pending_calls_and_codes_outlive_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("market.json");
    let mut merchant = Merchant::start([(500, "text/plain", "down")]).await;
    let merchant_url = merchant.url.clone();
    let toward_it = || Settings { callback_url: Some(merchant_url.clone()), ..settings() };
    let kept = |file| Settings { data_file: Some(file), ..toward_it() };
    let first = Market::start(kept(file.clone())).await;
    let license = first.bought(json!({"received": true})).await;
    first.post(ACTIVATE_V1, &json!({"license": license})).await;
    first.act(&format!("codes/{license}/renew"), json!({})).await;
    assert_eq!(merchant.next().await.body["license"], json!(license));
    let tried = |calls: &Value| calls["items"][0]["attempts"][0]["status"] == 500;
    first.until("calls", tried).await;
    // Its answer waits for the disk, and with it everything before.
    let another = first.bought(json!({})).await;
    let before = first.see(&format!("codes/{license}")).await;
    // What a kill at this instant would leave; a copy, because the first one holds on to its file.
    let left = folder.path().join("left.json");
    std::fs::copy(&file, &left).expect("a copy");
    let taken = Simulator::start(kept(file.clone()), Clock::system()).await;
    assert!(matches!(taken, Err(StartError::DataFile(BadDataFile::Taken(_)))));
    first.simulator.stop().await;

    // Two minutes become a tenth of a second.
    let second = Market::start(Settings { speed: 1_200, ..kept(left) }).await;
    assert_eq!(second.see(&format!("codes/{license}")).await, before);
    let fresh = second.bought(json!({})).await;
    assert!(![license.clone(), another].contains(&fresh), "names go on where they stopped");
    assert_eq!(merchant.next().await.body["license"], json!(license));
    let done = second.until("calls", |calls| calls["items"][0]["state"] == "delivered").await;
    let attempts = &done["items"][0]["attempts"];
    assert_eq!((&attempts[0]["status"], &attempts[1]["status"]), (&json!(500), &json!(200)));
    second.simulator.stop().await;
}

#[tokio::test]
async fn faults_on_calls_are_what_they_are_called() {
    let mut merchant = Merchant::start([]).await;
    let market = Market::start(toward(&merchant, 12_000)).await;
    let license = market.bought(json!({"received": true})).await;
    let rules = async |fault: &str| {
        market.console(Method::DELETE, "faults", &Value::Null).await;
        let rule =
            json!({"rules": [{"on": "callback", "code": license, "times": 1, "fault": fault}]});
        market.act("faults", rule).await;
        market.act(&format!("codes/{license}/renew"), json!({"seconds": 1})).await;
    };
    rules("duplicate").await;
    let (one, two) = (merchant.next().await, merchant.next().await);
    assert_eq!((one.nonce == two.nonce, one.text == two.text), (true, true));
    rules("duplicate_resigned").await;
    let (one, two) = (merchant.next().await, merchant.next().await);
    assert_eq!((one.nonce == two.nonce, one.text == two.text), (false, true));
    for fault in ["bad_signature", "wrong_key"] {
        rules(fault).await;
        assert_eq!(merchant.next().await.authentic, Err(AuthError::BadSignature), "{fault}");
    }
    rules("skew_s:-61").await;
    assert!(matches!(merchant.next().await.authentic, Err(AuthError::Stale { .. })));
    rules("wrong_content_type").await;
    assert_eq!(merchant.next().await.content_type, "text/plain");
    rules("drop").await;
    let dropped = market.until("calls", |calls| calls["items"][0]["state"] == "dropped").await;
    assert_eq!(dropped["items"][0]["attempts"], json!([]));
}

#[tokio::test]
async fn a_dial_test_sends_the_five_cases_and_needs_every_one() {
    let mut merchant = Merchant::start([]).await;
    let market = Market::start(toward(&merchant, 1)).await;
    let passed = market.act("dial-test", Value::Null).await;
    assert_eq!(passed["passed"], true);
    let mut told = Vec::new();
    for _ in 0..5 {
        let call = merchant.next().await;
        assert_eq!((call.authentic, &call.body["testFlag"]), (Ok(()), &json!("1")));
        told.push(call.body["activity"].as_str().expect("an activity").to_owned());
    }
    assert_eq!(told.iter().filter(|activity| *activity == "refreshLicenseCode").count(), 2);
    merchant.answer_next([FINE, (404, "text/plain", "gone")]);
    let failed = market.act("dial-test", Value::Null).await;
    assert_eq!(failed["passed"], false);
    assert_eq!(failed["cases"][0]["error"], Value::Null);
    assert_eq!(failed["cases"][1]["status"], 404);
    assert_eq!(market.see("calls").await["items"], json!([]), "dial tests are not repeated");
}

#[tokio::test]
async fn dial_tests_come_every_morning_and_afternoon_of_the_office_clock() {
    let merchant = Merchant::start([]).await;
    // A day becomes less than two seconds.
    let fast = Settings { dial_tests: true, ..toward(&merchant, 50_000) };
    let market = Market::start(fast).await;
    let enough = |tests: &Value| tests["items"].as_array().is_some_and(|items| items.len() >= 3);
    let tests = market.until("dial-tests", enough).await;
    let slots: Vec<_> = tests["items"]
        .as_array()
        .expect("tests")
        .iter()
        .map(|t| t["slot"].as_str().expect("a slot"))
        .collect();
    assert!(
        slots.iter().all(|slot| slot.ends_with("T09:00") || slot.ends_with("T15:00")),
        "{slots:?}"
    );
    assert!(slots.windows(2).all(|pair| pair[0] > pair[1]), "newest first, none twice: {slots:?}");
    assert_eq!((&tests["failing_days"], &tests["trading_frozen"]), (&json!(0), &json!(false)));
    market.simulator.stop().await;
}

#[tokio::test]
async fn a_call_can_be_sent_by_hand_in_any_manner() {
    let mut merchant = Merchant::start([]).await;
    let market = Market::start(toward(&merchant, 1)).await;
    let body = json!({"activity": "newInstance", "license": "PL1"});
    let sent = market.act("send", json!({"body": body, "test": true, "nonce": "abc123"})).await;
    assert_eq!(sent["result_code"], "000000");
    assert_eq!(sent["body"], r#"{"activity":"newInstance","license":"PL1","testFlag":"1"}"#);
    let came = merchant.next().await;
    assert_eq!((came.authentic, came.nonce.as_str()), (Ok(()), "abc123"));
    assert_eq!(came.text, r#"{"activity":"newInstance","license":"PL1","testFlag":"1"}"#);
    market.act("send", json!({"body": "{ raw }", "bad_signature": true})).await;
    let came = merchant.next().await;
    assert_eq!((came.authentic, came.text.as_str()), (Err(AuthError::BadSignature), "{ raw }"));
}

#[tokio::test]
async fn the_console_is_strict_and_says_why() {
    let market = Market::start(settings()).await;
    let license = market.bought(json!({"license": "PL/1 码"})).await;
    assert_eq!(license, "PL/1 码");
    let shown = market.see("codes/PL%2F1%20%E7%A0%81").await;
    assert_eq!(shown["stage"], "issued");
    for (method, path, body, status, word) in [
        (Method::POST, "codes", json!({"license": license}), 409, "exists already"),
        (Method::POST, "codes", json!({"licence": "PL1"}), 400, "unknown field `licence`"),
        (Method::POST, "codes", json!({"expire_time": "soon"}), 400, "yyyyMMddHHmmss"),
        (Method::GET, "codes/PLNONE", Value::Null, 404, "no code PLNONE"),
        (Method::DELETE, "codes", Value::Null, 405, "DELETE"),
        (Method::GET, "nothing", Value::Null, 404, "GET /console"),
        (Method::POST, "dial-test", Value::Null, 409, "callback URL"),
        (Method::PUT, "callback-url", json!({"url": "ftp://x"}), 400, "http"),
        (Method::POST, "faults", json!({"rules": [{"on": "query", "fault": "boom"}]}), 400, "boom"),
    ] {
        let answer = market.console(method, path, &body).await;
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        assert!(answer.status == status && detail.contains(word), "{path}: {}", answer.body);
        assert_eq!(answer.content_type.as_deref(), Some("application/problem+json"));
    }
    for (name, value) in [("host", "rebound.example"), ("origin", "https://evil.example")] {
        let request = market.client.get(market.url("/console/codes")).header(name, value);
        assert_eq!(answered(request).await.status, 403, "{name}");
    }
    let page = market.client.get(market.url("/console")).send().await.expect("an answer");
    assert!(page.text().await.expect("a page").contains("/console/codes/{code}"));
}

#[tokio::test]
async fn one_seed_names_the_same_codes() {
    let names = async |seed| {
        let market = Market::start(Settings { seed, ..settings() }).await;
        let bought = market.act("codes", json!({"count": 5})).await;
        market.simulator.stop().await;
        bought["licenses"].to_string()
    };
    assert_eq!(names(7).await, names(7).await);
    assert_ne!(names(7).await, names(8).await);
}

#[tokio::test]
async fn it_refuses_to_start_where_it_should_not() {
    let start = async |settings| match Simulator::start(settings, Clock::system()).await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    };
    let public = Settings { listen: ([0, 0, 0, 0], 0).into(), ..settings() };
    assert!(matches!(start(public).await, StartError::NotLoopback(_)));
    let odd = Settings { callback_url: Some("not a url".to_owned()), ..settings() };
    assert!(matches!(start(odd).await, StartError::CallbackUrl));
    let market = Market::start(settings()).await;
    let taken = Settings { listen: market.simulator.address(), ..settings() };
    assert!(matches!(start(taken).await, StartError::Listen(..)));
    for order_key in [None, Some(ACCESS_KEY.into())] {
        let order_url = Some("http://127.0.0.1:1/orders".to_owned());
        let one_key = Settings { order_url, order_key, ..settings() };
        assert!(matches!(start(one_key).await, StartError::OrderKey));
    }
    let keyless = market.console(Method::PUT, "order-url", &json!({"url": "http://a/"})).await;
    assert_eq!(keyless.status, 409, "{}", keyless.body);
    let no_file = Settings { extra_ca_file: Some("/nonexistent/ca.pem".into()), ..settings() };
    assert!(matches!(start(no_file).await, StartError::ExtraCa(..)));
}

#[tokio::test]
async fn time_alone_freezes_and_releases_and_a_purchase_can_be_announced() {
    let mut merchant = Merchant::start([]).await;
    // An hour becomes a tenth of a second.
    let hour = std::time::Duration::from_hours(1);
    let timed = Settings {
        grace: hour,
        retention: hour,
        order_key: Some("the-key-of-order-notifications".into()),
        ..toward(&merchant, 36_000)
    };
    let market = Market::start(timed).await;
    market.act("codes", json!({"order_notify": true})).await;
    let seen = market.until("calls", |calls| calls["items"][0]["state"] == "dropped").await;
    assert_eq!(seen["items"][0]["activity"], "orderNotify", "it goes to no other address");
    let mut office = Merchant::start([]).await;
    market.console(Method::PUT, "order-url", &json!({"url": office.url})).await;
    let code = market.act("codes", json!({"received": true, "order_notify": true})).await;
    let notice = office.next().await;
    assert_eq!(notice.authentic, Err(AuthError::BadSignature), "it has a key of its own");
    assert_eq!(notice.body["activity"], "orderNotify");
    assert_eq!(
        (&notice.body["orderId"], &notice.body["license"]),
        (&code["order_id"], &Value::Null)
    );

    let license = code["license"].as_str().expect("a code");
    market.post(ACTIVATE_V1, &json!({"license": license})).await;
    market.act(&format!("codes/{license}/expire"), json!({})).await;
    assert_eq!(merchant.next().await.body["status"], "FREEZE");
    let release = merchant.next().await;
    assert_eq!(release.body["activity"], "releaseLicenseCode");
    assert_eq!(release.body["orderId"], Value::Null, "no refund, no order");
    assert_eq!(market.see(&format!("codes/{license}")).await["status"], "RELEASED");
}
