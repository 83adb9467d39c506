//! Nightly: what is no longer needed is forgotten, statistics are renewed, the heads of the chains are
//! noted, the file and the chains are checked.

use super::Lifecycle;
use crate::domain::retention::{freezes_that_keep, may_go};
use crate::domain::time::{DAY_MS, MINUTE_MS, Timestamp};
use crate::domain::transition::{EventDraft, EventKind, Source};
use crate::store::{Chain, StoreError, Tx};

/// Nonces are kept this long: the replay window is two minutes wide (product.md §9, hazards).
const NONCE_MS: i64 = 10 * MINUTE_MS;
/// Rows deleted in one transaction at most, so that no callback waits for the broom.
const BATCH: usize = 500;
/// Failed calls and gaps are kept at least so long, in days.
const WINDOW_DAYS: i64 = 62;
/// What nothing proves stays on the restart list so long, in days.
const UNPROVEN_DAYS: i64 = 14;

/// How long things are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Callbacks, in days.
    pub callback_days: i64,
    /// Test traffic among them, in days.
    pub test_callback_days: i64,
    /// Heartbeats with their steps, in days.
    pub probe_days: i64,
    /// Runs of jobs, in days.
    pub job_days: i64,
    /// Usage that was sent or given up, in days.
    pub usage_days: i64,
    /// Alarms that went, and messages about them, in days.
    pub alarm_days: i64,
}

/// What the broom swept.
#[derive(Debug, Clone, Copy, Default)]
pub struct Swept {
    /// Callbacks forgotten.
    pub callbacks: usize,
    /// Heartbeats forgotten.
    pub probes: usize,
    /// Job runs forgotten.
    pub jobs: usize,
    /// Entries of usage forgotten.
    pub usage: usize,
    /// Failed calls forgotten that had ended.
    pub failed_calls: usize,
    /// Gaps forgotten that were settled.
    pub gaps: usize,
    /// Alarms and messages forgotten.
    pub alarms: usize,
}

impl Lifecycle {
    /// Forgets nonces that can no longer be replayed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn forget_nonces(&self) -> Result<usize, StoreError> {
        let before = self.clock.now().plus_ms(-NONCE_MS);
        self.store.write(move |tx| tx.prune_nonces(before)).await
    }

    /// The nightly upkeep.
    ///
    /// # Errors
    /// [`StoreError`]; a damaged file is [`StoreError::Damaged`].
    pub async fn upkeep(&self, keep: Retention) -> Result<Swept, StoreError> {
        let now = self.clock.now();
        let before = |days: i64| now.plus_ms(-days.saturating_mul(DAY_MS));
        let (probes_before, jobs_before) = (before(keep.probe_days), before(keep.job_days));
        let first_usage_day = before(keep.usage_days).beijing_day();
        let mut swept = Swept::default();
        for (chain, days) in
            [(Chain::Callbacks, keep.callback_days), (Chain::Tests, keep.test_callback_days)]
        {
            swept.callbacks += self.prune_callbacks(chain, days, now).await?;
        }
        let frozen_before = freezes_that_keep(now);
        loop {
            let prune =
                move |tx: &mut Tx<'_>| tx.prune_usage(first_usage_day, frozen_before, BATCH);
            let n = self.store.write(prune).await?;
            swept.usage += n;
            if n == 0 {
                break;
            }
        }
        // As long as the callbacks they tell of, and past the month in which orders are counted.
        let windows = before(keep.callback_days.max(WINDOW_DAYS));
        let unproven = before(UNPROVEN_DAYS);
        let prune = move |tx: &mut Tx<'_>| tx.prune_failed_calls(windows, unproven);
        swept.failed_calls = self.store.write(prune).await?;
        swept.gaps = self.store.write(move |tx| tx.prune_gaps(windows)).await?;
        let alarms_before = before(keep.alarm_days);
        loop {
            let prune = move |tx: &mut Tx<'_>| tx.prune_alarms(alarms_before, BATCH);
            let n = self.store.write(prune).await?;
            swept.alarms += n;
            if n == 0 {
                break;
            }
        }
        swept.probes = self.store.write(move |tx| tx.prune_probes(probes_before)).await?;
        let first_probe_day = probes_before.beijing_day();
        self.store.write(move |tx| tx.prune_dial_tests(first_probe_day)).await?;
        swept.jobs = self.store.write(move |tx| tx.prune_jobs(jobs_before)).await?;
        self.store.write(|tx| tx.optimize()).await?;
        self.note_heads(now).await?;
        if let Some(what) = self.store.list(|snapshot| snapshot.integrity_fault()).await? {
            return Err(StoreError::Damaged(what));
        }
        for chain in Chain::ALL {
            let report = self.store.list(move |snapshot| snapshot.verify_chain(chain)).await?;
            if let Some(id) = report.broken_at {
                return Err(StoreError::ChainBroken { chain: chain.as_str(), id });
            }
        }
        Ok(swept)
    }

    async fn prune_callbacks(
        &self,
        chain: Chain,
        days: i64,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let mut pruned = 0;
        loop {
            let prune = move |tx: &mut Tx<'_>| {
                tx.prune_callbacks(
                    chain,
                    |made_at, frozen_at| may_go(made_at, days, frozen_at, now),
                    BATCH,
                )
            };
            let n = self.store.write(prune).await?;
            pruned += n;
            if n == 0 {
                return Ok(pruned);
            }
        }
    }

    /// Binds all chains into that of the events, and tells their heads where nobody here can change them
    /// later: in the journal.
    async fn note_heads(&self, now: Timestamp) -> Result<(), StoreError> {
        let note = move |tx: &mut Tx<'_>| {
            let line = tx.heads().line();
            let event = EventDraft::note(EventKind::Job, line);
            tx.append_event(now, None, Source::Timer, &event)?;
            Ok(tx.heads().line())
        };
        let line = self.store.write(note).await?;
        tracing::info!(source = Source::Timer.as_str(), "{line}");
        Ok(())
    }
}
