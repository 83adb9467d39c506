//! Table `usage`: what the software reported of its use.
//!
//! Invariant: a client is stored once per code and Beijing day, and as its hash only.

mod batches;
mod days;

pub use batches::{UsageBatch, UsageEnd, UsageLimits};
pub use days::{UsageDay, UsageFilter, UsageState};

use super::{Snapshot, StoreError, Tx};
use crate::domain::license::Code;
use crate::domain::time::Timestamp;
use crate::domain::usage::{ActiveNum, ClientHash, Entry};
use rusqlite::Row;

/// An entry as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The Beijing day on which it was reported.
    pub day: i64,
    /// The code that was used.
    pub code: Code,
    /// The client, or the count.
    pub entry: Entry,
}

/// What is not well with usage reports.
#[derive(Debug, Clone, Default)]
pub struct UsageTrouble {
    /// Entries given up since the time that was asked for.
    pub failed: i64,
    /// The marketplace's code for one of them.
    pub error_code: Option<String>,
    /// When the oldest report under way was made.
    pub under_way_since: Option<Timestamp>,
}

impl Tx<'_> {
    /// Spools an entry, unless it, or a count that is not less, was reported on that day.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn spool_usage(&mut self, row: &UsageRow, now: Timestamp) -> Result<(), StoreError> {
        let (client, number) = columns(&row.entry);
        if let Entry::Active(number) = row.entry {
            let greatest: Option<u32> = self
                .connection
                .prepare_cached(
                    "SELECT max(active_num) FROM usage WHERE day = ?1 AND code = ?2 AND client = x''",
                )?
                .query_row((row.day, row.code.as_str()), |found| found.get(0))?;
            if greatest.is_some_and(|greatest| greatest >= number.get()) {
                return Ok(());
            }
            // One that has not left yet need not leave.
            self.connection
                .prepare_cached(
                    "DELETE FROM usage WHERE day = ?1 AND code = ?2 AND client = x'' \
                     AND state = 'waiting'",
                )?
                .execute((row.day, row.code.as_str()))?;
        }
        self.connection
            .prepare_cached(
                "INSERT INTO usage (day, code, client, active_num, state, reported_at) \
                 VALUES (?1, ?2, ?3, ?4, 'waiting', ?5) ON CONFLICT DO NOTHING",
            )?
            .execute((row.day, row.code.as_str(), client, number, now.as_ms()))?;
        Ok(())
    }

    /// Forgets at most `limit` entries of days before `day`, but none that is still to be sent.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn prune_usage(
        &mut self,
        day: i64,
        frozen_before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "DELETE FROM usage WHERE (day, code, client, active_num) IN \
                 (SELECT day, code, client, active_num FROM usage \
                  WHERE day < ?1 AND state IN ('sent','failed') AND NOT EXISTS \
                  (SELECT 1 FROM event WHERE code = usage.code AND +kind = 'frozen' AND +at >= ?3) \
                  LIMIT ?2)",
            )?
            .execute((day, i64::try_from(limit).unwrap_or(i64::MAX), frozen_before.as_ms()))?)
    }
}

impl Snapshot<'_> {
    /// Entries that are not sent yet, or whose answer is not known.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn unsent_usage(&self) -> Result<i64, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "SELECT (SELECT count(*) FROM usage WHERE state = 'waiting') \
                 + (SELECT count(*) FROM usage WHERE batch IS NOT NULL)",
            )?
            .query_row([], |row| row.get(0))?)
    }

    /// Whether a report under way is due.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn usage_is_due(&self, now: Timestamp) -> Result<bool, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT 1 FROM usage_batch WHERE due_at <= ?1")?
            .exists([now.as_ms()])?)
    }

    /// When the next report under way is due that is not due yet.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn next_usage_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT min(due_at) FROM usage_batch WHERE due_at > ?1")?
            .query_row([now.as_ms()], |row| row.get::<_, Option<i64>>(0))?
            .map(Timestamp::from_ms))
    }

    /// What is not well: entries given up at `since` or later, and reports that do not get through.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn usage_trouble(&self, since: Timestamp) -> Result<UsageTrouble, StoreError> {
        let (failed, error_code) = self
            .connection
            .prepare_cached(
                "SELECT count(*), max(error_code) FROM usage \
                 WHERE state = 'failed' AND settled_at >= ?1",
            )?
            .query_row([since.as_ms()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let under_way: Option<i64> = self
            .connection
            .prepare_cached("SELECT min(made_at) FROM usage_batch WHERE code IS NULL")?
            .query_row([], |row| row.get(0))?;
        Ok(UsageTrouble { failed, error_code, under_way_since: under_way.map(Timestamp::from_ms) })
    }
}

/// The columns `client` and `active_num`.
fn columns(entry: &Entry) -> (&[u8], u32) {
    match entry {
        Entry::Client(hash) => (&hash.0, 0),
        Entry::Active(number) => (&[], number.get()),
    }
}

fn usage_from_row(row: &Row<'_>) -> Result<UsageRow, StoreError> {
    let (day, code): (i64, String) = (row.get(0)?, row.get(1)?);
    let damaged = || StoreError::Damaged(format!("usage {day} {code}"));
    let client: Vec<u8> = row.get(2)?;
    let entry = if client.is_empty() {
        let number: u32 = row.get(3)?;
        Entry::Active(ActiveNum::parse(number.into()).map_err(|_| damaged())?)
    } else {
        Entry::Client(ClientHash(client.try_into().map_err(|_| damaged())?))
    };
    Ok(UsageRow { day, code: Code::parse(&code).map_err(|_| damaged())?, entry })
}
