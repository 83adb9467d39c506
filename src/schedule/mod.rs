//! The wall around the alarm clock: it only pokes, workers look at the database.
//!
//! tokio-cron-scheduler ticks once a minute in UTC and nothing else is asked of it, because its zones,
//! repeated jobs and overlaps have known faults. Which slot is due is a pure function of the plan, the
//! stored runs and the clock, so a slot runs once whatever the clock or the process does.

mod board;
mod ticks;
mod worker;

pub use board::{Board, JobStatus, Manual};
pub use ticks::{Ticks, TicksError};
pub use worker::Workers;

use crate::domain::dial_test::Windows;
use crate::domain::slots::{HeartbeatTimes, Plan, TimeOfDay, Zone};
use crate::domain::sweep;
use crate::domain::time::MINUTE_MS;

/// Usage is reported this late in the hour, so that what was seen until 23:55 in Beijing counts for its day:
/// a report has no day of its own (protocol.md 2.6).
const USAGE_MINUTE: i64 = 55;

/// A job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Job {
    /// The availability heartbeat.
    Heartbeat,
    /// Marketplace calls that are owed and due.
    Activation,
    /// The sweep that compares codes with the marketplace.
    Reconcile,
    /// Reports of how codes are used.
    Usage,
    /// Pruning and the nightly check.
    Upkeep,
}

impl Job {
    /// Every job.
    pub const ALL: [Self; 5] =
        [Self::Heartbeat, Self::Activation, Self::Reconcile, Self::Usage, Self::Upkeep];

    /// The name used in columns, JSON, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Activation => "activation",
            Self::Reconcile => "reconcile",
            Self::Usage => "usage",
            Self::Upkeep => "upkeep",
        }
    }

    /// Whether it also runs at each start, besides its slots.
    const fn at_start(self) -> bool {
        match self {
            Self::Heartbeat | Self::Reconcile => true,
            Self::Activation | Self::Usage | Self::Upkeep => false,
        }
    }

    /// When it is due.
    fn plan(self, zone: Zone, heartbeat: &HeartbeatTimes) -> Plan {
        match self {
            Self::Heartbeat => match heartbeat {
                HeartbeatTimes::Auto => Plan::before(&Windows::default()),
                HeartbeatTimes::At(times) => Plan::Daily { zone, times: times.clone() },
            },
            Self::Activation => Plan::Every(MINUTE_MS),
            Self::Reconcile => Plan::Every(sweep::EVERY_MS),
            Self::Usage => Plan::Hourly { minute: USAGE_MINUTE },
            Self::Upkeep => Plan::Daily { zone, times: vec![TimeOfDay::UPKEEP] },
        }
    }
}
