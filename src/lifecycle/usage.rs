//! Usage reports: spooled when the software makes them, sent hourly, accounted for entry by entry.
//!
//! Invariant: what is sent is stored, byte by byte, before it leaves, and sent again as it is until its end
//! is known; only then is a new report made.

use super::again::after_backoff;
use super::perform::{Told, append};
use super::{Errand, Lifecycle, LifecycleError};
use crate::domain::license::Code;
use crate::domain::outcome::{Outcome, of_answer};
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::domain::transition::{EventDraft, EventKind, Source};
use crate::domain::usage::{ActiveNum, ClientId, Entry, Fate, Usage, fate};
use crate::marketplace::{Call, CallResult, Effort};
use crate::protocol::open_api::{
    Batch, CheckFailure, USAGE_CODES_MAX, USAGE_ENTRIES_MAX, usage_body,
};
use crate::store::{self, StoreError, Tx, UsageBatch, UsageEnd, UsageLimits, UsageRow};
use std::collections::BTreeMap;
use std::time::Instant;

/// One report. The marketplace would take 100 times 100 entries; fewer are written in one transaction, so
/// that no callback waits for it.
const LIMITS: UsageLimits =
    UsageLimits { codes: USAGE_CODES_MAX, entries_of_a_code: USAGE_ENTRIES_MAX, entries: 2_000 };

/// What the software reports of a code.
#[derive(Debug)]
pub enum Reported {
    /// It saw this client.
    Client(ClientId),
    /// So many clients were active today.
    Active(ActiveNum),
}

/// What a flush came to, in entries.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flushed {
    /// Taken by the marketplace.
    pub sent: usize,
    /// Given up.
    pub failed: usize,
    /// Still to be sent, or their answer not known.
    pub waiting: i64,
}

/// What one report came to.
struct Step {
    sent: usize,
    failed: usize,
    /// The next report may be sent now.
    go_on: bool,
}

impl Lifecycle {
    /// Spools what the software saw of a code, for today in Beijing, and returns the number of that day.
    ///
    /// # Errors
    /// [`LifecycleError`]: nobody would take the report of a code that is unknown or over.
    pub async fn report_usage(
        &self,
        code: Code,
        reported: &Reported,
    ) -> Result<i64, LifecycleError> {
        let now = self.clock.now();
        let day = now.beijing_day();
        let entry = match reported {
            Reported::Client(client) => Entry::Client(self.clients.hash(client)),
            Reported::Active(number) => Entry::Active(*number),
        };
        let state = self
            .store
            .write(move |tx| {
                let state = tx.license(&code)?.map(|license| license.state());
                if state.is_some_and(|state| state != State::Released) {
                    tx.spool_usage(&UsageRow { day, code, entry }, now)?;
                }
                Ok(state)
            })
            .await?;
        match state {
            None => Err(LifecycleError::UnknownCode),
            Some(State::Released) => Err(LifecycleError::Released),
            Some(_) => Ok(day),
        }
    }

    /// Sends what is spooled, and first what is under way.
    ///
    /// # Errors
    /// [`StoreError`]; a report that does not get through stays under way, and is no error.
    pub async fn flush_usage(&self) -> Result<Flushed, StoreError> {
        self.send_usage(true).await
    }

    /// Between two flushes: goes on with what is under way, if it is due.
    ///
    /// # Errors
    /// As [`Lifecycle::flush_usage`].
    pub async fn retry_usage(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        if self.store.read(|snapshot| snapshot.usage_is_due(now))? {
            self.send_usage(false).await?;
        }
        Ok(())
    }

    /// One report after the other. With `now` what is in doubt does not wait for its time.
    async fn send_usage(&self, now: bool) -> Result<Flushed, StoreError> {
        let mut flushed = Flushed::default();
        while self.marketplace.stopped_until().is_none_or(|until| until <= self.clock.now()) {
            let Some((batch, rows)) = self.next_report(now).await? else { break };
            let step = self.send_report(batch, rows).await?;
            flushed.sent += step.sent;
            flushed.failed += step.failed;
            if !step.go_on {
                break;
            }
        }
        flushed.waiting = self.store.read(|snapshot| snapshot.unsent_usage())?;
        Ok(flushed)
    }

