//! The usage report and its answer (protocol.md 2.6).
//!
//! Invariant: the same entries make the same bytes. What failed its check is named in a list whose name and
//! shape are not published: whatever cannot be told apart counts against the whole, never as success.

use super::batch::verdict;
use super::{Answer, Batch, object};
use crate::domain::license::Code;
use crate::domain::outcome::{Outcome, of_answer};
use crate::domain::usage::{Entry, Usage};
use crate::protocol::hex;
use serde::Serialize;
use serde_json::{Map, Value};

/// The most codes of one report.
pub const USAGE_CODES_MAX: usize = 100;
/// The most entries of one code in a report.
pub const USAGE_ENTRIES_MAX: usize = 100;

/// How the list of what failed the check begins; the rest of its name is not published.
const CHECK_FAIL: &str = "check_fail";

/// Something of a report that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFailure {
    /// The code it stands against.
    pub code: Code,
    /// One entry of it; `None` is all of them.
    pub entry: Option<Entry>,
    /// Why, as the marketplace numbers it; `None` when it does not say.
    pub error_code: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    usage_info: Vec<Of<'a>>,
}

#[derive(Serialize)]
struct Of<'a> {
    license: &'a str,
    // The capital I is the documented name.
    #[serde(rename = "software_usage_Info")]
    entries: Vec<Sent>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Sent {
    Id(String),
    ActiveNum(u32),
}

impl From<&Entry> for Sent {
    fn from(entry: &Entry) -> Self {
        match entry {
            Entry::Client(hash) => Self::Id(hex::encode(&hash.0)),
            Entry::Active(number) => Self::ActiveNum(number.get()),
        }
    }
}

/// The body of a report: at most [`USAGE_CODES_MAX`] codes with [`USAGE_ENTRIES_MAX`] entries each.
#[must_use]
pub fn usage_body(report: &[Usage]) -> Vec<u8> {
    let usage_info = report.iter().map(|usage| Of {
        license: usage.code.as_str(),
        entries: usage.entries.iter().map(Sent::from).collect(),
    });
    // Texts and numbers always serialise.
    serde_json::to_vec(&Body { usage_info: usage_info.collect() }).unwrap_or_default()
}

/// What came of a report: what of it was not taken, or that each code is to be reported alone, because the
/// answer does not say which of several it stands against.
#[must_use]
pub fn usage_verdict(
    http: u16,
    answer: &Answer,
    report: &[Usage],
) -> Option<Batch<Vec<CheckFailure>>> {
    match verdict(http, answer, |data| Some(failures(data, report)))? {
        Batch::Done(Some(failures)) => Some(Batch::Done(failures)),
        Batch::Done(None) | Batch::Split => Some(Batch::Split),
    }
}

/// `None` when something failed and it cannot be told what.
fn failures(data: Option<&Value>, report: &[Usage]) -> Option<Vec<CheckFailure>> {
    let Some(data) = data.and_then(object) else {
        return Some(Vec::new());
    };
    let lists = data.iter().filter(|(name, _)| name.starts_with(CHECK_FAIL));
    let mut found = Vec::new();
    for (_, list) in lists {
        for item in items(list) {
            found.push(failure(&item, report)?);
        }
    }
    Some(found)
}

/// The items of a list, of a list inside a string, or the one thing that stands in its place.
fn items(list: &Value) -> Vec<Value> {
    match list {
        Value::Array(items) => items.clone(),
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Array(items)) => items,
            Ok(Value::Null) => Vec::new(),
            Ok(_) | Err(_) if text.trim().is_empty() => Vec::new(),
            Ok(_) | Err(_) => vec![list.clone()],
        },
        Value::Object(fields) if fields.is_empty() => Vec::new(),
        Value::Number(count) if count.as_f64() == Some(0.0) => Vec::new(),
        Value::Null | Value::Bool(false) => Vec::new(),
        Value::Object(_) | Value::Number(_) | Value::Bool(true) => vec![list.clone()],
    }
}

