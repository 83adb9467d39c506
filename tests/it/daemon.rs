//! The real program, driven from outside: started on a folder of its own, called over HTTP with real
//! signatures, and stopped. What it logs is kept, and must never hold a secret.

mod access;
mod admin;
mod answers;
mod backups;
mod batches;
mod callbacks;
mod diagnoses;
mod dial_tests;
mod doctor;
mod domains;
mod doubts;
mod every_order;
mod fault_proxy;
mod freezes;
mod guard;
mod heartbeats;
mod imports;
mod leases;
mod lists;
mod lives;
mod logs;
pub(crate) mod market;
mod marketplace_codes;
mod notifications;
mod orders;
mod page;
mod process;
mod raw_http;
mod reloads;
mod repeats;
mod replies;
mod rotations;
mod software;
mod strange;
mod sweeps;
mod test_traffic;
mod truth;
mod unknown_codes;
mod usage;
mod usage_storm;
mod watches;
pub(crate) mod wire;

use authcoded::clock::Clock;
use authcoded::domain::time::Timestamp;
use authcoded::protocol::callback_auth::{AccessKey, signed_query};
use secrecy::SecretString;
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const ACCESS_KEY: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
/// Of order notifications, where a test wants them.
pub(crate) const ORDER_KEY: &str = "5b1d0c2e-77aa-4b0c-9d53-2f1e6a8c4d90";
/// Accepted no longer, where a test names it.
pub(crate) const RETIRED_KEY: &str = "3c9d2b7e-1f64-4a0e-8a55-c0ffee5eed42";
pub(crate) const ADMIN_TOKEN: &str = "admin-token-of-the-tests-0001";
pub(crate) const SOFTWARE_TOKEN: &str = "software-token-of-the-tests-0002";
pub(crate) const PATH: &str = "/koogallery/callback";
/// Nothing in these tests takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// What product.md and hazards.md allow a stop to take.
const STOP: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How the daemon is configured beside what every test needs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    pub(crate) endpoints: Vec<String>,
    /// Newest first; none is [`ACCESS_KEY`].
    pub(crate) access_keys: Vec<&'static str>,
    /// More lines of a section, and more sections.
    pub(crate) callback: String,
    pub(crate) marketplace: String,
    pub(crate) software: String,
    pub(crate) sections: String,
    /// The public socket, held by the test as systemd would hold it.
    pub(crate) held: Option<Arc<std::net::TcpListener>>,
}

/// A daemon at work.
pub(crate) struct Daemon {
    folder: TempDir,
    setup: Setup,
    running: Option<Running>,
    /// Every line of stderr of every run.
    log: Arc<Mutex<Vec<String>>>,
    http: reqwest::Client,
}

struct Running {
    child: Child,
    reader: JoinHandle<()>,
    callback: SocketAddr,
    admin: SocketAddr,
    software: SocketAddr,
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    /// Null when the body is not JSON.
    pub(crate) body: Value,
}

/// A signed callback; a test may spoil any part of it.
#[derive(Debug, Clone)]
pub(crate) struct Signed {
    pub(crate) query: String,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
}

/// Signs `body` now, with a nonce of its own.
pub(crate) fn signed(body: &Value) -> Signed {
    signed_at(body, now(), &nonce())
}

pub(crate) fn signed_at(body: &Value, at: Timestamp, nonce: &str) -> Signed {
    signed_bytes(body.to_string().as_bytes(), at, nonce)
}

pub(crate) fn signed_bytes(body: &[u8], at: Timestamp, nonce: &str) -> Signed {
    let key = AccessKey::new(SecretString::from(ACCESS_KEY));
    let query = signed_query(&key, body, at, nonce);
    Signed { query, body: body.to_vec(), headers: vec![("content-type", "application/json")] }
}

pub(crate) fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("nonce{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn now() -> Timestamp {
    Clock::system().now()
}

/// Looks until there is something to see; never longer than [`PATIENCE`].
pub(crate) async fn wait_until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, look).await
}

