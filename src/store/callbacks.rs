//! Tables `callback` (the inbox), `replay` (nonces) and `ledger` (orders that have had their effect).

use super::chain::{Cell, Chain, Link, digest, ends};
use super::{Snapshot, StoreError, Tx};
use crate::domain::license::Code;
use crate::domain::outcome::ResultCode;
use crate::domain::time::{DateText, Timestamp};
use rusqlite::{OptionalExtension as _, Row, named_params};
use std::sync::Arc;

/// The callbacks of their chain in its order, and those of the test traffic's.
pub(super) const IN_CHAIN: &str = "SELECT * FROM callback WHERE verdict <> 'test' ORDER BY id";
pub(super) const IN_TEST_CHAIN: &str = "SELECT * FROM callback WHERE verdict = 'test' ORDER BY id";

/// What was decided of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It had its effect, which may have been none.
    Applied,
    /// It had had its effect before; the stored answer was given.
    Repeated,
    /// It was older than what was applied before.
    Stale,
    /// Its code is not known here, and the marketplace could not be asked in time.
    Orphan,
    /// Test traffic: checked, answered, without effect.
    Test,
    /// Not authentic, malformed, unknown or impossible.
    Refused,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 6] =
        [Self::Applied, Self::Repeated, Self::Stale, Self::Orphan, Self::Test, Self::Refused];

    /// The word used in columns, JSON, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Repeated => "repeated",
            Self::Stale => "stale",
            Self::Orphan => "orphan",
            Self::Test => "test",
            Self::Refused => "refused",
        }
    }
}

/// A callback to be recorded.
#[derive(Debug, Clone)]
pub struct CallbackDraft {
    /// Our clock.
    pub received_at: Timestamp,
    /// As sent; empty when it could not be read.
    pub activity: String,
    /// The code concerned.
    pub code: Option<String>,
    /// `testFlag`.
    pub test: bool,
    /// The signed timestamp, if the signature holds.
    pub signed_at: Option<Timestamp>,
    /// What was decided.
    pub verdict: Verdict,
    /// What was answered.
    pub result_code: ResultCode,
    /// Why, for people.
    pub detail: String,
    /// What the signature doctor found: a word, if it was asked.
    pub doctor: Option<&'static str>,
    /// From the last byte of the request to the decision, in milliseconds.
    pub duration_ms: i64,
    /// The bytes as received.
    pub body: Vec<u8>,
    /// The request's head as received, without secrets: JSON.
    pub head: Arc<str>,
    /// The bytes of the answer.
    pub reply: Vec<u8>,
    /// Our clock minus the marketplace's, in milliseconds, if it was known.
    pub clock_skew_ms: Option<i64>,
}

/// A callback as stored. What an earlier version did not keep is `None`.
#[derive(Debug, Clone)]
pub struct CallbackRow {
    /// Counts up.
    pub id: i64,
    /// Our clock.
    pub received_at: Timestamp,
    /// As sent.
    pub activity: String,
    /// The code concerned.
    pub code: Option<String>,
    /// `testFlag`.
    pub test: bool,
    /// The signed timestamp.
    pub signed_at: Option<Timestamp>,
    /// What was decided.
    pub verdict: String,
    /// What was answered.
    pub result_code: String,
    /// Why.
    pub detail: String,
    /// What the signature doctor found: a word, if it was asked.
    pub doctor: Option<String>,
    /// From the last byte to the decision, in milliseconds.
    pub duration_ms: i64,
    /// The bytes as received.
    pub body: Vec<u8>,
    /// The request's id, as in the log.
    pub request_id: Option<String>,
    /// The request's head as received, without secrets: JSON.
    pub head: Option<String>,
    /// The bytes of the answer.
    pub reply: Option<Vec<u8>>,
    /// Our clock minus the marketplace's, in milliseconds.
    pub clock_skew_ms: Option<i64>,
    /// The link of its chain.
    pub hash: [u8; 32],
}

impl CallbackRow {
    /// The chain it is a link of.
    #[must_use]
    pub fn chain(&self) -> Chain {
        if self.verdict == Verdict::Test.as_str() { Chain::Tests } else { Chain::Callbacks }
    }

