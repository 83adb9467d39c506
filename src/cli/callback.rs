//! `authcoded callback …`: what the marketplace sent, and what was answered.

use super::Output;
use super::api::{Api, Query};
use super::license::code;
use super::print::{self, Column};
use crate::domain::license::Code;
use serde_json::Value;
use std::process::ExitCode;

const LIST: [Column; 8] = [
    ("ID", "id"),
    ("RECEIVED", "received_at"),
    ("ACTIVITY", "activity"),
    ("CODE", "code"),
    ("TEST", "test"),
    ("VERDICT", "verdict"),
    ("RESULT", "result_code"),
    ("MS", "duration_ms"),
];

const FACTS: [Column; 16] = [
    ("id", "id"),
    ("received", "received_at"),
    ("signed", "signed_at"),
    ("activity", "activity"),
    ("code", "code"),
    ("debug call", "test"),
    ("verdict", "verdict"),
    ("why", "detail"),
    ("doctor", "doctor"),
    ("result code", "result_code"),
    ("took (ms)", "duration_ms"),
    ("clock off (ms)", "clock_skew_ms"),
    ("request", "request_id"),
    ("head", "head"),
    ("body", "body"),
    ("reply", "reply"),
];

const LIST_HELP: &str = "\
Verdicts:
  applied   it had its effect, or there was nothing left to change
  repeated  it had its effect before; the stored answer was given again
  stale     an older FREEZE or UNFREEZE than the one in force; nothing was changed
  orphan    we do not know the code, and the marketplace could not be asked; kept until it can
  test      a debug call (testFlag 1); no code was touched
  refused   not authentic, malformed, or for a code that is unknown or released

Examples:
  authcoded callback list --verdict refused
  authcoded callback list --code PL1AbCdEf --json";

const VERDICTS: [&str; 6] = ["applied", "repeated", "stale", "orphan", "test", "refused"];

/// What can be done with callbacks.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List callbacks, the newest first
    #[command(after_help = LIST_HELP)]
    List(ListArgs),
    /// Show one callback with its body
    Show(ShowArgs),
}

/// Which callbacks to list.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only for this code
    #[arg(long, value_parser = code)]
    code: Option<Code>,
    /// Only with this verdict
    #[arg(long, value_parser = VERDICTS)]
    verdict: Option<String>,
    /// Only of this activity, such as refreshLicenseCode
    #[arg(long)]
    activity: Option<String>,
    /// How many; 0 means all
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    output: Output,
}

/// Which callback to show.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Its number in the list
    id: u64,
    #[command(flatten)]
    output: Output,
}

/// Runs one of them.
pub(super) async fn run(mut api: Api, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(args) => list(&mut api, &args).await?,
        Command::Show(args) => show(&mut api, &args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(api: &mut Api, args: &ListArgs) -> anyhow::Result<()> {
    let query = Query::default()
        .with("code", args.code.as_ref())
        .with("verdict", args.verdict.as_ref())
        .with("activity", args.activity.as_ref());
    let found = api.list("/v1/callbacks", &query, args.limit).await?;
    if args.output.json {
        print::json(&Value::Array(found.items))?;
    } else {
        print::table(&LIST, &found.items)?;
    }
    print::more(found.more);
    Ok(())
}

async fn show(api: &mut Api, args: &ShowArgs) -> anyhow::Result<()> {
    let callback = api.get(&format!("/v1/callbacks/{}", args.id), &Query::default()).await?;
    if args.output.json { print::json(&callback) } else { print::facts(&FACTS, &callback) }
}
