//! What is shipped beside the program fits it.

use authcoded::config::{Config, SecretFile};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use yaml_rust2::{Yaml, YamlLoader};

fn shipped(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(path))
        .expect("a shipped file")
}

/// Installs a configuration and its secrets as the comments in it say, and checks it.
fn problems(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("authcoded.toml");
    fs::write(&file, text).expect("write");
    let secrets = ["access-key", "order-key", "ak", "sk", "admin-token", "software-token"];
    let of_channels = ["ops-url", "ops-secret", "wecom-url", "dingtalk-url", "dingtalk-secret"];
    for name in secrets.into_iter().chain(of_channels).chain(["mail-password"]) {
        let path = folder.path().join(name);
        let text = match name {
            "ops-secret" => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr".to_owned(),
            name if name.ends_with("-url") => format!("https://robot.example.com/send?key={name}"),
            name => format!("the-secret-of-{name}"),
        };
        fs::write(&path, text + "\n").expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
    }
    match Config::load(&file) {
        Ok(config) => config.check(&file).iter().map(ToString::to_string).collect(),
        Err(error) => vec![error.to_string()],
    }
}

#[test]
fn the_default_configuration_is_good() {
    assert_eq!(problems(&shipped("authcoded.toml")), Vec::<String>::new());
}

/// What is commented out is right, too: `# key = value` directly behind the sign.
#[test]
fn so_is_every_key_that_is_commented_out() {
    let text = shipped("authcoded.toml");
    let enabled: Vec<String> = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
                rest.to_owned()
            }
            _ => line.to_owned(),
        })
        .collect();
    let enabled = enabled.join("\n");
    assert_ne!(enabled, text.trim_end(), "nothing is commented out");
    let found = problems(&enabled);
    // Only the files that the examples name do not exist here.
    let other: Vec<_> = found.iter().filter(|problem| !problem.contains("/etc/")).collect();
    assert!(other.is_empty(), "{found:#?}");
    assert_eq!(toml_keys(&enabled), 73, "some key of the configuration is not shown");
}

fn toml_keys(text: &str) -> usize {
    let is_key = |line: &&str| {
        line.split_once(" = ")
            .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
    };
    text.lines().filter(is_key).count()
}

#[test]
fn the_unit_loads_every_credential_the_configuration_names() {
    let unit = shipped("systemd/authcoded.service");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("authcoded.toml");
    fs::write(&file, shipped("authcoded.toml")).expect("write");
    let config = Config::load(&file).expect("a good configuration");
    let mut secrets = config.callback.access_key_files.clone();
    secrets.extend([
        config.marketplace.ak_file,
        config.marketplace.sk_file,
        config.admin.token_file,
        config.software.token_file,
    ]);
    for secret in secrets {
        let SecretFile::Credential { name, .. } = secret else {
            panic!("{secret} could not be read by the user of the unit");
        };
        let line = format!("LoadCredential={name}:/etc/authcoded/{name}");
        assert!(unit.lines().any(|found| found == line), "{line} is missing");
    }
}

#[test]
fn the_proxy_samples_log_no_query() {
    let nginx = shipped("nginx/authcoded.conf");
    let formats: Vec<&str> =
        nginx.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let text = formats.join("\n");
    for leaky in ["$request ", "$request\"", "$request_uri", "$args", "$query_string", "combined"] {
        let format_lines: Vec<_> = text
            .lines()
            .filter(|line| line.contains("log_format") || line.trim_start().starts_with('\''))
            .collect();
        assert!(
            !format_lines.iter().any(|line| line.contains(leaky)),
            "{leaky} would log the query"
        );
    }
    assert!(text.contains("access_log"), "nginx logs the query by default");
    let caddy = shipped("caddy/Caddyfile");
    assert!(caddy.contains("request>uri"), "caddy logs the query by default");
}

/// What the package is made of is there, and all that is shipped is in it.
#[test]
fn the_package_names_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    let assets = manifest.split("assets = [").nth(1).expect("assets").split("\n]").next();
    let sources = assets.expect("assets").lines().filter_map(|line| line.split('"').nth(1));
    let mut found = 0;
    for source in sources.filter(|source| !source.starts_with("target/")) {
        assert!(root.join(source).is_file(), "{source}");
        found += 1;
    }
    assert!(found > 6, "{found}");
    for script in ["postinst", "prerm", "postrm"] {
        let path = root.join("packaging/debian").join(script);
        let mode = fs::metadata(&path).expect("a script").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script}");
        let checked = std::process::Command::new("sh").arg("-n").arg(&path).status();
        assert!(checked.expect("sh runs").success(), "{script}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let log = shipped("debian/changelog");
    assert!(log.starts_with(&format!("authcoded ({version}-")), "{log}");
}

/// The families that a text names: without what a counter's or a histogram's series end in.
fn families(text: &str) -> BTreeSet<String> {
    let names = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = names.filter(|name| name.starts_with("authcoded_"));
    let family = |name: &str| {
        let ends = ["_total", "_bucket", "_sum", "_count"];
        ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    names.map(family).collect()
}

/// Neither may ask for what the program does not have; the dashboard shows all of it.
#[test]
fn alerts_and_dashboard_name_metrics_that_exist() {
    let metrics: BTreeSet<_> = crate::readme::metrics().into_iter().collect();
    let mut asked = BTreeSet::new();
    let alerts = YamlLoader::load_from_str(&shipped("prometheus/authcoded-alerts.yml"));
    let alerts = alerts.expect("YAML");
    let rules = alerts[0]["groups"][0]["rules"].as_vec().expect("rules");
    let mut names = BTreeSet::new();
    for rule in rules {
        let text = |value: &Yaml| value.as_str().expect("a text").to_owned();
        names.insert(text(&rule["alert"]));
        asked.extend(families(&text(&rule["expr"])));
        let severity = text(&rule["labels"]["severity"]);
        assert!(["critical", "warning"].contains(&severity.as_str()), "{severity}");
        assert!(text(&rule["annotations"]["description"]).len() > 20, "what to do?");
    }
    assert_eq!(names.len(), rules.len(), "an alert stands there twice");
    let missing: Vec<_> = asked.difference(&metrics).collect();
    assert!(missing.is_empty(), "the alerts name {missing:?}");

    let dashboard: serde_json::Value =
        serde_json::from_str(&shipped("grafana/authcoded.json")).expect("JSON");
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            shown.extend(families(target["expr"].as_str().expect("an expression")));
        }
    }
    assert_eq!(shown, metrics);
}
