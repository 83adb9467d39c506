//! A sweep of 100,000 codes through the real binary against the simulated marketplace, as fast as both
//! can: codes per second, peak memory beside that of 10,000 codes, callbacks during it beside idle; then
//! an import of 100,000 lines that is killed and repeated.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench that cannot go on ends"
)]

#[path = "sweep/import.rs"]
mod import;
#[path = "sweep/market.rs"]
mod market;
mod rig;

use authcoded::domain::license::License;
use authcoded::domain::time::DAY_MS;
use authcoded::protocol::callback_auth::{AccessKey, signed_query};
use market::{END, Market};
use rig::daemon::{ACCESS_KEY, Daemon, PATH, Setting};
use rig::figures::{Latencies, met};
use rig::load::{Load, steady};
use secrecy::SecretString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CODES: [usize; 2] = [10_000, 100_000];
/// Callbacks a second, over so many connections.
const CALLBACKS_PER_S: f64 = 100.0;
const CONNECTIONS: usize = 8;
/// Callbacks of one round: some seconds, less than the smallest sweep takes.
const CALLBACKS: usize = 500;
/// A sweep that takes longer ends the bench.
const PATIENCE: Duration = Duration::from_secs(100);
/// Memory of ten times as many codes, and the 99th percentile of callbacks during a sweep.
const GOAL_GROWTH: f64 = 1.25;
const GOAL_P99_MS: f64 = 50.0;

fn main() {
    let most = CODES[CODES.len() - 1];
    let market = Market::start(most);
    println!("sweeps against the simulated marketplace at full speed\n");
    println!("{:>8} | {:>7} | {:>10} | {:>8}", "codes", "seconds", "codes/s", "peak MiB");
    let peaks = CODES.map(|codes| sweep(&market, codes));
    let growth = peaks[1] / peaks[0];
    println!(
        "\npeak memory of {} codes over that of {}: {growth:.2} (goal {GOAL_GROWTH}: {})",
        CODES[1],
        CODES[0],
        met(growth <= GOAL_GROWTH)
    );
    drop(market);
    import::measure();
}

/// One sweep of so many codes; the daemon's peak memory in MiB.
fn sweep(market: &Market, codes: usize) -> f64 {
    let folder = rig::folder();
    let data = folder.path().join("data");
    let names: Arc<[String]> = market.codes()[..codes].into();
    let (stored, age_ms) = (Arc::clone(&names), 2 * DAY_MS);
    rig::store_licenses(&data, codes, move |n, at| {
        let license = rig::in_use(&stored[n], market::end(), at.plus_ms(-4 * age_ms));
        License { marketplace_checked_at: Some(at), ..license }
    });
    let setting =
        Setting { keep_alive: true, log_level: "warn", marketplace: Some(market.address) };
    let idle = {
        let daemon = Daemon::start(folder.path(), setting);
        daemon.settle();
        callbacks(daemon.callback, &names, 0)
    };
    let database = rusqlite::Connection::open(data.join("authcoded.db")).expect("the database");
    let aged = format!(
        "UPDATE license SET callback_at = NULL, \
         marketplace_checked_at = marketplace_checked_at - {age_ms}"
    );
    database.execute(&aged, []).expect("codes are due");
    drop(database);

    let began = Instant::now();
    let daemon = Daemon::start(folder.path(), setting);
    let during = callbacks(daemon.callback, &names, CALLBACKS);
    let early = !finished(&daemon);
    while !finished(&daemon) {
        assert!(began.elapsed() < PATIENCE, "the sweep of {codes} codes takes too long");
        std::thread::sleep(Duration::from_millis(20));
    }
    let seconds = began.elapsed().as_secs_f64();
    let counts = run(&daemon)["last_counts"].clone();
    assert!(counts["failed"] == 0 && counts["left"] == 0, "{counts}");
    let peak = mib(daemon.peak_kib());
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let per_second = codes as f64 / seconds;
    println!("{codes:>8} | {seconds:>7.1} | {per_second:>10.0} | {peak:>8.1}   {counts}");
    for (name, latencies) in [("idle", &idle), ("during the sweep", &during)] {
        let (p50, p99) = (latencies.percentile_ms(50), latencies.percentile_ms(99));
        println!("    callbacks, {name:>16}: p50 {p50:>5.1} ms, p99 {p99:>5.1} ms");
    }
    let p99 = during.percentile_ms(99);
    let note = if early { "" } else { ", though the sweep ended before them" };
    println!("    p99 during the sweep (goal {GOAL_P99_MS} ms: {}{note})", met(p99 < GOAL_P99_MS));
    peak
}

fn run(daemon: &Daemon) -> serde_json::Value {
    let jobs = daemon.ask("/v1/jobs");
    let jobs = jobs["items"].as_array().expect("a list of jobs");
    jobs.iter().find(|job| job["name"] == "reconcile").expect("the sweep").clone()
}

/// The sweep of this start has ended.
fn finished(daemon: &Daemon) -> bool {
    let run = run(daemon);
    run["last_counts"]["asked"].as_u64() > Some(0) && !run["last_finished"].is_null()
}

/// Renewals at a steady rate; orders count from `first`.
fn callbacks(address: SocketAddr, codes: &[String], first: usize) -> Latencies {
    let key = AccessKey::new(SecretString::from(ACCESS_KEY));
    let requests = (first..first + CALLBACKS).map(|order| renewal(&key, codes, order)).collect();
    let load = Load {
        address,
        requests: Arc::new(requests),
        again: false,
        keep_alive: true,
        expected: br#""resultCode":"000000""#,
    };
    let samples = steady(&load, CONNECTIONS, CALLBACKS_PER_S);
    Latencies::new(samples.into_iter().map(|(_, took)| took).collect())
}

/// A renewal as bytes. Its end is the one that the marketplace tells, so that nothing contradicts it.
fn renewal(key: &AccessKey, codes: &[String], order: usize) -> Vec<u8> {
    let code = &codes[order * 7_919 % codes.len()];
    let body = format!(
        r#"{{"activity":"refreshLicenseCode","license":"{code}","scene":"RENEWAL","orderId":"CS{order:016}","orderLineId":"CS{order:016}-000001","expireTime":"{END}","testFlag":"0"}}"#
    );
    let query = signed_query(key, body.as_bytes(), rig::now(), &format!("sweep{order:059}"));
    let length = body.len();
    format!(
        "POST {PATH}?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
