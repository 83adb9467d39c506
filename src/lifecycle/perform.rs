//! The one place that acts: a command is decided from the current row and its decision stored.

use super::Lifecycle;
use crate::domain::license::{Code, License};
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::domain::transition::{Command, Effect, EventDraft, EventKind, Refusal, Source, decide};
use crate::store::{Call, Owed, StoreError, Tx};
use crate::telemetry::request_id;

/// What a transaction did, to be told once it is committed.
#[derive(Debug, Default)]
pub(super) struct Told {
    events: Vec<(Option<Code>, Source, EventDraft)>,
    owes: bool,
}

/// What a command came to.
#[derive(Debug)]
pub(super) enum Performed {
    /// The row as it is now.
    Done(Box<License>),
    /// Older than what was applied before; nothing changed.
    Stale,
    /// Refused by the table; the event that says so is stored.
    Refused,
}

/// Decides `command` for `license`, which is the row as read in this transaction, and stores what follows.
pub(super) fn perform(
    tx: &mut Tx<'_>,
    told: &mut Told,
    license: &License,
    command: &Command,
    source: Source,
    now: Timestamp,
) -> Result<Performed, StoreError> {
    let decision = match decide(license, command, now) {
        Ok(decision) => decision,
        Err(Refusal { event }) => {
            if let Some(event) = event {
                append(tx, told, &license.code, source, event, now)?;
            }
            return Ok(Performed::Refused);
        }
    };
    if decision.license != *license {
        tx.save_license(&decision.license, Some(license.state()))?;
    }
    for event in decision.events {
        append(tx, told, &license.code, source, event, now)?;
    }
    for effect in decision.effects {
        owe(tx, told, &license.code, effect, now)?;
    }
    if waits_behind_a_freeze(license)
        && waits_for_activation(&decision.license)
        && tx.owed(&license.code, Call::Activate)?.is_some()
    {
        // Somebody asked for the activation, and only the freeze stood against it.
        told.owes = true;
        tx.owe(&license.code, Call::Activate, now, now)?;
    }
    Ok(if decision.stale { Performed::Stale } else { Performed::Done(Box::new(decision.license)) })
}

/// The activation is to be made.
pub(super) fn waits_for_activation(license: &License) -> bool {
    matches!(license.state(), State::Issued | State::Received)
}

/// Frozen before it was ever activated: the activation is to be made when the freeze is over.
pub(super) fn waits_behind_a_freeze(license: &License) -> bool {
    license.freeze().is_some() && license.activated_at.is_none()
}

/// Appends an event, and remembers to tell of it.
pub(super) fn append(
    tx: &mut Tx<'_>,
    told: &mut Told,
    code: &Code,
    source: Source,
    event: EventDraft,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.append_event(now, Some(code), source, &event)?;
    told.events.push((Some(code.clone()), source, event));
    Ok(())
}

/// The same for an event that concerns no code.
pub(super) fn append_without_code(
    tx: &mut Tx<'_>,
    told: &mut Told,
    source: Source,
    event: EventDraft,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.append_event(now, None, source, &event)?;
    told.events.push((None, source, event));
    Ok(())
}

fn owe(
    tx: &mut Tx<'_>,
    told: &mut Told,
    code: &Code,
    effect: Effect,
    now: Timestamp,
) -> Result<(), StoreError> {
    told.owes = true;
    match effect {
        Effect::Ask(at) => tx.owe(code, Call::Query, at, now),
        Effect::AskAgain(at) => tx.owe(code, Call::QueryAgain, at, now),
        Effect::Activate(due_at) => {
            let call = Call::Activate;
            tx.owe_at(&Owed { code: code.clone(), call, due_at, attempts: 0, sent_at: None }, now)
        }
        Effect::DropActivation => tx.settle(code, Call::Activate),
    }
}

impl Told {
    /// The activation worker is to look at the outbox.
    pub(super) fn owes(&mut self) {
        self.owes = true;
    }

    /// Whether anything came of it: what is stale has no effect, and a contradiction is a human's to settle.
    pub(super) fn changes(&self) -> bool {
        let idle = [EventKind::Stale, EventKind::Contradiction];
        self.events.iter().any(|(_, _, event)| !idle.contains(&event.kind))
    }
}

impl Lifecycle {
    /// Tells what was committed: one log line per event, the metrics, and the worker.
    pub(super) fn tell(&self, told: &Told) {
        for (code, source, event) in &told.events {
            self.metrics.transition(event.kind.as_str(), source.as_str());
            tracing::info!(
                license.code = code.as_ref().map(Code::as_str),
                request.id = request_id(),
                event.kind = event.kind.as_str(),
                source = source.as_str(),
                from = event.from.map(tracing::field::display),
                to = event.to.map(tracing::field::display),
                order.id = event.order_id.as_ref().map(tracing::field::display),
                result_code = event.result_code,
                "{}",
                if event.detail.is_empty() { event.kind.as_str() } else { &event.detail }
            );
        }
        if told.owes {
            self.owed.notify_one();
        }
    }
}
