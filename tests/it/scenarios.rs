//! Every story of `tests/scenarios`, played by the real `simulate` against the real `serve`; and what
//! `simulate --scenario` says when a story does not hold or is none.

use super::daemon::{Daemon, wait_within};
use super::peer::{AK, SK};
use serde_json::Value;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

/// No story takes this long unless it is broken.
const BOUND: Duration = Duration::from_secs(60);
/// So many stories at a time: they mostly wait.
const AT_ONCE: usize = 6;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// A port that nobody else takes before the marketplace does: on a loopback address of this test's own.
fn own_port() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, 1 + high % 200, low, 1 + COUNT.fetch_add(1, Ordering::Relaxed));
    let listener = TcpListener::bind((own, 0)).expect("a port");
    listener.local_addr().expect("its address")
}

/// How a story ended: the exit status, standard output, standard error.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// The process of a story; it does not outlive its test.
struct Player(Child);

impl Drop for Player {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn simulate(args: &[&str]) -> Ended {
    let child = Command::new(env!("CARGO_BIN_EXE_authcoded"))
        .arg("simulate")
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let Player(child) = &mut Player(child);
    let ended =
        wait_within(BOUND, "the story ends", async || child.try_wait().expect("its status"));
    let code = ended.await.code();
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().expect("piped").read_to_string(&mut out).expect("text");
    child.stderr.take().expect("piped").read_to_string(&mut err).expect("text");
    Ended { code, out, err }
}

/// Plays a story against a daemon of its own.
async fn played(file: &Path, more: &[&str]) -> Ended {
    let marketplace = own_port();
    let daemon = Daemon::start(&[format!("http://{marketplace}")]).await;
    let at = |name: &str| daemon.folder().join(name).display().to_string();
    let (key, ak, sk, token) = (at("access-key-0"), at("ak"), at("sk"), at("admin-token"));
    let against = format!("http://{}{}", daemon.callback_addr(), super::daemon::PATH);
    let (listen, admin) = (marketplace.to_string(), format!("http://{}", daemon.admin_addr()));
    let file = file.display().to_string();
    let args = [
        "--scenario",
        &file,
        "--against",
        &against,
        "--listen",
        &listen,
        "--access-key-file",
        &key,
        "--ak-file",
        &ak,
        "--sk-file",
        &sk,
        "--admin",
        &admin,
        "--admin-token-file",
        &token,
    ];
    let ended = simulate(&[&args[..], more].concat()).await;
    for secret in [super::daemon::ACCESS_KEY, super::daemon::ADMIN_TOKEN, AK, SK] {
        assert!(!ended.out.contains(secret) && !ended.err.contains(secret), "a secret is told");
    }
    ended
}

#[tokio::test]
async fn every_story_holds() {
    LocalSet::new().run_until(play_all()).await;
}

async fn play_all() {
    let files = std::fs::read_dir(folder()).expect("the folder");
    let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= 20, "only {} stories", files.len());
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut stories = JoinSet::new();
    for file in files {
        let places = Arc::clone(&places);
        stories.spawn_local(async move {
            let _place = places.acquire_owned().await.expect("open");
            let ended = played(&file, &["--json"]).await;
            let name = file.file_name().expect("a name").display().to_string();
            let told: Value = serde_json::from_str(&ended.out).unwrap_or_default();
            let steps = told["steps"].as_array().cloned().unwrap_or_default();
            let all_ok = !steps.is_empty() && steps.iter().all(|step| step["outcome"] == "ok");
            let rule = told["rule"].as_str().unwrap_or_default().to_owned();
            let cited = rule.starts_with("protocol ") && rule.contains(": ");
            let good = ended.code == Some(0) && told["passed"] == true && all_ok && cited;
            (!good).then(|| format!("{name}: {:?}\n{}{}", ended.code, ended.out, ended.err))
        });
    }
    let mut broken = Vec::new();
    while let Some(story) = stories.join_next().await {
        broken.extend(story.expect("no panic"));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
