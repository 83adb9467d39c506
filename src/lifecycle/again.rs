//! When a call that got no usable answer is made again.

use super::calls::CallOutcome;
use crate::domain::license::Code;
use crate::domain::time::Timestamp;
use crate::marketplace::{CallResult, delay};
use crate::store::{self, Owed, StoreError, Tx};

/// When a call is to be tried again.
#[derive(Clone, Copy)]
pub(super) enum Due {
    /// After the backoff of its attempts.
    Backoff,
    /// When the queue opens again.
    At(Timestamp),
    /// Never by itself.
    Never,
}

pub(super) fn after_failure<V>(result: &CallResult<V>) -> (CallOutcome, Due) {
    match result {
        CallResult::Stopped { until } => (CallOutcome::RetryLater, Due::At(*until)),
        CallResult::Permanent { .. } => (CallOutcome::Refused, Due::Never),
        CallResult::Retry { .. } | CallResult::Unrecognised { .. } | CallResult::Verdict(_) => {
            (CallOutcome::RetryLater, Due::Backoff)
        }
    }
}

/// Owes the activation again.
pub(super) fn reschedule(
    tx: &mut Tx<'_>,
    code: &Code,
    due: Due,
    ambiguous: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some(owed) = tx.owed(code, store::Call::Activate)? else {
        return Ok(());
    };
    let sent_at = owed.sent_at.filter(|_| ambiguous);
    put_off(tx, Owed { sent_at, ..owed }, due, now)
}

/// Owes a query again; begins to owe it if `begin` is set.
pub(super) fn postpone(
    tx: &mut Tx<'_>,
    code: &Code,
    call: store::Call,
    due: Due,
    begin: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let owed = match tx.owed(code, call)? {
        Some(owed) if owed.due_at <= now || begin => owed,
        None if begin => Owed { code: code.clone(), call, due_at: now, attempts: 0, sent_at: None },
        Some(_) | None => return Ok(()),
    };
    put_off(tx, owed, due, now)
}

fn put_off(tx: &mut Tx<'_>, owed: Owed, due: Due, now: Timestamp) -> Result<(), StoreError> {
    let attempts = owed.attempts.saturating_add(1);
    let due_at = match due {
        Due::Backoff => after_backoff(attempts, now),
        Due::At(at) => at,
        Due::Never => return tx.settle(&owed.code, owed.call),
    };
    tx.owe_at(&Owed { due_at, attempts, ..owed }, now)
}

/// When it is tried again after `failures` failures in a row: 5 s, doubling to 5 min, with jitter.
pub(super) fn after_backoff(failures: u32, now: Timestamp) -> Timestamp {
    now.plus_ms(i64::try_from(delay(failures).as_millis()).unwrap_or(i64::MAX))
}
