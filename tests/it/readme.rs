//! The README says what the program does: its tables, keys, names and commands are held against it.

use authcoded::domain::entitlement::Reason;
use authcoded::domain::state::State;
use authcoded::domain::transition::{EventKind, Source};
use authcoded::schedule::Job;
use authcoded::telemetry::Metrics;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

mod chinese;

const README: &str = include_str!("../../README.md");

/// What the program prints.
fn printed(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_authcoded"))
        .args(args)
        .output()
        .expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "authcoded {}: {errors}", args.join(" "));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The text of a file below a heading, up to the next one of its level or above.
fn chapter_of<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let text = &text[start + heading.len() + 2..];
    let level = heading.split(' ').next().expect("a level").len();
    let ends = (1..=level).filter_map(|n| text.find(&format!("\n{} ", "#".repeat(n))));
    &text[..ends.min().unwrap_or(text.len())]
}

fn chapter(heading: &str) -> &'static str {
    chapter_of(README, heading)
}

/// The rows of the first table of a text, without its head.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    let rows = text.lines().skip_while(|line| !line.starts_with("|---"));
    rows.skip(1).take_while(|line| line.starts_with('|'))
}

/// The first cell of each row of the first table, without its back quotes.
fn first_cells_of(text: &str) -> Vec<String> {
    let cell =
        |row: &str| row.split('|').nth(1).expect("a cell").trim().trim_matches('`').to_owned();
    rows(text).map(cell).collect()
}

fn first_cells(heading: &str) -> Vec<String> {
    first_cells_of(chapter(heading))
}

/// The lines of the fenced blocks of this language.
fn code<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.trim_start().strip_prefix("```") {
            Some(fence) => inside = !inside && fence == language,
            None if inside => lines.push(line),
            None => {}
        }
    }
    assert!(!lines.is_empty(), "there is no block of {language}");
    lines
}

#[test]
fn it_has_the_tables_as_they_are_printed() {
    let codes = printed(&["codes"]);
    for section in codes.split("## ").skip(1) {
        let (heading, text) = section.split_once('\n').expect("a heading");
        assert!(README.contains(&format!("\n### {heading}\n")), "no chapter {heading}");
        assert!(README.contains(text.trim()), "not as printed: {heading}\n{text}");
    }
}

#[test]
fn it_has_every_key_of_the_configuration_with_its_default() {
    let shipped = include_str!("../../packaging/authcoded.toml");
    let mut section = String::new();
    let mut keys = BTreeSet::new();
    for line in shipped.lines() {
        let written = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            // A section that may stand several times is written `[[name]]`.
            section = format!("{}.", name.trim_matches(['[', ']']));
        }
        let Some((key, value)) = written.split_once(" = ") else { continue };
        if !key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
            continue;
        }
        let key = format!("{section}{key}");
        // What is commented out is the default, unless there is none and an example stands for it.
        let without = ["none", "must be given"].map(|word| format!("| `{key}` | {word} |"));
        if line.starts_with('#') && !without.iter().any(|row| README.contains(row)) {
            let row = format!("| `{key}` | `{value}` |");
            assert!(README.contains(&row), "the default of {key} is {value}");
        }
        keys.insert(key);
    }
    let described: BTreeSet<String> = first_cells("## Configuration").into_iter().collect();
    assert_eq!(described, keys);
}

#[test]
fn it_explains_every_problem_and_no_other() {
    let made = include_str!("../../src/http/problem.rs").split("Self::new(").skip(1);
    let made = made.filter_map(|call| call.split('"').nth(1));
    let made: BTreeSet<_> = made.map(|name| format!("urn:authcoded:problem:{name}")).collect();
    let rows = chapter("## HTTP interfaces").lines();
    let explained = rows.filter_map(|row| row.strip_prefix("| `urn:")?.split('`').next());
    let explained: BTreeSet<_> = explained.map(|rest| format!("urn:{rest}")).collect();
    assert_eq!(explained, made);
}

