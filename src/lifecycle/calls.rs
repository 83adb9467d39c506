//! The calls that are owed, made by one worker when they fall due, and what every call leaves behind.
//!
//! Invariant: a call that is owed stays so until its outcome is stored, also when the process dies in it.

use super::{Lifecycle, LifecycleError, STOPPED_UNTIL, STRANGE};
use crate::domain::license::Code;
use crate::domain::transition::{EventDraft, EventKind, Source};
use crate::marketplace::{Call, CallResult, Effort};
use crate::protocol::open_api::Strange;
use crate::store::{self, LicenseRow, Owed, StoreError};
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

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
    /// Activate many codes at once.
    ActivateBatch,
    /// Query.
    Query,
    /// Query many codes at once.
    QueryBatch,
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

impl Lifecycle {
    /// What a call came to, with the licence as it is now.
    pub(super) fn report(
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
        let due = self.make_in_batches(due).await?;
        let mut under_way = JoinSet::new();
        for owed in due {
            if under_way.len() >= CONCURRENT
                && let Some(joined) = under_way.join_next().await
            {
                finished(joined)?;
            }
            let this = Arc::clone(self);
            under_way.spawn(async move { this.make_one(&owed).await });
        }
        while let Some(joined) = under_way.join_next().await {
            finished(joined)?;
        }
        Ok(())
    }

    async fn make_one(&self, owed: &Owed) -> Result<(), StoreError> {
        let result = match owed.call {
            store::Call::Activate => {
                self.try_activation(&owed.code, Effort::Background, false).await
            }
            store::Call::Query | store::Call::QueryAgain => {
                self.try_query(&owed.code, Effort::Background, true).await
            }
        };
        match result {
            Err(LifecycleError::Store(error)) => Err(error),
            Ok(_) | Err(LifecycleError::UnknownCode | LifecycleError::Released) => Ok(()),
        }
    }

    /// Counts a call, which the client has logged, keeps a stop of the queue over a restart, and tells of what
    /// no document told us of.
    pub(super) fn note_call<V>(&self, errand: Errand, call: &Call<V>, began: Instant) {
        let api = match errand {
            Errand::Activate => "activate",
            Errand::ActivateBatch => "activate_batch",
            Errand::Query => "query",
            Errand::QueryBatch => "query_batch",
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

/// The marketplace's code, where it tells more than that all is well.
pub(super) fn unless_success(error_code: Option<String>, outcome: CallOutcome) -> Option<String> {
    error_code.filter(|code| outcome != CallOutcome::Done || code != SUCCESS)
}

pub(super) fn finished(
    joined: Result<Result<(), StoreError>, tokio::task::JoinError>,
) -> Result<(), StoreError> {
    joined.unwrap_or_else(|error| {
        tracing::error!(%error, "an owed call ended in a fault of ours; it is owed still");
        Ok(())
    })
}
