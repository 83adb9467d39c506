//! The one integration-test binary.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on fails"
)]

mod backups;
mod centuries;
mod chains;
mod cli;
mod codes;
mod crash;
mod daemon;
mod decide;
mod evidence;
mod exploration;
mod layers;
mod lives;
mod marketplace;
mod naive;
mod openapi;
mod outage;
mod packaging;
mod peer;
mod readme;
mod scenarios;
mod setup;
mod signature_doctor;
mod simulator;
mod stage;
mod standins;
mod store;
mod vectors;
mod wire;
