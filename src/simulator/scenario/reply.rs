//! How the merchant has answered the calls of the last act, and which of them were given up.
//!
//! Invariant: an answer that came does not change, so it is judged at once.

use super::look::{Look, worse};
use serde_json::Value;

/// The rule of every call.
pub(super) const SUCCESS: &str = "000000";

/// The reply that is wanted.
pub(super) struct Reply<'a> {
    /// The `resultCode`.
    pub result: &'a str,
    /// The HTTP status, if it matters.
    pub http: Option<u16>,
    /// Only calls of this activity.
    pub activity: Option<&'a str>,
    /// To which attempt, from 1.
    pub attempt: usize,
}

impl std::fmt::Display for Reply<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to attempt {}", self.result, self.attempt)?;
        self.activity.map_or(Ok(()), |activity| write!(f, " of {activity}"))?;
        self.http.map_or(Ok(()), |http| write!(f, ", HTTP {http}"))
    }
}

impl Reply<'_> {
    /// The replies to these calls.
    pub(super) fn look(&self, calls: &[Value]) -> Look {
        let about = |call: &&Value| self.activity.is_none_or(|wanted| call["activity"] == wanted);
        let calls: Vec<&Value> = calls.iter().filter(about).collect();
        if calls.is_empty() {
            return Look::NotYet("the marketplace has not called".to_owned());
        }
        let looks = calls.into_iter().map(|call| self.look_at(call));
        looks.reduce(worse).unwrap_or(Look::Met)
    }

    fn look_at(&self, call: &Value) -> Look {
        let activity = call["activity"].as_str().unwrap_or_default();
        let Some(attempt) = call["attempts"].get(self.attempt - 1) else {
            let (state, made) = (call["state"].as_str().unwrap_or("sent"), attempts(call));
            let got = format!("{activity}: {made} attempts, {state}");
            return if state == "pending" { Look::NotYet(got) } else { Look::Never(got) };
        };
        let error = attempt["error"].as_str();
        let result = attempt["result_code"].as_str();
        let as_wanted =
            if self.result == SUCCESS { error.is_none() } else { result == Some(self.result) };
        if as_wanted && self.http.is_none_or(|http| attempt["status"] == http) {
            return Look::Met;
        }
        let status = attempt["status"].as_u64().map_or(String::new(), |s| format!(", HTTP {s}"));
        let why = error.or(result).unwrap_or("nothing");
        Look::Never(format!("{activity}: {why}{status}"))
    }
}

/// Whether these calls are in the list of failed calls, each after so many attempts.
pub(super) fn failed(calls: &[Value], wanted: Option<usize>) -> Look {
    let look = |call: &Value| {
        let (state, made) = (call["state"].as_str().unwrap_or("sent"), attempts(call));
        let got =
            format!("{}: {state} after {made} attempts", call["activity"].as_str().unwrap_or("?"));
        match state {
            "failed" if wanted.is_none_or(|wanted| wanted == made) => Look::Met,
            "pending" => Look::NotYet(got),
            _ => Look::Never(got),
        }
    };
    let looks = calls.iter().map(look).reduce(worse);
    looks.unwrap_or_else(|| Look::NotYet("the marketplace has not called".to_owned()))
}

fn attempts(call: &Value) -> usize {
    call["attempts"].as_array().map_or(0, Vec::len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn attempt(result: &str, error: Option<&str>) -> Value {
        json!({"status": 200, "result_code": result, "error": error})
    }

    fn wanted(result: &str, attempt: usize) -> Reply<'_> {
        Reply { result, http: None, activity: None, attempt }
    }

    #[test]
    fn a_success_is_the_first_answer_and_the_whole_rule() {
        let good =
            json!({"activity": "x", "attempts": [attempt("000000", None)], "state": "delivered"});
        assert!(matches!(wanted("000000", 1).look(std::slice::from_ref(&good)), Look::Met));
        assert!(matches!(wanted("000000", 2).look(std::slice::from_ref(&good)), Look::Never(_)));
        let wrong_type = attempt("000000", Some("content type text/html"));
        let late = json!({"activity": "x", "attempts": [wrong_type], "state": "pending"});
        let look = wanted("000000", 1).look(&[good, late.clone()]);
        assert!(matches!(look, Look::Never(got) if got.contains("text/html")));
        assert!(matches!(wanted("000000", 2).look(&[late]), Look::NotYet(_)));
        assert!(matches!(wanted("000000", 1).look(&[]), Look::NotYet(_)));
    }

    #[test]
    fn a_refusal_is_told_by_its_code() {
        let refused = attempt("000003", Some("resultCode 000003"));
        let call = [json!({"activity": "x", "attempts": [refused], "state": "pending"})];
        assert!(matches!(wanted("000003", 1).look(&call), Look::Met));
        assert!(matches!(wanted("000002", 1).look(&call), Look::Never(_)));
        let http = Reply { http: Some(500), ..wanted("000003", 1) };
        assert!(matches!(http.look(&call), Look::Never(_)));
    }
}
