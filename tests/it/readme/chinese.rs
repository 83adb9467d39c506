//! The Chinese README says what the English one says, which is held against the program.
//!
//! Invariant: what has a name in the program stands in both, so a new key, metric, alarm or command is
//! written about in both or the tests are red.

use super::{
    chapter, chapter_of, commands, commands_are_taken, first_cells, first_cells_of,
    kinds_with_a_heading, links_lead_somewhere, metrics, name, rows,
};
use authcoded::domain::entitlement::Reason;
use authcoded::domain::state::State;
use authcoded::domain::transition::{EventKind, Source};
use authcoded::schedule::Job;
use std::collections::BTreeSet;

pub(super) const README: &str = include_str!("../../../README.zh-CN.md");

fn table(heading: &str) -> Vec<String> {
    first_cells_of(chapter_of(README, heading))
}

/// The first two cells of each row: a key and its default.
fn keys_with_defaults(text: &str) -> BTreeSet<(String, String)> {
    let cells = rows(text).map(|row| row.split(" | "));
    let two = cells.filter_map(|mut cells| Some((cells.next()?, cells.next()?)));
    two.map(|(key, default)| (key.trim_start_matches("| ").to_owned(), default.to_owned()))
        .collect()
}

#[test]
fn it_has_every_key_of_the_configuration_with_its_default() {
    let english = keys_with_defaults(chapter("## Configuration"));
    let said = |default: String| match default.as_str() {
        "must be given" => "必须填写".to_owned(),
        "none" => "无".to_owned(),
        _ => default,
    };
    let expected: BTreeSet<_> =
        english.into_iter().map(|(key, default)| (key, said(default))).collect();
    assert_eq!(keys_with_defaults(chapter_of(README, "## 配置")), expected);
}

#[test]
fn it_lists_every_metric_and_no_other() {
    let (mut listed, mut made) = (table("## 指标"), metrics());
    listed.sort();
    made.sort();
    assert_eq!(listed, made);
}

#[test]
fn it_explains_every_kind_of_alarm() {
    let kinds = first_cells("## Alarms and who is told");
    assert_eq!(table("## 告警与通知"), kinds);
    let with_a_heading = kinds_with_a_heading(chapter_of(README, "## 出现问题时"));
    assert_eq!(with_a_heading, kinds.into_iter().collect());
}

#[test]
fn it_explains_every_problem_and_no_other() {
    let problems = |text| {
        let rows = str::lines(text).filter_map(|row| row.strip_prefix("| `urn:"));
        rows.map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    let english = problems(chapter("## HTTP interfaces"));
    assert!(english.len() > 8, "{english:?}");
    assert_eq!(problems(chapter_of(README, "## HTTP 接口")), english);
}

#[test]
fn it_has_every_word_of_the_vocabulary() {
    assert_eq!(table("## 定时任务"), Job::ALL.map(Job::as_str));
    assert_eq!(table("## 授权码与状态"), State::ALL.map(State::as_str));
    let rows = chapter_of(README, "## 软件集成").lines();
    let decisions: Vec<_> =
        rows.filter(|row| row.starts_with("| allow") || row.starts_with("| deny")).collect();
    let expected = Reason::ALL
        .map(|reason| format!("| {} | `{}` | ", reason.verdict().as_str(), reason.as_str()));
    assert_eq!(decisions.len(), expected.len());
    for (row, expected) in decisions.iter().zip(expected) {
        assert!(row.starts_with(&expected), "{row}\n{expected}");
    }
    let interfaces = chapter_of(README, "## HTTP 接口");
    let words = EventKind::ALL.map(EventKind::as_str).into_iter();
    for word in words.chain(Source::ALL.map(Source::as_str)) {
        assert!(interfaces.contains(&format!("`{word}`")), "{word} is missing");
    }
}

/// What the marketplace answers, what we answer, and what the log holds, is named in both.
#[test]
fn it_has_every_code_and_field() {
    for (english, chinese) in [
        ("### What we answer to callbacks", "## 回调"),
        ("## Logs", "## 日志"),
        ("## The guard", "## 拨测与可用性心跳"),
        ("### Order notifications", "### 订单通知"),
        ("### Leases", "### 租约"),
    ] {
        let chinese = chapter_of(README, chinese);
        let cells = rows(chapter(english)).flat_map(|row| {
            let names = row.split('`').skip(1).step_by(2).map(str::to_owned);
            names.chain(first_code(row)).collect::<Vec<_>>()
        });
        for word in cells.filter(|word| !word.contains(": ")) {
            assert!(chinese.contains(&word), "{english}: {word} is missing");
        }
    }
    let answers =
        chapter("### What the marketplace's answers mean (the first row that fits decides)");
    let chinese = chapter_of(README, "### 云商店返回码");
    for row in rows(answers) {
        let code = row.split(" | ").nth(1).expect("a code");
        if code.starts_with("920") || code.starts_with("950") {
            assert!(chinese.contains(code), "{code} is missing");
        }
    }
}

/// A result code stands in its cell without back quotes.
fn first_code(row: &str) -> Option<String> {
    let cell = row.split('|').nth(1)?.trim();
    (cell.len() == 6 && cell.bytes().all(|byte| byte.is_ascii_digit())).then(|| cell.to_owned())
}

#[test]
fn it_answers_the_same_questions() {
    let questions = |text| {
        let paragraphs = str::lines(text).filter_map(|line| line.strip_prefix("**"));
        let bold = paragraphs.filter_map(|line| line.split("**").next());
        bold.map(str::to_owned).collect::<Vec<_>>()
    };
    let english = questions(chapter("## Questions"));
    assert!(english.len() > 20, "{english:?}");
    assert_eq!(questions(chapter_of(README, "## 常见问题")), english);
}

#[test]
fn its_commands_are_taken() {
    commands_are_taken(README);
}

/// Whoever reads no English finds each command.
#[test]
fn it_has_every_command_of_the_english_one() {
    let names = |text| commands(text).iter().map(|command| name(command)).collect::<BTreeSet<_>>();
    let (english, chinese) = (names(super::README), names(README));
    let missing: Vec<_> = english.difference(&chinese).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn its_links_lead_somewhere() {
    links_lead_somewhere(README);
}

#[test]
fn both_lead_to_each_other_at_the_top_and_are_shipped() {
    let top = |text: &str| text.lines().take(4).collect::<Vec<_>>().join("\n");
    assert!(top(super::README).contains("[简体中文](README.zh-CN.md)"));
    assert!(top(README).contains("[English](README.md)"));
    let manifest = include_str!("../../../Cargo.toml");
    for file in ["README.md", "README.zh-CN.md"] {
        assert_eq!(manifest.matches(&format!("\"{file}\", ")).count(), 2, "{file}: Debian and RPM");
    }
}
