//! Calls that failed: each is followed until it comes again and succeeds, or the marketplace gives it up and
//! it waits on the restart list (product.md §5).
//!
//! What is authentic is followed in the transaction that answers it; what could not be stored is kept in
//! memory until it can be. A call that is not authentic proves nothing. With a wrong key or clock every real
//! call looks so, and anybody can send one: so it is followed apart, in few rows, more of them for calls that
//! name a code we hold; it is on the restart list only if it came again as the marketplace's do, marked as
//! unproven; and it never touches what an authentic call left.

use super::Lifecycle;
use super::perform::{Told, append_without_code};
use crate::domain::deafness::Missed;
use crate::domain::license::{Code, OrderId};
use crate::domain::outcome::ResultCode;
use crate::domain::retry_window::{CallName, Round};
use crate::domain::time::Timestamp;
use crate::domain::transition::{EventDraft, EventKind, Source};
use crate::protocol::call_name::Peeked;
use crate::protocol::callback::Activity;
use crate::store::{CallbackDraft, FailedCall, StoreError, Tx, WindowState};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Failures kept in memory while nothing can be stored; further calls are known when they come again.
const UNSTORED_MAX: usize = 10_000;
/// Rows for calls that nothing proves, and those of them that name no code of ours.
const UNPROVEN_MAX: i64 = 1_000;
const STRANGERS_MAX: i64 = 100;

/// Failures that could not be stored.
#[derive(Debug, Default)]
pub(super) struct Unstored(Mutex<HashMap<CallName, Round>>);

/// What the minute's look at the retry windows did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Followed {
    /// Windows that closed without success.
    pub given_up: usize,
    /// Calls that nobody repeated and nothing proved.
    pub forgotten: usize,
}

impl Unstored {
    /// Takes out what is kept of a call, because it comes again.
    pub(super) fn take(&self, name: &CallName) -> Option<Round> {
        let mut kept = self.lock();
        // Mostly there is nothing, and nothing to hash.
        if kept.is_empty() { None } else { kept.remove(name) }
    }

    /// Keeps a failure, with those before it.
    pub(super) fn keep(&self, name: &CallName, round: Round) {
        let mut kept = self.lock();
        if let Some(before) = kept.get_mut(name) {
            *before = before.and(round);
        } else if kept.len() < UNSTORED_MAX {
            kept.insert(name.clone(), round);
        }
    }

