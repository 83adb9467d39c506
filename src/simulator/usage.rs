//! Usage reports: their exact shape, and what they add up to.
//!
//! Invariant: a report counts whole or not at all, entry by entry as it was sent; totals are never reset.

use super::codes::{self, Known};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The most codes of a report and the most entries of a code (protocol.md 2.6).
const LIST_MAX: usize = 100;
/// The longest client id.
const ID_MAX_CHARS: usize = 256;
/// The greatest number that nine digits name.
const ACTIVE_MAX: u64 = 999_999_999;

/// One entry of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A client was seen.
    Client(String),
    /// So many clients were active that day.
    Active(u64),
}

/// The entries of one code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    /// The code.
    pub license: String,
    /// What was seen.
    pub entries: Vec<Entry>,
}

/// Reads a request body; the field names are exact, with the capital I of `software_usage_Info`.
pub(super) fn parse(body: &Map<String, Value>) -> Result<Vec<Report>, Known> {
    list(body.get("usage_info"))?
        .iter()
        .map(|usage| {
            let license = usage.get("license").and_then(Value::as_str);
            let license = license.filter(|text| crate::domain::license::Code::parse(text).is_ok());
            let license = license.ok_or(codes::BAD_PARAMETER)?.to_owned();
            let entries: Result<_, Known> =
                list(usage.get("software_usage_Info"))?.iter().map(entry).collect();
            Ok(Report { license, entries: entries? })
        })
        .collect()
}

fn list(value: Option<&Value>) -> Result<&Vec<Value>, Known> {
    let list = value.and_then(Value::as_array).ok_or(codes::BAD_PARAMETER)?;
    if list.is_empty() || list.len() > LIST_MAX {
        return Err(codes::BAD_PARAMETER);
    }
    Ok(list)
}

/// Exactly one of `id` and `active_num`.
fn entry(value: &Value) -> Result<Entry, Known> {
    match (value.get("id"), value.get("active_num")) {
        (Some(id), None) => id
            .as_str()
            .filter(|id| (1..=ID_MAX_CHARS).contains(&id.chars().count()))
            .map(|id| Entry::Client(id.to_owned())),
        (None, Some(number)) => number.as_u64().filter(|n| *n <= ACTIVE_MAX).map(Entry::Active),
        (None, None) | (Some(_), Some(_)) => None,
    }
    .ok_or(codes::BAD_PARAMETER)
}

/// What the reports of one code on one Beijing day add up to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Day {
    /// Entries taken, the same one sent twice counted twice.
    entries: u64,
    /// The clients named.
    clients: BTreeSet<String>,
    /// The active numbers, in the order in which they came.
    active: Vec<u64>,
}

/// All totals, by code and Beijing day.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Totals {
    days: BTreeMap<String, BTreeMap<i64, Day>>,
}

impl Totals {
    /// Counts a report that was taken on this Beijing day.
    pub(super) fn add(&mut self, report: Report, beijing_day: i64) {
        let day = self.days.entry(report.license).or_default().entry(beijing_day).or_default();
        for entry in report.entries {
            day.entries += 1;
            match entry {
                Entry::Client(id) => _ = day.clients.insert(id),
                Entry::Active(number) => day.active.push(number),
            }
        }
    }

    /// The totals as the console shows them, one line per code and day.
    pub(super) fn to_json(&self, license: Option<&str>) -> Value {
        let wanted = self.days.iter().filter(|(code, _)| license.is_none_or(|one| one == *code));
        let lines = wanted.flat_map(|(code, days)| {
            days.iter().map(move |(number, day)| {
                serde_json::json!({
                    "license": code, "beijing_day": number, "entries": day.entries,
                    "distinct_clients": day.clients.len(), "active_nums": day.active,
                })
            })
        });
        lines.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> Result<Vec<Report>, &'static str> {
        let body = serde_json::from_str(json).expect("an object");
        parse(&body).map_err(|known| known.code)
    }

    #[test]
    fn the_documented_examples_are_taken() {
        let reports = parsed(
            r#"{"usage_info":[{"license":"PL1","software_usage_Info":[{"id":"account1"},{"active_num":100}]}]}"#,
        )
        .expect("the documented shape");
        let entries = vec![Entry::Client("account1".to_owned()), Entry::Active(100)];
        assert_eq!(reports, [Report { license: "PL1".to_owned(), entries }]);
    }

    #[test]
    fn everything_else_is_refused() {
        for body in [
            r"{}",
            r#"{"usage_info":[]}"#,
            r#"{"usage_info":[{"license":"PL1","software_usage_info":[{"id":"a"}]}]}"#,
            r#"{"usage_info":[{"license":"PL1","software_usage_Info":[]}]}"#,
            r#"{"usage_info":[{"license":"PL1","software_usage_Info":[{}]}]}"#,
            r#"{"usage_info":[{"license":"PL1","software_usage_Info":[{"id":"a","active_num":1}]}]}"#,
            r#"{"usage_info":[{"license":"PL1","software_usage_Info":[{"active_num":"1"}]}]}"#,
            r#"{"usage_info":[{"license":"PL1","software_usage_Info":[{"active_num":1000000000}]}]}"#,
            r#"{"usage_info":[{"license":"PL1","software_usage_Info":[{"id":""}]}]}"#,
            r#"{"usage_info":[{"software_usage_Info":[{"id":"a"}]}]}"#,
        ] {
            assert_eq!(parsed(body), Err("95000001"), "{body}");
        }
        let one = r#"{"license":"PL1","software_usage_Info":[{"id":"a"}]}"#;
        let many = |n| format!(r#"{{"usage_info":[{}]}}"#, vec![one; n].join(","));
        assert!(parsed(&many(100)).is_ok());
        assert_eq!(parsed(&many(101)), Err("95000001"));
    }

    #[test]
    fn totals_count_entries_and_clients() {
        let mut totals = Totals::default();
        for id in ["a", "b", "a"] {
            let entries = vec![Entry::Client(id.to_owned())];
            totals.add(Report { license: "PL1".to_owned(), entries }, 20_000);
        }
        let line = &totals.to_json(Some("PL1"))[0];
        assert_eq!((&line["entries"], &line["distinct_clients"]), (&3.into(), &2.into()));
        assert_eq!(totals.to_json(Some("PL2")), serde_json::json!([]));
    }
}
