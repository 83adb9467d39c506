//! The simulated marketplace as a process of its own, with many activated codes.

use super::rig;
use super::rig::daemon::{ACCESS_KEY, AK, SK, free_addresses};
use authcoded::domain::time::DateText;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The end of every code.
pub(crate) const END: &str = "20991231000000";
/// The most codes that the console sells at once.
const AT_ONCE: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// It; killed when dropped.
pub(crate) struct Market {
    child: Child,
    codes: Vec<String>,
    pub(crate) address: SocketAddr,
    folder: TempDir,
}

/// [`END`] as a date.
pub(crate) fn end() -> DateText {
    DateText::parse(END).expect("a date")
}

impl Market {
    /// Sells so many codes; then all are activated at once, in the file that carries them over a restart.
    pub(crate) fn start(count: usize) -> Self {
        let folder = rig::folder();
        for (name, text) in [("access-key", ACCESS_KEY), ("ak", AK), ("sk", SK)] {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        let [address] = free_addresses();
        let child = spawn(folder.path(), address);
        let mut market = Self { child, codes: Vec::new(), address, folder };
        for _ in 0..count.div_ceil(AT_ONCE) {
            market.codes.extend(sell(address));
        }
        market.codes.sort_unstable();
        market.activate_all();
        market
    }

    pub(crate) fn codes(&self) -> &[String] {
        &self.codes
    }

    fn activate_all(&mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
        self.child.wait().expect("it ends");
        let file = self.folder.path().join("marketplace.json");
        let text = std::fs::read_to_string(&file).expect("its data");
        let (received, activated) = (r#""stage":"received""#, r#""stage":"activated""#);
        assert_eq!(text.matches(received).count(), self.codes.len(), "another form of the file");
        std::fs::write(&file, text.replace(received, activated)).expect("written");
        self.child = spawn(self.folder.path(), self.address);
    }
}

impl Drop for Market {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Starts it and returns when it answers.
fn spawn(folder: &Path, address: SocketAddr) -> Child {
    let child = Command::new(env!("CARGO_BIN_EXE_authcoded"))
        .args(["simulate", "--no-dial-tests", "--listen", &address.to_string(), "--data-dir"])
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the simulator starts");
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < PATIENCE, "the simulator does not serve");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// Buys [`AT_ONCE`] codes and takes them.
fn sell(address: SocketAddr) -> Vec<String> {
    let order = format!(r#"{{"count":{AT_ONCE},"received":true,"expire_time":"{END}"}}"#);
    let mut stream = TcpStream::connect(address).expect("the console listens");
    let head = format!(
        "POST /console/codes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        order.len()
    );
    stream.write_all(head.as_bytes()).expect("asked");
    stream.write_all(order.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let told: serde_json::Value = serde_json::from_str(body).expect("JSON");
    let codes = told["licenses"].as_array().expect("codes");
    codes.iter().map(|code| code.as_str().expect("a code").to_owned()).collect()
}
