//! SIGHUP: each key is rotated under load without one authentic call refused, and a faulty configuration
//! changes nothing.

use super::market::Market;
use super::wire::{date_in_days, freeze, raw, renewal, result_code};
use super::{
    ACCESS_KEY, ADMIN_TOKEN, Daemon, PATH, SOFTWARE_TOKEN, Setup, Signed, nonce, now, signed,
    wait_until,
};
use crate::peer::{Peer, Say};
use authcoded::protocol::callback_auth::{AccessKey, signed_query};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const NEW_KEY: &str = "7d1f0b52-3c53-4a83-9b0e-0a64c1f7d2aa";

fn signed_with(key: &str, body: &Value) -> Signed {
    let bytes = body.to_string().into_bytes();
    let query = signed_query(&AccessKey::new(SecretString::from(key)), &bytes, now(), &nonce());
    Signed { query, body: bytes, headers: vec![("content-type", "application/json")] }
}

impl Daemon {
    fn put(&self, name: &str, text: &str) {
        let path = self.folder().join(name);
        std::fs::write(&path, text).expect("written");
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, owner_only).expect("its mode");
    }

    fn configure(&self, find: &str, put: &str) {
        let text = std::fs::read_to_string(self.config()).expect("the file");
        assert!(text.contains(find), "{find} in {text}");
        std::fs::write(self.config(), text.replacen(find, put, 1)).expect("written");
    }

    /// Sends SIGHUP and waits for the line that tells how it went.
    pub(super) async fn reload(&self) -> Value {
        let from = self.log().len();
        let pid = self.running().child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill runs").success());
        wait_until("the reload to be told", async || {
            self.lines().into_iter().skip(from).find(|line| {
                let told = line["message"].as_str().unwrap_or("");
                told.contains("configuration was reloaded")
                    || told.contains("configuration is refused")
            })
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callback_key_is_rotated_under_load_without_a_refused_call() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let over = Arc::new(AtomicBool::new(false));
    // What the marketplace signs with: the console binds the new key in the middle.
    let bound = Arc::new(std::sync::Mutex::new(ACCESS_KEY));
    let calls = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = (0..4)
        .map(|worker| {
            let (over, bound, calls) = (Arc::clone(&over), Arc::clone(&bound), Arc::clone(&calls));
            let address = daemon.callback_addr();
            tokio::spawn(async move {
                let mut n = 0;
                while !over.load(Ordering::Relaxed) {
                    let order = format!("CS-{worker}-{n}");
                    let key = *bound.lock().expect("not poisoned");
                    let call = signed_with(key, &renewal("PL1", &order, &date_in_days(400)));
                    let length = call.body.len();
                    let head = format!(
                        "POST {PATH}?{} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n",
                        call.query
                    );
                    let answer = raw(address, &[head.as_bytes(), &call.body].concat()).await;
                    assert!(answer.contains(r#"{"resultCode":"000000""#), "{order}: {answer:?}");
                    calls.fetch_add(1, Ordering::Relaxed);
                    n += 1;
                }
            })
        })
        .collect();
    let more = async || {
        let from = calls.load(Ordering::Relaxed);
        wait_until("the load to go on", async || {
            (calls.load(Ordering::Relaxed) > from + 20).then_some(())
        })
        .await;
    };
    more().await;
    // Two live keys, the new one first.
    daemon.put("access-key-new", NEW_KEY);
    daemon.configure(r#"["access-key-0"]"#, r#"["access-key-new", "access-key-0"]"#);
    let told = daemon.reload().await;
    assert_eq!(told["level"], "INFO", "{told}");
    more().await;
    let keys = daemon.see("/v1/summary").await["access_keys"].clone();
    assert_eq!(keys.as_array().expect("a list").len(), 2);
    assert_eq!((&keys[0]["newest"], &keys[0]["calls"]), (&json!(true), &json!(0)), "{keys}");
    assert!(
        keys[1]["calls"].as_u64() > Some(20),
        "what is known of a key that stays is kept: {keys}"
    );
    // Promoted in the console; the old one falls silent.
    *bound.lock().expect("not poisoned") = NEW_KEY;
    more().await;
    let old = |keys: &Value| keys[1]["last_used_at"].as_str().map(str::to_owned);
    let before = old(&daemon.see("/v1/summary").await["access_keys"]);
    more().await;
    let keys = daemon.see("/v1/summary").await["access_keys"].clone();
    assert_eq!(old(&keys), before, "nothing is signed with it any more");
    assert!(keys[0]["last_used_at"].is_string(), "{keys}");
    // Finished.
    daemon.configure(r#"["access-key-new", "access-key-0"]"#, r#"["access-key-new"]"#);
    daemon.reload().await;
    more().await;
    over.store(true, Ordering::Relaxed);
    for worker in load {
        worker.await.expect("no call was refused");
    }
    let late = daemon.send(&signed(&freeze("PL1"))).await;
    assert_eq!(result_code(&late), "000001", "the old key is over");
    let told = wait_until("the cause to be told", async || {
        daemon.lines().into_iter().find(|line| line["cause"] == "previous_key")
    })
    .await;
    assert!(told["message"].as_str().is_some_and(|why| why.contains("a reload")), "{told}");
    // The heartbeat signs with the new key, too.
    let probe = daemon.order("/v1/probes", json!({})).await;
    assert_eq!(probe["outcome"], "ok", "{probe}");
}

#[tokio::test]
async fn the_key_of_our_own_calls_is_rotated_without_a_restart() {
    let say = Say::new(200, r#"{"error_code":"92020000","error_msg":"success"}"#);
    let peer = Peer::saying(say).await;
    let daemon = Daemon::start(&[peer.http()]).await;
    daemon.register("PL1", true).await;
    let ask = async || {
        let from = peer.count();
        daemon.admin("POST", "/v1/licenses/PL1/query", &json!({})).await;
        peer.seen().into_iter().skip(from).map(|seen| seen.signature.is_ok()).collect::<Vec<_>>()
    };
    assert!(ask().await.iter().all(|holds| *holds));
    daemon.put("ak", "AKEXAMPLE0000000NEXT");
    daemon.put("sk", "skOfTheNextTests");
    daemon.reload().await;
    let signed = ask().await;
    assert!(!signed.is_empty() && signed.iter().all(|holds| !holds), "signed with the new one");
    let shown = daemon.log().iter().any(|line| line.contains("AKEXAMPLE0000000NEXT"));
    assert!(!shown, "and not shown");
}

#[tokio::test]
async fn a_token_is_rotated_with_a_minute_to_read_it_again() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let status = async |to, path: &str, token: &str| {
        let request = daemon.request("GET", to, path).bearer_auth(token);
        daemon.plain(request).await.status
    };
    let (admin, software) = (daemon.admin_addr(), daemon.software_addr());
    daemon.put("admin-token", "the-next-admin-token-0003");
    daemon.put("software-token", "the-next-software-token-0004");
    daemon.reload().await;
    for (to, path, tokens) in [
        (admin, "/v1/summary", [ADMIN_TOKEN, "the-next-admin-token-0003"]),
        (software, "/v1/entitlements/PL1", [SOFTWARE_TOKEN, "the-next-software-token-0004"]),
    ] {
        for token in tokens {
            assert_eq!(status(to, path, token).await, 200, "{path}");
        }
        assert_eq!(status(to, path, "another-token-of-nobody").await, 401);
    }
}

#[tokio::test]
async fn level_and_heartbeat_change_under_way_and_the_rest_is_said_to_wait() {
    let market = Market::start().await;
    let setup = Setup {
        endpoints: vec![market.http()],
        sections: "[schedule]\nheartbeat = [\"08:00\", \"13:00\"]\n[policy]\ngrace-hours = 72"
            .to_owned(),
        ..Setup::default()
    };
    let daemon = Daemon::with(setup).await;
    let schedule = async || {
        let jobs = daemon.items("/v1/jobs").await;
        let job = jobs.into_iter().find(|job| job["name"] == "heartbeat").expect("the job");
        job["schedule"].as_str().expect("words").to_owned()
    };
    assert!(schedule().await.contains("08:00"));
    daemon.configure("08:00", "07:15");
    daemon.configure("\"trace\"", "\"info\"");
    daemon.configure("grace-hours = 72", "grace-hours = 24");
    daemon.put("robot", "https://robot.example.com/send?key=1");
    let channel = "[[notify]]\nname = \"robot\"\nkind = \"wecom\"\nurl-file = \"robot\"";
    daemon.configure("[policy]", &format!("{channel}\n[policy]"));
    let told = daemon.reload().await;
    assert_eq!(told["needs_restart"], "policy, notify", "{told}");
    assert!(schedule().await.contains("07:15"), "{}", schedule().await);
    daemon.configure(r#"["07:15", "13:00"]"#, r#""auto""#);
    daemon.reload().await;
    assert!(schedule().await.starts_with("auto: 08:00"), "{}", schedule().await);
    daemon.configure(r#""auto""#, r#"["07:30"]"#);
    daemon.reload().await;
    assert!(schedule().await.starts_with("07:30"), "{}", schedule().await);
    // Runs of this job are told at debug.
    let from = daemon.log().len();
    daemon.order("/v1/jobs/activation/run", json!({})).await;
    wait_until("the run to end", async || {
        let jobs = daemon.items("/v1/jobs").await;
        let job = jobs.into_iter().find(|job| job["name"] == "activation")?;
        job["last_finished"].is_string().then_some(())
    })
    .await;
    daemon.order("/v1/jobs/usage/run", json!({})).await;
    wait_until("a line of the level in force", async || {
        daemon.lines().into_iter().skip(from).find(|line| line["job"] == "usage")
    })
    .await;
    let quiet = daemon.lines().into_iter().skip(from).all(|line| line["level"] != "DEBUG");
    assert!(quiet, "{:?}", &daemon.log()[from..]);
}

#[tokio::test]
async fn a_faulty_configuration_is_refused_and_changes_nothing() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.register("PL1", false).await;
    let good = std::fs::read_to_string(daemon.config()).expect("the file");
    daemon.put("access-key-new", NEW_KEY);
    let new = good.replacen("access-key-0", "access-key-new", 1);
    for (find, put) in [
        ("[admin]", "[admin]\ncolour = 1"),
        ("sk-file = \"sk\"", "sk-file = \"nothing\""),
        ("\"software-token\"", "\"admin-token\""),
        ("[callback]", "[callback]\ntls-cert = \"nothing\""),
        ("data-dir", "data-dir = \"x\"\ndata-dir"),
    ] {
        assert!(new.contains(find), "{find}");
        std::fs::write(daemon.config(), new.replacen(find, put, 1)).expect("written");
        let told = daemon.reload().await;
        assert_eq!(told["level"], "ERROR", "{told}");
        assert!(told["error"].as_str().is_some_and(|why| why.contains("authcoded.toml")), "{told}");
        assert_eq!(daemon.callback(&freeze("PL1")).await, "000000", "the old key is in force");
        let stranger = daemon.send(&signed_with(NEW_KEY, &freeze("PL1"))).await;
        assert_eq!(result_code(&stranger), "000001");
    }
    std::fs::write(daemon.config(), new).expect("written");
    assert_eq!(daemon.reload().await["level"], "INFO");
    assert_eq!(result_code(&daemon.send(&signed_with(NEW_KEY, &freeze("PL1"))).await), "000000");
}
