//! What the licensed software is told, and when the marketplace is asked first (product.md §4, §9).

use super::market::{Api, Market, alive, error, expired};
use super::wire::{date_in, date_in_days, freeze, release, renewal};
use super::{Daemon, Setup, now};
use crate::peer::Say;
use authcoded::domain::slots::parse_rfc3339;
use authcoded::domain::time::{DAY_MS, HOUR_MS};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const SHAPE: [&str; 8] =
    ["code", "decision", "reason", "state", "expires_at", "days_left", "checked_at", "lease"];

/// The answer for a code, whole: decision, reason and state are as expected.
async fn told(daemon: &Daemon, code: &str, decision: &str, reason: &str, state: Value) -> Value {
    let told = daemon.entitlement(code).await;
    for field in SHAPE {
        assert!(told.get(field).is_some(), "no {field} in {told}");
    }
    assert_eq!((&told["code"], &told["decision"]), (&json!(code), &json!(decision)), "{told}");
    assert_eq!((&told["reason"], &told["state"]), (&json!(reason), &state), "{told}");
    if decision == "deny" {
        assert_eq!(told["lease"], Value::Null, "a deny has no lease");
    }
    told
}

/// Makes the last successful question so old, while it runs: the sweep of a start would ask again.
async fn last_asked(daemon: &Daemon, code: &str, ms_ago: i64) {
    let at = now().plus_ms(-ms_ago).as_ms();
    let sql = format!(
        "UPDATE license SET marketplace_checked_at = {at}, ask_failed_at = NULL WHERE code = '{code}'"
    );
    daemon.edit_under_way(&sql).await;
}

#[tokio::test]
async fn each_standing_of_a_code_has_its_answer() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let told = async |code: &str, decision: &str, reason: &str, state: Value| {
        told(&daemon, code, decision, reason, state).await
    };
    let unknown = told("PL0", "deny", "unknown_code", Value::Null).await;
    assert!(SHAPE[3..].iter().all(|field| unknown[field].is_null()), "{unknown}");
    assert_eq!(market.count(), 0, "an unknown code asks nobody");
    daemon.register("PL1", false).await;
    told("PL1", "deny", "not_activated", json!("issued")).await;
    daemon.register("PL2", true).await;
    told("PL2", "deny", "not_activated", json!("received")).await;
    assert_eq!(market.count(), 0);

    market.says(Api::Query, "PL3", [alive(&date_in_days(100))]);
    daemon.activated("PL3").await;
    let active = told("PL3", "allow", "active", json!("activated")).await;
    assert_eq!(active["days_left"], 99);
    assert_eq!(active["checked_at"], daemon.license("PL3").await["marketplace_checked_at"]);
    let end = date_in(6 * DAY_MS + HOUR_MS);
    assert_eq!(daemon.callback(&renewal("PL3", "CS-1", &date_in_days(30))).await, "000000");
    told("PL3", "allow", "active", json!("renewed")).await;
    market.says(Api::Query, "PL4", [alive(&end)]);
    daemon.activated("PL4").await;
    let expiring = told("PL4", "allow", "expiring", json!("activated")).await;
    assert_eq!(expiring["days_left"], 6);

    market.says(Api::Query, "PL5", [expired(&date_in_days(-1))]);
    daemon.activated("PL5").await;
    let over = told("PL5", "deny", "expired", json!("activated")).await;
    assert_eq!(over["days_left"], 0);
    daemon.callback(&freeze("PL4")).await;
    told("PL4", "deny", "frozen", json!("frozen")).await;
    daemon.callback(&release("PL4", None)).await;
    told("PL4", "deny", "released", json!("released")).await;
}

#[tokio::test]
async fn past_the_end_a_code_runs_on_until_the_end_is_confirmed_or_its_grace_is_used_up() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for (code, days) in [("PL1", -1), ("PL2", -1), ("PL3", -4)] {
        market.says(Api::Query, code, [alive(&date_in_days(days))]);
        daemon.activated(code).await;
    }
    // The marketplace calls it alive, though its own date has passed.
    told(&daemon, "PL1", "allow", "grace_unconfirmed", json!("activated")).await;
    market.says(Api::Query, "PL1", [expired(&date_in_days(-1))]);
    daemon.order("/v1/licenses/PL1/query", Value::Null).await;
    told(&daemon, "PL1", "deny", "expired", json!("activated")).await;
    // Now the marketplace is away.
    for code in ["PL2", "PL3"] {
        market.says(Api::Query, code, [error(500, "92020001")]);
        last_asked(&daemon, code, 5 * DAY_MS).await;
    }
    told(&daemon, "PL2", "allow", "grace_offline", json!("activated")).await;
    told(&daemon, "PL3", "deny", "expired_unconfirmed", json!("activated")).await;
}

