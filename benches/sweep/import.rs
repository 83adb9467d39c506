//! `license import` of many lines by the real command, killed at a random point and repeated.

use super::rig;
use super::rig::daemon::{Daemon, Setting};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LINES: usize = 100_000;
/// One line in so many is bad.
const BAD: usize = 100;
/// It is killed when so many codes are registered, and up to as many more as chance says.
const FROM: u64 = 10_000;
const SPREAD: u64 = 70_000;
const PATIENCE: Duration = Duration::from_secs(100);

/// Prints how long it takes, and checks that nothing is lost or doubled.
pub(crate) fn measure() {
    let folder = rig::folder();
    let setting = Setting { keep_alive: false, log_level: "warn", marketplace: None };
    let daemon = Daemon::start(folder.path(), setting);
    daemon.settle();
    let file = folder.path().join("codes.csv");
    std::fs::write(&file, text()).expect("written");
    let killed_at = FROM + rig::now().as_ms().unsigned_abs() * 7_919 % SPREAD;

    let began = Instant::now();
    let mut first = import(folder.path(), &file);
    let mut first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    while issued(&daemon) < killed_at {
        assert!(first.try_wait().expect("its status").is_none(), "it ended before {killed_at}");
        assert!(began.elapsed() < PATIENCE, "the import takes too long");
        std::thread::sleep(Duration::from_millis(5));
    }
    first.kill().expect("killed");
    first.wait().expect("its end");
    let (before, half) = (issued(&daemon), began.elapsed().as_secs_f64());
    let output = import(folder.path(), &file).output().expect("it runs");
    let whole = began.elapsed().as_secs_f64();
    let told = String::from_utf8_lossy(&output.stdout);
    println!("\nimport of {LINES} lines, killed after {before} codes and repeated:");
    println!("    {half:.1} s until then, {:.1} s for all of it again: {told}", whole - half);
    let good = LINES - LINES / BAD;
    assert_eq!(issued(&daemon), good as u64, "lost or doubled");
    drop(daemon);
    let database = folder.path().join("data/authcoded.db");
    let database = rusqlite::Connection::open(database).expect("the database");
    let events = "SELECT count(*), count(DISTINCT code) FROM event WHERE kind = 'registered'";
    let told: (i64, i64) =
        database.query_row(events, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("the events");
    let each_once = i64::try_from(good).expect("some thousands");
    assert_eq!(told, (each_once, each_once), "registered events, and codes that have one");
    let bad = String::from_utf8_lossy(&output.stderr);
    let bad = bad.lines().filter(|line| line.starts_with("line ")).count();
    assert_eq!(bad, LINES / BAD, "bad lines that are named");
    println!("    {good} codes, one registration each; {bad} bad lines named");
}

fn text() -> String {
    let mut text = String::new();
    for n in 1..=LINES {
        if n.is_multiple_of(BAD) {
            text.push_str(&"x".repeat(65));
        } else {
            let _ = write!(text, "{}", rig::code(n));
        }
        text.push('\n');
    }
    text
}

fn import(folder: &Path, file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authcoded"));
    command.arg("--config").arg(folder.join("authcoded.toml"));
    command.args(["license", "import", "--not-received", "--no-activate"]).arg(file);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn issued(daemon: &Daemon) -> u64 {
    daemon.ask("/v1/summary")["licenses"]["issued"].as_u64().expect("a count")
}
