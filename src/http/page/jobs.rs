//! The jobs with their last runs, and the heartbeats with their steps.

use super::answers::{self, Away};
use super::form::Form;
use super::layout::{Tab, message, outcome_mark, table, told_briefly};
use super::texts::Text;
use super::view::{View, with_query};
use super::{Page, words};
use crate::domain::slots::{Plan, TimeOfDay, Zone};
use crate::domain::time::{HOUR_MS, MINUTE_MS};
use crate::http::body::Query;
use crate::http::problem::Answer;
use crate::schedule::{JobStatus, Manual};
use crate::store::ProbeRow;
use maud::{Markup, html};
use serde_json::Value;

/// Heartbeats with their steps.
const HEARTBEATS: usize = 10;

impl Page {
    pub(super) fn jobs(&self, view: &View, query: Option<&str>) -> Result<Answer, Away> {
        let query = Query::of_form(query, &["told"])?;
        let jobs = self.board.status(&self.lifecycle.store)?;
        let probes = self.lifecycle.store.read(|snapshot| snapshot.probes(None, HEARTBEATS))?;
        let columns = [
            Text::Job,
            Text::Schedule,
            Text::LastRun,
            Text::Outcome,
            Text::Details,
            Text::NextRun,
            Text::RunNow,
        ];
        let rows = html! { @for job in &jobs { (job_row(view, job)) } };
        let content = html! {
            @if let Some(told) = query.get("told").and_then(words::told) { (message(view.t(told))) }
            section { h2 { (view.t(Text::JobsTitle)) } (table(view, &columns, &rows)) }
            section {
                h2 { (view.t(Text::Heartbeats)) }
                @if probes.is_empty() { p { (view.t(Text::NeverRan)) } }
                @for (at, probe) in probes.iter().enumerate() { (heartbeat(view, probe, at == 0)) }
            }
        };
        Ok(answers::page(view, view.t(Text::Jobs), Some(Tab::Jobs), &content))
    }

    /// Runs a job now.
    pub(super) async fn run_job(&self, form: &Form) -> Result<Answer, Away> {
        let name = form.get("job").unwrap_or("");
        if words::job(name).is_none() {
            return Err(Away::NotFound);
        }
        let what = format!("run the job {name}");
        self.lifecycle.remark(None, &what, form.reason()?.as_deref()).await?;
        match self.board.run(name) {
            Manual::Started => Ok(answers::to(&with_query("/jobs", &[("told", Some("started"))]))),
            Manual::Unknown => Err(Away::NotFound),
        }
    }
}

fn job_row(view: &View, job: &JobStatus) -> Markup {
    let last = job.last.as_ref();
    html! {
        tr {
            th scope="row" { (view.word(words::job(job.name), job.name)) " " code { (job.name) } }
            td { (plan(view, &job.plan)) }
            td {
                @match last {
                    Some(run) => (view.time(run.started)),
                    None => (view.t(Text::NeverRan)),
                }
            }
            td {
                @match last.map(|run| run.outcome.as_deref()) {
                    Some(Some(outcome)) => (outcome_mark(view, outcome)),
                    Some(None) => (view.t(Text::OutcomeRunning)),
                    None => (view.t(Text::Nothing)),
                }
            }
            td { (counts(view, last.and_then(|run| run.counts.as_deref()))) }
            td { (view.maybe_time(job.next_due)) }
            td {
                form method="post" action="/jobs" {
                    (view.token_field())
                    button name="job" value=(job.name) aria-label={
                        (view.t(Text::RunNow)) ": " (view.word(words::job(job.name), job.name))
                    } { (view.t(Text::RunNow)) }
                }
            }
        }
    }
}

/// What a run did: whatever it counted that was not nothing.
fn counts(view: &View, stored: Option<&str>) -> Markup {
    let counts: Value = stored.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let done = counts.as_object().into_iter().flatten().filter(|(_, value)| **value != 0);
    let done: Vec<_> = done.collect();
    html! {
        @if stored.is_none() { (view.t(Text::Nothing)) }
        @else if done.is_empty() { (view.t(Text::NothingToDo)) }
        @for (at, (name, value)) in done.iter().enumerate() {
            @if at > 0 { " · " }
            (view.word(words::count(name), name)) " "
            @match value.as_str() {
                Some(text) => (view.word(words::outcome(text), text)),
                None => (value),
            }
        }
    }
}

/// When a job is due, in words.
fn plan(view: &View, plan: &Plan) -> String {
    match plan {
        Plan::Daily { zone, times } => {
            let times: Vec<String> = times.iter().map(TimeOfDay::to_string).collect();
            format!("{} {zone}", times.join(" "))
        }
        Plan::HalfDays { morning, afternoon } => {
            format!("{morning} {afternoon} {}", Zone::SHANGHAI)
        }
        Plan::Hourly { minute } => format!("{} xx:{minute:02}", view.t(Text::Hourly)),
        Plan::Every(ms) if ms % HOUR_MS == 0 => {
            format!("{} {} {}", view.t(Text::Every), ms / HOUR_MS, view.t(Text::Hours))
        }
        Plan::Every(ms) => {
            format!("{} {} {}", view.t(Text::Every), ms / MINUTE_MS, view.t(Text::Minutes))
        }
    }
}

/// One heartbeat; the last one, and each that failed, shows its steps at once.
fn heartbeat(view: &View, probe: &ProbeRow, is_last: bool) -> Markup {
    let steps: Vec<Value> = serde_json::from_str(&probe.steps).unwrap_or_default();
    let columns =
        [Text::HeartbeatSteps, Text::Outcome, Text::HttpStatus, Text::Took, Text::Details];
    let rows = html! { @for step in &steps { (step_row(view, step)) } };
    html! {
        details open[is_last || probe.outcome == "failed"] {
            summary {
                (view.time(probe.started_at)) " " (outcome_mark(view, &probe.outcome)) " "
                (view.t(Text::Slot)) " " (told_briefly(view, &probe.slot))
            }
            @if let Some(days) = probe.certificate_days {
                p { (view.t(Text::CertificateDays)) (view.t(Text::Colon)) (days) }
            }
            (table(view, &columns, &rows))
        }
    }
}

fn step_row(view: &View, step: &Value) -> Markup {
    let text = |name: &str| step[name].as_str().unwrap_or("");
    let number = |name: &str| step[name].as_i64();
    html! {
        tr {
            th scope="row" { (view.word(words::step(text("name")), text("name"))) }
            td { (outcome_mark(view, text("outcome"))) }
            td {
                @match number("status") {
                    Some(status) => (status),
                    None => (view.t(Text::Nothing)),
                }
            }
            td { (number("duration_ms").unwrap_or(0)) " " (view.t(Text::Milliseconds)) }
            td {
                (told_briefly(view, text("detail")))
                @if let Some(remedy) = step["what_to_do"].as_str() {
                    br;
                    strong { (view.t(Text::WhatToDo)) } (view.t(Text::Colon)) (told_briefly(view, remedy))
                }
            }
        }
    }
}
