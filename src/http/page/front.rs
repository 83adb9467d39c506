//! The front page: what needs a human now, then how things stand.

use super::answers::{self, Away};
use super::layout::{Tab, code_link, table, told, verdict_mark};
use super::texts::Text;
use super::view::{View, encoded};
use super::{Page, chart, words};
use crate::domain::state::State;
use crate::domain::time::{DAY_MS, Timestamp};
use crate::guard::{Alarm, Availability, FailedOrdersReport, Severity};
use crate::http::body::Query;
use crate::http::problem::Answer;
use crate::store::{
    BuyerWait, CallbackFilter, CallbackRow, FailedCallRow, StoreError, WindowState,
};
use maud::{Markup, html};

/// Codes that wait for their buyer, the longest waiting; the others are counted.
const WAITING: usize = 10;
/// The last callbacks that are no test traffic, looked for among so many.
const CALLBACKS: usize = 10;
const LOOKED_AT: usize = 100;
/// Calls of the restart list; the command line shows them all.
const RESTARTS: i64 = 20;
/// Days of the strip.
pub(super) const STRIP_DAYS: i64 = 14;

/// What the front page tells. Each part has a function of its own below.
struct Front {
    alarms: Vec<Alarm>,
    waiting: Vec<BuyerWait>,
    waiting_in_all: usize,
    heartbeats: Vec<(Timestamp, String)>,
    next_heartbeat: Option<Timestamp>,
    licenses: [(State, i64); State::ALL.len()],
    callbacks: Vec<CallbackRow>,
    availability: Availability,
    failed_orders: FailedOrdersReport,
    restart_list: Vec<FailedCallRow>,
}

impl Page {
    pub(super) fn front(&self, view: &View, query: Option<&str>) -> Result<Answer, Away> {
        Query::parse(query, &[])?;
        let front = self.look(view.now)?;
        let content = html! {
            (find(view))
            div #live {
                (front.needs_you(view))
                (front.waiting(view))
                (front.heartbeats(view))
                (front.dial_tests(view))
                (front.licenses(view))
                (front.callbacks(view))
            }
        };
        Ok(answers::page(view, view.t(Text::Front), Some(Tab::Front), &content))
    }

    fn look(&self, now: Timestamp) -> Result<Front, StoreError> {
        let alarms = self.guard.alarms()?;
        let availability = self.guard.availability()?;
        let failed_orders = self.guard.failed_orders(now)?;
        let since = now.plus_ms(-STRIP_DAYS * DAY_MS);
        let last = CallbackFilter { limit: LOOKED_AT, ..CallbackFilter::default() };
        self.lifecycle.store.read(|snapshot| {
            Ok(Front {
                alarms,
                waiting: snapshot.buyer_waits(WAITING)?,
                waiting_in_all: usize::try_from(snapshot.waiting_for_buyer()?).unwrap_or(0),
                heartbeats: snapshot.probe_outcomes(since)?,
                next_heartbeat: self.board.next_heartbeat(now),
                licenses: snapshot.license_counts()?,
                callbacks: real(snapshot.callbacks(&last)?),
                availability,
                failed_orders,
                restart_list: snapshot.failed_calls(WindowState::Restart, RESTARTS)?,
            })
        })
    }
}

/// Without what the heartbeats and the marketplace's dial tests sent.
fn real(callbacks: Vec<CallbackRow>) -> Vec<CallbackRow> {
    callbacks.into_iter().filter(|row| !row.test).take(CALLBACKS).collect()
}

/// The shortest way to a code.
fn find(view: &View) -> Markup {
    html! {
        form .filters role="search" method="get" action="/licenses" {
            label for="text" { (view.t(Text::FindCode)) }
            input #text name="text" type="search" placeholder=(view.t(Text::CodeOrderOrNoteContains));
            button { (view.t(Text::Show)) }
        }
    }
}

impl Front {
    fn needs_you(&self, view: &View) -> Markup {
        html! {
            section {
                h2 { (view.t(Text::NeedsYou)) }
                @if self.alarms.is_empty() { p .well { (view.t(Text::AllWell)) } }
                @for alarm in &self.alarms { (alarm_card(view, alarm)) }
            }
        }
    }

    fn waiting(&self, view: &View) -> Markup {
        let rows = html! {
            @for wait in &self.waiting {
                tr {
                    td { (code_link(view, Some(&wait.code))) }
                    td { (view.since(wait.since)) }
                    td { (view.time(wait.due_at)) }
                }
            }
        };
        let others = self.waiting_in_all.saturating_sub(self.waiting.len());
        html! {
            section {
                h2 { (view.t(Text::WaitingForBuyer)) " (" (self.waiting_in_all) ")" }
                @if self.waiting.is_empty() {
                    p { (view.t(Text::NobodyWaits)) }
                } @else {
                    p .hint { (view.t(Text::WaitingHint)) }
                    (table(view, &[Text::Code, Text::WaitsFor, Text::NextTry], &rows))
                    @if others > 0 { p { (view.t(Text::AndMore)) " " (others) } }
                }
            }
        }
    }

