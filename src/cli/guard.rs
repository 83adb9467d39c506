//! `authcoded guard …`: the delisting clock, which calls failed, which are to be restarted by hand, and when
//! we were deaf.

use super::Output;
use super::api::{Api, PATIENCE, Query};
use super::delisting;
use super::print::{self, Column};
use serde_json::{Value, json};
use std::process::ExitCode;

pub(super) const HELP: &str = "\
The marketplace repeats a failed call every two minutes for two hours, then never again: it waits in \
卖家中心 > 生产接口消息 until it is restarted there (重新启动). A call is ticked off by itself when it \
comes again and succeeds.

Examples:
  authcoded guard
  authcoded guard restarted CS2207261447ABCDE --reason \"renewed by hand\"";

const RESTART: [Column; 9] = [
    ("ORDER", "order_id"),
    ("CODE", "code"),
    ("CALL", "activity"),
    ("SCENE", "scene"),
    ("GIVEN UP", "given_up_at"),
    ("ANSWER", "result_code"),
    ("ATTEMPTS", "attempts"),
    ("PROVED", "authentic"),
    ("WHAT TO DO", "what_to_do"),
];

const OPEN: [Column; 9] = [
    ("ORDER", "order_id"),
    ("CODE", "code"),
    ("CALL", "activity"),
    ("SCENE", "scene"),
    ("SINCE", "first_at"),
    ("ANSWER", "result_code"),
    ("ATTEMPTS", "attempts"),
    ("NEXT", "next_expected_at"),
    ("GIVEN UP AFTER", "window_ends_at"),
];

const GAPS: [Column; 5] =
    [("FROM", "from"), ("UNTIL", "until"), ("WHY", "why"), ("STATE", "state"), ("WHAT", "text")];

const MISSED: [Column; 4] = [
    ("CODE", "code"),
    ("MISSED CALL", "scene"),
    ("FOUND", "found_at"),
    ("CAME AFTER ALL", "arrived_at"),
];

/// What is looked at.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    output: Output,
}

/// What can be done about it.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tick calls off the restart list by hand
    Restarted(RestartedArgs),
    /// Set the delisting clock, if the marketplace counts otherwise
    #[command(after_help = delisting::HELP)]
    Delisting(delisting::Args),
}

/// Which calls need no restart any more, and why.
#[derive(Debug, clap::Args)]
struct RestartedArgs {
    /// The order as the restart list shows it; the code for a call that names no order
    #[arg(value_name = "ORDER|CODE")]
    order_or_code: String,
    /// Why: kept in the history
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    output: Output,
}

/// Runs one of them.
pub(super) async fn run(mut api: Api, args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        None => show(&mut api, args.output).await?,
        Some(Command::Restarted(args)) => restarted(&mut api, &args).await?,
        Some(Command::Delisting(args)) => delisting::run(&mut api, args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(api: &mut Api, output: Output) -> anyhow::Result<()> {
    let guard = api.get("/v1/guard", &Query::default()).await?;
    if output.json {
        return print::json(&guard);
    }
    delisting::show(&guard)?;
    let orders = |key| print::cell(&guard, &format!("failed_orders.{key}"));
    print::line(&format!(
        "\nFailed orders in {}: {} failed, {} at risk, {} allowed",
        orders("month"),
        orders("count"),
        orders("at_risk"),
        orders("allowed"),
    ))?;
    section(&guard, "restart_list", "Given up; to be restarted by hand", &RESTART)?;
    section(&guard, "retry_windows", "Failing; the marketplace goes on by itself", &OPEN)?;
    let mut gaps = items(&guard, "deaf").to_vec();
    for gap in &mut gaps {
        let causes: Vec<_> = items(gap, "why").iter().filter_map(Value::as_str).collect();
        gap["why"] = json!(causes.join(", "));
    }
    print::line(&heading("Gaps in which calls may have been missed", gaps.len() as u64))?;
    if !gaps.is_empty() {
        print::table(&GAPS, &gaps)?;
    }
    let missed: Vec<_> = gaps.iter().flat_map(|gap| items(gap, "missed")).cloned().collect();
    if !missed.is_empty() {
        print::line(&heading("Calls that must have been made in them", missed.len() as u64))?;
        print::table(&MISSED, &missed)?;
    }
    Ok(())
}

fn section(guard: &Value, key: &str, title: &str, columns: &[Column]) -> anyhow::Result<()> {
    let total = guard[format!("{key}_total")].as_u64().unwrap_or(0);
    print::line(&heading(title, total))?;
    let shown = items(guard, key);
    if !shown.is_empty() {
        print::table(columns, shown)?;
    }
    if (shown.len() as u64) < total {
        print::line(&format!("(the oldest {} of {total})", shown.len()))?;
    }
    Ok(())
}

fn heading(title: &str, count: u64) -> String {
    if count == 0 { format!("\n{title}: none") } else { format!("\n{title}: {count}") }
}

fn items<'a>(document: &'a Value, key: &str) -> &'a [Value] {
    document[key].as_array().map_or(&[], Vec::as_slice)
}

async fn restarted(api: &mut Api, args: &RestartedArgs) -> anyhow::Result<()> {
    let body = json!({ "order_or_code": args.order_or_code, "reason": args.reason });
    let (_, answer) = api.post("/v1/guard/restarted", Some(&body), PATIENCE).await?;
    if args.output.json {
        return print::json(&answer);
    }
    print::line(&format!("ticked off: {}", print::cell(&answer, "ticked_off")))
}