/// Every metric of the program, as it names its family.
pub(crate) fn metrics() -> Vec<String> {
    let metrics = Metrics::new();
    // Metrics with labels show themselves once they have been counted.
    metrics.callback("", "", "", Duration::ZERO);
    metrics.transition("", "");
    metrics.marketplace_call("", "", Duration::ZERO);
    metrics.job("", "");
    metrics.http_requests("").count(200);
    metrics.usage("", 0);
    metrics.set_licenses(State::Issued, 0);
    metrics.set_heartbeat_step("", true);
    metrics.dial_test_call("");
    metrics.set_marketplace_domain(String::new(), true);
    metrics.set_marketplace_strange("", 0);
    metrics.set_failed_calls("", true, 0);
    metrics.set_failed_orders("", 0);
    metrics.diagnosis("");
    metrics.set_alarms("", 0);
    metrics.notification("", "");
    metrics.watch.set_certificate_days(String::new(), 0);
    let text = metrics.encode();
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    names.map(|rest| rest.split(' ').next().expect("a name").to_owned()).collect()
}

#[test]
fn it_lists_every_metric_and_no_other() {
    let mut names = metrics();
    let mut listed = first_cells("## Metrics");
    names.sort();
    listed.sort();
    assert_eq!(listed, names);
}

#[test]
fn it_has_every_word_of_the_vocabulary() {
    assert_eq!(first_cells("## Jobs"), Job::ALL.map(Job::as_str));
    assert_eq!(first_cells("## Codes and states"), State::ALL.map(State::as_str));
    let rows = chapter("## Entitlements for the licensed software").lines();
    let decisions: Vec<_> =
        rows.filter(|row| row.starts_with("| allow") || row.starts_with("| deny")).collect();
    let expected = Reason::ALL
        .map(|reason| format!("| {} | `{}` | ", reason.verdict().as_str(), reason.as_str()));
    assert_eq!(decisions.len(), expected.len());
    for (row, expected) in decisions.iter().zip(expected) {
        assert!(row.starts_with(&expected), "{row}\n{expected}");
    }
    let interfaces = chapter("## HTTP interfaces");
    let words = EventKind::ALL.map(EventKind::as_str).into_iter();
    for word in words.chain(Source::ALL.map(Source::as_str)) {
        assert!(interfaces.contains(&format!("`{word}`")), "{word} is missing");
    }
}

/// Every kind that the guard makes is explained, has its words for messages, and no other.
#[test]
fn it_explains_every_kind_of_alarm() {
    let mut sources = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guard")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.push(std::fs::read_to_string(&path).expect("a source"));
            }
        }
    }
    // `kind: "…"`, or the first argument of a function called `alarm` or `of_kind`.
    let mut made = BTreeSet::new();
    for source in &sources {
        for begin in ["kind: ", "alarm(", "of_kind("] {
            for (at, _) in source.match_indices(begin) {
                let argument = source[at + begin.len()..].trim_start().strip_prefix('"');
                let word = argument.and_then(|text| text.split_once('"')).map(|(word, _)| word);
                made.extend(word.map(str::to_owned));
            }
        }
    }
    assert!(made.len() > 8, "alarms are made in another way now: correct this test: {made:?}");
    let explained: BTreeSet<_> = first_cells("## Alarms and who is told").into_iter().collect();
    assert_eq!(explained, made);
    let mut worded: BTreeSet<_> =
        authcoded::notify::KINDS.iter().map(|(kind, ..)| (*kind).to_owned()).collect();
    worded.remove("test");
    assert_eq!(worded, made, "src/notify/words.rs");
    assert_eq!(kinds_with_a_heading(chapter("## What to do when")), made);
}

/// The kinds of alarms that have a heading of their own, which ends with them.
fn kinds_with_a_heading(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with("### "));
    let kinds = headings.flat_map(|line| line.split('`').skip(1).step_by(2));
    kinds.map(str::to_owned).collect()
}