    fn heartbeats(&self, view: &View) -> Markup {
        html! {
            section {
                h2 { (view.t(Text::HeartbeatStrip)) }
                p .hint { (view.t(Text::HeartbeatHint)) }
                (chart::half_days(view, &self.heartbeats))
                p {
                    (view.t(Text::LastHeartbeat)) " "
                    (view.maybe_time(self.heartbeats.last().map(|(at, _)| *at)))
                    " · " (view.t(Text::NextHeartbeat)) " " (view.maybe_time(self.next_heartbeat))
                    " · " a href="/jobs" { (view.t(Text::Jobs)) }
                }
            }
        }
    }

    fn dial_tests(&self, view: &View) -> Markup {
        let (stand, orders) = (&self.availability, &self.failed_orders);
        let rows = html! {
            @for row in &self.restart_list {
                tr {
                    td { (row.call.name.order_id) }
                    td { (code_link(view, Some(row.call.name.code.as_str()).filter(|code| !code.is_empty()))) }
                    td { (row.call.name.activity) " " (row.call.name.scene) }
                    td { (row.call.result_code.as_str()) }
                    td { (view.maybe_time(row.call.given_up_at)) }
                }
            }
        };
        let columns = [Text::Order, Text::Code, Text::Activity, Text::Answered, Text::GivenUp];
        html! {
            section {
                h2 { (view.t(Text::DialTests)) }
                p {
                    (view.t(Text::FailingDays)) ": " strong { (stand.delisting.failing_days) }
                    " · " (view.t(Text::LastDialTest)) " " (view.maybe_time(stand.last_dial_test))
                }
                p {
                    (view.t(Text::FailedOrders)) ": " strong { (orders.orders.failed) }
                    " (" (view.t(Text::OrdersAllowed)) " " (orders.allowed) ")"
                    " · " (view.t(Text::OrdersAtRisk)) ": " (orders.orders.at_risk)
                }
                @if self.restart_list.is_empty() {
                    p { (view.t(Text::NothingToRestart)) }
                } @else {
                    h3 { (view.t(Text::RestartList)) }
                    (table(view, &columns, &rows))
                }
            }
        }
    }

    fn licenses(&self, view: &View) -> Markup {
        html! {
            section {
                h2 { (view.t(Text::LicensesByState)) }
                (chart::by_state(view, &self.licenses))
            }
        }
    }

    fn callbacks(&self, view: &View) -> Markup {
        html! {
            section {
                h2 { (view.t(Text::LastCallbacks)) }
                @if self.callbacks.is_empty() { p { (view.t(Text::NoCallbacks)) } }
                @else { (callback_table(view, &self.callbacks)) }
                p { a href="/callbacks" { (view.t(Text::Callbacks)) } }
            }
        }
    }
}

/// An alarm with what to do about it, in the viewer's language as far as its kind is known.
pub(super) fn alarm_card(view: &View, alarm: &Alarm) -> Markup {
    let known = words::alarm(alarm.kind, view.lang);
    let severity = match alarm.severity {
        Severity::Warning => Text::SeverityWarning,
        Severity::High => Text::SeverityHigh,
        Severity::Emergency => Text::SeverityEmergency,
    };
    html! {
        article class={ "alarm alarm-" (alarm.severity.as_str()) } {
            h3 {
                span .mark { (view.t(severity)) } " "
                @match known { Some((title, _)) => (title), None => (told(&alarm.text)) }
            }
            p {
                (view.t(Text::Since)) " " (view.time(alarm.since))
                " (" (view.since(alarm.since)) ")"
                @if let Some(code) = &alarm.code {
                    " · " a .code href={ "/licenses/" (encoded(code)) } { (code) }
                }
            }
            @if known.is_some() { p .hint { (told(&alarm.text)) } }
            p {
                strong { (view.t(Text::WhatToDo)) } ": "
                @match known {
                    Some((_, Some(remedy))) => (remedy),
                    Some((_, None)) | None => (told(alarm.what_to_do)),
                }
            }
        }
    }
}

/// The code of a callback; that of test traffic leads nowhere.
pub(super) fn callback_code(view: &View, row: &CallbackRow) -> Markup {
    html! {
        @if row.test { code { (view.maybe(row.code.as_deref())) } }
        @else { (code_link(view, row.code.as_deref())) }
    }
}

/// Callbacks as rows that lead to their pages.
pub(super) fn callback_table(view: &View, callbacks: &[CallbackRow]) -> Markup {
    let rows = html! {
        @for row in callbacks {
            tr {
                td { a href={ "/callbacks/" (row.id) } { (row.id) } }
                td { (view.time(row.received_at)) }
                td { (view.word(words::activity(&row.activity), &row.activity)) }
                td { (callback_code(view, row)) }
                td { (verdict_mark(view, &row.verdict)) }
                td { code { (row.result_code) } }
                td { (row.duration_ms) " " (view.t(Text::Milliseconds)) }
            }
        }
    };
    let columns = [
        Text::Number,
        Text::ReceivedAt,
        Text::Activity,
        Text::Code,
        Text::Verdict,
        Text::Answered,
        Text::Took,
    ];
    table(view, &columns, &rows)
}
