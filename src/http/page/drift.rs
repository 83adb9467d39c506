//! Our rows against what the marketplace says, and the repair.
//!
//! Invariant: showing the page asks nobody; each question and each repair is ordered by a form.

use super::Page;
use super::answers::{self, Away};
use super::form::Form;
use super::layout::{Tab, code_link, state_mark, table, told};
use super::texts::Text;
use super::view::View;
use super::words;
use crate::domain::license::Code;
use crate::domain::state::State;
use crate::http::body::Query;
use crate::http::problem::{Answer, Problem};
use crate::lifecycle::{Drift, DriftPage, LifecycleError};
use crate::store::LicenseFilter;
use maud::{Markup, html};

/// How many codes are asked about at once; each is a paced call that the page waits for.
const LIMITS: [usize; 3] = [20, 50, 100];

/// What is asked for.
#[derive(Default)]
struct Asked {
    state: Option<State>,
    limit: Option<usize>,
    after: Option<String>,
}

/// The page before anything was asked.
pub(super) fn ask(view: &View, query: Option<&str>) -> Result<Answer, Away> {
    Query::parse(query, &[])?;
    Ok(shown(view, &Asked::default(), &html! {}))
}

fn shown(view: &View, asked: &Asked, found: &Markup) -> Answer {
    let content = html! { (asked.form(view)) (found) };
    answers::page(view, view.t(Text::DriftTitle), Some(Tab::Drift), &content)
}

impl Page {
    /// Compares, or repairs what an earlier comparison found.
    pub(super) async fn drift(&self, view: &View, form: &Form) -> Result<Answer, Away> {
        let asked = Asked::parse(form)?;
        let found = if form.get("act") == Some("repair") {
            self.repair(view, form).await?
        } else {
            let page = self.lifecycle.drift(asked.filter()).await?;
            compared(view, &page, &asked)
        };
        Ok(shown(view, &asked, &found))
    }

    /// Repairs each code that is named, on its own.
    async fn repair(&self, view: &View, form: &Form) -> Result<Markup, Away> {
        let (named, reason) = (form.get("codes").unwrap_or(""), form.reason()?);
        let codes = named.lines().map(str::trim).filter(|line| !line.is_empty());
        let codes: Vec<Code> = codes
            .map(Code::parse)
            .collect::<Result<_, _>>()
            .map_err(|error| Problem::bad_request(format!("this is no code: {error}")))?;
        if codes.len() > LIMITS[LIMITS.len() - 1] {
            return Err(Problem::bad_request("too many codes at once").into());
        }
        let mut done = Vec::with_capacity(codes.len());
        for code in codes {
            done.push((self.repair_one(&code, reason.as_deref()).await?, code));
        }
        Ok(repaired(view, &done))
    }

    async fn repair_one(&self, code: &Code, reason: Option<&str>) -> Result<Repaired, Away> {
        let repair = async {
            self.lifecycle.remark(Some(code), "repair", reason).await?;
            self.lifecycle.repair(code).await
        };
        match repair.await {
            Ok((outcome, row)) => {
                let told = words::told(outcome.as_str()).unwrap_or(Text::ToldDone);
                Ok((told, Some(row.license.state())))
            }
            Err(LifecycleError::UnknownCode) => Ok((Text::ReasonUnknownCode, None)),
            Err(LifecycleError::Released) => Ok((Text::ToldReleased, Some(State::Released))),
            Err(error @ LifecycleError::Store(_)) => Err(error.into()),
        }
    }
}

/// What came of a repair, and the state afterwards.
type Repaired = (Text, Option<State>);

impl Asked {
    fn parse(form: &Form) -> Result<Self, Away> {
        let limit = form.get("limit").map(|text| {
            let limit = text.parse().ok().filter(|limit| LIMITS.contains(limit));
            limit.ok_or_else(|| Problem::bad_request("limit must be one of the page's"))
        });
        Ok(Self {
            state: form.get("state").and_then(State::parse),
            limit: limit.transpose()?,
            after: form.get("after").map(str::to_owned),
        })
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(LIMITS[0])
    }

    fn filter(&self) -> LicenseFilter {
        LicenseFilter {
            state: self.state,
            after: self.after.clone(),
            limit: self.limit(),
            ..LicenseFilter::default()
        }
    }

