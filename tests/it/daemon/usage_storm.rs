//! Ten thousand reports under kills and doubts: the marketplace's totals equal what was reported, exactly.
//!
//! Clients report over HTTP, repeat themselves, and come again until they are told 202, as real software
//! would; the daemon is killed again and again, and the simulated marketplace answers late, half or never,
//! after counting or before. The seed is printed; `AUTHCODED_USAGE_SEED` repeats the choices, though never
//! the machine's timing.

use super::{ACCESS_KEY, Daemon, SOFTWARE_TOKEN, wait_until};
use crate::peer::{AK, SK};
use authcoded::clock::Clock;
use authcoded::simulator::{Settings, Simulator};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;

const REPORTS: usize = 10_000;
const CODES: usize = 8;
/// Different clients of a code: fewer than its reports, so that most come more than once.
const CLIENTS: u64 = 400;
const SENDERS: usize = 24;
const KILLS: usize = 8;
/// Between two orders to flush: nothing is waited for here.
const FLUSH_EVERY: Duration = Duration::from_millis(15);
/// How long one request may take: a killed daemon leaves no answer.
const REQUEST: Duration = Duration::from_secs(5);

/// A small reproducible random source (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// What was acknowledged: the clients of each code, and its greatest count.
#[derive(Default)]
struct Book {
    clients: BTreeMap<String, BTreeSet<u64>>,
    greatest: BTreeMap<String, u64>,
}

struct Market {
    simulator: Simulator,
    client: reqwest::Client,
}

impl Market {
    async fn start(seed: u64) -> Self {
        authcoded::daemon::install_crypto();
        let settings =
            Settings { seed, ..Settings::new(ACCESS_KEY.into(), AK.to_owned(), SK.into()) };
        let simulator = Simulator::start(settings, Clock::system()).await.expect("it starts");
        Self { simulator, client: client() }
    }

    fn http(&self) -> String {
        format!("http://{}", self.simulator.address())
    }

