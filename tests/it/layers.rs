//! Layers only look down, and each foreign crate stays where it belongs (ARCHITECTURE.md).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of `src/` with those it may use, beside itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("clock", &["domain"]),
    ("telemetry", &["domain"]),
    ("config", &["domain", "telemetry"]),
    ("protocol", &["domain"]),
    ("store", &["domain", "telemetry"]),
    ("marketplace", &["domain", "protocol", "clock", "telemetry"]),
    ("lifecycle", &["domain", "protocol", "store", "marketplace", "clock", "telemetry"]),
    ("guard", &["domain", "protocol", "store", "marketplace", "lifecycle", "clock", "telemetry"]),
    ("notify", &["domain", "store", "clock", "telemetry"]),
    ("schedule", &["domain", "store", "lifecycle", "guard", "clock", "telemetry"]),
    (
        "http",
        &[
            "domain",
            "protocol",
            "store",
            "lifecycle",
            "guard",
            "notify",
            "schedule",
            "clock",
            "telemetry",
        ],
    ),
    ("simulator", &["domain", "protocol", "clock"]),
    ("daemon", EVERYTHING),
    ("cli", EVERYTHING),
    ("lib", EVERYTHING),
    ("main", EVERYTHING),
];

const EVERYTHING: &[&str] = &[
    "domain",
    "clock",
    "telemetry",
    "config",
    "protocol",
    "store",
    "marketplace",
    "lifecycle",
    "guard",
    "notify",
    "schedule",
    "http",
    "simulator",
    "daemon",
    "cli",
];

