//! Table `outbox`: marketplace calls we owe. One row per code and kind of call, so that they coalesce.
//!
//! A row whose `sent_at` is set is an open intent: the call left, and its answer is not known.

use super::{Snapshot, StoreError, Tx};
use crate::domain::license::Code;
use crate::domain::time::Timestamp;
use rusqlite::{OptionalExtension as _, Row};

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Activate the code.
    Activate,
    /// Ask for the code's status.
    Query,
    /// Ask once more, later, besides any [`Call::Query`].
    QueryAgain,
}

impl Call {
    const ALL: [Self; 3] = [Self::Activate, Self::Query, Self::QueryAgain];

    /// The word in the column.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Query => "query",
            Self::QueryAgain => "query_again",
        }
    }
}

/// A call we owe.
#[derive(Debug, Clone)]
pub struct Owed {
    /// The code to call about.
    pub code: Code,
    /// The kind of call.
    pub call: Call,
    /// Not before.
    pub due_at: Timestamp,
    /// Tries that got no usable answer.
    pub attempts: u32,
    /// When the call left, if its answer is not known.
    pub sent_at: Option<Timestamp>,
}

/// A code whose activation waits for its buyer.
#[derive(Debug, Clone)]
pub struct BuyerWait {
    /// The code.
    pub code: String,
    /// Since when the activation has been owed.
    pub since: Timestamp,
    /// When it is tried next.
    pub due_at: Timestamp,
}

impl Tx<'_> {
    /// Owes a call at `due_at`, or earlier if it is owed earlier already.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn owe(
        &mut self,
        code: &Code,
        call: Call,
        due_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO outbox VALUES (?1, ?2, ?3, 0, NULL, ?4) ON CONFLICT (code, call) \
                 DO UPDATE SET due_at = min(due_at, excluded.due_at), attempts = 0",
            )?
            .execute((code.as_str(), call.as_str(), due_at.as_ms(), now.as_ms()))?;
        Ok(())
    }

    /// Owes a call at exactly `due_at`, with what is known of earlier tries.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn owe_at(&mut self, owed: &Owed, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO outbox VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (code, call) \
                 DO UPDATE SET due_at = excluded.due_at, attempts = excluded.attempts, \
                 sent_at = excluded.sent_at",
            )?
            .execute((
                owed.code.as_str(),
                owed.call.as_str(),
                owed.due_at.as_ms(),
                owed.attempts,
                owed.sent_at.map(Timestamp::as_ms),
                now.as_ms(),
            ))?;
        Ok(())
    }

    /// What is owed of this kind for this code.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn owed(&self, code: &Code, call: Call) -> Result<Option<Owed>, StoreError> {
        let found = self
            .connection
            .prepare_cached("SELECT * FROM outbox WHERE code = ?1 AND call = ?2")?
            .query_row((code.as_str(), call.as_str()), |row| Ok(from_row(row)))
            .optional()?;
        found.transpose()
    }

    /// Owes this call no more.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn settle(&mut self, code: &Code, call: Call) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("DELETE FROM outbox WHERE code = ?1 AND call = ?2")?
            .execute((code.as_str(), call.as_str()))?;
        Ok(())
    }
}

impl Snapshot<'_> {
    /// Calls that are due, the longest due first.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn due_calls(&self, now: Timestamp, limit: i64) -> Result<Vec<Owed>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT * FROM outbox WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2")?;
        let rows = statement.query_and_then((now.as_ms(), limit), from_row)?;
        rows.collect()
    }

    /// When the next call is due that is not due yet.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn next_call_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT min(due_at) FROM outbox WHERE due_at > ?1")?
            .query_row([now.as_ms()], |row| row.get::<_, Option<i64>>(0))?
            .map(Timestamp::from_ms))
    }

    /// Codes whose activation waits for the buyer, the longest waiting first.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn buyer_waits(&self, limit: usize) -> Result<Vec<BuyerWait>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT code, outbox.created_at, due_at FROM outbox JOIN license USING (code) \
             WHERE call = 'activate' AND last_error_code = '92020004' \
             ORDER BY outbox.created_at LIMIT ?1",
        )?;
        let rows = statement.query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok(BuyerWait {
                code: row.get(0)?,
                since: Timestamp::from_ms(row.get(1)?),
                due_at: Timestamp::from_ms(row.get(2)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Codes whose activation waits for the buyer.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn waiting_for_buyer(&self) -> Result<i64, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "SELECT count(*) FROM outbox JOIN license USING (code) \
                 WHERE call = 'activate' AND last_error_code = '92020004'",
            )?
            .query_row([], |row| row.get(0))?)
    }
}

fn from_row(row: &Row<'_>) -> Result<Owed, StoreError> {
    let (code, call): (String, String) = (row.get(0)?, row.get(1)?);
    let damaged = || StoreError::Damaged(format!("outbox {code} {call}"));
    Ok(Owed {
        code: Code::parse(&code).map_err(|_| damaged())?,
        call: Call::ALL.into_iter().find(|c| c.as_str() == call).ok_or_else(damaged)?,
        due_at: Timestamp::from_ms(row.get(2)?),
        attempts: row.get(3)?,
        sent_at: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_ms),
    })
}
