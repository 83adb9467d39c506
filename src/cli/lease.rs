//! `authcoded lease …`: the keys that sign leases.

use super::Output;
use super::api::{Api, PATIENCE, Query};
use super::print;
use serde_json::{Value, json};
use std::process::ExitCode;

const ROTATE_HELP: &str = "\
From now on leases are signed with a new key. The old one stays in the key set at \
/.well-known/jwks.json until the last lease it signed has ended, so software that fetches the set \
when it meets an unknown `kid` notices nothing.

Example:
  authcoded lease rotate --reason 'a backup was lost'";

/// What can be done with the keys of leases.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show the key that signs leases, and those that signed before
    Keys(Output),
    /// Sign with a new key from now on
    #[command(after_help = ROTATE_HELP)]
    Rotate(RotateArgs),
}

/// Why the key is changed.
#[derive(Debug, clap::Args)]
pub(super) struct RotateArgs {
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Runs one of them.
pub(super) async fn run(mut api: Api, command: Command) -> anyhow::Result<ExitCode> {
    let (keys, output) = match command {
        Command::Keys(output) => (api.get("/v1/lease-keys", &Query::default()).await?, output),
        Command::Rotate(args) => {
            let body = args.reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}));
            let (_, keys) = api.post("/v1/lease-keys/rotate", Some(&body), PATIENCE).await?;
            (keys, args.output)
        }
    };
    if output.json {
        print::json(&keys)?;
    } else {
        print::line(&told(&keys))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn told(keys: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines =
        vec![format!("signing  {}  since {}", text(&keys["kid"]), text(&keys["made_at"]))];
    for retired in keys["retired"].as_array().into_iter().flatten() {
        let (kid, until) = (text(&retired["kid"]), text(&retired["until"]));
        lines.push(format!("retired  {kid}  known until {until}"));
    }
    lines.join("\n")
}
