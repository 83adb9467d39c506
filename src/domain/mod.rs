//! What an authorization code is and how it may change. Pure: no IO, no clock, no async.
//!
//! Invariant: every function here is a function of its arguments; the time is always one of them.

pub mod alarm;
pub mod deafness;
pub mod delisting;
pub mod delivery;
pub mod dial_test;
pub mod entitlement;
pub mod freshness;
pub mod hex;
pub mod language;
pub mod lease;
pub mod license;
pub mod next_step;
pub mod order;
pub mod outcome;
pub mod retention;
pub mod retry_window;
pub mod slots;
pub mod state;
pub mod sweep;
pub mod time;
pub mod transition;
pub mod usage;
