//! Table `dial_test`: the marketplace's dial tests as they were seen here, one row for a half-day.

use super::{Snapshot, StoreError, Tx};
use crate::domain::dial_test::{DialTest, Half, HalfDay};
use crate::domain::time::Timestamp;
use rusqlite::OptionalExtension as _;

impl Tx<'_> {
    /// Notes one call of a dial test, and whether it was answered other than 000000.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn note_dial_test(&mut self, at: Timestamp, refused: bool) -> Result<(), StoreError> {
        let HalfDay { day, half } = HalfDay::of(at);
        let (at, refused_at) = (at.as_ms(), refused.then_some(at.as_ms()));
        self.connection
            .prepare_cached(
                "INSERT INTO dial_test VALUES (?1, ?2, ?3, ?3, 1, ?4) \
                 ON CONFLICT (day, half) DO UPDATE SET calls = calls + 1, \
                 first_at = min(first_at, ?3), last_at = max(last_at, ?3), \
                 refused_at = coalesce(max(refused_at, ?4), refused_at, ?4)",
            )?
            .execute((day, half.as_str(), at, refused_at))?;
        Ok(())
    }

    /// Forgets dial tests of the days before `day`, but never the last one.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn prune_dial_tests(&mut self, day: i64) -> Result<usize, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "DELETE FROM dial_test WHERE day < ?1 AND day < (SELECT max(day) FROM dial_test)",
            )?
            .execute([day])?)
    }
}

impl Snapshot<'_> {
    /// The dial tests since this Beijing day, the oldest first.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Damaged`].
    pub fn dial_tests(&self, since_day: i64) -> Result<Vec<DialTest>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT * FROM dial_test WHERE day >= ?1 ORDER BY first_at")?;
        let mut rows = statement.query([since_day])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (day, half): (i64, String) = (row.get("day")?, row.get("half")?);
            let half = Half::parse(&half)
                .ok_or_else(|| StoreError::Damaged(format!("dial_test {day}: {half}")))?;
            let refused_at: Option<i64> = row.get("refused_at")?;
            found.push(DialTest {
                half_day: HalfDay { day, half },
                first_at: Timestamp::from_ms(row.get("first_at")?),
                last_at: Timestamp::from_ms(row.get("last_at")?),
                calls: row.get("calls")?,
                refused_at: refused_at.map(Timestamp::from_ms),
            });
        }
        Ok(found)
    }

    /// When the last call of a dial test came, if one ever did.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn last_dial_test(&self) -> Result<Option<Timestamp>, StoreError> {
        let last: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT last_at FROM dial_test ORDER BY day DESC, last_at DESC LIMIT 1",
            )?
            .query_row([], |row| row.get(0))
            .optional()?;
        Ok(last.map(Timestamp::from_ms))
    }
}
