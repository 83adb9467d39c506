//! Query: what the marketplace says of a code, and what follows from it, decided from the row as it is then.

use super::again::{after_failure, postpone};
use super::calls::{CallOutcome, CallReport, Errand, unless_success};
use super::hearing::note_missed;
use super::perform::{Performed, Told, perform, waits_for_activation};
use super::{Lifecycle, LifecycleError, orphans};
use crate::domain::license::{Code, License};
use crate::domain::time::Timestamp;
use crate::domain::transition::{Command, QueryAnswer, QueryVerdict, Source};
use crate::marketplace::{Call, CallResult, Effort};
use crate::store::{self, Owed, StoreError, Tx};
use std::time::Instant;

/// What an answer about a code came to.
pub(super) struct Heard {
    pub(super) outcome: CallOutcome,
    /// The marketplace's code, unless it was a success.
    pub(super) error_code: Option<String>,
    /// It told what we did not know.
    pub(super) changed: bool,
}

impl Lifecycle {
    /// Asks the marketplace how a code stands, as ordered by an operator.
    ///
    /// # Errors
    /// [`LifecycleError::UnknownCode`], [`LifecycleError::Store`].
    pub async fn query(&self, code: &Code) -> Result<CallReport, LifecycleError> {
        if self.store.read(|snapshot| snapshot.license(code))?.is_none() {
            return Err(LifecycleError::UnknownCode);
        }
        let (outcome, error_code) = self.try_query(code, Effort::Interactive, true).await?;
        self.report(code, outcome, error_code)
    }

    /// One query. When it fails and `owe` is set, the background goes on.
    pub(super) async fn try_query(
        &self,
        code: &Code,
        effort: Effort,
        owe: bool,
    ) -> Result<(CallOutcome, Option<String>), LifecycleError> {
        let call = self.ask(code, effort).await;
        let heard = self.hear(code, call, owe).await?;
        Ok((heard.outcome, heard.error_code))
    }

    /// Asks the marketplace how a code stands, and counts the call.
    pub(super) async fn ask(&self, code: &Code, effort: Effort) -> Call<QueryVerdict> {
        let began = Instant::now();
        let call = self.marketplace.query(code, effort).await;
        self.note_call(Errand::Query, &call, began);
        call
    }

    /// Lets the answer have its effect, decided from the row as it is now.
    pub(super) async fn hear(
        &self,
        code: &Code,
        call: Call<QueryVerdict>,
        owe: bool,
    ) -> Result<Heard, StoreError> {
        let (code, now, zone) = (code.clone(), self.clock.now(), self.zone);
        let error_code = call.error_code.clone();
        let (outcome, told) = self
            .store
            .write(move |tx| {
                let mut told = Told::default();
                let outcome = match call.result {
                    CallResult::Verdict(verdict) => {
                        tx.settle(&code, store::Call::Query)?;
                        let again = tx.owed(&code, store::Call::QueryAgain)?;
                        if again.is_some_and(|again| again.due_at <= now) {
                            tx.settle(&code, store::Call::QueryAgain)?;
                        }
                        let unknown = verdict == QueryVerdict::UnknownCode;
                        let answer = QueryAnswer { asked_at: call.asked_at, verdict };
                        if let Some(license) = tx.license(&code)? {
                            observe(tx, &mut told, &license, answer, now)?;
                        } else {
                            orphans::settle(tx, &mut told, &code, answer, zone, now)?;
                        }
                        if unknown { CallOutcome::Refused } else { CallOutcome::Done }
                    }
                    unusable => {
                        told.owes();
                        let (outcome, due) = after_failure(&unusable);
                        if let Some(mut license) = tx.license(&code)? {
                            license.ask_failed_at = Some(call.asked_at);
                            if call.error_code.is_some() {
                                license.last_error_code = call.error_code;
                            }
                            tx.save_license(&license, Some(license.state()))?;
                        }
                        postpone(tx, &code, store::Call::Query, due, owe, now)?;
                        postpone(tx, &code, store::Call::QueryAgain, due, false, now)?;
                        outcome
                    }
                };
                Ok((outcome, told))
            })
            .await?;
        self.tell(&told);
        let error_code = unless_success(error_code, outcome);
        Ok(Heard { outcome, error_code, changed: told.changes() })
    }
}

/// A query's answer, and what it means for an activation that is owed.
fn observe(
    tx: &mut Tx<'_>,
    told: &mut Told,
    license: &License,
    answer: QueryAnswer,
    now: Timestamp,
) -> Result<(), StoreError> {
    let not_activated = answer.verdict == QueryVerdict::NotActivated;
    let performed = perform(tx, told, license, &Command::Query(answer), Source::Query, now)?;
    if let Performed::Done(after) = &performed {
        note_missed(tx, license, after, now)?;
    }
    if let Performed::Done(license) = performed
        && not_activated
        && waits_for_activation(&license)
        && let Some(owed) = tx.owed(&license.code, store::Call::Activate)?
        && owed.sent_at.is_some()
    {
        // The call whose answer was lost did not get through: it may be made again.
        tx.owe_at(&Owed { sent_at: None, ..owed }, now)?;
    }
    Ok(())
}