    /// SHA-256 over every column but the hash and what may change later: an orphan's end.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let Self { signed_at, head, reply, .. } = self;
        row_digest(&[
            Cell::Integer(self.id),
            Cell::Integer(self.received_at.as_ms()),
            Cell::Text(&self.activity),
            Cell::text(self.code.as_deref()),
            Cell::Integer(i64::from(self.test)),
            Cell::integer(signed_at.map(Timestamp::as_ms)),
            Cell::Text(&self.verdict),
            Cell::Text(&self.result_code),
            Cell::Text(&self.detail),
            Cell::text(self.doctor.as_deref()),
            Cell::Integer(self.duration_ms),
            Cell::Bytes(&self.body),
            Cell::text(self.request_id.as_deref()),
            Cell::text(head.as_deref()),
            reply.as_deref().map_or(Cell::Absent, Cell::Bytes),
            Cell::integer(self.clock_skew_ms),
        ])
    }
}

impl CallbackDraft {
    const fn chain(&self) -> Chain {
        match self.verdict {
            Verdict::Test => Chain::Tests,
            Verdict::Applied
            | Verdict::Repeated
            | Verdict::Stale
            | Verdict::Orphan
            | Verdict::Refused => Chain::Callbacks,
        }
    }

    /// As [`CallbackRow::digest`].
    fn digest(&self, id: i64, request_id: Option<&str>) -> [u8; 32] {
        row_digest(&[
            Cell::Integer(id),
            Cell::Integer(self.received_at.as_ms()),
            Cell::Text(&self.activity),
            Cell::text(self.code.as_deref()),
            Cell::Integer(i64::from(self.test)),
            Cell::integer(self.signed_at.map(Timestamp::as_ms)),
            Cell::Text(self.verdict.as_str()),
            Cell::Text(self.result_code.as_str()),
            Cell::Text(&self.detail),
            Cell::text(self.doctor),
            Cell::Integer(self.duration_ms),
            Cell::Bytes(&self.body),
            Cell::text(request_id),
            Cell::Text(&self.head),
            Cell::Bytes(&self.reply),
            Cell::integer(self.clock_skew_ms),
        ])
    }
}

