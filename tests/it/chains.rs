//! The chains over events and callbacks, in a real database that somebody has edited with SQL.

use authcoded::domain::license::Code;
use authcoded::domain::outcome::ResultCode;
use authcoded::domain::retention::may_go;
use authcoded::domain::time::{DAY_MS, Timestamp};
use authcoded::domain::transition::{EventDraft, EventKind, Source};
use authcoded::store::{CallbackDraft, Chain, Held, Store, Tx, Verdict, WriterEnd};
use rand_of::Seeded;
use rusqlite::Connection;
use std::path::Path;
use tempfile::TempDir;

pub(crate) const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);
/// What somebody may do to a row, and whose chain then breaks.
const EDITS: [(Chain, &str); 17] = [
    (Chain::Events, "UPDATE event SET at = at + 1 WHERE id = 8"),
    (Chain::Events, "UPDATE event SET request_id = 'other' WHERE id = 8"),
    (Chain::Events, "DELETE FROM event WHERE id = 8"),
    (Chain::Events, "DELETE FROM event WHERE id >= (SELECT max(id) - 1 FROM event)"),
    (Chain::Events, "DELETE FROM event WHERE id <= 2"),
    (Chain::Events, "DELETE FROM event"),
    (
        Chain::Events,
        "INSERT INTO event SELECT max(id) + 1, at, code, kind, source, from_state, to_state, order_id, result_code, detail, hash, request_id FROM event",
    ),
    (Chain::Events, "UPDATE event SET id = 1000 WHERE id = 8"),
    (Chain::Events, "DELETE FROM chain WHERE name = 'events'"),
    (Chain::Callbacks, "UPDATE callback SET body = x'00' WHERE id = 8"),
    (Chain::Callbacks, "UPDATE callback SET reply = NULL WHERE id = 8"),
    (Chain::Callbacks, "UPDATE callback SET head = '{}' WHERE id = 8"),
    (Chain::Callbacks, "UPDATE callback SET doctor = 'older_key' WHERE id = 8"),
    (Chain::Callbacks, "UPDATE callback SET clock_skew_ms = 9 WHERE id = 8"),
    (
        Chain::Callbacks,
        "DELETE FROM callback WHERE id = (SELECT max(id) FROM callback WHERE verdict <> 'test')",
    ),
    (Chain::Tests, "DELETE FROM callback WHERE id = 10"),
    (Chain::Tests, "UPDATE callback SET verdict = 'applied' WHERE id = 10"),
];

/// The columns that hold something in every row of [`fill`].
const EVENT_COLUMNS: &[&str] = &["at", "code", "kind", "source", "detail", "hash"];
const CALLBACK_COLUMNS: &[&str] = &[
    "received_at",
    "activity",
    "code",
    "signed_at",
    "result_code",
    "duration_ms",
    "body",
    "head",
    "reply",
    "hash",
];

pub(crate) fn callback(n: i64, verdict: Verdict, code: &str) -> CallbackDraft {
    CallbackDraft {
        received_at: NOW.plus_ms(n),
        activity: "refreshLicenseCode".to_owned(),
        code: Some(code.to_owned()),
        test: verdict == Verdict::Test,
        signed_at: Some(NOW),
        verdict,
        result_code: ResultCode::Done,
        detail: String::new(),
        doctor: None,
        duration_ms: n % 7,
        body: format!(r#"{{"license":"{code}","orderId":"CS-{n}","n":{n}}}"#).into_bytes(),
        head: r#"{"method":"POST","target":"/","headers":[]}"#.into(),
        reply: b"{\"resultCode\":\"000000\"}".to_vec(),
        clock_skew_ms: (n % 2 == 0).then_some(n),
    }
}

/// An event and a callback of each of `n` codes; every fifth is test traffic.
pub(crate) async fn fill(store: &Store, from: i64, to: i64) {
    store
        .write(move |tx| {
            for n in from..to {
                let code = Code::parse(&format!("PL{}", n % 1_000)).expect("a code");
                let event = EventDraft::note(EventKind::Observed, format!("number {n}"));
                tx.append_event(NOW.plus_ms(n), Some(&code), Source::Query, &event)?;
                let verdict = if n % 5 == 4 { Verdict::Test } else { Verdict::Applied };
                tx.insert_callback(&callback(n, verdict, code.as_str()))?;
            }
            Ok(())
        })
        .await
        .expect("stored");
}

pub(crate) async fn note_heads(store: &Store) {
    let note = |tx: &mut Tx<'_>| {
        let event = EventDraft::note(EventKind::Job, tx.heads().line());
        tx.append_event(NOW, None, Source::Timer, &event)
    };
    store.write(note).await.expect("noted");
}

pub(crate) async fn closed(store: Store, held: Held) {
    store.shut_down();
    assert!(matches!(held.writer_end.await, Ok(WriterEnd::Asked)));
}

