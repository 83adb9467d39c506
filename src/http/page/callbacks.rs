//! The list of callbacks, the newest first.

use super::answers::{self, Away};
use super::front::callback_table;
use super::layout::{Tab, ways_on};
use super::texts::Text;
use super::view::{View, with_query};
use super::{Page, words};
use crate::http::admin;
use crate::http::body::Query;
use crate::http::problem::Answer;
use crate::store::{CallbackFilter, Verdict};
use maud::{Markup, html};

/// The activities that can be asked for (protocol.md 4.2).
const ACTIVITIES: [&str; 3] =
    ["refreshLicenseCode", "updateLicenseCodeStatus", "releaseLicenseCode"];

impl Page {
    pub(super) async fn callbacks(&self, view: &View, query: Option<&str>) -> Result<Answer, Away> {
        let query = Query::parse(query, &["code", "verdict", "activity", "limit", "cursor"])?;
        let limit = admin::limit(&query)?;
        let below: Option<i64> = query.parsed("cursor", "a cursor from an earlier page")?;
        let filter = CallbackFilter {
            code: query.text("code"),
            verdict: query.text("verdict"),
            activity: query.text("activity"),
            below,
            limit: limit + 1,
        };
        let mut rows = self.lifecycle.store.list(move |s| s.callbacks(&filter)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let cursor = rows.last().filter(|_| more).map(|row| row.id.to_string());
        let address = |cursor: Option<&str>| {
            let asked =
                ["code", "verdict", "activity", "limit"].map(|name| (name, query.get(name)));
            let parameters: Vec<_> = asked.into_iter().chain([("cursor", cursor)]).collect();
            with_query("/callbacks", &parameters)
        };
        let start = below.map(|_| address(None));
        let next = cursor.as_deref().map(|cursor| address(Some(cursor)));
        let content = html! {
            (form(view, &query))
            @if rows.is_empty() { p { (view.t(Text::NoCallbacksFound)) } }
            @else { (callback_table(view, &rows)) }
            (ways_on(view, start.as_deref(), next.as_deref()))
        };
        Ok(answers::page(view, view.t(Text::Callbacks), Some(Tab::Callbacks), &content))
    }
}

fn form(view: &View, query: &Query) -> Markup {
    let (verdict, activity) = (query.get("verdict"), query.get("activity"));
    html! {
        form .filters role="search" method="get" action="/callbacks" {
            label for="code" { (view.t(Text::Code)) }
            input #code name="code" type="search" value=(query.get("code").unwrap_or(""));
            label for="verdict" { (view.t(Text::Verdict)) }
            select #verdict name="verdict" {
                option value="" { (view.t(Text::AnyVerdict)) }
                @for word in Verdict::ALL.map(Verdict::as_str) {
                    option value=(word) selected[verdict == Some(word)] {
                        (view.word(words::verdict(word).map(|(word, _)| word), word))
                    }
                }
            }
            label for="activity" { (view.t(Text::Activity)) }
            select #activity name="activity" {
                option value="" { (view.t(Text::Nothing)) }
                @for word in ACTIVITIES {
                    option value=(word) selected[activity == Some(word)] {
                        (view.word(words::activity(word), word))
                    }
                }
            }
            button { (view.t(Text::Show)) }
        }
    }
}
