//! One callback: what came, what was decided, what was answered.

use super::answers::{self, Away};
use super::front::callback_code;
use super::layout::{Tab, facts, told, verdict_mark};
use super::texts::Text;
use super::view::View;
use super::{Page, words};
use crate::http::body::Query;
use crate::http::problem::Answer;
use crate::store::CallbackRow;
use maud::{Markup, html};
use serde_json::Value;

impl Page {
    pub(super) fn callback(
        &self,
        view: &View,
        id: &str,
        query: Option<&str>,
    ) -> Result<Answer, Away> {
        Query::parse(query, &[])?;
        let id = id.parse().map_err(|_| Away::NotFound)?;
        let row = self.lifecycle.store.read(|snapshot| snapshot.callback(id))?;
        let row = row.ok_or(Away::NotFound)?;
        let content = html! {
            (came(view, &row))
            (decided(view, &row))
            @if let Some(word) = doctors_word(&row) {
                section { h2 { (view.t(Text::DoctorSays)) } p { (told(&word)) } }
            }
            (answered(view, &row))
        };
        let title = format!("{} {}", view.t(Text::Callback), row.id);
        Ok(answers::page(view, &title, Some(Tab::Callbacks), &content))
    }
}

fn came(view: &View, row: &CallbackRow) -> Markup {
    let signed_at = html! {
        @match row.signed_at {
            Some(at) => (view.time(at)),
            None => (view.t(Text::NotVerified)),
        }
    };
    let activity = html! {
        (view.word(words::activity(&row.activity), &row.activity)) " " code { (row.activity) }
    };
    let test = if row.test { Text::Yes } else { Text::No };
    let rows = [
        (Text::ReceivedAt, view.time(row.received_at)),
        (Text::SignedAt, signed_at),
        (Text::Activity, activity),
        (Text::Code, callback_code(view, row)),
        (Text::TestTraffic, html! { (view.t(test)) }),
        (Text::ClockAhead, clock_ahead(view, row.clock_skew_ms)),
        (Text::RequestId, html! { code { (view.maybe(row.request_id.as_deref())) } }),
    ];
    html! {
        section {
            h2 { (view.t(Text::WhatCame)) }
            (facts(view, &rows))
            @if let Some(head) = &row.head {
                h3 { (view.t(Text::HeadAsReceived)) }
                pre tabindex="0" { code { (head_lines(head)) } }
            }
            h3 { (view.t(Text::BodyAsReceived)) }
            pre tabindex="0" { code { (String::from_utf8_lossy(&row.body)) } }
        }
    }
}

/// How far our clock was ahead of the marketplace's when the call came.
fn clock_ahead(view: &View, ms: Option<i64>) -> Markup {
    html! {
        @match ms {
            Some(ms) => { (ms) " " (view.t(Text::Milliseconds)) }
            None => (view.t(Text::NotKnown)),
        }
    }
}

/// The head line by line, as it came over the wire; the text itself if it is none of ours.
fn head_lines(head: &str) -> String {
    let Ok(parsed) = serde_json::from_str::<Value>(head) else { return head.to_owned() };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![format!("{} {}", text(&parsed["method"]), text(&parsed["target"]))];
    for header in parsed["headers"].as_array().into_iter().flatten() {
        lines.push(format!("{}: {}", text(&header[0]), text(&header[1])));
    }
    if let Some(omitted) = parsed["omitted"].as_u64().filter(|omitted| *omitted > 0) {
        lines.push(format!("… (+{omitted})"));
    }
    lines.join("\n")
}

fn decided(view: &View, row: &CallbackRow) -> Markup {
    html! {
        section {
            h2 { (view.t(Text::WhatWasDecided)) }
            p { (verdict_mark(view, &row.verdict)) }
            @if let Some((_, means)) = words::verdict(&row.verdict) { p { (view.t(means)) } }
            @if !row.detail.is_empty() { p { (told(&row.detail)) } }
        }
    }
}

/// What the signature's shape says of a call that was refused, once somebody looks at it.
fn doctors_word(row: &CallbackRow) -> Option<String> {
    row.doctor.clone()
}

fn answered(view: &View, row: &CallbackRow) -> Markup {
    let answer = words::answer(&row.result_code);
    let rows = [
        (
            Text::Answered,
            html! {
                code { (row.result_code) } " "
                @if let Some(answer) = answer { (view.t(answer)) }
            },
        ),
        (Text::Took, html! { (row.duration_ms) " " (view.t(Text::Milliseconds)) }),
    ];
    html! {
        section {
            h2 { (view.t(Text::WhatWasAnswered)) }
            (facts(view, &rows))
            @if let Some(reply) = &row.reply {
                h3 { (view.t(Text::ReplyAsSent)) }
                pre tabindex="0" { code { (String::from_utf8_lossy(reply)) } }
            }
        }
    }
}
