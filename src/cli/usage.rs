//! `authcoded usage …`: what the software reported, and whether the marketplace was told.

use super::Output;
use super::api::{Api, Query};
use super::license::code;
use super::print::{self, Column};
use crate::domain::license::Code;
use crate::store::UsageState;
use serde_json::Value;
use std::process::ExitCode;

const LIST: [Column; 9] = [
    ("DAY", "day"),
    ("CODE", "code"),
    ("CLIENTS", "clients"),
    ("ACTIVE", "active_num"),
    ("STATE", "state"),
    ("WAITING", "waiting"),
    ("SENT", "sent"),
    ("FAILED", "failed"),
    ("ERROR", "error_code"),
];

const LIST_HELP: &str = "\
One line for each code and day (in Beijing). CLIENTS are the different clients that the software named, \
ACTIVE is the greatest count that it gave.

States:
  sent     the marketplace took everything
  waiting  something is not sent yet, or its answer is not known; ERROR says why, if it was refused
  failed   something was given up; ERROR says why

Examples:
  authcoded usage list --state failed
  authcoded usage list --code PL1AbCdEf --json";

/// What can be done with usage.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List what was reported, the newest day first
    #[command(after_help = LIST_HELP)]
    List(ListArgs),
}

/// Which days to list.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only of this code
    #[arg(long, value_parser = code)]
    code: Option<Code>,
    /// Only in this state
    #[arg(long, value_parser = UsageState::ALL.map(UsageState::as_str))]
    state: Option<String>,
    /// How many; 0 means all
    #[arg(long, default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    output: Output,
}

/// Runs one of them.
pub(super) async fn run(mut api: Api, command: Command) -> anyhow::Result<ExitCode> {
    let Command::List(args) = command;
    let query =
        Query::default().with("code", args.code.as_ref()).with("state", args.state.as_ref());
    let found = api.list("/v1/usage", &query, args.limit).await?;
    if args.output.json {
        print::json(&Value::Array(found.items))?;
    } else {
        print::table(&LIST, &found.items)?;
    }
    print::more(found.more);
    Ok(ExitCode::SUCCESS)
}