    fn drain(&self) -> HashMap<CallName, Round> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallName, Round>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows an authentic call that was decided. `before` is what memory kept of its failures.
pub(super) fn follow(
    tx: &mut Tx<'_>,
    told: &mut Told,
    name: &CallName,
    answer: ResultCode,
    before: Option<Round>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if answer == ResultCode::Done {
        return settle(tx, told, name, before, now);
    }
    let this = Round::begun(now);
    fail(tx, name, answer, before.map_or(this, |before| before.and(this)))
}

/// Follows a call that nothing proves to be the marketplace's.
pub(super) fn claim(
    tx: &mut Tx<'_>,
    name: &CallName,
    answer: ResultCode,
    now: Timestamp,
) -> Result<(), StoreError> {
    let round = Round::begun(now);
    let call = match tx.failed_call(name)? {
        Some(call) if call.authentic && !may_come_anew(&call) => return Ok(()),
        Some(call) => FailedCall { authentic: false, ..again(call, answer, round) },
        None => {
            let ours = Code::parse(&name.code).ok().map(|code| tx.license(&code)).transpose()?;
            let most = if ours.flatten().is_some() { UNPROVEN_MAX } else { STRANGERS_MAX };
            if tx.unproven_calls()? >= most {
                return Ok(());
            }
            FailedCall { authentic: false, ..begun(name, answer, round) }
        }
    };
    tx.save_failed_call(&call)
}

/// Whether a call that is through may be made once more: one with an order is not, and what was given up is
/// counted.
fn may_come_anew(call: &FailedCall) -> bool {
    match call.state {
        WindowState::Open | WindowState::Restart => false,
        WindowState::Settled | WindowState::Dismissed => {
            call.name.order_id.is_empty() && call.given_up_at.is_none()
        }
    }
}

fn begun(name: &CallName, result_code: ResultCode, round: Round) -> FailedCall {
    FailedCall {
        id: None,
        name: name.clone(),
        authentic: true,
        result_code,
        round,
        state: WindowState::Open,
        given_up_at: None,
        ended_at: None,
        reason: None,
    }
}

/// One more failure; behind the end of its window it begins another round.
fn again(call: FailedCall, result_code: ResultCode, round: Round) -> FailedCall {
    let round = match call.state {
        WindowState::Open => call.round.and(round),
        WindowState::Restart | WindowState::Settled | WindowState::Dismissed => round,
    };
    FailedCall {
        result_code,
        round,
        state: WindowState::Open,
        ended_at: None,
        reason: None,
        ..call
    }
}

fn fail(
    tx: &mut Tx<'_>,
    name: &CallName,
    answer: ResultCode,
    round: Round,
) -> Result<(), StoreError> {
    let call = match tx.failed_call(name)? {
        Some(call) => FailedCall { authentic: true, ..again(call, answer, round) },
        None => begun(name, answer, round),
    };
    tx.save_failed_call(&call)
}

/// The call has succeeded: nothing is to be waited for or restarted any more.
fn settle(
    tx: &mut Tx<'_>,
    told: &mut Told,
    name: &CallName,
    before: Option<Round>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let released = name.activity == Activity::Release.as_str();
    let missed = if released { Some(Missed::Release) } else { Missed::parse(&name.scene) };
    if let Some(missed) = missed {
        tx.missed_call_arrived(&name.code, missed, now)?;
    }
    let ended = |call| FailedCall {
        state: WindowState::Settled,
        ended_at: Some(now),
        result_code: ResultCode::Done,
        ..call
    };
    match (tx.failed_call(name)?, before) {
        (None, None) => Ok(()),
        (None, Some(before)) => {
            tx.save_failed_call(&ended(begun(name, ResultCode::NotStored, before)))
        }
        (Some(call), before) => match call.state {
            WindowState::Settled | WindowState::Dismissed if before.is_none() => Ok(()),
            WindowState::Restart => {
                let detail = "came again and succeeded: it is off the restart list";
                note(tx, told, name, Source::Callback, EventKind::Alarm, detail, now)?;
                tx.save_failed_call(&ended(call))
            }
            WindowState::Open | WindowState::Settled | WindowState::Dismissed => {
                tx.save_failed_call(&ended(call))
            }
        },
    }
}

/// An event about a call.
fn note(
    tx: &mut Tx<'_>,
    told: &mut Told,
    name: &CallName,
    source: Source,
    kind: EventKind,
    detail: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let what = if name.scene.is_empty() { &name.activity } else { &name.scene };
    let mut event = EventDraft::note(kind, format!("{what}: {detail}"));
    event.order_id = OrderId::parse(&name.order_id).ok();
    match Code::parse(&name.code) {
        Ok(code) => super::perform::append(tx, told, &code, source, event, now),
        Err(_) => append_without_code(tx, told, source, event, now),
    }
}

/// Closes the windows that are over.
fn close(
    tx: &mut Tx<'_>,
    told: &mut Told,
    listening_since: Timestamp,
    now: Timestamp,
) -> Result<Followed, StoreError> {
    let mut followed = Followed::default();
    for call in tx.failed_calls(WindowState::Open)? {
        let Some(id) = call.id else { continue };
        if !call.round.is_over(call.name.span_ms(), listening_since, now) {
            continue;
        }
        if !call.authentic && !call.round.looks_retried() {
            tx.forget_failed_call(id)?;
            followed.forgotten += 1;
            continue;
        }
        if call.authentic {
            let detail = "failed until the marketplace gave it up: restart it in the seller's console (卖家中心 > 生产接口消息)";
            note(tx, told, &call.name, Source::Timer, EventKind::Alarm, detail, now)?;
        }
        let given_up_at = call.given_up_at.or(Some(now));
        tx.save_failed_call(&FailedCall { state: WindowState::Restart, given_up_at, ..call })?;
        followed.given_up += 1;
    }
    Ok(followed)
}

/// A refused call, as far as it is followed.
struct Refusal {
    at: Timestamp,
    answer: ResultCode,
    /// Its signature held.
    authentic: bool,
    peeked: Peeked,
}

impl Refusal {
    fn of(draft: &CallbackDraft, peeked: Peeked) -> Self {
        let authentic = draft.signed_at.is_some();
        Self { at: draft.received_at, answer: draft.result_code, authentic, peeked }
    }

