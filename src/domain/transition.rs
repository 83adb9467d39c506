//! The one transition table: every input of every source goes through [`decide`].
//!
//! The table is data ([`TABLE`]); a cell is a named rule, and each rule is written once, in `step`.
//! Invariant: [`decide`] never leaves [`State::Released`](super::state::State::Released), and what it
//! returns is all that changes.

mod command;
mod event;
mod step;
mod table;

pub use command::{
    ActivationAnswer, ActivationVerdict, Command, Facts, Input, QueryAnswer, QueryVerdict, Refresh,
};
pub use event::{EventDraft, EventKind, Source};
pub use table::{Cell, TABLE, cell};

use super::license::License;
use super::time::{HOUR_MS, MINUTE_MS, Timestamp};
use std::fmt;
use step::Step;

/// Follow-up work, committed with the change that asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Query the marketplace at this time, or earlier if an earlier query is owed already.
    Ask(Timestamp),
    /// Query the marketplace once more at this time, besides any earlier query.
    AskAgain(Timestamp),
    /// Try the activation at this time.
    Activate(Timestamp),
    /// Owe no activation any more.
    DropActivation,
}

/// What is to be done; all of it in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The row as it shall be.
    pub license: License,
    /// What to append to the log, in order.
    pub events: Vec<EventDraft>,
    /// What is owed next.
    pub effects: Vec<Effect>,
    /// The command was older than one already applied, and changed nothing.
    pub stale: bool,
}

/// Why a command is refused. The row does not change, but the event is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What to append to the log; `None` when the caller's own answer says it all.
    pub event: Option<EventDraft>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the code is released, and nothing revives it")
    }
}

impl std::error::Error for Refusal {}

/// How long to wait after the n-th 92020004 before asking again (product.md §3.2); the last repeats.
pub const BUYER_LADDER_MS: [i64; 6] =
    [10 * MINUTE_MS, 30 * MINUTE_MS, HOUR_MS, 2 * HOUR_MS, 4 * HOUR_MS, 6 * HOUR_MS];

/// A renewal on a frozen code is asked again after this time (product.md §3.1).
pub const FROZEN_RENEWAL_ASK_MS: i64 = 5 * MINUTE_MS;

/// Decides what `command` does to `license` at `now`. Pure; the caller performs the decision.
///
/// # Errors
/// [`Refusal`] where the table says `refused` or `000003`.
pub fn decide(license: &License, command: &Command, now: Timestamp) -> Result<Decision, Refusal> {
    let mut step = Step::new(license, command, now);
    if let Some(decision) = step.take_notice() {
        return Ok(decision);
    }
    step.apply(cell(command.input(), license.state()))
}

#[cfg(test)]
mod tests;
