//! `/healthz`, `/readyz` and `/metrics`: open to everyone on the loopback listeners.

use super::problem::{Answer, json_answer, text_answer};
use crate::domain::time::beijing_month;
use crate::guard::{Guard, Severity};
use crate::lifecycle::Lifecycle;
use crate::store::WindowState;
use hyper::StatusCode;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long the write path may take to prove itself.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);
/// The fact that is written to prove it: when somebody last asked.
const WRITE_PROVED_AT: &str = "write_proved_at";
/// From this skew on every callback may be refused soon (product.md §9).
const SKEW_MAX_MS: i64 = 45_000;

/// The process runs.
pub(super) fn healthz() -> Answer {
    json_answer(StatusCode::OK, &json!({ "status": "ok" }))
}

/// The write path works and the clock is not known to be wrong; the last heartbeat is told beside it.
pub(super) async fn readyz(lifecycle: &Lifecycle, guard: &Guard) -> Answer {
    let now = lifecycle.clock.now().to_string();
    let proof = lifecycle.store.write(move |tx| tx.set_fact(WRITE_PROVED_AT, &now));
    let written = tokio::time::timeout(WRITE_DEADLINE, proof).await;
    let database = match written {
        Ok(Ok(())) => "ok".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the writer did not answer within 5 s: look at the disk".to_owned(),
    };
    let skew_ms = guard.clock_skew_ms();
    let clock = match skew_ms {
        Some(skew) if skew.abs() >= SKEW_MAX_MS => {
            "wrong: check NTP, callbacks are refused at 60 s"
        }
        Some(_) | None => "ok",
    };
    let heartbeat = lifecycle.store.read(|snapshot| snapshot.probes(None, 1)).unwrap_or_default();
    let ready = database == "ok" && clock == "ok";
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json_answer(
        status,
        &json!({
            "status": if ready { "ready" } else { "not ready" },
            "database": database,
            "clock": clock,
            "clock_skew_ms": skew_ms,
            "last_heartbeat": heartbeat.first().map(|probe| json!({
                "slot": probe.slot,
                "at": probe.started_at.to_string(),
                "outcome": probe.outcome,
            })),
        }),
    )
}

/// Prometheus' text format.
pub(super) fn metrics(lifecycle: &Arc<Lifecycle>, guard: &Guard) -> Answer {
    let metrics = &lifecycle.metrics;
    let stats = lifecycle.store.stats();
    metrics.set_writer_queue(i64::try_from(stats.waiting).unwrap_or(i64::MAX));
    let read = lifecycle.store.read(|snapshot| {
        for (state, codes) in snapshot.license_counts()? {
            metrics.set_licenses(state, codes);
        }
        metrics.set_waiting_for_buyer(snapshot.waiting_for_buyer()?);
        metrics.set_usage_waiting(snapshot.unsent_usage()?);
        for state in [WindowState::Open, WindowState::Restart] {
            let counts = snapshot.failed_call_counts(state)?;
            metrics.set_failed_calls(state.as_str(), true, counts.proved);
            metrics.set_failed_calls(state.as_str(), false, counts.all - counts.proved);
        }
        let month = beijing_month(lifecycle.clock.now()).0;
        let orders = snapshot.failed_orders(month)?;
        metrics.set_failed_orders("failed", orders.failed);
        metrics.set_failed_orders("at_risk", orders.at_risk);
        metrics.set_deaf_gaps(snapshot.open_gaps()?.0);
        metrics.set_notifications_waiting(snapshot.waiting_notices(lifecycle.clock.now())?);
        Ok(())
    });
    if let Err(error) = read {
        tracing::warn!(%error, "the gauges of what is stored could not be read");
    }
    match guard.availability() {
        Ok(stand) => metrics.set_delisting_failing_days(stand.delisting.failing_days),
        Err(error) => tracing::warn!(%error, "the delisting clock could not be read"),
    }
    match guard.alarms() {
        Ok(alarms) => {
            for severity in Severity::ALL {
                let count = alarms.iter().filter(|alarm| alarm.severity == severity).count();
                metrics.set_alarms(severity.as_str(), i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        Err(error) => tracing::warn!(%error, "the alarms could not be looked at"),
    }
    if let Some(reachable) = lifecycle.marketplace.reachable() {
        metrics.set_marketplace_reachable(reachable);
    }
    for (endpoint, rests_until) in lifecycle.marketplace.domains() {
        metrics.set_marketplace_domain(endpoint, rests_until.is_none());
    }
    for (kind, seen) in lifecycle.marketplace.strange_counts() {
        metrics.set_marketplace_strange(kind.as_str(), i64::try_from(seen).unwrap_or(i64::MAX));
    }
    if let Some(skew_ms) = guard.clock_skew_ms() {
        #[expect(clippy::cast_precision_loss, reason = "seconds of skew")]
        metrics.set_clock_skew(skew_ms as f64 / 1e3);
    }
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    text_answer(StatusCode::OK, metrics.encode(), content_type)
}