    async fn console(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("{}/console/{path}", self.http());
        let request = self.client.request(method, url).body(body.to_string());
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let text = response.text().await.expect("a body");
        assert!(status.is_success(), "console {path}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }
}

fn client() -> reqwest::Client {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    client.timeout(REQUEST).build().expect("a client")
}

/// One of those who report: each report until it is acknowledged.
struct Sender {
    dice: Dice,
    codes: Arc<Vec<String>>,
    daemon: watch::Receiver<Option<SocketAddr>>,
    book: Arc<Mutex<Book>>,
    acknowledged: Arc<AtomicUsize>,
}

impl Sender {
    async fn run(mut self, reports: usize) {
        let client = client();
        for _ in 0..reports {
            let code =
                self.codes[usize::try_from(self.dice.below(CODES as u64)).expect("few")].clone();
            let count = self.dice.below(20) == 0;
            let value = self.dice.below(if count { 1_000_000 } else { CLIENTS });
            let body = if count {
                json!({"code": code, "active_num": value})
            } else {
                json!({"code": code, "client_id": format!("client {value} of {code}")})
            };
            self.until_taken(&client, &body).await;
            let mut book = self.book.lock().expect("not poisoned");
            if count {
                let greatest = book.greatest.entry(code).or_default();
                *greatest = value.max(*greatest);
            } else {
                book.clients.entry(code).or_default().insert(value);
            }
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn until_taken(&mut self, client: &reqwest::Client, body: &Value) {
        loop {
            let running = self.daemon.wait_for(Option::is_some).await;
            let Some(address) = *running.expect("the test goes on") else { continue };
            let request = client
                .post(format!("http://{address}/v1/usage"))
                .bearer_auth(SOFTWARE_TOKEN)
                .header("content-type", "application/json")
                .body(body.to_string());
            // A daemon that dies leaves no answer, and another process may have got its port meanwhile.
            match request.send().await {
                Ok(answer) if answer.status() == 202 => return,
                Ok(_) | Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_totals_equal_what_was_reported_exactly() {
    let began = Instant::now();
    let seed = std::env::var_os("AUTHCODED_USAGE_SEED")
        .and_then(|text| text.to_str()?.parse().ok())
        .unwrap_or_else(|| Clock::system().now().as_ms().unsigned_abs());
    println!("seed {seed}");
    let market = Market::start(seed).await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    let mut codes = Vec::new();
    for _ in 0..CODES {
        let bought = market.console(Method::POST, "codes", &json!({"received": true})).await;
        let code = bought["license"].as_str().expect("a code").to_owned();
        daemon.activated(&code).await;
        codes.push(code);
    }
    let rules = [
        ("hang", 0.04),
        ("hang_before", 0.02),
        ("cut", 0.12),
        ("cut_before", 0.08),
        ("http_500", 0.08),
        ("status:503", 0.08),
        ("html", 0.06),
        ("truncated", 0.06),
    ];
    let rules = rules.map(|(fault, p)| json!({"on": "usage", "fault": fault, "probability": p}));
    market.console(Method::POST, "faults", &json!({"rules": rules})).await;

    let codes = Arc::new(codes);
    let (running, address) = watch::channel(Some(daemon.software_addr()));
    let (book, acknowledged) = (Arc::<Mutex<Book>>::default(), Arc::<AtomicUsize>::default());
    let mut senders = JoinSet::new();
    for n in 0..SENDERS {
        let sender = Sender {
            dice: Dice(seed.wrapping_add(n as u64)),
            codes: Arc::clone(&codes),
            daemon: address.clone(),
            book: Arc::clone(&book),
            acknowledged: Arc::clone(&acknowledged),
        };
        let reports = REPORTS / SENDERS + usize::from(n < REPORTS % SENDERS);
        senders.spawn(sender.run(reports));
    }
    for kill in 1..=KILLS {
        let until = kill * REPORTS / (KILLS + 1);
        while acknowledged.load(Ordering::Relaxed) < until {
            daemon.order("/v1/jobs/usage/run", Value::Null).await;
            tokio::time::sleep(FLUSH_EVERY).await;
            assert!(began.elapsed() < super::PATIENCE * 3, "{acknowledged:?} acknowledged");
        }
        running.send_replace(None);
        daemon.kill();
        daemon.again().await;
        running.send_replace(Some(daemon.software_addr()));
    }
    while let Some(sender) = senders.join_next().await {
        sender.expect("no sender gives up");
    }
    market.console(Method::DELETE, "faults", &Value::Null).await;
    if began.elapsed() < super::PATIENCE * 3 {
        // A report that hangs is cut off by one more end.
        daemon.kill();
        daemon.again().await;
    }
    wait_until("everything is sent", async || {
        daemon.order("/v1/jobs/usage/run", Value::Null).await;
        let days = daemon.items("/v1/usage?limit=1000").await;
        days.iter().all(|day| day["state"] == "sent").then_some(())
    })
    .await;

    let book = std::mem::take(&mut *book.lock().expect("not poisoned"));
    let lines = market.console(Method::GET, "usage", &Value::Null).await["items"].clone();
    let lines = lines.as_array().expect("a list");
    let days: BTreeSet<_> = lines.iter().map(|line| line["beijing_day"].as_i64()).collect();
    let (mut entries, mut distinct) = (0, 0);
    for code in codes.iter() {
        let of_code = || lines.iter().filter(|line| line["license"] == **code);
        let sum = |field: &str| of_code().filter_map(|line| line[field].as_u64()).sum::<u64>();
        let clients = book.clients[code].len() as u64;
        if days.len() == 1 {
            assert_eq!(sum("distinct_clients"), clients, "seed {seed}, {code}");
        } else {
            // Midnight in Beijing: a client that came on both days counts on both.
            assert!(sum("distinct_clients") >= clients, "seed {seed}, {code}");
        }
        let last = of_code().filter_map(|line| line["active_nums"].as_array()?.last()?.as_u64());
        assert_eq!(last.max(), Some(book.greatest[code]), "seed {seed}, {code}");
        entries += sum("entries");
        distinct += clients;
    }
    assert_eq!(acknowledged.load(Ordering::Relaxed), REPORTS);
    let requests = market.console(Method::GET, "requests?limit=1000", &Value::Null).await;
    let reports = requests["items"].as_array().map_or(0, |items| {
        items
            .iter()
            .filter(|seen| seen["path"].as_str().is_some_and(|p| p.ends_with("usage-info")))
            .count()
    });
    println!(
        "{REPORTS} reports acknowledged, {KILLS} kills, at least {reports} requests, {entries} entries \
         counted of {distinct} clients; {:?} in all",
        began.elapsed()
    );
}
