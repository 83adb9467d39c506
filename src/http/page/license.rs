//! One code: its facts, what the software would be told, what can be done, and all that happened.

use super::answers::{self, Away};
use super::form::Form;
use super::front::alarm_card;
use super::layout::{Tab, facts, message, state_mark, table, ways_on};
use super::texts::{Lang, Text};
use super::timeline::{Cursor, Timeline};
use super::view::{View, license_path, with_query};
use super::{Page, words};
use crate::domain::entitlement::{ask_first, days_left, decide};
use crate::domain::license::{License, OrderId};
use crate::domain::next_step::next_step;
use crate::domain::state::State;
use crate::domain::transition::Command;
use crate::guard::Alarm;
use crate::http::admin::code_of;
use crate::http::body::Query;
use crate::http::problem::{Answer, Problem};
use crate::store::LicenseRow;
use maud::{Markup, html};

/// Entries of the timeline on one page.
const ENTRIES: usize = 100;

/// What an operator may order about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Activate,
    Query,
    Received,
    Release,
}

impl Act {
    const ALL: [Self; 4] = [Self::Activate, Self::Query, Self::Received, Self::Release];

    /// The word in addresses, forms and events.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Query => "query",
            Self::Received => "received",
            Self::Release => "release",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.as_str() == word)
    }

    const fn name(self) -> Text {
        match self {
            Self::Activate => Text::ActActivate,
            Self::Query => Text::ActQuery,
            Self::Received => Text::ActReceived,
            Self::Release => Text::ActRelease,
        }
    }

    /// What is said before it is confirmed.
    const fn means(self) -> Text {
        match self {
            Self::Activate => Text::ActivateMeans,
            Self::Query => Text::QueryMeans,
            Self::Received => Text::ReceivedMeans,
            Self::Release => Text::ReleaseMeans,
        }
    }

    /// Whether it makes sense in this state; what is not offered is refused or without effect.
    const fn is_offered(self, state: State) -> bool {
        match self {
            Self::Activate => matches!(state, State::Issued | State::Received),
            Self::Query => true,
            Self::Received => matches!(state, State::Issued),
            Self::Release => !matches!(state, State::Released),
        }
    }

    /// What cannot be taken back is not done without a reason.
    const fn needs_a_reason(self) -> bool {
        matches!(self, Self::Release)
    }
}

impl Page {
    pub(super) async fn license(
        &self,
        view: &View,
        segment: &str,
        query: Option<&str>,
    ) -> Result<Answer, Away> {
        let query = Query::parse(query, &["act", "told", "cursor"])?;
        let code = code_of(segment)?;
        let from = match query.get("cursor") {
            None => Cursor::default(),
            Some(text) => Cursor::parse(text).ok_or_else(|| Problem::bad_request("cursor"))?,
        };
        let key = code.clone();
        let read = self.lifecycle.store.list(move |snapshot| {
            Ok((snapshot.license_row(&key)?, Timeline::read(snapshot, &key, from, ENTRIES)?))
        });
        let (row, timeline) = read.await?;
        let row = row.ok_or(Away::NotFound)?;
        let alarms = self.guard.alarms()?.into_iter();
        let alarms = alarms.filter(|alarm| alarm.code.as_deref() == Some(code.as_str()));
        let shown = Sheet { row: &row, alarms: alarms.collect(), timeline: &timeline, from };
        let act = query.get("act").and_then(Act::parse);
        let content = html! {
            @if let Some(told) = query.get("told").and_then(words::told) { (message(view.t(told))) }
            @if let Some(act) = act { (shown.confirm(view, act)) }
            @for alarm in &shown.alarms { (alarm_card(view, alarm)) }
            (self.entitlement(view, &row.license))
            (shown.actions(view))
            (shown.facts(view))
            (shown.timeline(view))
        };
        Ok(answers::page(view, code.as_str(), Some(Tab::Licenses), &content))
    }

    /// What the software would be told now, decided as for the software, without asking anybody.
    fn entitlement(&self, view: &View, license: &License) -> Markup {
        let reason = decide(Some(license), view.now, &self.lifecycle.policy);
        let days = days_left(license, view.now);
        let would_ask = ask_first(license, view.now, reason, self.lifecycle.restored_at);
        let facts = facts(
            view,
            &[
                (
                    Text::Decision,
                    html! {
                        span class={ "mark decision-" (reason.verdict().as_str()) } {
                            (view.t(words::decision(reason.verdict())))
                        }
                    },
                ),
                (
                    Text::Reason,
                    html! { (view.t(words::reason(reason))) " " code { (reason.as_str()) } },
                ),
                (
                    Text::DaysLeft,
                    html! {
                        @match days { Some(days) => (days), None => (view.t(Text::Nothing)) }
                    },
                ),
            ],
        );
        html! {
            section {
                h2 { (view.t(Text::EntitlementNow)) }
                (facts)
                p .hint {
                    (view.t(Text::EntitlementHint))
                    @if would_ask { " " (view.t(Text::WouldAsk)) }
                }
            }
        }
    }