fn open(folder: &Path) -> (Store, Held) {
    Store::open(folder, |_, _| {}).expect("opened")
}

/// The chains that do not hold.
fn broken(folder: &Path) -> Vec<Chain> {
    let (store, held) = open(folder);
    let broken = |chain: &Chain| {
        let report = store.read(|snapshot| snapshot.verify_chain(*chain)).expect("readable");
        report.broken_at.is_some()
    };
    let broken = Chain::ALL.into_iter().filter(broken).collect();
    drop((store, held));
    broken
}

fn by_hand(folder: &Path) -> Connection {
    Connection::open(folder.join("authcoded.db")).expect("opened by hand")
}

async fn filled(rows: i64) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let (store, held) = open(folder.path());
    for from in (0..rows).step_by(5_000) {
        fill(&store, from, rows.min(from + 5_000)).await;
    }
    note_heads(&store).await;
    fill(&store, rows, rows + 10).await;
    closed(store, held).await;
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_edited_in_a_chain_breaks_it() {
    let original = filled(40).await;
    assert_eq!(broken(original.path()), []);
    for (chain, edit) in EDITS {
        let folder = TempDir::new().expect("a folder");
        let (from, to) = (original.path().join("authcoded.db"), folder.path().join("authcoded.db"));
        std::fs::copy(from, to).expect("copied");
        let changed = by_hand(folder.path()).execute(edit, []).expect(edit);
        assert!(changed > 0, "{edit}");
        assert!(broken(folder.path()).contains(&chain), "not found: {edit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_cut_off_together_with_its_head_is_found_by_the_heads_that_were_noted() {
    let folder = filled(40).await;
    by_hand(folder.path())
        .execute_batch(
            "DELETE FROM callback WHERE id > 30; \
             UPDATE chain SET head_id = 29, head_hash = (SELECT hash FROM callback WHERE id = 29) \
             WHERE name = 'callbacks';",
        )
        .expect("cut off");
    assert_eq!(broken(folder.path()), [Chain::Callbacks, Chain::Tests]);
}

/// No event is ever forgotten, so a chain of events that begins later was cut.
#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_events_cannot_be_taken_away_together_with_the_anchor() {
    let folder = filled(40).await;
    by_hand(folder.path())
        .execute_batch(
            "UPDATE chain SET anchor_id = 3, anchor_hash = (SELECT hash FROM event WHERE id = 3) \
             WHERE name = 'events'; \
             DELETE FROM event WHERE id <= 3;",
        )
        .expect("cut off");
    assert_eq!(broken(folder.path()), [Chain::Events]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_goes_on_over_starts_and_over_what_is_forgotten() {
    let folder = filled(100).await;
    let (store, held) = open(folder.path());
    let forget = |tx: &mut Tx<'_>| {
        let early = |at: Timestamp, _| at < NOW.plus_ms(50);
        Ok((
            tx.prune_callbacks(Chain::Callbacks, early, 1_000)?,
            tx.prune_callbacks(Chain::Tests, |_, _| true, 1_000)?,
        ))
    };
    assert_eq!(store.write(forget).await.expect("forgotten"), (40, 22));
    closed(store, held).await;
    assert_eq!(broken(folder.path()), []);
    let (store, held) = open(folder.path());
    fill(&store, 200, 220).await;
    closed(store, held).await;
    assert_eq!(broken(folder.path()), []);
    // The row behind the anchor cannot be taken away, too.
    let oldest = "DELETE FROM callback WHERE id = (SELECT min(id) FROM callback)";
    assert_eq!(by_hand(folder.path()).execute(oldest, []).expect("deleted"), 1);
    assert_eq!(broken(folder.path()), [Chain::Callbacks]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_concerns_a_code_is_kept_for_fifteen_days_of_a_freeze() {
    let folder = TempDir::new().expect("a folder");
    let (store, held) = open(folder.path());
    let code = Code::parse("PL1").expect("a code");
    // A day is kept, and a freeze keeps fifteen more at most.
    for (age, frozen_days_ago, forgotten) in [(15, 14, 0), (15, 16, 2), (30, 14, 2)] {
        let now = NOW.plus_ms(age * DAY_MS);
        let code = code.clone();
        let kept = store.write(move |tx| {
            tx.insert_callback(&callback(1, Verdict::Applied, "PL1"))?;
            tx.insert_callback(&callback(2, Verdict::Applied, "PL2"))?;
            let event = EventDraft::note(EventKind::Frozen, "");
            let at = now.plus_ms(-frozen_days_ago * DAY_MS);
            tx.append_event(at, Some(&code), Source::Callback, &event)?;
            let may_go = |made_at, frozen_at| may_go(made_at, 1, frozen_at, now);
            let pruned = tx.prune_callbacks(Chain::Callbacks, may_go, 100)?;
            assert_eq!(pruned, forgotten);
            // Undone, so that the next one begins anew.
            Err::<(), _>(authcoded::store::StoreError::QueueFull)
        });
        assert!(kept.await.is_err());
    }
    closed(store, held).await;
}

/// One bit of any column of any row, in 100,000 of them; the seed is printed and can be given.
#[tokio::test(flavor = "multi_thread")]
async fn one_bit_flipped_in_a_hundred_thousand_rows_is_found() {
    const ROWS: i64 = 50_000;
    const FLIPS: usize = 12;
    let mut seeded = Seeded::of_the_run("CHAIN_SEED");
    let folder = filled(ROWS).await;
    let raw = by_hand(folder.path());
    for n in 0..FLIPS {
        let flipped = Flipped::anywhere(&raw, n % 2 == 0, 50_000, &mut seeded);
        let (store, held) = open(folder.path());
        let found = Chain::ALL.into_iter().any(|chain| {
            let report = store.read(|snapshot| snapshot.verify_chain(chain)).expect("readable");
            report.broken_at.is_some()
        });
        closed(store, held).await;
        assert!(found, "{seeded:?}: {flipped:?} is not found");
        flipped.undo(&raw);
    }
    drop(raw);
    assert_eq!(broken(folder.path()), [], "put back as it was");
}

/// A bit of a row that was flipped.
#[derive(Debug)]
pub(crate) struct Flipped {
    table: &'static str,
    column: &'static str,
    id: i64,
    original: rusqlite::types::Value,
}

impl Flipped {
    /// Flips one bit of any column of one of the first `rows` events, or else callbacks.
    pub(crate) fn anywhere(
        raw: &Connection,
        event: bool,
        rows: usize,
        seeded: &mut Seeded,
    ) -> Self {
        let (table, columns) =
            if event { ("event", EVENT_COLUMNS) } else { ("callback", CALLBACK_COLUMNS) };
        let column = columns[seeded.below(columns.len())];
        let id = i64::try_from(1 + seeded.below(rows)).expect("small");
        Self { table, column, id, original: flip(raw, table, column, id, seeded) }
    }

    pub(crate) fn undo(self, raw: &Connection) {
        let sql = format!("UPDATE {} SET {} = ?1 WHERE id = ?2", self.table, self.column);
        assert_eq!(raw.execute(&sql, (self.original, self.id)).expect("undone"), 1);
    }
}

/// Flips one bit of a value.
fn flip(
    raw: &Connection,
    table: &str,
    column: &str,
    id: i64,
    seeded: &mut Seeded,
) -> rusqlite::types::Value {
    use rusqlite::types::Value;
    let original: Value = raw
        .query_row(&format!("SELECT {column} FROM {table} WHERE id = ?1"), [id], |row| row.get(0))
        .expect("a value");
    let mut bit = |bytes: &mut Vec<u8>| {
        let at = seeded.below(bytes.len());
        bytes[at] ^= 1 << seeded.below(8);
    };
    let (value, cast) = match original.clone() {
        Value::Integer(n) => {
            let mut bytes = n.to_be_bytes().to_vec();
            bit(&mut bytes);
            let n = i64::from_be_bytes(bytes.try_into().expect("eight"));
            (Value::Integer(n), "?1")
        }
        Value::Text(text) => {
            let mut bytes = text.into_bytes();
            bit(&mut bytes);
            (Value::Blob(bytes), "CAST(?1 AS TEXT)")
        }
        Value::Blob(mut bytes) => {
            bit(&mut bytes);
            (Value::Blob(bytes), "?1")
        }
        Value::Null | Value::Real(_) => panic!("{table}.{column} of {id} holds nothing to flip"),
    };
    let sql = format!("UPDATE {table} SET {column} = {cast} WHERE id = ?2");
    assert_eq!(raw.execute(&sql, (value, id)).expect("flipped"), 1);
    original
}

/// Numbers that a seed repeats.
pub(crate) mod rand_of {
    /// What a variable of the environment says.
    #[expect(clippy::disallowed_methods, reason = "a seed is no configuration of the program")]
    pub(crate) fn number(name: &str) -> Option<u64> {
        std::env::var(name).ok().and_then(|text| text.parse().ok())
    }

    /// SplitMix64, which needs no more than its state.
    #[derive(Debug)]
    pub(crate) struct Seeded(u64);

    impl Seeded {
        /// Seeded by this variable of the environment, or differently in each run; the seed is printed.
        pub(crate) fn of_the_run(name: &str) -> Self {
            let now = authcoded::clock::Clock::system().now().as_ms().unsigned_abs();
            let seed = number(name).unwrap_or(now);
            println!("{name}={seed}");
            Self(seed)
        }

        pub(crate) fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((z ^ (z >> 31)) % n as u64).expect("below a size")
        }
    }
}
