//! `authcoded backup` and `restore` on folders without a daemon: what is refused, what a death leaves
//! behind, and the copy before a newer schema.

use authcoded::domain::license::{Code, License};
use authcoded::domain::time::Timestamp;
use authcoded::domain::transition::{EventDraft, EventKind, Source};
use authcoded::store::{Store, WriterEnd, examine};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Instant;
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

/// A folder with a configuration and a database of so many codes.
struct Place(TempDir);

impl Place {
    fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "data-dir = \"data\"\n\
                    [callback]\naccess-key-files = [\"k\"]\n\
                    [marketplace]\nak-file = \"k\"\nsk-file = \"k\"\n\
                    [admin]\ntoken-file = \"k\"\n[software]\ntoken-file = \"k\"\n";
        std::fs::write(folder.path().join("c.toml"), text).expect("written");
        Self(folder)
    }

    async fn with(codes: u32) -> Self {
        let place = Self::empty();
        let (store, held) = Store::open(&place.path("data"), |_, _| {}).expect("opened");
        let add = move |n| {
            let code = Code::parse(&format!("PL{n}")).expect("a code");
            let event = EventDraft::note(EventKind::Registered, "x".repeat(200));
            (License::issued(code.clone(), NOW), code, event)
        };
        let written = store
            .write(move |tx| {
                for (license, code, event) in (0..codes).map(add) {
                    tx.save_license(&license, None)?;
                    tx.append_event(NOW, Some(&code), Source::Operator, &event)?;
                }
                Ok(())
            })
            .await;
        written.expect("written");
        store.shut_down();
        assert!(matches!(held.writer_end.await, Ok(WriterEnd::Asked)));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_authcoded"));
        command.current_dir(self.0.path()).args(["--config", "c.toml"]).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("it runs")
    }

    fn refused(&self, args: &[&str], words: &str) {
        let output = self.run(args);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(words), "{args:?}: {told}");
    }

    fn sql(&self, file: &str, sql: &str) {
        let connection = rusqlite::Connection::open(self.path(file)).expect("a database");
        connection.execute_batch(sql).expect(sql);
    }

    fn listing(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort_unstable();
        names
    }
}

#[tokio::test]
async fn a_backup_is_the_owners_alone_and_replaces_only_by_force() {
    let place = Place::with(3).await;
    assert!(place.run(&["backup", "copy.db"]).status.success());
    let mode = std::fs::metadata(place.path("copy.db")).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(place.listing(), ["c.toml", "copy.db", "data"]);
    place.refused(&["backup", "copy.db"], "--force");
    place.refused(&["backup", "data/authcoded.db", "--force"], "is the database itself");
    place.refused(&["backup", "nowhere/copy.db"], "nowhere");
    std::fs::write(place.path("other"), "a letter").expect("written");
    place.refused(&["backup", "other"], "exists and was left alone");
    assert_eq!(std::fs::read(place.path("other")).expect("there"), b"a letter");
    assert!(place.run(&["backup", "other", "--force"]).status.success());
    assert_eq!(examine(&place.path("other")).expect("whole").rows["license"], 3);
    Place::empty().refused(&["backup", "copy.db"], "no such database");
}

/// Killed at many instants: the file is never half there, and the next backup clears up.
#[tokio::test]
async fn a_backup_that_is_killed_leaves_nothing_under_its_name() {
    let place = Place::with(20_000).await;
    let began = Instant::now();
    assert!(place.run(&["backup", "whole.db"]).status.success());
    let (whole, mut interrupted) = (began.elapsed(), 0);
    for nth in 1..=12 {
        let file = format!("copy-{nth}.db");
        let mut child = place
            .command(&["backup", &file])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        // The instants are what is tested: spread over the time that a whole one takes.
        std::thread::sleep(whole * nth / 12);
        child.kill().expect("killed");
        child.wait().expect("its end");
        if place.path(&format!(".{file}.part")).exists() {
            interrupted += 1;
        }
        if place.path(&file).exists() {
            assert_eq!(examine(&place.path(&file)).expect("whole").rows["license"], 20_000);
        } else {
            assert!(place.run(&["backup", &file]).status.success(), "what was left is no obstacle");
        }
    }
    assert!(interrupted > 0, "none was interrupted while it copied ({whole:?})");
    let left: Vec<_> = place.listing().into_iter().filter(|name| name.contains(".part")).collect();
    assert!(left.len() <= 1, "{left:?}");
}