    fn follow(&self, tx: &mut Tx<'_>) -> Result<(), StoreError> {
        let Peeked { name, test } = &self.peeked;
        let names_something = !name.activity.is_empty() && name.digest.is_empty();
        match (test, self.authentic) {
            (false, true) => fail(tx, name, self.answer, Round::begun(self.at)),
            (false, false) if names_something => claim(tx, name, self.answer, self.at),
            (true, _) | (false, false) => Ok(()),
        }
    }
}

impl Lifecycle {
    /// An authentic call could not be stored, and was answered 000005.
    pub(super) fn keep_unstored(&self, name: &CallName, before: Option<Round>) {
        let this = Round::begun(self.clock.now());
        self.unstored.keep(name, before.map_or(this, |before| before.and(this)));
        self.ears.missed_a_call();
    }

    /// Records a call that was refused for its form or its signature, without waiting for the disk, and
    /// follows it unless it is test traffic.
    pub fn record_refusal(&self, draft: CallbackDraft, peeked: Peeked) {
        let (refusal, authentic) = (Refusal::of(&draft, peeked), draft.signed_at.is_some());
        let posted = self.store.post(move |tx| {
            tx.insert_callback(&draft)?;
            refusal.follow(tx)
        });
        if !posted && authentic {
            self.ears.missed_a_call();
        }
    }

    /// Follows a refused call that the signature doctor is going to record.
    pub fn follow_refusal(&self, draft: &CallbackDraft, peeked: Peeked) {
        let refusal = Refusal::of(draft, peeked);
        self.store.post(move |tx| refusal.follow(tx));
    }

    /// Each minute: stores what could not be stored before, and closes the windows that are over.
    ///
    /// # Errors
    /// [`StoreError`]; what could not be stored is kept.
    pub async fn follow_failed_calls(&self) -> Result<Followed, StoreError> {
        let now = self.clock.now();
        let kept = self.unstored.drain();
        let (storing, since) = (kept.clone(), self.ears.listening_since(now));
        let written = self
            .store
            .write(move |tx| {
                let mut told = Told::default();
                for (name, round) in &storing {
                    fail(tx, name, ResultCode::NotStored, *round)?;
                }
                Ok((close(tx, &mut told, since, now)?, told))
            })
            .await;
        match written {
            Ok((followed, told)) => {
                self.tell(&told);
                Ok(followed)
            }
            Err(error) => {
                for (name, round) in &kept {
                    self.unstored.keep(name, *round);
                }
                Err(error)
            }
        }
    }

    /// Ticks off what is on the restart list for this order or code, as an operator says. Returns how many
    /// calls that were.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn dismiss_failed_calls(
        &self,
        order_or_code: String,
        reason: String,
    ) -> Result<usize, StoreError> {
        let now = self.clock.now();
        let (dismissed, told) = self
            .store
            .write(move |tx| {
                let mut told = Told::default();
                let mut calls = tx.failed_calls(WindowState::Restart)?;
                calls.retain(|call| {
                    [&call.name.order_id, &call.name.code].contains(&&order_or_code)
                });
                for call in &calls {
                    let detail = format!("ticked off the restart list: {reason}");
                    let kind = EventKind::Operator;
                    note(tx, &mut told, &call.name, Source::Operator, kind, &detail, now)?;
                    tx.save_failed_call(&FailedCall {
                        state: WindowState::Dismissed,
                        ended_at: Some(now),
                        reason: Some(reason.clone()),
                        ..call.clone()
                    })?;
                }
                Ok((calls.len(), told))
            })
            .await?;
        self.tell(&told);
        Ok(dismissed)
    }
}
