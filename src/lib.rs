//! `authcoded` owns the life of every License 2.0 authorization code of a KooGallery merchant.
//!
//! Read in this order: [`domain`] (what a code is and how it may change, pure), [`protocol`] (bytes to
//! commands and back, pure), [`store`] (the database and its one writer), [`marketplace`] (the calls we
//! make), [`lifecycle`] (sequences over both), [`guard`] and [`schedule`] (twice a day and in between),
//! [`http`] (the listeners), [`daemon`] (all of it wired), [`simulator`] (the other side, for the
//! sandbox and the tests), [`cli`].
//!
//! Three invariants hold everywhere: a layer uses only the layers below it; whatever comes in becomes a
//! command, is decided by one pure function and performed in one transaction; nobody is answered before
//! the commit.

pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod domain;
pub mod guard;
pub mod http;
pub mod lifecycle;
pub mod marketplace;
pub mod notify;
pub mod protocol;
pub mod schedule;
pub mod simulator;
pub mod store;
pub mod telemetry;
