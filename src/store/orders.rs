//! Table `order_notice`: orders that the marketplace told us of, and the query that is owed about each.
//!
//! Invariant: whether an order's code has come is read from the licences; the column `code` only keeps
//! what was seen, so that counting looks at open orders alone.

use super::{Snapshot, StoreError, Tx};
use crate::domain::license::{OrderId, OrderLineId};
use crate::domain::order::OrderState;
use crate::domain::outcome::ResultCode;
use crate::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

/// The columns in the order that [`from_row`] reads them; the last two are worked out.
macro_rules! columns {
    () => {
        "id, order_id, order_line_id, notified_at, result_code, query_due_at, attempts, queried_at, \
         kind, created_at, product_id, ends_at, lines, refused, last_error_code, code, \
         CASE WHEN code IS NOT NULL THEN 'arrived' WHEN refused IS NOT NULL THEN 'unknown' \
         WHEN brings_code = 0 THEN 'no_code' ELSE 'awaited' END AS state"
    };
}

/// The orders with the code that came for each, whether the worker has seen it or not.
macro_rules! orders {
    () => {
        "(SELECT id, order_id, order_line_id, notified_at, result_code, query_due_at, attempts, \
         queried_at, kind, created_at, product_id, ends_at, lines, brings_code, refused, \
         last_error_code, coalesce(code, (SELECT min(license.code) FROM license \
         WHERE license.order_id = order_notice.order_id)) AS code FROM order_notice)"
    };
}

/// What the marketplace said of an order.
#[derive(Debug, Clone, Default)]
pub struct OrderFacts {
    /// `NEW`, `RENEW` and the like, as sent.
    pub kind: Option<String>,
    /// When it was placed.
    pub created_at: Option<Timestamp>,
    /// The product of the line we were told of.
    pub product_id: Option<String>,
    /// The end of what was bought.
    pub ends_at: Option<Timestamp>,
    /// JSON array: every line.
    pub lines: String,
}

/// An order as lists show it.
#[derive(Debug, Clone)]
pub struct OrderRow {
    /// Counts up; `None` for one that nobody told us of.
    pub id: Option<i64>,
    /// Its number.
    pub order_id: OrderId,
    /// Its line, if the notice named one.
    pub order_line_id: Option<OrderLineId>,
    /// How it stands.
    pub state: OrderState,
    /// The first code, by name, that came with it.
    pub code: Option<String>,
    /// Our clock when we were first told; `None` for one that nobody told us of.
    pub notified_at: Option<Timestamp>,
    /// What was answered then.
    pub result_code: ResultCode,
    /// When the last usable answer was asked for.
    pub queried_at: Option<Timestamp>,
    /// What it said.
    pub facts: OrderFacts,
    /// When the query is tried next, if it is owed.
    pub query_due_at: Option<Timestamp>,
    /// Queries without a usable answer, since the last one that had one.
    pub attempts: u32,
    /// Why the marketplace does not let us read it.
    pub refused: Option<String>,
    /// The marketplace's code, if the last query was not a success.
    pub last_error_code: Option<String>,
}

/// Which orders a list shows; the newest come first.
#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    /// Only in this state.
    pub state: Option<OrderState>,
    /// Only with a smaller id: the cursor.
    pub below: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

/// Orders whose code has not come.
#[derive(Debug, Clone)]
pub struct Overdue {
    /// How many.
    pub count: i64,
    /// The one we were told of first.
    pub oldest: String,
    /// When that was.
    pub since: Timestamp,
}

impl Tx<'_> {
    /// The order with this number, if we were told of it.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn order(&self, order_id: &OrderId) -> Result<Option<OrderRow>, StoreError> {
        find(self.connection, order_id)
    }

    /// Stores an order that we are told of for the first time, and owes its query at once.
    ///
    /// # Errors
    /// [`StoreError::Sql`]; a second row for the same order is one.
    pub fn insert_order(
        &mut self,
        order_id: &OrderId,
        order_line_id: Option<&OrderLineId>,
        answer: ResultCode,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO order_notice (order_id, order_line_id, notified_at, result_code, \
                 query_due_at, attempts, lines, brings_code) VALUES (?1, ?2, ?3, ?4, ?3, 0, '[]', 1)",
            )?
            .execute((
                order_id.as_str(),
                order_line_id.map(OrderLineId::as_str),
                now.as_ms(),
                answer.as_str(),
            ))?;
        Ok(())
    }

    /// Stores what the marketplace said of an order; its query is owed no more.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn save_order_facts(
        &mut self,
        order_id: &OrderId,
        facts: &OrderFacts,
        brings_code: bool,
        asked_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE order_notice SET query_due_at = NULL, attempts = 0, refused = NULL, \
                 last_error_code = NULL, queried_at = :asked_at, kind = :kind, \
                 created_at = :created_at, product_id = :product_id, ends_at = :ends_at, \
                 lines = :lines, brings_code = :brings_code WHERE order_id = :order_id",
            )?
            .execute(named_params! {
                ":order_id": order_id.as_str(),
                ":asked_at": asked_at.as_ms(),
                ":kind": facts.kind,
                ":created_at": facts.created_at.map(Timestamp::as_ms),
                ":product_id": facts.product_id,
                ":ends_at": facts.ends_at.map(Timestamp::as_ms),
                ":lines": facts.lines,
                ":brings_code": brings_code,
            })?;
        Ok(())
    }

    /// Owes the query of an order again at `due_at`, after one more try without a usable answer.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn put_off_order(
        &mut self,
        order_id: &OrderId,
        due_at: Timestamp,
        error_code: Option<&str>,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE order_notice SET query_due_at = ?2, attempts = attempts + 1, \
                 refused = NULL, last_error_code = ?3 WHERE order_id = ?1",
            )?
            .execute((order_id.as_str(), due_at.as_ms(), error_code))?;
        Ok(())
    }

    /// The marketplace does not let us read the order: its query is owed no more.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn refuse_order(
        &mut self,
        order_id: &OrderId,
        why: &str,
        error_code: Option<&str>,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE order_notice SET query_due_at = NULL, attempts = attempts + 1, \
                 refused = ?2, last_error_code = ?3 WHERE order_id = ?1",
            )?
            .execute((order_id.as_str(), why, error_code))?;
        Ok(())
    }

    /// Keeps the codes that came for open orders. Returns how many came.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn mark_arrived_orders(&mut self) -> Result<usize, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "UPDATE order_notice SET code = (SELECT min(license.code) FROM license \
                 WHERE license.order_id = order_notice.order_id) \
                 WHERE code IS NULL AND refused IS NULL AND brings_code = 1 AND EXISTS \
                 (SELECT 1 FROM license WHERE license.order_id = order_notice.order_id)",
            )?
            .execute([])?)
    }
}

