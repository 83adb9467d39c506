//! `authcoded license import`: many codes at once; a bad line spoils itself only.

use super::api::{Api, ApiError, PATIENCE, Query};
use super::license::FIELDS;
use super::{csv, print};
use crate::domain::license::Code;
use anyhow::Context as _;
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::task::JoinHandle;

pub(super) const HELP: &str = "\
CSV: the first line names the columns; `code` must be among them, and received, activate, \
order_id, product_id and note may be. What `license export` writes can be read again. A file of \
codes alone, one on each line, needs no first line.
JSON lines: one object on each line with the same names.

Every line is registered by itself: a bad one is reported with its number and the others go on. \
The same line again does no harm, so an import that broke off can simply be repeated.

Examples:
  authcoded license import codes.csv
  zcat codes.jsonl.gz | authcoded license import - --no-activate

Exit status: 0 when every line was good, 1 otherwise.";

/// What a line may say.
const GIVEN: [&str; 6] = ["code", "received", "activate", "order_id", "product_id", "note"];

/// What else the API tells of a licence; left out, as are the other columns of an export.
const LEFT_OUT: [&str; 6] =
    ["expires_text", "end_confirmed_at", "frozen_from", "renewals_in_force", "events", "next"];

/// Lines under way at once, each on a connection of its own: the daemon makes them durable together.
const AT_ONCE: usize = 32;

/// What to import.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file; - means standard input
    file: PathBuf,
    /// Unless a line says otherwise, buyers have not received the codes yet
    #[arg(long)]
    not_received: bool,
    /// Unless a line says otherwise, do not activate the codes now
    #[arg(long)]
    no_activate: bool,
    /// Rebuild from the marketplace what is known of codes that were in use before: they are neither
    /// marked as received nor activated, but asked about, by the sweep that is started at the end
    #[arg(long, conflicts_with_all = ["not_received", "no_activate"])]
    rehydrate: bool,
}

/// One line: its number, and what to send or what is wrong.
#[derive(Debug, PartialEq)]
struct Line {
    number: usize,
    body: Result<Map<String, Value>, String>,
}

/// What a line came to. The inner error is the line's own; the outer one ends the import.
type Registered = Result<Result<Fresh, String>, ApiError>;

/// Whether a code was not known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fresh {
    New,
    Known,
}

