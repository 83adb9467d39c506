//! A story's file: TOML, unknown keys are errors, and every error has its line.
//!
//! Invariant: a [`Scenario`] that was read can be played; each code it names is bought before.

use super::length::Length;
use super::step::{Buyer, Expect, Marketplace, Step, What};
use crate::domain::time::DateText;
use crate::simulator::faults::{Faults, RuleText};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::{Spanned, Table, Value};

/// What a code is called when a story does not say.
pub(super) const FIRST_CODE: &str = "A";

/// A story.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What it is about.
    pub title: String,
    /// The documented rule with its clause.
    pub rule: String,
    /// How much faster than documented waits pass.
    pub speed: u32,
    /// The marketplace dials twice a day.
    pub dial_tests: bool,
    /// See [`crate::simulator::Settings::grace`].
    pub grace: Option<Length>,
    /// See [`crate::simulator::Settings::retention`].
    pub retention: Option<Length>,
    /// What happens, in order.
    pub(super) steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    title: Spanned<String>,
    rule: Spanned<String>,
    speed: Option<Spanned<u32>>,
    #[serde(default)]
    dial_tests: bool,
    grace: Option<Length>,
    retention: Option<Length>,
    steps: Spanned<Vec<Spanned<Table>>>,
}

/// Why a file is no story. Always its author's to put right.
#[derive(Debug, thiserror::Error)]
pub enum BadScenario {
    /// It cannot be read.
    #[error("cannot read the scenario {}: {why}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// A part of it is not as it must be.
    #[error("{}:{line}: {message}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
}

/// What is wrong, and at which byte.
#[derive(Debug)]
struct Mistake {
    at: usize,
    message: String,
}

impl Mistake {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }
}

