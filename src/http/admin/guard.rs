//! What the guard watches: the delisting clock, dial tests, failed calls with their retry windows, the
//! restart list, and gaps.

use super::{Admin, delisting, short};
use crate::domain::time::Timestamp;
use crate::guard::{Advice, told_of_gap};
use crate::http::body::{Query, read_json};
use crate::http::problem::{Answer, Problem, json_answer};
use crate::store::{DeafGap, FailedCallRow, MissedCall, Neighbour, WindowState};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

/// Calls of a list at most; how many there are is told beside it.
const CALLS_MAX: i64 = 1_000;
/// Gaps shown.
const GAPS_MAX: i64 = 100;

/// What was restarted, or needs no restart.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RestartedBody {
    order_or_code: String,
    reason: String,
}

impl Admin {
    pub(super) async fn guard(&self, query: Option<&str>) -> Result<Value, Problem> {
        Query::parse(query, &[])?;
        self.stand().await
    }

    /// All of it as it stands now.
    pub(super) async fn stand(&self) -> Result<Value, Problem> {
        let availability = self.guard.availability()?;
        let orders = self.guard.failed_orders(self.now())?;
        let read = self.lifecycle.store.list(|snapshot| {
            Ok((
                snapshot.failed_calls(WindowState::Open, CALLS_MAX)?,
                snapshot.failed_calls(WindowState::Restart, CALLS_MAX)?,
                snapshot.failed_call_counts(WindowState::Open)?,
                snapshot.failed_call_counts(WindowState::Restart)?,
                snapshot.gaps(GAPS_MAX)?,
            ))
        });
        let (open, restart, opens, restarts, gaps) = read.await?;
        Ok(json!({
            "delisting": delisting::clock(&availability),
            "dial_tests": delisting::dial_tests(&availability),
            "failed_orders": {
                "month": orders.month,
                "count": orders.orders.failed,
                "at_risk": orders.orders.at_risk,
                "unproven": orders.orders.unproven,
                "allowed": orders.allowed,
            },
            "retry_windows": open.iter().map(window).collect::<Vec<_>>(),
            "retry_windows_total": opens.all,
            "restart_list": restart.iter().map(restart_item).collect::<Vec<_>>(),
            "restart_list_total": restarts.all,
            "deaf": gaps.iter().map(deaf).collect::<Vec<_>>(),
        }))
    }

    /// Ticks calls off the restart list by hand.
    pub(super) async fn restarted(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        let RestartedBody { order_or_code, reason } = read_json(request).await?;
        let reason = short("reason", reason)?;
        if order_or_code.is_empty() || reason.trim().is_empty() {
            return Err(Problem::bad_request("order_or_code and reason must not be empty"));
        }
        let ticked = self.lifecycle.dismiss_failed_calls(order_or_code, reason).await?;
        if ticked == 0 {
            return Err(Problem::not_found("call on the restart list"));
        }
        Ok(json_answer(StatusCode::OK, &json!({ "ticked_off": ticked })))
    }
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

fn text(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn call(row: &FailedCallRow) -> Value {
    let call = &row.call;
    json!({
        "id": call.id,
        "activity": text(&call.name.activity),
        "code": text(&call.name.code),
        "order_id": text(&call.name.order_id),
        "order_line_id": text(&call.name.order_line_id),
        "scene": text(&call.name.scene),
        "authentic": call.authentic,
        "result_code": call.result_code.as_str(),
        "attempts": call.round.attempts,
        "first_at": call.round.first_at.to_string(),
        "last_at": call.round.last_at.to_string(),
    })
}

fn window(row: &FailedCallRow) -> Value {
    let (mut document, span_ms) = (call(row), row.call.name.span_ms());
    document["next_expected_at"] = json!(time(row.call.round.next_at(span_ms)));
    document["window_ends_at"] = json!(row.call.round.ends_at(span_ms).to_string());
    document
}

fn restart_item(row: &FailedCallRow) -> Value {
    let mut document = call(row);
    document["given_up_at"] = json!(time(row.call.given_up_at));
    document["what_to_do"] = json!(Advice::of(row).text());
    document
}

fn deaf(gap: &DeafGap) -> Value {
    let (state, given_up) =
        (if gap.settled_at.is_none() { "open" } else { "settled" }, gap.gap.given_up());
    json!({
        "id": gap.id,
        "from": gap.gap.from.to_string(),
        "until": gap.gap.until.to_string(),
        "why": gap.gap.causes.iter().map(|cause| cause.as_str()).collect::<Vec<_>>(),
        "state": state,
        "last_call_before": gap.before.map(neighbour),
        "first_call_after": gap.after.map(neighbour),
        "given_up_from": time(given_up.map(|(from, _)| from)),
        "given_up_until": time(given_up.map(|(_, until)| until)),
        "settled_at": time(gap.settled_at),
        "compared": gap.asked,
        "repaired": gap.repaired,
        "missed": gap.missed.iter().map(missed).collect::<Vec<_>>(),
        "text": told_of_gap(gap),
    })
}

fn neighbour(callback: Neighbour) -> Value {
    json!({ "id": callback.id, "received_at": callback.received_at.to_string() })
}

fn missed(call: &MissedCall) -> Value {
    json!({
        "code": call.code,
        "scene": call.missed.as_str(),
        "found_at": call.found_at.to_string(),
        "arrived_at": time(call.arrived_at),
    })
}
