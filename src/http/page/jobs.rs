//! The jobs with their last runs, and the heartbeats with their steps.

use super::answers::{self, Away};
use super::form::Form;
use super::layout::{Tab, message, outcome_mark, table, told};
use super::texts::Text;
use super::view::{View, with_query};
use super::{Page, words};
use crate::domain::slots::{Plan, TimeOfDay, Zone};
use crate::domain::time::MINUTE_MS;
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
        let query = Query::parse(query, &["told"])?;
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
            td { code { (view.maybe(last.and_then(|run| run.counts.as_deref()))) } }
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
        Plan::Hourly { minute } => format!("{} :{minute:02}", view.t(Text::Hourly)),
        Plan::Every(ms) => {
            let minutes = ms / MINUTE_MS;
            format!("{} {minutes} {}", view.t(Text::Every), view.t(Text::Minutes))
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
                (view.t(Text::Slot)) " " code { (probe.slot) }
            }
            @if let Some(days) = probe.certificate_days {
                p { (view.t(Text::CertificateDays)) ": " (days) }
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
            td { (told(text("detail"))) }
        }
    }
}
