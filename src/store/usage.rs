//! Tables `usage` and `usage_batch`: what the software reported of its use, and the reports under way.
//!
//! Invariants: a client is stored once per code and Beijing day, and as its hash only; an entry of a batch
//! does not change until the batch has ended, so that the batch can be sent again as it was.

use super::{Snapshot, StoreError, Tx};
use crate::domain::license::Code;
use crate::domain::time::Timestamp;
use crate::domain::usage::{ActiveNum, ClientHash, Entry};
use rusqlite::{OptionalExtension as _, Row, named_params};
use std::str::FromStr;

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

/// Where the entries of a code and day stand, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageState {
    /// Some were given up.
    Failed,
    /// Some are not sent yet, or their answer is not known.
    Waiting,
    /// All were taken.
    Sent,
}

impl UsageState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Failed, Self::Waiting, Self::Sent];

    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Waiting => "waiting",
            Self::Sent => "sent",
        }
    }
}

/// Why a word is no [`UsageState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not failed, waiting or sent")]
pub struct BadUsageState;

impl FromStr for UsageState {
    type Err = BadUsageState;
    fn from_str(word: &str) -> Result<Self, BadUsageState> {
        Self::ALL.into_iter().find(|state| state.as_str() == word).ok_or(BadUsageState)
    }
}

/// What was reported of a code on a day.
#[derive(Debug, Clone)]
pub struct UsageDay {
    /// The Beijing day, counted from 1970-01-01.
    pub day: i64,
    /// The code.
    pub code: String,
    /// Clients.
    pub clients: i64,
    /// The greatest count.
    pub active_num: Option<i64>,
    /// Entries that are not sent yet, or whose answer is not known.
    pub waiting: i64,
    /// Entries taken.
    pub sent: i64,
    /// Entries given up.
    pub failed: i64,
    /// The marketplace's code for those that wait or were given up.
    pub error_code: Option<String>,
}

impl UsageDay {
    /// Where it stands.
    #[must_use]
    pub const fn state(&self) -> UsageState {
        if self.failed > 0 {
            UsageState::Failed
        } else if self.waiting > 0 {
            UsageState::Waiting
        } else {
            UsageState::Sent
        }
    }
}

/// Which days a list shows; the newest come first.
#[derive(Debug, Clone, Default)]
pub struct UsageFilter {
    /// Only of this code.
    pub code: Option<String>,
    /// Only in this state.
    pub state: Option<UsageState>,
    /// Only after this place of the list.
    pub after: Option<(i64, String)>,
    /// At most so many.
    pub limit: usize,
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

    /// What was reported, by day and code, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn usage_days(&self, filter: &UsageFilter) -> Result<Vec<UsageDay>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT day, code, sum(client <> x''), max(CASE client WHEN x'' THEN active_num END), \
             sum(state IN ('waiting','sending')) AS waiting, sum(state = 'sent'), \
             sum(state = 'failed') AS failed, max(coalesce(error_code, \
             (SELECT error_code FROM usage_batch WHERE id = batch))) \
             FROM usage WHERE (day, code) < (:day, :after) AND (:code IS NULL OR code = :code) \
             GROUP BY day, code HAVING :state IS NULL OR :state = \
             CASE WHEN failed > 0 THEN 'failed' WHEN waiting > 0 THEN 'waiting' ELSE 'sent' END \
             ORDER BY day DESC, code DESC LIMIT :limit",
        )?;
        let (day, after) = filter.after.clone().unwrap_or((i64::MAX, String::new()));
        let rows = statement.query_map(
            named_params! {
                ":day": day,
                ":after": after,
                ":code": filter.code,
                ":state": filter.state.map(UsageState::as_str),
                ":limit": i64::try_from(filter.limit).unwrap_or(i64::MAX),
            },
            |row| {
                Ok(UsageDay {
                    day: row.get(0)?,
                    code: row.get(1)?,
                    clients: row.get(2)?,
                    active_num: row.get(3)?,
                    waiting: row.get(4)?,
                    sent: row.get(5)?,
                    failed: row.get(6)?,
                    error_code: row.get(7)?,
                })
            },
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
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