/// Runs it.
pub(super) async fn run(api: &mut Api, args: &Args) -> anyhow::Result<ExitCode> {
    let text = read(args).with_context(|| format!("cannot read {}", args.file.display()))?;
    let lines = parse(&text)?;
    let mut import = Import::new(api, lines.len());
    for mut line in lines {
        if let Ok(body) = &mut line.body {
            body.entry("received").or_insert(json!(!(args.not_received || args.rehydrate)));
            body.entry("activate").or_insert(json!(!(args.no_activate || args.rehydrate)));
        }
        import.send(line).await?;
    }
    let counts = import.finish().await?;
    print::line(&format!(
        "{} registered, {} already known, {} bad",
        counts.registered, counts.known, counts.bad
    ))?;
    if args.rehydrate {
        api.post("/v1/jobs/reconcile/run", None, PATIENCE).await?;
        let plan = api.get("/v1/drift/plan", &Query::default()).await?;
        print::line(&format!(
            "the sweep has begun: {} calls, about {} s; see `authcoded job list`",
            plan["calls"], plan["seconds"]
        ))?;
    }
    Ok(if counts.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(args: &Args) -> std::io::Result<String> {
    if args.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        Ok(text)
    } else {
        std::fs::read_to_string(&args.file)
    }
}

/// How many lines came to what.
#[derive(Debug, Default)]
struct Counts {
    registered: usize,
    known: usize,
    bad: usize,
}

impl Counts {
    const fn lines(&self) -> usize {
        self.registered + self.known + self.bad
    }
}

/// The lines that are under way, told of in their order.
struct Import {
    idle: Vec<Api>,
    under_way: VecDeque<(usize, JoinHandle<(Api, Registered)>)>,
    counts: Counts,
    total: usize,
    /// Progress is told after so many lines.
    step: usize,
}

impl Import {
    fn new(api: &Api, total: usize) -> Self {
        Self {
            idle: (0..AT_ONCE).map(|_| api.another()).collect(),
            under_way: VecDeque::new(),
            counts: Counts::default(),
            total,
            step: if std::io::stderr().is_terminal() { 1_000 } else { 10_000 },
        }
    }

    /// Sends a line, when one of those before it has been told of.
    async fn send(&mut self, line: Line) -> anyhow::Result<()> {
        if self.idle.is_empty() {
            self.tell_first().await?;
        }
        if let Some(mut api) = self.idle.pop() {
            let sent = tokio::spawn(async move {
                let registered = register(&mut api, line.body).await;
                (api, registered)
            });
            self.under_way.push_back((line.number, sent));
        }
        Ok(())
    }

    async fn finish(mut self) -> anyhow::Result<Counts> {
        while !self.under_way.is_empty() {
            self.tell_first().await?;
        }
        Ok(self.counts)
    }

    /// Waits for the first of the lines under way, and tells of it.
    async fn tell_first(&mut self) -> anyhow::Result<()> {
        let Some((number, sent)) = self.under_way.pop_front() else {
            return Ok(());
        };
        let (api, registered) = sent.await?;
        self.idle.push(api);
        match registered {
            Ok(Ok(Fresh::New)) => self.counts.registered += 1,
            Ok(Ok(Fresh::Known)) => self.counts.known += 1,
            Ok(Err(why)) => {
                self.counts.bad += 1;
                eprintln!("line {number}: {}", print::harmless(&why));
            }
            Err(error) => {
                let place = format!(
                    "stopped at line {number}; {} registered before it; repeat the import: what is \
                     registered stays so, and the rest follows",
                    self.counts.registered
                );
                return Err(anyhow::Error::from(error).context(place));
            }
        }
        if self.counts.lines().is_multiple_of(self.step) {
            eprintln!("{} of {}", self.counts.lines(), self.total);
        }
        Ok(())
    }
}

async fn register(api: &mut Api, body: Result<Map<String, Value>, String>) -> Registered {
    let body = match body {
        Ok(body) => Value::Object(body),
        Err(why) => return Ok(Err(why)),
    };
    match api.post("/v1/licenses", Some(&body), PATIENCE).await {
        Ok((StatusCode::CREATED, _)) => Ok(Ok(Fresh::New)),
        Ok(_) => Ok(Ok(Fresh::Known)),
        Err(error @ ApiError::Refused(_)) if !error.is_passing() => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

fn parse(text: &str) -> anyhow::Result<Vec<Line>> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('{') { Ok(json_lines(text)) } else { csv_lines(text) }
}

fn json_lines(text: &str) -> Vec<Line> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(nth, line)| Line {
            number: nth + 1,
            body: serde_json::from_str(line)
                .map_err(|why| format!("not a JSON object: {why}"))
                .and_then(checked),
        })
        .collect()
}

fn csv_lines(text: &str) -> anyhow::Result<Vec<Line>> {
    let mut records = csv::parse(text);
    let first = records.first().map(|record| &record.fields);
    let names = match first {
        Some(Ok(fields)) if fields.iter().any(|field| field.trim() == "code") => {
            let names = fields.iter().map(|field| field.trim().to_owned()).collect();
            records.remove(0);
            names
        }
        Some(Ok(fields)) if fields.len() > 1 => {
            anyhow::bail!("line 1: no column is named `code`; the first line must name the columns")
        }
        Some(_) | None => vec!["code".to_owned()],
    };
    if let Some(name) = names.iter().find(|name| !is_known(name)) {
        anyhow::bail!("line 1: no such column: {name:?}; columns are {}", GIVEN.join(", "));
    }
    Ok(records
        .into_iter()
        .map(|record| Line {
            number: record.line,
            body: record
                .fields
                .map_err(str::to_owned)
                .and_then(|fields| named(&names, fields))
                .and_then(checked),
        })
        .collect())
}

fn is_known(name: &str) -> bool {
    GIVEN.contains(&name) || FIELDS.contains(&name) || LEFT_OUT.contains(&name)
}

