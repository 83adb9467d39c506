//! A backup of a daemon under load, and the way back (hazards.md, SQLite).

use super::imports::config;
use super::market::{Api, Market, alive};
use super::wire::{date_in_days, renewal};
use super::{Daemon, Setup, signed, wait_until};
use authcoded::store::examine;
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const CODES: usize = 4;

fn run(config: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_authcoded"))
        .arg("--config")
        .arg(config)
        .args(args)
        .output()
        .expect("the program runs")
}

fn told(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON document")
}

/// Every row of every table but the facts, which a restore adds to.
fn rows(file: &Path) -> BTreeMap<String, Vec<Vec<Cell>>> {
    let connection = rusqlite::Connection::open(file).expect("a database");
    let mut names = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'fact'")
        .expect("a statement");
    let names: Vec<String> = names
        .query_map([], |row| row.get(0))
        .expect("rows")
        .map(|name| name.expect("a name"))
        .collect();
    let all = |name: String| {
        let mut statement =
            connection.prepare(&format!("SELECT * FROM \"{name}\"")).expect("a statement");
        let columns = statement.column_count();
        let rows = statement
            .query_map([], |row| (0..columns).map(|column| row.get(column)).collect())
            .expect("rows");
        let rows = rows.map(|row| row.expect("a row")).collect();
        (name, rows)
    };
    names.into_iter().map(all).collect()
}

