//! A reply of the wire to what it means for the caller and for the queue.
//!
//! Invariant: only a whole, parsed answer with documented words becomes a verdict; everything else is
//! kept as a bounded sample and never counts as success.

use super::wire::Reply;
use crate::domain::outcome::{ANSWERS, Outcome, of_answer};
use crate::protocol::open_api::{Answer, Strange, StrangeKind, parse_answer, sample};

/// Reads a verdict out of an answer with its HTTP status: the part in which the interfaces differ.
pub(super) type ReadVerdict<'r, V> = &'r (dyn Fn(u16, &Answer) -> Option<V> + Sync);

/// A reply, understood.
#[derive(Debug)]
pub(super) struct Judged<V> {
    pub(super) error_code: Option<String>,
    pub(super) outcome: Outcome,
    pub(super) meaning: Meaning<V>,
    /// What no document told us of.
    pub(super) strange: Vec<Strange>,
}

/// What a reply means for the caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<V> {
    Verdict(V),
    Retry(String),
    Refused(String),
    Permanent(String),
    Unrecognised(String),
}

pub(super) fn judge<V>(reply: &Reply, read: ReadVerdict<'_, V>) -> Judged<V> {
    let answer = if reply.whole {
        parse_answer(&reply.body).map_err(|bad| bad.to_string())
    } else {
        Err(format!("the marketplace's answer is longer than 64 KiB: {}", sample(&reply.body)))
    };
    let error_code = answer.as_ref().ok().and_then(|answer| answer.error_code.clone());
    let outcome = of_answer(reply.http, error_code.as_deref());
    let verdict = answer.as_ref().ok().and_then(|answer| read(reply.http, answer));
    let said = describe(reply.http, error_code.as_deref(), outcome, &answer);
    let meaning = match (verdict, outcome) {
        (Some(verdict), _) => Meaning::Verdict(verdict),
        (None, Outcome::Retry) => Meaning::Retry(said),
        (None, Outcome::Stop) => Meaning::Refused(said),
        (None, Outcome::Permanent) => Meaning::Permanent(said),
        (
            None,
            Outcome::Done
            | Outcome::IllegalState
            | Outcome::NotReceived
            | Outcome::UnknownCode
            | Outcome::NotActivated
            | Outcome::InvalidInBatch
            | Outcome::Unrecognised,
        ) => Meaning::Unrecognised(format!("{said}; body: {}", sample(&reply.body))),
    };
    let mut strange = answer.map(|answer| answer.strange).unwrap_or_default();
    if let Meaning::Unrecognised(sample) = &meaning {
        let name = error_code.clone().unwrap_or_else(|| format!("HTTP {}", reply.http));
        strange.push(Strange { kind: StrangeKind::Answer, name, sample: sample.clone() });
    }
    Judged { error_code, outcome, meaning, strange }
}

impl<V> Judged<V> {
    /// Whether the marketplace itself spoke, so that it has taken us for who we are.
    pub(super) fn is_welcome(&self, http: u16) -> bool {
        match self.outcome {
            Outcome::Done
            | Outcome::Permanent
            | Outcome::IllegalState
            | Outcome::NotReceived
            | Outcome::UnknownCode
            | Outcome::NotActivated
            | Outcome::InvalidInBatch => true,
            Outcome::Retry => http == 200,
            Outcome::Stop | Outcome::Unrecognised => false,
        }
    }

    /// The word for logs and metrics: a success whose content nobody documented is not `done`.
    pub(super) const fn word(&self) -> &'static str {
        match (&self.meaning, self.outcome) {
            (Meaning::Unrecognised(_), _) => Outcome::Unrecognised.as_str(),
            (_, outcome) => outcome.as_str(),
        }
    }
}