    /// Carries out what was confirmed, by the same ways as the admin interface, and keeps the reason.
    pub(super) async fn act_on_license(&self, segment: &str, form: &Form) -> Result<Answer, Away> {
        let code = code_of(segment)?;
        let act = form.get("act").and_then(Act::parse);
        let act = act.ok_or_else(|| Problem::bad_request("there is no such act"))?;
        let reason = form.reason()?;
        if act.needs_a_reason() && reason.is_none() {
            return Err(Away::NoReason);
        }
        let lifecycle = &self.lifecycle;
        let told = match act {
            Act::Activate => {
                lifecycle.remark(Some(&code), act.as_str(), reason.as_deref()).await?;
                lifecycle.activate(&code).await?.outcome.as_str()
            }
            Act::Query => {
                lifecycle.remark(Some(&code), act.as_str(), reason.as_deref()).await?;
                lifecycle.query(&code).await?.outcome.as_str()
            }
            Act::Received => {
                lifecycle.order(&code, Command::BuyerReceived, reason).await?;
                "done"
            }
            Act::Release => {
                lifecycle.order(&code, Command::Release { order_id: None }, reason).await?;
                "done"
            }
        };
        Ok(answers::to(&with_query(&license_path(code.as_str()), &[("told", Some(told))])))
    }
}

/// What the page of one code shows.
struct Sheet<'a> {
    row: &'a LicenseRow,
    alarms: Vec<Alarm>,
    timeline: &'a Timeline,
    from: Cursor,
}

impl Sheet<'_> {
    fn path(&self) -> String {
        license_path(self.row.license.code.as_str())
    }

    fn actions(&self, view: &View) -> Markup {
        let state = self.row.license.state();
        html! {
            section {
                h2 { (view.t(Text::Actions)) }
                p .ways {
                    @for act in Act::ALL.into_iter().filter(|act| act.is_offered(state)) {
                        a .button href={ (with_query(&self.path(), &[("act", Some(act.as_str()))])) "#confirm" } {
                            (view.t(act.name()))
                        }
                    }
                }
            }
        }
    }

    fn confirm(&self, view: &View, act: Act) -> Markup {
        html! {
            form #confirm .card method="post" action=(self.path()) {
                (view.token_field())
                input type="hidden" name="act" value=(act.as_str());
                h2 { (view.t(Text::ConfirmTitle)) ": " (view.t(act.name())) }
                p { (view.t(act.means())) }
                label for="reason" { (view.t(Text::ReasonLabel)) }
                textarea #reason name="reason" rows="2" maxlength="1000"
                    required[act.needs_a_reason()] {}
                p .ways {
                    button { (view.t(Text::Confirm)) }
                    a .button href=(self.path()) { (view.t(Text::Cancel)) }
                }
            }
        }
    }

    fn facts(&self, view: &View) -> Markup {
        let license = &self.row.license;
        let freeze = license.freeze();
        let next = next_step(license, self.row.next_activation_at, view.now);
        let told = match view.lang {
            Lang::Zh => next.zh(),
            Lang::En => next.en(),
        };
        let text = |text: Option<&str>| html! { (view.maybe(text)) };
        let rows = [
            (Text::State, state_mark(view, license.state())),
            (Text::BuyerIsTold, html! { (told) }),
            (Text::Expires, view.maybe_time(license.expiry.map(|expiry| expiry.at))),
            (Text::EndAsWritten, text(license.expiry.as_ref().map(|expiry| expiry.text.as_str()))),
            (Text::EndConfirmed, view.maybe_time(license.end_confirmed_at)),
            (Text::MarketplaceSays, html! { (view.t(words::status(license.marketplace_status))) }),
            (Text::MarketplaceAsked, view.maybe_time(license.marketplace_checked_at)),
            (Text::AskFailed, view.maybe_time(license.ask_failed_at)),
            (Text::FrozenSince, view.maybe_time(freeze.map(|freeze| freeze.since))),
            (
                Text::FrozenFrom,
                html! {
                    @match freeze {
                        Some(freeze) => (view.t(words::state(freeze.from.state()))),
                        None => (view.t(Text::Nothing)),
                    }
                },
            ),
            (Text::RenewalsInForce, html! { (license.renewals_in_force) }),
            (Text::Registered, view.time(license.registered_at)),
            (Text::ActivatedAt, view.maybe_time(license.activated_at)),
            (Text::NextActivation, view.maybe_time(self.row.next_activation_at)),
            (Text::LastError, text(license.last_error_code.as_deref())),
            (Text::Order, text(license.order_id.as_ref().map(OrderId::as_str))),
            (Text::Product, text(license.product_id.as_deref())),
            (Text::Note, text(license.note.as_deref())),
        ];
        html! { section { h2 { (view.t(Text::Facts)) } (facts(view, &rows)) } }
    }

    /// A code is any text, so it is quoted for a shell.
    fn evidence_command(&self) -> String {
        let code = self.row.license.code.as_str().replace('\'', r"'\''");
        format!("authcoded evidence evidence.tar --code '{code}'")
    }

    fn timeline(&self, view: &View) -> Markup {
        let columns =
            [Text::At, Text::What, Text::From, Text::Change, Text::Answered, Text::Details];
        let rows = html! { @for entry in &self.timeline.entries { (entry.row(view)) } };
        let start = (self.from != Cursor::default()).then(|| format!("{}#timeline", self.path()));
        let next = self.timeline.next.map(|cursor| {
            with_query(&self.path(), &[("cursor", Some(&cursor.text()))]) + "#timeline"
        });
        html! {
            section #timeline {
                h2 { (view.t(Text::Timeline)) }
                p .hint { (view.t(Text::TimelineHint)) }
                (table(view, &columns, &rows))
                (ways_on(view, start.as_deref(), next.as_deref()))
                p .hint { (view.t(Text::EvidenceHint)) " " code { (self.evidence_command()) } }
            }
        }
    }
}
