//! One long-lived worker per job: no overlap, pokes coalesce, work is found by looking.

use super::Job;
use super::board::{Board, Entry};
use crate::domain::slots::{Plan, Slot};
use crate::domain::sweep::EVERY_MS;
use crate::domain::time::MINUTE_MS;
use crate::domain::transition::{EventDraft, EventKind, Source};
use crate::guard::Guard;
use crate::lifecycle::{Backups, Lifecycle, Retention};
use crate::store::StoreError;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A worker that found its store broken waits this long; the process is about to end anyway.
const AFTER_FAULT: Duration = Duration::from_secs(1);

/// What the workers share.
#[derive(Clone)]
pub struct Workers {
    /// The sequences.
    pub lifecycle: Arc<Lifecycle>,
    /// The heartbeat.
    pub guard: Arc<Guard>,
    /// The jobs.
    pub board: Arc<Board>,
    /// What the upkeep keeps.
    pub retention: Retention,
    /// Where it makes a backup, if that is wanted.
    pub backups: Option<Backups>,
}

impl Workers {
    /// Starts one worker per job. They end when `stop` turns true; a run under way is cut off, and
    /// what it owes stays owed.
    pub fn start(&self, stop: &watch::Receiver<bool>) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        for index in 0..self.board.entries().len() {
            let (this, mut stop) = (self.clone(), stop.clone());
            workers.spawn(async move {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => {}
                    () = this.work(index) => {}
                }
            });
        }
        let (this, mut stop) = (self.clone(), stop.clone());
        workers.spawn(async move {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => {}
                () = this.watch_alarms() => {}
            }
        });
        workers
    }

    /// Looks at the alarms each minute, and when somebody asks for it. It is no job: a look that was missed
    /// is not caught up, because the next one sees the same.
    async fn watch_alarms(&self) {
        loop {
            if let Err(error) = self.guard.keep_alarms().await {
                tracing::error!(%error, "the alarms could not be looked at, and nobody is told of them");
                tokio::time::sleep(AFTER_FAULT).await;
            }
            let minute = self.lifecycle.clock.real(Duration::from_mins(1));
            tokio::select! {
                () = self.guard.look_wanted() => {}
                () = tokio::time::sleep(minute) => {}
            }
        }
    }

    async fn work(&self, index: usize) {
        let entry = &self.board.entries()[index];
        let (job, now) = (entry.job.as_str(), self.lifecycle.clock.now());
        let closed = self.lifecycle.store.write(move |tx| tx.close_interrupted(job, now)).await;
        if let Err(error) = closed {
            tracing::error!(job, %error, "the last run could not be closed");
        }
        let mut starting = true;
        loop {
            if let Err(error) = self.look(entry, starting).await {
                tracing::error!(job = entry.job.as_str(), %error, "a job could not be recorded");
                self.lifecycle.could_not_store();
                tokio::time::sleep(AFTER_FAULT).await;
            }
            starting = false;
            self.wait(entry).await;
        }
    }

    /// Runs what is due: an order, a run that is wanted again, a slot, or the run at start.
    async fn look(&self, entry: &Entry, starting: bool) -> Result<(), StoreError> {
        let clock = &self.lifecycle.clock;
        if entry.manual.swap(false, Ordering::AcqRel) {
            let due = clock.now();
            self.run(entry, &Slot { name: format!("manual {due}"), due }).await?;
        }
        if let Some(due) = entry.take_again(clock.now()) {
            self.run(entry, &Slot { name: format!("again {due}"), due }).await?;
        }
        if entry.follows() {
            entry.follow(Plan::before(&self.guard.dial_windows()?));
        }
        let due = entry.plan().latest(clock.now());
        let mut ran = false;
        if let Some(slot) = due {
            ran = self.run(entry, &slot).await?;
        }
        if starting && !ran && entry.job.at_start() {
            let due = clock.now();
            self.run(entry, &Slot { name: format!("start {due}"), due }).await?;
        }
        if entry.job == Job::Usage && !ran {
            // The same for a report that did not get through.
            self.lifecycle.retry_usage().await?;
        }
        if entry.job == Job::Activation && !ran {
            // Calls owed between two slots are made without a row: the events tell of them.
            self.lifecycle.settle_owed().await?;
        }
        Ok(())
    }

    /// Runs a slot unless it has run. Returns whether it ran.
    async fn run(&self, entry: &Entry, slot: &Slot) -> Result<bool, StoreError> {
        let (job, store) = (entry.job.as_str(), &self.lifecycle.store);
        if store.read(|snapshot| snapshot.has_run(job, &slot.name))? {
            return Ok(false);
        }
        let (name, due, now) = (slot.name.clone(), slot.due, self.lifecycle.clock.now());
        let Some(id) = store.write(move |tx| tx.begin_job(job, &name, due, now)).await? else {
            return Ok(false);
        };
        let began = std::time::Instant::now();
        let (outcome, counts) = match self.perform(entry, &slot.name).await {
            Ok(counts) => ("ok", counts),
            Err(error) => ("failed", json!({ "error": error.to_string() })),
        };
        let (text, now) = (counts.to_string(), self.lifecycle.clock.now());
        let event = (outcome == "failed").then(|| {
            EventDraft::note(EventKind::Job, format!("{job} {} failed: {text}", slot.name))
        });
        store
            .write(move |tx| {
                if let Some(event) = event {
                    tx.append_event(now, None, Source::Timer, &event)?;
                }
                tx.finish_job(id, outcome, &text, now)
            })
            .await?;
        self.lifecycle.metrics.job(job, outcome);
        let duration_ms = began.elapsed().as_secs_f64() * 1e3;
        if outcome == "failed" {
            tracing::error!(job, slot = slot.name, outcome, duration_ms, %counts, "job");
        } else if entry.job == Job::Activation {
            tracing::debug!(job, slot = slot.name, outcome, duration_ms, %counts, "job");
        } else {
            tracing::info!(job, slot = slot.name, outcome, duration_ms, %counts, "job");
        }
        Ok(true)
    }

    async fn perform(&self, entry: &Entry, slot: &str) -> Result<Value, StoreError> {
        Ok(match entry.job {
            Job::Heartbeat => {
                let probe = self.guard.heartbeat(slot).await?;
                json!({ "probe": probe.id, "outcome": probe.outcome })
            }
            Job::Activation => {
                let calls = self.lifecycle.settle_owed().await?;
                let orders = self.lifecycle.mark_arrived_orders().await?;
                let nonces = self.lifecycle.forget_nonces().await?;
                if self.lifecycle.mark_hearing().await? {
                    self.board.again(Job::Reconcile, self.lifecycle.clock.now());
                }
                let followed = self.lifecycle.follow_failed_calls().await?;
                json!({
                    "calls": calls,
                    "orders_arrived": orders,
                    "nonces_forgotten": nonces,
                    "given_up": followed.given_up,
                })
            }
            Job::Reconcile => self.sweep(entry).await?,
            Job::Usage => {
                let flushed = self.lifecycle.flush_usage().await?;
                json!({ "sent": flushed.sent, "failed": flushed.failed, "waiting": flushed.waiting })
            }
            Job::Upkeep => {
                let swept = self.lifecycle.upkeep(self.retention).await;
                // Made also when something is wrong: it may be the last one there is.
                let made = match &self.backups {
                    Some(backups) => Some(self.lifecycle.back_up(backups).await),
                    None => None,
                };
                let (swept, made) = (swept?, made.transpose()?);
                let mut counts = json!({
                    "callbacks": swept.callbacks,
                    "probes": swept.probes,
                    "jobs": swept.jobs,
                    "usage": swept.usage,
                    "failed_calls": swept.failed_calls,
                    "gaps": swept.gaps,
                    "alarms": swept.alarms,
                });
                if let Some(made) = made {
                    counts["backup"] = json!(made.file);
                    counts["backup_bytes"] = json!(made.inventory.bytes);
                    counts["backups_removed"] = json!(made.removed);
                }
                counts
            }
        })
    }

    /// Sweeps until the next slot, which goes on where this one ends; one that a stop of the queue has
    /// ended goes on when the queue opens.
    async fn sweep(&self, entry: &Entry) -> Result<Value, StoreError> {
        let now = self.lifecycle.clock.now();
        let until = entry.plan().next(now).map_or(now.plus_ms(EVERY_MS), |slot| slot.due);
        let sweep = self.lifecycle.reconcile(until).await?;
        if let Some(opens) = sweep.stopped_until {
            self.board.again(entry.job, opens);
        }
        Ok(json!({
            "seen": sweep.seen,
            "asked": sweep.asked,
            "failed": sweep.failed,
            "repaired": sweep.repaired,
            "left": sweep.left,
        }))
    }

    /// Waits for a poke, or for when the job is wanted again; those with calls that are owed also for the
    /// next of them.
    async fn wait(&self, entry: &Entry) {
        let (clock, store) = (&self.lifecycle.clock, &self.lifecycle.store);
        let now = clock.now();
        let next = match entry.job {
            Job::Activation => store.read(|snapshot| {
                let (call, order) = (snapshot.next_call_due(now)?, snapshot.next_order_due(now)?);
                Ok(call.into_iter().chain(order).min())
            }),
            Job::Usage => store.read(|snapshot| snapshot.next_usage_due(now)),
            Job::Heartbeat | Job::Reconcile | Job::Upkeep => {
                let Some(again) = entry.again_at() else {
                    return entry.poke.notified().await;
                };
                let pause = Duration::from_millis(again.ms_since(now).max(0).unsigned_abs());
                tokio::select! {
                    () = entry.poke.notified() => {}
                    () = tokio::time::sleep(clock.real(pause)) => {}
                }
                return;
            }
        };
        let next = next.ok().flatten().map_or(MINUTE_MS, |at| at.ms_since(now)).clamp(1, MINUTE_MS);
        let pause = clock.real(Duration::from_millis(next.unsigned_abs()));
        tokio::select! {
            () = entry.poke.notified() => {}
            () = self.lifecycle.owed.notified(), if entry.job == Job::Activation => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}
