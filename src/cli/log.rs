//! `authcoded log`: the event table, told in the order in which things happened.

use super::Output;
use super::api::{Api, ApiError, Query};
use super::instant::{WHEN, When};
use super::license::code;
use super::print::{self, Column};
use crate::domain::license::Code;
use crate::domain::transition::{EventKind, Source};
use clap::builder::PossibleValuesParser;
use serde_json::Value;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// How often a follower asks.
const POLL: Duration = Duration::from_secs(1);

/// The columns of the events of one code.
pub(super) const COLUMNS_OF_ONE: [Column; 7] = [
    ("AT", "at"),
    ("KIND", "kind"),
    ("SOURCE", "source"),
    ("FROM", "from"),
    ("TO", "to"),
    ("RESULT", "result_code"),
    ("DETAIL", "detail"),
];

const COLUMNS: [Column; 8] = [
    ("AT", "at"),
    ("CODE", "code"),
    ("KIND", "kind"),
    ("SOURCE", "source"),
    ("FROM", "from"),
    ("TO", "to"),
    ("RESULT", "result_code"),
    ("DETAIL", "detail"),
];

pub(super) const HELP: &str = "\
As text, the latest events stand last. With --json they stand in one array, the newest first; \
with --json --follow there is one object on each line, as they come.

Examples:
  authcoded log --code PL1AbCdEf --limit 0
  authcoded log --order CS2207261447ABCDE
  authcoded log --kind contradiction --since 7d
  authcoded log --since 10m --follow";

/// Which events to show.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only of this code
    #[arg(long, value_parser = code)]
    code: Option<Code>,
    /// Only of this order
    #[arg(long, value_name = "ORDER")]
    order: Option<String>,
    /// Only of this kind, such as renewed or contradiction
    #[arg(long, hide_possible_values = true, value_parser = kinds())]
    kind: Option<String>,
    /// Only from this source
    #[arg(long, value_parser = sources())]
    source: Option<String>,
    /// Only at or after this time
    #[arg(long, value_name = "TIME", help = format!("Only at or after this: {WHEN}"))]
    since: Option<When>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// How many, counted from the newest; 0 means all
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Wait for more until interrupted
    #[arg(long, short, conflicts_with = "until")]
    follow: bool,
    #[command(flatten)]
    output: Output,
}

fn kinds() -> PossibleValuesParser {
    EventKind::ALL.map(EventKind::as_str).into()
}

fn sources() -> PossibleValuesParser {
    Source::ALL.map(Source::as_str).into()
}

/// Runs it.
pub(super) async fn run(mut api: Api, args: Args) -> anyhow::Result<ExitCode> {
    let query = Query::default()
        .with("code", args.code.as_ref())
        .with("order_id", args.order.as_ref())
        .with("kind", args.kind.as_ref())
        .with("source", args.source.as_ref())
        .with("since", args.since.map(When::instant))
        .with("until", args.until.map(When::instant));
    let mut found = api.list("/v1/events", &query, args.limit).await?;
    if args.follow {
        return follow(&mut api, &query, found.items, args.output).await;
    }
    if args.output.json {
        print::json(&Value::Array(found.items))?;
    } else {
        found.items.reverse();
        print::table(&COLUMNS, &found.items)?;
    }
    print::more(found.more);
    Ok(ExitCode::SUCCESS)
}

/// Prints `found` and then what comes, until nobody listens or the daemon refuses.
async fn follow(
    api: &mut Api,
    query: &Query,
    mut found: Vec<Value>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let (mut seen, mut away) = (0, false);
    loop {
        // Lists come newest first; people read downwards.
        found.sort_by_key(id);
        for event in found.iter().filter(|event| id(event) > seen) {
            line(event, output)?;
        }
        seen = found.iter().map(id).max().unwrap_or(0).max(seen);
        tokio::time::sleep(POLL).await;
        let newer = query.clone().with("after", Some(seen));
        found = match api.list("/v1/events", &newer, 0).await {
            Ok(list) => {
                away = false;
                list.items
            }
            Err(error) if is_passing(&error) => {
                if !away {
                    eprintln!("({error}; waiting for it)");
                }
                away = true;
                Vec::new()
            }
            Err(error) => return Err(error),
        };
    }
}

fn is_passing(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ApiError>().is_some_and(ApiError::is_passing)
}

/// Ids count up; they come as a number, or as its text.
fn id(event: &Value) -> u64 {
    let id = &event["id"];
    id.as_u64().or_else(|| id.as_str()?.parse().ok()).unwrap_or(0)
}

fn line(event: &Value, output: Output) -> anyhow::Result<()> {
    let mut out = print::out();
    if output.json {
        writeln!(out, "{event}")?;
    } else {
        let cells: Vec<_> = COLUMNS.iter().map(|(_, key)| print::cell(event, key)).collect();
        writeln!(out, "{}", cells.join("  "))?;
    }
    Ok(out.flush()?)
}
