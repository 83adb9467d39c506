//! Calls about many codes at once (v2, protocol.md 2.3 and 2.5).
//!
//! Invariant: a batch says nothing of a code that its answer does not name; whatever stands against one
//! code of it is found out by single calls.

use super::{Answer, object, status_verdict, text};
use crate::domain::license::Code;
use crate::domain::outcome::{Outcome, of_answer};
use crate::domain::slots::Zone;
use crate::domain::transition::QueryVerdict;
use serde_json::{Map, Value, json};

/// The most codes of one call.
pub const BATCH_MAX: usize = 100;

/// What came of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Batch<T> {
    /// It was carried out.
    Done(T),
    /// Something stands against at least one of its codes, and the answer does not say which: call for
    /// each alone.
    Split,
}

/// The body of a batch: at most [`BATCH_MAX`] codes.
#[must_use]
pub fn batch_body(codes: &[Code]) -> Vec<u8> {
    let codes: Vec<&str> = codes.iter().map(Code::as_str).collect();
    json!({ "license_list": codes }).to_string().into_bytes()
}

/// What a batch's activation came to. Its answer has no data: each code is to be queried afterwards.
#[must_use]
pub fn batch_activation_verdict(http: u16, answer: &Answer) -> Option<Batch<()>> {
    verdict(http, answer, |_| Some(()))
}

/// What a batch's query says of each code that its answer names with a documented status. The names of
/// its fields are not published: a list is taken wherever `data` holds one.
#[must_use]
pub fn batch_query_verdict(
    http: u16,
    answer: &Answer,
    codes: &[Code],
    zone: Zone,
) -> Option<Batch<Vec<(Code, QueryVerdict)>>> {
    verdict(http, answer, |data| {
        let told = list(data?)?.iter().filter_map(object);
        let told = told.filter_map(|info| about(&info, codes, zone));
        Some(told.collect())
    })
}

fn about(info: &Map<String, Value>, codes: &[Code], zone: Zone) -> Option<(Code, QueryVerdict)> {
    let named = text(info, "license_code")?;
    let code = codes.iter().find(|code| code.as_str() == named)?;
    Some((code.clone(), status_verdict(info, zone)?))
}

/// What an answer says of a batch as a whole; `read` looks at the data of a success.
pub(super) fn verdict<T>(
    http: u16,
    answer: &Answer,
    read: impl FnOnce(Option<&Value>) -> Option<T>,
) -> Option<Batch<T>> {
    match of_answer(http, answer.error_code.as_deref()) {
        Outcome::Done => read(answer.data.as_ref()).map(Batch::Done),
        Outcome::InvalidInBatch
        | Outcome::IllegalState
        | Outcome::NotReceived
        | Outcome::UnknownCode
        | Outcome::NotActivated => Some(Batch::Split),
        Outcome::Retry | Outcome::Stop | Outcome::Permanent | Outcome::Unrecognised => None,
    }
}

/// A list, or the one list that an object holds.
fn list(data: &Value) -> Option<&Vec<Value>> {
    if let Some(list) = data.as_array() {
        return Some(list);
    }
    let mut lists = data.as_object()?.values().filter_map(Value::as_array);
    let only = lists.next()?;
    lists.next().is_none().then_some(only)
}

#[cfg(test)]
mod tests {
    use super::super::parse_answer;
    use super::*;
    use crate::domain::transition::Facts;

    fn codes() -> Vec<Code> {
        ["PL1", "PL2"].iter().map(|text| Code::parse(text).expect("a code")).collect()
    }

    fn answer(body: &Value) -> Answer {
        parse_answer(body.to_string().as_bytes()).expect("an answer")
    }

    #[test]
    fn the_body_is_the_documented_one() {
        assert_eq!(batch_body(&codes()), br#"{"license_list":["PL1","PL2"]}"#);
    }

    #[test]
    fn an_activation_is_done_whole_or_split() {
        let verdict = |http, code: &str| {
            batch_activation_verdict(http, &answer(&json!({"error_code": code})))
        };
        assert_eq!(verdict(200, "92020000"), Some(Batch::Done(())));
        for code in ["92020020", "92020003", "92020004", "92020005", "92020011"] {
            assert_eq!(verdict(200, code), Some(Batch::Split), "{code}");
        }
        for (http, code) in [(200, "92020001"), (500, "92020000"), (401, ""), (200, "92020002")] {
            assert_eq!(verdict(http, code), None, "{http} {code}");
        }
    }

    #[test]
    fn a_query_speaks_of_the_codes_it_names_and_of_no_other() {
        let list = json!([
            {"license_code": "PL1", "status": "ALIVE"},
            {"license_code": "PL3", "status": "RELEASED"},
            {"license_code": "PL2", "status": "FROZEN"},
            {"status": "RELEASED"}, 7,
        ]);
        let alive = vec![(codes()[0].clone(), QueryVerdict::Alive(Facts::default()))];
        for data in [list.clone(), json!({"license_list": list, "total": 2})] {
            let body = json!({"error_code": "92020000", "data": data});
            let told = batch_query_verdict(200, &answer(&body), &codes(), Zone::UTC);
            assert_eq!(told, Some(Batch::Done(alive.clone())));
        }
        for data in [json!(null), json!("x"), json!({}), json!({"a": [], "b": []})] {
            let body = json!({"error_code": "92020000", "data": data});
            assert_eq!(batch_query_verdict(200, &answer(&body), &codes(), Zone::UTC), None);
        }
    }
}
