//! Activation: intent → call → outcome → second transaction. One path for the happy case, for the operator's
//! order and for what a crash left open.
//!
//! Invariant: an activation whose answer is not known is never repeated before the marketplace was asked.

use super::again::{Due, after_failure, reschedule};
use super::calls::{CallOutcome, CallReport, Errand, unless_success};
use super::perform::{Told, append, perform, waits_behind_a_freeze, waits_for_activation};
use super::{Lifecycle, LifecycleError};
use crate::domain::license::Code;
use crate::domain::state::State;
use crate::domain::time::{HOUR_MS, Timestamp};
use crate::domain::transition::{
    ActivationAnswer, ActivationVerdict, Command, EventDraft, EventKind, Source,
};
use crate::marketplace::{Call, CallResult, Effort};
use crate::store::{self, Owed, StoreError, Tx};
use std::time::{Duration, Instant};

/// An activation that is owed while the code is frozen is looked at again after this time; a thaw does
/// not wait for it.
const BEHIND_A_FREEZE_MS: i64 = HOUR_MS;

/// What the first transaction of an activation found.
enum Intent {
    /// Call.
    Call,
    /// An earlier call's answer is not known: ask first.
    AskFirst,
    /// Nothing to activate: ask how it stands.
    Ask,
    /// No activation is owed any more.
    Settled,
    /// The code is over.
    Released,
}

impl Lifecycle {
    /// Activates a code, as ordered by an operator or the software.
    ///
    /// # Errors
    /// [`LifecycleError::UnknownCode`], [`LifecycleError::Store`].
    pub async fn activate(&self, code: &Code) -> Result<CallReport, LifecycleError> {
        let (outcome, error_code) = self.try_activation(code, Effort::Interactive, true).await?;
        self.report(code, outcome, error_code)
    }

    /// Activates a code for somebody who waits so long for each call. What it came to is on the row.
    pub(super) async fn activate_within(
        &self,
        code: &Code,
        wait: Duration,
    ) -> Result<(), LifecycleError> {
        let effort = Effort::Once { deadline: wait };
        self.try_activation(code, effort, true).await.map(drop)
    }

    /// One activation. `ordered` by somebody who waits, or due.
    pub(super) async fn try_activation(
        &self,
        code: &Code,
        effort: Effort,
        ordered: bool,
    ) -> Result<(CallOutcome, Option<String>), LifecycleError> {
        match self.intend_activation(code, ordered).await? {
            Intent::Call => {}
            Intent::Released => return Ok((CallOutcome::Refused, None)),
            Intent::Settled => return Ok((CallOutcome::Asked, None)),
            Intent::Ask => return self.try_query(code, effort, true).await.map(asked),
            Intent::AskFirst => {
                let (outcome, error_code) = self.try_query(code, effort, false).await?;
                if outcome != CallOutcome::Done {
                    self.put_off_activation(code).await?;
                    return Ok((outcome, error_code));
                }
                // What was answered decides whether it is still to be made; if so, it is an intent anew.
                match self.intend_activation(code, false).await? {
                    Intent::Call => {}
                    Intent::AskFirst | Intent::Ask | Intent::Settled | Intent::Released => {
                        return Ok((CallOutcome::Asked, error_code));
                    }
                }
            }
        }
        let began = Instant::now();
        let call = self.marketplace.activate(code, effort).await;
        self.note_call(Errand::Activate, &call, began);
        let illegal = matches!(call.result, CallResult::Verdict(ActivationVerdict::IllegalState));
        let result = self.conclude_activation(code, call, ordered).await?;
        if illegal {
            let (outcome, _) = self.try_query(code, effort, true).await?;
            return Ok(asked((outcome, result.1)));
        }
        Ok(result)
    }

    /// Transaction 1: the intent, recorded before the call; one that nobody owes yet if `begin` is set.
    async fn intend_activation(&self, code: &Code, begin: bool) -> Result<Intent, LifecycleError> {
        let (code, now) = (code.clone(), self.clock.now());
        let intent = self.store.write(move |tx| {
            let Some(license) = tx.license(&code)? else {
                tx.settle(&code, store::Call::Activate)?;
                return Ok(None);
            };
            if license.state() == State::Released {
                tx.settle(&code, store::Call::Activate)?;
                return Ok(Some(Intent::Released));
            }
            if waits_behind_a_freeze(&license) {
                if let Some(owed) = tx.owed(&code, store::Call::Activate)? {
                    tx.owe_at(&Owed { due_at: now.plus_ms(BEHIND_A_FREEZE_MS), ..owed }, now)?;
                }
                return Ok(Some(Intent::Ask));
            }
            if !waits_for_activation(&license) {
                tx.settle(&code, store::Call::Activate)?;
                return Ok(Some(Intent::Ask));
            }
            let owed = tx.owed(&code, store::Call::Activate)?;
            if owed.is_none() && !begin {
                return Ok(Some(Intent::Settled));
            }
            let open = owed.as_ref().is_some_and(|owed| owed.sent_at.is_some());
            let mut owed = owed.unwrap_or(Owed {
                code,
                call: store::Call::Activate,
                due_at: now,
                attempts: 0,
                sent_at: None,
            });
            owed.sent_at = Some(now);
            tx.owe_at(&owed, now)?;
            Ok(Some(if open { Intent::AskFirst } else { Intent::Call }))
        });
        intent.await?.ok_or(LifecycleError::UnknownCode)
    }

