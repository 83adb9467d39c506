//! What the watches tell over the real program: an alarm that comes with its cause and goes with it.

use super::market::{Api, Market, released};
use super::{Daemon, Setup, wait_until};
use serde_json::{Value, json};

async fn alarm(daemon: &Daemon, kind: &str) -> Option<Value> {
    daemon.items("/v1/alarms").await.into_iter().find(|alarm| alarm["kind"] == kind)
}

async fn metric(daemon: &Daemon, name: &str) -> Option<String> {
    let request = daemon.request("GET", daemon.admin_addr(), "/metrics");
    let text = daemon.plain(request).await.text;
    let line = text.lines().find(|line| line.split([' ']).next() == Some(name))?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[tokio::test]
async fn a_key_file_that_has_changed_is_told_until_it_is_read() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    assert_eq!(alarm(&daemon, "key_files").await, None);
    let file = daemon.folder().join("access-key-0");
    let key = std::fs::read_to_string(&file).expect("the key");
    std::fs::write(&file, format!("{key}\n")).expect("written");
    let told = wait_until("it is told", async || alarm(&daemon, "key_files").await).await;
    let text = told["text"].as_str().expect("text");
    assert!(text.contains("callback.access-key-files") && text.contains("access-key-0"), "{text}");
    assert!(!text.contains(&key) && !text.contains("admin"), "{text}");
    daemon.reload().await;
    assert_eq!(alarm(&daemon, "key_files").await, None, "a reload has read it");
    std::fs::write(&file, &key).expect("written");
    wait_until("it is told again", async || alarm(&daemon, "key_files").await).await;
    daemon.restart().await;
    assert_eq!(alarm(&daemon, "key_files").await, None);
}

#[tokio::test]
async fn a_certificate_near_its_end_and_the_disk_are_measured() {
    let market = Market::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let pair = rcgen::KeyPair::generate().expect("a key");
    let mut wanted = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("names");
    let now = super::now().as_ms() / 1_000;
    let end = std::time::UNIX_EPOCH
        + std::time::Duration::from_secs(u64::try_from(now).expect("a time") + 5 * 86_400 + 3_600);
    wanted.not_after = end.into();
    std::fs::write(&cert, wanted.self_signed(&pair).expect("signed").pem()).expect("written");
    std::fs::write(&key, pair.serialize_pem()).expect("written");
    let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key, owner_only).expect("its mode");
    let callback = format!("tls-cert = {cert:?}\ntls-key = {key:?}");
    let setup = Setup { endpoints: vec![market.http()], callback, ..Setup::default() };
    let daemon = Daemon::with(setup).await;
    let told = wait_until("it is told", async || alarm(&daemon, "certificate").await).await;
    assert_eq!(
        (&told["id"], &told["severity"]),
        (&json!("certificate-file-7"), &json!("high")),
        "{told}"
    );
    let days = metric(&daemon, r#"authcoded_certificate_days{certificate="file"}"#).await;
    assert_eq!(days.as_deref(), Some("5"));
    let free = metric(&daemon, "authcoded_disk_free_bytes").await.expect("a figure");
    assert!(free.parse::<u64>().expect("a figure") > 0);
}

#[tokio::test]
async fn what_only_a_query_tells_of_is_a_silence() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    assert_eq!(alarm(&daemon, "silence").await, None, "an activation is no silence");
    market.says(Api::Query, "PL1", [released()]);
    daemon.order("/v1/licenses/PL1/query", Value::Null).await;
    daemon.until_state("PL1", "released").await;
    let told = wait_until("it is told", async || alarm(&daemon, "silence").await).await;
    assert_eq!(told["severity"], "warning");
}