/// The fields of a CSV record under their names; an empty one says nothing.
fn named(names: &[String], fields: Vec<String>) -> Result<Map<String, Value>, String> {
    if fields.len() != names.len() {
        return Err(format!("{} fields, but {} columns", fields.len(), names.len()));
    }
    names
        .iter()
        .zip(fields)
        .filter(|(_, field)| !field.is_empty())
        .map(|(name, field)| {
            let value = match name.as_str() {
                "received" | "activate" => json!(yes_or_no(&field)?),
                _ => json!(field),
            };
            Ok((name.clone(), value))
        })
        .collect()
}

fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// What to send for the fields of a line: the rest of an exported licence is left out, but a code
/// that was exported as issued is not taken for received.
fn checked(mut fields: Map<String, Value>) -> Result<Map<String, Value>, String> {
    if let Some(name) = fields.keys().find(|name| !is_known(name)) {
        return Err(format!("no such field: {name:?}; fields are {}", GIVEN.join(", ")));
    }
    let code = fields.get("code").and_then(Value::as_str).ok_or("no code")?;
    Code::parse(code).map_err(|why| format!("not a code: {why}"))?;
    if fields.get("state").and_then(Value::as_str) == Some("issued") {
        fields.entry("received").or_insert(json!(false));
    }
    fields.retain(|name, value| GIVEN.contains(&name.as_str()) && !value.is_null());
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line numbers with what would be sent, or with what is wrong.
    fn read(text: &str) -> Vec<(usize, String)> {
        let shown = |line: Line| match line.body {
            Ok(body) => (line.number, Value::Object(body).to_string()),
            Err(why) => (line.number, why),
        };
        parse(text).expect("a readable file").into_iter().map(shown).collect()
    }

    #[test]
    fn a_bare_list_of_codes() {
        let lines = read("\u{feff}A\r\n\r\nB b\r\n");
        assert_eq!(lines, [(1, r#"{"code":"A"}"#.into()), (3, r#"{"code":"B b"}"#.into())]);
    }

    #[test]
    fn what_was_exported_is_read_again() {
        let fields = |state: &'static str| {
            let mut fields = [""; FIELDS.len()];
            (fields[0], fields[1], fields[12]) = ("A", state, "a, \"b\"");
            csv::line(fields)
        };
        let text = csv::line(FIELDS) + &fields("issued") + &fields("frozen");
        assert_eq!(
            read(&text),
            [
                (2, r#"{"code":"A","note":"a, \"b\"","received":false}"#.into()),
                (3, r#"{"code":"A","note":"a, \"b\""}"#.into()),
            ]
        );
    }

    #[test]
    fn bad_lines_are_named_and_the_others_go_on() {
        let lines = read("code,received\nA,yes\nB,perhaps\n,no\nC\nD,0\n\"E,1\n");
        let numbers: Vec<_> = lines.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [2, 3, 4, 5, 6, 7]);
        for (nth, expected) in [
            (0, r#"{"code":"A","received":true}"#),
            (1, "\"perhaps\" is neither true nor false"),
            (2, "no code"),
            (3, "1 fields, but 2 columns"),
            (4, r#"{"code":"D","received":false}"#),
            (5, "a quote is not closed"),
        ] {
            assert_eq!(lines[nth].1, expected);
        }
        let long = "x".repeat(65);
        let lines = read(&format!(
            "{{\"code\":\"A\"}}\n{{\"code\":\"{long}\"}}\n\nnot json\n{{\"cod\":1}}\n"
        ));
        assert_eq!(lines[0], (1, r#"{"code":"A"}"#.into()));
        assert!(lines[1].1.starts_with("not a code: longer than 64"), "{lines:?}");
        assert!(lines[2].0 == 4 && lines[2].1.starts_with("not a JSON object"), "{lines:?}");
        assert!(lines[3].1.starts_with("no such field: \"cod\""), "{lines:?}");
    }

    #[test]
    fn a_file_with_other_columns_is_refused_whole() {
        assert!(parse("licence,note\nA,x\n").is_err());
        assert!(parse("code,remark\nA,x\n").is_err());
    }
}
