//! Calls that fail: followed, listed for a restart, ticked off; and what a stranger can do to that
//! (product.md §5, §9).

use super::market::Market;
use super::wire::{but, date_in_days, freeze, release, renewal, unfreeze};
use super::{Daemon, Signed, now, signed, wait_until};
use serde_json::{Value, json};
use std::process::Command;

const THREE_HOURS: i64 = 3 * 3_600_000;

/// A call that no key of ours signed.
fn forged(body: &Value) -> Signed {
    let mut call = signed(body);
    call.query = call.query.replacen("signature=", "signature=00", 1);
    let from = call.query.find("00").expect("planted");
    call.query.replace_range(from + 64..from + 66, "");
    call
}

async fn list(daemon: &Daemon, name: &str) -> Vec<Value> {
    daemon.see("/v1/guard").await[name].as_array().expect("a list").clone()
}

/// What is stored without waiting for the disk is seen a moment later.
async fn until(daemon: &Daemon, name: &str, seen: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    wait_until(&format!("{name} is as wished"), async || {
        let items = list(daemon, name).await;
        seen(&items).then_some(items)
    })
    .await
}

/// The attempts so far become three hours old, and the minute's look is made.
async fn three_hours_pass(daemon: &Daemon) {
    sql(
        daemon,
        &format!(
            "UPDATE retry_window SET first_at = first_at - {THREE_HOURS}, \
         last_at = last_at - {THREE_HOURS}"
        ),
    );
    daemon.order("/v1/jobs/activation/run", Value::Null).await;
}

fn sql(daemon: &Daemon, sql: &str) {
    let file = daemon.folder().join("data/authcoded.db");
    let connection = rusqlite::Connection::open(file).expect("the database");
    connection.busy_timeout(super::PATIENCE).expect("set");
    connection.execute_batch(sql).expect(sql);
}

fn run(daemon: &Daemon, args: &[&str]) -> (Option<i32>, String) {
    let config = daemon.folder().join("cli.toml");
    let text = std::fs::read_to_string(daemon.config()).expect("the file");
    let listen = format!("[admin]\nlisten = \"{}\"", daemon.admin_addr());
    std::fs::write(&config, text.replace("[admin]\nlisten = \"127.0.0.1:0\"", &listen))
        .expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_authcoded"));
    let output = command.arg("--config").arg(&config).args(args).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn kinds_of_alarms(daemon: &Daemon) -> Vec<(String, String)> {
    let items = daemon.items("/v1/alarms").await;
    let word = |alarm: &Value, key: &str| alarm[key].as_str().expect("a word").to_owned();
    items.iter().map(|alarm| (word(alarm, "kind"), word(alarm, "severity"))).collect()
}

#[tokio::test]
async fn a_failed_call_is_followed_to_the_restart_list_and_ticked_off_by_hand() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    assert_eq!(daemon.callback(&release("PL1", None)).await, "000000");
    let call = renewal("PL1", "CS-1", &date_in_days(400));
    for attempts in 1..=3 {
        assert_eq!(daemon.callback(&call).await, "000003", "nothing revives it");
        let open = list(&daemon, "retry_windows").await;
        assert_eq!((open.len(), &open[0]["attempts"]), (1, &json!(attempts)), "{open:?}");
    }
    let open = &list(&daemon, "retry_windows").await[0];
    for (key, value) in [
        ("activity", json!("refreshLicenseCode")),
        ("code", json!("PL1")),
        ("order_id", json!("CS-1")),
        ("order_line_id", json!("CS-1-000001")),
        ("scene", json!("RENEWAL")),
        ("authentic", json!(true)),
        ("result_code", json!("000003")),
    ] {
        assert_eq!(open[key], value, "{key}");
    }
    assert!(kinds_of_alarms(&daemon).await.contains(&("retry_windows".into(), "warning".into())));

    three_hours_pass(&daemon).await;
    let given_up = until(&daemon, "restart_list", |items| items.len() == 1).await;
    assert!(given_up[0]["what_to_do"].as_str().is_some_and(|text| text.contains("released here")));
    assert!(list(&daemon, "retry_windows").await.is_empty());
    assert!(kinds_of_alarms(&daemon).await.contains(&("restart_list".into(), "high".into())));
    let orders = &daemon.see("/v1/guard").await["failed_orders"];
    assert_eq!((&orders["count"], &orders["allowed"]), (&json!(1), &json!(5)), "{orders}");
    let event = daemon.until_kind("PL1", "alarm").await;
    assert_eq!((&event["order_id"], &event["source"]), (&json!("CS-1"), &json!("timer")));

    // A restart that fails again is followed anew.
    assert_eq!(daemon.callback(&call).await, "000003");
    assert!(list(&daemon, "restart_list").await.is_empty());
    assert_eq!(list(&daemon, "retry_windows").await[0]["attempts"], 1);
    three_hours_pass(&daemon).await;
    until(&daemon, "restart_list", |items| items.len() == 1).await;

    let (code, shown) = run(&daemon, &["guard"]);
    assert_eq!(code, Some(0));
    assert!(shown.contains("CS-1") && shown.contains("1 failed, 0 at risk, 5 allowed"), "{shown}");
    let (code, document) = run(&daemon, &["guard", "--json"]);
    let document: Value = serde_json::from_str(&document).expect("one document");
    assert_eq!((code, &document["restart_list"][0]["order_id"]), (Some(0), &json!("CS-1")));
    assert_eq!(run(&daemon, &["guard", "restarted", "CS-2", "--reason", "x"]).0, Some(1));
    let (code, told) = run(&daemon, &["guard", "restarted", "CS-1", "--reason", "paid back"]);
    assert_eq!((code, told.as_str()), (Some(0), "ticked off: 1\n"));
    assert!(list(&daemon, "restart_list").await.is_empty());
    let event = daemon.until_kind("PL1", "operator").await;
    assert!(event["detail"].as_str().is_some_and(|text| text.contains("paid back")), "{event}");
    let orders = &daemon.see("/v1/guard").await["failed_orders"];
    assert_eq!(orders["count"], 1, "it failed all the same");
}

