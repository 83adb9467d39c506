//! Tables `deaf_gap` and `missed_call`: times in which calls may not have reached us, and what shows that
//! some did not.

use super::{Snapshot, StoreError, Tx};
use crate::domain::deafness::{Cause, Gap, Missed};
use crate::domain::license::Code;
use crate::domain::time::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params};

/// The columns of a gap, with the authentic callbacks on either side of it.
macro_rules! gaps {
    () => {
        "SELECT deaf_gap.*, before.received_at AS before_at, after.id AS after_id, \
         after.received_at AS after_at FROM deaf_gap \
         LEFT JOIN callback AS before ON before.id = before_id \
         LEFT JOIN callback AS after ON after.id = (SELECT id FROM callback \
         WHERE callback.id > coalesce(before_id, 0) AND signed_at IS NOT NULL AND test = 0 \
         AND result_code = '000000' AND received_at >= until_at ORDER BY callback.id LIMIT 1)"
    };
}

/// A gap as stored.
#[derive(Debug, Clone)]
pub struct DeafGap {
    /// Counts up.
    pub id: i64,
    /// When, and why.
    pub gap: Gap,
    /// The last real, authentic callback before it.
    pub before: Option<Neighbour>,
    /// The first one behind it that was taken.
    pub after: Option<Neighbour>,
    /// When every code had been compared since.
    pub settled_at: Option<Timestamp>,
    /// Codes compared until then.
    pub asked: i64,
    /// Those whose answer told what we did not know.
    pub repaired: i64,
    /// The calls that must have been made in it.
    pub missed: Vec<MissedCall>,
}

/// A callback beside a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Its id.
    pub id: i64,
    /// Our clock when it came.
    pub received_at: Timestamp,
}

/// A call that must have been made in a gap.
#[derive(Debug, Clone)]
pub struct MissedCall {
    /// The code.
    pub code: String,
    /// Which call.
    pub missed: Missed,
    /// When the answer came that shows it.
    pub found_at: Timestamp,
    /// When such a call came after all.
    pub arrived_at: Option<Timestamp>,
}

impl Tx<'_> {
    /// Stores a gap, as one with the last one if nothing lies between them. What was settled is open again
    /// then: calls of its end may have been missed as well.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn add_gap(&mut self, gap: &Gap) -> Result<(), StoreError> {
        let last = find(self.connection, concat!(gaps!(), " ORDER BY deaf_gap.id DESC LIMIT 1"))?;
        let joined = last.and_then(|last| Some((last.id, last.gap.joined(gap)?)));
        if let Some((id, gap)) = joined {
            self.connection
                .prepare_cached(
                    "UPDATE deaf_gap SET from_at = ?2, until_at = ?3, causes = ?4, \
                     settled_at = NULL WHERE id = ?1",
                )?
                .execute((id, gap.from.as_ms(), gap.until.as_ms(), words(&gap)))?;
            return Ok(());
        }
        self.connection
            .prepare_cached(
                "INSERT INTO deaf_gap (from_at, until_at, causes, before_id, asked, repaired) \
                 VALUES (:from, :until, :causes, (SELECT id FROM callback WHERE signed_at IS NOT NULL \
                 AND test = 0 AND received_at <= :from ORDER BY id DESC LIMIT 1), 0, 0)",
            )?
            .execute(named_params! {
                ":from": gap.from.as_ms(),
                ":until": gap.until.as_ms(),
                ":causes": words(gap),
            })?;
        Ok(())
    }

    /// The gap that a comparison may settle: the open one that ended last.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn open_gap(&self) -> Result<Option<DeafGap>, StoreError> {
        let sql = concat!(
            gaps!(),
            " WHERE deaf_gap.settled_at IS NULL ORDER BY deaf_gap.id DESC LIMIT 1"
        );
        find(self.connection, sql)
    }

    /// Adds what a sweep did to the open gaps, and settles them if it came around.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn note_sweep(
        &mut self,
        asked: u64,
        repaired: u64,
        settled_at: Option<Timestamp>,
    ) -> Result<usize, StoreError> {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        Ok(self
            .connection
            .prepare_cached(
                "UPDATE deaf_gap SET asked = asked + ?1, repaired = repaired + ?2, settled_at = ?3 \
                 WHERE settled_at IS NULL",
            )?
            .execute((number(asked), number(repaired), settled_at.map(Timestamp::as_ms)))?)
    }

    /// Whether such a call was seen and failed: it is known by itself.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn is_failing(&self, code: &Code, missed: Missed) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM retry_window WHERE code = ?1 \
                   AND state IN ('open','restart') AND authentic = 1 \
                   AND iif(activity = 'releaseLicenseCode', 'RELEASE', scene) = ?2)";
        Ok(self
            .connection
            .prepare_cached(sql)?
            .query_row((code.as_str(), missed.as_str()), |row| row.get(0))?)
    }

    /// Notes a call that must have been made in a gap, once.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn add_missed_call(
        &mut self,
        gap: i64,
        code: &Code,
        missed: Missed,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("INSERT OR IGNORE INTO missed_call VALUES (?1, ?2, ?3, ?4, NULL)")?
            .execute((gap, code.as_str(), missed.as_str(), now.as_ms()))?;
        Ok(())
    }

    /// Such a call came after all.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn missed_call_arrived(
        &mut self,
        code: &str,
        missed: Missed,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE missed_call SET arrived_at = ?3 \
                 WHERE code = ?1 AND arrived_at IS NULL AND scene = ?2",
            )?
            .execute((code, missed.as_str(), now.as_ms()))?;
        Ok(())
    }

    /// Forgets gaps that were settled before `before`, with what they cost. Returns how many.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn prune_gaps(&mut self, before: Timestamp) -> Result<usize, StoreError> {
        let old = [before.as_ms()];
        self.connection
            .prepare_cached(
                "DELETE FROM missed_call WHERE gap IN \
                 (SELECT id FROM deaf_gap WHERE settled_at < ?1)",
            )?
            .execute(old)?;
        Ok(self
            .connection
            .prepare_cached("DELETE FROM deaf_gap WHERE settled_at < ?1")?
            .execute(old)?)
    }
}

