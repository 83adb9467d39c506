//! The JSON shapes of product.md §6: fields may be added, never renamed. All times are RFC 3339 UTC.

use crate::domain::license::{OrderId, OrderLineId};
use crate::domain::next_step::next_step;
use crate::domain::time::{Timestamp, day_text};
use crate::guard::Listed;
use crate::lifecycle::{CallReport, Drift, Entitlement, LeaseKeys};
use crate::notify::Tested;
use crate::protocol::hex;
use crate::schedule::JobStatus;
use crate::store::{CallbackRow, EventRow, LicenseRow, OrderRow, ProbeRow, UsageDay};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

/// `{"items":[…],"next":cursor|null}`.
pub(super) fn list(items: &[Value], next: Option<&str>) -> Value {
    json!({ "items": items, "next": next })
}

pub(super) fn license(row: &LicenseRow, now: Timestamp) -> Value {
    let license = &row.license;
    let next = next_step(license, row.next_activation_at, now);
    json!({
        "code": license.code.as_str(),
        "state": license.state().as_str(),
        "expires_at": time(license.expiry.map(|expiry| expiry.at)),
        "expires_text": license.expiry.as_ref().map(|expiry| expiry.text.as_str()),
        "end_confirmed_at": time(license.end_confirmed_at),
        "marketplace_status": license.marketplace_status.as_str(),
        "marketplace_checked_at": time(license.marketplace_checked_at),
        "frozen_since": time(license.freeze().map(|freeze| freeze.since)),
        "frozen_from": license.freeze().map(|freeze| freeze.from.state().as_str()),
        "renewals_in_force": license.renewals_in_force,
        "registered_at": license.registered_at.to_string(),
        "activated_at": time(license.activated_at),
        "order_id": license.order_id.as_ref().map(OrderId::as_str),
        "product_id": license.product_id,
        "next_activation_at": time(row.next_activation_at),
        "last_error_code": license.last_error_code,
        "note": license.note,
        "next": { "step": next.as_str(), "zh": next.zh(), "en": next.en() },
    })
}

pub(super) fn event(row: &EventRow) -> Value {
    json!({
        "id": row.id,
        "at": row.at.to_string(),
        "code": row.code,
        "kind": row.kind,
        "source": row.source,
        "from": row.from,
        "to": row.to,
        "order_id": row.order_id,
        "result_code": row.result_code,
        "detail": row.detail,
        "hash": hex::encode(&row.hash),
        "request_id": row.request_id,
    })
}

pub(super) fn callback(row: &CallbackRow) -> Value {
    json!({
        "id": row.id,
        "received_at": row.received_at.to_string(),
        "activity": row.activity,
        "code": row.code,
        "test": row.test,
        "signed_at": time(row.signed_at),
        "verdict": row.verdict,
        "result_code": row.result_code,
        "detail": row.detail,
        "doctor": row.doctor,
        "duration_ms": row.duration_ms,
        "body": String::from_utf8_lossy(&row.body),
        "request_id": row.request_id,
        "head": row.head.as_deref().and_then(|head| serde_json::from_str::<Value>(head).ok()),
        "reply": row.reply.as_deref().map(String::from_utf8_lossy),
        "clock_skew_ms": row.clock_skew_ms,
    })
}

pub(super) fn order(row: &OrderRow) -> Value {
    json!({
        "order_id": row.order_id.as_str(),
        "order_line_id": row.order_line_id.as_ref().map(OrderLineId::as_str),
        "state": row.state.as_str(),
        "code": row.code,
        "notified_at": time(row.notified_at),
        "queried_at": time(row.queried_at),
        "next_query_at": time(row.query_due_at),
        "refused": row.refused,
        "last_error_code": row.last_error_code,
        "kind": row.facts.kind,
        "created_at": time(row.facts.created_at),
        "product_id": row.facts.product_id,
        "ends_at": time(row.facts.ends_at),
        "lines": serde_json::from_str::<Value>(&row.facts.lines).unwrap_or_else(|_| json!([])),
    })
}

/// A struct, not a tree of values: this one is asked for at every start of the software.
#[derive(Serialize)]
struct EntitlementShape<'a> {
    code: &'a str,
    decision: &'static str,
    reason: &'static str,
    state: Option<&'static str>,
    expires_at: Option<String>,
    days_left: Option<i64>,
    checked_at: Option<String>,
    lease: Option<&'a str>,
}