#[tokio::test]
async fn a_call_that_could_not_be_stored_is_followed_when_it_can_be() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    daemon.activated("PL2").await;
    sql(
        &daemon,
        "CREATE TRIGGER planted BEFORE INSERT ON callback WHEN NEW.test = 0 \
         BEGIN SELECT RAISE(ABORT, 'planted'); END",
    );
    let (first, second) = (freeze("PL1"), renewal("PL2", "CS-2", &date_in_days(400)));
    assert_eq!(daemon.callback(&first).await, "000005");
    assert_eq!(daemon.callback(&first).await, "000005");
    assert_eq!(daemon.callback(&second).await, "000005");
    sql(&daemon, "DROP TRIGGER planted");
    assert_eq!(daemon.callback(&first).await, "000000", "it came again");
    // What is in memory at the end is stored.
    daemon.restart().await;
    let open = list(&daemon, "retry_windows").await;
    assert_eq!((open.len(), &open[0]["order_id"]), (1, &json!("CS-2")), "{open:?}");
    assert_eq!(daemon.callback(&second).await, "000000");
    assert!(list(&daemon, "retry_windows").await.is_empty());
    assert!(list(&daemon, "restart_list").await.is_empty());
}

#[tokio::test]
async fn a_call_nobody_can_read_is_followed_and_test_traffic_is_not() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let strange = but(&renewal("PL1", "CS-1", "20271121083000"), "scene", json!("RENEWAL_CHANGE"));
    assert_eq!(daemon.callback(&strange).await, "000002");
    assert_eq!(daemon.callback(&but(&strange, "testFlag", json!("1"))).await, "000002");
    assert_eq!(daemon.reply(&forged(&but(&freeze("PL1"), "testFlag", json!("1")))).await, "000001");
    let open = until(&daemon, "retry_windows", |items| !items.is_empty()).await;
    assert_eq!((open.len(), &open[0]["scene"]), (1, &json!("RENEWAL_CHANGE")), "{open:?}");
    assert_eq!(daemon.reply(&forged(&freeze("PL-STRANGE"))).await, "000001");
    assert_eq!(daemon.reply(&forged(&json!({"activity": "newInstance"}))).await, "000001");
    let sent = super::signed_bytes(b"{", now(), &super::nonce());
    assert_eq!(daemon.reply(&sent).await, "000002");
    let open = until(&daemon, "retry_windows", |items| items.len() == 3).await;
    assert!(open[2]["activity"].is_null(), "{open:?}");
    let alarms = daemon.items("/v1/alarms").await;
    let alarm = alarms.iter().find(|alarm| alarm["kind"] == "retry_windows").expect("an alarm");
    assert!(
        alarm["text"]
            .as_str()
            .is_some_and(|text| text.ends_with(": 2 (RENEWAL_CHANGE CS-1, unreadable)")),
        "{alarm}"
    );
}

