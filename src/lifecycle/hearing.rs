//! Whether we hear the marketplace's calls: after a gap in which we did not, every code is to be compared.
//!
//! A gap is a time in which we were down, could not store calls, had a clock that made every call look
//! stale, or refused calls for our codes again and again. Each has a row, which is open until a sweep has come
//! around since. Invariant: no stranger begins a gap; only who knows a code of ours could, and it costs paced
//! questions.

use super::Lifecycle;
use super::reconcile::Sweep;
use crate::domain::deafness::{Cause, Gap, Missed, TOGETHER_MS};
use crate::domain::license::License;
use crate::domain::time::{MINUTE_MS, Timestamp};
use crate::protocol::callback_auth::WINDOW_MS;
use crate::store::{Store, StoreError, Tx};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The minute's mark: when the daemon last took calls and could store them, in milliseconds.
const HEARD_AT: &str = "heard_at";
/// The end of the last gap, in milliseconds: codes asked about before are to be asked again.
const DEAF_UNTIL: &str = "deaf_until";
/// A shorter gap loses no call: the marketplace comes again after two minutes, sixty times.
const GAP_MS: i64 = 10 * MINUTE_MS;
/// What an answer's `Date` says of our clock holds for so long.
const SKEW_AGE: Duration = Duration::from_mins(10);
/// Attempts of a call are so far apart at least.
const APART_MS: i64 = 90_000;

/// What the process remembers of its hearing.
#[derive(Debug)]
pub(super) struct Ears(Mutex<Heard>);

#[derive(Debug)]
struct Heard {
    /// Since when we have been listening, as far as we know.
    since: Timestamp,
    /// The first mark of this process has been made.
    marked: bool,
    /// A call was answered 000005 since the last mark.
    not_stored: bool,
    /// The last mark at which something ailed, until a sweep was asked for.
    ailed_at: Option<Timestamp>,
}

impl Ears {
    pub(super) const fn new(now: Timestamp) -> Self {
        let heard = Heard { since: now, marked: false, not_stored: false, ailed_at: None };
        Self(Mutex::new(heard))
    }

    /// A real call could not be stored.
    pub(super) fn missed_a_call(&self) {
        self.lock().not_stored = true;
    }

    /// Since when we have been listening; a clock that has jumped back begins anew.
    pub(super) fn listening_since(&self, now: Timestamp) -> Timestamp {
        let mut heard = self.lock();
        heard.since = heard.since.min(now);
        heard.since
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
    /// [`StoreError`]; what ails is told again with the next mark.
    pub async fn mark_hearing(&self) -> Result<bool, StoreError> {
        let now = self.clock.now();
        // Looked at before the mark, so that of two who see a long silence neither takes it for a pause.
        let first = !self.ears.lock().marked;
        let heard_at = self.fact_at(HEARD_AT)?;
        let causes = self.ails(first, heard_at, now)?;
        if causes.is_empty() {
            self.store.write(move |tx| tx.set_fact(HEARD_AT, &now.as_ms().to_string())).await?;
            return Ok(self.has_recovered(now));
        }
        let gap = Gap { from: heard_at.unwrap_or(now).min(now), until: now, causes };
        tracing::warn!(
            since = %gap.from,
            why = ?gap.causes,
            "calls may have been missed: every code is compared with the marketplace"
        );
        // Over already, or going on for all we know.
        let over = gap.causes.iter().all(|cause| matches!(cause, Cause::Down | Cause::Paused));
        self.store
            .write(move |tx| {
                tx.add_gap(&gap)?;
                tx.set_fact(DEAF_UNTIL, &now.as_ms().to_string())?;
                tx.set_fact(HEARD_AT, &now.as_ms().to_string())
            })
            .await?;
        let mut heard = self.ears.lock();
        heard.marked = true;
        heard.not_stored = false;
        heard.since = now;
        heard.ailed_at = (!over).then_some(now);
        Ok(over)
    }

    /// Nothing can be stored now: no call either.
    pub fn could_not_store(&self) {
        self.ears.missed_a_call();
    }

    /// What keeps calls from reaching us, since the last mark.
    fn ails(
        &self,
        first: bool,
        heard_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<BTreeSet<Cause>, StoreError> {
        let not_stored = self.ears.lock().not_stored;
        let gap = heard_at.is_some_and(|at| now.ms_since(at) >= GAP_MS);
        let mut causes = BTreeSet::new();
        causes.extend(not_stored.then_some(Cause::NotStored));
        causes.extend((gap && first).then_some(Cause::Down));
        // No mark can be made while the disk is full: that explains the gap, too.
        causes.extend((gap && !first && !not_stored).then_some(Cause::Paused));
        let skew_ms = self.marketplace.recent_clock_skew_ms(SKEW_AGE).unwrap_or(0);
        causes.extend((skew_ms.abs() >= WINDOW_MS).then_some(Cause::Clock));
        let since = heard_at.unwrap_or(now);
        let refuses = self.store.read(|snapshot| snapshot.refuses_our_codes(since, APART_MS))?;
        causes.extend(refuses.then_some(Cause::NotAuthentic));
        Ok(causes)
    }

    /// A minute without an ailment: whether the last one is so long ago that its calls came again.
    fn has_recovered(&self, now: Timestamp) -> bool {
        let mut heard = self.ears.lock();
        heard.marked = true;
        let recovered = heard.ailed_at.filter(|at| now.ms_since(*at) >= TOGETHER_MS);
        if let Some(at) = recovered {
            // Retries of what was refused then were due since.
            heard.since = at;
            heard.ailed_at = None;
        }
        recovered.is_some()
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

    /// A sweep has ended: the open gaps are settled if every code has been compared since they ended.
    pub(super) async fn settle_gaps(
        &self,
        sweep: &Sweep,
        came_around: bool,
    ) -> Result<(), StoreError> {
        let (open, _) = self.store.read(|snapshot| snapshot.open_gaps())?;
        if open == 0 {
            return Ok(());
        }
        let until = self.deaf_until()?;
        let settled = came_around
            && match until {
                Some(until) => !self.store.list(move |s| s.is_uncompared(until)).await?,
                None => true,
            };
        let (asked, repaired) = (sweep.asked, sweep.repaired);
        let settled_at = settled.then(|| self.clock.now());
        self.store.write(move |tx| tx.note_sweep(asked, repaired, settled_at)).await?;
        if settled {
            tracing::info!(asked, repaired, "every code has been compared since the last gap");
        }
        Ok(())
    }

    fn fact_at(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let text = self.store.read(|snapshot| snapshot.fact(name))?;
        Ok(text.and_then(|text| text.parse().ok()).map(Timestamp::from_ms))
    }
}

/// Notes the call that an answer shows to have been missed in the last gap, if it shows one.
pub(super) fn note_missed(
    tx: &mut Tx<'_>,
    before: &License,
    after: &License,
    now: Timestamp,
) -> Result<(), StoreError> {
    if before.expiry == after.expiry && before.standing == after.standing {
        return Ok(());
    }
    let Some(gap) = tx.open_gap()? else { return Ok(()) };
    match Missed::between(before, after, gap.gap.until) {
        Some(missed) if !tx.is_failing(&after.code, missed)? => {
            tx.add_missed_call(gap.id, &after.code, missed, now)
        }
        Some(_) | None => Ok(()),
    }
}
