//! `authcoded order …`: what was bought, and which codes are still to come.

use super::Output;
use super::api::{Api, PATIENCE, Query, encoded};
use super::print::{self, Column};
use crate::domain::license::OrderId;
use crate::domain::order::OrderState;
use serde_json::{Value, json};
use std::process::ExitCode;

const LIST: [Column; 8] = [
    ("ORDER", "order_id"),
    ("STATE", "state"),
    ("NOTIFIED", "notified_at"),
    ("KIND", "kind"),
    ("PRODUCT", "product_id"),
    ("ENDS", "ends_at"),
    ("CODE", "code"),
    ("NEXT QUERY", "next_query_at"),
];

const FACTS: [Column; 14] = [
    ("order", "order_id"),
    ("line", "order_line_id"),
    ("state", "state"),
    ("code", "code"),
    ("notified", "notified_at"),
    ("queried", "queried_at"),
    ("next query", "next_query_at"),
    ("refused", "refused"),
    ("last error", "last_error_code"),
    ("kind", "kind"),
    ("placed", "created_at"),
    ("product", "product_id"),
    ("ends", "ends_at"),
    ("lines", "lines"),
];

const LIST_HELP: &str = "\
The marketplace tells of orders where the configuration has a section [orders]. States:
  awaited   bought, and no code was registered for it yet
  arrived   a code with this order is known here
  no_code   it renews, returns or changes a code that exists
  unknown   the marketplace does not let us read it

Examples:
  authcoded order list --state awaited";

const QUERY_HELP: &str = "\
Any order may be asked about; one that the marketplace never told of is shown and not kept.

Example:
  authcoded order query CS2207261447ABCDE

Exit status: 0 when the marketplace answered, 1 otherwise.";

/// What can be done with orders.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List the orders that the marketplace told of, the newest first
    #[command(after_help = LIST_HELP)]
    List(ListArgs),
    /// Ask the marketplace what an order holds
    #[command(after_help = QUERY_HELP)]
    Query(QueryArgs),
}

/// Which orders to list.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only orders in this state
    #[arg(long, value_parser = OrderState::ALL.map(OrderState::as_str))]
    state: Option<String>,
    /// At most so many; 0 means all
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    output: Output,
}

/// Which order to ask about.
#[derive(Debug, clap::Args)]
pub(super) struct QueryArgs {
    /// The order's number
    #[arg(value_parser = |text: &str| OrderId::parse(text))]
    order: OrderId,
    #[command(flatten)]
    output: Output,
}

/// Runs one of them.
pub(super) async fn run(mut api: Api, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(args) => {
            let query = Query::default().with("state", args.state);
            let found = api.list("/v1/orders", &query, args.limit).await?;
            if args.output.json {
                print::json(&Value::Array(found.items))?;
            } else {
                print::table(&LIST, &found.items)?;
            }
            print::more(found.more);
            Ok(ExitCode::SUCCESS)
        }
        Command::Query(args) => {
            let path = format!("/v1/orders/{}/query", encoded(args.order.as_str()));
            let (_, report) = api.post(&path, Some(&json!({})), PATIENCE).await?;
            if args.output.json {
                print::json(&report)?;
            } else {
                print::line(&format!("outcome: {}\n", print::cell(&report, "outcome")))?;
                print::facts(&FACTS, &report["order"])?;
            }
            let done = report["outcome"] == "done";
            Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
