//! Table `event`: append-only, hash-chained, read by `authcoded log`.
//!
//! Invariant: rows are only inserted, by the writer, with ids that count up by one; each hash covers
//! the hash before it, so that a row changed, removed or moved is found.

use super::{Snapshot, StoreError, Tx};
use crate::domain::license::Code;
use crate::domain::time::Timestamp;
use crate::domain::transition::{EventDraft, Source};
use ring::digest::{Context, SHA256};
use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

/// The hash before the first event.
const GENESIS: [u8; 32] = [0; 32];

/// The end of the chain.
#[derive(Debug, Clone)]
pub(super) struct ChainHead {
    id: i64,
    hash: [u8; 32],
}

/// An event as stored.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// Counts up by one.
    pub id: i64,
    /// Our clock.
    pub at: Timestamp,
    /// The code concerned.
    pub code: Option<String>,
    /// What happened.
    pub kind: String,
    /// From which side.
    pub source: String,
    /// The state before.
    pub from: Option<String>,
    /// The state after.
    pub to: Option<String>,
    /// The order concerned.
    pub order_id: Option<String>,
    /// The code the marketplace or we answered.
    pub result_code: Option<String>,
    /// For people.
    pub detail: String,
    /// The link of the chain.
    pub hash: [u8; 32],
}

/// Which events a list shows; the newest come first.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only of this code.
    pub code: Option<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only from this source.
    pub source: Option<String>,
    /// Only of this order.
    pub order_id: Option<String>,
    /// Only at or after.
    pub since: Option<Timestamp>,
    /// Only before.
    pub until: Option<Timestamp>,
    /// Only with a smaller id: the cursor.
    pub below: Option<i64>,
    /// Only with a greater id: for following.
    pub above: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

/// What a walk along the chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainReport {
    /// Events walked.
    pub events: i64,
    /// The first event whose link does not hold.
    pub broken_at: Option<i64>,
}

impl ChainHead {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let last = connection
            .query_row("SELECT id, hash FROM event ORDER BY id DESC LIMIT 1", [], |row| {
                Ok(Self { id: row.get(0)?, hash: row.get(1)? })
            })
            .optional()?;
        Ok(last.unwrap_or(Self { id: 0, hash: GENESIS }))
    }
}

impl Tx<'_> {
    /// Appends an event.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn append_event(
        &mut self,
        at: Timestamp,
        code: Option<&Code>,
        source: Source,
        draft: &EventDraft,
    ) -> Result<(), StoreError> {
        let mut row = EventRow {
            id: self.chain.id + 1,
            at,
            code: code.map(|code| code.as_str().to_owned()),
            kind: draft.kind.as_str().to_owned(),
            source: source.as_str().to_owned(),
            from: draft.from.map(|state| state.as_str().to_owned()),
            to: draft.to.map(|state| state.as_str().to_owned()),
            order_id: draft.order_id.as_ref().map(|id| id.as_str().to_owned()),
            result_code: draft.result_code.clone(),
            detail: draft.detail.clone(),
            hash: GENESIS,
        };
        row.hash = link(&self.chain.hash, &row);
        self.connection
            .prepare_cached(
                "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(rusqlite::params![
                row.id,
                row.at.as_ms(),
                row.code,
                row.kind,
                row.source,
                row.from,
                row.to,
                row.order_id,
                row.result_code,
                row.detail,
                row.hash,
            ])?;
        self.chain = ChainHead { id: row.id, hash: row.hash };
        Ok(())
    }
}

