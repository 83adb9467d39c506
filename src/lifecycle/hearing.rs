//! Whether we hear the marketplace's calls: after a gap in which we did not, every code is to be compared.
//!
//! A gap is a time in which we were down, refused calls, or had a clock that made every call look stale.

use super::Lifecycle;
use crate::domain::time::{MINUTE_MS, Timestamp};
use crate::store::{Store, StoreError};
use std::sync::atomic::Ordering;

/// The minute's mark: when the daemon last took calls and could store them, in milliseconds.
const HEARD_AT: &str = "heard_at";
/// The end of the last gap, in milliseconds: codes asked about before are to be asked again.
const DEAF_UNTIL: &str = "deaf_until";
/// A shorter gap loses no call: the marketplace comes again after two minutes, sixty times.
const GAP_MS: i64 = 10 * MINUTE_MS;

/// When a backup was put back, in milliseconds: no answer from before is relied on without asking again.
const RESTORED_AT: &str = "restored_at";

/// What is to stand in a database that is put back at `now`: calls were missed since it was copied, so every
/// code is to be asked about again.
#[must_use]
pub fn facts_of_a_restore(now: Timestamp) -> [(&'static str, String); 2] {
    [DEAF_UNTIL, RESTORED_AT].map(|name| (name, now.as_ms().to_string()))
}

/// When this database was last put back from a backup.
pub(super) fn restored_at(store: &Store) -> Option<Timestamp> {
    match store.read(|snapshot| snapshot.fact(RESTORED_AT)) {
        Ok(text) => text?.parse().ok().map(Timestamp::from_ms),
        Err(error) => {
            tracing::error!(%error, "whether a backup was put back cannot be read");
            None
        }
    }
}

impl Lifecycle {
    /// Marks this minute as one in which calls were taken and stored, unless some were not. Returns
    /// whether a gap has just ended: then every code is to be compared.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn mark_hearing(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let heard_at = self.fact_at(HEARD_AT)?;
        let gap = heard_at.is_some_and(|at| now.ms_since(at) >= GAP_MS);
        let missed = self.missed_calls.swap(false, Ordering::Relaxed);
        if gap || missed {
            tracing::warn!(
                since = heard_at.map(tracing::field::display),
                "calls may have been missed: every code is compared with the marketplace"
            );
        }
        self.store
            .write(move |tx| {
                if gap || missed {
                    tx.set_fact(DEAF_UNTIL, &now.as_ms().to_string())?;
                }
                tx.set_fact(HEARD_AT, &now.as_ms().to_string())
            })
            .await?;
        Ok(gap || missed)
    }

    pub(super) fn deaf_until(&self) -> Result<Option<Timestamp>, StoreError> {
        self.fact_at(DEAF_UNTIL)
    }

    fn fact_at(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let text = self.store.read(|snapshot| snapshot.fact(name))?;
        Ok(text.and_then(|text| text.parse().ok()).map(Timestamp::from_ms))
    }
}
