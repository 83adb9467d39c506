//! The life of the process: starts that are refused, stops that fail no call, restarts that repeat nothing
//! (product.md §5, §8; hazards.md, HTTP and SQLite).

use super::market::Market;
use super::wire::{date_in_days, freeze, raw, renewal};
use super::{Daemon, Setup, signed, wait_until};
use crate::peer::Say;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_stop_answers_the_calls_under_way_and_takes_no_new_ones() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    // Half a request, and a local connection that is kept: neither may hold up the end.
    let half = TcpStream::connect(daemon.callback_addr()).await.expect("a connection");
    let kept = TcpStream::connect(daemon.admin_addr()).await.expect("a connection");
    market.trouble(Some(Say::Hang));
    let call = signed(&freeze("PL1"));
    {
        let mut waiting = std::pin::pin!(daemon.reply(&call));
        let asked = async || (market.count() > 0).then_some(());
        tokio::select! {
            code = waiting.as_mut() => panic!("answered before its time: {code}"),
            () = wait_until("the marketplace is asked", asked) => {}
        }
        daemon.terminate();
        let closed = async || TcpStream::connect(daemon.callback_addr()).await.err().map(drop);
        tokio::select! {
            code = waiting.as_mut() => panic!("answered before its time: {code}"),
            () = wait_until("new calls are not taken", closed) => {}
        }
        assert_eq!(waiting.await, "000000");
    }
    daemon.ended().await;
    drop((half, kept));
    daemon.again().await;
    assert_eq!(daemon.verdict("PL1").await, "orphan", "what was answered is stored");
}

#[tokio::test]
async fn a_restart_under_load_fails_no_call_while_the_socket_is_held() {
    let market = Market::start().await;
    let socket = Arc::new(TcpListener::bind("127.0.0.1:0").expect("a port"));
    let address = socket.local_addr().expect("its address");
    let setup = Setup { endpoints: vec![market.http()], held: Some(socket), ..Setup::default() };
    let mut daemon = Daemon::with(setup).await;
    assert_eq!(daemon.callback_addr(), address);
    daemon.activated("PL1").await;
    let over = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|worker| {
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                let mut orders = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let order = format!("CS-{worker}-{}", orders.len());
                    let call = signed(&renewal("PL1", &order, &date_in_days(400)));
                    let head = format!(
                        "POST {}?{} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
                        super::PATH,
                        call.query,
                        call.body.len()
                    );
                    let answer = raw(address, &[head.as_bytes(), &call.body].concat()).await;
                    assert!(answer.contains(r#"{"resultCode":"000000""#), "{order}: {answer:?}");
                    orders.push(order);
                }
                orders
            })
        })
        .collect();
    for _ in 0..4 {
        daemon.restart().await;
    }
    over.store(true, Ordering::Relaxed);
    let mut orders = Vec::new();
    for worker in load {
        orders.extend(worker.await.expect("no call failed"));
    }
    assert!(orders.len() > 8, "{} calls", orders.len());
    let events = daemon.events("PL1").await;
    for order in &orders {
        let applied = events.iter().filter(|event| event["order_id"] == order.as_str()).count();
        assert_eq!(applied, 1, "{order}");
    }
}

#[tokio::test]
async fn a_second_daemon_on_the_folder_is_refused_and_harms_nothing() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.register("PL1", true).await;
    let (code, told) = daemon.run_second();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
    let last = told.lines().last().expect("it says why");
    assert!(last.contains("another authcoded is running on") && last.contains("data"), "{told}");
    assert_eq!(daemon.state("PL1").await, "received");
    assert_eq!(daemon.callback(&freeze("PL1")).await, "000000");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_by_its_key() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    daemon.stop().await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address");
    let good = std::fs::read_to_string(daemon.config()).expect("the file");
    for section in ["callback", "admin", "software"] {
        let from = good.find(&format!("[{section}]")).expect("the section");
        let (before, after) = good.split_at(from);
        let after = after.replacen("127.0.0.1:0", &address.to_string(), 1);
        std::fs::write(daemon.config(), format!("{before}{after}")).expect("written");
        let (code, told) = daemon.run_second();
        assert!(code.is_some_and(|code| code != 0), "{code:?}");
        let last = told.lines().last().expect("it says why");
        let key = format!("{section}.listen");
        assert!(last.contains(&key) && last.contains(&address.to_string()), "{told}");
    }
    std::fs::write(daemon.config(), good).expect("written");
    daemon.again().await;
}