impl Snapshot<'_> {
    /// The order with this number, if we were told of it.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn order(&self, order_id: &OrderId) -> Result<Option<OrderRow>, StoreError> {
        find(self.connection, order_id)
    }

    /// The first code, by name, with this order.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn code_of_order(&self, order_id: &OrderId) -> Result<Option<String>, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT min(code) FROM license WHERE order_id = ?1")?
            .query_row([order_id.as_str()], |row| row.get(0))?)
    }

    /// Orders, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn orders(&self, filter: &OrderFilter) -> Result<Vec<OrderRow>, StoreError> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM ",
            orders!(),
            " WHERE id < :below AND (:state IS NULL OR state = :state) ORDER BY id DESC LIMIT :limit"
        );
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_and_then(
            named_params! {
                ":below": filter.below.unwrap_or(i64::MAX),
                ":state": filter.state.map(OrderState::as_str),
                ":limit": i64::try_from(filter.limit).unwrap_or(i64::MAX),
            },
            from_row,
        )?;
        rows.collect()
    }

    /// Orders whose query is due, the longest due first.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn due_orders(&self, now: Timestamp, limit: i64) -> Result<Vec<OrderId>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT order_id FROM order_notice WHERE query_due_at <= ?1 \
             ORDER BY query_due_at LIMIT ?2",
        )?;
        let rows = statement.query_and_then((now.as_ms(), limit), |row| {
            let order_id: String = row.get(0)?;
            OrderId::parse(&order_id).map_err(|_| damaged(&order_id))
        })?;
        rows.collect()
    }

    /// When the next order query is due that is not due yet.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn next_order_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT min(query_due_at) FROM order_notice WHERE query_due_at > ?1")?
            .query_row([now.as_ms()], |row| row.get::<_, Option<i64>>(0))?
            .map(Timestamp::from_ms))
    }

    /// Orders we were told of before `before` whose code has not come; `None` when there is none.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn awaited_orders(&self, before: Timestamp) -> Result<Option<Overdue>, StoreError> {
        // With one min() alone, the other columns are those of its row.
        let (count, oldest, since): (i64, Option<String>, Option<i64>) = self
            .connection
            .prepare_cached(
                "SELECT count(*), order_id, min(notified_at) FROM order_notice \
                 WHERE code IS NULL AND refused IS NULL AND brings_code = 1 AND notified_at < ?1 \
                 AND NOT EXISTS \
                 (SELECT 1 FROM license WHERE license.order_id = order_notice.order_id)",
            )?
            .query_row([before.as_ms()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(oldest.zip(since).map(|(oldest, since)| Overdue {
            count,
            oldest,
            since: Timestamp::from_ms(since),
        }))
    }
}

fn find(connection: &Connection, order_id: &OrderId) -> Result<Option<OrderRow>, StoreError> {
    let sql = concat!("SELECT ", columns!(), " FROM ", orders!(), " WHERE order_id = ?1");
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_row([order_id.as_str()], |row| Ok(from_row(row))).optional()?;
    found.transpose()
}

fn from_row(row: &Row<'_>) -> Result<OrderRow, StoreError> {
    let order_id: String = row.get(1)?;
    let damaged = || damaged(&order_id);
    let at = |index: usize| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(index)?.map(Timestamp::from_ms))
    };
    let line: Option<String> = row.get(2)?;
    let (answer, state): (String, String) = (row.get(4)?, row.get(16)?);
    Ok(OrderRow {
        id: Some(row.get(0)?),
        order_id: OrderId::parse(&order_id).map_err(|_| damaged())?,
        order_line_id: line
            .map(|line| OrderLineId::parse(&line))
            .transpose()
            .map_err(|_| damaged())?,
        state: OrderState::parse(&state).ok_or_else(damaged)?,
        code: row.get(15)?,
        notified_at: at(3)?,
        result_code: ResultCode::parse(&answer).ok_or_else(damaged)?,
        queried_at: at(7)?,
        facts: OrderFacts {
            kind: row.get(8)?,
            created_at: at(9)?,
            product_id: row.get(10)?,
            ends_at: at(11)?,
            lines: row.get(12)?,
        },
        query_due_at: at(5)?,
        attempts: row.get(6)?,
        refused: row.get(13)?,
        last_error_code: row.get(14)?,
    })
}

fn damaged(order_id: &str) -> StoreError {
    StoreError::Damaged(format!("order_notice {order_id}"))
}
