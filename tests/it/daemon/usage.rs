//! Usage from the software's report to the marketplace's answer: what is sent, in which words, how often,
//! and what becomes of what is refused (product.md §4; protocol.md 2.6).

use super::market::{Api, Market, error, taken};
use super::{Daemon, wait_until};
use crate::peer::Say;
use authcoded::domain::time::{HOUR_MS, MINUTE_MS, SECOND_MS, day_text};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A daemon that holds these codes.
async fn daemon_with(market: &Market, codes: &[&str]) -> Daemon {
    the_slot_is_not_near().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for code in codes {
        daemon.register(code, true).await;
    }
    daemon
}

/// The job runs by itself once an hour; a test that meets that run counts its reports twice.
async fn the_slot_is_not_near() {
    let (slot, margin) = (55 * MINUTE_MS, 20 * SECOND_MS);
    wait_until("the slot of the hour is over", async || {
        let in_hour = super::now().as_ms().rem_euclid(HOUR_MS);
        (!(slot - margin..slot + SECOND_MS).contains(&in_hour)).then_some(())
    })
    .await;
}

async fn report(daemon: &Daemon, code: &str, field: &str, value: impl Into<Value>) {
    let body = json!({"code": code, field: value.into()});
    let answer = daemon.software("POST", "/v1/usage", &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let day = day_text(super::now().beijing_day());
    assert_eq!(answer.body, json!({"code": code, "day": day}));
}

/// Runs the job and returns what it counted.
async fn flush(daemon: &Daemon) -> Value {
    let last = async || {
        let jobs = daemon.items("/v1/jobs").await;
        jobs.into_iter().find(|job| job["name"] == "usage").expect("the job")
    };
    let before = last().await["last_started"].clone();
    daemon.order("/v1/jobs/usage/run", Value::Null).await;
    wait_until("the job has run", async || {
        let job = last().await;
        let over = job["last_started"] != before && !job["last_finished"].is_null();
        over.then(|| job["last_counts"].clone())
    })
    .await
}

/// Each entry of a report with its code: the id, or the count.
fn entries(body: &str) -> Vec<(String, String)> {
    let body: Value = serde_json::from_str(body).expect("JSON");
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let mut found = Vec::new();
    for usage in list(&body["usage_info"]) {
        for entry in list(&usage["software_usage_Info"]) {
            let fields = entry.as_object().expect("an object");
            assert_eq!(fields.len(), 1, "{entry}");
            let code = usage["license"].as_str().expect("a code").to_owned();
            found.push((code, fields.values().next().expect("one").to_string()));
        }
    }
    found
}

async fn day_of(daemon: &Daemon, code: &str) -> Value {
    let items = daemon.items(&format!("/v1/usage?code={code}")).await;
    items.into_iter().next().expect("it was reported")
}

async fn edited(daemon: &mut Daemon, sql: &str) {
    daemon.stop().await;
    daemon.edit(sql);
    daemon.again().await;
}

#[tokio::test]
async fn a_client_is_reported_once_as_a_hash_and_of_counts_the_greatest() {
    let market = Market::start().await;
    let mut daemon = daemon_with(&market, &["PL1"]).await;
    let secrets = ["alice@example.com", "鲍勃"];
    for client in [secrets[0], secrets[1], secrets[0], secrets[0]] {
        report(&daemon, "PL1", "client_id", client).await;
    }
    for number in [5, 9, 0, 7] {
        report(&daemon, "PL1", "active_num", number).await;
    }
    assert_eq!(flush(&daemon).await, json!({"sent": 3, "failed": 0, "waiting": 0}));
    let reports = market.reports();
    assert_eq!(reports.len(), 1);
    let mut found = entries(&reports[0]);
    let ids: Vec<String> = found.drain(1..).map(|(_, id)| id).collect();
    assert_eq!(found, [("PL1".to_owned(), "9".to_owned())]);
    for id in &ids {
        let id = id.trim_matches('"');
        assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    }
    let exact = format!(
        r#"{{"usage_info":[{{"license":"PL1","software_usage_Info":[{{"active_num":9}},{{"id":{}}},{{"id":{}}}]}}]}}"#,
        ids[0], ids[1]
    );
    assert_eq!(reports[0], exact);

    // What was sent is not sent again, also after a restart; a count that grew is.
    report(&daemon, "PL1", "client_id", secrets[1]).await;
    report(&daemon, "PL1", "active_num", 9).await;
    assert_eq!(flush(&daemon).await["sent"], 0);
    daemon.restart().await;
    report(&daemon, "PL1", "client_id", secrets[0]).await;
    report(&daemon, "PL1", "active_num", 10).await;
    assert_eq!(flush(&daemon).await["sent"], 1);
    assert_eq!(
        market.reports()[1..],
        [r#"{"usage_info":[{"license":"PL1","software_usage_Info":[{"active_num":10}]}]}"#]
    );
    let day = day_of(&daemon, "PL1").await;
    let shown = ["clients", "active_num", "state", "sent"].map(|field| &day[field]);
    assert_eq!(shown, [&json!(2), &json!(10), &json!("sent"), &json!(4)]);

    // Nobody was named: not in any file, and not in the log, which is as loud as it can be.
    for client in secrets {
        assert!(daemon.log().iter().all(|line| !line.contains(client)), "{client} in the log");
        for file in std::fs::read_dir(daemon.folder().join("data")).expect("the folder") {
            let file = file.expect("an entry").path();
            let bytes = std::fs::read(&file).expect("a file");
            let found = bytes.windows(client.len()).any(|window| window == client.as_bytes());
            assert!(!found, "{client} in {}", file.display());
        }
    }
    let key = daemon.folder().join("data/client-key");
    let mode = std::fs::metadata(key).expect("it is there").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
}

#[tokio::test]
async fn what_is_no_report_is_refused_and_leaves_nothing() {
    let market = Market::start().await;
    let daemon = daemon_with(&market, &["PL1", "PL2"]).await;
    daemon.order("/v1/licenses/PL2/release", json!({})).await;
    let post = async |body: &Value| daemon.software("POST", "/v1/usage", body).await;
    let long = "x".repeat(1_025);
    for body in [
        json!({}),
        json!({"code": "PL1"}),
        json!({"client_id": "a"}),
        json!({"code": "PL1", "client_id": "a", "active_num": 1}),
        json!({"code": "PL1", "client_id": "a", "day": "2026-11-22"}),
        json!({"code": "PL1", "client_id": null}),
        json!({"code": "PL1", "client_id": ""}),
        json!({"code": "PL1", "client_id": long}),
        json!({"code": "PL1", "client_id": "a\nb"}),
        json!({"code": "PL1", "client_id": "\u{0}"}),
        json!({"code": "PL1", "client_id": 7}),
        json!({"code": "PL1", "active_num": -1}),
        json!({"code": "PL1", "active_num": 1.5}),
        json!({"code": "PL1", "active_num": 1e3}),
        json!({"code": "PL1", "active_num": "1"}),
        json!({"code": "PL1", "active_num": 1_000_000_000}),
        json!({"code": "PL1", "active_num": u64::MAX}),
        json!({"code": "", "active_num": 1}),
        json!({"code": "x".repeat(65), "active_num": 1}),
        json!({"code": "PL\u{7}", "active_num": 1}),
        json!([]),
        json!("PL1"),
    ] {
        let answer = post(&body).await;
        answer.is_problem(400);
        assert!(!answer.text.contains(&long), "an answer repeats no client");
    }
    post(&json!({"code": "PL1", "client_id": "x".repeat(65 << 10)})).await.is_problem(413);
    let unknown = post(&json!({"code": "PL3", "active_num": 1})).await;
    unknown.is_problem(404);
    assert_eq!(unknown.body["type"], "urn:authcoded:problem:unknown-code");
    post(&json!({"code": "PL2", "client_id": "a"})).await.is_problem(409);
    assert_eq!(daemon.items("/v1/usage").await, Vec::<Value>::new());
    assert_eq!(flush(&daemon).await, json!({"sent": 0, "failed": 0, "waiting": 0}));
    assert!(market.reports().is_empty());
    // The longest ones are taken.
    report(&daemon, "PL1", "client_id", "码".repeat(1_024)).await;
    report(&daemon, "PL1", "active_num", 999_999_999).await;
}

#[tokio::test]
async fn the_same_bytes_go_again_until_their_end_is_known() {
    let market = Market::start().await;
    let mut daemon = daemon_with(&market, &["PL1", "PL2"]).await;
    report(&daemon, "PL1", "client_id", "a").await;
    report(&daemon, "PL1", "active_num", 3).await;
    let troubles = [
        Say::Cut,
        Say::Break { http: 200 },
        error(500, "92020001"),
        error(200, "92020001"),
        Say::new(503, "<html>busy</html>"),
        Say::new(200, "<html>welcome</html>"),
        Say::new(200, "{}"),
        error(200, "92029999"),
        error(429, "APIGW.0308"),
    ];
    for (n, trouble) in (0..).zip(troubles) {
        market.trouble(Some(trouble.clone()));
        let flushed = flush(&daemon).await;
        assert_eq!((&flushed["sent"], &flushed["failed"]), (&json!(0), &json!(0)), "{trouble:?}");
        // What comes meanwhile waits for the next report.
        report(&daemon, "PL2", "client_id", format!("later {n}")).await;
        report(&daemon, "PL1", "active_num", 4 + n).await;
        if n % 3 == 0 {
            daemon.restart().await;
        }
    }
    market.trouble(None);
    let before = market.reports();
    assert_eq!(BTreeSet::from_iter(&before).len(), 1, "{before:#?}");
    assert!(before.len() >= 9, "{}", before.len());
    assert_eq!(flush(&daemon).await, json!({"sent": 12, "failed": 0, "waiting": 0}));
    let after = market.reports()[before.len()..].to_vec();
    assert_eq!((after.len(), &after[0]), (2, &before[0]));
    let next = entries(&after[1]);
    assert_eq!(next[0], ("PL1".to_owned(), "12".to_owned()), "only the greatest");
    assert_eq!((next.len(), &next[1].0[..]), (10, "PL2"));
}

#[tokio::test]
async fn a_report_that_did_not_get_through_comes_again_by_itself() {
    let market = Market::start().await;
    let daemon = daemon_with(&market, &["PL1", "PL2"]).await;
    report(&daemon, "PL1", "client_id", "a").await;
    market.says(Api::Usage, "PL1", [Say::Cut, taken(&Value::Null)]);
    assert_eq!(flush(&daemon).await["waiting"], 1);
    report(&daemon, "PL2", "client_id", "b").await;
    // The backoff is five seconds.
    wait_until("all is sent", async || {
        (day_of(&daemon, "PL2").await["state"] == "sent").then_some(())
    })
    .await;
    let reports = market.reports();
    assert_eq!((reports.len(), &reports[0]), (3, &reports[1]));
}

#[tokio::test]
async fn killed_before_the_answer_it_sends_the_same_again_and_then_no_more() {
    let market = Market::start().await;
    let mut daemon = daemon_with(&market, &["PL1"]).await;
    report(&daemon, "PL1", "client_id", "a").await;
    market.trouble(Some(Say::Hang));
    daemon.order("/v1/jobs/usage/run", Value::Null).await;
    wait_until("the report has left", async || (market.reports().len() == 1).then_some(())).await;
    daemon.kill();
    market.trouble(None);
    daemon.again().await;
    report(&daemon, "PL1", "client_id", "b").await;
    let flushed = flush(&daemon).await;
    assert_eq!(flushed["waiting"], 0);
    let reports = market.reports();
    assert_eq!((reports.len(), &reports[0]), (3, &reports[1]));
    assert_ne!(entries(&reports[1]), entries(&reports[2]));
    daemon.kill();
    daemon.again().await;
    assert_eq!(flush(&daemon).await["sent"], 0);
    assert_eq!(market.reports().len(), 3, "a restart sends nothing twice");
}

#[tokio::test]
async fn a_report_holds_at_most_a_hundred_codes_with_a_hundred_entries_each() {
    let market = Market::start().await;
    let daemon = daemon_with(&market, &["PL"]).await;
    let mut expected = BTreeSet::new();
    for n in 0..105 {
        let code = format!("PL{n}");
        daemon.register(&code, true).await;
        report(&daemon, &code, "active_num", n).await;
        expected.insert((code, n.to_string()));
    }
    for n in 0..250 {
        report(&daemon, "PL", "client_id", format!("client {n}")).await;
    }
    assert_eq!(flush(&daemon).await, json!({"sent": 355, "failed": 0, "waiting": 0}));
    let mut seen = BTreeSet::new();
    for body in market.reports() {
        let of_report = entries(&body);
        let codes: BTreeSet<&String> = of_report.iter().map(|(code, _)| code).collect();
        assert!(codes.len() <= 100, "{}", codes.len());
        let most = codes.iter().map(|code| of_report.iter().filter(|(c, _)| c == *code).count());
        assert!(most.max() <= Some(100));
        for entry in of_report {
            assert!(seen.insert(entry.clone()), "{entry:?} twice");
        }
    }
    assert_eq!(seen.len(), 355);
    assert!(seen.is_superset(&expected));
    assert!((3..=5).contains(&market.reports().len()), "{}", market.reports().len());
}

#[tokio::test]
async fn what_failed_its_check_is_told_apart() {
    let market = Market::start().await;
    let mut daemon = daemon_with(&market, &["PL1", "PL2", "PL3"]).await;
    for code in ["PL1", "PL2", "PL3"] {
        report(&daemon, code, "client_id", "a").await;
        report(&daemon, code, "client_id", "b").await;
    }
    let failed = json!({"check_fail_list": [
        {"license": "PL2", "error_code": "92020011", "error_msg": "not activated"},
        {"license": "PL3", "error_code": "92020005", "error_msg": "does not exist"},
    ]});
    market.says(Api::Usage, "PL1", [taken(&failed), taken(&Value::Null)]);
    assert_eq!(flush(&daemon).await, json!({"sent": 2, "failed": 2, "waiting": 2}));
    for (code, state, error_code) in [
        ("PL1", "sent", None),
        ("PL2", "waiting", Some("92020011")),
        ("PL3", "failed", Some("92020005")),
    ] {
        let day = day_of(&daemon, code).await;
        assert_eq!(
            (&day["state"], &day["error_code"]),
            (&json!(state), &json!(error_code)),
            "{day}"
        );
    }
    assert_eq!(daemon.kinds("PL2").await.last().map(String::as_str), Some("observed"));
    assert_eq!(daemon.until_kind("PL3", "contradiction").await["result_code"], "92020005");
    let alarms = daemon.items("/v1/alarms").await;
    assert!(alarms.iter().any(|alarm| alarm["kind"] == "usage_failed"), "{alarms:?}");

    // PL2 holds up nobody, and waits with all it has.
    report(&daemon, "PL2", "client_id", "c").await;
    report(&daemon, "PL1", "client_id", "c").await;
    assert_eq!(flush(&daemon).await, json!({"sent": 1, "failed": 0, "waiting": 3}));
    assert_eq!(market.reports().len(), 2);
    market.says(Api::Usage, "PL2", [error(200, "92020011"), taken(&Value::Null)]);
    edited(&mut daemon, "UPDATE usage_batch SET due_at = 0").await;
    wait_until("it was refused again", async || (market.reports().len() >= 3).then_some(())).await;
    edited(&mut daemon, "UPDATE usage_batch SET due_at = 0").await;
    wait_until("all is sent", async || {
        (day_of(&daemon, "PL2").await["state"] == "sent").then_some(())
    })
    .await;
    let of_pl2 = market.reports()[2..].to_vec();
    assert_eq!((of_pl2.len(), &of_pl2[0]), (3, &of_pl2[1]), "{of_pl2:#?}");
    let counts = of_pl2.iter().map(|body| entries(body).len()).collect::<Vec<_>>();
    assert_eq!(counts, [2, 2, 1], "the held ones, and then the one that came later");
    let events = daemon.events("PL2").await;
    let told = events.iter().filter(|event| event["result_code"] == "92020011").count();
    assert_eq!(told, 1, "not at each refusal");
}

#[tokio::test]
async fn a_refusal_of_the_whole_is_found_out_code_by_code() {
    for refusal in [
        error(200, "92020020"),
        error(200, "92020011"),
        error(400, "95000001"),
        taken(&json!({"check_fail_count": 1})),
    ] {
        let market = Market::start().await;
        let daemon = daemon_with(&market, &["PL1", "PL2", "PL3"]).await;
        for code in ["PL1", "PL2", "PL3"] {
            report(&daemon, code, "client_id", "a").await;
        }
        market.says(Api::Usage, "PL1", [refusal, taken(&Value::Null)]);
        market.says(Api::Usage, "PL2", [error(200, "92020005")]);
        assert_eq!(flush(&daemon).await, json!({"sent": 2, "failed": 1, "waiting": 0}));
        let counts = market.reports().iter().map(|body| entries(body).len()).collect::<Vec<_>>();
        assert_eq!(counts, [3, 1, 1, 1]);
        assert_eq!(day_of(&daemon, "PL2").await["state"], "failed");
        assert_eq!(flush(&daemon).await["sent"], 0);
    }
}

#[tokio::test]
async fn what_may_pass_is_given_up_after_a_week() {
    let market = Market::start().await;
    let mut daemon = daemon_with(&market, &["PL1"]).await;
    market.says(Api::Usage, "PL1", [error(200, "92020011")]);
    report(&daemon, "PL1", "client_id", "a").await;
    assert_eq!(flush(&daemon).await["waiting"], 1);
    let week = 7 * 86_400_000;
    let sql = format!("UPDATE usage_batch SET due_at = 0, made_at = made_at - {week}");
    edited(&mut daemon, &sql).await;
    let event = daemon.until_kind("PL1", "contradiction").await;
    assert_eq!(event["result_code"], "92020011");
    assert_eq!(day_of(&daemon, "PL1").await["state"], "failed");
}

#[tokio::test]
async fn which_illegal_state_a_code_is_in_tells_the_query_that_follows() {
    let market = Market::start().await;
    let mut daemon = daemon_with(&market, &["PL2"]).await;
    market.says(Api::Usage, "PL2", [error(200, "92020003")]);
    market.says(Api::Query, "PL2", [super::market::released()]);
    report(&daemon, "PL2", "client_id", "a").await;
    assert_eq!(flush(&daemon).await["waiting"], 1);
    daemon.until_state("PL2", "released").await;
    edited(&mut daemon, "UPDATE usage_batch SET due_at = 0").await;
    wait_until("it is given up", async || {
        (day_of(&daemon, "PL2").await["state"] == "failed").then_some(())
    })
    .await;
    assert!(!daemon.kinds("PL2").await.contains(&"contradiction".to_owned()));
}

#[tokio::test]
async fn a_refused_key_stops_reports_and_loses_none() {
    let market = Market::start().await;
    let mut daemon = daemon_with(&market, &["PL1"]).await;
    report(&daemon, "PL1", "client_id", "a").await;
    market.trouble(Some(error(401, "APIGW.0301")));
    assert_eq!(flush(&daemon).await["waiting"], 1);
    market.trouble(None);
    report(&daemon, "PL1", "client_id", "b").await;
    assert_eq!(flush(&daemon).await["waiting"], 2);
    daemon.restart().await;
    assert_eq!(flush(&daemon).await, json!({"sent": 0, "failed": 0, "waiting": 2}));
    assert_eq!(market.reports().len(), 1, "nothing leaves while the queue is stopped");
    daemon.stop().await;
    daemon.edit("DELETE FROM fact WHERE name = 'marketplace_stopped_until'");
    daemon.again().await;
    assert_eq!(flush(&daemon).await, json!({"sent": 2, "failed": 0, "waiting": 0}));
    let reports = market.reports();
    assert_eq!((reports.len(), &reports[0]), (3, &reports[1]));
}

#[tokio::test]
async fn the_upkeep_forgets_what_is_over_and_nothing_else() {
    let market = Market::start().await;
    let mut daemon = daemon_with(&market, &["PL1", "PL2"]).await;
    report(&daemon, "PL1", "client_id", "a").await;
    assert_eq!(flush(&daemon).await["sent"], 1);
    report(&daemon, "PL2", "client_id", "a").await;
    daemon.stop().await;
    daemon.edit("UPDATE usage SET day = day - 31 WHERE state = 'sent'");
    daemon.edit("UPDATE usage SET day = day - 365 WHERE state = 'waiting'");
    daemon.again().await;
    daemon.order("/v1/jobs/upkeep/run", Value::Null).await;
    wait_until("the sent one is forgotten", async || {
        let left = daemon.items("/v1/usage").await;
        (left.len() == 1).then(|| assert_eq!(left[0]["code"], "PL2"))
    })
    .await;
    assert_eq!(flush(&daemon).await["sent"], 1);
    assert_eq!(entries(&market.reports()[1])[0].0, "PL2");
}
