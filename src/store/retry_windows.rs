//! Table `retry_window`: calls that failed, while the marketplace repeats them and after it gave up.
//!
//! Invariant: a call has one row, however often it fails; [`Tx::save_failed_call`] is the only way to it.

use super::{Snapshot, StoreError, Tx};
use crate::domain::outcome::ResultCode;
use crate::domain::retry_window::{CallName, Round};
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use rusqlite::{OptionalExtension as _, Row, named_params};

/// How a failed call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WindowState {
    /// The marketplace repeats it.
    Open,
    /// The marketplace has given up: it waits for a restart by hand.
    Restart,
    /// It came again and was answered 000000.
    Settled,
    /// An operator says that nothing is left to do.
    Dismissed,
}

impl WindowState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Open, Self::Restart, Self::Settled, Self::Dismissed];

    /// The word in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Restart => "restart",
            Self::Settled => "settled",
            Self::Dismissed => "dismissed",
        }
    }

    /// The state that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A call that failed.
#[derive(Debug, Clone)]
pub struct FailedCall {
    /// Counts up; `None` before it is stored.
    pub id: Option<i64>,
    /// Which call.
    pub name: CallName,
    /// Whether any attempt was authentic.
    pub authentic: bool,
    /// What the last attempt was answered.
    pub result_code: ResultCode,
    /// Its attempts in this round of retries.
    pub round: Round,
    /// How it stands.
    pub state: WindowState,
    /// When its window first closed without success.
    pub given_up_at: Option<Timestamp>,
    /// When it was settled or dismissed.
    pub ended_at: Option<Timestamp>,
    /// Why an operator dismissed it.
    pub reason: Option<String>,
}

/// A failed call beside what we hold of its code.
#[derive(Debug, Clone)]
pub struct FailedCallRow {
    /// The call.
    pub call: FailedCall,
    /// The state of its code; `None` when we do not hold it.
    pub license: Option<State>,
    /// The signed timestamp of the last FREEZE or UNFREEZE taken for its code.
    pub status_signed_at: Option<Timestamp>,
}

/// How many failed calls stand so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailedCallCounts {
    /// Authentic ones.
    pub proved: i64,
    /// Those that nothing proves, and that name a code we hold.
    pub claimed: i64,
    /// All of them.
    pub all: i64,
}

/// Failed orders of a month; order notifications belong to another type of interface and do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailedOrders {
    /// Orders whose window closed without success.
    pub failed: u32,
    /// Orders whose window is open.
    pub at_risk: u32,
    /// Orders that only calls name which could not be proved authentic, of both kinds.
    pub unproven: u32,
}

impl Tx<'_> {
    /// The failed call of this name, however it stands.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn failed_call(&self, name: &CallName) -> Result<Option<FailedCall>, StoreError> {
        self.connection
            .prepare_cached(
                "SELECT * FROM retry_window WHERE code = :code AND order_id = :order_id \
                 AND activity = :activity AND scene = :scene \
                 AND order_line_id = :order_line_id AND digest = :digest",
            )?
            .query_row(
                named_params! {
                    ":code": name.code,
                    ":order_id": name.order_id,
                    ":activity": name.activity,
                    ":scene": name.scene,
                    ":order_line_id": name.order_line_id,
                    ":digest": name.digest,
                },
                |row| Ok(from_row(row)),
            )
            .optional()?
            .transpose()
    }

    /// Those that stand so, in the order they came.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn failed_calls(&self, state: WindowState) -> Result<Vec<FailedCall>, StoreError> {
        let sql = "SELECT * FROM retry_window WHERE state = ?1 ORDER BY id";
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_and_then([state.as_str()], from_row)?.collect()
    }

    /// Stores a failed call anew or as it is now.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn save_failed_call(&mut self, call: &FailedCall) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO retry_window VALUES (:id, :activity, :code, :order_id, :order_line_id, \
                 :scene, :digest, :authentic, :result_code, :attempts, :first_at, :last_at, :state, \
                 :given_up_at, :ended_at, :reason) \
                 ON CONFLICT (id) DO UPDATE SET authentic = :authentic, result_code = :result_code, \
                 attempts = :attempts, first_at = :first_at, last_at = :last_at, state = :state, \
                 given_up_at = :given_up_at, ended_at = :ended_at, reason = :reason",
            )?
            .execute(named_params! {
                ":id": call.id,
                ":activity": call.name.activity,
                ":code": call.name.code,
                ":order_id": call.name.order_id,
                ":order_line_id": call.name.order_line_id,
                ":scene": call.name.scene,
                ":digest": call.name.digest,
                ":authentic": call.authentic,
                ":result_code": call.result_code.as_str(),
                ":attempts": call.round.attempts,
                ":first_at": call.round.first_at.as_ms(),
                ":last_at": call.round.last_at.as_ms(),
                ":state": call.state.as_str(),
                ":given_up_at": call.given_up_at.map(Timestamp::as_ms),
                ":ended_at": call.ended_at.map(Timestamp::as_ms),
                ":reason": call.reason,
            })?;
        Ok(())
    }

    /// Forgets a call that nobody repeated and nothing proved.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn forget_failed_call(&mut self, id: i64) -> Result<(), StoreError> {
        self.connection.prepare_cached("DELETE FROM retry_window WHERE id = ?1")?.execute([id])?;
        Ok(())
    }

    /// How many calls that nothing proved are waited for or on the restart list.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn unproven_calls(&self) -> Result<i64, StoreError> {
        let sql = "SELECT count(*) FROM retry_window \
                   WHERE state IN ('open','restart') AND authentic = 0";
        Ok(self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
    }

    /// Forgets failed calls that ended before `before`, and those on the restart list that nothing proves
    /// and that were given up before `unproven_before`. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn prune_failed_calls(
        &mut self,
        before: Timestamp,
        unproven_before: Timestamp,
    ) -> Result<usize, StoreError> {
        let sql = "DELETE FROM retry_window WHERE ended_at < ?1 \
                   OR (state = 'restart' AND authentic = 0 AND given_up_at < ?2)";
        let dates = (before.as_ms(), unproven_before.as_ms());
        Ok(self.connection.prepare_cached(sql)?.execute(dates)?)
    }
}

