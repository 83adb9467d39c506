//! `authcoded evidence`: an archive made beside a running daemon, checked by the program and by a script that
//! shares no code with it, and spoiled bit by bit.

use super::chains::rand_of::{Seeded, number};
use super::chains::{Flipped, closed, fill, note_heads};
use super::daemon::market::Market;
use super::daemon::wire::{date_in_days, renewal};
use super::daemon::{ACCESS_KEY, ADMIN_TOKEN, Daemon, signed, wait_until};
use authcoded::store::Store;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;
use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/verify-evidence.py");
/// Bits flipped by default; each is checked by both.
const FLIPS: usize = 40;

fn evidence(config: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authcoded"));
    command.arg("--config").arg(config).arg("evidence").args(args);
    command.output().expect("the program starts")
}

/// `None` where there is no Python.
fn by_script(args: &[&str]) -> Option<Output> {
    let output = Command::new("python3").arg(SCRIPT).args(args).output();
    if output.is_err() {
        println!("SKIPPED: there is no python3 here");
    }
    output.ok()
}

fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn both_accept(archive: &str, more: &[&str]) {
    let ours = evidence(Path::new("/nowhere"), &[&["verify", archive], more].concat());
    assert!(ours.status.success(), "{}", told(&ours));
    if let Some(script) = by_script(&[&[archive], more].concat()) {
        assert!(script.status.success(), "{}", told(&script));
        assert_eq!(said_of_chains(&ours), said_of_chains(&script));
    }
}

fn both_refuse(archive: &str, more: &[&str], why: &str) {
    let ours = evidence(Path::new("/nowhere"), &[&["verify", archive], more].concat());
    assert!(!ours.status.success(), "{why}: taken: {}", told(&ours));
    if let Some(script) = by_script(&[&[archive], more].concat()) {
        assert!(!script.status.success(), "{why}: taken by the script: {}", told(&script));
    }
}

/// Each chain with its head.
fn said_of_chains(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let heads = text.lines().filter(|line| line.contains("every link holds up to"));
    heads.map(|line| line.rsplit("up to").next().expect("a head").to_owned()).collect()
}

/// A file of the archive as text.
fn part(archive: &Path, name: &str) -> String {
    let mut tar = tar::Archive::new(std::fs::File::open(archive).expect("an archive"));
    let mut entries = tar.entries().expect("entries").map(|entry| entry.expect("an entry"));
    let mut entry =
        entries.find(|entry| entry.path().expect("a name").to_str() == Some(name)).expect(name);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut entry, &mut text).expect("text");
    text
}

/// A folder with a configuration and a database of `rows` events and callbacks, numbered from `first` on.
async fn filled(first: i64, rows: i64) -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let (store, held) = Store::open(&folder.path().join("data"), |_, _| {}).expect("opened");
    for from in (first..first + rows).step_by(5_000) {
        fill(&store, from, (first + rows).min(from + 5_000)).await;
    }
    note_heads(&store).await;
    fill(&store, first + rows, first + rows + 20).await;
    closed(store, held).await;
    let config = folder.path().join("authcoded.toml");
    let text = "data-dir = \"data\"\n[callback]\naccess-key-files = [\"k\"]\n\
                [marketplace]\nak-file = \"a\"\nsk-file = \"s\"\n\
                [admin]\ntoken-file = \"t\"\n[software]\ntoken-file = \"u\"\n";
    std::fs::write(&config, text).expect("written");
    (folder, config)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_can_be_proved_beside_a_running_daemon_without_telling_of_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    daemon.activated("PL-OTHER").await;
    let call = signed(&renewal("PL1", "CS-1", &date_in_days(400)));
    assert_eq!(daemon.send(&call).await.body["resultCode"], "000000");
    assert_eq!(daemon.callback(&renewal("PL-OTHER", "CS-2", &date_in_days(400))).await, "000000");

    let archive = daemon.folder().join("case.tar");
    let file = archive.to_str().expect("a path");
    let made = evidence(&daemon.config(), &[file, "--code", "PL1"]);
    assert!(made.status.success(), "{}", told(&made));
    let bits = std::fs::metadata(&archive).expect("an archive").permissions().mode();
    assert_eq!(bits & 0o777, 0o600);
    assert!(!archive.with_file_name("case.tar.partial").exists());
    both_accept(file, &[]);
    let again = evidence(&daemon.config(), &[file]);
    assert!(!again.status.success() && told(&again).contains("--force"), "{}", told(&again));

    let whole = String::from_utf8_lossy(&std::fs::read(&archive).expect("bytes")).into_owned();
    let signature = call.query.split("signature=").nth(1).expect("one").split('&').next();
    for secret in [ACCESS_KEY, ADMIN_TOKEN, signature.expect("one"), "PL-OTHER", "CS-2"] {
        assert!(!whole.contains(secret), "{secret:?} is in it");
    }
    let callbacks = part(&archive, "callbacks.jsonl");
    let callback: Value =
        serde_json::from_str(callbacks.lines().next().expect("one")).expect("JSON");
    assert!(callback["head"].as_str().expect("a head").contains("signature=sha256:"), "{callback}");
    let events = part(&archive, "events.jsonl");
    let mut event = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let event = event.rfind(|event| event["kind"] == "renewed").expect("the renewal");
    assert_eq!(event["request_id"], callback["request_id"]);
    wait_until("the same id in the log", async || {
        let lines = daemon.lines();
        lines.into_iter().find(|line| line["request.id"] == callback["request_id"])
    })
    .await;
    let refused = daemon.admin("GET", "/v1/licenses/PL-NONE", &Value::Null).await;
    assert!(refused.body["request_id"].is_string(), "{refused:?}");

    let database = evidence(&daemon.config(), &["verify"]);
    assert!(database.status.success(), "{}", told(&database));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bit_flipped_anywhere_is_found_by_both() {
    let (folder, config) = filled(0, 60).await;
    let good = folder.path().join("good.tar");
    let made = evidence(&config, &[good.to_str().expect("a path"), "--code", "PL7"]);
    assert!(made.status.success(), "{}", told(&made));
    both_accept(good.to_str().expect("a path"), &[]);
    let bytes = std::fs::read(&good).expect("bytes");
    let mut seeded = Seeded::of_the_run("EVIDENCE_SEED");
    let bad = folder.path().join("bad.tar");
    for n in 0..FLIPS {
        let at = match n {
            0 => 0,
            1 => bytes.len() - 1,
            2 => bytes.len() - 1_536,
            _ => seeded.below(bytes.len()),
        };
        let mut spoiled = bytes.clone();
        spoiled[at] ^= 1 << seeded.below(8);
        std::fs::write(&bad, spoiled).expect("written");
        both_refuse(bad.to_str().expect("a path"), &[], &format!("{seeded:?}: byte {at}"));
    }
    for cut in [0, 1, 512, bytes.len() - 512, bytes.len() - 1] {
        std::fs::write(&bad, &bytes[..cut]).expect("written");
        both_refuse(bad.to_str().expect("a path"), &[], &format!("cut at {cut}"));
    }
}