#[tokio::test]
async fn a_restore_refuses_what_is_no_backup_of_ours_and_changes_nothing() {
    let place = Place::with(300).await;
    for name in
        ["good.db", "damaged.db", "cut.db", "chain.db", "calls.db", "newer.db", "foreign.db"]
    {
        assert!(place.run(&["backup", name]).status.success());
    }
    let mut bytes = std::fs::read(place.path("damaged.db")).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0x5a);
    std::fs::write(place.path("damaged.db"), &bytes).expect("written");
    std::fs::write(place.path("cut.db"), &bytes[..8_192]).expect("written");
    std::fs::write(place.path("text.db"), "no database".repeat(1_000)).expect("written");
    place.sql("chain.db", "UPDATE event SET detail = 'nothing to see' WHERE id = 7");
    place.sql(
        "calls.db",
        "INSERT INTO callback (received_at, activity, test, verdict, result_code, detail, \
         duration_ms, body, hash) VALUES (1, 'a', 0, 'refused', '000001', '', 0, x'', zeroblob(32))",
    );
    place.sql("newer.db", "PRAGMA user_version = 900");
    place.sql("foreign.db", "PRAGMA application_id = 7");
    let before = examine(&place.path("data/authcoded.db")).expect("whole");
    for (name, words) in [
        ("damaged.db", "is damaged"),
        ("cut.db", "is damaged"),
        ("text.db", "is damaged"),
        ("chain.db", "the chain of events does not hold at row 7"),
        ("calls.db", "the chain of callbacks does not hold at row 1"),
        ("newer.db", "has schema 900"),
        ("foreign.db", "is not a database of authcoded"),
        ("nothing.db", "no such database"),
        ("data/authcoded.db", "is the database itself"),
    ] {
        place.refused(&["restore", name], words);
    }
    let (store, held) = Store::open(&place.path("data"), |_, _| {}).expect("opened");
    place.refused(&["restore", "good.db"], "another authcoded is running");
    store.shut_down();
    assert!(matches!(held.writer_end.await, Ok(WriterEnd::Asked)));
    drop((store, held.lock));
    assert_eq!(examine(&place.path("data/authcoded.db")).expect("whole"), before);
    assert!(place.run(&["restore", "good.db"]).status.success());
    let aside = std::fs::read_dir(place.path("data")).expect("a folder").filter(|entry| {
        let name = entry.as_ref().expect("an entry").file_name();
        let name = name.to_string_lossy();
        // Its log goes with it while a thread of the store above still has it open.
        let is_log = name.ends_with("-wal") || name.ends_with("-shm");
        name.starts_with("authcoded.db.replaced-") && !is_log
    });
    assert_eq!(aside.count(), 1);
}

