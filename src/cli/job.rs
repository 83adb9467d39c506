//! `authcoded job …`: the background work and its last runs.

use super::Output;
use super::api::{Api, PATIENCE, Query, encoded};
use super::print::{self, Column};
use crate::schedule::Job;
use serde_json::Value;
use std::process::ExitCode;

const LIST: [Column; 6] = [
    ("NAME", "name"),
    ("SCHEDULE", "schedule"),
    ("LAST STARTED", "last_started"),
    ("LAST FINISHED", "last_finished"),
    ("OUTCOME", "last_outcome"),
    ("NEXT DUE", "next_due"),
];

const RUN_HELP: &str = "\
The job is started and this command returns; `authcoded job list` shows how it ended.

Example:
  authcoded job run reconcile";

/// What can be done with jobs.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List jobs with their last and next runs
    List(Output),
    /// Run a job now
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
}

/// Which job to run.
#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// The job
    #[arg(value_parser = Job::ALL.map(Job::as_str))]
    name: String,
    #[command(flatten)]
    output: Output,
}

/// Runs one of them.
pub(super) async fn run(mut api: Api, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(output) => {
            let found = api.list("/v1/jobs", &Query::default(), 0).await?;
            shown(&found.items, output)?;
        }
        Command::Run(args) => {
            let path = format!("/v1/jobs/{}/run", encoded(&args.name));
            let (_, job) = api.post(&path, None, PATIENCE).await?;
            if args.output.json {
                print::json(&job)?;
            } else {
                print::line("started\n")?;
                shown(&[job], args.output)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(jobs: &[Value], output: Output) -> anyhow::Result<()> {
    if output.json { print::json(&Value::Array(jobs.to_vec())) } else { print::table(&LIST, jobs) }
}
