//! What an authorization code is and how it may change. Pure: no IO, no clock, no async.
//!
//! Invariant: every function here is a function of its arguments; the time is always one of them.

pub mod entitlement;
pub mod hex;
pub mod lease;
pub mod license;
pub mod next_step;
pub mod order;
pub mod outcome;
pub mod retention;
pub mod slots;
pub mod state;
pub mod sweep;
pub mod time;
pub mod transition;
pub mod usage;
