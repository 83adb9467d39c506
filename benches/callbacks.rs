//! Durable callbacks per second through HTTP, beside bare SQLite that stores the same rows in the same
//! groups; then the latency at half of that load, also while the log is being copied (product.md §8).
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench that cannot go on ends"
)]

#[path = "callbacks/bare.rs"]
mod bare;
#[path = "callbacks/checkpoints.rs"]
mod checkpoints;
mod rig;

use authcoded::domain::time::{DAY_MS, DateText};
use authcoded::protocol::callback_auth::{AccessKey, signed_query};
use bare::Bare;
use checkpoints::Checkpoints;
use rig::daemon::{ACCESS_KEY, Daemon, PATH, Setting};
use rig::figures::{Latencies, median, met};
use rig::load::{Load, Round, closed, steady};
use secrecy::SecretString;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const CODES: usize = 10_000;
const CONNECTIONS: [usize; 4] = [1, 8, 64, 256];
const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_millis(1_500);
/// Requests signed for one round: more than it can send. Their signatures hold for a minute.
const SIGNED_FOR_A_ROUND: usize = 45_000;
/// The latency is measured for so long.
const STEADY_SECONDS: f64 = 6.0;
/// The connections of the goal.
const GOAL_AT: usize = 64;
const GOAL_RATIO: f64 = 0.5;
const GOAL_P99_MS: f64 = 25.0;

/// A daemon with its folder, and what its row is called.
struct Side {
    name: &'static str,
    keep_alive: bool,
    daemon: Daemon,
    folder: TempDir,
}

fn main() {
    let key = AccessKey::new(SecretString::from(ACCESS_KEY));
    let orders = AtomicUsize::new(0);
    let sides = [
        Side::start("HTTP, keep-alive", true, "warn"),
        Side::start("HTTP, a connection each", false, "warn"),
        Side::start("HTTP, keep-alive, logged", true, "info"),
    ];
    let bare_folder = rig::folder();
    rig::store_codes(&bare_folder.path().join("data"), CODES);
    let mut bare = Bare::open(&bare_folder.path().join("data"));

    println!("durable callbacks per second, medians of {ROUNDS} interleaved rounds of {ROUND:?}\n");
    println!("{:>24} | {:>9} | {:>9} | {:>5}", "", "callbacks", "bare", "ratio");
    let mut at_goal = (0.0, 0.0);
    for connections in CONNECTIONS {
        let mut bare_rates = Vec::new();
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            bare_rates.push(bare.round(connections, ROUND));
            for (side, rates) in sides.iter().zip(&mut rates) {
                rates.push(side.round(&key, &orders, connections).per_second);
            }
        }
        let bare_rate = median(bare_rates);
        for (side, rates) in sides.iter().zip(rates) {
            let rate = median(rates);
            let name = format!("{} x {connections}", side.name);
            println!("{name:>30} | {rate:>9.0} | {bare_rate:>9.0} | {:>5.2}", rate / bare_rate);
            if connections == GOAL_AT && side.name == sides[0].name {
                at_goal = (rate, rate / bare_rate);
            }
        }
    }
    let (rate, ratio) = at_goal;
    println!(
        "\nratio at {GOAL_AT} connections: {ratio:.2} (goal {GOAL_RATIO}: {})",
        met(ratio >= GOAL_RATIO)
    );
    half_load(&sides[0], &key, &orders, rate / 2.0);
}

/// The latency at `per_second`, over all and near a checkpoint.
fn half_load(side: &Side, key: &AccessKey, orders: &AtomicUsize, per_second: f64) {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive count")]
    let count = (per_second * STEADY_SECONDS) as usize;
    let load = side.load(key, orders, count);
    let watch = Checkpoints::watch(&side.folder.path().join("data"));
    let samples = steady(&load, GOAL_AT, per_second);
    let checkpoints = watch.stop();
    let near = |(sent, took): &&_| checkpoints.overlap(*sent, *took);
    let during = Latencies::new(samples.iter().filter(near).map(|(_, took)| *took).collect());
    let all = Latencies::new(samples.into_iter().map(|(_, took)| took).collect());
    println!("\nlatency at half of it ({per_second:.0}/s over {GOAL_AT} connections):");
    for (name, latencies) in [("all", &all), ("near a checkpoint", &during)] {
        let (p50, p99) = (latencies.percentile_ms(50), latencies.percentile_ms(99));
        println!("{name:>18}: p50 {p50:.1} ms, p99 {p99:.1} ms, of {}", latencies.count());
    }
    let worst = all.percentile_ms(99).max(during.percentile_ms(99));
    println!(
        "{} checkpoints seen; p99 {worst:.1} ms (goal {GOAL_P99_MS} ms: {})",
        checkpoints.count(),
        met(worst < GOAL_P99_MS)
    );
}

impl Side {
    fn start(name: &'static str, keep_alive: bool, log_level: &'static str) -> Self {
        let folder = rig::folder();
        rig::store_codes(&folder.path().join("data"), CODES);
        let daemon =
            Daemon::start(folder.path(), Setting { keep_alive, log_level, marketplace: None });
        daemon.settle();
        Self { name, keep_alive, daemon, folder }
    }

    fn round(&self, key: &AccessKey, orders: &AtomicUsize, connections: usize) -> Round {
        let load = self.load(key, orders, SIGNED_FOR_A_ROUND);
        closed(&load, connections, ROUND)
    }

    /// Signed renewals, each of another order.
    fn load(&self, key: &AccessKey, orders: &AtomicUsize, count: usize) -> Load {
        let first = orders.fetch_add(count, Ordering::Relaxed);
        let requests = (first..first + count).map(|order| renewal(key, order)).collect();
        Load {
            address: self.daemon.callback,
            requests: Arc::new(requests),
            again: false,
            keep_alive: self.keep_alive,
            expected: br#""resultCode":"000000""#,
        }
    }
}

/// A renewal as bytes, for a code that follows from the order.
fn renewal(key: &AccessKey, order: usize) -> Vec<u8> {
    let now = rig::now();
    let body = renewal_body(order);
    let query = signed_query(key, body.as_bytes(), now, &format!("nonce{order:059}"));
    let length = body.len();
    format!(
        "POST {PATH}?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn renewal_body(order: usize) -> String {
    let code = rig::code(code_of(order));
    let days = i64::try_from(order % 300).expect("a few hundred");
    let expiry = DateText::from_utc(rig::now().plus_ms((200 + days) * DAY_MS));
    format!(
        r#"{{"activity":"refreshLicenseCode","license":"{code}","scene":"RENEWAL","orderId":"CS{order:016}","orderLineId":"CS{order:016}-000001","expireTime":"{expiry}","productId":"OFFI{:016}","testFlag":"0"}}"#,
        7
    )
}

/// Codes come in no order, as in life.
const fn code_of(order: usize) -> usize {
    order.wrapping_mul(7_919) % CODES
}
