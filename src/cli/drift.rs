//! `authcoded drift`: local against marketplace, what a repair would do, and the repair.

use super::api::{Api, PROBE_PATIENCE, Query};
use super::print::{self, Column};
use serde_json::{Value, json};
use std::process::ExitCode;

pub(super) const HELP: &str = "\
Asks the marketplace about every code, at the configured pace, and prints those that differ. \
Nothing is changed without --apply; with it, each code that differs is asked about again and \
repaired, and each repair is an event.

Examples:
  authcoded drift --plan                 how many calls a sweep would take, and how long
  authcoded drift --state activated
  authcoded drift --apply

Exit status: 0 when no difference is left, 1 otherwise.";

/// Codes asked about with one request: some seconds at the usual pace.
const PAGE: usize = 20;

const DRIFTS: [Column; 5] = [
    ("CODE", "code"),
    ("LOCAL", "local"),
    ("MARKETPLACE", "marketplace"),
    ("REPAIR", "repair"),
    ("WHY", "why"),
];

const REPAIRS: [Column; 2] = [("CODE", "code"), ("OUTCOME", "outcome")];

/// What to compare.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Repair what differs
    #[arg(long)]
    apply: bool,
    /// Only tell how many calls a sweep of all codes that are due would take
    #[arg(long, conflicts_with = "apply")]
    plan: bool,
    /// Only codes in this state
    #[arg(long)]
    state: Option<String>,
    /// Only codes whose code, order or note contains this
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    #[command(flatten)]
    output: super::Output,
}

/// Runs it.
pub(super) async fn run(mut api: Api, args: Args) -> anyhow::Result<ExitCode> {
    if args.plan {
        return plan(&mut api, &args).await;
    }
    let (mut drifts, unasked) = find(&mut api, &args).await?;
    if !args.output.json {
        print::table(&DRIFTS, &drifts)?;
        if unasked > 0 {
            print::line(&format!("{unasked} codes got no usable answer; ask again later"))?;
        }
    }
    if args.apply && !drifts.is_empty() {
        drifts = repair(&mut api, &drifts).await?;
        if !args.output.json {
            print::line("")?;
            print::table(&REPAIRS, &drifts)?;
        }
        drifts.retain(|item| item["outcome"] != "done" || !args.apply);
    }
    if args.output.json {
        print::json(&Value::Array(drifts.clone()))?;
    }
    let clean = drifts.is_empty() && unasked == 0;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn plan(api: &mut Api, args: &Args) -> anyhow::Result<ExitCode> {
    let plan = api.get("/v1/drift/plan", &Query::default()).await?;
    if args.output.json {
        print::json(&plan)?;
    } else {
        let number = |name: &str| plan[name].as_u64().unwrap_or_default();
        print::line(&format!(
            "{} codes, {} due: {} calls, about {} s at the configured pace",
            number("codes"),
            number("due"),
            number("calls"),
            number("seconds")
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn find(api: &mut Api, args: &Args) -> anyhow::Result<(Vec<Value>, u64)> {
    let (mut drifts, mut unasked, mut cursor) = (Vec::new(), 0, None::<String>);
    loop {
        let query = Query::default()
            .with("limit", Some(PAGE))
            .with("state", args.state.as_ref())
            .with("text", args.text.as_ref())
            .with("cursor", cursor.as_ref());
        let page = api.get_within("/v1/drift", &query, PROBE_PATIENCE).await?;
        drifts.extend(page["items"].as_array().into_iter().flatten().cloned());
        unasked += page["unasked"].as_u64().unwrap_or_default();
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() {
            return Ok((drifts, unasked));
        }
    }
}

async fn repair(api: &mut Api, drifts: &[Value]) -> anyhow::Result<Vec<Value>> {
    let mut repaired = Vec::new();
    for page in drifts.chunks(PAGE) {
        let codes: Vec<_> = page.iter().map(|item| &item["code"]).collect();
        let body = json!({ "codes": codes });
        let (_, answer) = api.post("/v1/drift/apply", Some(&body), PROBE_PATIENCE).await?;
        repaired.extend(answer["items"].as_array().into_iter().flatten().cloned());
    }
    Ok(repaired)
}