#[tokio::test]
async fn a_stranger_alone_raises_nothing() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    assert_eq!(daemon.reply(&forged(&freeze("PL-STRANGE"))).await, "000001");
    until(&daemon, "retry_windows", |items| items.len() == 1).await;
    let kinds = kinds_of_alarms(&daemon).await;
    assert!(kinds.iter().all(|(kind, _)| kind != "retry_windows"), "{kinds:?}");
}

#[tokio::test]
async fn a_stranger_fills_no_list_and_touches_nothing_that_is_proved() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    daemon.activated("PL2").await;
    assert_eq!(daemon.callback(&release("PL1", None)).await, "000000");
    let proved = renewal("PL1", "CS-1", &date_in_days(400));
    assert_eq!(daemon.callback(&proved).await, "000003");
    let before = list(&daemon, "retry_windows").await;
    assert_eq!(daemon.reply(&forged(&proved)).await, "000001");
    sql(
        &daemon,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) \
         INSERT INTO retry_window (activity, code, order_id, order_line_id, scene, digest, authentic, \
         result_code, attempts, first_at, last_at, state) SELECT 'releaseLicenseCode', 'X' || i, '', '', \
         '', x'', 0, '000001', 1, 4000000000000, 4000000000000, 'open' FROM n",
    );
    assert_eq!(daemon.reply(&forged(&freeze("PL-STRANGE"))).await, "000001");
    assert_eq!(daemon.reply(&forged(&freeze("PL2"))).await, "000001");
    let open =
        until(&daemon, "retry_windows", |items| items.iter().any(|item| item["code"] == "PL2"))
            .await;
    assert_eq!(open.len(), 102, "one hundred of strangers, and two that name a code we hold");
    assert!(open.contains(&before[0]), "as it was: {before:?}");
    assert_eq!(daemon.see("/v1/guard").await["retry_windows_total"], 102);
    let kind = ("retry_windows".to_owned(), "warning".to_owned());
    assert!(kinds_of_alarms(&daemon).await.contains(&kind));
    // Nobody repeats them: they are forgotten, and no event tells of them.
    sql(
        &daemon,
        &format!(
            "UPDATE retry_window SET first_at = {0}, last_at = {0}",
            now().as_ms() - THREE_HOURS
        ),
    );
    daemon.order("/v1/jobs/activation/run", Value::Null).await;
    let given_up = until(&daemon, "restart_list", |items| !items.is_empty()).await;
    assert_eq!((given_up.len(), &given_up[0]["order_id"]), (1, &json!("CS-1")), "{given_up:?}");
    assert!(list(&daemon, "retry_windows").await.is_empty());
    assert!(!daemon.kinds("PL2").await.contains(&"alarm".to_owned()));
    assert_eq!(daemon.state("PL2").await, "activated");
}

#[tokio::test]
async fn a_freeze_that_a_later_call_has_overtaken_is_not_to_be_restarted() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    sql(
        &daemon,
        "INSERT INTO retry_window (activity, code, order_id, order_line_id, scene, digest, \
         authentic, result_code, attempts, first_at, last_at, state, given_up_at) VALUES \
         ('updateLicenseCodeStatus', 'PL1', '', '', 'FREEZE', x'', 1, '000005', 61, 1, 2, 'restart', 3)",
    );
    assert_eq!(daemon.callback(&unfreeze("PL1")).await, "000000");
    let list = list(&daemon, "restart_list").await;
    let advice = list[0]["what_to_do"].as_str().expect("a text");
    assert!(advice.contains("do not restart it"), "{advice}");
    assert_eq!((&list[0]["order_id"], &list[0]["code"]), (&Value::Null, &json!("PL1")));
    assert_eq!(daemon.see("/v1/guard").await["failed_orders"]["count"], 0, "it has no order");
}
