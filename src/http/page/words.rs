//! The words of the vocabulary as people read them. A word that is stored and not known here is shown as it is.

use super::texts::{Lang, Text};
use crate::domain::entitlement::{Reason, Verdict};
use crate::domain::license::MarketplaceStatus;
use crate::domain::state::State;
use crate::domain::transition::{EventKind, Source};
use crate::notify::KINDS;
use crate::schedule::Job;
use crate::store;

pub(super) const fn state(state: State) -> Text {
    match state {
        State::Issued => Text::StateIssued,
        State::Received => Text::StateReceived,
        State::Activated => Text::StateActivated,
        State::Renewed => Text::StateRenewed,
        State::Frozen => Text::StateFrozen,
        State::Released => Text::StateReleased,
    }
}

pub(super) const fn status(status: MarketplaceStatus) -> Text {
    match status {
        MarketplaceStatus::Alive => Text::StatusAlive,
        MarketplaceStatus::Expired => Text::StatusExpired,
        MarketplaceStatus::Released => Text::StatusReleased,
        MarketplaceStatus::Unknown => Text::StatusUnknown,
    }
}

/// The marketplace's word in a comparison, which knows two more.
pub(super) fn compared_status(word: &str) -> Option<Text> {
    match word {
        "not_activated" => Some(Text::StatusNotActivated),
        "unknown_code" => Some(Text::StatusUnknownCode),
        word => MarketplaceStatus::parse(word).map(status),
    }
}

pub(super) const fn decision(verdict: Verdict) -> Text {
    match verdict {
        Verdict::Allow => Text::Allow,
        Verdict::Deny => Text::Deny,
    }
}

pub(super) const fn reason(reason: Reason) -> Text {
    match reason {
        Reason::Active => Text::ReasonActive,
        Reason::Expiring => Text::ReasonExpiring,
        Reason::GraceUnconfirmed => Text::ReasonGraceUnconfirmed,
        Reason::GraceOffline => Text::ReasonGraceOffline,
        Reason::NotActivated => Text::ReasonNotActivated,
        Reason::Expired => Text::ReasonExpired,
        Reason::ExpiredUnconfirmed => Text::ReasonExpiredUnconfirmed,
        Reason::Frozen => Text::ReasonFrozen,
        Reason::Released => Text::ReasonReleased,
        Reason::UnknownCode => Text::ReasonUnknownCode,
    }
}

pub(super) fn kind(word: &str) -> Option<Text> {
    let kind = EventKind::ALL.into_iter().find(|kind| kind.as_str() == word)?;
    Some(match kind {
        EventKind::Registered => Text::KindRegistered,
        EventKind::Received => Text::KindReceived,
        EventKind::Activated => Text::KindActivated,
        EventKind::ActivationWaiting => Text::KindActivationWaiting,
        EventKind::ActivationFailed => Text::KindActivationFailed,
        EventKind::Renewed => Text::KindRenewed,
        EventKind::Unrenewed => Text::KindUnrenewed,
        EventKind::Frozen => Text::KindFrozen,
        EventKind::Thawed => Text::KindThawed,
        EventKind::Released => Text::KindReleased,
        EventKind::Expired => Text::KindExpired,
        EventKind::Observed => Text::KindObserved,
        EventKind::Repaired => Text::KindRepaired,
        EventKind::Stale => Text::KindStale,
        EventKind::Orphan => Text::KindOrphan,
        EventKind::Adopted => Text::KindAdopted,
        EventKind::Contradiction => Text::KindContradiction,
        EventKind::Probe => Text::KindProbe,
        EventKind::Job => Text::KindJob,
        EventKind::Alarm => Text::KindAlarm,
        EventKind::Operator => Text::KindOperator,
    })
}

pub(super) fn source(word: &str) -> Option<Text> {
    let source = Source::ALL.into_iter().find(|source| source.as_str() == word)?;
    Some(match source {
        Source::Callback => Text::SourceCallback,
        Source::Activation => Text::SourceActivation,
        Source::Query => Text::SourceQuery,
        Source::Operator => Text::SourceOperator,
        Source::Software => Text::SourceSoftware,
        Source::Timer => Text::SourceTimer,
    })
}