impl Scenario {
    /// Reads a file.
    ///
    /// # Errors
    /// [`BadScenario`].
    pub fn read(file: &Path) -> Result<Self, BadScenario> {
        let text = std::fs::read_to_string(file)
            .map_err(|why| BadScenario::Unreadable { file: file.to_owned(), why })?;
        parse(&text).map_err(|mistake| BadScenario::Invalid {
            file: file.to_owned(),
            line: line_at(&text, mistake.at),
            message: mistake.message,
        })
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or(text).matches('\n').count() + 1
}

fn parse(text: &str) -> Result<Scenario, Mistake> {
    let form: Form = toml::from_str(text).map_err(|error| {
        Mistake::new(error.span().map_or(0, |span| span.start), error.message().replace('\n', ", "))
    })?;
    for (name, value) in [("title", &form.title), ("rule", &form.rule)] {
        if value.get_ref().trim().is_empty() {
            return Err(Mistake::new(value.span().start, format!("`{name}` says nothing")));
        }
    }
    if let Some(speed) = form.speed.as_ref().filter(|s| !(1..=1_000_000).contains(s.get_ref())) {
        return Err(Mistake::new(speed.span().start, "`speed` is 1 to 1000000"));
    }
    let place = form.steps.span().start;
    let steps: Vec<Step> = form
        .steps
        .into_inner()
        .into_iter()
        .map(|table| step(text, table))
        .collect::<Result<_, _>>()?;
    if !steps.iter().any(|step| matches!(step.what, What::Expect(_))) {
        return Err(Mistake::new(place, "no step expects anything, so nothing would be checked"));
    }
    Ok(Scenario {
        title: form.title.into_inner(),
        rule: form.rule.into_inner(),
        speed: form.speed.map_or(1, Spanned::into_inner),
        dial_tests: form.dial_tests,
        grace: form.grace,
        retention: form.retention,
        steps: in_order(text, steps)?,
    })
}

/// The keys that say who acts, or what a step is.
const WHO: [&str; 5] = ["buyer", "marketplace", "merchant", "wait", "expect"];

fn step(text: &str, table: Spanned<Table>) -> Result<Step, Mistake> {
    let at = table.span().start;
    let table = table.into_inner();
    let shown = shown(&table);
    let what = what(table).map_err(|message| Mistake::new(at, message))?;
    Ok(Step { line: line_at(text, at), text: shown, what })
}

/// A step on one line, however the file spreads it: first who acts, then the rest.
fn shown(table: &Table) -> String {
    let (first, rest): (Vec<_>, Vec<_>) =
        table.iter().partition(|(key, _)| WHO.contains(&key.as_str()));
    let pairs = first.into_iter().chain(rest);
    pairs.map(|(key, value)| format!("{key} = {value}")).collect::<Vec<_>>().join(", ")
}

fn what(mut table: Table) -> Result<What, String> {
    let who: Vec<&str> = WHO.into_iter().filter(|who| table.contains_key(*who)).collect();
    match who[..] {
        ["buyer"] => read(table).map(What::Buyer),
        ["marketplace"] => read(table).map(What::Marketplace),
        ["merchant"] => read(table).map(What::Merchant),
        ["expect"] => read(table).map(What::Expect),
        ["wait"] => {
            let length = table.remove("wait").unwrap_or(Value::Boolean(false));
            match table.keys().next() {
                Some(key) => Err(format!("unknown field `{key}`: a wait has nothing beside it")),
                None => {
                    length.try_into().map(What::Wait).map_err(|error| error.message().to_owned())
                }
            }
        }
        _ => Err(format!("a step has exactly one of the keys {}", WHO.join(", "))),
    }
}

fn read<T: DeserializeOwned>(table: Table) -> Result<T, String> {
    Value::Table(table).try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

/// What only shows when the steps are looked at one after the other.
fn in_order(text: &str, steps: Vec<Step>) -> Result<Vec<Step>, Mistake> {
    let mut bought = BTreeSet::new();
    for step in &steps {
        let refuse = |message: String| {
            let line = text.split_inclusive('\n').take(step.line - 1).map(str::len).sum();
            Err(Mistake::new(line, message))
        };
        if let What::Buyer(Buyer::Purchase { code, .. }) = &step.what {
            let name = code.as_deref().unwrap_or(FIRST_CODE);
            if !bought.insert(name.to_owned()) {
                return refuse(format!(
                    "the code {name} is bought already; call this one otherwise"
                ));
            }
        }
        match step.what.code() {
            Some(name) if !bought.contains(name) => {
                return refuse(format!("no code {name} has been bought before this step"));
            }
            None if step.what.needs_a_code() && bought.is_empty() => {
                return refuse("no code has been bought before this step".to_owned());
            }
            Some(_) | None => {}
        }
        if step.what.end().is_some_and(|end| DateText::parse(end).is_err()) {
            return refuse("`end` is yyyyMMddHHmmss in UTC, such as 20270101000000".to_owned());
        }
        if let Err(why) = values(&step.what) {
            return refuse(why);
        }
    }
    Ok(steps)
}

/// What the form alone does not say.
fn values(what: &What) -> Result<(), String> {
    match what {
        What::Marketplace(Marketplace::Fault { on, fault, times, probability, code: _ }) => {
            let rule = json!({
                "on": on.as_str(), "fault": fault, "times": times, "probability": probability,
            });
            let rule: RuleText = serde_json::from_value(rule).map_err(|error| error.to_string())?;
            Faults::default().add(vec![rule]).map_err(|bad| bad.to_string())
        }
        What::Marketplace(Marketplace::Send {
            signed_ago: Some(_), signed_ahead: Some(_), ..
        }) => Err("`signed_ago` and `signed_ahead` exclude each other".to_owned()),
        What::Expect(Expect::Reply { attempt: Some(0), .. }) => {
            Err("attempts are counted from 1".to_owned())
        }
        What::Buyer(_)
        | What::Marketplace(_)
        | What::Merchant(_)
        | What::Wait(_)
        | What::Expect(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "title = \"t\"\nrule = \"protocol 1\"\nsteps = [\n  { buyer = \"purchase\" },\n";

    fn refused(steps: &str) -> String {
        let text = format!("{HEAD}{steps}\n]");
        match parse(&text) {
            Ok(_) => panic!("taken: {steps}"),
            Err(mistake) => format!("{}: {}", line_at(&text, mistake.at), mistake.message),
        }
    }

    #[test]
    fn a_story_is_read_with_its_lines() {
        let text = format!(
            "# a comment\n{HEAD}\n  {{ wait = \"2 min\" }},\n  {{ expect = \"code\",\n    stage = \"issued\" }},\n]"
        );
        let scenario = parse(&text).unwrap_or_else(|mistake| panic!("{}", mistake.message));
        let steps: Vec<_> = scenario.steps.iter().map(|s| (s.line, s.text.as_str())).collect();
        let expected = [
            (5, "buyer = \"purchase\""),
            (7, "wait = \"2 min\""),
            (8, "expect = \"code\", stage = \"issued\""),
        ];
        assert_eq!(steps, expected);
        assert_eq!((scenario.speed, scenario.dial_tests), (1, false));
        let headed = "title = \"t\"\nrule = \"r\"\n\n[[steps]]\nattempt = 2\nexpect = \"reply\"\n";
        let scenario = parse(headed).unwrap_or_else(|mistake| panic!("{}", mistake.message));
        assert_eq!(scenario.steps[0].text, "expect = \"reply\", attempt = 2");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (steps, words) in [
            ("  { buyer = \"receives\" },", ["5: ", "unknown variant `receives`"]),
            ("  { buyer = \"receive\", cod = \"A\" },", ["5: ", "unknown field `cod`"]),
            ("\n  { buyer = \"receive\", code = \"B\" },", ["6: ", "no code B"]),
            ("  { buyer = \"receive\", wait = \"2 min\" },", ["5: ", "exactly one"]),
            ("  { wait = \"2 minutes\" },", ["5: ", "not a length"]),
            ("  { wait = \"2 min\", code = \"A\" },", ["5: ", "unknown field `code`"]),
            ("  { buyer = \"purchase\" },", ["5: ", "bought already"]),
            ("  { buyer = \"renew\", end = \"soon\" },", ["5: ", "yyyyMMddHHmmss"]),
            ("  { marketplace = \"fault\", on = \"query\", fault = \"boom\" },", ["5: ", "boom"]),
            ("  { buyer = \"receive\" },", ["3: ", "nothing would be checked"]),
            ("  { buyer = },", ["5: ", ""]),
        ] {
            // An expectation at the end, unless its absence is the matter.
            let expects =
                if words[1].contains("checked") { "" } else { "\n  { expect = \"reply\" }," };
            let told = refused(&format!("{steps}{expects}"));
            assert!(told.starts_with(words[0]) && told.contains(words[1]), "{steps}: {told}");
        }
    }

    #[test]
    fn unknown_keys_and_empty_heads_are_refused() {
        for (text, word) in [
            ("title = \"t\"\nrule = \"r\"\ncolour = 1\nsteps = []", "unknown field `colour`"),
            ("title = \" \"\nrule = \"r\"\nsteps = []", "`title` says nothing"),
            ("title = \"t\"\nrule = \"r\"\nspeed = 0\nsteps = []", "`speed`"),
            ("title = \"t\"\nsteps = []", "missing field `rule`"),
        ] {
            let mistake = parse(text).expect_err("refused");
            assert!(mistake.message.contains(word), "{}", mistake.message);
        }
    }
}
