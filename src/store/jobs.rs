//! Tables `job_run` and `probe`: what ran when, and what the heartbeats found.
//!
//! Invariant: a slot of a job has one row, so it runs once, also across a restart or a clock's jump.

use super::{Snapshot, StoreError, Tx};
use crate::domain::time::Timestamp;
use rusqlite::{OptionalExtension as _, Row};

/// One run of a job.
#[derive(Debug, Clone)]
pub struct JobRun {
    /// The job.
    pub job: String,
    /// The slot's name.
    pub slot: String,
    /// When it was due.
    pub due: Timestamp,
    /// Our clock.
    pub started: Timestamp,
    /// `None` while running, or when the process died in it.
    pub finished: Option<Timestamp>,
    /// `ok`, `failed` or `interrupted`.
    pub outcome: Option<String>,
    /// JSON: what it did.
    pub counts: Option<String>,
}

/// A heartbeat to be recorded.
#[derive(Debug, Clone)]
pub struct ProbeDraft {
    /// The slot's name.
    pub slot: String,
    /// Our clock.
    pub started_at: Timestamp,
    /// `ok`, `slow` or `failed`.
    pub outcome: &'static str,
    /// JSON array of steps.
    pub steps: String,
    /// Days until the served certificate ends.
    pub certificate_days: Option<i64>,
}

/// A heartbeat as stored.
#[derive(Debug, Clone)]
pub struct ProbeRow {
    /// Counts up.
    pub id: i64,
    /// The slot's name.
    pub slot: String,
    /// Our clock.
    pub started_at: Timestamp,
    /// `ok`, `slow` or `failed`.
    pub outcome: String,
    /// JSON array of steps.
    pub steps: String,
    /// Days until the served certificate ends.
    pub certificate_days: Option<i64>,
}

impl Tx<'_> {
    /// Claims a slot. Returns the run's id, or `None` when the slot has run before.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn begin_job(
        &mut self,
        job: &str,
        slot: &str,
        due: Timestamp,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        let added = self
            .connection
            .prepare_cached(
                "INSERT OR IGNORE INTO job_run (job, slot, due, started) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((job, slot, due.as_ms(), now.as_ms()))?;
        Ok((added == 1).then(|| self.connection.last_insert_rowid()))
    }

    /// Marks the last run of a job as interrupted if it has no end: the process died in it.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn close_interrupted(&mut self, job: &str, now: Timestamp) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE job_run SET finished = ?2, outcome = 'interrupted' WHERE finished IS NULL \
                 AND id = (SELECT max(id) FROM job_run WHERE job = ?1)",
            )?
            .execute((job, now.as_ms()))?;
        Ok(())
    }

    /// Ends a run.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn finish_job(
        &mut self,
        id: i64,
        outcome: &str,
        counts: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "UPDATE job_run SET finished = ?2, outcome = ?3, counts = ?4 WHERE id = ?1",
            )?
            .execute((id, now.as_ms(), outcome, counts))?;
        Ok(())
    }

    /// Forgets runs that started before `before`, but never the last of a job.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn prune_jobs(&mut self, before: Timestamp) -> Result<usize, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "DELETE FROM job_run WHERE started < ?1 \
                 AND id NOT IN (SELECT max(id) FROM job_run GROUP BY job)",
            )?
            .execute([before.as_ms()])?)
    }

    /// Forgets heartbeats that started before `before`, but never the last.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn prune_probes(&mut self, before: Timestamp) -> Result<usize, StoreError> {
        Ok(self
            .connection
            .prepare_cached(
                "DELETE FROM probe WHERE started_at < ?1 AND id <> (SELECT max(id) FROM probe)",
            )?
            .execute([before.as_ms()])?)
    }

    /// Records a heartbeat and returns its id.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn insert_probe(&mut self, draft: &ProbeDraft) -> Result<i64, StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO probe (slot, started_at, outcome, steps, certificate_days) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((
                &draft.slot,
                draft.started_at.as_ms(),
                draft.outcome,
                &draft.steps,
                draft.certificate_days,
            ))?;
        Ok(self.connection.last_insert_rowid())
    }
}

impl Snapshot<'_> {
    /// The last run of a job.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn last_run(&self, job: &str) -> Result<Option<JobRun>, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT * FROM job_run WHERE job = ?1 ORDER BY id DESC LIMIT 1")?
            .query_row([job], |row| {
                Ok(JobRun {
                    job: row.get("job")?,
                    slot: row.get("slot")?,
                    due: Timestamp::from_ms(row.get("due")?),
                    started: Timestamp::from_ms(row.get("started")?),
                    finished: row.get::<_, Option<i64>>("finished")?.map(Timestamp::from_ms),
                    outcome: row.get("outcome")?,
                    counts: row.get("counts")?,
                })
            })
            .optional()?)
    }

    /// Whether a slot of a job has been claimed.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn has_run(&self, job: &str, slot: &str) -> Result<bool, StoreError> {
        Ok(self
            .connection
            .prepare_cached("SELECT 1 FROM job_run WHERE job = ?1 AND slot = ?2")?
            .exists((job, slot))?)
    }

    /// Heartbeats, the newest first.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn probes(&self, below: Option<i64>, limit: usize) -> Result<Vec<ProbeRow>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT * FROM probe WHERE id < ?1 ORDER BY id DESC LIMIT ?2")?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement.query_map((below.unwrap_or(i64::MAX), limit), probe_from_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// When heartbeats started at or after `since`, and how they went, the earliest first.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn probe_outcomes(&self, since: Timestamp) -> Result<Vec<(Timestamp, String)>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT started_at, outcome FROM probe WHERE started_at >= ?1 ORDER BY id",
        )?;
        let rows = statement
            .query_map([since.as_ms()], |row| Ok((Timestamp::from_ms(row.get(0)?), row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// When the first of the heartbeats began that have failed without one that passed since.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn failing_since(&self) -> Result<Option<Timestamp>, StoreError> {
        let first: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT started_at FROM probe WHERE id > \
                 (SELECT coalesce(max(id), 0) FROM probe WHERE outcome <> 'failed') \
                 ORDER BY id LIMIT 1",
            )?
            .query_row([], |row| row.get(0))
            .optional()?;
        Ok(first.map(Timestamp::from_ms))
    }

    /// Checks the whole file. Returns what is wrong, or `None`.
    ///
    /// # Errors
    /// [`StoreError::Sql`].
    pub fn integrity_fault(&self) -> Result<Option<String>, StoreError> {
        let found: String =
            self.connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        Ok((found != "ok").then_some(found))
    }
}

fn probe_from_row(row: &Row<'_>) -> rusqlite::Result<ProbeRow> {
    Ok(ProbeRow {
        id: row.get("id")?,
        slot: row.get("slot")?,
        started_at: Timestamp::from_ms(row.get("started_at")?),
        outcome: row.get("outcome")?,
        steps: row.get("steps")?,
        certificate_days: row.get("certificate_days")?,
    })
}
