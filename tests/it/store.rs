//! The store by itself: what it refuses to open, what a failed job leaves behind, and the chain.

use authcoded::domain::license::{Code, License};
use authcoded::domain::outcome::ResultCode;
use authcoded::domain::state::State;
use authcoded::domain::time::{DAY_MS, Timestamp};
use authcoded::domain::transition::{EventDraft, EventKind, Source};
use authcoded::store::{
    CallbackDraft, CallbackFilter, Chain, ChainReport, EventFilter, Held, OpenError, ProbeDraft,
    Store, StoreError, Verdict, WriterEnd,
};
use std::path::Path;
use tempfile::TempDir;

const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

fn open(folder: &Path) -> Result<(Store, Held), OpenError> {
    Store::open(folder, |_, _| {})
}

async fn close(store: Store, held: Held) {
    store.shut_down();
    assert!(matches!(held.writer_end.await, Ok(WriterEnd::Asked)));
}

async fn add(store: &Store, n: u32, keep: bool) -> Result<(), StoreError> {
    store
        .write(move |tx| {
            let code = Code::parse(&format!("PL{n}")).expect("a code");
            let license = License::issued(code.clone(), NOW);
            tx.save_license(&license, None)?;
            let event = EventDraft::note(EventKind::Registered, format!("number {n}"));
            tx.append_event(NOW, Some(&code), Source::Operator, &event)?;
            if keep { Ok(()) } else { Err(StoreError::Damaged("planted".to_owned())) }
        })
        .await
}