/// The rows of `license list --json`, without what the sweep after a start changes in them.
fn licenses(config: &Path) -> Vec<Value> {
    let list = told(&run(config, &["license", "list", "--json", "--limit", "0"]));
    let mut list = list.as_array().expect("a list").clone();
    for license in &mut list {
        license.as_object_mut().expect("an object").remove("marketplace_checked_at");
    }
    list
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_one_instant_and_comes_back_whole() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    for n in 0..CODES {
        daemon.activated(&format!("PL{n}")).await;
    }
    let (address, over) = (daemon.callback_addr(), Arc::new(AtomicBool::new(false)));
    let load: Vec<_> = (0..CODES)
        .map(|n| {
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                let mut calls = 0;
                while !over.load(Ordering::Relaxed) {
                    let order = format!("CS-{n}-{calls}");
                    let call = signed(&renewal(&format!("PL{n}"), &order, &date_in_days(400)));
                    let (path, length) = (super::PATH, call.body.len());
                    let head = format!(
                        "POST {path}?{} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n",
                        call.query
                    );
                    let answer =
                        super::wire::raw(address, &[head.as_bytes(), &call.body].concat()).await;
                    assert!(answer.contains(r#"{"resultCode":"000000""#), "{order}: {answer:?}");
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let before = daemon.items("/v1/events?limit=1").await[0]["id"].as_i64().expect("an id");
    wait_until("the load to run", async || {
        let newest = daemon.items("/v1/events?limit=1").await[0]["id"].as_i64();
        (newest > Some(before + 20)).then_some(())
    })
    .await;
    let config = config(&daemon);
    let file = daemon.folder().join("copy.db");
    let name = file.to_str().expect("UTF-8").to_owned();
    let made = {
        let (config, name) = (config.clone(), name.clone());
        let made = tokio::task::spawn_blocking(move || run(&config, &["backup", &name, "--json"]));
        told(&made.await.expect("it ran"))
    };
    let at_copy = made["rows"]["event"].as_i64().expect("a number");
    wait_until("the load to go on behind the backup", async || {
        let newest = daemon.items("/v1/events?limit=1").await[0]["id"].as_i64();
        (newest > Some(at_copy + 20)).then_some(())
    })
    .await;
    over.store(true, Ordering::Relaxed);
    for worker in load {
        assert!(worker.await.expect("no call failed") > 0);
    }
    assert!(at_copy > before, "it was made under load");

    // One instant: what the rows say is what the events up to there say.
    let copied = rows(&file);
    assert_eq!(copied["event"].len(), usize::try_from(at_copy).expect("small"));
    let connection = rusqlite::Connection::open(&file).expect("a database");
    let off: i64 = connection
        .query_row(
            "SELECT count(*) FROM license WHERE renewals_in_force <> \
             (SELECT count(*) FROM event WHERE event.code = license.code AND kind = 'renewed')",
            [],
            |row| row.get(0),
        )
        .expect("a count");
    assert_eq!(off, 0);
    drop(connection);

    // The running daemon keeps its folder.
    let refused = run(&config, &["restore", &name]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("another authcoded is running"));

    daemon.stop().await;
    let lived = rows(&daemon.folder().join("data/authcoded.db"));
    let restored = told(&run(&config, &["restore", &name, "--json"]));
    assert_eq!(restored["chain_end"], made["chain_end"]);
    let database = daemon.folder().join("data/authcoded.db");
    assert_eq!(rows(&database), copied);
    let replaced = Path::new(restored["replaced"].as_str().expect("a file"));
    assert_eq!(rows(replaced), lived, "what was replaced is kept");
    assert_eq!(lived["event"][..copied["event"].len()], copied["event"][..], "its beginning");

    // After the start every code is asked about before it is relied on.
    market.trouble(None);
    let asked: Vec<usize> =
        (0..CODES).map(|n| market.count_of(Api::Query, &format!("PL{n}"))).collect();
    daemon.again().await;
    for (n, asked) in asked.into_iter().enumerate() {
        let code = format!("PL{n}");
        wait_until("the code to be asked about", async || {
            (market.count_of(Api::Query, &code) > asked).then_some(())
        })
        .await;
    }
    assert_eq!(daemon.callback(&renewal("PL0", "CS-after", &date_in_days(500))).await, "000000");
    daemon.stop().await;
    let held = examine(&database).expect("the chain goes on and holds");
    assert!(held.rows["event"] > at_copy);
}

#[tokio::test]
async fn a_quiet_daemon_lists_the_same_codes_after_a_restore() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    let end = date_in_days(300);
    for n in 0..CODES {
        let code = format!("PL{n}");
        daemon.activated(&code).await;
        market.says(Api::Query, &code, [alive(&end)]);
        daemon.order(&format!("/v1/licenses/{code}/query"), json!({})).await;
    }
    let file = daemon.folder().join("copy.db");
    let name = file.to_str().expect("UTF-8").to_owned();
    let listed = licenses(&config(&daemon));
    assert_eq!(listed.len(), CODES);
    told(&run(daemon.config().as_path(), &["backup", &name, "--json"]));
    daemon.register("PL-LATER", true).await;
    assert_eq!(licenses(&config(&daemon)).len(), CODES + 1);
    // A second backup of the name is refused and harms nothing.
    let refused = run(daemon.config().as_path(), &["backup", &name]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--force"), "{refused:?}");
    daemon.stop().await;
    told(&run(daemon.config().as_path(), &["restore", &name, "--json"]));
    for n in 0..CODES {
        market.says(Api::Query, &format!("PL{n}"), [alive(&end)]);
    }
    daemon.again().await;
    assert_eq!(licenses(&config(&daemon)), listed);
}

#[tokio::test]
async fn the_upkeep_makes_a_backup_where_it_is_told_to() {
    let market = Market::start().await;
    let sections = "[backup]\nfolder = \"copies\"\nkeep = 1".to_owned();
    let setup = Setup { endpoints: vec![market.http()], sections, ..Setup::default() };
    let daemon = Daemon::with(setup).await;
    daemon.register("PL1", false).await;
    let folder = daemon.folder().join("copies");
    let copies = || -> Vec<_> {
        let entries = std::fs::read_dir(&folder).into_iter().flatten();
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    daemon.order("/v1/jobs/upkeep/run", json!({})).await;
    let made = wait_until("the upkeep to end", async || {
        let mut lines = daemon.lines().into_iter().rev();
        let line = lines.find(|line| {
            line["job"] == "upkeep"
                && line["slot"].as_str().is_some_and(|s| s.starts_with("manual"))
        })?;
        serde_json::from_str::<Value>(line["counts"].as_str()?).ok()
    })
    .await;
    let file = made["backup"].as_str().expect("a file");
    assert_eq!(copies(), [Path::new(file)], "one is kept");
    assert_eq!(examine(Path::new(file)).expect("whole").rows["license"], 1);
}
