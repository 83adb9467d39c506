//! Entitlement answers per second beside an empty hyper server, from 10 thousand and from 1 million
//! codes (product.md §8).
//!
//! Both servers are processes of their own, on the same runtime, and answer the same client in turn.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench that cannot go on ends"
)]

#[path = "entitlements/empty.rs"]
mod empty;
mod rig;

use empty::Empty;
use rig::daemon::{Daemon, SOFTWARE_TOKEN, Setting};
use rig::figures::{median, met};
use rig::load::{Load, closed};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const CODES: [usize; 2] = [10_000, 1_000_000];
const CONNECTIONS: usize = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(1_500);
/// Requests prepared, each for another code, sent over and over.
const REQUESTS: usize = 20_000;
const GOAL_RATIO: f64 = 0.85;
const GOAL_P99: f64 = 2.0;

fn main() {
    if std::env::args().any(|argument| argument == empty::ARGUMENT) {
        return empty::serve();
    }
    println!(
        "entitlement answers per second at {CONNECTIONS} connections, medians of {ROUNDS} \
         interleaved rounds of {ROUND:?}\n"
    );
    println!(
        "{:>10} | {:>8} | {:>8} | {:>5} | p99 ms, empty | ratio",
        "codes", "answers", "empty", "ratio"
    );
    for codes in CODES {
        let folder = rig::folder();
        rig::store_codes(&folder.path().join("data"), codes);
        let setting = Setting { keep_alive: false, log_level: "warn", marketplace: None };
        let daemon = Daemon::start(folder.path(), setting);
        daemon.settle();
        let empty = Empty::start();
        compare(codes, daemon.software, empty.address);
    }
}

fn compare(codes: usize, daemon: SocketAddr, empty: SocketAddr) {
    let (daemon, empty) = (load(daemon, codes), load(empty, codes));
    let sides = [&daemon, &empty];
    for side in sides {
        closed(side, CONNECTIONS, ROUND);
    }
    let (mut rates, mut tails) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    for _ in 0..ROUNDS {
        for (n, side) in sides.into_iter().enumerate() {
            let round = closed(side, CONNECTIONS, ROUND);
            rates[n].push(round.per_second);
            tails[n].push(round.latencies.percentile_ms(99));
        }
    }
    let [rate, empty_rate] = rates.map(median);
    let [p99, empty_p99] = tails.map(median);
    let (ratio, tail) = (rate / empty_rate, p99 / empty_p99);
    println!(
        "{codes:>10} | {rate:>8.0} | {empty_rate:>8.0} | {ratio:>5.2} | {p99:>6.2}, {empty_p99:>5.2} | \
         {tail:>5.2}   goals {GOAL_RATIO}: {}, {GOAL_P99}: {}",
        met(ratio >= GOAL_RATIO),
        met(tail <= GOAL_P99)
    );
}

/// Questions about codes all over the table.
fn load(address: SocketAddr, codes: usize) -> Load {
    let request = |n: usize| {
        let code = rig::code(n * 7_919 % codes);
        format!(
            "GET /v1/entitlements/{code} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             Authorization: Bearer {SOFTWARE_TOKEN}\r\n\r\n"
        )
        .into_bytes()
    };
    Load {
        address,
        requests: Arc::new((0..REQUESTS).map(request).collect()),
        again: true,
        keep_alive: true,
        expected: br#""decision":"allow""#,
    }
}
