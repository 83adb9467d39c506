//! `authcoded alarm …`: what is wrong, who looks after it, and whether anybody would be told.

use super::Output;
use super::api::{Api, PATIENCE, Query, encoded};
use super::print::{self, Column};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

/// How long a test may take: each channel has 30 s.
const TEST_PATIENCE: Duration = Duration::from_secs(45);

const LIST: [Column; 7] = [
    ("ALARM", "id"),
    ("SEVERITY", "severity"),
    ("SINCE", "since"),
    ("CLEARED", "cleared_at"),
    ("ACKNOWLEDGED", "acknowledged"),
    ("WHAT", "text"),
    ("WHAT TO DO", "what_to_do"),
];

const TESTED: [Column; 4] =
    [("CHANNEL", "channel"), ("KIND", "kind"), ("OUTCOME", "outcome"), ("WHY", "error")];

const LIST_HELP: &str = "\
Without --state: what is wrong now, the most urgent first. An alarm goes by itself when its cause is \
gone; there is nothing to close.

Example:
  authcoded alarm list --state cleared";

const TEST_HELP: &str = "\
Sends a test message over the channels of [[notify]] and waits for their answers.

Example:
  authcoded alarm test --channel ops

Exit status: 0 when every channel took it, 1 otherwise, or when there is none.";

const ACKNOWLEDGE_HELP: &str = "\
Ends the reminders of an alarm until it is gone or becomes more severe. That it is over is told all the \
same.

Example:
  authcoded alarm acknowledge heartbeat --reason 'certificate ordered, case 17'";

/// What can be done with alarms.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List what is wrong now, or what was
    #[command(after_help = LIST_HELP)]
    List(ListArgs),
    /// Send a test message over the channels
    #[command(after_help = TEST_HELP)]
    Test(TestArgs),
    /// Say that somebody looks after an alarm: no more reminders
    #[command(after_help = ACKNOWLEDGE_HELP)]
    Acknowledge(AcknowledgeArgs),
}

/// Which alarms to list.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only alarms in this state
    #[arg(long, value_parser = ["open", "cleared"])]
    state: Option<String>,
    /// At most so many; 0 means all
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    output: Output,
}

/// Which channel to test.
#[derive(Debug, clap::Args)]
pub(super) struct TestArgs {
    /// Only this channel
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Which alarm somebody looks after.
#[derive(Debug, clap::Args)]
pub(super) struct AcknowledgeArgs {
    /// The alarm, as the list names it
    alarm: String,
    /// Why it may be silent; kept with it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    output: Output,
}

/// Runs one of them.
pub(super) async fn run(mut api: Api, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(args) => list(&mut api, args).await,
        Command::Test(args) => test(&mut api, args).await,
        Command::Acknowledge(args) => {
            let path = format!("/v1/alarms/{}/acknowledge", encoded(&args.alarm));
            let (_, alarm) =
                api.post(&path, Some(&json!({ "reason": args.reason })), PATIENCE).await?;
            if args.output.json {
                print::json(&alarm)?;
            } else {
                let id = print::cell(&alarm, "id");
                print::line(&format!(
                    "{id} is acknowledged: no reminders until it is gone or worse"
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn list(api: &mut Api, args: ListArgs) -> anyhow::Result<ExitCode> {
    let query = Query::default().with("state", args.state);
    let found = api.list("/v1/alarms", &query, args.limit).await?;
    if args.output.json {
        print::json(&Value::Array(found.items))?;
    } else if found.items.is_empty() {
        print::line("nothing is wrong")?;
    } else {
        print::table(&LIST, &found.items)?;
    }
    print::more(found.more);
    Ok(ExitCode::SUCCESS)
}

async fn test(api: &mut Api, args: TestArgs) -> anyhow::Result<ExitCode> {
    let body = json!({ "channel": args.channel });
    let (_, tested) = api.post("/v1/alarms/test", Some(&body), TEST_PATIENCE).await?;
    let items = tested["items"].as_array().map_or(&[][..], Vec::as_slice);
    if args.output.json {
        print::json(&tested["items"])?;
    } else if items.is_empty() {
        print::line(
            "no channel is configured: nobody is told of an alarm; add a section [[notify]]",
        )?;
    } else {
        print::table(&TESTED, items)?;
    }
    let all = !items.is_empty() && items.iter().all(|one| one["outcome"] == "sent");
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
