//! `authcoded probe …`: what the marketplace's dial test (拨测) would find.

use super::Output;
use super::api::{Api, PROBE_PATIENCE, Query};
use super::print::{self, Column};
use serde_json::Value;
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
    ("STEP", "name"),
    ("OUTCOME", "outcome"),
    ("STATUS", "status"),
    ("MS", "duration_ms"),
    ("DETAIL", "detail"),
];

const RUN_HELP: &str = "\
Sends the debug cases of the console to callback.public-url, as the marketplace would: through \
DNS, TLS and your proxy. No code is touched.

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
        print::table(&STEPS, probe["steps"].as_array().map_or(&[], Vec::as_slice))?;
        print::line(&format!(
            "\nprobe {}: {}",
            print::cell(&probe, "id"),
            print::harmless(outcome)
        ))?;
    }
    Ok(if ["ok", "slow"].contains(&outcome) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
