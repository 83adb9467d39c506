//! What a daemon needs around it: a folder with configuration and secrets, and a marketplace whose
//! answers the test chooses.

use super::wire::{ACCESS_KEY, ADMIN_TOKEN, PATH, SOFTWARE_TOKEN};
use authcoded::protocol::open_api::{ACTIVATE_V1, QUERY_V1};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// What the daemon asks the marketplace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Activate,
    Query,
}

/// The answer: a JSON body with HTTP 200, or none at all.
pub(crate) type Said = Option<Value>;
type Rule = dyn Fn(Asked, &str) -> Said + Send + Sync;

/// A marketplace that answers by a rule of the test, from the question and the code.
pub(crate) struct Marketplace {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Marketplace {
    pub(crate) fn start(rule: impl Fn(Asked, &str) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (ended, rule): (_, Arc<Rule>) = (Arc::new(AtomicBool::new(false)), Arc::new(rule));
        let end = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let rule = Arc::clone(&rule);
                std::thread::spawn(move || answer(&stream, &*rule));
            }
        });
        Self { address, ended, thread: Some(thread) }
    }
}

impl Drop for Marketplace {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Answers one request; a caller that was killed meanwhile is no fault.
fn answer(stream: &TcpStream, rule: &Rule) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim().to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    let asked = match first.split(' ').nth(1)? {
        ACTIVATE_V1 => Asked::Activate,
        QUERY_V1 => Asked::Query,
        other => panic!("nobody should ask for {other}"),
    };
    let said = rule(asked, body["license"].as_str()?)?.to_string();
    let length = said.len();
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json";
    let mut stream = stream;
    write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{said}").ok()
}

/// A folder with a configuration on ports of the kernel's choice, its secrets, and the database.
pub(crate) struct Stage {
    folder: TempDir,
    _marketplace: Marketplace,
}

impl Stage {
    pub(crate) fn new(marketplace: Marketplace) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let secrets = [
            ("access-key", ACCESS_KEY),
            ("ak", "AKEXAMPLE0000000TEST"),
            ("sk", "skExampleSecretForTests"),
            ("admin", ADMIN_TOKEN),
            ("software", SOFTWARE_TOKEN),
        ];
        for (name, text) in secrets {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
        }
        let text = format!(
            r#"data-dir = "data"
[callback]
listen = "127.0.0.1:0"
path = "{PATH}"
access-key-files = ["access-key"]
[marketplace]
endpoints = ["http://{}"]
ak-file = "ak"
sk-file = "sk"
requests-per-second = 1000
[admin]
listen = "127.0.0.1:0"
token-file = "admin"
[software]
listen = "127.0.0.1:0"
token-file = "software"
[log]
format = "json"
"#,
            marketplace.address
        );
        std::fs::write(folder.path().join("authcoded.toml"), text).expect("written");
        Self { folder, _marketplace: marketplace }
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("authcoded.toml")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}
