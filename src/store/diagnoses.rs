//! Table `diagnosis`: what the signature doctor found.

use super::{Snapshot, StoreError, Tx};
use crate::domain::time::{HOUR_MS, Timestamp};

/// Refusals further apart than this do not belong together: a cause that comes back begins anew.
pub const DIAGNOSES_APART_MS: i64 = HOUR_MS;

/// A diagnosis to be noted.
#[derive(Debug, Clone)]
pub struct DiagnosisDraft {
    /// When the call came.
    pub at: Timestamp,
    /// The cause's word.
    pub cause: &'static str,
    /// A key of ours made the signature.
    pub proven: bool,
    /// What was found.
    pub text: String,
}

/// A cause of refusals, with its present run of them.
#[derive(Debug, Clone)]
pub struct DiagnosisRow {
    /// The cause's word.
    pub cause: String,
    /// The run's first refusal.
    pub since: Timestamp,
    /// Its last one.
    pub last_at: Timestamp,
    /// How many were examined.
    pub refusals: i64,
    /// A key of ours made one of the signatures.
    pub proven: bool,
    /// What was found last.
    pub text: String,
}

impl Tx<'_> {
    /// Notes what was found about a callback.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn note_diagnosis(&mut self, found: &DiagnosisDraft) -> Result<(), StoreError> {
        // A stranger's call tells nothing more of a cause that a key of ours has proven.
        self.connection
            .prepare_cached(
                "INSERT INTO diagnosis VALUES (?1, ?2, ?2, 1, ?3, ?4) \
                 ON CONFLICT (cause) DO UPDATE SET \
                 since = iif(excluded.last_at - last_at >= ?5, excluded.since, since), \
                 refusals = iif(excluded.last_at - last_at >= ?5, 1, refusals + 1), \
                 proven = iif(excluded.last_at - last_at >= ?5, excluded.proven, max(proven, excluded.proven)), \
                 text = iif(excluded.last_at - last_at < ?5 AND proven > excluded.proven, text, excluded.text), \
                 last_at = excluded.last_at",
            )?
            .execute(rusqlite::params![
                found.cause,
                found.at.as_ms(),
                found.proven,
                found.text,
                DIAGNOSES_APART_MS,
            ])?;
        Ok(())
    }
}

impl Snapshot<'_> {
    /// The causes with refusals since `since`, by word.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn diagnoses(&self, since: Timestamp) -> Result<Vec<DiagnosisRow>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT * FROM diagnosis WHERE last_at > ?1 ORDER BY cause")?;
        let rows = statement.query_map([since.as_ms()], |row| {
            Ok(DiagnosisRow {
                cause: row.get("cause")?,
                since: Timestamp::from_ms(row.get("since")?),
                last_at: Timestamp::from_ms(row.get("last_at")?),
                refusals: row.get("refusals")?,
                proven: row.get("proven")?,
                text: row.get("text")?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
