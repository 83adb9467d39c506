//! Entitlement answers per second beside an empty hyper server, from 10 thousand and from 1 million
//! codes (product.md §8): codes that are asked about again and again, and codes that nobody asked about
//! before, each of which needs a read and a signature.
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
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(1_500);
/// Requests prepared, each for another code as far as there are so many, sent over and over.
const REQUESTS: usize = 20_000;
/// Requests of a round in which each code is asked about for the first time; more than a round takes.
const FIRST_REQUESTS: usize = 60_000;
const GOAL_RATIO: f64 = 0.85;
const GOAL_P99: f64 = 2.0;

fn main() {
    if std::env::args().any(|argument| argument == empty::ARGUMENT) {
        return empty::serve();
    }
    println!(
        "entitlement answers per second at {CONNECTIONS} connections, medians of {ROUNDS} \
         interleaved rounds of {ROUND:?}"
    );
    println!("again: {REQUESTS} questions over and over, each about another code of the table");
    println!("first: each code of a million is asked about once at most\n");
    println!(
        "{:>10} | asked | {:>8} | {:>8} | {:>5} | p99 ms, empty | ratio",
        "codes", "answers", "empty", "ratio"
    );
    for codes in CODES {
        let folder = rig::folder();
        rig::store_codes(&folder.path().join("data"), codes);
        let setting = Setting { keep_alive: false, log_level: "warn", marketplace: None };
        let daemon = Daemon::start(folder.path(), setting);
        daemon.settle();
        let empty = Empty::start();
        let sides = [daemon.software, empty.address];
        let (tail, rate) = compare(sides, |side, _| again(side, codes)).print(codes, "again");
        println!("{}, {}", goal(GOAL_RATIO, rate >= GOAL_RATIO), goal(GOAL_P99, tail <= GOAL_P99));
        if codes > (ROUNDS + 1) * FIRST_REQUESTS {
            compare(sides, first).print(codes, "first");
            println!();
        }
    }
}

fn goal(goal: f64, reached: bool) -> String {
    format!("   goal {goal}: {}", met(reached))
}

/// Medians of both sides, the daemon first.
struct Compared {
    rates: [f64; 2],
    tails: [f64; 2],
}

/// Loads both sides in turn; `load` is told the side's address and the round, of which the first one only
/// warms up.
fn compare(sides: [SocketAddr; 2], load: impl Fn(SocketAddr, usize) -> Load) -> Compared {
    let (mut rates, mut tails) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    for round in 0..=ROUNDS {
        for (n, side) in sides.into_iter().enumerate() {
            let measured = closed(&load(side, round), CONNECTIONS, ROUND);
            if round > 0 {
                rates[n].push(measured.per_second);
                tails[n].push(measured.latencies.percentile_ms(99));
            }
        }
    }
    Compared { rates: rates.map(median), tails: tails.map(median) }
}

impl Compared {
    /// Prints a row without its end; returns the ratios of tails and rates.
    fn print(&self, codes: usize, asked: &str) -> (f64, f64) {
        let ([rate, empty_rate], [p99, empty_p99]) = (self.rates, self.tails);
        let (ratio, tail) = (rate / empty_rate, p99 / empty_p99);
        print!(
            "{codes:>10} | {asked} | {rate:>8.0} | {empty_rate:>8.0} | {ratio:>5.2} | {p99:>6.2}, \
             {empty_p99:>5.2} | {tail:>5.2}"
        );
        (tail, ratio)
    }
}

/// Questions about codes all over the table, asked over and over.
fn again(address: SocketAddr, codes: usize) -> Load {
    load(address, true, (0..REQUESTS).map(|n| n * 7_919 % codes))
}

/// Questions about codes that no other round asks about.
fn first(address: SocketAddr, round: usize) -> Load {
    let before = round * FIRST_REQUESTS;
    load(address, false, (before..before + FIRST_REQUESTS).map(|n| n * 7_919 % 1_000_000))
}

fn load(address: SocketAddr, again: bool, codes: impl Iterator<Item = usize>) -> Load {
    let request = |n: usize| {
        let code = rig::code(n);
        format!(
            "GET /v1/entitlements/{code} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             Authorization: Bearer {SOFTWARE_TOKEN}\r\n\r\n"
        )
        .into_bytes()
    };
    Load {
        address,
        requests: Arc::new(codes.map(request).collect()),
        again,
        keep_alive: true,
        expected: br#""decision":"allow""#,
    }
}
