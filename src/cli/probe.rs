//! `authcoded probe …`: what the marketplace's dial test (拨测) would find.

use super::Output;
use super::api::{Api, PROBE_PATIENCE, Query};
use super::print::{self, Column};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

const LIST: [Column; 5] = [
    ("ID", "id"),
    ("SLOT", "slot"),
    ("STARTED", "started_at"),
    ("OUTCOME", "outcome"),
    ("CERTIFICATE DAYS", "certificate_days"),
];

const STEPS: [Column; 5] = [
    ("STEP", "step"),
    ("OUTCOME", "outcome"),
    ("TIME", "time"),
    ("WHAT IT MEANS", "means"),
    ("WHAT TO DO", "what_to_do"),
];

const RUN_HELP: &str = "\
Goes the way of the marketplace's dial test to callback.public-url: the name (dns), a connection (tcp), \
the certificate (tls), then the five debug cases of the console and two calls that must be refused, \
through your proxy. No code is touched. It takes a second when all is well, and half a minute at a \
server that does not answer.

  ok        as the marketplace wants it
  slow      took more than 2 s; at 20 s the marketplace gives up
  failed    the dial test would fail here
  skipped   not tried, because an earlier step failed, or not needed

Exit status: 0 when every step passed (or was only slow), 1 otherwise.";

/// What can be done with probes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Probe the public address now
    #[command(after_help = RUN_HELP)]
    Run(Output),
    /// List probes, the newest first
    List(ListArgs),
}

/// Which probes to list.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// How many; 0 means all
    #[arg(long, default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    output: Output,
}

/// Runs one of them.
pub(super) async fn run(mut api: Api, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Run(output) => heartbeat(&mut api, output, PROBE_PATIENCE).await,
        Command::List(args) => list(&mut api, &args).await,
    }
}

/// Has a heartbeat sent, and shows its steps.
pub(super) async fn heartbeat(
    api: &mut Api,
    output: Output,
    patience: Duration,
) -> anyhow::Result<ExitCode> {
    let (_, probe) = api.post("/v1/probes", None, patience).await?;
    let outcome = probe["outcome"].as_str().unwrap_or_default();
    if output.json {
        print::json(&probe)?;
    } else {
        let steps = probe["steps"].as_array().map_or(&[][..], Vec::as_slice);
        print::table(&STEPS, &steps.iter().map(row).collect::<Vec<_>>())?;
        print::line(&format!("\n{}", verdict(&probe, steps)))?;
    }
    Ok(if ["ok", "slow"].contains(&outcome) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A step as a tired person reads it.
fn row(step: &Value) -> Value {
    let outcome = step["outcome"].as_str().unwrap_or_default();
    let time = match step["duration_ms"].as_u64() {
        _ if outcome == "skipped" => None,
        Some(ms @ ..1_000) => Some(format!("{ms} ms")),
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        Some(ms) => Some(format!("{:.1} s", ms as f64 / 1e3)),
        None => None,
    };
    let outcome = if outcome == "failed" { "FAILED" } else { outcome };
    json!({
        "step": step["name"],
        "outcome": outcome,
        "time": time,
        "means": step["detail"],
        "what_to_do": step["what_to_do"].as_str().unwrap_or(" "),
    })
}

/// What it comes to, in one sentence.
fn verdict(probe: &Value, steps: &[Value]) -> String {
    let id = print::cell(probe, "id");
    let outcome = probe["outcome"].as_str().unwrap_or_default();
    let first = steps.iter().find(|step| step["outcome"] == outcome);
    let (name, detail) = first.map_or_else(Default::default, |step| {
        (print::cell(step, "name"), print::cell(step, "detail"))
    });
    match outcome {
        "ok" => {
            let days = probe["certificate_days"].as_i64();
            let days = days
                .map_or_else(String::new, |days| format!("; the certificate has {days} days left"));
            format!("probe {id}: ok. The dial test would pass now{days}.")
        }
        "slow" => format!(
            "probe {id}: slow. The dial test would pass now, but {name} took long: {detail}."
        ),
        "failed" => format!(
            "probe {id}: FAILED. The dial test would fail now, at {name}: {detail}.\n\
             Repair that first, then run this again. Five failing days in a row freeze trading (`authcoded guard`)."
        ),
        other => format!("probe {id}: {}", print::harmless(other)),
    }
}

async fn list(api: &mut Api, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let found = api.list("/v1/probes", &Query::default(), args.limit).await?;
    if args.output.json {
        print::json(&Value::Array(found.items))?;
    } else {
        print::table(&LIST, &found.items)?;
    }
    print::more(found.more);
    Ok(ExitCode::SUCCESS)
}