    /// The question before a repetition got no answer: it is asked again after a while.
    async fn put_off_activation(&self, code: &Code) -> Result<(), StoreError> {
        let (code, now) = (code.clone(), self.clock.now());
        let due = self.marketplace.stopped_until().map_or(Due::Backoff, Due::At);
        self.store.write(move |tx| reschedule(tx, &code, due, true, now)).await?;
        self.owed.notify_one();
        Ok(())
    }

    /// Transaction 2: the outcome, decided from the row as it is now.
    async fn conclude_activation(
        &self,
        code: &Code,
        call: Call<ActivationVerdict>,
        ordered: bool,
    ) -> Result<(CallOutcome, Option<String>), LifecycleError> {
        let (code, now) = (code.clone(), self.clock.now());
        let error_code = call.error_code.clone();
        let (outcome, told) = self
            .store
            .write(move |tx| {
                let mut told = Told::default();
                let outcome = conclude(tx, &mut told, &code, call, ordered, now)?;
                Ok((outcome, told))
            })
            .await?;
        self.tell(&told);
        Ok((outcome, unless_success(error_code, outcome)))
    }
}

fn asked((outcome, error_code): (CallOutcome, Option<String>)) -> (CallOutcome, Option<String>) {
    match outcome {
        CallOutcome::Done => (CallOutcome::Asked, error_code),
        other => (other, error_code),
    }
}

pub(super) fn conclude(
    tx: &mut Tx<'_>,
    told: &mut Told,
    code: &Code,
    call: Call<ActivationVerdict>,
    ordered: bool,
    now: Timestamp,
) -> Result<CallOutcome, StoreError> {
    let Some(license) = tx.license(code)? else {
        return Ok(CallOutcome::Refused);
    };
    let verdict = match call.result {
        CallResult::Verdict(verdict) => verdict,
        unusable => {
            let (outcome, due) = after_failure(&unusable);
            let mut license = license;
            if call.error_code.is_some() {
                license.last_error_code.clone_from(&call.error_code);
                tx.save_license(&license, Some(license.state()))?;
            }
            if let CallResult::Permanent { why } = &unusable {
                let mut event = EventDraft::note(EventKind::ActivationFailed, why.clone());
                event.result_code = call.error_code;
                append(tx, told, code, Source::Activation, event, now)?;
                tx.settle(code, store::Call::Activate)?;
            } else {
                let ambiguous = matches!(
                    unusable,
                    CallResult::Retry { ambiguous: true, .. } | CallResult::Unrecognised { .. }
                );
                reschedule(tx, code, due, ambiguous, now)?;
                told.owes();
            }
            return Ok(outcome);
        }
    };
    let outcome = match &verdict {
        ActivationVerdict::Done(_) => CallOutcome::Done,
        ActivationVerdict::NotReceived => CallOutcome::WaitingForBuyer,
        ActivationVerdict::IllegalState => CallOutcome::Asked,
        ActivationVerdict::UnknownCode => CallOutcome::Refused,
    };
    let owed = tx.owed(code, store::Call::Activate)?;
    if let (ActivationVerdict::NotReceived, true, Some(owed)) = (&verdict, ordered, owed)
        && license.state() == State::Issued
        && license.buyer_waits > 0
        && owed.due_at > now
    {
        // An order between two rungs does not move the ladder (product.md §9).
        tx.owe_at(&Owed { sent_at: None, ..owed }, now)?;
        return Ok(outcome);
    }
    let illegal = verdict == ActivationVerdict::IllegalState;
    let command = Command::Activation(ActivationAnswer { asked_at: call.asked_at, verdict });
    perform(tx, told, &license, &command, Source::Activation, now)?;
    if illegal {
        // The question that follows settles it; if it fails, the activation is tried again later.
        reschedule(tx, code, Due::Backoff, false, now)?;
    }
    Ok(outcome)
}
