//! Table `event`: append-only, hash-chained, read by `authcoded log`.
//!
//! Invariant: rows are only inserted, by the writer, with ids that count up by one; each is a link of
//! the chain of events ([`super::chain`]).

use super::chain::{Cell, Chain, digest};
use super::{Snapshot, StoreError, Tx};
use crate::domain::license::Code;
use crate::domain::time::Timestamp;
use crate::domain::transition::{EventDraft, Source};
use rusqlite::{OptionalExtension as _, Row, named_params};

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
    /// The request that caused it, if one did.
    pub request_id: Option<String>,
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

impl EventRow {
    /// SHA-256 over every column but the hash.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        digest(&[
            Cell::Text("event"),
            Cell::Integer(self.id),
            Cell::Integer(self.at.as_ms()),
            Cell::text(self.code.as_deref()),
            Cell::Text(&self.kind),
            Cell::Text(&self.source),
            Cell::text(self.from.as_deref()),
            Cell::text(self.to.as_deref()),
            Cell::text(self.order_id.as_deref()),
            Cell::text(self.result_code.as_deref()),
            Cell::Text(&self.detail),
            Cell::text(self.request_id.as_deref()),
        ])
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
            id: self.heads().of(Chain::Events).id + 1,
            at,
            code: code.map(|code| code.as_str().to_owned()),
            kind: draft.kind.as_str().to_owned(),
            source: source.as_str().to_owned(),
            from: draft.from.map(|state| state.as_str().to_owned()),
            to: draft.to.map(|state| state.as_str().to_owned()),
            order_id: draft.order_id.as_ref().map(|id| id.as_str().to_owned()),
            result_code: draft.result_code.clone(),
            detail: draft.detail.clone(),
            hash: [0; 32],
            request_id: self.request.clone(),
        };
        row.hash = self.chain(Chain::Events, row.id, &row.digest());
        self.connection
            .prepare_cached(
                "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
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
                row.request_id,
            ])?;
        Ok(self.enter_hour(row.id, at)?)
    }
}

impl Snapshot<'_> {
    /// Events, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn events(&self, filter: &EventFilter) -> Result<Vec<EventRow>, StoreError> {
        let Some((above, below)) = self.ids_between(filter)? else { return Ok(Vec::new()) };
        let sql = sql(filter);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let rows = statement.query_map(
            named_params! {
                ":below": below,
                ":above": above,
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

    /// As [`Snapshot::events`], for what is looked at often and goes back a short while: nothing is read that is
    /// older than the last event before `since`. Where a clock was set back, events before that moment are left out.
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

    /// Between which ids the events wanted lie. The list is ordered by ids, because a clock may have been set
    /// back; `None` when there is none.
    fn ids_between(&self, filter: &EventFilter) -> Result<Option<(i64, i64)>, StoreError> {
        let (above, below) = (filter.above.unwrap_or(-1), filter.below.unwrap_or(i64::MAX));
        let any_time = filter.since.is_none() && filter.until.is_none();
        if any_time || filter.code.is_some() || filter.order_id.is_some() {
            return Ok(Some((above, below)));
        }
        let found = self.ids_of_time(filter.since, filter.until)?;
        Ok(found.map(|(after, before)| (above.max(after), below.min(before))))
    }
}

/// The statement for a filter. One column leads, by its index; a plus keeps the others out of the
/// planner's choice, which knows nothing of how many rows each would leave.
fn sql(filter: &EventFilter) -> String {
    let (code, order) = (filter.code.is_some(), filter.order_id.is_some());
    let kind = filter.kind.is_some();
    let mut sql = String::from("SELECT * FROM event WHERE id < :below AND id > :above");
    for (column, comparison, set, leads) in [
        ("code", "code = :code", code, true),
        ("order_id", "order_id = :order_id", order, !code),
        ("kind", "kind = :kind", kind, !code && !order),
        ("source", "source = :source", filter.source.is_some(), !code && !order && !kind),
        ("since", "at >= :since", filter.since.is_some(), false),
        ("until", "at < :until", filter.until.is_some(), false),
    ] {
        // Each parameter is named in either case, so that one list of bindings serves all.
        let condition = match (set, leads) {
            (false, _) => format!(" AND :{column} IS NULL"),
            (true, true) => format!(" AND {comparison}"),
            (true, false) => format!(" AND +{comparison}"),
        };
        sql.push_str(&condition);
    }
    sql.push_str(" ORDER BY id DESC LIMIT :limit");
    sql
}

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<EventRow> {
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
        request_id: row.get(11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// What SQLite is going to do.
    fn plan(connection: &Connection, sql: &str) -> String {
        let mut statement =
            connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("a statement");
        // Nothing is bound, because nothing is run.
        let mut rows = statement.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().expect("a plan") {
            steps.push(row.get::<_, String>(3).expect("text"));
        }
        steps.join("; ")
    }

    #[test]
    fn each_question_goes_by_an_index_and_nothing_is_sorted() {
        let connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch(include_str!("../../schema.sql")).expect("made");
        let text = || Some("x".to_owned());
        let at = Some(Timestamp::from_ms(1));
        let any = EventFilter::default();
        for (filter, index) in [
            (EventFilter { code: text(), ..any.clone() }, "event_by_code (code=? AND id"),
            (EventFilter { order_id: text(), ..any.clone() }, "event_by_order (order_id=? AND id"),
            (EventFilter { kind: text(), ..any.clone() }, "event_by_kind (kind=? AND id"),
            (
                EventFilter {
                    code: text(),
                    kind: text(),
                    source: text(),
                    since: at,
                    ..any.clone()
                },
                "event_by_code (code=? AND id",
            ),
            (
                EventFilter { order_id: text(), kind: text(), until: at, ..any.clone() },
                "event_by_order (order_id=? AND id",
            ),
            (
                EventFilter { kind: text(), source: text(), since: at, ..any.clone() },
                "event_by_kind (kind=? AND id",
            ),
            (
                EventFilter { source: text(), until: at, ..any.clone() },
                "event_by_source (source=? AND id",
            ),
            (EventFilter { since: at, until: at, ..any }, "PRIMARY KEY (rowid"),
        ] {
            let plan = plan(&connection, &sql(&filter));
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{filter:?}: {plan}");
        }
    }
}
