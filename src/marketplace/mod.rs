//! Calls to the marketplace's open API: signed, paced, bounded, and never blind (product.md §3.2 and §9).
//!
//! Invariants: one call in flight per code; after an authentication refusal nothing leaves for five
//! minutes, then one careful call alone; a server whose certificate does not hold is never replaced by
//! another in silence; an activation whose answer was lost is not repeated here; while every domain rests
//! after failures in a row, nothing leaves that nobody waits for.

mod answer;
mod backoff;
mod client;
mod endpoint;
mod flow;
mod gate;
mod health;
mod keyring;
mod line;
mod route;
mod wire;

pub use backoff::delay;
pub use client::{BatchSizes, BuildError, Call, CallResult, Client, Effort, Settings};
pub use endpoint::{BadEndpoint, Endpoint};
pub use health::{Api, Count};
