//! Idle memory, the time to start with a million codes, and the size of the binary (product.md §8).
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench that cannot go on ends"
)]

mod rig;

use rig::daemon::Daemon;
use rig::figures::{median, met};
use std::time::Duration;

const CODES: usize = 1_000_000;
const STARTS: usize = 3;
/// Buffers of the start are given back within this.
const REST: Duration = Duration::from_secs(1);
const GOAL_MEMORY_MIB: f64 = 32.0;
const GOAL_START_S: f64 = 2.0;
const GOAL_BINARY_MIB: f64 = 12.0;

fn main() {
    let file = std::fs::metadata(env!("CARGO_BIN_EXE_authcoded")).expect("the binary");
    let binary = mib(file.len() / 1024);
    println!("binary: {binary:.1} MiB (goal {GOAL_BINARY_MIB}: {})", met(binary < GOAL_BINARY_MIB));

    let folder = rig::folder();
    rest("without codes", &Daemon::start_timed(folder.path()).0);

    let folder = rig::folder();
    rig::store_codes(&folder.path().join("data"), CODES);
    let mut starts = Vec::new();
    for n in 1..=STARTS {
        let (daemon, ready) = Daemon::start_timed(folder.path());
        starts.push(ready.as_secs_f64());
        if n == STARTS {
            rest("with a million codes", &daemon);
        }
        // Each but the first start follows a kill, so it replays the log, too.
    }
    let start = median(starts);
    println!(
        "from start to ready with a million codes: {start:.2} s (goal {GOAL_START_S}: {})",
        met(start < GOAL_START_S)
    );
}

/// Prints the memory after the jobs of the start.
fn rest(name: &str, daemon: &Daemon) {
    daemon.settle();
    std::thread::sleep(REST);
    let (resident, own) = daemon.memory_kib();
    let (resident, own) = (mib(resident), mib(own));
    println!(
        "idle memory {name}: {resident:.1} MiB, of which {own:.1} are not files (goal {GOAL_MEMORY_MIB}: {})",
        met(resident < GOAL_MEMORY_MIB)
    );
}

#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
