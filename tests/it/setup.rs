//! `authcoded setup`, the manual pages and the completions: what a package is made of and begins with.

use crate::peer::{Peer, Say};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const UNKNOWN: &str = r#"{"error_code":"92020005","error_msg":"the license does not exist"}"#;
const SECRETS: [(&str, &str); 3] = [
    ("access-key", "6a1c9d0e-1111-4222-8333-9b0e0a64c1f7"),
    ("ak", "AKEXAMPLE0000000TEST"),
    ("sk", "skExampleSecretForTests"),
];

fn authcoded(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authcoded"));
    command.args(args).stdin(Stdio::null()).output().expect("it runs")
}

/// Each file of a folder: its mode, its inode, what is in it.
fn files(folder: &Path) -> BTreeMap<String, (u32, u64, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let one = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.expect("an entry").path();
        let meta = std::fs::metadata(&path).expect("there");
        let name = path.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
        (
            name,
            (meta.permissions().mode() & 0o7777, meta.ino(), std::fs::read(&path).expect("read")),
        )
    };
    entries.map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_writes_what_is_missing_and_a_second_one_changes_nothing() {
    let peer = Peer::saying(Say::new(200, UNKNOWN)).await;
    let (given, etc) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    for (name, text) in SECRETS {
        std::fs::write(given.path().join(name), format!("{text}\n")).expect("written");
    }
    let from = |name: &str| given.path().join(name).to_str().expect("UTF-8").to_owned();
    let config = etc.path().join("authcoded.toml").to_str().expect("UTF-8").to_owned();
    let (access_key, ak, sk, data) = (from("access-key"), from("ak"), from("sk"), from("data"));
    let endpoint = peer.http();
    let mut args =
        vec!["--config", &config, "setup", "--yes", "--no-unit", "--endpoint", &endpoint];
    args.extend(["--data-dir", &data, "--ak-from", &ak, "--sk-from", &sk]);

    let lacking = authcoded(&args);
    let told = String::from_utf8_lossy(&lacking.stderr).into_owned();
    assert!(!lacking.status.success() && told.contains("--public-url"), "{told}");
    args.extend(["--public-url", "http://127.0.0.1:1/my/callback"]);
    let lacking = authcoded(&args);
    let told = String::from_utf8_lossy(&lacking.stderr).into_owned();
    assert!(!lacking.status.success() && told.contains("--access-key-from"), "{told}");
    args.extend(["--access-key-from", &access_key]);

    let done = authcoded(&args);
    let told = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{done:?}");
    assert!(told.contains("believed: 92020005"), "{told}");
    assert!(told.contains("public address") && told.contains("probe run"), "{told}");
    for (_, secret) in SECRETS {
        assert!(!told.contains(secret), "a secret is shown");
    }
    let first = files(etc.path());
    let names: Vec<_> = first.keys().map(String::as_str).collect();
    let expected = ["access-key", "admin-token", "ak", "authcoded.toml", "sk", "software-token"];
    assert_eq!(names, expected);
    for (name, (mode, _, bytes)) in &first {
        assert_eq!(*mode, if name == "authcoded.toml" { 0o644 } else { 0o600 }, "{name}");
        assert!(name == "authcoded.toml" || bytes.ends_with(b"\n"), "{name}");
    }
    let text = String::from_utf8(first["authcoded.toml"].2.clone()).expect("UTF-8");
    assert!(text.contains("public-url = \"http://127.0.0.1:1/my/callback\""), "{text}");
    assert!(text.contains("path = \"/my/callback\"") && text.contains(&endpoint), "{text}");
    assert!(authcoded(&["--config", &config, "check"]).status.success());

    let again = authcoded(&args);
    assert!(again.status.success(), "{again:?}");
    assert!(!String::from_utf8_lossy(&again.stdout).contains("written"), "{again:?}");
    assert_eq!(files(etc.path()), first, "not one file was touched");
}

#[test]
fn every_command_has_a_page_and_no_page_is_without_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().to_str().expect("UTF-8");
    assert!(authcoded(&["man", to]).status.success());
    let pages = files(folder.path());
    let help = String::from_utf8(authcoded(&["--help"]).stdout).expect("UTF-8");
    let commands = help.split("Commands:").nth(1).expect("a list").split("Options:").next();
    let commands =
        commands.expect("a list").lines().filter_map(|line| line.split_whitespace().next());
    let mut seen = 0;
    for command in commands.filter(|word| *word != "help") {
        if help.contains(&format!("\n  {command} ")) {
            assert!(pages.contains_key(&format!("authcoded-{command}.8")), "no page of {command}");
            seen += 1;
        }
    }
    assert!(seen > 15, "only {seen} commands");
    assert!(!pages.contains_key("authcoded-man.8"), "what is hidden has no page");
    let page = |name: &str| String::from_utf8(pages[name].2.clone()).expect("UTF-8");
    let top = page("authcoded.8");
    for part in [".TH authcoded 8", ".SH SYNOPSIS", "authcoded\\-license(8)", "\\-\\-config"] {
        assert!(top.contains(part), "{part} is not in {top}");
    }
    insta::assert_snapshot!("authcoded.toml.5", page("authcoded.toml.5"));
}

#[test]
fn completions_know_every_command_and_are_taken_by_their_shells() {
    for (shell, check) in [("bash", "bash"), ("zsh", "zsh"), ("fish", "fish")] {
        let output = authcoded(&["completions", shell]);
        assert!(output.status.success(), "{output:?}");
        let script = String::from_utf8(output.stdout.clone()).expect("UTF-8");
        for word in ["backup", "restore", "doctor", "license", "completions"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("script");
        std::fs::write(&file, &output.stdout).expect("written");
        // Only where that shell is installed.
        if let Ok(status) = Command::new(check).arg("-n").arg(&file).status() {
            assert!(status.success(), "{shell} does not take it");
        }
    }
}
