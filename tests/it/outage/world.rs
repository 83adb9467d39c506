//! The daemon and the marketplace on one clock, with what an outage needs: a database to spoil, a key to
//! change, and a stop.

use crate::wire::{ADMIN_TOKEN, PATH, SOFTWARE_TOKEN};
use authcoded::clock::Clock;
use authcoded::config::Config;
use authcoded::daemon::Daemon;
use authcoded::simulator::{Settings, Simulator};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Two hours take 72 s, and the minute in which a signature counts 600 ms: a busy machine may not be late.
const SPEED: u32 = 100;
/// A morning in the middle of a month: failed orders are counted by the month.
const BEGINS: &str = "2026-03-10T01:00:00Z";
/// Nothing takes longer; the longest wait is for a whole window.
const PATIENCE: Duration = Duration::from_secs(200);
pub(super) const KEY: &str = "key-of-the-outage";
const AK: &str = "AKEXAMPLE0000000TEST";
const SK: &str = "skExampleSecretForTests";

pub(super) struct World {
    folder: TempDir,
    clock: Clock,
    simulator: Simulator,
    daemon: Option<Daemon>,
    http: reqwest::Client,
}

/// What both sides know a call by: activity, code, order, and scene or status.
pub(super) type Name = [String; 4];

/// The name of a call on the marketplace's console.
pub(super) fn call_of(call: &Value) -> Name {
    let body: Value = serde_json::from_str(call["body"].as_str().expect("a body")).expect("JSON");
    let scene = if body["status"].is_null() { &body["scene"] } else { &body["status"] };
    name([&body["activity"], &body["license"], &body["orderId"], scene])
}

/// The names of a list of the daemon's.
pub(super) fn names_of(list: &Value) -> BTreeSet<Name> {
    let items = list.as_array().expect("a list").iter();
    items
        .map(|item| name([&item["activity"], &item["code"], &item["order_id"], &item["scene"]]))
        .collect()
}

fn name(parts: [&Value; 4]) -> Name {
    parts.map(|part| part.as_str().unwrap_or_default().to_owned())
}

