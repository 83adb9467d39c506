//! `authcoded simulate --scenario`: a marketplace that plays one story against a callback server.
//!
//! Invariant: the exit status is 0 only when every step that could be played went as the story says.

use super::print;
use super::simulate::{Args, SecretFiles, read_secret, settings};
use crate::clock::Clock;
use crate::simulator::{
    Length, MerchantApi, Outcome, Played, Report, Scenario, Settings, Simulator,
};
use anyhow::Context as _;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Plays the story of `file`.
pub(super) async fn run(args: &Args, file: &Path) -> anyhow::Result<ExitCode> {
    let scenario = Scenario::read(file)?;
    let merchant = merchant(args)?;
    let files = SecretFiles::of(args);
    let settings = marketplace(args, &scenario, settings(args, &files)?);
    let seed = settings.seed;
    let simulator = Simulator::start(settings, Clock::system())
        .await
        .context("the simulated marketplace did not start")?;
    if !args.story.json {
        introduce(&scenario, &simulator, &files);
    }
    let tell = |played: &Played| {
        if !args.story.json {
            say(&line(played));
        }
    };
    let report = simulator.play(&scenario, merchant.as_ref(), tell).await;
    simulator.stop().await;
    if args.story.json {
        let printed = print::json(&json!({
            "file": file.display().to_string(), "title": scenario.title, "rule": scenario.rule,
            "passed": report.passed(), "seed": seed, "steps": report.steps,
            "not_played": report.not_played,
        }));
        // A failure must not be hidden behind a reader who has gone.
        if report.passed() {
            printed?;
        }
    } else {
        say(&sum(&report, seed));
    }
    Ok(if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn merchant(args: &Args) -> anyhow::Result<Option<MerchantApi>> {
    let given = args.story.admin.as_ref().zip(args.story.admin_token_file.as_ref());
    given
        .map(|(url, file)| Ok(MerchantApi { url: url.clone(), token: read_secret(file)? }))
        .transpose()
}

/// A marketplace of the story's own: nothing of it is kept.
fn marketplace(args: &Args, scenario: &Scenario, told: Settings) -> Settings {
    let or = |told: Duration, wanted: Option<Length>| wanted.map_or(told, |length| length.0);
    // Codes must be new to a server that has seen the story before.
    let another = || u64::try_from(Clock::system().now().as_ms()).unwrap_or(1);
    Settings {
        callback_url: args.story.against.clone(),
        speed: args.speed.unwrap_or(scenario.speed),
        seed: args.seed.unwrap_or_else(another),
        dial_tests: scenario.dial_tests && told.dial_tests,
        grace: or(told.grace, scenario.grace),
        retention: or(told.retention, scenario.retention),
        ..told
    }
}

/// Prints a line. Perhaps nobody reads any more; the outcome is the exit status.
fn say(text: &str) {
    drop(print::line(text));
}

fn introduce(scenario: &Scenario, simulator: &Simulator, files: &SecretFiles) {
    say(&print::harmless(&scenario.title));
    say(&print::harmless(&scenario.rule));
    say(&format!(
        "The marketplace is http://{}; access key {}, AK {}, SK {}.",
        simulator.address(),
        files.access_key.display(),
        files.ak.display(),
        files.sk.display()
    ));
}

fn line(played: &Played) -> String {
    let outcome = match played.outcome {
        Outcome::Ok => "ok     ",
        Outcome::Failed => "FAILED ",
        Outcome::Skipped => "skipped",
    };
    let told = match (&played.expected, &played.got) {
        (Some(expected), Some(got)) => format!(": expected {expected}; got {got}"),
        (_, Some(got)) => format!(": {got}"),
        (_, None) => String::new(),
    };
    print::harmless(&format!("{outcome} line {:<3} {}{told}", played.line, played.step))
}

fn sum(report: &Report, seed: u64) -> String {
    let [ok, failed, skipped] =
        [Outcome::Ok, Outcome::Failed, Outcome::Skipped].map(|outcome| report.count(outcome));
    let verdict = if report.passed() { "As expected" } else { "NOT as expected" };
    let left = match report.not_played {
        0 => String::new(),
        left => format!(", {left} not played"),
    };
    format!("{verdict}: {ok} ok, {failed} failed, {skipped} skipped{left} (seed {seed}).")
}