/// Foreign crates with the modules, folders or files that may name them.
const FENCES: &[(&str, &[&str])] = &[
    ("rusqlite", &["store"]),
    ("reqwest", &["marketplace", "guard", "notify", "simulator", "cli"]),
    ("lettre", &["notify/mail.rs"]),
    ("chrono", &["domain/slots.rs", "protocol"]),
    ("chrono_tz", &["domain/slots.rs", "protocol"]),
    ("tokio_cron_scheduler", &["schedule"]),
    ("hyper", &["http", "simulator", "cli"]),
    ("hyper_util", &["http", "simulator", "cli"]),
    ("http_body_util", &["http", "simulator", "cli"]),
    ("tokio_rustls", &["http", "guard", "simulator"]),
    ("rustls_platform_verifier", &["guard"]),
    ("arc_swap", &["http/access.rs"]),
    ("subtle", &["http/access.rs"]),
    ("hashbrown", &["http/answers.rs"]),
    (
        "ring",
        &[
            "protocol",
            "store",
            "http",
            "cli",
            "lifecycle",
            "guard",
            "notify",
            "marketplace",
            "simulator",
        ],
    ),
    ("rustix", &["cli", "guard/watch/disk.rs"]),
    ("maud", &["http/page"]),
    ("prometheus_client", &["telemetry"]),
    ("tracing_subscriber", &["telemetry"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("clap", &["cli"]),
    ("toml", &["config", "simulator"]),
    ("sd_notify", &["daemon", "schedule"]),
    ("tar", &["cli"]),
    ("anyhow", &["cli", "daemon", "main"]),
];

/// What a source file names that it must not. `path` is relative to `src/`.
fn violations(path: &str, text: &str) -> Vec<String> {
    let module = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    let code = without_comments(text);
    let mut found = Vec::new();
    match LAYERS.iter().find(|(name, _)| *name == module) {
        None => found.push(format!("{path}: {module} is not in the table of layers")),
        Some((_, allowed)) => found.extend(
            used_modules(&code)
                .into_iter()
                .filter(|used| used != module && !allowed.contains(&used.as_str()))
                .map(|used| format!("{path}: {module} must not use {used}")),
        ),
    }
    for (foreign, homes) in FENCES {
        let is_home = |home: &str| {
            home == module
                || home == path
                || path.strip_prefix(home).is_some_and(|rest| rest.starts_with('/'))
        };
        let at_home = homes.iter().any(|home| is_home(home));
        if !at_home && names(&code, foreign) {
            found.push(format!("{path}: {foreign} belongs to {}", homes.join(", ")));
        }
    }
    found
}

/// Line comments may speak of anything.
fn without_comments(text: &str) -> String {
    text.lines()
        .map(|line| {
            line.find("//").filter(|at| !line[..*at].ends_with(':')).map_or(line, |at| &line[..at])
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Top-level modules that the code names through `crate::`, `super::super::` or the library's name.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for root in ["crate::", "authcoded::"] {
        for (at, _) in code.match_indices(root).filter(|(at, _)| starts_a_path(code, *at)) {
            let rest = &code[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => used.extend(heads_of_group(group)),
                None => used.extend([identifier(rest)]),
            }
        }
    }
    // A submodule of the same name would be caught, too: then it needs another name.
    for (at, chain) in code.match_indices("super::super::") {
        let next = identifier(code[at + chain.len()..].trim_start_matches("super::"));
        used.extend(EVERYTHING.contains(&next.as_str()).then_some(next));
    }
    used
}

/// `a::{b}, c}` has the heads `a` and `c`.
fn heads_of_group(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut at_head) = (0_usize, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && (c.is_alphanumeric() || c == '_') => {
                heads.push(identifier(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Whether a path begins here, with or without `::` in front, and is not the rest of one.
fn starts_a_path(code: &str, at: usize) -> bool {
    let before = &code[..at];
    let before = before.strip_suffix("::").unwrap_or(before);
    !before.ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '>')
}

/// Whether the code names a foreign crate in a path, a `use`, or an attribute.
fn names(code: &str, foreign: &str) -> bool {
    code.match_indices(foreign).filter(|(at, _)| starts_a_path(code, *at)).any(|(at, _)| {
        let after = &code[at + foreign.len()..];
        let imported = code[..at].ends_with("use ") || code[..at].ends_with("extern crate ");
        after.starts_with("::") || (imported && after.starts_with([';', ' ']))
    })
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn layers_look_down_and_crates_stay_fenced() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 20, "only {} files found", files.len());
    let mut found = Vec::new();
    for file in files {
        let path = file.strip_prefix(&root).expect("below src").to_str().expect("UTF-8").to_owned();
        found.extend(violations(&path, &fs::read_to_string(&file).expect("a source")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn planted_violations_are_found() {
    for (path, text) in [
        ("domain/state.rs", "use crate::store::Tx;"),
        ("domain/state.rs", "fn f() { crate::protocol::aksk::sign() }"),
        ("store/writer.rs", "use crate::{domain::x, lifecycle::{a, b}};"),
        ("store/writer.rs", "use crate::{\n    domain::{a, b},\n    clock,\n};"),
        ("store/tables/x.rs", "use super::super::super::lifecycle::X;"),
        ("lifecycle/mod.rs", "use crate::http::Server;"),
        ("simulator/mod.rs", "use crate::store::Store;"),
        ("simulator.rs", "type T = authcoded::lifecycle::X;"),
        ("lifecycle/query.rs", "fn f(c: &rusqlite::Connection) {}"),
        ("http/admin.rs", "use rusqlite as sql;"),
        ("http/admin.rs", "use maud::html;"),
        ("http/pages.rs", "use maud::html;"),
        ("domain/time.rs", "use chrono::Utc;"),
        ("http/mod.rs", "let x = ::reqwest::Client::new();"),
        ("lifecycle/mod.rs", "#[derive(clap::Args)] struct A;"),
        ("novel/mod.rs", "fn f() {}"),
    ] {
        assert!(!violations(path, text).is_empty(), "not found: {path}: {text}");
    }
}

#[test]
fn what_is_allowed_is_not_found() {
    for (path, text) in [
        ("domain/slots.rs", "use chrono::Utc; use crate::domain::time::Timestamp;"),
        ("http/page/front.rs", "use maud::html;"),
        ("domain/state.rs", "// crate::store is above us\n//! rusqlite::Connection"),
        ("store/writer.rs", "use rusqlite::Connection; use crate::{domain::time, store::Tx};"),
        ("store/writer.rs", "use super::super::domain::time;"),
        (
            "lifecycle/mod.rs",
            "let x = substring::x(my_rusqlite::y, a::rusqlite::b); let text = \"https://a\";",
        ),
        ("daemon.rs", "use crate::{cli, http::Server, simulator};"),
    ] {
        assert_eq!(violations(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}
