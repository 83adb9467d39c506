//! Activations and queries of many codes in one call (v2), where the configuration asks for them.
//!
//! Invariant: a batch is only a shorter way. Whatever it leaves open for a code - a refusal, a doubt, a code
//! that its answer does not name - is settled by a call about that code alone, by the rules of those.

use super::Lifecycle;
use super::activation::conclude;
use super::calls::Errand;
use super::perform::{Told, waits_for_activation};
use crate::domain::license::Code;
use crate::domain::transition::{ActivationVerdict, Facts, QueryVerdict};
use crate::marketplace::{Call, CallResult, Effort};
use crate::protocol::open_api::Batch;
use crate::store::{self, Owed, StoreError, Tx};
use std::time::Instant;

/// What a batch came to for each of its codes.
enum Came<V> {
    /// The same for all of them.
    Alike(CallResult<V>),
    /// Each is to be called for alone.
    Split,
}

impl Lifecycle {
    /// Makes those of the owed calls that fit into batches, and returns the others.
    pub(super) async fn make_in_batches(&self, due: Vec<Owed>) -> Result<Vec<Owed>, StoreError> {
        let due = self.activate_in_batches(due).await?;
        self.query_in_batches(due).await
    }

    async fn activate_in_batches(&self, due: Vec<Owed>) -> Result<Vec<Owed>, StoreError> {
        let size = self.marketplace.batches().activation;
        let (first, mut alone) = first_tries(due, size, |call| call == store::Call::Activate);
        for batch in first.chunks(size) {
            let intended = self.intend_activations(codes_of(batch)).await?;
            alone.extend(batch.iter().filter(|owed| !intended.contains(&owed.code)).cloned());
            let left = self.activate_batch(&intended).await?;
            alone.extend(batch.iter().filter(|owed| left.contains(&owed.code)).cloned());
        }
        Ok(alone)
    }

    /// Transaction 1 of an activation, for many codes at once. Returns those whose activation may be made
    /// without more ado: nobody has tried it, and nobody waits for the buyer.
    async fn intend_activations(&self, codes: Vec<Code>) -> Result<Vec<Code>, StoreError> {
        let now = self.clock.now();
        let intend = move |tx: &mut Tx<'_>| {
            let mut intended = Vec::with_capacity(codes.len());
            for code in codes {
                let license = tx.license(&code)?;
                let fits = |owed: &Owed| {
                    owed.attempts == 0 && owed.sent_at.is_none() && owed.due_at <= now
                };
                if license.is_some_and(|it| waits_for_activation(&it) && it.buyer_waits == 0)
                    && let Some(owed) = tx.owed(&code, store::Call::Activate)?.filter(fits)
                {
                    tx.owe_at(&Owed { sent_at: Some(now), ..owed }, now)?;
                    intended.push(code);
                }
            }
            Ok(intended)
        };
        self.store.write(intend).await
    }

    /// Activates codes whose intent is stored. Returns those that are to be activated alone.
    async fn activate_batch(&self, codes: &[Code]) -> Result<Vec<Code>, StoreError> {
        if codes.is_empty() {
            return Ok(Vec::new());
        }
        let began = Instant::now();
        let call = self.marketplace.activate_batch(codes, Effort::Background).await;
        self.note_call(Errand::ActivateBatch, &call, began);
        let Call { asked_at, http, error_code, result, .. } = call;
        let came = of_activation(result);
        let (codes, now) = (codes.to_vec(), self.clock.now());
        let conclude_all = move |tx: &mut Tx<'_>| {
            let mut told = Told::default();
            let Came::Alike(result) = came else {
                // A definite answer: nothing was activated (protocol.md 2.3).
                for code in &codes {
                    if let Some(owed) = tx.owed(code, store::Call::Activate)? {
                        tx.owe_at(&Owed { sent_at: None, ..owed }, now)?;
                    }
                }
                return Ok((codes, told));
            };
            let activated = matches!(result, CallResult::Verdict(_));
            let left = if matches!(result, CallResult::Unrecognised { .. }) {
                codes.clone()
            } else {
                Vec::new()
            };
            for code in &codes {
                let (error_code, result) = (error_code.clone(), result.clone());
                let call = Call { asked_at, http, error_code, result, strange: Vec::new() };
                conclude(tx, &mut told, code, call, false, now)?;
                if activated {
                    // The answer told no end.
                    tx.owe(code, store::Call::Query, now, now)?;
                }
            }
            Ok((left, told))
        };
        let (left, told) = self.store.write(conclude_all).await?;
        self.tell(&told);
        Ok(left)
    }

    async fn query_in_batches(&self, due: Vec<Owed>) -> Result<Vec<Owed>, StoreError> {
        let size = self.marketplace.batches().query;
        let is_query = |call| matches!(call, store::Call::Query | store::Call::QueryAgain);
        let (first, alone) = first_tries(due, size, is_query);
        for batch in first.chunks(size) {
            for (code, call) in self.ask_many(codes_of(batch), Effort::Background).await {
                self.hear(&code, call, true).await?;
            }
        }
        Ok(alone)
    }

    /// Asks the marketplace how codes stand, in as few calls as it may take: at most
    /// [`crate::marketplace::BatchSizes::query`] of them in one.
    pub(super) async fn ask_many(
        &self,
        codes: Vec<Code>,
        effort: Effort,
    ) -> Vec<(Code, Call<QueryVerdict>)> {
        let mut answers = Vec::with_capacity(codes.len());
        let mut alone = Vec::new();
        for batch in codes.chunks(self.marketplace.batches().query) {
            if batch.len() == 1 {
                alone.extend_from_slice(batch);
            } else {
                alone.extend(self.ask_batch(batch, effort, &mut answers).await);
            }
        }
        for code in alone {
            let call = self.ask(&code, effort).await;
            answers.push((code, call));
        }
        answers
    }

    /// Returns the codes that are to be asked about alone.
    async fn ask_batch(
        &self,
        codes: &[Code],
        effort: Effort,
        answers: &mut Vec<(Code, Call<QueryVerdict>)>,
    ) -> Vec<Code> {
        let began = Instant::now();
        let call = self.marketplace.query_batch(codes, effort).await;
        self.note_call(Errand::QueryBatch, &call, began);
        let Call { asked_at, http, error_code, result, .. } = call;
        let about = |result| Call {
            asked_at,
            http,
            error_code: error_code.clone(),
            result,
            strange: Vec::new(),
        };
        match of_query(result) {
            (told, Came::Split) => {
                let named: Vec<_> = told.iter().map(|(code, _)| code.clone()).collect();
                let told = told.into_iter();
                answers.extend(
                    told.map(|(code, verdict)| (code, about(CallResult::Verdict(verdict)))),
                );
                codes.iter().filter(|code| !named.contains(code)).cloned().collect()
            }
            (_, Came::Alike(result)) => {
                answers.extend(codes.iter().map(|code| (code.clone(), about(result.clone()))));
                Vec::new()
            }
        }
    }
}

