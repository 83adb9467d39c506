//! Table `usage_batch`: the usage reports under way, and the entries in them.
//!
//! Invariant: an entry of a batch does not change until the batch has ended, so that the batch can be sent again
//! as it was.

use super::{UsageRow, columns, usage_from_row};
use crate::domain::license::Code;
use crate::domain::time::Timestamp;
use crate::store::{StoreError, Tx};
use rusqlite::{OptionalExtension as _, Row};

/// A report that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageBatch {
    /// Counts up; 0 before it is stored.
    pub id: i64,
    /// Its only code, when it was refused for that and waits to be sent again.
    pub held: Option<Code>,
    /// What is sent.
    pub body: Vec<u8>,
    /// When its entries were first put together.
    pub made_at: Timestamp,
    /// Not before.
    pub due_at: Timestamp,
    /// How often it got no usable answer, or was refused.
    pub tries: u32,
    /// The last answer's code.
    pub error_code: Option<String>,
}

/// The most that one batch may hold.
#[derive(Debug, Clone, Copy)]
pub struct UsageLimits {
    /// Codes.
    pub codes: usize,
    /// Entries of one code.
    pub entries_of_a_code: usize,
    /// Entries in all: they are written in one transaction, for which callbacks wait.
    pub entries: usize,
}

/// How entries ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageEnd {
    /// The marketplace took them.
    Sent,
    /// They were given up, with the marketplace's code.
    Failed(Option<String>),
}

impl Tx<'_> {
    /// The first report under way that is to be sent now: one that is due, or, unless `due_only`, one whose
    /// end is not known.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn usage_under_way(
        &self,
        now: Timestamp,
        due_only: bool,
    ) -> Result<Option<UsageBatch>, StoreError> {
        let found = self
            .connection
            .prepare_cached(
                "SELECT id, code, body, made_at, due_at, tries, error_code FROM usage_batch \
                 WHERE due_at <= ?1 OR (code IS NULL AND NOT ?2) ORDER BY id LIMIT 1",
            )?
            .query_row((now.as_ms(), due_only), |row| Ok(batch_from_row(row)))
            .optional()?;
        found.transpose()
    }

    /// Whether a report is under way whose end is not known.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn usage_in_doubt(&self) -> Result<bool, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT 1 FROM usage_batch WHERE code IS NULL")?
            .exists([])?)
    }

    /// Entries for the next report, by code and day; none of a code that waits after a refusal.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn waiting_usage(&self, limits: UsageLimits) -> Result<Vec<UsageRow>, StoreError> {
        let mut next = self.connection.prepare_cached(
            "SELECT code FROM usage WHERE state = 'waiting' AND code > ?1 AND code NOT IN \
             (SELECT code FROM usage_batch WHERE code IS NOT NULL) ORDER BY code LIMIT 1",
        )?;
        let mut of_code = self.connection.prepare_cached(
            "SELECT day, code, client, active_num FROM usage \
             WHERE state = 'waiting' AND code = ?1 ORDER BY day, client, active_num LIMIT ?2",
        )?;
        let (mut rows, mut last) = (Vec::new(), String::new());
        for _ in 0..limits.codes {
            let room = limits.entries_of_a_code.min(limits.entries - rows.len());
            let code: Option<String> = next.query_row([&last], |row| row.get(0)).optional()?;
            let (Some(code), 1..) = (code, room) else { break };
            let limit = i64::try_from(room).unwrap_or(i64::MAX);
            for row in of_code.query_and_then((&code, limit), usage_from_row)? {
                rows.push(row?);
            }
            last = code;
        }
        Ok(rows)
    }

    /// Puts these entries into a batch of their own, out of the one they may be in, and returns its id.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn begin_usage_batch(
        &mut self,
        batch: &UsageBatch,
        rows: &[UsageRow],
    ) -> Result<i64, StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO usage_batch (code, body, made_at, due_at, tries, error_code) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute((
                batch.held.as_ref().map(Code::as_str),
                &batch.body,
                batch.made_at.as_ms(),
                batch.due_at.as_ms(),
                batch.tries,
                &batch.error_code,
            ))?;
        let id = self.connection.last_insert_rowid();
        let mut put = self.connection.prepare_cached(
            "UPDATE usage SET state = 'sending', batch = ?1 \
             WHERE day = ?2 AND code = ?3 AND client = ?4 AND active_num = ?5",
        )?;
        for row in rows {
            let (client, number) = columns(&row.entry);
            put.execute((id, row.day, row.code.as_str(), client, number))?;
        }
        Ok(id)
    }

    /// The entries of a batch in the order in which they are sent.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn usage_of_batch(&self, id: i64) -> Result<Vec<UsageRow>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT day, code, client, active_num FROM usage WHERE batch = ?1 \
             ORDER BY code, day, client, active_num",
        )?;
        let rows = statement.query_and_then([id], usage_from_row)?;
        rows.collect()
    }

    /// Keeps a batch to be sent again; everything but its body may have changed.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn put_off_usage_batch(&mut self, batch: &UsageBatch) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE usage_batch SET code = ?2, due_at = ?3, tries = ?4, error_code = ?5 \
                 WHERE id = ?1",
            )?
            .execute((
                batch.id,
                batch.held.as_ref().map(Code::as_str),
                batch.due_at.as_ms(),
                batch.tries,
                &batch.error_code,
            ))?;
        Ok(())
    }

    /// Ends a batch: all entries that are left in it ended so. Returns how many there were.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn end_usage_batch(
        &mut self,
        id: i64,
        end: &UsageEnd,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let (state, error_code) = match end {
            UsageEnd::Sent => ("sent", None),
            UsageEnd::Failed(error_code) => ("failed", error_code.as_deref()),
        };
        let ended = self
            .connection
            .prepare_cached(
                "UPDATE usage SET state = ?2, error_code = ?3, settled_at = ?4, batch = NULL \
                 WHERE batch = ?1",
            )?
            .execute((id, state, error_code, now.as_ms()))?;
        self.connection.prepare_cached("DELETE FROM usage_batch WHERE id = ?1")?.execute([id])?;
        Ok(ended)
    }
}

fn batch_from_row(row: &Row<'_>) -> Result<UsageBatch, StoreError> {
    let id: i64 = row.get(0)?;
    let held = row.get::<_, Option<String>>(1)?.map(|text| Code::parse(&text)).transpose();
    Ok(UsageBatch {
        id,
        held: held.map_err(|_| StoreError::Damaged(format!("usage_batch {id}")))?,
        body: row.get(2)?,
        made_at: Timestamp::from_ms(row.get(3)?),
        due_at: Timestamp::from_ms(row.get(4)?),
        tries: row.get(5)?,
        error_code: row.get(6)?,
    })
}
