//! What a message says: which installation, how urgent, what, since when, and what to do.
//!
//! Invariant: a letter is made of its stored row alone, so that every try says the same.

use super::words::{phase_word, remedy, severity_word, title};
use crate::domain::alarm::{Phase, Severity};
use crate::domain::language::Language;
use crate::domain::time::{HOUR_MS, Timestamp};
use crate::store::{AlarmFacts, Notice};

/// Characters of a code that are shown where codes are not.
const SHOWN: usize = 4;
/// The longest text of an alarm in a message, in characters.
const TEXT_MAX: usize = 600;

/// A message.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    /// Its own id, the same at every try.
    pub(super) id: String,
    pub(super) installation: String,
    /// What it says of the alarm; `None` for a test.
    pub(super) phase: Option<Phase>,
    /// When that became true.
    pub(super) told_at: Timestamp,
    /// The alarm's number; 0 for a test.
    pub(super) number: i64,
    pub(super) facts: AlarmFacts,
    pub(super) severity: Severity,
    pub(super) since: Timestamp,
}

impl Letter {
    pub(super) fn of(notice: &Notice, installation: &str) -> Self {
        Self {
            id: notice.message.clone(),
            installation: installation.to_owned(),
            phase: Some(notice.phase),
            told_at: notice.told_at,
            number: notice.alarm,
            facts: notice.facts.clone(),
            severity: notice.severity,
            since: notice.since,
        }
    }

    /// What `authcoded alarm test` sends.
    pub(super) fn test(installation: &str, now: Timestamp) -> Self {
        Self {
            id: format!("test-{}", now.as_ms()),
            installation: installation.to_owned(),
            phase: None,
            told_at: now,
            number: 0,
            facts: AlarmFacts {
                cause: "test".to_owned(),
                kind: "test".to_owned(),
                code: None,
                text: "this is a test message; nothing is wrong".to_owned(),
                what_to_do: "nothing: alarms arrive here".to_owned(),
            },
            severity: Severity::Warning,
            since: now,
        }
    }

    /// The same without its code, wherever that stands in it.
    pub(super) fn masked(&self) -> Self {
        let mut letter = self.clone();
        if let Some(code) = letter.facts.code.take() {
            let masked = mask(&code);
            letter.facts.text = letter.facts.text.replace(&code, &masked);
            letter.facts.cause = letter.facts.cause.replace(&code, &masked);
            letter.facts.code = Some(masked);
        }
        letter
    }

    /// One line: how urgent, and what.
    pub(super) fn title(&self, language: Language) -> String {
        let kind = title(&self.facts.kind, language);
        let severity = severity_word(self.severity, language);
        let phase = phase_word(self.phase, language);
        match language {
            Language::Zh => format!("authcoded 告警｜{severity}｜{phase}｜{kind}"),
            Language::En => format!("authcoded alarm, {severity}, {phase}: {kind}"),
        }
    }

    /// The whole message as plain text.
    pub(super) fn text(&self, language: Language) -> String {
        let [installation, code, since, what, to_do, id] = match language {
            Language::Zh => ["实例", "授权码", "开始时间", "详情", "处理", "消息编号"],
            Language::En => ["Installation", "Code", "Since", "What", "What to do", "Message"],
        };
        let colon = match language {
            Language::Zh => "：",
            Language::En => ": ",
        };
        let mut text = self.title(language);
        let mut line = |label: &str, value: &str| {
            for part in ["\n", label, colon, value] {
                text.push_str(part);
            }
        };
        line(installation, &self.installation);
        if let Some(shown) = &self.facts.code {
            line(code, shown);
        }
        line(since, &beijing(self.since));
        line(what, &shortened(&self.facts.text));
        if self.phase != Some(Phase::Over) {
            line(to_do, remedy(&self.facts, language));
        }
        line(id, &self.id);
        text
    }
}

/// The end of a code tells people who hold it which one is meant, and nobody else.
fn mask(code: &str) -> String {
    let count = code.chars().count();
    let shown = if count > 2 * SHOWN { SHOWN } else { 0 };
    format!("…{}", code.chars().skip(count - shown).collect::<String>())
}

/// To the minute, in the marketplace's time.
fn beijing(at: Timestamp) -> String {
    let text = at.plus_ms(8 * HOUR_MS).to_string();
    let minute = text.get(..16).unwrap_or(&text);
    format!("{} (UTC+8)", minute.replace('T', " "))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(phase: Phase) -> Letter {
        Letter {
            id: "17-5f3c9a1b2c3d".to_owned(),
            installation: "license.example.com".to_owned(),
            phase: Some(phase),
            told_at: Timestamp::from_ms(1_795_249_800_000),
            number: 17,
            facts: AlarmFacts {
                cause: "contradiction-9".to_owned(),
                kind: "contradiction".to_owned(),
                code: Some("PLJE55J4E1XP7885".to_owned()),
                text: "PLJE55J4E1XP7885: activate 92020004 does not fit state renewed".to_owned(),
                what_to_do: "see `authcoded license show`".to_owned(),
            },
            severity: Severity::High,
            since: Timestamp::from_ms(1_795_249_800_000),
        }
    }

    #[test]
    fn a_message_says_what_a_tired_person_needs() {
        assert_eq!(
            letter(Phase::Raised).text(Language::En),
            "authcoded alarm, high, raised: a contradiction about a code\n\
             Installation: license.example.com\nCode: PLJE55J4E1XP7885\n\
             Since: 2026-11-21 16:30 (UTC+8)\n\
             What: PLJE55J4E1XP7885: activate 92020004 does not fit state renewed\n\
             What to do: see `authcoded license show`\nMessage: 17-5f3c9a1b2c3d"
        );
        let over = letter(Phase::Over).masked().text(Language::Zh);
        assert!(over.starts_with(
            "authcoded 告警｜高｜已恢复｜授权码状态矛盾\n实例：license.example.com\n"
        ));
        assert!(over.contains("授权码：…7885\n") && !over.contains("处理"), "{over}");
    }

    #[test]
    fn a_masked_code_stands_nowhere() {
        let masked = letter(Phase::Raised).masked();
        assert!(!format!("{masked:?}").contains("PLJE55J4E1XP"), "{masked:?}");
        assert_eq!(mask("PL1"), "…");
        assert_eq!(mask("授权码一二三四五六七八九"), "…六七八九");
    }

    #[test]
    fn a_long_text_is_cut() {
        let mut letter = letter(Phase::Raised);
        letter.facts.text = "码".repeat(5_000);
        assert!(letter.text(Language::Zh).len() < 2_048 + 200);
    }
}