/// What one item stands against: the code and the entry whose names are among its texts. In a report of
/// one code it can only be that one.
fn failure(item: &Value, report: &[Usage]) -> Option<CheckFailure> {
    let mut said = Vec::new();
    texts(item, &mut said);
    let named = report.iter().find(|usage| said.iter().any(|text| text == usage.code.as_str()));
    let entry_of = |usage: &Usage| {
        let mut clients = usage.entries.iter().filter_map(|entry| match entry {
            Entry::Client(hash) => Some((entry, hex::encode(&hash.0))),
            Entry::Active(_) => None,
        });
        clients.find(|(_, id)| said.contains(id)).map(|(entry, _)| *entry)
    };
    let usage = match (named, report) {
        (Some(usage), _) => usage,
        (None, [only]) => only,
        (None, _) => report.iter().find(|usage| entry_of(usage).is_some())?,
    };
    let is_known = |text: &&String| of_answer(200, Some(text.as_str())) != Outcome::Unrecognised;
    let error_code = said.iter().find(is_known).cloned();
    Some(CheckFailure { code: usage.code.clone(), entry: entry_of(usage), error_code })
}

/// Every text and number of a value, however deep.
fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(fields) => texts(&Value::Object(fields), into),
            Err(_) => into.push(text.clone()),
        },
        Value::Number(number) => into.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(fields) => fields.values().for_each(|field| texts(field, into)),
        Value::Null | Value::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_answer;
    use super::*;
    use crate::domain::usage::{ActiveNum, ClientHash};
    use proptest::prelude::*;
    use serde_json::json;

    fn code(text: &str) -> Code {
        Code::parse(text).expect("a code")
    }

    fn client(n: u8) -> Entry {
        Entry::Client(ClientHash([n; 32]))
    }

    fn active(n: u64) -> Entry {
        Entry::Active(ActiveNum::parse(n).expect("a count"))
    }

    fn report(codes: &[&str]) -> Vec<Usage> {
        let usage = |text: &&str| Usage { code: code(text), entries: vec![client(1), client(2)] };
        codes.iter().map(usage).collect()
    }

    fn verdict_of(body: &Value, report: &[Usage]) -> Option<Batch<Vec<CheckFailure>>> {
        let answer = parse_answer(body.to_string().as_bytes()).expect("an answer");
        usage_verdict(200, &answer, report)
    }

    fn failed(data: &Value, codes: &[&str]) -> Option<Batch<Vec<CheckFailure>>> {
        verdict_of(&json!({"error_code": "92020000", "data": data}), &report(codes))
    }

    #[test]
    fn the_body_has_the_documented_names() {
        let report = [
            Usage { code: code("PL1"), entries: vec![client(0xab)] },
            Usage { code: code("a\"码"), entries: vec![active(100), active(0)] },
        ];
        let id = "ab".repeat(32);
        let expected = format!(
            "{{\"usage_info\":[{{\"license\":\"PL1\",\"software_usage_Info\":[{{\"id\":\"{id}\"}}]}},\
             {{\"license\":\"a\\\"码\",\"software_usage_Info\":[{{\"active_num\":100}},{{\"active_num\":0}}]}}]}}"
        );
        assert_eq!(String::from_utf8(usage_body(&report)).expect("text"), expected);
    }

    #[test]
    fn a_report_is_taken_whole_or_refused_for_its_codes() {
        let said = |error_code: &str| {
            verdict_of(&json!({"error_code": error_code}), &report(&["PL1", "PL2"]))
        };
        assert_eq!(said("92020000"), Some(Batch::Done(vec![])));
        for refused in ["92020003", "92020004", "92020005", "92020011", "92020020"] {
            assert_eq!(said(refused), Some(Batch::Split), "{refused}");
        }
        for other in ["92020001", "92020002", "95000001", "APIGW.0301", "1", ""] {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn a_list_of_failures_is_read_whatever_its_name_and_shape() {
        let whole = |code_text: &str, error_code: Option<&str>| CheckFailure {
            code: code(code_text),
            entry: None,
            error_code: error_code.map(str::to_owned),
        };
        for (data, expected) in [
            (json!(null), vec![]),
            (json!({"check_fail_list": []}), vec![]),
            (json!({"check_fail_list": null, "check_failed_count": 0}), vec![]),
            (json!({"other": [{"license": "PL1"}]}), vec![]),
            (json!({"check_fail_list": ["PL2"]}), vec![whole("PL2", None)]),
            (json!({"check_fail_list": "PL2"}), vec![whole("PL2", None)]),
            (
                json!({"check_failed_licenses": [{"license": "PL1", "error_code": 92_020_011}]}),
                vec![whole("PL1", Some("92020011"))],
            ),
            (
                json!({"check_fail_info": "[{\"license_code\":\"PL2\",\"reason\":{\"code\":\"92020005\"}}]"}),
                vec![whole("PL2", Some("92020005"))],
            ),
        ] {
            assert_eq!(failed(&data, &["PL1", "PL2"]), Some(Batch::Done(expected)), "{data}");
        }
    }

    #[test]
    fn one_entry_may_fail_alone() {
        let id = "02".repeat(32);
        let expected = CheckFailure { code: code("PL2"), entry: Some(client(2)), error_code: None };
        for item in [
            json!({"license": "PL2", "id": id}),
            json!({"code": "PL2", "software_usage_Info": {"id": id}}),
        ] {
            let data = json!({"check_fail_list": [item]});
            assert_eq!(failed(&data, &["PL1", "PL2"]), Some(Batch::Done(vec![expected.clone()])));
        }
    }

    #[test]
    fn what_cannot_be_told_apart_counts_against_all() {
        for list in [json!([{"why": "?"}]), json!([7]), json!({"n": 1}), json!(true), json!("PL3")]
        {
            let data = json!({"check_fail_list": list});
            assert_eq!(failed(&data, &["PL1", "PL2"]), Some(Batch::Split), "{data}");
            let Some(Batch::Done(alone)) = failed(&data, &["PL1"]) else { panic!("{data}") };
            assert_eq!((alone.len(), &alone[0].code, alone[0].entry), (1, &code("PL1"), None));
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "PL[1-4]|92020011|[a-z\"{\\[]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("check_fail[a-z_]{0,4}|license|id", inner, 0..4)
                    .prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        /// Whatever stands in the answer: a failure is about a code of the report, and none is overlooked.
        #[test]
        fn failures_are_about_the_report(data in any_json()) {
            let codes = ["PL1", "PL2", "PL3"];
            match failed(&data, &codes) {
                Some(Batch::Done(failures)) => {
                    let named = failures.iter().all(|f| codes.contains(&f.code.as_str()));
                    prop_assert!(named);
                    let listed = data.as_object().into_iter().flatten()
                        .filter(|(name, _)| name.starts_with(CHECK_FAIL))
                        .filter_map(|(_, list)| list.as_array()).map(Vec::len).sum::<usize>();
                    prop_assert!(failures.len() >= listed);
                }
                Some(Batch::Split) => {}
                None => prop_assert!(false, "a success is one"),
            }
        }

        /// Reading the body back gives the entries, in their order.
        #[test]
        fn the_body_holds_every_entry_once(
            counts in prop::collection::vec(prop::collection::vec(0u64..1_000_000_000, 1..9), 1..9)
        ) {
            let report: Vec<Usage> = counts.iter().enumerate().map(|(n, counts)| Usage {
                code: code(&format!("PL{n}")),
                entries: counts.iter().map(|count| active(*count)).collect(),
            }).collect();
            let body: Value = serde_json::from_slice(&usage_body(&report)).expect("JSON");
            let read: Vec<Vec<u64>> = body["usage_info"].as_array().expect("a list").iter()
                .map(|usage| usage["software_usage_Info"].as_array().expect("a list").iter()
                    .map(|entry| entry["active_num"].as_u64().expect("a count")).collect())
                .collect();
            prop_assert_eq!(read, counts);
        }
    }
}