#[tokio::test]
async fn a_denial_for_expiry_is_preceded_by_one_last_look() {
    let market = Market::start().await;
    let setup = Setup {
        endpoints: vec![market.http()],
        sections: "[policy]\ngrace-hours = 1".to_owned(),
        ..Setup::default()
    };
    let daemon = Daemon::with(setup).await;
    let end = date_in(-3 * HOUR_MS);
    for code in ["PL1", "PL2"] {
        market.says(Api::Query, code, [alive(&end)]);
        daemon.activated(code).await;
        // Asked before its end, and too short a while ago for the sweep at the start.
        last_asked(&daemon, code, 5 * HOUR_MS).await;
    }
    // A renewal that we were never told of.
    market.says(Api::Query, "PL1", [alive(&date_in_days(300))]);
    market.says(Api::Query, "PL2", [Say::Cut]);
    let asked = ["PL1", "PL2"].map(|code| market.count_of(Api::Query, code));
    for _ in 0..3 {
        told(&daemon, "PL1", "allow", "active", json!("activated")).await;
        told(&daemon, "PL2", "deny", "expired_unconfirmed", json!("activated")).await;
    }
    let looks = ["PL1", "PL2"].map(|code| market.count_of(Api::Query, code));
    assert_eq!(looks, asked.map(|count| count + 1));
}

#[tokio::test]
async fn an_end_counts_from_the_later_of_its_two_readings() {
    let market = Market::start().await;
    let setup = Setup {
        endpoints: vec![market.http()],
        marketplace: "expire-time-zone = \"Asia/Shanghai\"".to_owned(),
        ..Setup::default()
    };
    let daemon = Daemon::with(setup).await;
    // Four hours past in Beijing's reading, four to come in UTC's.
    market.says(Api::Query, "PL1", [alive(&date_in(4 * HOUR_MS))]);
    daemon.activated("PL1").await;
    let told = told(&daemon, "PL1", "allow", "expiring", json!("activated")).await;
    let end = parse_rfc3339(told["expires_at"].as_str().expect("a time")).expect("a time");
    assert!(end < now(), "shown in the configured zone");
    // The warning counts from the earlier one.
    market.says(Api::Query, "PL2", [alive(&date_in(7 * DAY_MS + 4 * HOUR_MS))]);
    daemon.activated("PL2").await;
    assert_eq!(daemon.reason("PL2").await, "expiring");
    market.says(Api::Query, "PL3", [alive(&date_in(7 * DAY_MS + 12 * HOUR_MS))]);
    daemon.activated("PL3").await;
    assert_eq!(daemon.reason("PL3").await, "active");
}

#[tokio::test]
async fn the_first_use_of_a_day_asks_once_for_all_who_ask() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    // Yesterday by Beijing's calendar, and too young for the sweep at the start.
    let today_ms = (now().as_ms() + 8 * HOUR_MS).rem_euclid(DAY_MS);
    last_asked(&daemon, "PL1", today_ms + 1_000).await;
    let before = market.count_of(Api::Query, "PL1");
    let daemon = Arc::new(daemon);
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let daemon = Arc::clone(&daemon);
            tokio::spawn(async move { daemon.reason("PL1").await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.expect("no panic"), "active");
    }
    assert_eq!(market.count_of(Api::Query, "PL1"), before + 1);
    let told = daemon.entitlement("PL1").await;
    let checked = parse_rfc3339(told["checked_at"].as_str().expect("a time")).expect("a time");
    assert!(now().ms_since(checked) < 60_000);
    assert_eq!(market.count_of(Api::Query, "PL1"), before + 1, "not again today");
}

#[tokio::test]
async fn an_answer_waits_at_most_800_ms_for_the_marketplace() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let today_ms = (now().as_ms() + 8 * HOUR_MS).rem_euclid(DAY_MS);
    last_asked(&daemon, "PL1", today_ms + 1_000).await;
    market.trouble(Some(Say::Hang));
    let before = market.count_of(Api::Query, "PL1");
    let ask = async || {
        let begun = Instant::now();
        assert_eq!(daemon.reason("PL1").await, "active", "what is known");
        begun.elapsed()
    };
    let (one, other, third) = tokio::join!(ask(), ask(), ask());
    for took in [one, other, third] {
        assert!((600..1_500).contains(&took.as_millis()), "{took:?}");
    }
    assert_eq!(market.count_of(Api::Query, "PL1"), before + 1);
}

#[tokio::test]
async fn the_software_registers_a_code_and_its_activation_starts() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.says(Api::Activate, "PL2", [error(200, "92020004")]);
    let post =
        async |code: &str| daemon.software("POST", "/v1/licenses", &json!({"code": code})).await;
    let first = post("PL1").await;
    assert_eq!((first.status, &first.body["state"]), (201, &json!("received")));
    daemon.until_state("PL1", "activated").await;
    assert_eq!(post("PL1").await.status, 200);
    let sources = daemon.events("PL1").await;
    assert!(sources[..2].iter().all(|event| event["source"] == "software"), "{sources:?}");
    assert_eq!(post("PL2").await.status, 201);
    daemon.until_kind("PL2", "activation_waiting").await;
    assert_eq!(daemon.reason("PL2").await, "not_activated");
    // The buyer confirmed the receipt in the marketplace; the next look at the form activates it.
    market.says(Api::Activate, "PL2", [super::market::done(&date_in_days(90))]);
    assert_eq!(post("PL2").await.status, 200);
    daemon.until_state("PL2", "activated").await;
}