/// Somebody moved the database away and left its log: the restored one is not read with it.
#[tokio::test]
async fn a_log_without_its_database_is_put_aside() {
    let place = Place::with(50).await;
    assert!(place.run(&["backup", "good.db"]).status.success());
    std::fs::remove_file(place.path("data/authcoded.db")).expect("removed");
    for end in ["-wal", "-shm", "-journal"] {
        std::fs::write(place.path(&format!("data/authcoded.db{end}")), "a log").expect("written");
    }
    let restored = place.run(&["restore", "good.db", "--json"]);
    assert!(restored.status.success(), "{restored:?}");
    let left: Vec<_> = std::fs::read_dir(place.path("data"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("authcoded.db-"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(examine(&place.path("data/authcoded.db")).expect("whole").rows["license"], 50);
}

/// A database whose chain does not hold is the only one there is: it is copied, and that is said.
#[tokio::test]
async fn a_chain_that_does_not_hold_keeps_nobody_from_a_backup() {
    let place = Place::with(50).await;
    place.sql("data/authcoded.db", "UPDATE event SET detail = 'nothing to see' WHERE id = 7");
    let made = place.run(&["backup", "copy.db", "--json"]);
    assert_eq!(made.status.code(), Some(1), "{made:?}");
    let told: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
    assert_eq!(told["broken"], serde_json::json!({ "chain": "events", "id": 7 }));
    assert_eq!(examine(&place.path("copy.db")).expect("readable").rows["license"], 50);
    place.refused(&["restore", "copy.db"], "the chain of events does not hold at row 7");
}

/// A damaged database is replaced, too, and its log goes with it.
#[tokio::test]
async fn a_database_that_is_damaged_is_kept_aside_with_its_log() {
    let place = Place::with(50).await;
    assert!(place.run(&["backup", "good.db"]).status.success());
    std::fs::write(place.path("data/authcoded.db"), "no database".repeat(1_000)).expect("written");
    std::fs::write(place.path("data/authcoded.db-wal"), "its log").expect("written");
    let restored = place.run(&["restore", "good.db", "--json"]);
    assert!(restored.status.success(), "{restored:?}");
    let told: serde_json::Value = serde_json::from_slice(&restored.stdout).expect("JSON");
    let aside = told["replaced"].as_str().expect("a file");
    let kept = std::fs::read_to_string(place.path(aside)).expect("kept");
    assert!(kept.starts_with("no database"));
    assert!(!place.path("data/authcoded.db-wal").exists(), "it is not read into the restored one");
    assert_eq!(examine(&place.path("data/authcoded.db")).expect("whole").rows["license"], 50);
}

/// A reader that is left over keeps the log in being: it must not stay for the restored database.
#[tokio::test]
async fn a_log_that_is_still_read_goes_aside_with_its_database() {
    let place = Place::with(20).await;
    assert!(place.run(&["backup", "good.db"]).status.success());
    let (store, held) = Store::open(&place.path("data"), |_, _| {}).expect("opened");
    let read = || store.read(|snapshot| snapshot.fact("nothing"));
    assert_eq!(read().expect("read"), None);
    drop(held.lock);
    assert!(place.path("data/authcoded.db-wal").exists());
    assert!(place.run(&["restore", "good.db"]).status.success());
    assert!(!place.path("data/authcoded.db-wal").exists());
    drop(store);
    assert_eq!(examine(&place.path("data/authcoded.db")).expect("whole").rows["license"], 20);
}

/// Every schema there was, with data in it: it is brought up to date, and the copy is as it was.
#[tokio::test]
async fn a_newer_schema_begins_with_a_copy_that_can_be_gone_back_to() {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemas");
    let mut seen = 0;
    for entry in std::fs::read_dir(schemas).expect("a folder") {
        let file = entry.expect("an entry").path();
        let version: i64 = file
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("a name")
            .parse()
            .expect("a number");
        let place = Place::empty();
        std::fs::create_dir(place.path("data")).expect("made");
        place.sql("data/authcoded.db", &std::fs::read_to_string(&file).expect("a schema"));
        place.sql(
            "data/authcoded.db",
            &format!(
                "PRAGMA user_version = {version}; PRAGMA application_id = 1635087464;
                 INSERT INTO license (code, state, marketplace_status, renewals_in_force, registered_at, buyer_waits)
                 VALUES ('PL1', 'issued', 'unknown', 0, 1, 0);
                 INSERT INTO license_count VALUES ('issued', 1) ON CONFLICT DO UPDATE SET n = 1;
                 INSERT INTO fact VALUES ('a fact', 'kept');"
            ),
        );
        let (store, held) = Store::open(&place.path("data"), |_, _| {}).expect("opened");
        let code = Code::parse("PL1").expect("a code");
        assert!(store.read(|snapshot| snapshot.license(&code)).expect("read").is_some());
        let fact = store.read(|snapshot| snapshot.fact("a fact")).expect("read");
        assert_eq!(fact.as_deref(), Some("kept"));
        store.shut_down();
        assert!(matches!(held.writer_end.await, Ok(WriterEnd::Asked)));
        drop(held.lock);
        let copy = place.path(&format!("data/authcoded.db.before-v{}", version + 1));
        let kept = examine(&copy).expect("whole");
        assert_eq!((kept.schema, kept.rows["license"]), (version, 1));
        // The way back: an older program would go on with this; ours brings it up to date once more.
        let name = copy.to_str().expect("UTF-8");
        assert!(place.run(&["restore", name]).status.success());
        assert_eq!(examine(&place.path("data/authcoded.db")).expect("whole").schema, version);
        let (store, held) = Store::open(&place.path("data"), |_, _| {}).expect("opened again");
        store.shut_down();
        assert!(matches!(held.writer_end.await, Ok(WriterEnd::Asked)));
        seen += 1;
    }
    assert!(seen > 0, "no schema was found");
}

/// Two at once to one name: one of them says so, or comes after.
#[tokio::test]
async fn two_backups_to_one_name_do_not_mix() {
    let place = Place::with(5_000).await;
    let spawn = || {
        let mut command = place.command(&["backup", "copy.db", "--force"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs")
    };
    let mut both = [spawn(), spawn()];
    let ends = both.each_mut().map(|child| child.wait().expect("its end").success());
    assert!(ends.contains(&true), "{ends:?}");
    assert_eq!(examine(&place.path("copy.db")).expect("whole").rows["license"], 5_000);
    let left: Vec<_> = place.listing().into_iter().filter(|name| name.contains(".part")).collect();
    assert!(left.is_empty(), "{left:?}");
}
