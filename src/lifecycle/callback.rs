//! An authentic callback: looked up, decided, recorded and answered in one transaction.
//!
//! Invariant: 000000 leaves only after the commit that holds the effect, its event, the owed calls and
//! the answer itself. Keygate's mistake is the regression to fear: a key burned before the work.

use super::evidence::{About, Evidence, Reply};
use super::failed_calls::follow;
use super::orphans::{adopt, apply_waiting};
use super::perform::{Performed, Told, append, perform};
use super::{Errand, Lifecycle};
use crate::domain::license::License;
use crate::domain::outcome::ResultCode;
use crate::domain::retry_window::{CallName, Round};
use crate::domain::slots::Zone;
use crate::domain::time::Timestamp;
use crate::domain::transition::{
    Command, EventDraft, EventKind, QueryAnswer, QueryVerdict, Source,
};
use crate::marketplace::{CallResult, Effort};
use crate::protocol::call_name::of_callback;
use crate::protocol::callback::Callback;
use crate::store::{Call, LedgerEntry, StoreError, Tx, Verdict};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the marketplace may be asked about an unknown code inside its own callback.
const ASK_INSIDE: Duration = Duration::from_secs(5);

/// A verified and decoded callback, with what its record needs.
pub struct Arrival {
    callback: Callback,
    evidence: Evidence,
    ledger: Option<LedgerEntry>,
    name: CallName,
}

/// What the marketplace said of an unknown code.
enum Knowledge {
    Known(QueryAnswer),
    Unknown,
    Unreachable,
}

enum Step {
    Answered(Reply, Told),
    AskMarketplace,
}

impl Arrival {
    /// Takes the callback with the evidence of its signature.
    #[must_use]
    pub fn new(callback: Callback, evidence: Evidence) -> Self {
        let expires_text = match &callback.command {
            Command::Renewal(refresh) | Command::Unrenewal(refresh) => Some(refresh.expiry.text),
            _ => None,
        };
        let ledger = callback.key.as_ref().map(|key| LedgerEntry {
            code: key.code.clone(),
            scene: key.scene,
            order_id: key.order_id.clone(),
            order_line_id: key.order_line_id.clone(),
            expires_text,
            content: callback.content,
        });
        let name = of_callback(&callback);
        Self { callback, evidence, ledger, name }
    }

    fn about(&self) -> About<'_> {
        About {
            activity: self.callback.activity.as_str(),
            code: Some(self.callback.code.as_str()),
            test: self.callback.test,
        }
    }

    /// Records the callback and, when it is final, its answer; then it is answered so.
    fn close(
        &self,
        tx: &mut Tx<'_>,
        told: Told,
        verdict: Verdict,
        code: ResultCode,
        detail: &str,
    ) -> Result<Step, StoreError> {
        let reply = self.evidence.close(tx, self.about(), verdict, code, detail)?;
        Ok(Step::Answered(reply, told))
    }
}

impl Lifecycle {
    /// Test traffic: recorded without waiting for the disk; no row of a code is read or written.
    pub fn test_callback(&self, arrival: &Arrival) -> Reply {
        self.record_test(&arrival.evidence, arrival.about())
    }

    /// Decides a real callback. The answer is durable when this returns.
    pub async fn callback(&self, arrival: Arrival) -> Reply {
        let arrival = Arc::new(arrival);
        // Taken out before the writer is asked: what it does for this call comes behind what was stored.
        let before = self.unstored.take(&arrival.name);
        let step = match self.attempt(&arrival, None, before).await {
            Ok(Step::AskMarketplace) => {
                let knowledge = self.ask_inside(&arrival).await;
                self.attempt(&arrival, Some(knowledge), before).await
            }
            step => step,
        };
        match step {
            Ok(Step::Answered(reply, told)) => {
                self.tell(&told);
                reply
            }
            Ok(Step::AskMarketplace) => {
                self.keep_unstored(&arrival.name, before);
                Reply { code: ResultCode::NotStored, verdict: None }
            }
            Err(error) => {
                self.keep_unstored(&arrival.name, before);
                tracing::error!(
                    license.code = arrival.callback.code.as_str(),
                    %error,
                    "a callback could not be stored and was answered 000005: the marketplace comes again in two minutes"
                );
                Reply { code: ResultCode::NotStored, verdict: None }
            }
        }
    }

    async fn attempt(
        &self,
        arrival: &Arc<Arrival>,
        knowledge: Option<Knowledge>,
        before: Option<Round>,
    ) -> Result<Step, StoreError> {
        let arrival = Arc::clone(arrival);
        let (zone, now) = (self.zone, self.clock.now());
        self.store
            .write(move |tx| {
                let mut step = decide_in(tx, &arrival, knowledge, zone, now)?;
                if let Step::Answered(reply, told) = &mut step {
                    follow(tx, told, &arrival.name, reply.code, before, now)?;
                }
                Ok(step)
            })
            .await
    }