/// Status, code, what the map says of them, and the marketplace's own words.
fn describe(
    http: u16,
    code: Option<&str>,
    outcome: Outcome,
    answer: &Result<Answer, String>,
) -> String {
    let rule = ANSWERS
        .iter()
        .find(|rule| rule.outcome == outcome && code.is_some_and(|code| code.ends_with(rule.code)));
    let said = match answer {
        Ok(answer) => sample(answer.error_msg.as_deref().unwrap_or("").as_bytes()),
        Err(bad) => bad.clone(),
    };
    let meaning = rule.map_or("", |rule| rule.meaning);
    [&format!("HTTP {http}"), code.unwrap_or("no code"), meaning, &said]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::license::Code;
    use crate::domain::slots::Zone;
    use crate::domain::transition::QueryVerdict;
    use crate::protocol::open_api::query_verdict;

    fn judged(http: u16, body: &str, whole: bool) -> Judged<QueryVerdict> {
        let reply = Reply {
            http,
            body: body.as_bytes().to_vec(),
            whole,
            date: None,
            certificate_ends: None,
        };
        let code = Code::parse("PL1").expect("a code");
        judge(&reply, &|http, answer| query_verdict(http, answer, &code, Zone::UTC))
    }

    #[test]
    fn each_kind_of_answer_has_its_meaning() {
        let alive = r#"{"error_code":"92020000","data":{"status":"RELEASED"}}"#;
        assert_eq!(judged(200, alive, true).meaning, Meaning::Verdict(QueryVerdict::Released));
        let kind = |http, body: &str| match judged(http, body, true).meaning {
            Meaning::Verdict(_) => "verdict",
            Meaning::Retry(_) => "retry",
            Meaning::Refused(_) => "refused",
            Meaning::Permanent(_) => "permanent",
            Meaning::Unrecognised(_) => "unrecognised",
        };
        for (http, body, expected) in [
            (200, r#"{"error_code":"92020001"}"#, "retry"),
            (503, "<html>", "retry"),
            (429, "", "retry"),
            (401, "<html>", "refused"),
            (403, r#"{"error_code":"92020001"}"#, "refused"),
            (200, r#"{"error_code":"APIG.0301"}"#, "refused"),
            (400, r#"{"error_code":"95000001"}"#, "permanent"),
            (200, r#"{"error_code":"92020003"}"#, "unrecognised"),
            (200, r#"{"error_code":"92020000","data":{"status":"FROZEN"}}"#, "unrecognised"),
            (200, "<html>", "unrecognised"),
            (200, "", "unrecognised"),
            (302, "", "unrecognised"),
        ] {
            assert_eq!(kind(http, body), expected, "{http} {body}");
        }
    }

    #[test]
    fn an_answer_that_was_not_read_to_its_end_is_no_verdict() {
        let body = r#"{"error_code":"92020000","data":{"status":"RELEASED"}}"#;
        let judged = judged(200, body, false);
        assert!(matches!(judged.meaning, Meaning::Unrecognised(_)));
        assert_eq!((judged.word(), judged.is_welcome(200)), ("unrecognised", false));
    }

    #[test]
    fn only_the_marketplaces_own_words_are_a_welcome() {
        let welcome = |http, body: &str| judged(http, body, true).is_welcome(http);
        assert!(welcome(200, r#"{"error_code":"92020005"}"#));
        assert!(welcome(200, r#"{"error_code":"92020001"}"#));
        for (http, body) in [(500, ""), (429, ""), (200, "<html>"), (401, ""), (302, "")] {
            assert!(!welcome(http, body), "{http}");
        }
    }

    #[test]
    fn what_is_told_has_status_code_meaning_and_a_bounded_text() {
        let body = format!(r#"{{"error_code":"92020002","error_msg":"a\n{}"}}"#, "x".repeat(9_000));
        let Meaning::Permanent(why) = judged(200, &body, true).meaning else { panic!("permanent") };
        assert!(
            why.starts_with("HTTP 200, 92020002, a parameter of ours is invalid, a x"),
            "{why}"
        );
        assert!(why.len() < 400);
    }
}
