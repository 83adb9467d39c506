//! Activation and query: intent → call → outcome → second transaction. One path for the happy case,
//! for the operator's order and for what a crash left open.
//!
//! Invariant: an activation whose answer is not known is never repeated before the marketplace was asked.

use super::hearing::note_missed;
use super::perform::{
    Performed, Told, append, perform, waits_behind_a_freeze, waits_for_activation,
};
use super::{Lifecycle, LifecycleError, STOPPED_UNTIL, STRANGE, orphans};
use crate::domain::license::{Code, License};
use crate::domain::state::State;
use crate::domain::time::{HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use crate::domain::transition::{
    ActivationAnswer, ActivationVerdict, Command, EventDraft, EventKind, QueryAnswer, QueryVerdict,
    Source,
};
use crate::marketplace::{Call, CallResult, Effort};
use crate::protocol::open_api::Strange;
use crate::store::{self, LicenseRow, Owed, StoreError, Tx};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// The first wait after a call that got no usable answer; it doubles with each try.
const BACKOFF_FIRST_MS: i64 = 5 * SECOND_MS;
/// The longest wait between tries.
const BACKOFF_LAST_MS: i64 = 5 * MINUTE_MS;
/// An activation that is owed while the code is frozen is looked at again after this time; a thaw does
/// not wait for it.
const BEHIND_A_FREEZE_MS: i64 = HOUR_MS;
/// What the marketplace answers when all is well.
const SUCCESS: &str = "92020000";
/// Owed calls under way at once.
const CONCURRENT: usize = 4;
/// Owed calls read at once.
const PAGE: i64 = 64;

/// Which call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// Activate.
    Activate,
    /// Query.
    Query,
    /// Query of an order.
    Order,
    /// Report usage.
    Usage,
}

/// What a call came to, as the admin API tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// It did what it should.
    Done,
    /// The buyer has not received the code yet.
    WaitingForBuyer,
    /// No usable answer; the background goes on.
    RetryLater,
    /// The marketplace refused, or there is nothing to call for.
    Refused,
    /// The marketplace was asked instead of ordered.
    Asked,
}

impl CallOutcome {
    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::WaitingForBuyer => "waiting_for_buyer",
            Self::RetryLater => "retry_later",
            Self::Refused => "refused",
            Self::Asked => "asked",
        }
    }
}

/// What a call came to, and the licence afterwards.
#[derive(Debug, Clone)]
pub struct CallReport {
    /// What it came to.
    pub outcome: CallOutcome,
    /// The marketplace's code, unless it was a success.
    pub error_code: Option<String>,
    /// The licence afterwards.
    pub license: LicenseRow,
}

/// What an answer about a code came to.
pub(super) struct Heard {
    pub(super) outcome: CallOutcome,
    /// The marketplace's code, unless it was a success.
    pub(super) error_code: Option<String>,
    /// It told what we did not know.
    pub(super) changed: bool,
}

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

    fn report(
        &self,
        code: &Code,
        outcome: CallOutcome,
        error_code: Option<String>,
    ) -> Result<CallReport, LifecycleError> {
        let license = self.store.read(|snapshot| snapshot.license_row(code))?;
        let license = license.ok_or(LifecycleError::UnknownCode)?;
        Ok(CallReport { outcome, error_code, license })
    }

    /// Makes the calls that are owed and due. Returns how many were made.
    ///
    /// # Errors
    /// [`StoreError`]; a call that fails is owed again, and no error.
    pub async fn settle_owed(self: &Arc<Self>) -> Result<u64, StoreError> {
        let mut made = 0;
        loop {
            let now = self.clock.now();
            if self.marketplace.closed_until().is_some_and(|until| until > now) {
                return Ok(made);
            }
            let due = self.store.list(move |snapshot| snapshot.due_calls(now, PAGE)).await?;
            if due.is_empty() {
                // Codes come first: they are looked for again after each handful of orders.
                match self.settle_orders().await? {
                    0 => return Ok(made),
                    orders => made += orders,
                }
                continue;
            }
            made += due.len() as u64;
            self.make(due).await?;
        }
    }

    async fn make(self: &Arc<Self>, due: Vec<Owed>) -> Result<(), StoreError> {
        let mut under_way = JoinSet::new();
        for owed in due {
            if under_way.len() >= CONCURRENT
                && let Some(joined) = under_way.join_next().await
            {
                finished(joined)?;
            }
            let this = Arc::clone(self);
            under_way.spawn(async move {
                let result = match owed.call {
                    store::Call::Activate => {
                        this.try_activation(&owed.code, Effort::Background, false).await
                    }
                    store::Call::Query | store::Call::QueryAgain => {
                        this.try_query(&owed.code, Effort::Background, true).await
                    }
                };
                match result {
                    Err(LifecycleError::Store(error)) => Err(error),
                    Ok(_) | Err(LifecycleError::UnknownCode | LifecycleError::Released) => Ok(()),
                }
            });
        }
        while let Some(joined) = under_way.join_next().await {
            finished(joined)?;
        }
        Ok(())
    }

    /// One activation. `ordered` by somebody who waits, or due.
    async fn try_activation(
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
        let due = self.marketplace.stopped_until().map_or(Due::Backoff(jitter()), Due::At);
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
        let (code, now, jitter) = (code.clone(), self.clock.now(), jitter());
        let error_code = call.error_code.clone();
        let (outcome, told) = self
            .store
            .write(move |tx| {
                let mut told = Told::default();
                let outcome = conclude(tx, &mut told, &code, call, ordered, now, jitter)?;
                Ok((outcome, told))
            })
            .await?;
        self.tell(&told);
        Ok((outcome, unless_success(error_code, outcome)))
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
        let (code, now, jitter, zone) = (code.clone(), self.clock.now(), jitter(), self.zone);
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
                        let (outcome, due) = after_failure(&unusable, jitter);
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

    /// Counts a call, which the client has logged, keeps a stop of the queue over a restart, and tells of what
    /// no document told us of.
    pub(super) fn note_call<V>(&self, errand: Errand, call: &Call<V>, began: Instant) {
        let api = match errand {
            Errand::Activate => "activate",
            Errand::Query => "query",
            Errand::Order => "order",
            Errand::Usage => "usage",
        };
        let outcome = match &call.result {
            CallResult::Verdict(_) => "answered",
            CallResult::Retry { .. } => "retry",
            CallResult::Stopped { .. } => "stopped",
            CallResult::Permanent { .. } => "permanent",
            CallResult::Unrecognised { .. } => "unrecognised",
        };
        self.metrics.marketplace_call(api, outcome, began.elapsed());
        if let CallResult::Stopped { until } = &call.result
            && call.http.is_some()
        {
            let until = until.as_ms().to_string();
            self.store.post(move |tx| tx.set_fact(STOPPED_UNTIL, &until));
        }
        for strange in &call.strange {
            self.keep_strange(api, strange);
        }
    }

    /// Keeps something strange with its sample, once for ever, and says so.
    fn keep_strange(&self, api: &str, strange: &Strange) {
        let Strange { kind, name, sample } = strange;
        let kind = kind.as_str();
        tracing::warn!(api, kind, name, sample, "the marketplace sent what no document told us of");
        let fact = format!("{STRANGE}{kind} {name}");
        let detail = format!("the answer to {api} held an unknown {kind}: {name}, as in {sample}");
        let now = self.clock.now();
        self.store.post(move |tx| {
            if tx.add_fact(&fact, &format!("{} {detail}", now.as_ms()))? {
                let event = EventDraft::note(EventKind::Observed, detail);
                tx.append_event(now, None, Source::Query, &event)?;
            }
            Ok(())
        });
    }
}

