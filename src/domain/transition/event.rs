//! The vocabulary of the log: what happened, and where it came from.

use crate::domain::license::OrderId;
use crate::domain::state::State;

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words are the vocabulary of product.md §6")]
pub enum EventKind {
    Registered,
    Received,
    Activated,
    ActivationWaiting,
    ActivationFailed,
    Renewed,
    Unrenewed,
    Frozen,
    Thawed,
    Released,
    Expired,
    Observed,
    Repaired,
    Stale,
    Orphan,
    Adopted,
    Contradiction,
    Probe,
    Job,
    Alarm,
    Operator,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 21] = [
        Self::Registered,
        Self::Received,
        Self::Activated,
        Self::ActivationWaiting,
        Self::ActivationFailed,
        Self::Renewed,
        Self::Unrenewed,
        Self::Frozen,
        Self::Thawed,
        Self::Released,
        Self::Expired,
        Self::Observed,
        Self::Repaired,
        Self::Stale,
        Self::Orphan,
        Self::Adopted,
        Self::Contradiction,
        Self::Probe,
        Self::Job,
        Self::Alarm,
        Self::Operator,
    ];

    /// The word used in columns, JSON, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Received => "received",
            Self::Activated => "activated",
            Self::ActivationWaiting => "activation_waiting",
            Self::ActivationFailed => "activation_failed",
            Self::Renewed => "renewed",
            Self::Unrenewed => "unrenewed",
            Self::Frozen => "frozen",
            Self::Thawed => "thawed",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Observed => "observed",
            Self::Repaired => "repaired",
            Self::Stale => "stale",
            Self::Orphan => "orphan",
            Self::Adopted => "adopted",
            Self::Contradiction => "contradiction",
            Self::Probe => "probe",
            Self::Job => "job",
            Self::Alarm => "alarm",
            Self::Operator => "operator",
        }
    }
}

/// Where a command came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words are the vocabulary of product.md §6")]
pub enum Source {
    Callback,
    Activation,
    Query,
    Operator,
    Software,
    Timer,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 6] = [
        Self::Callback,
        Self::Activation,
        Self::Query,
        Self::Operator,
        Self::Software,
        Self::Timer,
    ];

    /// The word used in columns, JSON, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Callback => "callback",
            Self::Activation => "activation",
            Self::Query => "query",
            Self::Operator => "operator",
            Self::Software => "software",
            Self::Timer => "timer",
        }
    }
}

/// An event to be appended to the log in the same transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventDraft {
    /// What happened.
    pub kind: EventKind,
    /// The state before, when a state is concerned.
    pub from: Option<State>,
    /// The state after, when a state is concerned.
    pub to: Option<State>,
    /// The order concerned.
    pub order_id: Option<OrderId>,
    /// The code the marketplace or we answered.
    pub result_code: Option<String>,
    /// For people.
    pub detail: String,
}

impl EventDraft {
    /// An event of `kind` that changes no state.
    #[must_use]
    pub fn note(kind: EventKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            from: None,
            to: None,
            order_id: None,
            result_code: None,
            detail: detail.into(),
        }
    }
}