    fn form(&self, view: &View) -> Markup {
        html! {
            p { (view.t(Text::DriftHint)) }
            p .hint { (view.t(Text::DriftPace)) }
            form .filters method="post" action="/drift" {
                (view.token_field())
                label for="state" { (view.t(Text::State)) }
                select #state name="state" {
                    option value="" { (view.t(Text::AnyState)) }
                    @for state in State::ALL {
                        option value=(state.as_str()) selected[self.state == Some(state)] {
                            (view.t(words::state(state)))
                        }
                    }
                }
                label for="limit" { (view.t(Text::Count)) }
                select #limit name="limit" {
                    @for n in LIMITS { option value=(n) selected[self.limit() == n] { (n) } }
                }
                label for="after" { (view.t(Text::AfterCode)) }
                input #after name="after" value=(self.after.as_deref().unwrap_or(""));
                button { (view.t(Text::LookNow)) }
            }
        }
    }

    /// The same question about the codes that follow.
    fn go_on(&self, view: &View, after: &str) -> Markup {
        html! {
            form method="post" action="/drift" {
                (view.token_field())
                input type="hidden" name="state" value=(self.state.map_or("", State::as_str));
                input type="hidden" name="limit" value=(self.limit());
                input type="hidden" name="after" value=(after);
                button { (view.t(Text::LookOn)) }
            }
        }
    }
}

fn compared(view: &View, page: &DriftPage, asked: &Asked) -> Markup {
    let rows = html! { @for drift in &page.items { (drift_row(view, drift)) } };
    let columns =
        [Text::Code, Text::Here, Text::AtMarketplace, Text::RepairWould, Text::Why, Text::Repair];
    let repairable = page.items.iter().filter(|drift| drift.repair != "none");
    let repairable: Vec<&str> = repairable.map(|drift| drift.license.code.as_str()).collect();
    html! {
        section #found {
            h2 { (view.t(Text::Differences)) }
            @if page.unasked > 0 { p role="alert" { (view.t(Text::Unasked)) ": " (page.unasked) } }
            @if page.items.is_empty() && page.unasked == 0 { p .well { (view.t(Text::NoDrift)) } }
            @if !page.items.is_empty() { (table(view, &columns, &rows)) }
            @if repairable.len() > 1 { (repair_all(view, &repairable)) }
            @if let Some(after) = &page.next { (asked.go_on(view, after)) }
        }
    }
}

fn drift_row(view: &View, drift: &Drift) -> Markup {
    let license = &drift.license;
    let code = license.code.as_str();
    html! {
        tr {
            td { (code_link(view, Some(code))) }
            td {
                (state_mark(view, license.state())) " "
                @if let Some(expiry) = license.expiry { (view.time(expiry.at)) }
            }
            td {
                (view.word(words::compared_status(drift.marketplace), drift.marketplace)) " "
                @if let Some(at) = drift.marketplace_expires_at { (view.time(at)) }
            }
            td {
                @if drift.repair == "none" { (view.t(Text::NoRepair)) } @else {
                    @for (at, kind) in drift.repair.split(", ").enumerate() {
                        @if at > 0 { " · " }
                        (view.word(words::kind(kind), kind))
                    }
                }
            }
            td { (told(&drift.why)) }
            td {
                @if drift.repair != "none" {
                    form method="post" action="/drift" {
                        (view.token_field())
                        input type="hidden" name="act" value="repair";
                        button name="codes" value=(code)
                            aria-label={ (view.t(Text::Repair)) " " (code) } { (view.t(Text::Repair)) }
                    }
                }
            }
        }
    }
}

fn repair_all(view: &View, codes: &[&str]) -> Markup {
    html! {
        form .card method="post" action="/drift" {
            (view.token_field())
            input type="hidden" name="act" value="repair";
            textarea name="codes" hidden aria-hidden="true" { (codes.join("\n")) }
            label for="reason" { (view.t(Text::ReasonLabel)) }
            textarea #reason name="reason" rows="2" maxlength="1000" {}
            button { (view.t(Text::RepairAll)) " (" (codes.len()) ")" }
        }
    }
}

fn repaired(view: &View, done: &[(Repaired, Code)]) -> Markup {
    let rows = html! {
        @for ((told, state), code) in done {
            tr {
                td { (code_link(view, Some(code.as_str()))) }
                td { (view.t(*told)) }
                td {
                    @match state {
                        Some(state) => (state_mark(view, *state)),
                        None => (view.t(Text::Nothing)),
                    }
                }
            }
        }
    };
    html! {
        section #found {
            h2 { (view.t(Text::Repaired)) }
            (table(view, &[Text::Code, Text::Outcome, Text::State], &rows))
        }
    }
}