    /// Transaction 1: the report that is under way, or a new one, recorded before it leaves.
    async fn next_report(
        &self,
        at_once: bool,
    ) -> Result<Option<(UsageBatch, Vec<UsageRow>)>, StoreError> {
        let now = self.clock.now();
        let next = self.store.write(move |tx| {
            if let Some(batch) = tx.usage_under_way(now, !at_once)? {
                let rows = tx.usage_of_batch(batch.id)?;
                return Ok(Some((batch, rows)));
            }
            if tx.usage_in_doubt()? {
                return Ok(None);
            }
            let rows = tx.waiting_usage(LIMITS)?;
            if rows.is_empty() {
                return Ok(None);
            }
            let mut batch = UsageBatch {
                id: 0,
                held: None,
                body: usage_body(&report_of(&rows)),
                made_at: now,
                due_at: now,
                tries: 0,
                error_code: None,
            };
            batch.id = tx.begin_usage_batch(&batch, &rows)?;
            Ok(Some((batch, rows)))
        });
        next.await
    }

    async fn send_report(
        &self,
        batch: UsageBatch,
        rows: Vec<UsageRow>,
    ) -> Result<Step, StoreError> {
        let report = report_of(&rows);
        let began = Instant::now();
        let call =
            self.marketplace.report_usage(&report, batch.body.clone(), Effort::Background).await;
        self.note_call(Errand::Usage, &call, began);
        let now = self.clock.now();
        let (step, told) = self
            .store
            .write(move |tx| {
                let mut told = Told::default();
                let step = conclude(tx, &mut told, batch, rows, call, now)?;
                Ok((step, told))
            })
            .await?;
        self.tell(&told);
        self.metrics.usage("sent", step.sent);
        self.metrics.usage("failed", step.failed);
        Ok(step)
    }
}

/// Transaction 2: what the answer means for each entry.
fn conclude(
    tx: &mut Tx<'_>,
    told: &mut Told,
    mut batch: UsageBatch,
    rows: Vec<UsageRow>,
    call: Call<Batch<Vec<CheckFailure>>>,
    now: Timestamp,
) -> Result<Step, StoreError> {
    let again_at = match call.result {
        CallResult::Verdict(Batch::Done(failures)) => {
            return taken(tx, told, &batch, rows, &failures, now);
        }
        CallResult::Verdict(Batch::Split) | CallResult::Permanent { .. } => {
            let mut codes = by_code(rows).into_iter();
            if let (Some((code, rows)), None) = (codes.next(), codes.next()) {
                let refusal = Refusal::of(code, call.http, call.error_code);
                let failed = refuse(tx, told, &batch, &rows, &refusal, true, now)?;
                return Ok(Step { sent: 0, failed, go_on: true });
            }
            split(tx, &batch)?;
            return Ok(Step { sent: 0, failed: 0, go_on: true });
        }
        CallResult::Retry { .. } | CallResult::Unrecognised { .. } => {
            after_backoff(batch.tries.saturating_add(1), now)
        }
        CallResult::Stopped { until } => until,
    };
    batch.tries = batch.tries.saturating_add(1);
    batch.due_at = again_at;
    batch.error_code = call.error_code;
    tx.put_off_usage_batch(&batch)?;
    Ok(Step { sent: 0, failed: 0, go_on: false })
}

/// The report was taken, but for what failed its check.
fn taken(
    tx: &mut Tx<'_>,
    told: &mut Told,
    batch: &UsageBatch,
    rows: Vec<UsageRow>,
    failures: &[CheckFailure],
    now: Timestamp,
) -> Result<Step, StoreError> {
    let mut refused: BTreeMap<(Code, Option<String>), Vec<UsageRow>> = BTreeMap::new();
    let mut sent = 0;
    for row in rows {
        let failure = failures.iter().find(|failure| {
            failure.code == row.code && failure.entry.is_none_or(|entry| entry == row.entry)
        });
        match failure {
            None => sent += 1,
            Some(CheckFailure { code, error_code, .. }) => {
                refused.entry((code.clone(), error_code.clone())).or_default().push(row);
            }
        }
    }
    let whole = sent == 0 && refused.len() == 1;
    let mut failed = 0;
    for ((code, error_code), rows) in refused {
        let refusal = Refusal::of(code, Some(200), error_code);
        failed += refuse(tx, told, batch, &rows, &refusal, whole, now)?;
    }
    if !whole {
        tx.end_usage_batch(batch.id, &UsageEnd::Sent, now)?;
    }
    Ok(Step { sent, failed, go_on: true })
}