/// One bit of a hundred thousand rows, with an archive made and sealed over it; then one of such an archive. More
/// of them with `EVIDENCE_FLIPS=N`.
#[tokio::test(flavor = "multi_thread")]
async fn one_bit_flipped_in_a_hundred_thousand_rows_is_found_by_both() {
    let began = Instant::now();
    let flips = number("EVIDENCE_FLIPS").unwrap_or(2);
    let mut seeded = Seeded::of_the_run("EVIDENCE_SEED");
    let (folder, config) = filled(0, 50_000).await;
    println!("100,000 rows stored after {:.1?}", began.elapsed());
    let database = folder.path().join("data/authcoded.db");
    let archive = folder.path().join("all.tar");
    let file = archive.to_str().expect("a path");
    for n in 0..flips {
        let raw = rusqlite::Connection::open(&database).expect("opened by hand");
        let flipped = Flipped::anywhere(&raw, n % 2 == 0, 50_000, &mut seeded);
        // A text that is no longer UTF-8 does not even go into an archive.
        if evidence(&config, &[file, "--force"]).status.success() {
            both_refuse(file, &[], &format!("{seeded:?}: {flipped:?}"));
        }
        let refused = evidence(&config, &["verify"]);
        assert!(!refused.status.success(), "{seeded:?}: {flipped:?}: {}", told(&refused));
        flipped.undo(&raw);
    }
    let made = evidence(&config, &[file, "--force"]);
    assert!(made.status.success(), "{}", told(&made));
    both_accept(file, &[]);
    let bad = folder.path().join("bad.tar");
    let mut bytes = std::fs::read(&archive).expect("bytes");
    for _ in 0..flips {
        let (at, bit) = (seeded.below(bytes.len()), 1 << seeded.below(8));
        bytes[at] ^= bit;
        std::fs::write(&bad, &bytes).expect("written");
        both_refuse(bad.to_str().expect("a path"), &[], &format!("{seeded:?}: byte {at}"));
        bytes[at] ^= bit;
    }
    let found = format!("{flips} bits of rows and {flips} of an archive of {} bytes", bytes.len());
    println!("{found}, all found by both after {:.1?}", began.elapsed());
}

/// Somebody who writes the whole archive anew, with its seal, cannot make the journal's line fit.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_written_anew_does_not_pass_through_the_journals_line() {
    let (folder, config) = filled(0, 60).await;
    let (other, other_config) = filled(1, 60).await;
    let [file, forged] = [(&folder, "true.tar"), (&other, "forged.tar")]
        .map(|(folder, name)| folder.path().join(name).to_str().expect("a path").to_owned());
    assert!(evidence(&config, &[&file]).status.success());
    assert!(evidence(&other_config, &[&forged]).status.success());
    let events = part(Path::new(&file), "events.jsonl");
    let noted = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let noted = noted.filter_map(|event| event["detail"].as_str().map(str::to_owned));
    let line = noted.into_iter().find(|detail| detail.starts_with("chain heads")).expect("a line");
    both_accept(&file, &["--heads", &line]);
    both_refuse(&forged, &["--heads", &line], "forged");
}
