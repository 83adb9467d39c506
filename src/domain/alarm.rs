//! Alarms: what is wrong now, when somebody is told of it, and when not again.
//!
//! Invariants: a cause is told of at most once in its interval, unless it has become more severe; that it
//! is over is told once, and only of what was told before. What is wrong is looked at anew each time, so an
//! alarm goes by itself; nothing here decides what is wrong.

use super::time::{HOUR_MS, MINUTE_MS, Timestamp};

#[cfg(test)]
mod tests;

/// How much of a hurry there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Look at it this week.
    Warning,
    /// Look at it today.
    High,
    /// Look at it now: trading is about to be frozen, or buyers are locked out.
    Emergency,
}

impl Severity {
    /// Every severity, the least first.
    pub const ALL: [Self; 3] = [Self::Warning, Self::High, Self::Emergency];

    /// The word used in JSON, columns and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::High => "high",
            Self::Emergency => "emergency",
        }
    }

    /// The severity that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }
}

/// Something that needs a human.
#[derive(Debug, Clone)]
pub struct Alarm {
    /// The same for the same cause.
    pub id: String,
    /// What kind of trouble.
    pub kind: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// How much of a hurry there is.
    pub severity: Severity,
    /// The code concerned.
    pub code: Option<String>,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub what_to_do: &'static str,
}

/// Kinds whose alarm is shown for a time and then goes although nothing was repaired: it would be wrong
/// to tell that they are over.
const FADING: [&str; 3] = ["contradiction", "strange_answer", "usage_failed"];

/// Whether alarms of this kind go by the time alone.
#[must_use]
pub fn fades(kind: &str) -> bool {
    FADING.contains(&kind)
}

/// How often somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restraint {
    /// Between two messages of the same emergency, in milliseconds.
    pub emergency_ms: i64,
    /// The same of what is high.
    pub high_ms: i64,
    /// The same of a warning.
    pub warning_ms: i64,
    /// How long a cause must stay away before it is told that it is over.
    pub settle_ms: i64,
}

impl Default for Restraint {
    fn default() -> Self {
        Self {
            emergency_ms: HOUR_MS,
            high_ms: 6 * HOUR_MS,
            warning_ms: 24 * HOUR_MS,
            settle_ms: 5 * MINUTE_MS,
        }
    }
}

impl Restraint {
    /// The time between two messages of one cause.
    #[must_use]
    pub const fn interval_ms(&self, severity: Severity) -> i64 {
        match severity {
            Severity::Warning => self.warning_ms,
            Severity::High => self.high_ms,
            Severity::Emergency => self.emergency_ms,
        }
    }
}

/// What is remembered of a cause: the last time it was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Since when.
    pub since: Timestamp,
    /// How severe it was when last seen.
    pub severity: Severity,
    /// When somebody was last told, and with which severity.
    pub told: Option<(Timestamp, Severity)>,
    /// When it was found gone; `None` while it is wrong.
    pub cleared_at: Option<Timestamp>,
    /// When it is, or was, told that it is over; `None` while people take it for wrong.
    pub over_at: Option<Timestamp>,
    /// Somebody looks after it: no reminders.
    pub acknowledged: bool,
}

/// What a message says of its cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It is wrong, and was not before.
    Raised,
    /// It has become more severe.
    Worse,
    /// It is still wrong.
    Reminder,
    /// It is over.
    Over,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 4] = [Self::Raised, Self::Worse, Self::Reminder, Self::Over];

    /// The word in columns and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Worse => "worse",
            Self::Reminder => "reminder",
            Self::Over => "over",
        }
    }

    /// The phase that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == text)
    }
}

/// What became of a cause since it was last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is wrong for the first time, or after a rest in which it may be told of again.
    Raised,
    /// It came back before it may be told of again: the same alarm goes on.
    Reopened,
    /// It is still wrong.
    Still,
    /// It is gone.
    Cleared,
}

/// What is to be stored and told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling {
    /// What became of it.
    pub change: Change,
    /// What is remembered from now on.
    pub standing: Standing,
    /// What is to be told, and when. A message that something is over waits, and is taken back if the
    /// cause returns before.
    pub tell: Option<(Phase, Timestamp)>,
}