/// Something stands against a code of the report, and nobody says which: each goes alone.
fn split(tx: &mut Tx<'_>, batch: &UsageBatch) -> Result<(), StoreError> {
    for rows in by_code(tx.usage_of_batch(batch.id)?).into_values() {
        let body = usage_body(&report_of(&rows));
        let alone = UsageBatch { body, tries: 0, error_code: None, ..batch.clone() };
        tx.begin_usage_batch(&alone, &rows)?;
    }
    tx.end_usage_batch(batch.id, &UsageEnd::Sent, batch.made_at)?;
    Ok(())
}

/// Why entries of a code were refused.
struct Refusal {
    code: Code,
    outcome: Outcome,
    error_code: Option<String>,
}

impl Refusal {
    fn of(code: Code, http: Option<u16>, error_code: Option<String>) -> Self {
        let outcome = of_answer(http.unwrap_or(200), error_code.as_deref());
        Self { code, outcome, error_code }
    }
}

/// Waits with refused entries of a code, or gives them up. They are the `whole` batch, or a part of it.
/// Returns how many were given up.
fn refuse(
    tx: &mut Tx<'_>,
    told: &mut Told,
    batch: &UsageBatch,
    rows: &[UsageRow],
    refusal: &Refusal,
    whole: bool,
    now: Timestamp,
) -> Result<usize, StoreError> {
    let code = &refusal.code;
    let released = tx.license(code)?.is_some_and(|license| license.state() == State::Released);
    if refusal.outcome == Outcome::IllegalState && !released {
        tx.owe(code, store::Call::Query, now, now)?;
        told.owes();
    }
    let refused_before = if batch.held.is_some() { batch.tries } else { 0 };
    let fate = fate(refusal.outcome, released, refused_before, batch.made_at, now);
    let due_at = match fate {
        Fate::Later(at) => at,
        Fate::GivenUp => now,
    };
    let mut held = UsageBatch {
        held: Some(code.clone()),
        due_at,
        tries: refused_before.saturating_add(1),
        error_code: refusal.error_code.clone(),
        ..batch.clone()
    };
    if whole {
        tx.put_off_usage_batch(&held)?;
    } else {
        held.body = usage_body(&report_of(rows));
        held.id = tx.begin_usage_batch(&held, rows)?;
    }
    if let Some(event) = event(refusal, fate, refused_before, rows.len(), released) {
        append(tx, told, code, Source::Timer, event, now)?;
    }
    match fate {
        Fate::Later(_) => Ok(0),
        Fate::GivenUp => {
            let end = UsageEnd::Failed(refusal.error_code.clone());
            tx.end_usage_batch(held.id, &end, now)
        }
    }
}

/// A first refusal and the end are told; a contradiction is what the row of the code does not explain.
fn event(
    refusal: &Refusal,
    fate: Fate,
    refused_before: u32,
    entries: usize,
    released: bool,
) -> Option<EventDraft> {
    let why = format!(
        "{}: {}",
        refusal.error_code.as_deref().unwrap_or("no code"),
        refusal.outcome.as_str()
    );
    let (kind, detail) = match fate {
        Fate::Later(_) if refused_before > 0 => return None,
        Fate::Later(at) => (
            EventKind::Observed,
            format!(
                "the marketplace does not take its usage ({why}): {entries} entries are sent again at {at}"
            ),
        ),
        Fate::GivenUp => (
            if released { EventKind::Observed } else { EventKind::Contradiction },
            format!(
                "the marketplace does not take its usage ({why}): {entries} entries are given up"
            ),
        ),
    };
    let mut event = EventDraft::note(kind, detail);
    event.result_code.clone_from(&refusal.error_code);
    Some(event)
}

/// Entries in the order in which they are sent, code by code.
fn report_of(rows: &[UsageRow]) -> Vec<Usage> {
    let same_code = |one: &UsageRow, other: &UsageRow| one.code == other.code;
    rows.chunk_by(same_code)
        .map(|rows| Usage {
            code: rows[0].code.clone(),
            entries: rows.iter().map(|row| row.entry).collect(),
        })
        .collect()
}

fn by_code(rows: Vec<UsageRow>) -> BTreeMap<Code, Vec<UsageRow>> {
    let mut codes: BTreeMap<Code, Vec<UsageRow>> = BTreeMap::new();
    for row in rows {
        codes.entry(row.code.clone()).or_default().push(row);
    }
    codes
}