    async fn ask_inside(&self, arrival: &Arrival) -> Knowledge {
        let effort = Effort::Once { deadline: ASK_INSIDE };
        let code = &arrival.callback.code;
        let began = Instant::now();
        // The deadline is the client's: cut off from outside, the call would leave no line in the log.
        let call = self.marketplace.query(code, effort).await;
        self.note_call(Errand::Query, &call, began);
        match call.result {
            CallResult::Verdict(QueryVerdict::UnknownCode) => Knowledge::Unknown,
            CallResult::Verdict(verdict) => {
                Knowledge::Known(QueryAnswer { asked_at: call.asked_at, verdict })
            }
            CallResult::Retry { .. }
            | CallResult::Stopped { .. }
            | CallResult::Permanent { .. }
            | CallResult::Unrecognised { .. } => Knowledge::Unreachable,
        }
    }
}

fn decide_in(
    tx: &mut Tx<'_>,
    arrival: &Arrival,
    knowledge: Option<Knowledge>,
    zone: Zone,
    now: Timestamp,
) -> Result<Step, StoreError> {
    let mut told = Told::default();
    if let Some((verdict, code, detail)) = arrival.evidence.replayed(tx)? {
        return arrival.close(tx, told, verdict, code, detail);
    }
    if let Some(entry) = &arrival.ledger
        && let Some((code, same)) = tx.ledger_answer(entry)?
    {
        return repeat(tx, told, arrival, code, same, now);
    }
    let code = &arrival.callback.code;
    let license = match (tx.license(code)?, knowledge, &arrival.callback.command) {
        (Some(license), _, _) => license,
        (None, None, Command::Release { .. }) | (None, Some(Knowledge::Unreachable), _) => {
            return park(tx, told, arrival, now);
        }
        (None, None, _) => return Ok(Step::AskMarketplace),
        (None, Some(Knowledge::Unknown), _) => {
            let detail = "neither we nor the marketplace know this code: ask its operations";
            let mut event = EventDraft::note(EventKind::Contradiction, detail);
            event.result_code = Some(ResultCode::UnknownCode.as_str().to_owned());
            append(tx, &mut told, code, Source::Callback, event, now)?;
            return arrival.close(tx, told, Verdict::Refused, ResultCode::UnknownCode, detail);
        }
        (None, Some(Knowledge::Known(answer)), _) => adopt(tx, &mut told, code, answer, zone, now)?,
    };
    apply(tx, told, arrival, &license, zone, now)
}

fn apply(
    tx: &mut Tx<'_>,
    mut told: Told,
    arrival: &Arrival,
    license: &License,
    zone: Zone,
    now: Timestamp,
) -> Result<Step, StoreError> {
    let command = &arrival.callback.command;
    let performed = perform(tx, &mut told, license, command, Source::Callback, now)?;
    let (verdict, code, detail) = match performed {
        Performed::Done(license) => {
            apply_waiting(tx, &mut told, *license, zone, now)?;
            (Verdict::Applied, ResultCode::Done, "")
        }
        Performed::Stale => {
            (Verdict::Stale, ResultCode::Done, "older than the status call applied before")
        }
        Performed::Refused => {
            (Verdict::Refused, ResultCode::UnknownCode, "the code is released, nothing revives it")
        }
    };
    if let Some(entry) = &arrival.ledger {
        tx.enter_in_ledger(entry, code, now)?;
    }
    arrival.close(tx, told, verdict, code, detail)
}

/// An order that has had its effect: the stored answer. With other content: no effect, and loud.
fn repeat(
    tx: &mut Tx<'_>,
    mut told: Told,
    arrival: &Arrival,
    code: ResultCode,
    same: bool,
    now: Timestamp,
) -> Result<Step, StoreError> {
    if same {
        let detail = "this order has had its effect: the stored answer";
        return arrival.close(tx, told, Verdict::Repeated, code, detail);
    }
    let detail =
        "this order came before with other content: nothing was changed; compare both callbacks";
    let event = EventDraft::note(EventKind::Contradiction, detail);
    append(tx, &mut told, &arrival.callback.code, Source::Callback, event, now)?;
    arrival.close(tx, told, Verdict::Repeated, ResultCode::Done, detail)
}

/// Keeps a callback for a code we do not know until the marketplace can be asked.
fn park(
    tx: &mut Tx<'_>,
    mut told: Told,
    arrival: &Arrival,
    now: Timestamp,
) -> Result<Step, StoreError> {
    let code = &arrival.callback.code;
    let detail = match arrival.callback.command {
        Command::Release { .. } => "a release of a code we never held: nothing is left to do",
        _ => "a code we do not know, and the marketplace could not be asked: kept until it can",
    };
    append(
        tx,
        &mut told,
        code,
        Source::Callback,
        EventDraft::note(EventKind::Orphan, detail),
        now,
    )?;
    tx.owe(code, Call::Query, now, now)?;
    told.owes();
    if let Some(entry) = &arrival.ledger {
        tx.enter_in_ledger(entry, ResultCode::Done, now)?;
    }
    arrival.close(tx, told, Verdict::Orphan, ResultCode::Done, detail)
}
