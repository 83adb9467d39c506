//! `authcoded status`: the summary of the running daemon on one screen.

use super::Output;
use super::api::{Api, Query};
use super::print::{self, Column};
use crate::domain::state::State;
use std::process::ExitCode;

const FACTS: [Column; 12] = [
    ("version", "version"),
    ("started", "started_at"),
    ("alarms", "alarms"),
    ("last heartbeat", "last_heartbeat.outcome"),
    ("  its slot", "last_heartbeat.slot"),
    ("  started", "last_heartbeat.started_at"),
    ("next heartbeat", "next_heartbeat"),
    ("marketplace reachable", "marketplace.reachable"),
    ("calls stopped until", "marketplace.stopped_until"),
    ("writer queue", "writer_queue"),
    ("waiting for buyer", "waiting_for_buyer"),
    ("orders awaited", "orders_awaited"),
];

/// While one key replaces the other: the old one may go when it is no longer used.
const KEYS: [Column; 5] = [
    ("KEY OF", "interface"),
    ("SHA-256", "key"),
    ("NEWEST", "newest"),
    ("CALLS", "calls"),
    ("LAST USED", "last_used_at"),
];

/// Runs it.
pub(super) async fn run(mut api: Api, output: Output) -> anyhow::Result<ExitCode> {
    let summary = api.get("/v1/summary", &Query::default()).await?;
    if output.json {
        print::json(&summary)?;
        return Ok(ExitCode::SUCCESS);
    }
    print::facts(&FACTS, &summary)?;
    if let Some(keys) = summary["access_keys"].as_array() {
        print::line("")?;
        print::table(&KEYS, keys)?;
    }
    if summary["alarms"].as_u64() > Some(0) {
        print_alarms(&mut api).await?;
    }
    print::line("")?;
    for state in State::ALL {
        let count = summary["licenses"][state.as_str()].as_u64().unwrap_or(0);
        print::line(&format!("{:<10} {count:>10}", state.as_str()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Each alarm with what to do about it, the most urgent first.
async fn print_alarms(api: &mut Api) -> anyhow::Result<()> {
    let alarms = api.list("/v1/alarms", &Query::default(), 0).await?;
    for alarm in &alarms.items {
        let [severity, kind, since, code, text, what_to_do] =
            ["severity", "kind", "since", "code", "text", "what_to_do"]
                .map(|key| print::cell(alarm, key));
        print::line(&format!("\n{severity}: {kind}, since {since}, code {code}"))?;
        print::line(&format!("  {text}\n  {what_to_do}"))?;
    }
    Ok(())
}
