//! `authcoded license …`: look at codes, register them, and act on them.

use super::api::{Api, PATIENCE, Query, encoded};
use super::instant::{WHEN, When};
use super::print::{self, Column};
use super::{Output, csv, import};
use crate::domain::license::Code;
use crate::domain::state::State;
pub(super) use crate::http::LICENSE_FIELDS as FIELDS;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

const LIST: [Column; 7] = [
    ("CODE", "code"),
    ("STATE", "state"),
    ("EXPIRES", "expires_at"),
    ("MARKETPLACE", "marketplace_status"),
    ("NEXT ACTIVATION", "next_activation_at"),
    ("LAST ERROR", "last_error_code"),
    ("NOTE", "note"),
];

const FACTS: [Column; 14] = [
    ("code", "code"),
    ("state", "state"),
    ("expires", "expires_at"),
    ("end confirmed", "end_confirmed_at"),
    ("marketplace says", "marketplace_status"),
    ("marketplace asked", "marketplace_checked_at"),
    ("frozen since", "frozen_since"),
    ("registered", "registered_at"),
    ("activated", "activated_at"),
    ("next activation", "next_activation_at"),
    ("last error", "last_error_code"),
    ("order", "order_id"),
    ("product", "product_id"),
    ("note", "note"),
];

const LIST_HELP: &str = "\
Examples:
  authcoded license list --state frozen
  authcoded license list --state issued --limit 0      all that wait for their buyer
  authcoded license list --expires-before 2026-12-31 --json";

const ADD_HELP: &str = "\
Registers a code that a buyer handed over, and starts its activation. The same code again is no \
error: only what is new about it is stored.

Examples:
  authcoded license add PL1AbCdEf
  authcoded license add PL1AbCdEf --not-received --note \"sold, not handed over yet\"";

const ACT_HELP: &str = "\
Exit status: 0 when it is done, when the marketplace was asked, or when the code waits for the buyer \
to receive it; 1 when the marketplace refused or cannot be asked now.";

const RELEASE_HELP: &str = "\
Released is terminal: nothing revives the code here, whatever the marketplace says later.
On a terminal you are asked first.

Example:
  authcoded license release PL1AbCdEf --reason \"refund 2026-11 case 17\" --yes";

/// What can be done with codes.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// List codes
    #[command(after_help = LIST_HELP)]
    List(ListArgs),
    /// Show one code: its facts and its latest events
    Show(ShowArgs),
    /// Register a code
    #[command(after_help = ADD_HELP)]
    Add(AddArgs),
    /// Register many codes from CSV or JSON lines
    #[command(after_help = import::HELP)]
    Import(import::Args),
    /// Write all codes as CSV
    Export,
    /// Ask the marketplace to activate a code now
    #[command(after_help = ACT_HELP)]
    Activate(OneArgs),
    /// Ask the marketplace about a code now
    #[command(after_help = ACT_HELP)]
    Query(OneArgs),
    /// Note that the buyer has received a code
    Received(ReasonArgs),
    /// End a code for ever
    #[command(after_help = RELEASE_HELP)]
    Release(ReleaseArgs),
}

/// Which codes to list.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only codes in this state
    #[arg(long, value_parser = state)]
    state: Option<State>,
    /// Only codes whose code, order or note contains this
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Only codes that expire before this
    #[arg(long, value_name = "TIME", help = format!("Only codes that expire before this: {WHEN}"))]
    expires_before: Option<When>,
    /// Only codes that expire at or after this
    #[arg(long, value_name = "TIME")]
    expires_after: Option<When>,
    /// How many; 0 means all
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    output: Output,
}

/// Which code to show.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The code
    #[arg(value_parser = code)]
    code: Code,
    /// How many of its events; 0 means all
    #[arg(long, value_name = "N", default_value_t = 20)]
    events: usize,
    #[command(flatten)]
    output: Output,
}

/// What to register.
#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    /// The code
    #[arg(value_parser = code)]
    code: Code,
    /// The buyer has not received it yet
    #[arg(long)]
    not_received: bool,
    /// Do not activate it now
    #[arg(long)]
    no_activate: bool,
    /// The order it was bought with
    #[arg(long, value_name = "ID")]
    order_id: Option<String>,
    /// The product bought
    #[arg(long, value_name = "ID")]
    product_id: Option<String>,
    /// A remark for people
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Which code to act on.
#[derive(Debug, clap::Args)]
pub(super) struct OneArgs {
    /// The code
    #[arg(value_parser = code)]
    code: Code,
    #[command(flatten)]
    output: Output,
}

