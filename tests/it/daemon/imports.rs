//! `license import` by the real program: bad lines, a death in the middle, and a database built anew.

use super::market::{Api, Market, alive, error, expired, released};
use super::wire::date_in_days;
use super::{Daemon, PATIENCE, wait_until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// Lines of the file; one in [`BAD`] is bad.
const LINES: usize = 5_000;
const BAD: usize = 100;
/// So many codes are registered when the import dies.
const ENOUGH: i64 = 1_000;

/// The command that imports `file`, with these flags.
fn import(config: &Path, file: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authcoded"));
    command.arg("--config").arg(config).args(["license", "import"]).args(flags).arg(file);
    command
}

/// The configuration as the command line needs it: the operators' port was the kernel's choice.
pub(super) fn config(daemon: &Daemon) -> PathBuf {
    let config = daemon.folder().join("client.toml");
    let text = std::fs::read_to_string(daemon.config()).expect("a configuration");
    let (before, admin) = text.split_once("[admin]").expect("a section");
    let admin = admin.replacen("127.0.0.1:0", &daemon.admin_addr().to_string(), 1);
    std::fs::write(&config, format!("{before}[admin]{admin}")).expect("written");
    config
}

fn finished(mut child: Child) -> Output {
    let began = Instant::now();
    while child.try_wait().expect("its status").is_none() {
        if began.elapsed() > PATIENCE * 4 {
            child.kill().expect("killed");
            panic!("the import does not end");
        }
        std::thread::sleep(super::LOOK_EVERY);
    }
    child.wait_with_output().expect("its output")
}

/// One number from the database of a daemon that has stopped.
fn number(daemon: &Daemon, sql: &str) -> i64 {
    let file = daemon.folder().join("data/authcoded.db");
    let connection = rusqlite::Connection::open(file).expect("the database");
    connection.query_row(sql, [], |row| row.get(0)).expect(sql)
}

/// 1 line in 100 is bad; the import is killed in the middle and repeated.
#[tokio::test]
async fn an_import_that_was_killed_is_repeated_and_doubles_nothing() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    let file = daemon.folder().join("codes.csv");
    let bad = |n: &usize| n.is_multiple_of(BAD);
    let line =
        |n: usize| if bad(&n) { format!("{}\n", "x".repeat(65)) } else { format!("PL{n}\n") };
    std::fs::write(&file, (1..=LINES).map(line).collect::<String>()).expect("written");
    let mut import = import(&config(&daemon), &file, &["--not-received", "--no-activate"]);

    let mut first = import.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it runs");
    wait_until("the import to be in the middle", async || {
        let issued = daemon.see("/v1/summary").await["licenses"]["issued"].as_i64();
        (issued >= Some(ENOUGH)).then_some(())
    })
    .await;
    first.kill().expect("killed");
    let told = first.wait_with_output().expect("its output").stdout;
    assert!(told.is_empty(), "it had ended: {}", String::from_utf8_lossy(&told));

    let output = finished(import.stderr(Stdio::piped()).spawn().expect("it runs"));
    assert_eq!(output.status.code(), Some(1), "some lines are bad");
    let told = String::from_utf8_lossy(&output.stdout);
    let counts: Vec<i64> = told.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [registered, known, bad_lines] = counts[..] else { panic!("{told}") };
    let good = i64::try_from(LINES - LINES / BAD).expect("some thousands");
    assert_eq!((registered + known, bad_lines), (good, 50), "{told}");
    assert!(known >= ENOUGH && registered > 0, "{told}");
    let named = String::from_utf8_lossy(&output.stderr);
    let named: Vec<&str> = named.lines().filter(|line| line.contains("longer than 64")).collect();
    let in_order: Vec<String> =
        (1..=LINES).filter(bad).map(|n| format!("line {n}: not a code: longer than 64")).collect();
    assert_eq!(named.len(), in_order.len());
    for (named, line) in named.iter().zip(&in_order) {
        assert!(named.starts_with(line.as_str()), "{named}, not {line}");
    }

    daemon.stop().await;
    let events = "FROM event WHERE kind = 'registered'";
    assert_eq!(number(&daemon, "SELECT count(*) FROM license"), good);
    assert_eq!(number(&daemon, &format!("SELECT count(*) {events}")), good);
    assert_eq!(number(&daemon, &format!("SELECT count(DISTINCT code) {events}")), good);
}

/// An empty database and a list of codes that were in use: the marketplace tells the rest.
#[tokio::test]
async fn a_database_is_rebuilt_from_a_list_of_codes() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let (ahead, past) = (date_in_days(200), date_in_days(-20));
    market.says(Api::Query, "ALIVE", [alive(&ahead)]);
    market.says(Api::Query, "EXPIRED", [expired(&past)]);
    market.says(Api::Query, "RELEASED", [released()]);
    market.says(Api::Query, "WAITING", [error(200, "92020011")]);
    market.says(Api::Query, "STRANGE", [error(200, "92020005")]);
    let codes = ["ALIVE", "EXPIRED", "RELEASED", "WAITING", "STRANGE"];
    let file = daemon.folder().join("codes.csv");
    std::fs::write(&file, codes.join("\n")).expect("written");
    let mut import = import(&config(&daemon), &file, &["--rehydrate"]);
    let output = finished(import.stdout(Stdio::piped()).spawn().expect("it runs"));
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("5 registered, 0 already known, 0 bad"), "{told}");
    assert!(told.contains("the sweep has begun"), "{told}");

    let counts = wait_until("the sweep is over", async || {
        let jobs = daemon.items("/v1/jobs").await;
        let sweep = jobs.into_iter().find(|job| job["name"] == "reconcile").expect("a job");
        (sweep["last_counts"]["seen"] == 5).then(|| sweep["last_counts"].clone())
    })
    .await;
    let expected = json!({"seen": 5, "asked": 5, "failed": 1, "repaired": 3, "left": 0});
    assert_eq!(counts, expected);
    for (code, state, end, reason) in [
        ("ALIVE", "activated", json!(ahead), "active"),
        ("EXPIRED", "activated", json!(past), "expired"),
        ("RELEASED", "released", Value::Null, "released"),
        ("WAITING", "issued", Value::Null, "not_activated"),
        ("STRANGE", "issued", Value::Null, "not_activated"),
    ] {
        let license = daemon.license(code).await;
        assert_eq!(license["state"], state, "{license}");
        if !end.is_null() {
            assert_eq!(license["expires_text"], end, "{license}");
        }
        assert_eq!(daemon.reason(code).await, reason, "{code}");
        assert_eq!(market.asked(code), [Api::Query], "nothing is activated again");
    }
    assert!(daemon.kinds("STRANGE").await.contains(&"contradiction".to_owned()));
    assert!(!daemon.license("EXPIRED").await["end_confirmed_at"].is_null());
}
