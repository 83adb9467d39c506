//! The real binary with a simulated marketplace, and requests to its two local listeners.

use super::PATIENCE;
use super::document::Listener;
use authcoded::clock::Clock;
use authcoded::simulator::{Settings, Simulator};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const ACCESS_KEY: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
const ORDER_KEY: &str = "5b1d0c2e-77aa-4b0c-9d53-2f1e6a8c4d90";
const AK: &str = "AKEXAMPLE0000000TEST";
const SK: &str = "skExampleSecretForTestVectorsOnly0000000";
const ADMIN_TOKEN: &str = "the-token-of-the-operators-0123456789";
const SOFTWARE_TOKEN: &str = "the-token-of-the-software-0123456789";

pub(super) struct Daemon {
    child: Child,
    simulator: Simulator,
    client: reqwest::Client,
    admin: String,
    software: String,
    folder: TempDir,
}

/// A request in the making.
pub(super) struct Request {
    builder: reqwest::RequestBuilder,
    token: Option<&'static str>,
    body: Option<String>,
    content_type: &'static str,
}

pub(super) struct Answered {
    pub(super) status: u16,
    /// Without its parameters.
    pub(super) content_type: String,
    pub(super) allow: Option<String>,
    /// A text that is not JSON is a string here.
    pub(super) body: Value,
}

impl Daemon {
    pub(super) async fn start() -> Self {
        let settings = Settings {
            order_key: Some(ORDER_KEY.into()),
            ..Settings::new(ACCESS_KEY.into(), AK.to_owned(), SK.into())
        };
        let simulator = Simulator::start(settings, Clock::system()).await.expect("it starts");
        let folder = configuration(&simulator);
        let mut child = Command::new(env!("CARGO_BIN_EXE_authcoded"))
            .arg("--config")
            .arg(folder.path().join("c.toml"))
            .arg("serve")
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let ready = tokio::task::spawn_blocking(move || ready(stderr));
        let ready = tokio::time::timeout(PATIENCE, ready).await.expect("in time").expect("joined");
        let address = |key: &str| ready[key].as_str().expect("an address").to_owned();
        let (admin, software, callback) =
            (address("admin"), address("software"), address("callback"));
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(PATIENCE)
            .build()
            .expect("a client");
        let daemon = Self { child, simulator, client, admin, software, folder };
        for (name, path) in [("callback-url", "callback"), ("order-url", "orders")] {
            let url = json!({"url": format!("http://{callback}/koogallery/{path}")});
            daemon.console(Method::PUT, name, &url).await;
        }
        daemon
    }

    pub(super) fn request(&self, listener: Listener, method: &Method, target: &str) -> Request {
        let address = match listener {
            Listener::Admin => &self.admin,
            Listener::Software => &self.software,
        };
        let builder = self.client.request(method.clone(), format!("http://{address}{target}"));
        let token = Some(token_of(listener));
        Request { builder, token, body: None, content_type: "application/json" }
    }

    /// The name of a code that somebody bought.
    /// Changes the database under the daemon; its readers see it from its next commit on.
    pub(super) fn edit(&self, sql: &str) {
        let file = self.folder.path().join("data/authcoded.db");
        let connection = rusqlite::Connection::open(file).expect("the database");
        connection.execute_batch(sql).expect(sql);
    }

    pub(super) async fn bought(&self, purchase: Value) -> String {
        let code = self.console(Method::POST, "codes", &purchase).await;
        code["license"].as_str().expect("a code").to_owned()
    }

    /// Lets the marketplace act on a code, and tell us.
    pub(super) async fn act(&self, code: &str, act: &str) {
        self.console(Method::POST, &format!("codes/{code}/{act}"), &json!({})).await;
    }

    /// The same without telling us.
    pub(super) async fn silently(&self, code: &str, act: &str) {
        let silent = json!({"silent": true});
        self.console(Method::POST, &format!("codes/{code}/{act}"), &silent).await;
    }

    async fn console(&self, method: Method, path: &str, body: &Value) -> Value {
        let url = format!("http://{}/console/{path}", self.simulator.address());
        let request = self.client.request(method, url).body(body.to_string());
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let text = response.text().await.expect("a body");
        assert!(status.is_success(), "console {path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }
}

pub(super) const fn token_of(listener: Listener) -> &'static str {
    match listener {
        Listener::Admin => ADMIN_TOKEN,
        Listener::Software => SOFTWARE_TOKEN,
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Request {
    pub(super) fn with_token(self, token: Option<&'static str>) -> Self {
        Self { token, ..self }
    }

    pub(super) fn with_body(self, body: Option<String>) -> Self {
        Self { body, ..self }
    }

    pub(super) fn with_type(self, content_type: &'static str) -> Self {
        Self { content_type, ..self }
    }

    pub(super) fn with_host(self, host: &str) -> Self {
        Self { builder: self.builder.header("host", host), ..self }
    }

    pub(super) async fn send(self) -> Answered {
        let mut builder = self.builder;
        if let Some(token) = self.token {
            builder = builder.bearer_auth(token);
        }
        if let Some(body) = self.body {
            builder = builder.header("content-type", self.content_type).body(body);
        }
        let response = builder.send().await.expect("an answer");
        let header = |name| {
            response.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
        };
        let content_type = header("content-type").unwrap_or_default();
        let content_type = content_type.split(';').next().unwrap_or_default().to_owned();
        let (status, allow) = (response.status().as_u16(), header("allow"));
        let text = response.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answered { status, content_type, allow, body }
    }
}

/// The log line that names the addresses; what comes after it is read and thrown away.
fn ready(mut stderr: BufReader<std::process::ChildStderr>) -> Value {
    let mut told = String::new();
    loop {
        let mut line = String::new();
        let read = stderr.read_line(&mut line).expect("readable");
        assert_ne!(read, 0, "the daemon ended:\n{told}");
        told.push_str(&line);
        match serde_json::from_str::<Value>(&line) {
            Ok(event) if event["message"] == "ready" => {
                std::thread::spawn(move || {
                    std::io::copy(&mut stderr, &mut std::io::sink()).expect("readable");
                });
                return event;
            }
            Ok(_) | Err(_) => {}
        }
    }
}

fn configuration(simulator: &Simulator) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("access-key", ACCESS_KEY),
        ("order-key", ORDER_KEY),
        ("ak", AK),
        ("sk", SK),
        ("admin-token", ADMIN_TOKEN),
        ("software-token", SOFTWARE_TOKEN),
    ] {
        secret(&folder.path().join(name), text);
    }
    let text = format!(
        r#"data-dir = "data"
[callback]
listen = "127.0.0.1:0"
access-key-files = ["access-key"]
[orders]
access-key-files = ["order-key"]
[marketplace]
endpoints = ["http://{}"]
ak-file = "ak"
sk-file = "sk"
requests-per-second = 100
[admin]
listen = "127.0.0.1:0"
token-file = "admin-token"
[software]
listen = "127.0.0.1:0"
token-file = "software-token"
"#,
        simulator.address()
    );
    std::fs::write(folder.path().join("c.toml"), text).expect("write");
    folder
}

fn secret(path: &Path, text: &str) {
    std::fs::write(path, text).expect("write");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
}