fn chain(store: &Store) -> ChainReport {
    store.read(|snapshot| snapshot.verify_chain(Chain::Events)).expect("readable")
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_one_group_succeed_and_fail_by_themselves() {
    let folder = TempDir::new().expect("a folder");
    let (store, held) = open(folder.path()).expect("opened");
    let jobs: Vec<_> = (0..400)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move { add(&store, n, n % 3 != 0).await.is_ok() })
        })
        .collect();
    let mut kept = 0;
    for job in jobs {
        kept += i64::from(job.await.expect("joined"));
    }
    assert_eq!(kept, 266);
    let counts = store.read(|snapshot| snapshot.license_counts()).expect("counted");
    assert_eq!(counts[State::Issued as usize], (State::Issued, kept));
    assert_eq!(chain(&store), ChainReport { rows: kept, broken_at: None });
    close(store, held).await;
    let (store, held) = open(folder.path()).expect("opened again");
    add(&store, 1_000, true).await.expect("stored");
    assert_eq!(chain(&store), ChainReport { rows: kept + 1, broken_at: None });
    close(store, held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_after_an_answer_sees_the_write() {
    let folder = TempDir::new().expect("a folder");
    let (store, held) = open(folder.path()).expect("opened");
    for n in 0..200 {
        add(&store, n, true).await.expect("stored");
        let code = Code::parse(&format!("PL{n}")).expect("a code");
        let found = store.read(|snapshot| snapshot.license(&code)).expect("readable");
        assert_eq!(found.map(|license| license.code), Some(code));
    }
    close(store, held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_snapshot_does_not_hold_up_the_end() {
    let folder = TempDir::new().expect("a folder");
    let (store, held) = open(folder.path()).expect("opened");
    add(&store, 1, true).await.expect("stored");
    // Both kinds of readers keep the snapshot they have read.
    assert_eq!(chain(&store).rows, 1);
    store.list(|snapshot| snapshot.verify_chain(Chain::Events)).await.expect("readable");
    let began = std::time::Instant::now();
    close(store, held).await;
    // A checkpoint that is held up waits five seconds and leaves the log as it is.
    assert!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
    let log = std::fs::metadata(folder.path().join("authcoded.db-wal"));
    assert_eq!(log.map_or(0, |log| log.len()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_removed_or_moved_event_breaks_the_chain() {
    for tamper in [
        "UPDATE event SET detail = 'number 7' WHERE id = 5",
        "UPDATE event SET code = NULL WHERE id = 5",
        "DELETE FROM event WHERE id = 5",
        "UPDATE event SET id = 1000 WHERE id = 5",
        "UPDATE event SET hash = zeroblob(32) WHERE id = 5",
    ] {
        let folder = TempDir::new().expect("a folder");
        let (store, held) = open(folder.path()).expect("opened");
        for n in 0..10 {
            add(&store, n, true).await.expect("stored");
        }
        close(store, held).await;
        let file = folder.path().join("authcoded.db");
        let raw = rusqlite::Connection::open(&file).expect("opened by hand");
        assert_eq!(raw.execute(tamper, []).expect("tampered"), 1, "{tamper}");
        drop(raw);
        let (store, held) = open(folder.path()).expect("opened");
        let report = chain(&store);
        assert!(matches!(report.broken_at, Some(5..=6)), "{tamper}: {report:?}");
        close(store, held).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_folder_is_refused() {
    let folder = TempDir::new().expect("a folder");
    let (store, held) = open(folder.path()).expect("opened");
    assert!(matches!(open(folder.path()), Err(OpenError::Locked(_))));
    let Held { lock, writer_end } = held;
    store.shut_down();
    assert!(matches!(writer_end.await, Ok(WriterEnd::Asked)));
    assert!(matches!(open(folder.path()), Err(OpenError::Locked(_))), "the lock is the caller's");
    drop(lock);
    assert!(open(folder.path()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_foreign_and_damaged_files_are_refused_and_untouched() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("authcoded.db");
    let (store, held) = open(folder.path()).expect("opened");
    add(&store, 1, true).await.expect("stored");
    close(store, held).await;
    let good = std::fs::read(&file).expect("read");

    let raw = rusqlite::Connection::open(&file).expect("opened by hand");
    raw.pragma_update(None, "user_version", 99).expect("set");
    drop(raw);
    assert!(matches!(open(folder.path()), Err(OpenError::Newer { found: 99, .. })));

    std::fs::remove_file(&file).expect("removed");
    let raw = rusqlite::Connection::open(&file).expect("made by hand");
    raw.execute_batch("CREATE TABLE mine (x); INSERT INTO mine VALUES (1);").expect("made");
    drop(raw);
    let before = std::fs::read(&file).expect("read");
    assert!(matches!(open(folder.path()), Err(OpenError::Foreign(_))));
    assert_eq!(std::fs::read(&file).expect("read"), before);

    std::fs::write(&file, b"this is no database, whatever its name says, and it is long enough")
        .expect("written");
    assert!(matches!(open(folder.path()), Err(OpenError::Damaged { .. })));

    let mut torn = good;
    let middle = torn.len() / 2;
    torn.truncate(middle);
    std::fs::write(&file, &torn).expect("written");
    assert!(open(folder.path()).is_err());
    assert_eq!(std::fs::read(&file).expect("read"), torn);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_by_their_filters() {
    let folder = TempDir::new().expect("a folder");
    let (store, held) = open(folder.path()).expect("opened");
    for n in 0..5 {
        add(&store, n, true).await.expect("stored");
    }
    let ids = |filter: EventFilter| -> Vec<i64> {
        let rows = store.read(|snapshot| snapshot.events(&filter)).expect("readable");
        rows.iter().map(|row| row.id).collect()
    };
    let all = EventFilter { limit: 10, ..EventFilter::default() };
    assert_eq!(ids(all.clone()), [5, 4, 3, 2, 1]);
    assert_eq!(ids(EventFilter { code: Some("PL2".to_owned()), ..all.clone() }), [3]);
    assert_eq!(ids(EventFilter { kind: Some("frozen".to_owned()), ..all.clone() }), [0i64; 0]);
    assert_eq!(ids(EventFilter { below: Some(3), ..all.clone() }), [2, 1]);
    assert_eq!(ids(EventFilter { above: Some(3), ..all.clone() }), [5, 4]);
    assert_eq!(ids(EventFilter { since: Some(NOW.plus_ms(1)), ..all.clone() }), [0i64; 0]);
    assert_eq!(ids(EventFilter { until: Some(NOW.plus_ms(1)), limit: 2, ..all }), [5, 4]);
    close(store, held).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upkeep_forgets_test_traffic_and_heartbeats_by_their_own_age() {
    let folder = TempDir::new().expect("a folder");
    let (store, held) = open(folder.path()).expect("opened");
    let days_ago = |days: i64| NOW.plus_ms(-days * DAY_MS);
    let callback = |received_at, verdict| CallbackDraft {
        received_at,
        activity: "releaseLicenseCode".to_owned(),
        code: None,
        test: verdict == Verdict::Test,
        signed_at: None,
        verdict,
        result_code: ResultCode::Done,
        detail: String::new(),
        duration_ms: 0,
        body: Vec::new(),
        head: "{}".into(),
        reply: Vec::new(),
        clock_skew_ms: None,
        doctor: None,
    };
    let probe = |started_at| ProbeDraft {
        slot: "a slot".to_owned(),
        started_at,
        outcome: "ok",
        steps: "[]".to_owned(),
        certificate_days: None,
    };
    store
        .write(move |tx| {
            for (days, verdict) in [
                (200, Verdict::Applied),
                (200, Verdict::Orphan),
                (20, Verdict::Test),
                (20, Verdict::Applied),
                (1, Verdict::Test),
            ] {
                tx.insert_callback(&callback(days_ago(days), verdict))?;
            }
            for days in [300, 200, 190] {
                tx.insert_probe(&probe(days_ago(days)))?;
            }
            Ok(())
        })
        .await
        .expect("stored");
    let pruned = store
        .write(move |tx| {
            let old = |days| move |at, _| at < days_ago(days);
            let callbacks = tx.prune_callbacks(Chain::Callbacks, old(180), 500)?
                + tx.prune_callbacks(Chain::Tests, old(14), 500)?;
            Ok((callbacks, tx.prune_probes(days_ago(180))?))
        })
        .await;
    assert_eq!(pruned.expect("pruned"), (2, 2));
    let (callbacks, probes) = store
        .read(|snapshot| {
            let filter = CallbackFilter { limit: 10, ..Default::default() };
            Ok((snapshot.callbacks(&filter)?, snapshot.probes(None, 10)?))
        })
        .expect("readable");
    let verdicts: Vec<_> = callbacks.iter().map(|row| row.verdict.as_str()).collect();
    assert_eq!(verdicts, ["test", "applied", "orphan"], "an open orphan stays whatever its age");
    assert_eq!(probes.len(), 1, "the last heartbeat stays whatever its age");
    close(store, held).await;
}
