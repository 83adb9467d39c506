//! Each fault of a configuration is named with its place and a remedy.

use super::*;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

const SECRETS: [&str; 6] = ["access-key", "order-key", "ak", "sk", "admin-token", "software-token"];

fn write_secret(folder: &Path, name: &str, text: &str, mode: u32) {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

/// A folder with good secrets and this configuration.
fn folder(toml: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    for name in SECRETS {
        write_secret(folder.path(), name, &format!("the-secret-of-{name}\n"), 0o600);
    }
    let file = folder.path().join("authcoded.toml");
    std::fs::write(&file, toml).expect("write");
    (folder, file)
}

fn good() -> String {
    r#"data-dir = "data"
[callback]
public-url = "https://license.example.com/koogallery/callback"
access-key-files = ["access-key"]
[marketplace]
ak-file = "ak"
sk-file = "sk"
[admin]
token-file = "admin-token"
[software]
token-file = "software-token"
"#
    .to_owned()
}

/// The problems of the good configuration after one change.
fn problems_after(old: &str, new: &str) -> Vec<String> {
    let toml = good();
    assert!(toml.contains(old), "{old}");
    let (_folder, file) = folder(&toml.replacen(old, new, 1));
    match Config::load(&file) {
        Ok(config) => config.check(&file).iter().map(shortened).collect(),
        Err(error) => {
            let folder = file.parent().expect("a folder").display().to_string();
            vec![error.to_string().replace(&format!("{folder}/"), "")]
        }
    }
}

fn shortened(problem: &Problem) -> String {
    let folder = problem.file.parent().expect("a folder").display().to_string();
    problem.to_string().replace(&format!("{folder}/"), "")
}

#[test]
fn the_heartbeat_may_follow_the_dial_tests() {
    let text = good()
        .replace("[admin]", "[schedule]\nheartbeat = \"auto\"\n[guard]\non-sale = false\n[admin]");
    let (_folder, file) = folder(&text);
    let (config, warnings) = Config::load_checked(&file).expect("a good configuration");
    assert_eq!(warnings, []);
    assert_eq!(config.schedule.heartbeat, crate::domain::slots::HeartbeatTimes::Auto);
    assert!(!config.guard.on_sale);
}

#[test]
fn the_good_one_is_fine_and_filled_with_the_defaults() {
    let (folder, file) = folder(&good());
    let (config, warnings) = Config::load_checked(&file).expect("a good configuration");
    assert_eq!(warnings, []);
    assert_eq!(config.data_dir, folder.path().join("data"));
    assert_eq!(config.callback.listen.to_string(), "127.0.0.1:8650");
    assert_eq!(config.software.listen.map(|l| l.to_string()).as_deref(), Some("127.0.0.1:8652"));
    let endpoints: Vec<_> = config.marketplace.endpoints.iter().map(HttpUrl::as_str).collect();
    assert_eq!(endpoints, ["https://mkt.myhuaweicloud.com", "https://mkt.myhuaweicloud.cn"]);
    assert_eq!(config.schedule.heartbeat.to_string(), "08:00, 13:00");
    assert!(config.guard.on_sale);
    assert_eq!(config.policy.entitlement().grace_ms, 72 * HOUR_MS);
    assert_eq!(config.policy.entitlement().lease_ms, 24 * HOUR_MS);
    let secrets = config.load_secrets().expect("good secrets");
    assert_eq!(secrets.ak, "the-secret-of-ak");
    assert_eq!(secrets.access_keys.len(), 1);
    assert!(!format!("{secrets:?}").contains("secret-of"), "{secrets:?}");
}

#[test]
fn order_notifications_are_there_when_their_section_is() {
    let toml = good().replace("[admin]", "[orders]\naccess-key-files = [\"order-key\"]\n[admin]");
    let (folder, file) = folder(&toml);
    let (config, warnings) = Config::load_checked(&file).expect("a good configuration");
    assert_eq!(warnings, []);
    assert_eq!(
        config.orders.as_ref().map(|orders| orders.path.as_str()),
        Some("/koogallery/orders")
    );
    assert_eq!(config.load_secrets().expect("good secrets").order_keys.len(), 1);
    drop(folder);
    for (section, expected) in [
        ("", "authcoded.toml:8:1: missing field `access-key-files`"),
        (
            "access-key-files = []",
            "authcoded.toml:9: error: orders.access-key-files: names 0 files",
        ),
        (
            "access-key-files = [\"access-key\"]",
            "authcoded.toml:9: error: orders.access-key-files: names a key of callback.access-key-files",
        ),
        (
            "access-key-files = [\"order-key\", \"order-key\"]",
            "authcoded.toml:9: warning: orders.access-key-files: names the same key twice",
        ),
        (
            "access-key-files = [\"gone\"]",
            "authcoded.toml:9: error: orders.access-key-files: gone: no such file",
        ),
        (
            "path = \"/koogallery/callback\"\naccess-key-files = [\"order-key\"]",
            "authcoded.toml:9: error: orders.path: is /koogallery/callback, as callback.path is",
        ),
        (
            "path = \"orders\"\naccess-key-files = [\"order-key\"]",
            "authcoded.toml:9: error: orders.path: does not begin with a slash",
        ),
    ] {
        let found = problems_after("[admin]", &format!("[orders]\n{section}\n[admin]"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(expected), "{found:?}");
    }
}

#[test]
fn the_form_is_checked_with_line_and_column() {
    for (old, new, expected) in [
        ("[admin]", "[admin]\ntokenfile = \"x\"", "authcoded.toml:9:1: unknown field `tokenfile`"),
        ("data-dir", "data_dir", "authcoded.toml:1:1: unknown field `data_dir`"),
        ("ak-file = \"ak\"\n", "", "authcoded.toml:5:1: missing field `ak-file`"),
        ("[admin]", "[admin]\nlisten = 8651", "authcoded.toml:9:10: invalid type: integer `8651`"),
        (
            "[admin]",
            "[admin]\nlisten = \"x\"",
            "authcoded.toml:9:10: \"x\": invalid socket address",
        ),
        (
            "[admin]",
            "[schedule]\nzone = \"Pekin\"\n[admin]",
            "authcoded.toml:9:8: \"Pekin\": no such time zone",
        ),
        (
            "[admin]",
            "[schedule]\nheartbeat = [\"8:00\"]\n[admin]",
            "authcoded.toml:9:13: \"8:00\": not a time of day",
        ),
        (
            "[admin]",
            "[schedule]\nheartbeat = \"automatic\"\n[admin]",
            "authcoded.toml:9:13: invalid value: string \"automatic\", expected \"auto\" or a list of times",
        ),
        (
            "[admin]",
            "[log]\nlevel = \"loud\"\n[admin]",
            "authcoded.toml:9:9: unknown variant `loud`",
        ),
        ("[admin]", "[admin", "authcoded.toml:8:7: "),
        ("https://license", "http://license", "authcoded.toml:3:14: plain http is only allowed"),
        ("ak-file", "endpoints = [\"http://localhost:1\"]\nak-file", "authcoded.toml:6:"),
    ] {
        let found = problems_after(old, new).join("\n");
        assert!(found.starts_with(expected), "{new}\n{found}");
        assert!(found.contains("; "), "a remedy: {found}");
    }
}

#[test]
fn the_content_is_checked_with_line_and_remedy() {
    for (old, new, expected) in [
        (
            "[admin]",
            "[admin]\nlisten = \"0.0.0.0:8651\"",
            "authcoded.toml:9: error: admin.listen: 0.0.0.0:8651 can be reached",
        ),
        (
            "[software]",
            "[software]\nlisten = \"[::]:1\"",
            "authcoded.toml:11: error: software.listen: [::]:1 can be",
        ),
        (
            "[software]",
            "[software]\nlisten = \"127.0.0.1:8650\"",
            "authcoded.toml:11: error: software.listen: 127.0.0.1:8650 is taken by callback.listen",
        ),
        (
            "[callback]",
            "[callback]\nlisten = \"0.0.0.0:8651\"",
            "authcoded.toml:9: error: admin.listen: 127.0.0.1:8651 is taken by callback.listen",
        ),
        (
            "[callback]",
            "[callback]\npath = \"x\"",
            "authcoded.toml:3: error: callback.path: does not begin with a slash",
        ),
        (
            "[callback]",
            "[callback]\npath = \"/x?y\"",
            "authcoded.toml:3: error: callback.path: holds characters",
        ),
        (
            "[callback]",
            "[callback]\npath = \"/x\"",
            "authcoded.toml:4: warning: callback.public-url: has the path /koogallery/callback",
        ),
        (
            "public-url",
            "tls-cert = \"access-key\"\npublic-url",
            "authcoded.toml:3: error: callback.tls-cert: stands without",
        ),
        (
            "public-url",
            "probe-codes = [\"a\", \"\"]\npublic-url",
            "authcoded.toml:3: error: callback.probe-codes: is no code: empty",
        ),
        (
            "[\"access-key\"]",
            "[]",
            "authcoded.toml:4: error: callback.access-key-files: names 0 files",
        ),
        (
            "[\"access-key\"]",
            "[\"sk\", \"ak\", \"sk\"]",
            "authcoded.toml:4: error: callback.access-key-files: names 3 files",
        ),
        (
            "[\"access-key\"]",
            "[\"sk\", \"sk\"]",
            "authcoded.toml:4: warning: callback.access-key-files: names the same key twice",
        ),
        (
            "ak-file",
            "endpoints = []\nak-file",
            "authcoded.toml:6: error: marketplace.endpoints: is empty",
        ),
        (
            "ak-file",
            "endpoints = [\"https://a.b/c\"]\nak-file",
            "authcoded.toml:6: error: marketplace.endpoints: https://a.b/c has a path",
        ),
        (
            "ak-file",
            "requests-per-second = 0\nak-file",
            "authcoded.toml:6: error: marketplace.requests-per-second: is 0",
        ),
        (
            "ak-file = \"ak\"",
            "ak-file = \"nowhere\"",
            "authcoded.toml:6: error: marketplace.ak-file: nowhere: no such file; create it",
        ),
        (
            "ak-file = \"ak\"",
            "ak-file = \".\"",
            "authcoded.toml:6: error: marketplace.ak-file: .: is not a regular file",
        ),
        (
            "ak-file = \"ak\"",
            "ak-file = \"credential:gone\"",
            "authcoded.toml:6: error: marketplace.ak-file: gone: no such file",
        ),
        (
            "ak-file = \"ak\"",
            "ak-file = \"credential:../ak\"",
            "authcoded.toml:6: error: marketplace.ak-file: credential:../ak: is not a name",
        ),
        (
            "\"software-token\"",
            "\"admin-token\"",
            "authcoded.toml:11: error: software.token-file: the software has the operators' token",
        ),
        (
            "[admin]",
            "[schedule]\nheartbeat = []\n[admin]",
            "authcoded.toml:9: error: schedule.heartbeat: is empty",
        ),
        (
            "[admin]",
            "[policy]\ngrace-hours = 9999\n[admin]",
            "authcoded.toml:9: error: policy.grace-hours: is more than",
        ),
        (
            "[admin]",
            "[policy]\nlease-hours = 25\n[admin]",
            "authcoded.toml:9: error: policy.lease-hours: is not between 1 and 24",
        ),
        (
            "[admin]",
            "[policy]\nlease-hours = 0\n[admin]",
            "authcoded.toml:9: error: policy.lease-hours: is not between 1 and 24",
        ),
        (
            "[software]",
            "[software]\nsocket-group = \"no-such-group-here\"",
            "authcoded.toml:11: error: software.socket-group: no-such-group-here is no group",
        ),
        (
            "[admin]",
            "[retention]\ncallbacks-days = 0\n[admin]",
            "authcoded.toml:9: error: retention.callbacks-days: is 0",
        ),
        ("\"data\"", "\"sk\"", "authcoded.toml:1: error: data-dir: is not a folder"),
    ] {
        let mut found = problems_after(old, new);
        // A wrong path differs from that of the public address, too.
        found.retain(|problem| !expected.contains(": error: ") || problem.contains(": error: "));
        assert_eq!(found.len(), 1, "{new}\n{found:#?}");
        assert!(found[0].starts_with(expected), "{new}\n{found:#?}");
    }
}

#[test]
fn a_secret_must_be_closed_and_clean() {
    for (text, mode, expected) in [
        (
            "0123456789abcdef\n",
            0o640,
            "is open to others than its owner (mode 0640); run chmod 600",
        ),
        ("0123456789abcdef\n", 0o604, "is open to others"),
        ("0123456789abcdef\n", 0o620, "is open to others"),
        ("", 0o600, "is empty"),
        ("\n", 0o600, "is empty"),
        ("0123456789abcdef\n\n", 0o600, "holds white space"),
        ("0123456789 abcdef", 0o600, "holds white space"),
        (" 0123456789abcdef", 0o600, "holds white space"),
        ("0123456789abcdéf", 0o600, "not ASCII"),
        ("0123456789abcde", 0o600, "fewer than 16 characters"),
    ] {
        let (folder, file) = folder(&good());
        write_secret(folder.path(), "admin-token", text, mode);
        let config = Config::load(&file).expect("the form is good");
        let found: Vec<_> = config.check(&file).iter().map(shortened).collect();
        assert_eq!(found.len(), 1, "{text:?} {mode:o}\n{found:#?}");
        assert!(found[0].contains(expected), "{text:?} {mode:o}\n{found:#?}");
        assert!(found[0].starts_with("authcoded.toml:9: "), "{found:#?}");
        assert!(!found[0].contains("456789"), "a secret is shown: {found:#?}");
    }
}

#[test]
fn a_good_secret_may_end_in_either_line_end() {
    for text in ["0123456789abcdef", "0123456789abcdef\n", "0123456789abcdef\r\n"] {
        let (folder, file) = folder(&good());
        write_secret(folder.path(), "sk", text, 0o400);
        let config = Config::load(&file).expect("the form is good");
        let secrets = config.load_secrets().expect("good secrets");
        assert_eq!(secrecy::ExposeSecret::expose_secret(&secrets.sk), "0123456789abcdef");
    }
}

#[test]
fn a_socket_alone_opens_no_port() {
    let (folder, file) = folder(&good().replace("[software]", "[software]\nsocket = \"s.sock\""));
    let config = Config::load(&file).expect("a good configuration");
    assert_eq!(config.software.listen, None);
    assert_eq!(config.software.socket, Some(folder.path().join("s.sock")));
}

#[test]
fn errors_refuse_and_all_of_them_are_listed() {
    let toml = good().replace("\"ak\"", "\"no-ak\"").replace("\"sk\"", "\"no-sk\"");
    let (_folder, file) = folder(&toml);
    let Err(error @ ConfigError::Refused(_)) = Config::load_checked(&file) else {
        panic!("missing secrets were accepted");
    };
    let text = error.to_string();
    assert!(text.contains("no-ak") && text.contains("no-sk"), "{text}");
}