pub(super) fn finished(
    joined: Result<Result<(), StoreError>, tokio::task::JoinError>,
) -> Result<(), StoreError> {
    joined.unwrap_or_else(|error| {
        tracing::error!(%error, "an owed call ended in a fault of ours; it is owed still");
        Ok(())
    })
}

/// The marketplace's code, where it tells more than that all is well.
fn unless_success(error_code: Option<String>, outcome: CallOutcome) -> Option<String> {
    error_code.filter(|code| outcome != CallOutcome::Done || code != SUCCESS)
}

fn asked((outcome, error_code): (CallOutcome, Option<String>)) -> (CallOutcome, Option<String>) {
    match outcome {
        CallOutcome::Done => (CallOutcome::Asked, error_code),
        other => (other, error_code),
    }
}

fn conclude(
    tx: &mut Tx<'_>,
    told: &mut Told,
    code: &Code,
    call: Call<ActivationVerdict>,
    ordered: bool,
    now: Timestamp,
    jitter: f64,
) -> Result<CallOutcome, StoreError> {
    let Some(license) = tx.license(code)? else {
        return Ok(CallOutcome::Refused);
    };
    let verdict = match call.result {
        CallResult::Verdict(verdict) => verdict,
        unusable => {
            let (outcome, due) = after_failure(&unusable, jitter);
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
        reschedule(tx, code, Due::Backoff(jitter), false, now)?;
    }
    Ok(outcome)
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

/// When a call is to be tried again.
#[derive(Clone, Copy)]
enum Due {
    /// After the backoff of its attempts, with this jitter.
    Backoff(f64),
    /// When the queue opens again.
    At(Timestamp),
    /// Never by itself.
    Never,
}

fn after_failure<V>(result: &CallResult<V>, jitter: f64) -> (CallOutcome, Due) {
    match result {
        CallResult::Stopped { until } => (CallOutcome::RetryLater, Due::At(*until)),
        CallResult::Permanent { .. } => (CallOutcome::Refused, Due::Never),
        CallResult::Retry { .. } | CallResult::Unrecognised { .. } | CallResult::Verdict(_) => {
            (CallOutcome::RetryLater, Due::Backoff(jitter))
        }
    }
}

/// Owes the activation again.
fn reschedule(
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
fn postpone(
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
    let due_at = match due {
        Due::Backoff(jitter) => now.plus_ms(backoff_ms(owed.attempts, jitter)),
        Due::At(at) => at,
        Due::Never => return tx.settle(&owed.code, owed.call),
    };
    let attempts = owed.attempts.saturating_add(1);
    tx.owe_at(&Owed { due_at, attempts, ..owed }, now)
}

/// 5 s, doubling to 5 min, times 0.8 to 1.2 (`jitter` in 0..1), so that a crowd spreads.
pub(super) fn backoff_ms(attempts: u32, jitter: f64) -> i64 {
    let plain = BACKOFF_FIRST_MS.saturating_mul(1 << attempts.min(10)).min(BACKOFF_LAST_MS);
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "minutes")]
    let spread = (plain as f64 * (0.8 + 0.4 * jitter)) as i64;
    spread
}

/// A random number in 0..1.
pub(super) fn jitter() -> f64 {
    use ring::rand::SecureRandom as _;
    let mut byte = [0u8; 1];
    match ring::rand::SystemRandom::new().fill(&mut byte) {
        Ok(()) => f64::from(byte[0]) / 256.0,
        Err(_) => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_up_to_five_minutes() {
        let waits: Vec<_> = (0..8).map(|n| backoff_ms(n, 0.5) / SECOND_MS).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff_ms(u32::MAX, 0.0), 4 * MINUTE_MS);
    }
}
