//! Every story of `tests/scenarios`, played by the real `simulate` against the real `serve`; and what
//! `simulate --scenario` says when a story does not hold or is none.

use super::daemon::{Daemon, wait_within};
use super::peer::{AK, SK};
use serde_json::{Value, json};
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

/// No story takes this long unless it is broken.
const BOUND: Duration = Duration::from_mins(1);
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

/// Plays a story against a daemon of its own, which is also asked for its own state.
async fn played(file: &Path) -> Ended {
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
        "--json",
    ];
    let ended = simulate(&args).await;
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
            let ended = played(&file).await;
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

/// A folder with a story in it; what `simulate` makes, it makes there, too.
fn story(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("story.toml");
    std::fs::write(&file, text).expect("written");
    (folder, file)
}

/// Plays a story without the merchant's admin interface.
async fn alone(story: &(TempDir, PathBuf), against: &str, more: &[&str]) -> Ended {
    let (folder, file) = story;
    let (file, data) = (file.display().to_string(), folder.path().join("data"));
    let (data, listen) = (data.display().to_string(), own_port().to_string());
    let args = [
        ["--scenario", &file],
        ["--against", against],
        ["--listen", &listen],
        ["--data-dir", &data],
    ];
    simulate(&[&args.concat()[..], more].concat()).await
}

/// Where nobody answers.
fn nobody() -> String {
    format!("http://{}/callback", own_port())
}

#[tokio::test]
async fn a_story_that_does_not_hold_fails_and_names_the_step() {
    let wrong = r#"
title = "A release that is expected to be refused"
rule = "protocol 4.4: none"
steps = [
  { buyer = "purchase" },
  { buyer = "refund" },
  # The next line is wrong on purpose.
  { expect = "reply", result = "000003" },
  { expect = "code", stage = "released" },
]
"#;
    let story = story(wrong);
    let told = played(&story.1).await;
    assert_eq!(told.code, Some(1), "{}{}", told.out, told.err);
    let told: Value = serde_json::from_str(&told.out).expect("one document");
    let last = &told["steps"][2];
    assert_eq!((&told["passed"], &told["not_played"]), (&json!(false), &json!(1)), "{told}");
    assert_eq!((&last["line"], &last["outcome"]), (&json!(8), &json!("failed")), "{told}");
    assert_eq!(last["step"], r#"expect = "reply", result = "000003""#);
    assert!(last["expected"].as_str().is_some_and(|text| text.contains("000003")), "{last}");
    assert!(last["got"].as_str().is_some_and(|text| text.contains("000000")), "{last}");
}

#[tokio::test]
async fn each_step_is_a_line_and_what_cannot_be_seen_is_skipped() {
    let text = r#"
title = "Nobody is there"
rule = "protocol 4.1: unreachable is a failure"
steps = [
  { buyer = "purchase" },
  { buyer = "hand_over" },
  { expect = "license", state = "activated" },
  { buyer = "renew" },
  { expect = "reply" },
]
"#;
    let story = story(text);
    let told = alone(&story, &nobody(), &["--seed", "7"]).await;
    assert_eq!(told.code, Some(1), "{}{}", told.out, told.err);
    for line in [
        "Nobody is there",
        "ok      line 5   buyer = \"purchase\": PL",
        "skipped line 6   buyer = \"hand_over\": give PL",
        "skipped line 7   expect = \"license\", state = \"activated\": only with --admin",
        "ok      line 8   buyer = \"renew\"",
        "FAILED  line 9   expect = \"reply\": expected 000000 to attempt 1; got refreshLicenseCode: no answer",
        "NOT as expected: 2 ok, 1 failed, 2 skipped (seed 7).",
    ] {
        assert!(told.out.lines().any(|found| found.starts_with(line)), "{line}\n{}", told.out);
    }
    // The secrets were made, and are told by their place only.
    for name in ["access-key", "ak", "sk"] {
        let file = story.0.path().join("data").join(name);
        let secret = std::fs::read_to_string(&file).expect("it was made");
        assert!(told.out.contains(&file.display().to_string()), "{}", told.out);
        assert!(!told.out.contains(secret.trim()), "{name} is told");
    }
    let again = alone(&story, &nobody(), &["--seed", "7"]).await;
    let code = |out: &str| out.split(": PL").nth(1).map(|rest| rest[..14].to_owned());
    assert_eq!(code(&told.out), code(&again.out), "one seed names the same codes");
    assert!(code(&told.out).is_some());
}

#[tokio::test]
async fn a_file_that_is_no_story_is_refused_with_its_line_before_anything_is_made() {
    let good = "title = \"t\"\nrule = \"r\"\nsteps = [\n  { buyer = \"purchase\" },\n";
    for (step, words) in [
        ("{ buyer = \"receive\", cod = \"A\" }", ["story.toml:5: ", "unknown field `cod`"]),
        ("{ expect = \"luck\" }", ["story.toml:5: ", "unknown variant `luck`"]),
        ("{ wait = \"soon\" }", ["story.toml:5: ", "not a length of time"]),
        ("{ buyer = \"receive\" ", ["story.toml:", ""]),
    ] {
        let story = story(&format!("{good}  {step},\n  {{ expect = \"reply\" }},\n]\n"));
        let told = alone(&story, &nobody(), &[]).await;
        assert_eq!(told.code, Some(1), "{}", told.out);
        for word in words {
            assert!(told.err.contains(word), "{word} is not in {}", told.err);
        }
        assert!(told.out.is_empty() && !story.0.path().join("data").exists(), "{}", told.out);
    }
    let missing = simulate(&["--scenario", "no-such.toml", "--against", &nobody()]).await;
    assert!(missing.code == Some(1) && missing.err.contains("no-such.toml"), "{}", missing.err);
}

#[tokio::test]
async fn the_options_of_stories_belong_together() {
    for args in [
        &["--scenario", "story.toml"][..],
        &["--against", "http://127.0.0.1:1/"],
        &[
            "--scenario",
            "story.toml",
            "--against",
            "http://127.0.0.1:1/",
            "--admin",
            "http://127.0.0.1:1",
        ],
        &[
            "--scenario",
            "story.toml",
            "--against",
            "http://127.0.0.1:1/",
            "--admin-token-file",
            "t",
            "--admin",
            "http://merchant.example",
        ],
    ] {
        let told = simulate(args).await;
        assert_eq!(told.code, Some(2), "{args:?}: {}", told.err);
    }
}

#[tokio::test]
async fn the_story_of_the_readme_holds() {
    let block = chapter().split("```toml\n").nth(1).expect("a story");
    let (_folder, file) = story(block.split("```").next().expect("its end"));
    let told = played(&file).await;
    assert_eq!(told.code, Some(0), "{}{}", told.out, told.err);
}

fn chapter() -> &'static str {
    const README: &str = include_str!("../../README.md");
    README.split("\n## ").find(|chapter| chapter.starts_with("Stories")).expect("it is there")
}

/// The README's chapter names each word of the language: those that the program lists when it meets
/// one that it does not know.
#[tokio::test]
async fn the_readme_names_every_word() {
    let mut words = 0;
    for who in ["buyer", "marketplace", "merchant", "expect"] {
        let text = format!("title = \"t\"\nrule = \"r\"\nsteps = [ {{ {who} = \"?\" }} ]");
        let told = alone(&story(&text), &nobody(), &[]).await;
        let known = told.err.split_once("expected one of ").expect("it lists them").1;
        for word in known.split('`').skip(1).step_by(2) {
            assert!(chapter().contains(&format!("`{word}`")), "{who} = {word} is not described");
            words += 1;
        }
    }
    assert!(words > 20, "only {words}");
}
