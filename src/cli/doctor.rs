//! `authcoded doctor`: whatever could keep the daemon from its work, each with what to do about it.
//!
//! Invariant: nothing is changed, but a note in the data folder when the marketplace refuses the key: the
//! next call of a doctor waits then, because refusals in a row lock it.

mod machine;
mod network;

use super::{Output, print};
use crate::config::{Config, Problem, Severity};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

pub(super) const HELP: &str = "\
Looks at the configuration, permissions, the database (every page and the chains), the clock, \
disk, names, certificates, the marketplace (one query of a code that cannot exist), the public address \
and the unit. Works while the daemon runs and while it does not. The exit status is 1 if anything fails, \
0 otherwise.

Example:
  sudo authcoded doctor";

/// How a line went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Ok,
    Warn,
    Fail,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line.
struct Finding {
    name: &'static str,
    outcome: Outcome,
    text: String,
    remedy: String,
}

/// All lines so far.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, name: &'static str, text: impl Into<String>) {
        self.push(name, Outcome::Ok, text.into(), "");
    }

    fn warn(&mut self, name: &'static str, text: impl Into<String>, remedy: &str) {
        self.push(name, Outcome::Warn, text.into(), remedy);
    }

    fn fail(&mut self, name: &'static str, text: impl Into<String>, remedy: &str) {
        self.push(name, Outcome::Fail, text.into(), remedy);
    }

    fn push(&mut self, name: &'static str, outcome: Outcome, text: String, remedy: &str) {
        self.0.push(Finding { name, outcome, text, remedy: remedy.to_owned() });
    }

    fn has_failed(&self) -> bool {
        self.0.iter().any(|finding| finding.outcome == Outcome::Fail)
    }
}

/// Runs it.
pub(super) async fn run(file: &Path, output: Output) -> anyhow::Result<ExitCode> {
    crate::daemon::install_crypto();
    let mut found = Findings::default();
    match Config::load(file) {
        Err(error) => {
            found.fail(
                "configuration",
                error.to_string(),
                "correct the file; nothing else was looked at",
            );
        }
        Ok(config) => {
            configuration(&config, file, &mut found);
            machine::look(&config, file, &mut found);
            network::look(&config, file, &mut found).await;
        }
    }
    show(&found, output)?;
    Ok(if found.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Tries what lies outside this machine, and shows it. Returns whether nothing failed.
pub(super) async fn try_outside(config: &Config) -> anyhow::Result<bool> {
    crate::daemon::install_crypto();
    let mut found = Findings::default();
    network::look_outside(config, &mut found).await;
    show(&found, Output { json: false })?;
    Ok(!found.has_failed())
}

/// What `authcoded check` finds; a secret's file is told under its own name.
fn configuration(config: &Config, file: &Path, found: &mut Findings) {
    let problems = config.check(file);
    for (name, of_secrets) in [("configuration", false), ("secrets", true)] {
        let mut good = true;
        for problem in problems.iter().filter(|problem| is_of_secrets(problem) == of_secrets) {
            let text = format!("{}: {}", problem.key, problem.text);
            good &= problem.severity == Severity::Warning;
            match problem.severity {
                Severity::Error => found.fail(name, text, &problem.remedy),
                Severity::Warning => found.warn(name, text, &problem.remedy),
            }
        }
        if good {
            let text = if of_secrets { "each can be read, by its owner alone" } else { "no fault" };
            found.ok(name, text);
        }
    }
}

fn is_of_secrets(problem: &Problem) -> bool {
    ["-file", "-files", ".tls-key"].iter().any(|end| problem.key.ends_with(end))
}

fn show(found: &Findings, output: Output) -> anyhow::Result<()> {
    if output.json {
        let line = |finding: &Finding| {
            let Finding { name, outcome, text, remedy } = finding;
            let remedy = (!remedy.is_empty()).then_some(remedy);
            json!({ "name": name, "outcome": outcome.as_str(), "text": text, "remedy": remedy })
        };
        let lines: Vec<Value> = found.0.iter().map(line).collect();
        return print::json(&json!({ "ok": !found.has_failed(), "checks": lines }));
    }
    for Finding { name, outcome, text, remedy } in &found.0 {
        print::line(&format!("{:<5} {name:<14} {}", outcome.as_str(), print::harmless(text)))?;
        if !remedy.is_empty() {
            print::line(&format!("{:>21}{}", "→ ", print::harmless(remedy)))?;
        }
    }
    let count = |wanted| found.0.iter().filter(|finding| finding.outcome == wanted).count();
    let (failed, warned) = (count(Outcome::Fail), count(Outcome::Warn));
    print::line(&format!(
        "\n{} looked at, {failed} failed, {warned} to be looked at",
        found.0.len()
    ))
}