pub(crate) async fn wait_within<T>(
    bound: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(begun.elapsed() < bound, "not within {bound:?}: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl Daemon {
    /// Starts one that calls these endpoints, and waits until it is ready.
    pub(crate) async fn start(endpoints: &[String]) -> Self {
        Self::with(Setup { endpoints: endpoints.to_vec(), ..Setup::default() }).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        authcoded::daemon::install_crypto();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE);
        let mut daemon = Self {
            folder: tempfile::tempdir().expect("a folder"),
            setup,
            running: None,
            log: Arc::default(),
            http: client.build().expect("a client"),
        };
        daemon.write_files();
        daemon.run().await;
        // The sweep at the start would ask about codes that the test registers at once, and a flush would
        // send what it reports.
        for job in ["reconcile", "heartbeat", "usage"] {
            wait_until("the jobs of the start are over", async || {
                daemon.lines().into_iter().find(|line| line["job"] == job)
            })
            .await;
        }
        daemon
    }

    fn write_files(&self) {
        use crate::peer::{AK, SK};
        let Setup { endpoints, access_keys, callback, marketplace, software, sections, .. } =
            &self.setup;
        let keys = if access_keys.is_empty() { &vec![ACCESS_KEY] } else { access_keys };
        let pace = "requests-per-second";
        let pace = if marketplace.contains(pace) { "" } else { "requests-per-second = 1000" };
        let named: Vec<_> = (0..keys.len()).map(|n| format!("access-key-{n}")).collect();
        let keys = named.iter().map(String::as_str).zip(keys.iter().copied());
        for (name, text) in keys.chain([
            ("order-key", ORDER_KEY),
            ("retired-key", RETIRED_KEY),
            ("ak", AK),
            ("sk", SK),
            ("admin-token", ADMIN_TOKEN),
            ("software-token", SOFTWARE_TOKEN),
        ]) {
            let path = self.folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            let owner_only = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, owner_only).expect("its mode");
        }
        let text = format!(
            "data-dir = \"data\"\n\
             [callback]\nlisten = \"127.0.0.1:0\"\naccess-key-files = {named:?}\n{callback}\n\
             [marketplace]\nendpoints = {endpoints:?}\nak-file = \"ak\"\nsk-file = \"sk\"\n\
             {pace}\n{marketplace}\n\
             [admin]\nlisten = \"127.0.0.1:0\"\ntoken-file = \"admin-token\"\n\
             [software]\nlisten = \"127.0.0.1:0\"\ntoken-file = \"software-token\"\n{software}\n\
             [log]\nlevel = \"trace\"\n{sections}\n"
        );
        std::fs::write(self.config(), text).expect("written");
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("authcoded.toml")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    async fn run(&mut self) {
        let mut child = self.command().stderr(Stdio::piped()).spawn().expect("the program starts");
        let from = self.log().len();
        let stderr = child.stderr.take().expect("piped");
        let log = Arc::clone(&self.log);
        let reader = std::thread::spawn(move || keep(stderr, &log));
        let ready = wait_until("the daemon is ready", async || {
            if let Some(status) = child.try_wait().expect("its status") {
                panic!("the daemon ended with {status}:\n{}", self.log()[from..].join("\n"));
            }
            self.lines().into_iter().skip(from).find(|line| line["message"] == "ready")
        })
        .await;
        let address = |name: &str| -> SocketAddr {
            ready[name].as_str().expect("an address").parse().expect("an address")
        };
        let (callback, admin) = (address("callback"), address("admin"));
        let software = address("software");
        self.running = Some(Running { child, reader, callback, admin, software });
    }

    fn command(&self) -> Command {
        let program = env!("CARGO_BIN_EXE_authcoded");
        let mut command = match &self.setup.held {
            None => Command::new(program),
            Some(listener) => {
                // What systemd does: the socket is descriptor 3, and the environment says so.
                let mut shell = Command::new("sh");
                let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null";
                shell.args(["-c", script, program]);
                let held = listener.try_clone().expect("a second descriptor");
                shell.stdin(Stdio::from(std::os::fd::OwnedFd::from(held)));
                shell
            }
        };
        command.arg("--config").arg(self.config()).arg("serve").stdout(Stdio::null());
        command
    }

    /// Another one on the same configuration, which is expected to end by itself: its exit code and stderr.
    pub(crate) fn run_second(&self) -> (Option<i32>, String) {
        let output = self.command().stderr(Stdio::piped()).output().expect("the program starts");
        let told = String::from_utf8(output.stderr).expect("text");
        self.log.lock().expect("not poisoned").extend(told.lines().map(str::to_owned));
        (output.status.code(), told)
    }

    /// Changes the database of a stopped daemon: for what only time could do.
    pub(crate) fn edit(&self, sql: &str) {
        assert!(self.running.is_none(), "it runs");
        self.change(sql);
    }

    /// The same while it runs; its readers see it from its next commit on, but an answer to the software that
    /// was given before may be given again: no change of ours says that it must not.
    pub(crate) async fn edit_under_way(&self, sql: &str) {
        self.change(sql);
        let body = serde_json::json!({"code": "PL-COMMIT", "activate": false, "note": nonce()});
        self.order("/v1/licenses", body).await;
    }

    fn change(&self, sql: &str) {
        let file = self.folder().join("data/authcoded.db");
        assert!(file.is_file(), "{}", file.display());
        let connection = rusqlite::Connection::open(file).expect("the database");
        assert_eq!(connection.execute(sql, []).expect(sql), 1, "{sql}");
    }

    /// Sends SIGTERM. The end is waited for by [`Daemon::ended`].
    pub(crate) fn terminate(&self) {
        let pid = self.running().child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end that SIGTERM brings: exit status 0 within 10 s.
    pub(crate) async fn ended(&mut self) {
        self.ended_with(0, "the daemon ends after SIGTERM").await;
    }

    /// Waits for an end with this exit status.
    pub(crate) async fn ended_with(&mut self, status: i32, what: &str) {
        let Running { mut child, reader, .. } = self.running.take().expect("it runs");
        let ended = wait_within(STOP, what, async || child.try_wait().expect("its status"));
        assert_eq!(ended.await.code(), Some(status), "{}", self.tail());
        reader.join().expect("the log was read");
        self.check_log();
    }

    pub(crate) async fn stop(&mut self) {
        self.terminate();
        self.ended().await;
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let Running { mut child, reader, .. } = self.running.take().expect("it runs");
        child.kill().expect("killed");
        child.wait().expect("its status");
        reader.join().expect("the log was read");
    }

    /// Starts it again on the same folder.
    pub(crate) async fn again(&mut self) {
        assert!(self.running.is_none(), "it runs");
        self.run().await;
    }

    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.again().await;
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs")
    }

    pub(crate) fn callback_addr(&self) -> SocketAddr {
        self.running().callback
    }

    pub(crate) fn admin_addr(&self) -> SocketAddr {
        self.running().admin
    }

    pub(crate) fn software_addr(&self) -> SocketAddr {
        self.running().software
    }

    /// All lines of stderr so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().expect("not poisoned").clone()
    }

    /// The same as JSON; a line that is none (before logging starts) is Null.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.log().iter().map(|line| serde_json::from_str(line).unwrap_or_default()).collect()
    }

    fn tail(&self) -> String {
        let log = self.log();
        log[log.len().saturating_sub(40)..].join("\n")
    }

    /// No secret, no signature, no query string, and no panic in any line of any run.
    fn check_log(&self) {
        use crate::peer::{AK, SK};
        let secrets = [ACCESS_KEY, ORDER_KEY, RETIRED_KEY, SK, AK, ADMIN_TOKEN, SOFTWARE_TOKEN];
        let wire = ["signature=", "nonce=", "timestamp=", "Bearer ", "SDK-HMAC-SHA256 Access"];
        let forbidden = secrets.iter().chain(&self.setup.access_keys).chain(&wire);
        let forbidden = forbidden.chain(&["a bug of authcoded"]);
        let log = self.log();
        for word in forbidden {
            let found = log.iter().find(|line| line.contains(word));
            assert!(found.is_none(), "{word:?} in the log: {found:?}");
        }
    }
}

fn keep(stderr: ChildStderr, log: &Mutex<Vec<String>>) {
    for line in BufReader::new(stderr).lines() {
        let Ok(line) = line else { return };
        log.lock().expect("not poisoned").push(line);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(Running { mut child, reader, .. }) = self.running.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("the daemon's last lines:\n{}", self.tail());
        } else {
            self.check_log();
        }
    }
}