/// Those of the owed calls that `fits`, that were never tried, and of which there are enough for a batch;
/// and the others.
fn first_tries(
    due: Vec<Owed>,
    size: usize,
    fits: impl Fn(store::Call) -> bool,
) -> (Vec<Owed>, Vec<Owed>) {
    let first = |owed: &Owed| fits(owed.call) && owed.attempts == 0 && owed.sent_at.is_none();
    if size < 2 || due.iter().filter(|owed| first(owed)).count() < 2 {
        return (Vec::new(), due);
    }
    due.into_iter().partition(first)
}

fn codes_of(batch: &[Owed]) -> Vec<Code> {
    let mut codes: Vec<_> = batch.iter().map(|owed| owed.code.clone()).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

fn of_activation(result: CallResult<Batch<()>>) -> Came<ActivationVerdict> {
    Came::Alike(match result {
        CallResult::Verdict(Batch::Done(())) => {
            CallResult::Verdict(ActivationVerdict::Done(Facts::default()))
        }
        CallResult::Verdict(Batch::Split) | CallResult::Permanent { .. } => return Came::Split,
        CallResult::Retry { ambiguous, why } => CallResult::Retry { ambiguous, why },
        CallResult::Stopped { until } => CallResult::Stopped { until },
        CallResult::Unrecognised { sample } => CallResult::Unrecognised { sample },
    })
}

/// What a batch's query told of codes by name, and what it came to for the others.
fn of_query(
    result: CallResult<Batch<Vec<(Code, QueryVerdict)>>>,
) -> (Vec<(Code, QueryVerdict)>, Came<QueryVerdict>) {
    let alike = match result {
        CallResult::Verdict(Batch::Done(told)) => return (told, Came::Split),
        CallResult::Verdict(Batch::Split)
        | CallResult::Permanent { .. }
        | CallResult::Unrecognised { .. } => return (Vec::new(), Came::Split),
        CallResult::Retry { ambiguous, why } => CallResult::Retry { ambiguous, why },
        CallResult::Stopped { until } => CallResult::Stopped { until },
    };
    (Vec::new(), Came::Alike(alike))
}