/// A callback's verdict, and what it means.
pub(super) fn verdict(word: &str) -> Option<(Text, Text)> {
    let verdict = store::Verdict::ALL.into_iter().find(|verdict| verdict.as_str() == word)?;
    Some(match verdict {
        store::Verdict::Applied => (Text::VerdictApplied, Text::AppliedMeans),
        store::Verdict::Repeated => (Text::VerdictRepeated, Text::RepeatedMeans),
        store::Verdict::Stale => (Text::VerdictStale, Text::StaleMeans),
        store::Verdict::Orphan => (Text::VerdictOrphan, Text::OrphanMeans),
        store::Verdict::Test => (Text::VerdictTest, Text::TestMeans),
        store::Verdict::Refused => (Text::VerdictRefused, Text::RefusedMeans),
    })
}

pub(super) fn answer(result_code: &str) -> Option<Text> {
    match result_code {
        "000000" => Some(Text::Answer000000),
        "000001" => Some(Text::Answer000001),
        "000002" => Some(Text::Answer000002),
        "000003" => Some(Text::Answer000003),
        "000005" => Some(Text::Answer000005),
        _ => None,
    }
}

pub(super) fn activity(word: &str) -> Option<Text> {
    match word {
        "refreshLicenseCode" => Some(Text::ActivityRefresh),
        "updateLicenseCodeStatus" => Some(Text::ActivityStatus),
        "releaseLicenseCode" => Some(Text::ActivityRelease),
        "" => Some(Text::ActivityUnreadable),
        _ => None,
    }
}

pub(super) fn job(word: &str) -> Option<Text> {
    let job = Job::ALL.into_iter().find(|job| job.as_str() == word)?;
    Some(match job {
        Job::Heartbeat => Text::JobHeartbeat,
        Job::Activation => Text::JobActivation,
        Job::Reconcile => Text::JobReconcile,
        Job::Usage => Text::JobUsage,
        Job::Upkeep => Text::JobUpkeep,
    })
}

/// How a run of a job, a heartbeat or one of its steps ended.
pub(super) fn outcome(word: &str) -> Option<Text> {
    match word {
        "ok" => Some(Text::OutcomeOk),
        "slow" => Some(Text::OutcomeSlow),
        "failed" => Some(Text::OutcomeFailed),
        "interrupted" => Some(Text::OutcomeInterrupted),
        "skipped" => Some(Text::OutcomeSkipped),
        _ => None,
    }
}

pub(super) fn step(word: &str) -> Option<Text> {
    match word {
        "dns" => Some(Text::StepDns),
        "tcp" => Some(Text::StepTcp),
        "tls" => Some(Text::StepTls),
        "renewal" => Some(Text::StepRenewal),
        "unrenewal" => Some(Text::StepUnrenewal),
        "freeze" => Some(Text::StepFreeze),
        "unfreeze" => Some(Text::StepUnfreeze),
        "release" => Some(Text::StepRelease),
        "wrong_signature" => Some(Text::StepWrongSignature),
        "stale" => Some(Text::StepStale),
        _ => None,
    }
}

/// What came of an order: outcomes of calls, and two words of the page's own.
pub(super) fn told(word: &str) -> Option<Text> {
    match word {
        "done" => Some(Text::ToldDone),
        "waiting_for_buyer" => Some(Text::ToldWaiting),
        "retry_later" => Some(Text::ToldRetryLater),
        "refused" => Some(Text::ToldRefused),
        "asked" => Some(Text::ToldAsked),
        "started" => Some(Text::ToldStarted),
        "kept" => Some(Text::ToldKept),
        _ => None,
    }
}

/// What an alarm of this kind is called, and what to do about it where that is said in this language: the
/// words that messages use, too.
pub(super) fn alarm(kind: &str, lang: Lang) -> Option<(&'static str, Option<&'static str>)> {
    let (_, zh, en, remedy) = KINDS.iter().find(|(word, ..)| *word == kind)?;
    Some(match lang {
        Lang::Zh => (*zh, Some(*remedy)),
        Lang::En => (*en, None),
    })
}