/// The columns in their order, behind the table's name.
fn row_digest(columns: &[Cell<'_>; 16]) -> [u8; 32] {
    let mut cells = [Cell::Text("callback"); 17];
    cells[1..].copy_from_slice(columns);
    digest(&cells)
}

/// What is known of a nonce.
#[derive(Debug, Clone)]
pub struct Replay {
    /// The signed timestamp.
    pub signed_at: Timestamp,
    /// The nonce, decoded once.
    pub nonce: String,
    /// SHA-256 of the body.
    pub body_digest: [u8; 32],
}

/// An order's effect on a code.
#[derive(Debug, Clone)]
pub struct LedgerEntry {
    /// The code.
    pub code: Code,
    /// `RENEWAL`, `UNSUBSCRIBE_RENEWAL_PERIOD` or `RELEASE`.
    pub scene: &'static str,
    /// Empty for a release without an order.
    pub order_id: String,
    /// Empty for a release.
    pub order_line_id: String,
    /// The expiry it sets.
    pub expires_text: Option<DateText>,
    /// SHA-256 of the meaningful fields.
    pub content: [u8; 32],
}

/// An authentic callback whose code we do not know, kept until the marketplace can be asked.
#[derive(Debug, Clone)]
pub struct Orphan {
    /// The callback's id.
    pub id: i64,
    /// The signed timestamp.
    pub signed_at: Timestamp,
    /// The bytes as received; their signature held.
    pub body: Vec<u8>,
}

impl Tx<'_> {
    /// Records a callback and returns its id.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn insert_callback(&mut self, draft: &CallbackDraft) -> Result<i64, StoreError> {
        let id = self.next_callback();
        let hash = self.chain(draft.chain(), id, &draft.digest(id, self.request.as_deref()));
        self.connection
            .prepare_cached(
                "INSERT INTO callback (id, received_at, activity, code, test, signed_at, verdict, \
                 result_code, detail, doctor, duration_ms, body, request_id, head, reply, \
                 clock_skew_ms, hash) VALUES \
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            )?
            .execute(rusqlite::params![
                id,
                draft.received_at.as_ms(),
                draft.activity,
                draft.code,
                draft.test,
                draft.signed_at.map(Timestamp::as_ms),
                draft.verdict.as_str(),
                draft.result_code.as_str(),
                draft.detail,
                draft.doctor,
                draft.duration_ms,
                draft.body,
                self.request,
                draft.head,
                draft.reply,
                draft.clock_skew_ms,
                hash,
            ])?;
        Ok(id)
    }

    /// The answer given to this nonce before, and whether the body was the same.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn replayed(&self, replay: &Replay) -> Result<Option<(ResultCode, bool)>, StoreError> {
        let found: Option<(String, [u8; 32])> = self
            .connection
            .prepare_cached(
                "SELECT result_code, body_digest FROM replay WHERE signed_at = ?1 AND nonce = ?2",
            )?
            .query_row((replay.signed_at.as_ms(), &replay.nonce), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        found
            .map(|(code, digest)| {
                let code = ResultCode::parse(&code)
                    .ok_or_else(|| StoreError::Damaged(format!("replay {}", replay.nonce)))?;
                Ok((code, digest == replay.body_digest))
            })
            .transpose()
    }

    /// Stores the answer given to a nonce.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn remember_nonce(
        &mut self,
        replay: &Replay,
        answer: ResultCode,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO replay VALUES (?1, ?2, ?3, ?4)")?
            .execute(rusqlite::params![
                replay.signed_at.as_ms(),
                replay.nonce,
                replay.body_digest,
                answer.as_str(),
            ])?;
        Ok(())
    }

    /// Forgets nonces signed before `before`. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn prune_nonces(&mut self, before: Timestamp) -> Result<usize, StoreError> {
        Ok(self
            .connection
            .prepare_cached("DELETE FROM replay WHERE signed_at < ?1")?
            .execute([before.as_ms()])?)
    }

    /// The answer that an order with this key got before, and whether its content was the same.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn ledger_answer(
        &self,
        entry: &LedgerEntry,
    ) -> Result<Option<(ResultCode, bool)>, StoreError> {
        let found: Option<(String, [u8; 32])> = self
            .connection
            .prepare_cached(
                "SELECT result_code, content FROM ledger \
                 WHERE code = ?1 AND scene = ?2 AND order_id = ?3 AND order_line_id = ?4",
            )?
            .query_row(
                (entry.code.as_str(), entry.scene, &entry.order_id, &entry.order_line_id),
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        found
            .map(|(code, content)| {
                let code = ResultCode::parse(&code)
                    .ok_or_else(|| StoreError::Damaged(format!("ledger {}", entry.order_id)))?;
                Ok((code, content == entry.content))
            })
            .transpose()
    }

    /// Enters an order's effect.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn enter_in_ledger(
        &mut self,
        entry: &LedgerEntry,
        answer: ResultCode,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT INTO ledger VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
            .execute(rusqlite::params![
                entry.code.as_str(),
                entry.scene,
                entry.order_id,
                entry.order_line_id,
                entry.expires_text.as_ref().map(DateText::as_str),
                entry.content,
                answer.as_str(),
                now.as_ms(),
            ])?;
        Ok(())
    }

    /// The unsettled orphans of a code, in the order they came.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn orphans(&self, code: &Code) -> Result<Vec<Orphan>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, signed_at, body FROM callback \
             WHERE code = ?1 AND verdict = 'orphan' AND settled_at IS NULL ORDER BY id",
        )?;
        let rows = statement.query_map([code.as_str()], |row| {
            Ok(Orphan {
                id: row.get(0)?,
                signed_at: Timestamp::from_ms(row.get(1)?),
                body: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Marks an orphan as settled.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn settle_orphan(&mut self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE callback SET settled_at = ?2 WHERE id = ?1")?
            .execute((id, now.as_ms()))?;
        Ok(())
    }

    /// Forgets the oldest rows of a chain as long as each of them may go: `may_go` is told when it was
    /// received, and when a freeze of its code last began. The first one that must stay ends it, and so
    /// does an unsettled orphan, because a chain has no holes. At most `limit` at once; returns how many.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn prune_callbacks(
        &mut self,
        chain: Chain,
        may_go: impl Fn(Timestamp, Option<Timestamp>) -> bool,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let (anchor, _) = ends(self.connection, chain)?;
        let is_test = chain == Chain::Tests;
        let mut gone: Option<(Link, usize)> = None;
        {
            let mut oldest = self.connection.prepare_cached(
                "SELECT id, hash, received_at, verdict = 'orphan' AND settled_at IS NULL, \
                 (SELECT max(+at) FROM event WHERE code = callback.code AND +kind = 'frozen') \
                 FROM callback WHERE id > ?3 AND (verdict = 'test') = ?1 ORDER BY id LIMIT ?2",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let mut rows = oldest.query((is_test, limit, anchor.id))?;
            while let Some(row) = rows.next()? {
                let received_at = Timestamp::from_ms(row.get(2)?);
                let frozen_at = row.get::<_, Option<i64>>(4)?.map(Timestamp::from_ms);
                if row.get(3)? || !may_go(received_at, frozen_at) {
                    break;
                }
                let count = gone.map_or(0, |(_, count)| count) + 1;
                gone = Some((Link { id: row.get(0)?, hash: row.get(1)? }, count));
            }
        }
        let Some((last, count)) = gone else { return Ok(0) };
        self.connection
            .prepare_cached(
                "DELETE FROM callback WHERE id > ?1 AND id <= ?2 AND (verdict = 'test') = ?3",
            )?
            .execute((anchor.id, last.id, is_test))?;
        self.anchor(chain, last)?;
        Ok(count)
    }
}

/// Which callbacks a list shows; the newest come first.
#[derive(Debug, Clone, Default)]
pub struct CallbackFilter {
    /// Only of this code.
    pub code: Option<String>,
    /// Only with this verdict.
    pub verdict: Option<String>,
    /// Only of this activity.
    pub activity: Option<String>,
    /// Only with a smaller id: the cursor.
    pub below: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

impl Snapshot<'_> {
    /// Callbacks, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn callbacks(&self, filter: &CallbackFilter) -> Result<Vec<CallbackRow>, StoreError> {
        let by_code = if filter.code.is_some() { "code = :code" } else { ":code IS NULL" };
        let sql = format!(
            "SELECT * FROM callback WHERE id < :below AND {by_code} \
             AND (:verdict IS NULL OR verdict = :verdict) \
             AND (:activity IS NULL OR activity = :activity) ORDER BY id DESC LIMIT :limit"
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map(
            named_params! {
                ":below": filter.below.unwrap_or(i64::MAX),
                ":code": filter.code,
                ":verdict": filter.verdict,
                ":activity": filter.activity,
                ":limit": i64::try_from(filter.limit).unwrap_or(i64::MAX),
            },
            from_row,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One callback.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn callback(&self, id: i64) -> Result<Option<CallbackRow>, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT * FROM callback WHERE id = ?1")?
            .query_row([id], from_row)
            .optional()?)
    }

    /// How many orphans are not settled.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn orphan_count(&self) -> Result<i64, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "SELECT count(*) FROM callback WHERE verdict = 'orphan' AND settled_at IS NULL",
            )?
            .query_row([], |row| row.get(0))?)
    }
}

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<CallbackRow> {
    Ok(CallbackRow {
        id: row.get("id")?,
        received_at: Timestamp::from_ms(row.get("received_at")?),
        activity: row.get("activity")?,
        code: row.get("code")?,
        test: row.get("test")?,
        signed_at: row.get::<_, Option<i64>>("signed_at")?.map(Timestamp::from_ms),
        verdict: row.get("verdict")?,
        result_code: row.get("result_code")?,
        detail: row.get("detail")?,
        doctor: row.get("doctor")?,
        duration_ms: row.get("duration_ms")?,
        body: row.get("body")?,
        request_id: row.get("request_id")?,
        head: row.get("head")?,
        reply: row.get("reply")?,
        clock_skew_ms: row.get("clock_skew_ms")?,
        hash: row.get("hash")?,
    })
}
