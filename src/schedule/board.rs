//! The job board: what each job's plan is, how its last run went, and the cord that wakes its worker.

use super::Job;
use crate::clock::Clock;
use crate::domain::slots::{HeartbeatTimes, Plan, Zone};
use crate::domain::time::Timestamp;
use crate::store::{JobRun, Store, StoreError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What the board knows of one job.
pub(super) struct Entry {
    pub(super) job: Job,
    planned: Mutex<Planned>,
    pub(super) poke: Notify,
    /// Somebody asked for a run now.
    pub(super) manual: AtomicBool,
    /// When it is wanted besides its slots.
    again: Mutex<Option<Timestamp>>,
}

/// When a job is due.
struct Planned {
    plan: Plan,
    /// Its times follow the marketplace's dial tests.
    follows: bool,
}

impl Planned {
    fn of(job: Job, zone: Zone, heartbeat: &HeartbeatTimes) -> Self {
        let follows = job == Job::Heartbeat && *heartbeat == HeartbeatTimes::Auto;
        Self { plan: job.plan(zone, heartbeat), follows }
    }
}

impl Entry {
    /// When it is due.
    pub(super) fn plan(&self) -> Plan {
        self.planned().plan.clone()
    }

    /// Whether its times follow the marketplace's dial tests.
    pub(super) fn follows(&self) -> bool {
        self.planned().follows
    }

    /// Follows the dial tests to this plan, unless another schedule has come into force meanwhile.
    pub(super) fn follow(&self, plan: Plan) {
        let mut current = self.planned();
        if current.follows && current.plan != plan {
            let (job, was) = (self.job.as_str(), &current.plan);
            tracing::info!(job, "the job moves from {was} to {plan}");
            current.plan = plan;
        }
    }

    fn planned(&self) -> MutexGuard<'_, Planned> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it is wanted besides its slots.
    pub(super) fn again_at(&self) -> Option<Timestamp> {
        *self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is wanted now, which is then no longer so.
    pub(super) fn take_again(&self, now: Timestamp) -> Option<Timestamp> {
        let mut again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        again.take_if(|at| *at <= now)
    }
}

/// All jobs.
pub struct Board {
    entries: Vec<Entry>,
    clock: Clock,
}

/// A job as operators see it.
#[derive(Debug, Clone)]
pub struct JobStatus {
    /// Its name.
    pub name: &'static str,
    /// When it is due, in words.
    pub schedule: String,
    /// The same as it is reckoned with.
    pub plan: Plan,
    /// Its last run.
    pub last: Option<JobRun>,
    /// When it is due next.
    pub next_due: Option<Timestamp>,
}

/// What came of a manual run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manual {
    /// Its worker has been woken.
    Started,
    /// There is no such job.
    Unknown,
}

impl Board {
    /// The board for this schedule.
    #[must_use]
    pub fn new(zone: Zone, heartbeat: &HeartbeatTimes, clock: Clock) -> Self {
        let entries = Job::ALL
            .into_iter()
            .map(|job| Entry {
                job,
                planned: Mutex::new(Planned::of(job, zone, heartbeat)),
                poke: Notify::new(),
                manual: AtomicBool::new(false),
                again: Mutex::new(None),
            })
            .collect();
        Self { entries, clock }
    }

    /// Another schedule from now on. A slot of today that it has and the one before had not is caught up.
    pub fn reschedule(&self, zone: Zone, heartbeat: &HeartbeatTimes) {
        for entry in &self.entries {
            *entry.planned() = Planned::of(entry.job, zone, heartbeat);
        }
        self.poke_all();
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Wakes every worker; whoever has nothing to do goes back to sleep.
    pub(super) fn poke_all(&self) {
        self.entries.iter().for_each(|entry| entry.poke.notify_one());
    }

    /// Runs a job now, besides its slots.
    #[must_use]
    pub fn run(&self, name: &str) -> Manual {
        let Some(entry) = self.entries.iter().find(|entry| entry.job.as_str() == name) else {
            return Manual::Unknown;
        };
        entry.manual.store(true, Ordering::Release);
        entry.poke.notify_one();
        Manual::Started
    }

    /// Wants a job at `at`, besides its slots, or earlier if it is wanted earlier already.
    pub(super) fn again(&self, job: Job, at: Timestamp) {
        for entry in self.entries.iter().filter(|entry| entry.job == job) {
            let mut again = entry.again.lock().unwrap_or_else(PoisonError::into_inner);
            *again = Some(again.map_or(at, |already| already.min(at)));
            entry.poke.notify_one();
        }
    }

    /// When the next heartbeat is due.
    #[must_use]
    pub fn next_heartbeat(&self, now: Timestamp) -> Option<Timestamp> {
        let heartbeat = self.entries.iter().find(|entry| entry.job == Job::Heartbeat)?;
        heartbeat.plan().next(now).map(|slot| slot.due)
    }

    /// Every job with its last run.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn status(&self, store: &Store) -> Result<Vec<JobStatus>, StoreError> {
        let now = self.clock.now();
        store.read(|snapshot| {
            self.entries
                .iter()
                .map(|entry| {
                    let plan = entry.plan();
                    Ok(JobStatus {
                        name: entry.job.as_str(),
                        schedule: plan.to_string(),
                        plan: plan.clone(),
                        last: snapshot.last_run(entry.job.as_str())?,
                        next_due: plan.next(now).map(|slot| slot.due),
                    })
                })
                .collect()
        })
    }
}
