//! `authcoded codes`: the rules, printed from the very tables that decide.

use super::{Output, print};
use crate::domain::outcome::{ANSWERS, ResultCode};
use crate::domain::state::State;
use crate::domain::time::{HOUR_MS, MINUTE_MS};
use crate::domain::transition::{BUYER_LADDER_MS, TABLE};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Runs it.
pub(super) fn run(output: Output) -> anyhow::Result<ExitCode> {
    if output.json {
        print::json(&document())?;
    } else {
        let mut out = print::out();
        out.write_all(text().as_bytes())?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All tables as Markdown.
pub(super) fn text() -> String {
    format!(
        "## What each input does in each state\n\n{}\n\
         — means no change; \"ask now\" queries the marketplace at once; \"alarm\" records a \
         contradiction and changes nothing.\n\n\
         ## What the marketplace's answers mean (the first row that fits decides)\n\n{}\n\
         Gateway codes are written without their prefix (APIGW or APIG). No answer at all is a \
         retry, on the other domain.\n\n\
         ## What we answer to callbacks\n\n{}\n\
         ## While the buyer has not received the code (92020004)\n\n{}\n",
        transitions(),
        answers(),
        result_codes(),
        ladder()
    )
}

/// The transition table as the contract prints it.
pub(super) fn transitions() -> String {
    let states = State::ALL.map(State::as_str);
    let mut text = format!("| input | {} |\n|{}\n", states.join(" | "), "---|".repeat(7));
    for (input, cells) in TABLE {
        let cells = cells.map(crate::domain::transition::Cell::as_str);
        let _ = writeln!(text, "| {} | {} |", input.as_str(), cells.join(" | "));
    }
    text
}

/// The map of the marketplace's answers.
pub(super) fn answers() -> String {
    let mut text = String::from("| HTTP | code | outcome | meaning |\n|---|---|---|---|\n");
    for answer in ANSWERS {
        let code = if answer.code == "*" { "any" } else { answer.code };
        let outcome = answer.outcome.as_str();
        let _ = writeln!(text, "| {} | {code} | {outcome} | {} |", answer.http, answer.meaning);
    }
    text
}

fn result_codes() -> String {
    let mut text = String::from("| code | message | given again to a repeat |\n|---|---|---|\n");
    for code in ResultCode::ALL {
        let again = if code.is_final() { "yes" } else { "no" };
        let _ = writeln!(text, "| {} | {} | {again} |", code.as_str(), code.message());
    }
    text
}

fn ladder() -> String {
    let rungs = BUYER_LADDER_MS.map(|ms| {
        if ms % HOUR_MS == 0 {
            format!("{} h", ms / HOUR_MS)
        } else {
            format!("{} min", ms / MINUTE_MS)
        }
    });
    let [first @ .., last] = &rungs;
    format!("Activation is tried again after {}, then every {last}.", first.join(", "))
}

fn document() -> Value {
    let transitions = TABLE.map(|(input, cells)| {
        let mut row = Map::from_iter([("input".to_owned(), json!(input.as_str()))]);
        for (state, cell) in State::ALL.into_iter().zip(cells) {
            row.insert(state.as_str().to_owned(), json!(cell.as_str()));
        }
        Value::Object(row)
    });
    let answers: Vec<_> = ANSWERS
        .iter()
        .map(|answer| {
            json!({
                "http": answer.http.to_string(),
                "code": answer.code,
                "outcome": answer.outcome.as_str(),
                "meaning": answer.meaning,
            })
        })
        .collect();
    let result_codes = ResultCode::ALL.map(|code| {
        json!({ "code": code.as_str(), "message": code.message(), "final": code.is_final() })
    });
    json!({
        "transitions": transitions,
        "answers": answers,
        "result_codes": result_codes,
        "buyer_ladder_minutes": BUYER_LADDER_MS.map(|ms| ms / MINUTE_MS),
    })
}