impl Snapshot<'_> {
    /// Events, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn events(&self, filter: &EventFilter) -> Result<Vec<EventRow>, StoreError> {
        let mut sql = String::from("SELECT * FROM event WHERE id < :below AND id > :above");
        for (column, comparison, set) in [
            ("code", "code = :code", filter.code.is_some()),
            ("kind", "kind = :kind", filter.kind.is_some()),
            ("source", "source = :source", filter.source.is_some()),
            ("order_id", "order_id = :order_id", filter.order_id.is_some()),
            ("since", "at >= :since", filter.since.is_some()),
            ("until", "at < :until", filter.until.is_some()),
        ] {
            // Each parameter is named in either case, so that one list of bindings serves all.
            let unset = format!(":{column} IS NULL");
            sql.push_str(" AND ");
            sql.push_str(if set { comparison } else { &unset });
        }
        sql.push_str(" ORDER BY id DESC LIMIT :limit");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map(
            named_params! {
                ":below": filter.below.unwrap_or(i64::MAX),
                ":above": filter.above.unwrap_or(-1),
                ":code": filter.code,
                ":kind": filter.kind,
                ":source": filter.source,
                ":order_id": filter.order_id,
                ":since": filter.since.map(Timestamp::as_ms),
                ":until": filter.until.map(Timestamp::as_ms),
                ":limit": i64::try_from(filter.limit).unwrap_or(i64::MAX),
            },
            from_row,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The last event's hash.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub(super) fn chain_end(&self) -> Result<Option<[u8; 32]>, StoreError> {
        let head = ChainHead::load(self.connection)?;
        Ok((head.id > 0).then_some(head.hash))
    }

    /// When the first event was: about when this installation began.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn began_at(&self) -> Result<Option<Timestamp>, StoreError> {
        let mut first =
            self.connection.prepare_cached("SELECT at FROM event ORDER BY id LIMIT 1")?;
        let at = first.query_row([], |row| row.get(0)).optional()?;
        Ok(at.map(Timestamp::from_ms))
    }

    /// The same, for what is looked at often and goes back a short while: nothing is read that is older than
    /// the last event before `since`. Where a clock was set back, events before that moment are left out.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn recent_events(&self, filter: &EventFilter) -> Result<Vec<EventRow>, StoreError> {
        let since = filter.since.map_or(i64::MIN, Timestamp::as_ms);
        let older: Option<i64> = self
            .connection
            .prepare_cached("SELECT id FROM event WHERE at < ?1 ORDER BY id DESC LIMIT 1")?
            .query_row([since], |row| row.get(0))
            .optional()?;
        self.events(&EventFilter { above: older.max(filter.above), ..filter.clone() })
    }

    /// Walks the chain from its beginning.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn verify_chain(&self) -> Result<ChainReport, StoreError> {
        let mut statement = self.connection.prepare("SELECT * FROM event ORDER BY id")?;
        let mut rows = statement.query([])?;
        let (mut events, mut before) = (0, GENESIS);
        while let Some(row) = rows.next()? {
            let row = from_row(row)?;
            if row.id != events + 1 || row.hash != link(&before, &row) {
                return Ok(ChainReport { events, broken_at: Some(row.id) });
            }
            before = row.hash;
            events += 1;
        }
        Ok(ChainReport { events, broken_at: None })
    }
}

/// SHA-256 over the hash before and every column but the hash. Each column is preceded by its length
/// as eight bytes, big-endian, and an absent one by eight bytes of 0xff, so that no two rows share a text.
fn link(before: &[u8; 32], row: &EventRow) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(&row.id.to_be_bytes());
    context.update(&row.at.as_ms().to_be_bytes());
    let columns = [
        row.code.as_deref(),
        Some(&row.kind),
        Some(&row.source),
        row.from.as_deref(),
        row.to.as_deref(),
        row.order_id.as_deref(),
        row.result_code.as_deref(),
        Some(&row.detail),
    ];
    for column in columns {
        match column {
            Some(text) => {
                context.update(&(text.len() as u64).to_be_bytes());
                context.update(text.as_bytes());
            }
            None => context.update(&[0xff; 8]),
        }
    }
    let mut hash = GENESIS;
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
    Ok(EventRow {
        id: row.get(0)?,
        at: Timestamp::from_ms(row.get(1)?),
        code: row.get(2)?,
        kind: row.get(3)?,
        source: row.get(4)?,
        from: row.get(5)?,
        to: row.get(6)?,
        order_id: row.get(7)?,
        result_code: row.get(8)?,
        detail: row.get(9)?,
        hash: row.get(10)?,
    })
}
