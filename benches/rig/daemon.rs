//! The release binary as a child process, on loopback and in a folder of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

/// The key that signs callbacks.
pub(crate) const ACCESS_KEY: &str = "bench-access-key-0123456789";
/// The token of the software.
pub(crate) const SOFTWARE_TOKEN: &str = "bench-software-token-0123456789abcdef";
/// The access key of the open API.
pub(crate) const AK: &str = "BENCHAKBENCHAKBENCHA";
/// Its secret.
pub(crate) const SK: &str = "bench-sk-0123456789";
const ADMIN_TOKEN: &str = "bench-admin-token-0123456789abcdef";
/// The callback path.
pub(crate) const PATH: &str = "/koogallery/callback";
/// Nothing that this waits for may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What differs between daemons of the benches.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    /// Whether a callback connection carries more than one call.
    pub(crate) keep_alive: bool,
    /// `warn` is silent here; `info` writes two lines for each callback.
    pub(crate) log_level: &'static str,
    /// Who plays the marketplace, as fast as it can; nobody, if `None`.
    pub(crate) marketplace: Option<SocketAddr>,
}

/// A daemon at work; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    /// Where callbacks go.
    pub(crate) callback: SocketAddr,
    /// Where the software asks.
    pub(crate) software: SocketAddr,
    admin: SocketAddr,
}

impl Daemon {
    /// Starts it on `folder`, whose `data` may hold a database, and returns when it serves.
    pub(crate) fn start(folder: &Path, setting: Setting) -> Self {
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let daemon = Self::spawn(folder, setting, Stdio::from(log));
        daemon.wait_until_served();
        daemon
    }

    /// Starts it and returns it with the time from its start to the line that says it is ready.
    pub(crate) fn start_timed(folder: &Path) -> (Self, Duration) {
        let began = Instant::now();
        let setting = Setting { keep_alive: false, log_level: "info", marketplace: None };
        let mut daemon = Self::spawn(folder, setting, Stdio::piped());
        let mut log = BufReader::new(daemon.child.stderr.take().expect("a pipe"));
        let ready = wait_for_ready(&mut log, began);
        // Somebody must go on reading, or the daemon would wait for the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        (daemon, ready)
    }

    fn spawn(folder: &Path, setting: Setting, log: Stdio) -> Self {
        let [callback, admin, software] = free_addresses();
        configure(folder, setting, [callback, admin, software]);
        let child = Command::new(env!("CARGO_BIN_EXE_authcoded"))
            .arg("--config")
            .arg(folder.join("authcoded.toml"))
            .arg("serve")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        Self { child, callback, software, admin }
    }

    fn wait_until_served(&self) {
        let began = Instant::now();
        while TcpStream::connect(self.software).is_err() {
            assert!(began.elapsed() < PATIENCE, "the daemon does not serve");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns when the jobs that run at each start have ended: they would disturb a figure.
    pub(crate) fn settle(&self) {
        let began = Instant::now();
        loop {
            let jobs = self.ask("/v1/jobs");
            let runs = |name: &str| {
                let items = jobs["items"].as_array().expect("a list of jobs");
                items.iter().any(|job| job["name"] == name && !job["last_finished"].is_null())
            };
            if runs("heartbeat") && runs("reconcile") {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "the jobs at start do not end: {jobs}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Asks the admin API.
    pub(crate) fn ask(&self, path: &str) -> serde_json::Value {
        let (_, body) = self.exchange(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\
             Connection: close\r\n\r\n"
        ));
        serde_json::from_str(&body).expect("JSON")
    }

    /// Signs in to the admin page, and returns the session's cookie.
    pub(crate) fn sign_in(&self) -> String {
        let form = format!("token={ADMIN_TOKEN}");
        let (head, _) = self.exchange(&format!(
            "POST /sign-in HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{form}",
            form.len()
        ));
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        cookie.and_then(|cookie| cookie.split(';').next()).expect("a session").to_owned()
    }

    /// A page as a browser with this cookie gets it.
    pub(crate) fn page(&self, path: &str, cookie: &str) -> String {
        let (head, body) = self.exchange(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
        ));
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        body
    }

    /// Sends a request to the admin listener; the head and the body of the answer.
    fn exchange(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.admin).expect("the admin API listens");
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        (head.to_owned(), body.to_owned())
    }

    /// The memory that is resident, in KiB, and the part of it that is no file of the disk.
    pub(crate) fn memory_kib(&self) -> (u64, u64) {
        (self.status_kib("VmRSS:"), self.status_kib("RssAnon:"))
    }

    /// The most memory that was ever resident, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).expect("the process lives");
        let line = status.lines().find(|line| line.starts_with(name)).expect("the field");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a figure")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn wait_for_ready(log: &mut BufReader<ChildStderr>, began: Instant) -> Duration {
    let mut line = String::new();
    while log.read_line(&mut line).expect("a log") > 0 {
        if line.contains(r#""message":"ready""#) {
            return began.elapsed();
        }
        line.clear();
    }
    panic!("the daemon ended before it was ready");
}

/// Ports that were free a moment ago.
pub(crate) fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let taken = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    taken.map(|listener| listener.local_addr().expect("an address"))
}

fn configure(folder: &Path, setting: Setting, [callback, admin, software]: [SocketAddr; 3]) {
    for (name, text) in [
        ("access-key", ACCESS_KEY),
        ("ak", AK),
        ("sk", SK),
        ("admin-token", ADMIN_TOKEN),
        ("software-token", SOFTWARE_TOKEN),
    ] {
        let mut options = std::fs::File::options();
        let options = options.create(true).truncate(true).write(true).mode(0o600);
        let mut file = options.open(folder.join(name)).expect("a file");
        file.write_all(text.as_bytes()).expect("written");
    }
    let Setting { keep_alive, log_level, marketplace } = setting;
    // Nobody listens at port 9: what is measured there may not depend on the marketplace.
    let (endpoint, pace) = match marketplace {
        Some(address) => (address.to_string(), 100_000),
        None => ("127.0.0.1:9".to_owned(), 5),
    };
    let text = format!(
        r#"data-dir = "data"
[callback]
listen = "{callback}"
path = "{PATH}"
access-key-files = ["access-key"]
keep-alive = {keep_alive}
[marketplace]
endpoints = ["http://{endpoint}"]
ak-file = "ak"
sk-file = "sk"
requests-per-second = {pace}
[admin]
listen = "{admin}"
token-file = "admin-token"
[software]
listen = "{software}"
token-file = "software-token"
[log]
level = "{log_level}"
format = "json"
"#
    );
    std::fs::write(folder.join("authcoded.toml"), text).expect("written");
}