impl Snapshot<'_> {
    /// Failed calls that stand so, the oldest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn failed_calls(
        &self,
        state: WindowState,
        limit: i64,
    ) -> Result<Vec<FailedCallRow>, StoreError> {
        let sql = "SELECT retry_window.*, license.state AS license, license.status_signed_at \
                   FROM retry_window LEFT JOIN license ON license.code = retry_window.code \
                   WHERE retry_window.state = ?1 ORDER BY first_at, id LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_and_then((state.as_str(), limit), |row| {
            let license: Option<String> = row.get("license")?;
            let signed: Option<i64> = row.get("status_signed_at")?;
            Ok(FailedCallRow {
                call: from_row(row)?,
                license: license.as_deref().and_then(State::parse),
                status_signed_at: signed.map(Timestamp::from_ms),
            })
        })?;
        rows.collect()
    }

    /// How many failed calls stand so.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn failed_call_counts(&self, state: WindowState) -> Result<FailedCallCounts, StoreError> {
        let sql = "SELECT coalesce(sum(authentic), 0), \
                   coalesce(sum(authentic = 0 AND license.code IS NOT NULL), 0), count(*) \
                   FROM retry_window LEFT JOIN license ON license.code = retry_window.code \
                   WHERE retry_window.state = ?1";
        let counts = |row: &Row<'_>| {
            Ok(FailedCallCounts { proved: row.get(0)?, claimed: row.get(1)?, all: row.get(2)? })
        };
        Ok(self.connection.prepare_cached(sql)?.query_row([state.as_str()], counts)?)
    }

    /// Orders that failed from `month` on, or may.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn failed_orders(&self, month: Timestamp) -> Result<FailedOrders, StoreError> {
        let count = |sql: &str| -> Result<u32, StoreError> {
            let mut statement = self.connection.prepare_cached(sql)?;
            Ok(statement.query_row([month.as_ms()], |row| row.get(0))?)
        };
        Ok(FailedOrders {
            failed: count(
                "SELECT count(DISTINCT order_id) FROM retry_window \
                 WHERE given_up_at >= ?1 AND order_id <> '' AND authentic = 1 \
                 AND activity <> 'orderNotify'",
            )?,
            at_risk: count(
                "SELECT count(DISTINCT order_id) FROM retry_window \
                 WHERE state = 'open' AND order_id <> '' AND authentic = 1 \
                 AND activity <> 'orderNotify' AND coalesce(given_up_at, ?1 - 1) < ?1",
            )?,
            unproven: count(
                "SELECT count(DISTINCT order_id) FROM retry_window \
                 WHERE state IN ('open','restart') AND order_id <> '' AND authentic = 0 \
                 AND activity <> 'orderNotify' AND coalesce(given_up_at, ?1) >= ?1",
            )?,
        })
    }

    /// Whether calls that nothing proved, but that name codes of ours again and again as the marketplace
    /// does, were refused after `since`. `apart_ms` is how far such attempts are from each other at least.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn refuses_our_codes(&self, since: Timestamp, apart_ms: i64) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM retry_window JOIN license USING (code) \
                   WHERE retry_window.state = 'open' AND authentic = 0 AND attempts >= 2 \
                   AND last_at > ?1 AND last_at - first_at >= ?2)";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row((since.as_ms(), apart_ms), |row| row.get(0))?)
    }
}

fn from_row(row: &Row<'_>) -> Result<FailedCall, StoreError> {
    let id: i64 = row.get("id")?;
    let damaged = || StoreError::Damaged(format!("retry_window {id}"));
    let at = |column: &str| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_ms))
    };
    let (result_code, state): (String, String) = (row.get("result_code")?, row.get("state")?);
    Ok(FailedCall {
        id: Some(id),
        name: CallName {
            activity: row.get("activity")?,
            code: row.get("code")?,
            order_id: row.get("order_id")?,
            order_line_id: row.get("order_line_id")?,
            scene: row.get("scene")?,
            digest: row.get("digest")?,
        },
        authentic: row.get("authentic")?,
        result_code: ResultCode::parse(&result_code).ok_or_else(damaged)?,
        round: Round {
            attempts: row.get("attempts")?,
            first_at: Timestamp::from_ms(row.get("first_at")?),
            last_at: Timestamp::from_ms(row.get("last_at")?),
        },
        state: WindowState::parse(&state).ok_or_else(damaged)?,
        given_up_at: at("given_up_at")?,
        ended_at: at("ended_at")?,
        reason: row.get("reason")?,
    })
}