/// Which code, and why.
#[derive(Debug, clap::Args)]
pub(super) struct ReasonArgs {
    /// The code
    #[arg(value_parser = code)]
    code: Code,
    /// Why; kept in the code's history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// Which code to end, and why.
#[derive(Debug, clap::Args)]
pub(super) struct ReleaseArgs {
    #[command(flatten)]
    what: ReasonArgs,
    /// Do not ask first
    #[arg(long)]
    yes: bool,
}

fn state(text: &str) -> Result<State, String> {
    State::parse(text).ok_or_else(|| {
        let words: Vec<_> = State::ALL.iter().map(|state| state.as_str()).collect();
        format!("no such state; one of {}", words.join(", "))
    })
}

pub(super) fn code(text: &str) -> Result<Code, String> {
    Code::parse(text).map_err(|why| format!("not a code: {why}"))
}

/// Runs one of them.
pub(super) async fn run(mut api: Api, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List(args) => list(&mut api, &args).await,
        Command::Show(args) => show(&mut api, &args).await,
        Command::Add(args) => add(&mut api, &args).await,
        Command::Import(args) => import::run(&mut api, &args).await,
        Command::Export => export(&mut api).await,
        Command::Activate(args) => ask(&mut api, &args, "activate").await,
        Command::Query(args) => ask(&mut api, &args, "query").await,
        Command::Received(args) => move_on(&mut api, &args, "received").await,
        Command::Release(args) => {
            if !args.yes && !confirmed(&args.what.code)? {
                eprintln!("nothing was changed");
                return Ok(ExitCode::FAILURE);
            }
            move_on(&mut api, &args.what, "release").await
        }
    }
}

async fn list(api: &mut Api, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let query = Query::default()
        .with("state", args.state)
        .with("text", args.text.as_ref())
        .with("expires_before", args.expires_before.map(When::instant))
        .with("expires_after", args.expires_after.map(When::instant));
    let found = api.list("/v1/licenses", &query, args.limit).await?;
    if args.output.json {
        print::json(&Value::Array(found.items))?;
    } else {
        print::table(&LIST, &found.items)?;
    }
    print::more(found.more);
    Ok(ExitCode::SUCCESS)
}

async fn show(api: &mut Api, args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let path = path_of(&args.code);
    let mut license = api.get(&path, &Query::default()).await?;
    let mut events = api.list(&format!("{path}/events"), &Query::default(), args.events).await?;
    if args.output.json {
        license["events"] = Value::Array(events.items);
        print::json(&license)?;
    } else {
        print::facts(&FACTS, &license)?;
        print::line("")?;
        // Told forwards, as in the log.
        events.items.reverse();
        print::table(&super::log::COLUMNS_OF_ONE, &events.items)?;
    }
    if events.more {
        eprintln!("(there are more events: raise --events; 0 means all)");
    }
    Ok(ExitCode::SUCCESS)
}

async fn add(api: &mut Api, args: &AddArgs) -> anyhow::Result<ExitCode> {
    let mut body = json!({
        "code": args.code.as_str(),
        "received": !args.not_received,
        "activate": !args.no_activate,
    });
    for (key, value) in
        [("order_id", &args.order_id), ("product_id", &args.product_id), ("note", &args.note)]
    {
        if let Some(value) = value {
            body[key] = json!(value);
        }
    }
    let (status, license) = api.post("/v1/licenses", Some(&body), PATIENCE).await?;
    if args.output.json {
        print::json(&license)?;
    } else {
        let word = if status == StatusCode::CREATED { "registered" } else { "already known" };
        print::line(&format!("{word}\n"))?;
        print::facts(&FACTS, &license)?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn export(api: &mut Api) -> anyhow::Result<ExitCode> {
    let mut out = print::out();
    out.write_all(csv::line(FIELDS).as_bytes())?;
    let write = |items: Vec<Value>| {
        for license in &items {
            let fields = FIELDS.map(|field| license[field].as_str().unwrap_or_default());
            out.write_all(csv::line(fields).as_bytes())?;
        }
        Ok(())
    };
    api.pages("/v1/licenses", &Query::default(), 0, write).await?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Activation and query: the marketplace answers.
async fn ask(api: &mut Api, args: &OneArgs, what: &str) -> anyhow::Result<ExitCode> {
    let path = format!("{}/{what}", path_of(&args.code));
    let (_, answer) = api.post(&path, None, PATIENCE).await?;
    let outcome = answer["outcome"].as_str().unwrap_or_default();
    if args.output.json {
        print::json(&answer)?;
    } else {
        let told = told(outcome, answer["error_code"].as_str());
        print::line(&format!("{}\n", print::harmless(&told)))?;
        print::facts(&FACTS, &answer["license"])?;
    }
    let good = ["done", "asked", "waiting_for_buyer"].contains(&outcome);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn told(outcome: &str, error_code: Option<&str>) -> String {
    let text = match outcome {
        "done" => "done",
        "asked" => "the marketplace was asked how the code stands",
        "waiting_for_buyer" => {
            "the buyer has not received the code yet; it is tried again until he has"
        }
        "retry_later" => "the marketplace cannot be asked now; it is tried again in the background",
        "refused" => "the marketplace refused; see `authcoded codes` for what its code means",
        other => other,
    };
    error_code.map_or_else(|| text.to_owned(), |code| format!("{text} ({code})"))
}

/// Operators' moves: we answer.
async fn move_on(api: &mut Api, args: &ReasonArgs, what: &str) -> anyhow::Result<ExitCode> {
    let body = args.reason.as_ref().map_or_else(|| json!({}), |why| json!({ "reason": why }));
    let path = format!("{}/{what}", path_of(&args.code));
    let (_, license) = api.post(&path, Some(&body), PATIENCE).await?;
    if args.output.json {
        print::json(&license)?;
    } else {
        print::facts(&FACTS, &license)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A person is asked; a script has decided already.
fn confirmed(code: &Code) -> std::io::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(true);
    }
    eprint!("Release {code} for ever? The buyer can no longer use it. [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn path_of(code: &Code) -> String {
    format!("/v1/licenses/{}", encoded(code.as_str()))
}