#[tokio::test]
async fn a_configuration_or_database_that_is_wrong_stops_the_start_before_anything_is_changed() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    daemon.register("PL1", false).await;
    daemon.stop().await;
    let good = std::fs::read_to_string(daemon.config()).expect("the file");
    let refused = |daemon: &Daemon, words: &[&str]| {
        let (code, told) = daemon.run_second();
        assert!(code.is_some_and(|code| code != 0), "{code:?}");
        for word in words {
            assert!(told.contains(word), "{word:?} is not in {told}");
        }
    };
    for (find, put, words) in [
        ("[admin]", "[admin]\ncolour = 1", &["authcoded.toml:", "colour"][..]),
        ("sk-file = \"sk\"", "sk-file = \"nothing\"", &["marketplace.sk-file", "no such file"]),
        (
            "endpoints = [",
            "endpoints = [\"http://mkt.example.com\",",
            &["plain http", "authcoded.toml:"],
        ),
        ("\"software-token\"", "\"admin-token\"", &["software.token-file", "operators' token"]),
    ] {
        assert!(good.contains(find), "{find}");
        std::fs::write(daemon.config(), good.replacen(find, put, 1)).expect("written");
        refused(&daemon, words);
    }
    std::fs::write(daemon.config(), &good).expect("written");
    let key = daemon.folder().join("access-key-0");
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&key, mode(0o644)).expect("its mode");
    refused(&daemon, &["callback.access-key-files", "0644"]);
    std::fs::set_permissions(&key, mode(0o600)).expect("its mode");

    let file = daemon.folder().join("data/authcoded.db");
    let whole = std::fs::read(&file).expect("the database");
    for damaged in [
        b"not a database, but long enough to look like one".repeat(100),
        Vec::from(&whole[..5_000]),
    ] {
        std::fs::write(&file, &damaged).expect("written");
        refused(&daemon, &["authcoded.db"]);
        assert_eq!(std::fs::read(&file).expect("the database"), damaged, "left as it was");
    }
    std::fs::write(&file, whole).expect("written");
    daemon.again().await;
    // The sweep at the start may have asked about it already.
    assert_eq!(daemon.license("PL1").await["code"], "PL1");
}

#[tokio::test]
async fn a_slot_runs_once_over_restarts_and_crashes_and_each_start_beats_its_heart() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    let runs = |daemon: &Daemon| {
        let lines = daemon.lines().into_iter();
        lines.filter(|line| line["job"] == "upkeep" && line["slot"].is_string()).count()
    };
    // A run that a stop interrupts is not told as one.
    wait_until("the upkeep is caught up", async || (runs(&daemon) > 0).then_some(())).await;
    for round in 0..3 {
        if round == 1 {
            daemon.restart().await;
        } else if round == 2 {
            daemon.kill();
            daemon.again().await;
        }
        wait_until("the heartbeat at the start", async || {
            (daemon.items("/v1/probes").await.len() > round).then_some(())
        })
        .await;
    }
    let probes = daemon.items("/v1/probes").await;
    let slots: Vec<_> =
        probes.iter().map(|probe| probe["slot"].as_str().expect("a slot")).collect();
    let (starts, planned): (Vec<&str>, Vec<&str>) =
        slots.iter().partition(|slot| slot.starts_with("start "));
    // A slot may turn while this runs; none may come twice.
    let once: std::collections::BTreeSet<_> = planned.iter().collect();
    assert_eq!(once.len(), planned.len(), "{slots:?}");
    assert!(!planned.is_empty() && starts.len() >= 2, "{slots:?}");
    assert_eq!(runs(&daemon), 1, "caught up once");
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    for round in 0..5 {
        let order = format!("CS-{round}");
        assert_eq!(
            daemon.callback(&renewal("PL1", &order, &date_in_days(400 + round))).await,
            "000000"
        );
        daemon.kill();
        daemon.again().await;
        let newest = daemon.items("/v1/events?code=PL1&kind=renewed&limit=1").await;
        assert_eq!(newest[0]["order_id"], json!(order));
        assert_eq!(daemon.last_callback("PL1").await["verdict"], "applied");
    }
}

#[tokio::test]
async fn a_writer_that_cannot_commit_ends_the_process_and_acknowledges_nothing() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    // Somebody else writes to the database and does not come to an end.
    let file = daemon.folder().join("data/authcoded.db");
    let stranger = rusqlite::Connection::open(file).expect("the database");
    stranger.execute_batch("BEGIN IMMEDIATE").expect("the writer waits");
    let call = renewal("PL1", "CS-1", &date_in_days(400));
    assert_eq!(daemon.callback(&call).await, "000005");
    daemon.ended_with(1, "the daemon ends with its writer").await;
    let said = |word: &str| daemon.log().iter().any(|line| line.contains(word));
    assert!(said("a commit failed") && said("the writer had ended before"), "{:?}", daemon.log());
    stranger.execute_batch("ROLLBACK").expect("given free");
    drop(stranger);
    daemon.again().await;
    assert_eq!(daemon.callback(&call).await, "000000", "it comes again");
    assert_eq!(daemon.last_callback("PL1").await["verdict"], "applied");
}

#[tokio::test]
async fn an_idle_daemon_stops_at_once() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    assert_eq!(daemon.admin("GET", "/v1/summary", &Value::Null).await.status, 200);
    let begun = Instant::now();
    daemon.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}
