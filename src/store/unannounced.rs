//! Events that tell of what a callback should have told: read by the watch for silence.

use super::{Snapshot, StoreError};
use crate::domain::time::{HOUR_MS, Timestamp};

/// At the first look, so many of the last events are looked through.
const FIRST_LOOK: i64 = 20_000;
/// A query corrects an activation's estimate of the end: for so long a repair says nothing of callbacks.
const SETTLES_MS: i64 = HOUR_MS;

/// What was found among the events after one.
#[derive(Debug, Default)]
pub struct Unannounced {
    /// The last event there is.
    pub seen: i64,
    /// When each of them was.
    pub at: Vec<Timestamp>,
}

impl Snapshot<'_> {
    /// Releases, thaws and changed ends that a query told of, among the events after `after`, or among
    /// the last ones there are.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn unannounced(&self, after: Option<i64>) -> Result<Unannounced, StoreError> {
        let last = "SELECT coalesce(max(id), 0) FROM event";
        let seen: i64 = self.connection.prepare_cached(last)?.query_row([], |row| row.get(0))?;
        let after = after.unwrap_or_else(|| seen.saturating_sub(FIRST_LOOK));
        let mut statement = self.connection.prepare_cached(
            "SELECT event.at FROM event JOIN license ON license.code = event.code \
             WHERE event.id > ?1 AND event.id <= ?2 AND event.source = 'query' \
             AND (event.kind IN ('released', 'thawed') \
             OR (event.kind = 'repaired' AND license.activated_at < event.at - ?3)) ORDER BY event.id",
        )?;
        let rows = statement.query_map((after, seen, SETTLES_MS), |row| row.get(0))?;
        let at: Vec<i64> = rows.collect::<Result<_, _>>()?;
        Ok(Unannounced { seen, at: at.into_iter().map(Timestamp::from_ms).collect() })
    }
}
