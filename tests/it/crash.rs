//! `kill -9` at random instants under load: no acknowledged callback is missing, none is applied twice.
//!
//! Four daemons, each the real program on a database of its own, are killed fifty times each while
//! clients renew, repeat, freeze, thaw and release. Every call is written down before it leaves and
//! marked when its 000000 has come whole; [`audit`] compares these books with the database. The seed is
//! printed; `AUTHCODED_CRASH_SEED` repeats the clients' choices, though never the machine's timing.

mod audit;
mod clients;

use super::stage::{Asked, Marketplace, Stage};
use super::wire;
use authcoded::clock::Clock;
use clients::{Book, RELEASES, RENEWALS, STATUSES};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

const SHARDS: u64 = 4;
const KILLS: usize = 50;
/// The latest instant of a kill after the daemon said it is ready.
const LATEST_MS: u64 = 120;
const PATIENCE: Duration = Duration::from_secs(30);

/// A small reproducible random source (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to below `n`.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % n.max(1) as u64).expect("small")
    }

    fn fork(&mut self) -> Self {
        Self(self.roll())
    }
}

/// The program at work. It is killed when this is dropped, if not before.
struct Program {
    child: Child,
    ready: mpsc::Receiver<[SocketAddr; 2]>,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Program {
    fn start(stage: &Stage) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_authcoded"))
            .arg("--config")
            .arg(stage.config())
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("piped");
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (tell, ready) = mpsc::channel();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || follow(stderr, &tell, &kept));
        Self { child, ready, log }
    }

    /// The addresses of callbacks and operators, as the log tells them.
    fn ready(&self) -> [SocketAddr; 2] {
        self.ready.recv_timeout(PATIENCE).unwrap_or_else(|why| {
            let log = self.log.lock().expect("not poisoned");
            panic!("not ready ({why}): {log:#?}")
        })
    }

    fn kill(mut self) {
        self.child.kill().expect("killed");
        let status = self.child.wait().expect("gone");
        assert_eq!(status.code(), None, "it ended by itself: {:#?}", self.log);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads the log to its end, so that the program never waits for its reader.
fn follow(
    stderr: ChildStderr,
    tell: &mpsc::Sender<[SocketAddr; 2]>,
    kept: &Mutex<VecDeque<String>>,
) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let fields: Value = serde_json::from_str(&line).unwrap_or_default();
        if fields["message"] == "ready" {
            let address = |name: &str| {
                fields[name].as_str().and_then(|text| text.parse().ok()).expect("an address")
            };
            _ = tell.send([address("callback"), address("admin")]);
        }
        let mut kept = kept.lock().expect("not poisoned");
        kept.push_back(line);
        if kept.len() > 20 {
            kept.pop_front();
        }
    }
}

/// What one shard has to tell.
struct Tally {
    kills: usize,
    acknowledged: usize,
    unanswered: usize,
    start_ms: Vec<u128>,
    faults: Vec<String>,
}

#[test]
fn killed_two_hundred_times_it_loses_nothing_and_applies_nothing_twice() {
    let began = Instant::now();
    let seed = std::env::var_os("AUTHCODED_CRASH_SEED")
        .and_then(|text| text.to_str()?.parse().ok())
        .unwrap_or_else(|| Clock::system().now().as_ms().unsigned_abs());
    println!("seed {seed}");
    let mut dice = Dice(seed);
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let shards: Vec<_> = (0..SHARDS)
            .map(|_| {
                let dice = dice.fork();
                scope.spawn(move || shard(dice))
            })
            .collect();
        shards.into_iter().map(|shard| shard.join().expect("a shard ends")).collect()
    });
    let kills: usize = tallies.iter().map(|tally| tally.kills).sum();
    let acknowledged: usize = tallies.iter().map(|tally| tally.acknowledged).sum();
    let unanswered: usize = tallies.iter().map(|tally| tally.unanswered).sum();
    let starts: Vec<u128> = tallies.iter().flat_map(|tally| tally.start_ms.clone()).collect();
    println!(
        "{kills} kills under load, {acknowledged} calls acknowledged, {unanswered} cut off; \
         ready after {} ms on average, {} ms at most; {:?} in all",
        starts.iter().sum::<u128>() / starts.len() as u128,
        starts.iter().max().expect("starts"),
        began.elapsed()
    );
    let faults: Vec<&String> = tallies.iter().flat_map(|tally| &tally.faults).collect();
    let shown = &faults[..faults.len().min(20)];
    assert!(faults.is_empty(), "seed {seed}: {} faults, such as {shown:#?}", faults.len());
    assert!(kills >= 200, "only {kills} kills");
    assert!(acknowledged > kills, "only {acknowledged} calls were acknowledged: no load");
    assert!(unanswered > 0, "no kill hit a call under way");
}

/// One daemon's life of many deaths.
fn shard(mut dice: Dice) -> Tally {
    let stage = Stage::new(Marketplace::start(|asked, code| {
        Some(match asked {
            Asked::Activate => json!({ "error_code": "92020000", "data": {} }),
            Asked::Query => {
                let data = json!({ "license_code": code, "status": "ALIVE" });
                json!({ "error_code": "92020000", "data": data })
            }
        })
    }));
    let program = Program::start(&stage);
    activate_all(program.ready()[1]);
    program.kill();

    let book = Book::new();
    let mut start_ms = Vec::new();
    for _ in 0..KILLS {
        if dice.below(8) == 0 {
            // A start that is killed as well, before or after it was ready.
            let program = Program::start(&stage);
            pause(&mut dice);
            program.kill();
        }
        let began = Instant::now();
        let program = Program::start(&stage);
        let [callback, _] = program.ready();
        start_ms.push(began.elapsed().as_millis());
        let dying = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let acknowledged = clients::start(scope, &book, &mut dice, callback, &dying);
            if dice.below(2) == 0 {
                pause(&mut dice);
            } else {
                // At once when a client holds its answer: what it was told must be there already.
                for _ in 0..=dice.below(20) {
                    _ = acknowledged.recv_timeout(Duration::from_millis(LATEST_MS));
                }
            }
            dying.store(true, Ordering::SeqCst);
            program.kill();
        });
    }
    let faults = audit::audit(&book, &stage.data());
    let (acknowledged, unanswered) = book.counts();
    Tally { kills: KILLS, acknowledged, unanswered, start_ms, faults }
}

/// The instant of the kill: nothing is waited for here.
fn pause(dice: &mut Dice) {
    std::thread::sleep(Duration::from_millis(1 + dice.roll() % LATEST_MS));
}

/// Registers every code of the test and waits until the marketplace has confirmed each.
fn activate_all(admin: SocketAddr) {
    let codes: Vec<String> =
        [RENEWALS, STATUSES, RELEASES].iter().flat_map(|set| set.codes()).collect();
    for code in &codes {
        let body = json!({ "code": code });
        let reply = wire::admin(admin, "POST", "/v1/licenses", &body).expect("an answer");
        assert_eq!(reply.status, 201, "{reply:?}");
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = wire::admin(admin, "GET", "/v1/summary", &Value::Null).expect("an answer");
        let summary = reply.json();
        if summary["licenses"]["activated"] == codes.len() {
            return;
        }
        assert!(Instant::now() < deadline, "not all are activated: {summary}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
