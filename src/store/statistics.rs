//! What SQLite's planner is told of the tables.
//!
//! Invariant: it is told nothing of a small table, and then plans by key. What it was told of a new installation,
//! whose tables hold a row or two, would have it read whole tables instead, for as long as nobody counts again;
//! and a table may be ten thousand times as large by then.

use super::Tx;
use rusqlite::Connection;

/// A table with fewer rows is small: read whole it costs little, whatever is planned for it.
const SMALL: i64 = 10_000;

impl Tx<'_> {
    /// Brings SQLite's statistics up to date.
    ///
    /// # Errors
    /// [`StoreError::Sql`](super::StoreError::Sql).
    pub fn optimize(&mut self) -> Result<(), super::StoreError> {
        self.connection.execute_batch("PRAGMA optimize")?;
        Ok(forget_small_tables(self.connection)?)
    }
}

/// Drops what was told of small tables, also by an earlier version.
pub(super) fn forget_small_tables(connection: &Connection) -> rusqlite::Result<()> {
    let mut forgotten = 0;
    // The samples first: which tables are small stands in the other one.
    for statistics in ["sqlite_stat4", "sqlite_stat1"] {
        if connection.table_exists(None, statistics)? {
            // What is told of an index begins with its number of rows; a partial one may have few of a large
            // table.
            let sql = format!(
                "DELETE FROM {statistics} WHERE tbl IN (SELECT tbl FROM sqlite_stat1 \
                 GROUP BY tbl HAVING max(CAST(stat AS INTEGER)) < ?1)"
            );
            forgotten += connection.execute(&sql, [SMALL])?;
        }
    }
    if forgotten > 0 {
        // Makes this connection read the rest anew, and plan its statements again.
        connection.execute_batch("ANALYZE sqlite_schema")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Store, schema};
    use crate::domain::time::Timestamp;
    use crate::domain::transition::{EventDraft, EventKind, Source};
    use rusqlite::Connection;
    use std::path::Path;

    /// What is told of each table.
    fn told(folder: &Path) -> Vec<(String, i64)> {
        let connection = Connection::open(folder.join(schema::FILE)).expect("opened");
        let sql = "SELECT tbl, max(CAST(stat AS INTEGER)) FROM sqlite_stat1 GROUP BY tbl";
        let mut statement = connection.prepare(sql).expect("there are statistics");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("read");
        rows.collect::<Result<_, _>>().expect("rows")
    }

    fn with_store(folder: &Path, work: impl AsyncFnOnce(&Store)) {
        let (store, held) = Store::open(folder, |_, _| {}).expect("opened");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            work(&store).await;
            store.shut_down();
            held.writer_end.await.expect("ended");
        });
    }

    async fn append(store: &Store, events: usize) {
        let draft = EventDraft::note(EventKind::Observed, "");
        let at = Timestamp::from_ms(1_795_249_800_000);
        let stored = store.write(move |tx| {
            (0..events).try_for_each(|_| tx.append_event(at, None, Source::Query, &draft))?;
            tx.optimize()
        });
        stored.await.expect("stored");
    }

    #[test]
    fn nothing_is_told_of_a_small_table_and_a_large_one_is_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        with_store(folder.path(), async |store| append(store, 1).await);
        assert_eq!(told(folder.path()), []);
        with_store(folder.path(), async |store| append(store, 20_000).await);
        let told = told(folder.path());
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].0 == "event" && told[0].1 > 10_000, "{told:?}");
    }

    #[test]
    fn what_an_earlier_version_told_of_a_small_table_is_dropped_at_start() {
        let folder = tempfile::tempdir().expect("a folder");
        with_store(folder.path(), async |_| {});
        let connection = Connection::open(folder.path().join(schema::FILE)).expect("opened");
        connection
            .execute_batch(
                "ANALYZE; INSERT INTO sqlite_stat1 VALUES ('event', 'event_by_kind', '1 1 1'), \
                 ('license', 'license', '20000 1'); \
                 INSERT INTO sqlite_stat4 VALUES ('event', 'event_by_kind', '1 1', '0 0', '0 0', x'00')",
            )
            .expect("poisoned");
        drop(connection);
        with_store(folder.path(), async |_| {});
        assert_eq!(told(folder.path()), [("license".to_owned(), 20_000)]);
        let connection = Connection::open(folder.path().join(schema::FILE)).expect("opened");
        let sql = "SELECT count(*) FROM sqlite_stat4 WHERE tbl <> 'license'";
        let samples: i64 = connection.query_row(sql, [], |row| row.get(0)).expect("counted");
        assert_eq!(samples, 0);
    }
}
