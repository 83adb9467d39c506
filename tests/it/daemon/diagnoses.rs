//! Planted causes over the real program: each is refused as any other wrong call, changes nothing, and is
//! named afterwards in the log, in the record, in an alarm and in a metric.

use super::market::Market;
use super::wire::{date_in_days, freeze, renewal};
use super::{
    ACCESS_KEY, Daemon, ORDER_KEY, PATH, RETIRED_KEY, Setup, Signed, nonce, now, signed, wait_until,
};
use crate::peer::{AK, SK};
use authcoded::domain::slots::parse_rfc3339;
use authcoded::domain::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ring::hmac;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const ORDERS: &str = "/koogallery/orders";

fn mac(key: &str, data: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    hmac::sign(&key, data).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The rule of protocol.md 5.1, written down a second time.
fn signature(key: &str, nonce: &str, timestamp: &str, body: &str) -> Vec<u8> {
    let inner = hex(&mac(key, body.as_bytes()));
    mac(key, format!("{key}{nonce}{timestamp}{inner}").as_bytes())
}

/// A planted call: its cause, and what is sent.
struct Planted {
    cause: &'static str,
    call: Signed,
}

fn planted(cause: &'static str, query: String, body: &str) -> Planted {
    let headers = vec![("content-type", "application/json")];
    Planted { cause, call: Signed { query, body: body.as_bytes().to_vec(), headers } }
}

/// Real calls about this code, each wrong in one way; none of them may freeze it.
fn wrong_calls(code: &str) -> Vec<Planted> {
    let body = freeze(code).to_string();
    let ms = |ahead: i64| now().plus_ms(ahead).as_ms();
    let query = |signature: &str, time: &str, nonce: &str| {
        format!("signature={signature}&timestamp={time}&nonce={nonce}")
    };
    let by = |cause, key: &str, at: i64, signed_body: &str, sent_body: &str| {
        let (time, nonce) = (ms(at).to_string(), nonce());
        let signature = hex(&signature(key, &nonce, &time, signed_body));
        planted(cause, query(&signature, &time, &nonce), sent_body)
    };
    let with_signature = |cause, write: &dyn Fn(&[u8]) -> String| {
        let (time, nonce) = (ms(0).to_string(), nonce());
        let written = write(&signature(ACCESS_KEY, &nonce, &time, &body));
        planted(cause, query(&written, &time, &nonce), &body)
    };
    let signed_text = |cause, text: &dyn Fn(&str, &str) -> String| {
        let (time, nonce) = (ms(0).to_string(), nonce());
        let signature = hex(&mac(ACCESS_KEY, text(&nonce, &time).as_bytes()));
        planted(cause, query(&signature, &time, &nonce), &body)
    };
    let with_nonce = |cause, signed: String, sent: String| {
        let time = ms(0).to_string();
        let signature = hex(&signature(ACCESS_KEY, &signed, &time, &body));
        planted(cause, query(&signature, &time, &sent), &body)
    };
    let inner = || hex(&mac(ACCESS_KEY, body.as_bytes()));
    let spaced = body.replace("\":\"", "\": \"").replace("\",\"", "\", \"");
    let reversed = {
        let value: Value = serde_json::from_str(&body).expect("JSON");
        let fields = value.as_object().expect("an object").iter().rev();
        let fields: Vec<_> = fields.map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    };
    let seconds = (ms(0) / 1_000).to_string();
    let second_nonce = nonce();
    let in_seconds = hex(&signature(ACCESS_KEY, &second_nonce, &seconds, &body));
    vec![
        by("previous_key", RETIRED_KEY, 0, &body, &body),
        by("open_api_secret", SK, 0, &body, &body),
        by("open_api_key_id", AK, 0, &body, &body),
        by("other_interface_key", ORDER_KEY, 0, &body, &body),
        by("key_text", &format!("{ACCESS_KEY}\n"), 0, &body, &body),
        by("clock", ACCESS_KEY, -75_000, &body, &body),
        by("clock", ACCESS_KEY, 8 * 3_600_000, &body, &body),
        planted("seconds", query(&in_seconds, &seconds, &second_nonce), &body),
        by("body_trimmed", ACCESS_KEY, 0, &format!("{body}\n"), &body),
        by("body_reserialised", ACCESS_KEY, 0, &spaced, &body),
        by("body_reordered", ACCESS_KEY, 0, &reversed, &body),
        by("body_unsigned", ACCESS_KEY, 0, "", &body),
        with_nonce("encoded_twice", format!("{second_nonce}/"), format!("{second_nonce}%252F")),
        with_nonce("plus_as_space", "a+b".to_owned(), "a+b".to_owned()),
        with_signature("signature_base64", &|bytes| URL_SAFE.encode(bytes)),
        with_signature("signature_form", &|bytes| format!("sha256={}", hex(bytes))),
        signed_text("inner_hash", &|n, t| format!("{ACCESS_KEY}{n}{t}{}", inner().to_uppercase())),
        signed_text("parts", &|n, t| format!("{ACCESS_KEY}{t}{n}{}", inner())),
        signed_text("kit_scheme", &|n, t| format!("{ACCESS_KEY}{n}{t}{body}")),
        auth_token(&body),
        planted("no_query", String::new(), &body),
        by("unknown", "a-stranger's-key", 0, &body, &body),
    ]
}

/// As SaaS V1 and License 1.0 sign.
fn auth_token(body: &str) -> Planted {
    let parameters = "activity=releaseLicense&timeStamp=20261121083000000";
    let token =
        STANDARD.encode(mac(&format!("{ACCESS_KEY}20261121083000000"), parameters.as_bytes()));
    let token = token.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
    planted("auth_token", format!("{parameters}&authToken={token}"), body)
}

async fn start(market: &Market) -> Daemon {
    let setup = Setup {
        endpoints: vec![market.http()],
        callback: "retired-access-key-files = [\"retired-key\"]".to_owned(),
        sections: "[orders]\naccess-key-files = [\"order-key\"]".to_owned(),
        ..Setup::default()
    };
    let daemon = Daemon::with(setup).await;
    // The heartbeat's own two that must be refused; they are not told, because nothing is wrong.
    wait_until("both are recorded", async || (examined(&daemon).await.len() == 2).then_some(()))
        .await;
    assert_eq!(alarms(&daemon).await, Vec::<Value>::new());
    daemon
}

/// Refused calls that the doctor has seen, oldest first.
async fn examined(daemon: &Daemon) -> Vec<Value> {
    let mut refused = daemon.items("/v1/callbacks?verdict=refused&limit=1000").await;
    refused.retain(|callback| callback["doctor"].is_string());
    refused.reverse();
    refused
}

async fn alarms(daemon: &Daemon) -> Vec<Value> {
    let mut alarms = daemon.items("/v1/alarms").await;
    alarms.retain(|alarm| alarm["kind"] == "signature");
    alarms
}

fn doctor_lines(daemon: &Daemon) -> Vec<Value> {
    let lines = daemon.lines().into_iter();
    let told = |line: &Value| {
        line["level"] == "WARN"
            && line["message"].as_str().is_some_and(|text| text.starts_with("signature doctor"))
    };
    lines.filter(told).collect()
}

fn logged_at(line: &Value) -> Timestamp {
    parse_rfc3339(line["timestamp"].as_str().expect("a time")).expect("a time")
}

#[tokio::test]
async fn each_planted_cause_is_refused_without_effect_and_named_afterwards() {
    let market = Market::start().await;
    let daemon = start(&market).await;
    daemon.activated("PL1").await;
    let before = (daemon.license("PL1").await, daemon.events("PL1").await, market.count());

    let calls = wrong_calls("PL1");
    let causes: Vec<_> = calls.iter().map(|planted| planted.cause).collect();
    assert!(causes.iter().collect::<BTreeSet<_>>().len() >= 20);
    for Planted { cause, call } in &calls {
        assert_eq!(daemon.reply(call).await, "000001", "{cause}");
    }
    let lines = wait_until("all are told", async || {
        let lines = doctor_lines(&daemon);
        (lines.len() >= calls.len()).then_some(lines)
    })
    .await;
    let told: Vec<_> = lines.iter().map(|line| line["cause"].as_str().expect("a word")).collect();
    assert_eq!(told, causes);
    each_came_after_its_reply(&daemon, &lines);

    let recorded = wait_until("all are recorded", async || {
        let recorded = examined(&daemon).await.split_off(2);
        (recorded.len() >= calls.len()).then_some(recorded)
    })
    .await;
    for (callback, cause) in recorded.iter().zip(&causes) {
        assert_eq!(
            (&callback["doctor"], &callback["result_code"]),
            (&json!(cause), &json!("000001"))
        );
        assert!(callback["detail"].as_str().expect("text").contains("Doctor: "), "{callback}");
        assert!(callback["signed_at"].is_null(), "nothing of it was verified");
    }

    let after = (daemon.license("PL1").await, daemon.events("PL1").await, market.count());
    assert_eq!(after, before, "nothing has changed");
    one_alarm_for_each(&daemon, &causes).await;
    // And what is right is taken as before.
    assert_eq!(daemon.callback(&freeze("PL1")).await, "000000");
}

/// A search begins half a second after its call was refused, and five are made in a second.
fn each_came_after_its_reply(daemon: &Daemon, lines: &[Value]) {
    let all = daemon.lines();
    for line in lines {
        let refused = all.iter().find(|other| {
            other["request.id"] == line["request.id"]
                && other["message"].as_str().is_some_and(|text| text.starts_with("callback: "))
        });
        let waited_ms = logged_at(line).ms_since(logged_at(refused.expect("its refusal")));
        assert!(waited_ms >= 490, "examined {waited_ms} ms after it was refused: {line}");
    }
    for pair in lines.windows(2) {
        let apart_ms = logged_at(&pair[1]).ms_since(logged_at(&pair[0]));
        assert!(apart_ms >= 190, "{apart_ms} ms between two searches");
    }
}

/// Strangers have none before they come for the third time.
async fn one_alarm_for_each(daemon: &Daemon, causes: &[&str]) {
    let proven = causes.iter().filter(|cause| !["no_query", "unknown"].contains(cause));
    let expected: BTreeSet<_> =
        proven.map(|cause| format!("signature-{}", cause.replace('_', "-"))).collect();
    let told = alarms(daemon).await;
    let ids: BTreeSet<_> =
        told.iter().map(|alarm| alarm["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!((ids, told.len()), (expected.clone(), expected.len()));
    for alarm in &told {
        assert_eq!(alarm["severity"], "high", "{alarm}");
        assert!(alarm["what_to_do"].as_str().is_some_and(|text| text.len() > 30), "{alarm}");
    }
    let clock = told.iter().find(|alarm| alarm["id"] == "signature-clock").expect("told");
    let text = clock["text"].as_str().expect("text");
    assert!(text.starts_with("2 callbacks were refused") && text.contains("time zone"), "{text}");
    let metrics = daemon.request("GET", daemon.admin_addr(), "/metrics");
    let metrics = daemon.plain(metrics).await.text;
    let line = r#"authcoded_signature_diagnoses_total{cause="clock"} 2"#;
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}

#[tokio::test]
async fn the_key_of_callbacks_is_named_where_orders_arrive() {
    let market = Market::start().await;
    let daemon = start(&market).await;
    let call = signed(&json!({"activity": "orderNotify", "orderId": "CS1", "testFlag": "1"}));
    let path = format!("{ORDERS}?{}", call.query);
    let request = daemon.request("POST", daemon.callback_addr(), &path).body(call.body);
    assert_eq!(daemon.plain(request).await.body["resultCode"], "000001");
    let line = wait_until("it is told", async || doctor_lines(&daemon).pop()).await;
    assert_eq!(line["cause"], "other_interface_key");
    assert_ne!(ORDERS, PATH);
}

#[tokio::test]
async fn a_flood_slows_no_callback_and_a_stop_loses_no_record() {
    let market = Market::start().await;
    let mut daemon = start(&market).await;
    daemon.activated("PL1").await;
    let wrong = |n: usize| {
        let call = signed(&freeze("PL1"));
        Signed { body: format!("{{\"n\":{n}}}").into_bytes(), ..call }
    };
    for n in 0..200 {
        assert_eq!(daemon.reply(&wrong(n)).await, "000001", "{n}");
    }
    let right = renewal("PL1", "CS-1", &date_in_days(400));
    assert_eq!(daemon.callback(&right).await, "000000");
    // Those that were recorded at all, at a bounded rate, wait for the doctor now; the stop does not.
    daemon.restart().await;
    let told = |line: &Value| {
        let text = line["message"].as_str().unwrap_or_default();
        text.starts_with("callback: ") && line["result_code"] == "000001"
    };
    let refused = wait_until("each that is told is recorded", async || {
        let refused = daemon.items("/v1/callbacks?verdict=refused&limit=1000").await.len();
        (refused == daemon.lines().into_iter().filter(told).count()).then_some(refused)
    })
    .await;
    assert!(refused >= 40, "{refused}");
    let told = alarms(&daemon).await;
    assert_eq!(told.len(), 1, "one for one cause: {told:?}");
    assert_eq!(
        (&told[0]["id"], &told[0]["severity"]),
        (&json!("signature-unknown"), &json!("warning"))
    );
}