pub(super) fn entitlement(code: &str, answer: &Entitlement) -> Bytes {
    let license = answer.license.as_ref();
    let shape = EntitlementShape {
        code,
        decision: answer.reason.verdict().as_str(),
        reason: answer.reason.as_str(),
        state: license.map(|license| license.state().as_str()),
        expires_at: time(license.and_then(|license| license.expiry).map(|expiry| expiry.at)),
        days_left: answer.days_left,
        checked_at: time(license.and_then(|license| license.marketplace_checked_at)),
        lease: answer.lease.as_deref(),
    };
    // A struct of texts and numbers always serialises.
    Bytes::from(serde_json::to_vec(&shape).unwrap_or_default().into_boxed_slice())
}

pub(super) fn call_report(report: &CallReport, now: Timestamp) -> Value {
    json!({
        "outcome": report.outcome.as_str(),
        "error_code": report.error_code,
        "license": license(&report.license, now),
    })
}

pub(super) fn probe(row: &ProbeRow) -> Value {
    json!({
        "id": row.id,
        "slot": row.slot,
        "started_at": row.started_at.to_string(),
        "outcome": row.outcome,
        "steps": serde_json::from_str::<Value>(&row.steps).unwrap_or_else(|_| json!([])),
        "certificate_days": row.certificate_days,
    })
}

pub(super) fn usage(day: &UsageDay) -> Value {
    json!({
        "code": day.code,
        "day": day_text(day.day),
        "clients": day.clients,
        "active_num": day.active_num,
        "state": day.state().as_str(),
        "waiting": day.waiting,
        "sent": day.sent,
        "failed": day.failed,
        "error_code": day.error_code,
    })
}

pub(super) fn alarm(alarm: &Listed) -> Value {
    let (facts, entry) = (&alarm.facts, alarm.entry.as_ref());
    let cleared_at = entry.and_then(|row| row.standing.cleared_at);
    let acknowledged = entry.and_then(|row| row.acknowledged.as_ref());
    json!({
        "id": facts.cause,
        "number": entry.map(|row| row.id),
        "kind": facts.kind,
        "state": if cleared_at.is_some() { "cleared" } else { "open" },
        "since": alarm.since.to_string(),
        "severity": alarm.severity.as_str(),
        "code": facts.code,
        "text": facts.text,
        "what_to_do": facts.what_to_do,
        "last_seen_at": time(entry.map(|row| row.last_seen)),
        "seen": entry.map_or(0, |row| row.seen),
        "reopened": entry.map_or(0, |row| row.reopened),
        "told_at": time(entry.and_then(|row| row.standing.told).map(|(at, _)| at)),
        "cleared_at": time(cleared_at),
        "acknowledged_at": time(acknowledged.map(|(at, _)| *at)),
        "acknowledged": acknowledged.map(|(_, reason)| reason),
    })
}

pub(super) fn tested(tested: &Tested) -> Value {
    json!({
        "channel": tested.channel,
        "kind": tested.kind,
        "outcome": if tested.error.is_none() { "sent" } else { "failed" },
        "error": tested.error,
    })
}

pub(super) fn lease_keys(keys: &LeaseKeys) -> Value {
    let retired = keys
        .retired
        .iter()
        .map(|retired| json!({ "kid": retired.key.kid, "until": retired.until.to_string() }));
    json!({
        "kid": keys.kid,
        "made_at": keys.made_at.to_string(),
        "retired": retired.collect::<Vec<_>>(),
    })
}

pub(super) fn drift(drift: &Drift) -> Value {
    let expires_at = drift.license.expiry.map(|expiry| expiry.at);
    json!({
        "code": drift.license.code.as_str(),
        "local": drift.license.state().as_str(),
        "local_expires_at": time(expires_at),
        "marketplace": drift.marketplace,
        "marketplace_expires_at": time(drift.marketplace_expires_at),
        "repair": drift.repair,
        "why": drift.why,
    })
}

pub(super) fn job(status: &JobStatus) -> Value {
    let last = status.last.as_ref();
    json!({
        "name": status.name,
        "schedule": status.schedule,
        "last_due": time(last.map(|run| run.due)),
        "last_started": time(last.map(|run| run.started)),
        "last_finished": time(last.and_then(|run| run.finished)),
        "last_outcome": last.and_then(|run| run.outcome.as_deref()),
        "last_counts": last
            .and_then(|run| run.counts.as_deref())
            .and_then(|counts| serde_json::from_str::<Value>(counts).ok()),
        "next_due": time(status.next_due),
    })
}
