//! The summary: how everything stands, on one page.

use super::Admin;
use crate::http::problem::Problem;
use crate::http::shapes;
use serde_json::json;

impl Admin {
    pub(super) fn summary(&self) -> Result<serde_json::Value, Problem> {
        let now = self.now();
        let (counts, waiting, orders, probes) = self.lifecycle.store.read(|snapshot| {
            Ok((
                snapshot.license_counts()?,
                snapshot.waiting_for_buyer()?,
                snapshot.awaited_orders(now.plus_ms(1))?,
                snapshot.probes(None, 1)?,
            ))
        })?;
        let licenses: serde_json::Map<_, _> =
            counts.iter().map(|(state, n)| (state.as_str().to_owned(), json!(n))).collect();
        let stopped_until = self.lifecycle.marketplace.stopped_until();
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "started_at": self.started_at.to_string(),
            "now": now.to_string(),
            "licenses": licenses,
            "waiting_for_buyer": waiting,
            "orders_awaited": orders.map_or(0, |orders| orders.count),
            "alarms": self.guard.alarms()?.len(),
            "last_heartbeat": probes.first().map(shapes::probe),
            "next_heartbeat": self.board.next_heartbeat(now).map(|at| at.to_string()),
            "writer_queue": self.lifecycle.store.stats().waiting,
            "marketplace": {
                "reachable": self.lifecycle.marketplace.reachable(),
                "stopped_until": stopped_until.map(|at| at.to_string()),
            },
            "access_keys": self.access_keys(),
        }))
    }

    /// Each live key, newest first: rotating one, the operator sees when the old one is no longer used.
    fn access_keys(&self) -> Vec<serde_json::Value> {
        let each = self.keys.iter().flat_map(|(interface, keys)| {
            keys.uses().into_iter().enumerate().map(move |(nth, used)| {
                json!({
                    "interface": interface,
                    "newest": nth == 0,
                    "key": used.mark,
                    "calls": used.calls,
                    "last_used_at": used.last_used_at.map(|at| at.to_string()),
                })
            })
        });
        each.collect()
    }
}
