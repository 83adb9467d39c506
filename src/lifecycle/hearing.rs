//! Whether we hear the marketplace's calls: after a gap in which we did not, every code is to be compared.
//!
//! A gap is a time in which we were down, refused calls, or had a clock that made every call look stale.

use super::Lifecycle;
use crate::domain::time::{MINUTE_MS, Timestamp};
use crate::store::StoreError;
use std::sync::atomic::Ordering;

/// The minute's mark: when the daemon last took calls and could store them, in milliseconds.
const HEARD_AT: &str = "heard_at";
/// The end of the last gap, in milliseconds: codes asked about before are to be asked again.
const DEAF_UNTIL: &str = "deaf_until";
/// A shorter gap loses no call: the marketplace comes again after two minutes, sixty times.
const GAP_MS: i64 = 10 * MINUTE_MS;

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

    /// Since when no call has been missed; `None` in a gap that is not over yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn hears_since(&self) -> Result<Option<Timestamp>, StoreError> {
        let (heard_at, now) = (self.fact_at(HEARD_AT)?, self.clock.now());
        if heard_at.is_none_or(|at| now.ms_since(at) >= GAP_MS) {
            return Ok(None);
        }
        Ok(Some(self.deaf_until()?.unwrap_or(Timestamp::from_ms(0))))
    }

    fn fact_at(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let text = self.store.read(|snapshot| snapshot.fact(name))?;
        Ok(text.and_then(|text| text.parse().ok()).map(Timestamp::from_ms))
    }
}
