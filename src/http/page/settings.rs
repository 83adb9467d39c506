//! How pages look to this viewer, and the configuration in force.

use super::answers::{self, Away};
use super::form::Form;
use super::layout::{Tab, facts, message, table};
use super::texts::{Lang, Text};
use super::view::View;
use super::visitor::{LANG, ZONE, set_choice};
use super::{Page, words};
use crate::domain::slots::Zone;
use crate::http::body::Query;
use crate::http::problem::Answer;
use maud::{Markup, html};

/// Zones that are offered; any other is typed.
const OFFERED: [&str; 8] = [
    "Asia/Shanghai",
    "UTC",
    "Asia/Hong_Kong",
    "Asia/Singapore",
    "Asia/Tokyo",
    "Europe/Berlin",
    "Europe/London",
    "America/New_York",
];

impl Page {
    pub(super) fn settings(&self, view: &View, query: Option<&str>) -> Result<Answer, Away> {
        let query = Query::parse(query, &["told"])?;
        let rows = html! {
            @for (key, value) in &self.shown.settings {
                tr { th scope="row" { code { (key) } } td { code { (value) } } }
            }
        };
        let content = html! {
            @if let Some(told) = query.get("told").and_then(words::told) { (message(view.t(told))) }
            section { h2 { (view.t(Text::Display)) } (display(view)) }
            section {
                h2 { (view.t(Text::InForce)) }
                (facts(view, &[
                    (Text::Version, html! { (env!("CARGO_PKG_VERSION")) }),
                    (Text::StartedAt, view.time(self.started_at)),
                ]))
                p .hint { (view.t(Text::InForceHint)) }
                (table(view, &[Text::Key, Text::Value], &rows))
            }
        };
        Ok(answers::page(view, view.t(Text::Settings), Some(Tab::Settings), &content))
    }
}

fn display(view: &View) -> Markup {
    html! {
        form .card method="post" action="/settings" {
            (view.token_field())
            input type="hidden" name="back" value="/settings?told=kept";
            label for="zone" { (view.t(Text::ZoneLabel)) }
            input #zone name="zone" list="zones" required value=(view.zone.to_string())
                autocomplete="off" spellcheck="false";
            datalist #zones { @for zone in OFFERED { option value=(zone) {} } }
            label for="lang" { (view.t(Text::Language)) }
            select #lang name="lang" {
                @for lang in Lang::ALL {
                    option value=(lang.tag()) lang=(lang.tag()) selected[lang == view.lang] {
                        (lang.own_name())
                    }
                }
            }
            button { (view.t(Text::Keep)) }
        }
    }
}

/// Keeps what was chosen in cookies of the viewer's browser, and goes back.
pub(super) fn keep(form: &Form) -> Result<Answer, Away> {
    let zone = form.get("zone").map(|name| name.trim().parse::<Zone>());
    let zone = zone.transpose().map_err(|_| Away::BadZone)?;
    // From the sign-in page, the way back is that page: it keeps no place of its own.
    let mut answer = answers::to(&form.back());
    let headers = answer.headers_mut();
    if let Some(zone) = zone {
        set_choice(headers, ZONE, &zone.to_string());
    }
    if let Some(lang) = form.get("lang").and_then(Lang::of_tag) {
        set_choice(headers, LANG, lang.tag());
    }
    Ok(answer)
}
