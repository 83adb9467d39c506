//! The console's JSON: how codes, calls, requests and dial tests are shown.
//!
//! Invariant: times are RFC 3339 in UTC; nothing secret is shown, because nothing secret is kept.

use super::calls::{Attempt, Call};
use super::code::Code;
use super::dial_test::{DialBook, DialTest};
use super::state::Seen;
use crate::domain::time::Timestamp;
use serde_json::{Value, json};

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// A code.
pub(super) fn code(code: &Code, now: Timestamp) -> Value {
    let renewals: Vec<&str> =
        code.renewals.iter().map(|renewal| renewal.order.order_id.as_str()).collect();
    json!({
        "license": code.license, "stage": code.stage.as_str(), "status": code.status(now),
        "frozen_at": time(code.frozen_at), "issued_at": code.issued_at.to_string(),
        "activated_at": time(code.activated_at), "expires_at": code.expires_at.to_string(),
        "expire_time": code.expire_text().as_str(), "order_id": code.order.order_id,
        "order_line_id": code.order.order_line_id, "product_id": code.product_id,
        "amount": code.amount, "renewal_orders": renewals,
    })
}

/// An attempt.
pub(super) fn attempt(attempt: &Attempt) -> Value {
    json!({
        "at": attempt.at.to_string(), "status": attempt.status, "result_code": attempt.result_code,
        "latency_ms": attempt.latency_ms, "error": attempt.error,
    })
}

/// A call with its attempts.
pub(super) fn call(call: &Call) -> Value {
    json!({
        "id": call.id, "activity": call.message.activity, "license": call.message.license,
        "body": call.message.body, "created_at": call.created_at.to_string(),
        "state": call.state.as_str(), "next_at": time(call.next_at),
        "attempts": call.attempts.iter().map(attempt).collect::<Value>(),
    })
}

/// An open-API request.
pub(super) fn seen(seen: &Seen) -> Value {
    json!({
        "at": seen.at.to_string(), "method": seen.method, "path": seen.path,
        "licenses": seen.licenses, "authentic": seen.authentic, "status": seen.status,
        "code": seen.code, "faults": seen.faults,
    })
}

/// A dial test.
pub(super) fn dial_test(test: &DialTest) -> Value {
    let case = |case: &super::dial_test::Case| {
        let mut shown = attempt(&case.attempt);
        shown["name"] = Value::from(case.name.as_str());
        shown
    };
    json!({
        "slot": test.slot, "started_at": test.started_at.to_string(), "passed": test.passed(),
        "cases": test.cases.iter().map(case).collect::<Value>(),
    })
}

/// All dial tests, newest first, and where they lead.
pub(super) fn dial_tests(book: &DialBook) -> Value {
    json!({
        "items": book.newest_first().take(1_000).map(dial_test).collect::<Value>(),
        "failing_days": book.failing_days(), "trading_frozen": book.trading_frozen(),
    })
}