#[test]
fn its_proxy_sample_is_the_shipped_one() {
    let shipped = include_str!("../../packaging/nginx/authcoded.conf");
    let shown = code(README, "nginx").into_iter().chain(code(chinese::README, "nginx"));
    for line in shown {
        assert!(shipped.lines().any(|found| found == line), "{line}");
    }
}

/// The commands that a text shows, in blocks and within sentences, as their words.
fn commands(text: &str) -> BTreeSet<Vec<&str>> {
    // Every other piece between back quotes: a fence is three of them, so a block is one, too.
    let within = text.split('`').skip(1).step_by(2);
    let mut found = BTreeSet::new();
    let blocks = code(text, "sh").into_iter().flat_map(|line| {
        let line = line.split(" # ").next().unwrap_or(line);
        line.split(';')
    });
    for line in blocks.chain(within) {
        let line = line.trim();
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        if let Some(rest) = line.strip_prefix("authcoded ").or_else(|| line.strip_prefix("a ")) {
            found.insert(rest.split_whitespace().collect());
        }
    }
    found
}

/// The words that name a command: those before its first argument or option.
fn name<'a>(command: &[&'a str]) -> Vec<&'a str> {
    let is_name = |word: &&&str| word.bytes().all(|byte| byte.is_ascii_lowercase());
    command.iter().take_while(is_name).copied().collect()
}

/// Each command that is shown exists, with each option that it is shown with; none is left out.
fn commands_are_taken(text: &str) {
    let shown = commands(text);
    assert!(shown.len() > 40, "only {} commands are shown", shown.len());
    let mut helps = BTreeMap::new();
    for command in &shown {
        let mut args = name(command);
        args.push("--help");
        let help = helps.entry(args.clone()).or_insert_with(|| printed(&args));
        for option in command.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "{}: there is no {option}", command.join(" "));
        }
    }
    for line in printed(&["--help"]).lines().filter_map(|line| line.strip_prefix("  ")) {
        let command = line.split(' ').next().expect("a word");
        let is_command =
            !command.is_empty() && command.bytes().all(|byte| byte.is_ascii_lowercase());
        if is_command && !["authcoded", "help"].contains(&command) {
            assert!(shown.iter().any(|words| words[0] == command), "{command} is not shown");
        }
    }
}

#[test]
fn its_commands_are_taken() {
    commands_are_taken(README);
}

/// A heading leads where GitHub makes it lead.
fn anchors(text: &str) -> BTreeSet<String> {
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

fn links_lead_somewhere(text: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = anchors(text);
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let (file, place) = link.split_once('#').unwrap_or((link, ""));
        let leads = if file.is_empty() {
            here.contains(place)
        } else if place.is_empty() {
            root.join(file).exists()
        } else {
            let other = std::fs::read_to_string(root.join(file)).expect("a file that is linked");
            anchors(&other).contains(place)
        };
        assert!(leads, "{link} leads nowhere");
    }
}

#[test]
fn its_links_lead_somewhere() {
    links_lead_somewhere(README);
}

/// Each field of the log that is described is written by some line of the program.
#[test]
fn its_log_fields_are_written() {
    let mut sources = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if !path.components().any(|part| part.as_os_str() == "simulator") {
                sources.push_str(&std::fs::read_to_string(path).expect("a source"));
            }
        }
    }
    let rows = chapter("## Logs").lines().filter(|row| row.starts_with("| ")).skip(1);
    let cells = rows.filter_map(|row| row.rsplit('|').nth(1));
    let fields: BTreeSet<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(fields.len() > 20, "{fields:?}");
    for field in fields {
        let written = [format!("{field} = "), format!(" {field},"), format!("%{field},")];
        assert!(written.iter().any(|text| sources.contains(text)), "no line writes {field}");
    }
}
