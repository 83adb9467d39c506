//! `authcoded guard delisting`: where we stand with the marketplace's dial test, and a word about it.

use super::Output;
use super::api::{Api, PATIENCE};
use super::print;
use serde_json::{Value, json};

pub(super) const HELP: &str = "\
The clock counts the days in a row on which the marketplace's dial test failed or would have: 5 freeze \
trading. It counts from what this daemon saw. If the marketplace's mails say otherwise, tell it; what \
comes after counts on from there.

Examples:
  authcoded guard delisting --failing-days 0 --reason 'the console shows no failure'
  authcoded guard delisting --failing-days 3 --reason 'third mail in three days'";

/// Where the clock stands.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Failing days in a row, today included
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(0..=365))]
    failing_days: i64,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    output: Output,
}

/// Sets the clock, and shows it.
pub(super) async fn run(api: &mut Api, args: Args) -> anyhow::Result<()> {
    let body = json!({"failing_days": args.failing_days, "reason": args.reason});
    let (_, guard) = api.post("/v1/guard/delisting", Some(&body), PATIENCE).await?;
    if args.output.json { print::json(&guard) } else { show(&guard) }
}

/// The delisting clock and the dial tests, as `GET /v1/guard` tells of them.
pub(super) fn show(guard: &Value) -> anyhow::Result<()> {
    print::facts(&FACTS, &told(guard))
}

const FACTS: [print::Column; 6] = [
    ("failing days", "days"),
    ("  since", "since"),
    ("  as told", "told"),
    ("last dial test", "last"),
    ("  mornings", "morning"),
    ("  afternoons", "afternoon"),
];

fn told(guard: &Value) -> Value {
    let (clock, dials) = (&guard["delisting"], &guard["dial_tests"]);
    let text = |value: &Value, key: &str| print::cell(value, key);
    let window = |half: &str| {
        let window = &dials[half];
        let hours = || format!("{} to {}", text(window, "earliest"), text(window, "latest"));
        window.is_object().then(|| format!("{} in Beijing", hours()))
    };
    let corrected = &clock["corrected"];
    let word = corrected.is_object().then(|| {
        let (days, at) = (text(corrected, "failing_days"), text(corrected, "at"));
        format!("{days} at {at}: {}", text(corrected, "reason"))
    });
    json!({
        "days": format!("{} in a row (5 freeze trading)", text(clock, "failing_days")),
        "since": clock["since"],
        "told": word,
        "last": dials["last_at"].as_str().unwrap_or("none was seen yet"),
        "morning": window("morning"),
        "afternoon": window("afternoon"),
    })
}
