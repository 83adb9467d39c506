//! `authcoded doctor` names each fault that is planted, and nothing else.

use super::imports::config;
use super::{Daemon, PATH};
use crate::peer::{Peer, Say, listener};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

const UNKNOWN: &str = r#"{"error_code":"92020005","error_msg":"the license does not exist"}"#;

fn say(http: u16, body: &str, date: Option<&str>) -> Say {
    let header = date.map(|date| ("date", date.to_owned()));
    Say::Reply { http, body: body.as_bytes().to_vec(), header }
}

/// The lines that are not ok: name, outcome, text and remedy.
fn told(config: &Path) -> (bool, Vec<(String, String, String)>) {
    let output = Command::new(env!("CARGO_BIN_EXE_authcoded"))
        .arg("--config")
        .arg(config)
        .args(["doctor", "--json"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let document: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
    let word = |line: &Value, key: &str| line[key].as_str().unwrap_or("").to_owned();
    let checks = document["checks"].as_array().expect("a list");
    let lines =
        checks.iter().map(|line| (word(line, "name"), word(line, "outcome"), word(line, "text")));
    for line in checks.iter().filter(|line| line["outcome"] != "ok") {
        assert!(line["remedy"].is_string(), "{line}");
    }
    assert_eq!(document["ok"].as_bool(), Some(output.status.success()), "{text}");
    (output.status.success(), lines.filter(|(_, outcome, _)| outcome != "ok").collect())
}

struct Planted {
    daemon: Daemon,
    says: Arc<Mutex<Say>>,
    config: PathBuf,
    good: String,
    _peer: Peer,
}

impl Planted {
    async fn new() -> Self {
        let says = Arc::new(Mutex::new(say(200, UNKNOWN, None)));
        let answer = Arc::clone(&says);
        let peer =
            Peer::deciding(listener().await, move |_| answer.lock().expect("not poisoned").clone());
        let daemon = Daemon::start(&[peer.http()]).await;
        let config = config(&daemon);
        let text = std::fs::read_to_string(&config).expect("the file");
        let url = format!("public-url = \"http://{}{PATH}\"\n", daemon.callback_addr());
        let good = text.replacen("[callback]\n", &format!("[callback]\n{url}"), 1);
        std::fs::write(&config, &good).expect("written");
        Self { daemon, says, config, good, _peer: peer }
    }

    /// With this in the place of that in the configuration.
    fn but(&self, find: &str, put: &str) -> (bool, Vec<(String, String, String)>) {
        assert!(self.good.contains(find), "{find}");
        std::fs::write(&self.config, self.good.replacen(find, put, 1)).expect("written");
        let found = told(&self.config);
        std::fs::write(&self.config, &self.good).expect("written");
        found
    }

    fn answering(&self, answer: Say) -> (bool, Vec<(String, String, String)>) {
        let before = std::mem::replace(&mut *self.says.lock().expect("not poisoned"), answer);
        let found = told(&self.config);
        *self.says.lock().expect("not poisoned") = before;
        found
    }

    fn with_mode(&self, path: &Path, mode: u32) -> (bool, Vec<(String, String, String)>) {
        let set = |mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
        let before = std::fs::metadata(path).expect("there").permissions().mode();
        set(mode).expect("its mode");
        let found = told(&self.config);
        set(before).expect("its mode");
        found
    }
}

/// The fault has this name and these words, and makes the whole fail.
fn assert_named(found: &(bool, Vec<(String, String, String)>), name: &str, words: &str) {
    let (passed, lines) = found;
    let named = lines
        .iter()
        .any(|(is, outcome, text)| is == name && outcome == "fail" && text.contains(words));
    assert!(!passed && named, "{name} with {words:?} is not in {lines:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planted_fault_is_named() {
    let mut at = Planted::new().await;
    at.daemon.register("PL1", false).await;
    let (folder, data) = (at.daemon.folder().to_owned(), at.daemon.folder().join("data"));
    let (passed, lines) = told(&at.config);
    assert!(passed, "{lines:#?}");
    let warned: Vec<_> = lines.iter().map(|(name, ..)| name.as_str()).collect();
    assert!(
        warned.iter().all(|name| ["backup", "disk", "daemon", "unit"].contains(name)),
        "{lines:#?}"
    );

    assert_named(&at.but("[admin]", "[admin]\ncolour = 1"), "configuration", "colour");
    assert_named(&at.with_mode(&folder.join("sk"), 0o644), "secrets", "0644");
    assert_named(&at.with_mode(&data, 0o755), "permissions", "0755");
    assert_named(&at.with_mode(&at.config, 0o666), "permissions", "0666");
    let other = folder.join("another-token");
    std::fs::write(&other, "the-token-of-somebody-else").expect("written");
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    assert_named(&at.but("\"admin-token\"", "\"another-token\""), "daemon", "401");
    let url = format!("http://{}{PATH}", at.daemon.callback_addr());
    assert_named(
        &at.but(&url, &format!("https://license.invalid{PATH}")),
        "dns",
        "license.invalid",
    );
    assert_named(&at.but(&url, &format!("{url}/elsewhere")), "public address", "HTTP 404");
    let gone = format!("http://127.0.0.1:1{PATH}");
    assert_named(&at.but(&url, &gone), "public address", "127.0.0.1:1");

    let from = at.good.find("endpoints = [").expect("the key");
    let endpoints = at.good[from..].lines().next().expect("a line").to_owned();
    let closed = "endpoints = [\"http://127.0.0.1:1\"]";
    assert_named(&at.but(&endpoints, closed), "marketplace", "cannot be reached");
    let stranger = at.answering(say(200, "<html>hello</html>", None));
    assert_named(&stranger, "marketplace", "no document tells of");
    let long_ago = at.answering(say(200, UNKNOWN, Some("Wed, 01 Jan 2020 00:00:00 GMT")));
    assert_named(&long_ago, "clock", "s against");

    // Refused once: it is not asked a second time, although it would answer well now.
    let refused =
        r#"{"error_code":"APIGW.0301","error_msg":"Incorrect IAM authentication information"}"#;
    assert_named(&at.answering(say(401, refused, None)), "signature", "refused");
    assert_named(&told(&at.config), "signature", "not asked again");
    std::fs::remove_file(data.join("doctor-was-refused")).expect("the note");

    // An own certificate that has ended.
    let mut parameters =
        rcgen::CertificateParams::new(vec!["a.example".to_owned()]).expect("names");
    parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = parameters.self_signed(&key).expect("signed");
    std::fs::write(folder.join("cert.pem"), certificate.pem()).expect("written");
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("written");
    std::fs::set_permissions(folder.join("key.pem"), std::fs::Permissions::from_mode(0o600))
        .expect("its mode");
    let tls = "[callback]\ntls-cert = \"cert.pem\"\ntls-key = \"key.pem\"";
    assert_named(&at.but("[callback]", tls), "certificate", "has ended");

    // What needs a daemon that is down.
    at.daemon.stop().await;
    let database = data.join("authcoded.db");
    let whole = std::fs::read(&database).expect("there");
    at.daemon.edit("UPDATE event SET detail = 'nothing to see' WHERE id = 1");
    assert_named(&told(&at.config), "chains", "chain of events does not hold at row 1");
    std::fs::write(&database, &whole[..8_192]).expect("written");
    assert_named(&told(&at.config), "database", "damaged");
    std::fs::write(&database, &whole).expect("written");
    for end in ["-wal", "-shm"] {
        drop(std::fs::remove_file(data.join(format!("authcoded.db{end}"))));
    }
    let (_, lines) = told(&at.config);
    let down = lines.iter().any(|(name, outcome, _)| name == "daemon" && outcome == "warn");
    assert!(down, "{lines:#?}");
}
