//! A million events: how long `log` takes by each of its selections, the timeline and the admin page of a code
//! with a long history, and the memory that an export of a hundred thousand codes and an archive need.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench that cannot go on ends"
)]

mod rig;

use authcoded::domain::license::{Code, OrderId};
use authcoded::domain::time::{DAY_MS, Timestamp};
use authcoded::domain::transition::{EventDraft, EventKind, Source};
use authcoded::store::{Store, StoreError};
use rig::daemon::{Daemon, Setting};
use rig::figures::{median, met};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const EVENTS: usize = 1_000_000;
const CODES: usize = 100_000;
/// One event in so many is of a rare kind.
const RARE: usize = 100_000;
/// One event in so many is of one code.
const OF_ONE: usize = 100;
/// Events stored in one transaction.
const BATCH: usize = 20_000;
/// That code.
const LONG: usize = 4_711;
const ROUNDS: usize = 5;
const GOAL_MS: f64 = 100.0;
/// The events lie this far apart: all of them in about a year.
const APART_MS: i64 = 30_000;

fn main() {
    let folder = rig::folder();
    let began = Instant::now();
    rig::store_codes(&folder.path().join("data"), CODES);
    let first = rig::now().plus_ms(-APART_MS * i64::try_from(EVENTS).expect("a million"));
    store_events(&folder.path().join("data"), first);
    println!("{EVENTS} events of {CODES} codes, stored in {:.0} s", began.elapsed().as_secs_f64());
    let setting = Setting { keep_alive: false, log_level: "warn", marketplace: None };
    let daemon = Daemon::start(folder.path(), setting);
    daemon.settle();

    let code = rig::code(LONG);
    let day = |day: i64| first.plus_ms(day * DAY_MS).to_string();
    let timeline = timed(|| {
        let events = daemon.ask(&format!("/v1/licenses/{code}/events?limit=1000"));
        assert_eq!(events["items"].as_array().map(Vec::len), Some(1_000));
    });
    tell(&format!("GET events of a code that has {}", EVENTS / OF_ONE), timeline);
    let cookie = daemon.sign_in();
    let page = timed(|| {
        let page = daemon.page(&format!("/licenses/{code}"), &cookie);
        assert_eq!(page.matches("kind-renewed").count(), 100);
    });
    tell("its admin page", page);
    for args in [
        vec!["--code", &code],
        vec!["--order", "CS0000000000000040"],
        vec!["--kind", "contradiction"],
        vec!["--source", "operator"],
        vec!["--source", "callback", "--since", &day(200), "--until", &day(201)],
        vec!["--since", &day(200), "--until", &day(201)],
        vec!["--since", &day(1), "--until", &day(300)],
        vec!["--kind", "contradiction", "--since", &day(100)],
    ] {
        let took = timed(|| {
            let mut log = command(folder.path(), "log");
            let output = log.args(&args).arg("--json").output().expect("it runs");
            assert!(output.status.success() && output.stdout.len() > 10, "{output:?}");
        });
        tell(&format!("log {}", args.join(" ")), took);
    }
    let archive = folder.path().join("all.tar");
    let archive = archive.to_str().expect("a path");
    for (name, args) in [
        ("license", vec!["export"]),
        ("evidence", vec![archive, "--code", &code]),
        ("evidence", vec!["verify", archive]),
    ] {
        let (took, peak) = peak(command(folder.path(), name).args(&args));
        println!("{name} {}: {took:.1?}, at most {} MiB", args[0], peak / 1024);
    }
    println!("daemon afterwards: at most {} MiB", daemon.peak_kib() / 1024);
}

fn store_events(data: &Path, first: Timestamp) {
    let (store, held) = Store::open(data, |_, _| {}).expect("the store opens");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for from in (0..EVENTS).step_by(BATCH) {
            let stored: Result<(), StoreError> = store
                .write(move |tx| {
                    (from..from + BATCH).try_for_each(|n| {
                        let (source, event) = event(n);
                        let of = if n % OF_ONE == 1 { LONG } else { n * 7_919 % CODES };
                        let code = Code::parse(&rig::code(of)).expect("a code");
                        let at = first.plus_ms(APART_MS * i64::try_from(n).expect("a million"));
                        tx.append_event(at, Some(&code), source, &event)
                    })
                })
                .await;
            stored.expect("events are stored");
        }
        store.shut_down();
        held.writer_end.await.expect("the writer ends");
    });
}

fn event(n: usize) -> (Source, EventDraft) {
    if n % RARE == RARE / 2 {
        return (Source::Operator, EventDraft::note(EventKind::Contradiction, "told to a human"));
    }
    let mut event =
        EventDraft::note(EventKind::Renewed, "renewed to another end, as the callback says");
    event.order_id =
        n.is_multiple_of(10).then(|| OrderId::parse(&format!("CS{n:016}")).expect("an order"));
    (Source::Callback, event)
}

fn command(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authcoded"));
    command.arg("--config").arg(folder.join("authcoded.toml")).arg(name);
    command
}

fn timed(mut work: impl FnMut()) -> f64 {
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64() * 1e3
    });
    median(rounds.collect())
}

fn tell(what: &str, ms: f64) {
    println!("{what}: {ms:.1} ms (goal {GOAL_MS} ms: {})", met(ms < GOAL_MS));
}

/// How long it runs, and the most memory it ever had, in KiB.
fn peak(command: &mut Command) -> (Duration, u64) {
    let began = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().expect("it runs");
    let mut peak = 0;
    let status = loop {
        // What it had is seen until it ends.
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
        let line =
            status.as_ref().ok().and_then(|text| text.lines().find(|l| l.starts_with("VmHWM:")));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        peak = kib.unwrap_or(peak).max(peak);
        if let Some(status) = child.try_wait().expect("its status") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{command:?}");
    (began.elapsed(), peak)
}