impl Snapshot<'_> {
    /// Gaps, the newest first, with what they cost.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn gaps(&self, limit: i64) -> Result<Vec<DeafGap>, StoreError> {
        let sql = concat!(gaps!(), " ORDER BY deaf_gap.id DESC LIMIT ?1");
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_and_then([limit], from_row)?;
        let mut gaps = rows.collect::<Result<Vec<_>, StoreError>>()?;
        let sql = "SELECT * FROM missed_call WHERE gap = ?1 ORDER BY code, scene LIMIT 1000";
        let mut statement = self.connection.prepare_cached(sql)?;
        for gap in &mut gaps {
            let missed = statement.query_and_then([gap.id], missed_from_row)?;
            gap.missed = missed.collect::<Result<_, StoreError>>()?;
        }
        Ok(gaps)
    }

    /// How many gaps are not settled, and when the oldest of them began.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn open_gaps(&self) -> Result<(i64, Option<Timestamp>), StoreError> {
        let sql = "SELECT count(*), min(from_at) FROM deaf_gap WHERE settled_at IS NULL";
        let (count, since): (i64, Option<i64>) = self
            .connection
            .prepare_cached(sql)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok((count, since.map(Timestamp::from_ms)))
    }

    /// Whether some code that is not over, and that the marketplace knows, was not compared since `since`.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn is_uncompared(&self, since: Timestamp) -> Result<bool, StoreError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM license WHERE state <> 'released' \
                   AND coalesce(marketplace_checked_at, 0) < ?1 AND registered_at < ?1 \
                   AND coalesce(last_error_code, '') <> '92020005')";
        Ok(self.connection.prepare_cached(sql)?.query_row([since.as_ms()], |row| row.get(0))?)
    }
}

fn find(connection: &Connection, sql: &str) -> Result<Option<DeafGap>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_row([], |row| Ok(from_row(row))).optional()?.transpose()
}

fn words(gap: &Gap) -> String {
    gap.causes.iter().map(|cause| cause.as_str()).collect::<Vec<_>>().join(" ")
}

fn from_row(row: &Row<'_>) -> Result<DeafGap, StoreError> {
    let id: i64 = row.get("id")?;
    let damaged = || StoreError::Damaged(format!("deaf_gap {id}"));
    let at = |column: &str| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_ms))
    };
    let neighbour = |id: &str, at_column: &str| -> rusqlite::Result<Option<Neighbour>> {
        let id: Option<i64> = row.get(id)?;
        let received_at = at(at_column)?;
        Ok(id.zip(received_at).map(|(id, received_at)| Neighbour { id, received_at }))
    };
    let causes: String = row.get("causes")?;
    Ok(DeafGap {
        id,
        gap: Gap {
            from: at("from_at")?.ok_or_else(damaged)?,
            until: at("until_at")?.ok_or_else(damaged)?,
            causes: causes
                .split_whitespace()
                .map(|word| Cause::parse(word).ok_or_else(damaged))
                .collect::<Result<_, _>>()?,
        },
        before: neighbour("before_id", "before_at")?,
        after: neighbour("after_id", "after_at")?,
        settled_at: at("settled_at")?,
        asked: row.get("asked")?,
        repaired: row.get("repaired")?,
        missed: Vec::new(),
    })
}

fn missed_from_row(row: &Row<'_>) -> Result<MissedCall, StoreError> {
    let (code, scene): (String, String) = (row.get("code")?, row.get("scene")?);
    let missed = Missed::parse(&scene)
        .ok_or_else(|| StoreError::Damaged(format!("missed_call {code} {scene}")))?;
    let arrived: Option<i64> = row.get("arrived_at")?;
    Ok(MissedCall {
        code,
        missed,
        found_at: Timestamp::from_ms(row.get("found_at")?),
        arrived_at: arrived.map(Timestamp::from_ms),
    })
}