/// Compares what is remembered of a cause with what is found now. `None`: it was not wrong and is not.
#[must_use]
pub fn rule(
    restraint: &Restraint,
    standing: Option<&Standing>,
    found: Option<&Alarm>,
    now: Timestamp,
) -> Option<Ruling> {
    let open = standing.filter(|standing| standing.cleared_at.is_none());
    match (standing, open, found) {
        (_, None, None) => None,
        (_, Some(open), None) => Some(cleared(restraint, open, now)),
        (_, Some(open), Some(alarm)) => {
            let since = open.since.min(alarm.since);
            let standing = Standing { since, severity: alarm.severity, ..*open };
            Some(told(restraint, Change::Still, standing, now))
        }
        (Some(gone), None, Some(alarm)) if !is_forgotten(restraint, gone, alarm, now) => {
            Some(reopened(restraint, gone, alarm, now))
        }
        (_, None, Some(alarm)) => {
            let standing = Standing {
                since: alarm.since.min(now),
                severity: alarm.severity,
                told: Some((now, alarm.severity)),
                cleared_at: None,
                over_at: None,
                acknowledged: false,
            };
            let tell = Some((Phase::Raised, now));
            Some(Ruling { change: Change::Raised, standing, tell })
        }
    }
}

/// Whether a cause that is back counts as a new one.
fn is_forgotten(restraint: &Restraint, gone: &Standing, alarm: &Alarm, now: Timestamp) -> bool {
    let interval = restraint.interval_ms(alarm.severity);
    let rested = gone.told.is_none_or(|(at, _)| now.ms_since(at.min(now)) >= interval);
    rested && !is_settling(restraint, gone, now)
}

/// Whether it went so short a while ago that nobody was told of it.
fn is_settling(restraint: &Restraint, gone: &Standing, now: Timestamp) -> bool {
    gone.cleared_at.is_some_and(|at| now.ms_since(at) < restraint.settle_ms)
}

fn reopened(restraint: &Restraint, gone: &Standing, alarm: &Alarm, now: Timestamp) -> Ruling {
    let settling = is_settling(restraint, gone, now);
    let back_since = alarm.since.max(gone.cleared_at.unwrap_or(now)).min(now);
    let standing = Standing {
        since: if settling { gone.since.min(alarm.since) } else { back_since },
        severity: alarm.severity,
        told: gone.told,
        cleared_at: None,
        // What is due later is taken back.
        over_at: gone.over_at.filter(|at| *at <= now),
        acknowledged: gone.acknowledged && settling,
    };
    told(restraint, Change::Reopened, standing, now)
}

fn cleared(restraint: &Restraint, open: &Standing, now: Timestamp) -> Ruling {
    let due = now.plus_ms(restraint.settle_ms);
    let believed = open.told.is_some() && open.over_at.is_none();
    let standing = Standing { cleared_at: Some(now), over_at: open.over_at.or(Some(due)), ..*open };
    let tell = believed.then_some((Phase::Over, due));
    Ruling { change: Change::Cleared, standing, tell }
}

/// Tells of what is wrong if it is time to.
fn told(restraint: &Restraint, change: Change, mut standing: Standing, now: Timestamp) -> Ruling {
    // A clock that was set back must not silence a cause for longer than its interval.
    standing.told = standing.told.map(|(at, severity)| (at.min(now), severity));
    let phase = match standing.told {
        None => Some(Phase::Raised),
        Some((_, before)) if standing.severity > before => Some(Phase::Worse),
        Some((at, _)) => {
            let rested = now.ms_since(at) >= restraint.interval_ms(standing.severity);
            (rested && !standing.acknowledged).then_some(Phase::Reminder)
        }
    };
    if phase.is_some() {
        standing.told = Some((now, standing.severity));
        (standing.over_at, standing.acknowledged) = (None, false);
    }
    Ruling { change, standing, tell: phase.map(|phase| (phase, now)) }
}
