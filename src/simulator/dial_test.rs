//! The dial test (拨测): the saved debug cases, called every morning and every afternoon (protocol.md 6).
//!
//! Invariant: the cases are the same each time, carry `testFlag` 1, and name codes and orders that no
//! marketplace has; a case fails by the same rule as a real call, and is not repeated.

use super::callbacks::post;
use super::calls::Attempt;
use super::message::{Message, OrderRef, Scene, TestFlag};
use super::millis;
use super::signing::{Manner, sign};
use super::state::Shared;
use crate::domain::slots::{Plan, TimeOfDay, Zone};
use crate::domain::time::{DateText, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// When the marketplace dials, in its own zone.
const TIMES: [&str; 2] = ["09:00", "15:00"];
/// Four years of half-days.
const KEPT: usize = 3_000;
/// After so many failing days trading is frozen.
const DAYS_TO_FREEZE: usize = 5;

/// One case of a dial test.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Case {
    /// What was tested.
    pub name: String,
    /// How it went.
    pub attempt: Attempt,
}

/// One dial test.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DialTest {
    /// The half-day it was for; none when it was started by hand.
    pub slot: Option<String>,
    /// When it began.
    #[serde(with = "millis")]
    pub started_at: Timestamp,
    /// Its cases.
    pub cases: Vec<Case>,
}

impl DialTest {
    /// Whether every case went through.
    pub(super) fn passed(&self) -> bool {
        self.cases.iter().all(|case| case.attempt.error.is_none())
    }
}

/// The dial tests made, oldest first.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct DialBook {
    tests: VecDeque<DialTest>,
}

impl DialBook {
    fn add(&mut self, test: DialTest) {
        if self.tests.len() == KEPT {
            self.tests.pop_front();
        }
        self.tests.push_back(test);
    }

    /// The dial tests, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &DialTest> {
        self.tests.iter().rev()
    }

    /// How many Beijing days with dial tests, up to the newest, had none that passed.
    pub(super) fn failing_days(&self) -> usize {
        let mut passed: BTreeMap<i64, bool> = BTreeMap::new();
        for test in self.tests.iter().filter(|test| test.slot.is_some()) {
            *passed.entry(test.started_at.beijing_day()).or_default() |= test.passed();
        }
        passed.values().rev().take_while(|passed| !**passed).count()
    }

    /// Whether the operations manager would have frozen trading by now.
    pub(super) fn trading_frozen(&self) -> bool {
        self.failing_days() >= DAYS_TO_FREEZE
    }
}

/// The five saved debug cases.
fn cases() -> Vec<(&'static str, Message)> {
    const LICENSE: &str = "PLDIALTEST000000";
    let order = |id: &str| OrderRef::first_line(id.to_owned());
    let refresh = |scene, order_id, end: &str| {
        let end = DateText::parse(end).unwrap_or(DateText::from_utc(Timestamp::from_ms(0)));
        Message::refresh(scene, LICENSE, &order(order_id), None, end, TestFlag::Test)
    };
    let refund = order("CSDIALTEST0003");
    vec![
        ("RENEWAL", refresh(Scene::Renewal, "CSDIALTEST0001", "20301231155959")),
        (
            "UNSUBSCRIBE_RENEWAL_PERIOD",
            refresh(Scene::Unrenewal, "CSDIALTEST0002", "20291231155959"),
        ),
        ("FREEZE", Message::status(LICENSE, true, TestFlag::Test)),
        ("UNFREEZE", Message::status(LICENSE, false, TestFlag::Test)),
        ("RELEASE", Message::release(LICENSE, Some(&refund), TestFlag::Test)),
    ]
}

/// Dials once and records it. None when there is no address to dial.
pub(super) async fn dial(shared: &Shared, slot: Option<String>) -> Option<DialTest> {
    let url = shared.look(|state| state.kept.callback_url.clone())?;
    let started_at = shared.pace.now();
    let mut done = Vec::new();
    for (name, message) in cases() {
        let signed = sign(shared, &url, &message.body, &Manner::default());
        done.push(Case { name: name.to_owned(), attempt: post(shared, &signed).await });
    }
    let test = DialTest { slot, started_at, cases: done };
    tracing::info!(slot = test.slot, passed = test.passed(), "dial test");
    let kept = test.clone();
    shared.change(|state| state.kept.dial_tests.add(kept)).await;
    Some(test)
}

/// Dials twice a day of the office clock. Never ends.
pub(super) async fn dial_daily(shared: Arc<Shared>) {
    let times: Vec<TimeOfDay> = TIMES.iter().filter_map(|time| time.parse().ok()).collect();
    let plan = Plan::Daily { zone: Zone::SHANGHAI, times };
    let mut after = shared.pace.office_now();
    while let Some(slot) = plan.next(after) {
        shared.pace.office_until(slot.due).await;
        dial(&shared, Some(slot.name)).await;
        // What fell due meanwhile is left out: the marketplace does not dial twice for one half-day.
        after = slot.due.max(shared.pace.office_now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::DAY_MS;

    fn test(day: i64, passed: bool) -> DialTest {
        let started_at = Timestamp::from_ms(1_795_249_800_000 + day * DAY_MS);
        let error = (!passed).then(|| "x".to_owned());
        let attempt =
            Attempt { at: started_at, status: None, result_code: None, latency_ms: 1, error };
        let cases = vec![Case { name: "RENEWAL".to_owned(), attempt }];
        DialTest { slot: Some(format!("day {day}")), started_at, cases }
    }

    #[test]
    fn the_five_cases_are_debug_requests_and_always_the_same() {
        let bodies = || cases().into_iter().map(|(_, message)| message.body).collect::<Vec<_>>();
        assert_eq!(bodies(), bodies());
        assert_eq!(bodies().len(), 5);
        assert!(bodies().iter().all(|body| body.contains(r#""testFlag":"1""#)));
        assert!(bodies()[0].contains("20301231155959"), "{}", bodies()[0]);
    }

    #[test]
    fn a_day_fails_when_no_half_of_it_passed() {
        let mut book = DialBook::default();
        for day in 0..4 {
            book.add(test(day, false));
        }
        book.add(test(2, true));
        assert_eq!(book.failing_days(), 1);
        for day in 4..8 {
            book.add(test(day, false));
            book.add(test(day, false));
        }
        assert_eq!((book.failing_days(), book.trading_frozen()), (5, true));
        book.add(test(8, true));
        assert_eq!((book.failing_days(), book.trading_frozen()), (0, false));
    }
}