#[tokio::test]
async fn the_answer_to_a_registration_says_what_happens_next() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.says(Api::Activate, "PL-WAITS", [error(200, "92020004")]);
    market.says(Api::Activate, "PL-UNKNOWN", [error(200, "92020005")]);
    market.says(Api::Activate, "PL-BAD", [error(200, "92020002")]);
    market.says(Api::Activate, "PL-AWAY", [error(500, "92020001")]);
    let post = async |code: &str| {
        let request = daemon.request("POST", daemon.software_addr(), "/v1/licenses");
        let request = request.bearer_auth(super::SOFTWARE_TOKEN).header("prefer", "wait=5");
        let request = request.header("content-type", "application/json");
        let answer = daemon.plain(request.body(json!({ "code": code }).to_string())).await;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text);
        answer.body
    };
    for (code, step, state) in [
        ("PL-GOOD", "activated", "activated"),
        ("PL-WAITS", "waiting_for_buyer", "issued"),
        ("PL-UNKNOWN", "refused", "received"),
        ("PL-BAD", "refused", "received"),
        ("PL-AWAY", "in_progress", "received"),
    ] {
        let told = post(code).await;
        assert_eq!(
            (&told["next"]["step"], &told["state"]),
            (&json!(step), &json!(state)),
            "{told}"
        );
        for language in ["zh", "en"] {
            let text = told["next"][language].as_str().expect("a text");
            assert!(!text.is_empty() && !text.contains("9202"), "{text}");
        }
    }
    assert_eq!(daemon.callback(&release("PL-GOOD", None)).await, "000000");
    assert_eq!(post("PL-GOOD").await["next"]["step"], "refused");
    // Once the marketplace is back, the activation that was left open goes on by itself.
    market.says(Api::Activate, "PL-AWAY", [super::market::done(&date_in_days(90))]);
    daemon.until_state("PL-AWAY", "activated").await;
}

#[tokio::test]
async fn whoever_guesses_codes_costs_no_more_than_a_budget() {
    let market = Market::start().await;
    let setup = Setup {
        endpoints: vec![market.http()],
        software: "new-codes-per-hour = 3".to_owned(),
        ..Setup::default()
    };
    let daemon = Daemon::with(setup).await;
    let post = async |code: &str| {
        let body = json!({"code": code, "activate": false});
        daemon.software("POST", "/v1/licenses", &body).await
    };
    for n in 0..3 {
        assert_eq!(post(&format!("PL{n}")).await.status, 201);
    }
    let refused = post("PL3").await;
    refused.is_problem(429);
    assert_eq!(refused.header("retry-after"), "60");
    assert_eq!(post("PL0").await.status, 200, "a known code costs nothing");
    let body = json!({"code": "PL3", "activate": false});
    assert_eq!(daemon.admin("POST", "/v1/licenses", &body).await.status, 201, "an operator may");
    // Questions about codes that nobody registered never reach the marketplace.
    for n in 0..500 {
        let path = format!("/v1/entitlements/GUESS{n}");
        assert_eq!(
            daemon.software("GET", &path, &Value::Null).await.body["reason"],
            "unknown_code"
        );
    }
    assert_eq!(market.count(), 0);
}

#[tokio::test]
async fn what_cannot_be_a_code_is_told_apart_from_an_unknown_one() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let ask = async |segment: &str| {
        let path = format!("/v1/entitlements/{segment}");
        daemon.software("GET", &path, &Value::Null).await
    };
    for good in ["x".repeat(64), "%E7%A0%81".repeat(64), "%20".to_owned(), "a%2Fb".to_owned()] {
        let answer = ask(&good).await;
        assert_eq!(
            (answer.status, &answer.body["reason"]),
            (200, &json!("unknown_code")),
            "{good}"
        );
    }
    for bad in [
        "x".repeat(65),
        "x".repeat(10_000),
        "%00".to_owned(),
        "a%0Ab".to_owned(),
        "%ff%fe".to_owned(),
    ] {
        ask(&bad).await.is_problem(400);
    }
    assert_eq!(market.count(), 0);
}

#[tokio::test]
async fn a_socket_needs_no_token_and_its_mode_says_who_may_ask() {
    let market = Market::start().await;
    let setup = Setup {
        endpoints: vec![market.http()],
        software: "socket = \"software.sock\"\nsocket-mode = \"0600\"".to_owned(),
        ..Setup::default()
    };
    let mut daemon = Daemon::with(setup).await;
    for run in 1..=2 {
        let path = daemon.folder().join("software.sock");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &path.metadata().expect("it is there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600, "{mode:o}");
        let mut stream = tokio::net::UnixStream::connect(&path).await.expect("a connection");
        let head = "GET /v1/entitlements/PL1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("unknown_code"), "{answer}");
        let lines = daemon.lines();
        let told = lines.iter().filter(|line| line["peer.uid"].is_u64() && line["level"] == "INFO");
        assert_eq!(told.count(), run, "a user's first call of each run is told");
        // What a killed daemon leaves behind is no obstacle.
        daemon.kill();
        daemon.again().await;
    }
}
