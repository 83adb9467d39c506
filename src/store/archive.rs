//! The database read beside whoever writes it, row by row: what evidence is made of.
//!
//! Invariant: one snapshot for everything, and never more than a row in memory.

use super::callbacks::{self, CallbackRow};
use super::chain::Chain;
use super::events::{self, EventRow};
use super::schema::{FILE, open_beside};
use super::{OpenError, Snapshot, StoreError};
use crate::domain::time::Timestamp;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, named_params};
use serde_json::{Map, Value};
use std::path::Path;

/// The database of a folder, read only: nobody's lock is needed, and the daemon may run.
pub struct ReadOnly {
    connection: Connection,
}

/// What evidence is wanted about; all of it together.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only what concerns this code.
    pub code: Option<String>,
    /// Only what concerns this order.
    pub order_id: Option<String>,
    /// Only at or after.
    pub since: Option<Timestamp>,
    /// Only before.
    pub until: Option<Timestamp>,
}

impl ReadOnly {
    /// Opens the database in `folder`.
    ///
    /// # Errors
    /// [`OpenError`]; a file of an older version must be brought up to date by a start of the daemon.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        Ok(Self { connection: open_beside(&folder.join(FILE))? })
    }

    /// Runs `work` on one snapshot, however long it takes; the writer's log grows meanwhile.
    ///
    /// # Errors
    /// What `work` returned, or [`StoreError::Sql`].
    pub fn read<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Snapshot<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.connection.execute_batch("BEGIN").map_err(StoreError::from)?;
        let result = work(&Snapshot { connection: &self.connection });
        self.connection.execute_batch("ROLLBACK").map_err(StoreError::from)?;
        result
    }
}

impl Selection {
    /// Whether this event is wanted.
    #[must_use]
    pub fn takes_event(&self, row: &EventRow) -> bool {
        let same =
            |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        same(&self.code, &row.code)
            && same(&self.order_id, &row.order_id)
            && self.takes_time(row.at)
    }

    /// Whether this callback is wanted. Refused ones have no code, and none has a column for its order: a
    /// body that names either counts.
    #[must_use]
    pub fn takes_callback(&self, row: &CallbackRow) -> bool {
        let names = |text: &String| {
            let quoted = format!("\"{text}\"");
            row.body.windows(quoted.len()).any(|part| part == quoted.as_bytes())
        };
        let about = |code: &String| row.code.as_ref() == Some(code) || names(code);
        self.code.as_ref().is_none_or(about)
            && self.order_id.as_ref().is_none_or(names)
            && self.takes_time(row.received_at)
    }

    fn takes_time(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }
}

impl Snapshot<'_> {
    /// Each event, the oldest first.
    ///
    /// # Errors
    /// What `take` returned, or [`StoreError::Sql`].
    pub fn each_event<E: From<StoreError>>(
        &self,
        mut take: impl FnMut(EventRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = "SELECT * FROM event ORDER BY id";
        let mut statement = self.connection.prepare(sql).map_err(StoreError::from)?;
        let rows = statement.query_map([], events::from_row).map_err(StoreError::from)?;
        for row in rows {
            take(row.map_err(StoreError::from)?)?;
        }
        Ok(())
    }

    /// Each callback of a chain, the oldest first; none of that of the events.
    ///
    /// # Errors
    /// As [`Snapshot::each_event`].
    pub fn each_callback<E: From<StoreError>>(
        &self,
        chain: Chain,
        mut take: impl FnMut(CallbackRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = match chain {
            Chain::Events => return Ok(()),
            Chain::Callbacks => callbacks::IN_CHAIN,
            Chain::Tests => callbacks::IN_TEST_CHAIN,
        };
        let mut statement = self.connection.prepare(sql).map_err(StoreError::from)?;
        let rows = statement.query_map([], callbacks::from_row).map_err(StoreError::from)?;
        for row in rows {
            take(row.map_err(StoreError::from)?)?;
        }
        Ok(())
    }

    /// The row of each licence that a selection concerns, column by column: within a time, those to which
    /// something happened then.
    ///
    /// # Errors
    /// As [`Snapshot::each_event`].
    pub fn each_license<E: From<StoreError>>(
        &self,
        selection: &Selection,
        mut take: impl FnMut(Map<String, Value>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT * FROM license WHERE (:code IS NULL OR code = :code) \
                 AND (:order IS NULL OR order_id = :order \
                      OR EXISTS (SELECT 1 FROM ledger WHERE code = license.code AND order_id = :order)) \
                 AND (:any_time OR EXISTS (SELECT 1 FROM event \
                      WHERE code = license.code AND +at >= :since AND +at < :until)) ORDER BY code",
            )
            .map_err(StoreError::from)?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement
            .query(named_params! {
                ":code": selection.code,
                ":order": selection.order_id,
                ":any_time": selection.since.is_none() && selection.until.is_none(),
                ":since": selection.since.map_or(i64::MIN, Timestamp::as_ms),
                ":until": selection.until.map_or(i64::MAX, Timestamp::as_ms),
            })
            .map_err(StoreError::from)?;
        while let Some(row) = rows.next().map_err(StoreError::from)? {
            let mut columns = Map::new();
            for (index, name) in names.iter().enumerate() {
                let value = match row.get_ref(index).map_err(StoreError::from)? {
                    ValueRef::Integer(n) => n.into(),
                    ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
                    ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => Value::Null,
                };
                columns.insert(name.clone(), value);
            }
            take(columns)?;
        }
        Ok(())
    }
}