impl World {
    pub(super) async fn start() -> Self {
        authcoded::daemon::install_crypto();
        let begins = authcoded::domain::slots::parse_rfc3339(BEGINS).expect("a time");
        let clock = Clock::scaled(Clock::system().now().as_ms(), begins, SPEED);
        let settings = Settings::new(KEY.into(), AK.to_owned(), SK.into());
        let simulator = Simulator::start(settings, clock.clone()).await.expect("it starts");
        let folder = tempfile::tempdir().expect("a folder");
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE);
        let http = http.build().expect("a client");
        let mut world = Self { folder, clock, simulator, daemon: None, http };
        world.write_files();
        world.again().await;
        world
    }

    fn write_files(&self) {
        for (name, text) in
            [("ak", AK), ("sk", SK), ("admin", ADMIN_TOKEN), ("software", SOFTWARE_TOKEN)]
        {
            self.write_secret(name, text);
        }
        self.set_key(KEY);
        let text = format!(
            "data-dir = \"data\"\n\
             [callback]\nlisten = \"127.0.0.1:0\"\npath = \"{PATH}\"\naccess-key-files = [\"key\"]\n\
             [marketplace]\nendpoints = [\"http://{}\"]\nak-file = \"ak\"\nsk-file = \"sk\"\n\
             requests-per-second = 1000\n\
             [admin]\nlisten = \"127.0.0.1:0\"\ntoken-file = \"admin\"\n\
             [software]\nlisten = \"127.0.0.1:0\"\ntoken-file = \"software\"\n",
            self.simulator.address()
        );
        std::fs::write(self.folder.path().join("authcoded.toml"), text).expect("written");
    }

    fn write_secret(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    }

    /// The key that the daemon, stopped now, will verify with.
    pub(super) fn set_key(&self, key: &str) {
        self.write_secret("key", key);
    }

    /// Changes the database under the daemon.
    pub(super) fn edit(&self, sql: &str) {
        let file = self.folder.path().join("data/authcoded.db");
        let connection = rusqlite::Connection::open(file).expect("the database");
        connection.busy_timeout(Duration::from_secs(5)).expect("set");
        connection.execute_batch(sql).expect(sql);
    }

    pub(super) async fn stop(&mut self) {
        self.daemon.take().expect("it runs").stop().await.expect("it stops");
    }

    /// Starts the daemon, and tells the marketplace where it is.
    pub(super) async fn again(&mut self) {
        let file = self.folder.path().join("authcoded.toml");
        let (config, _) = Config::load_checked(&file).expect("a configuration");
        let secrets = config.load_secrets().expect("secrets");
        let daemon = Daemon::start(config, secrets, self.clock.clone()).await.expect("it starts");
        let url = format!("http://{}{PATH}", daemon.addresses.callback);
        self.daemon = Some(daemon);
        self.ask(Method::PUT, self.market("/console/callback-url"), json!({ "url": url })).await;
    }

    fn market(&self, path: &str) -> String {
        format!("http://{}{path}", self.simulator.address())
    }

    fn admin(&self, path: &str) -> String {
        let admin: SocketAddr = self.daemon.as_ref().expect("it runs").addresses.admin;
        format!("http://{admin}{path}")
    }

    async fn ask(&self, method: Method, url: String, body: Value) -> Value {
        let mut request = self.http.request(method, &url).bearer_auth(ADMIN_TOKEN);
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let text = response.text().await.expect("a body");
        assert!(status.is_success(), "{url}: {status} {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// A code that was bought, received, activated and compared.
    pub(super) async fn in_use(&self, code: &str) {
        let bought = json!({ "license": code, "received": true });
        self.ask(Method::POST, self.market("/console/codes"), bought).await;
        self.ask(Method::POST, self.admin("/v1/licenses"), json!({ "code": code })).await;
        self.wait(&format!("{code} is in use"), async || {
            let url = self.admin(&format!("/v1/licenses/{code}"));
            let license = self.ask(Method::GET, url, Value::Null).await;
            let done =
                license["state"] == "activated" && !license["marketplace_checked_at"].is_null();
            done.then_some(())
        })
        .await;
    }

    /// Something that the buyer or the marketplace does.
    pub(super) async fn act(&self, code: &str, act: &str) {
        self.ask(Method::POST, self.market(&format!("/console/codes/{code}/{act}")), json!({}))
            .await;
    }

    /// Restarts a failed call, as on 卖家中心 > 生产接口消息.
    pub(super) async fn restart(&self, call: &Value) {
        let path = format!("/console/failed/{}/restart", call["id"]);
        self.ask(Method::POST, self.market(&path), json!({})).await;
    }

    pub(super) async fn guard(&self) -> Value {
        self.ask(Method::GET, self.admin("/v1/guard"), Value::Null).await
    }

    /// The kinds of the alarms.
    pub(super) async fn alarms(&self) -> BTreeSet<String> {
        let alarms = self.ask(Method::GET, self.admin("/v1/alarms"), Value::Null).await;
        let items = alarms["items"].as_array().expect("a list").iter();
        items.map(|alarm| alarm["kind"].as_str().expect("a kind").to_owned()).collect()
    }

    pub(super) async fn until_guard<T>(&self, what: &str, seen: impl Fn(&Value) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            let guard = self.guard().await;
            if let Some(seen) = seen(&guard) {
                return seen;
            }
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}: {guard:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Looks at a list on the marketplace's console.
    pub(super) async fn until<T>(
        &self,
        what: &str,
        path: &str,
        seen: impl Fn(&[Value]) -> Option<T>,
    ) -> T {
        self.wait(what, async || {
            let list = self.ask(Method::GET, self.market(path), Value::Null).await;
            seen(list["items"].as_array().expect("a list"))
        })
        .await
    }

    async fn wait<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
