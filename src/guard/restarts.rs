//! The restart list, the calls that may still end on it, and how the month's failed orders stand.

use super::{Alarm, Guard, Severity};
use crate::domain::outcome::ResultCode;
use crate::domain::retry_window::Budget;
use crate::domain::state::State;
use crate::domain::time::{Timestamp, beijing_month};
use crate::store::{FailedCallRow, FailedOrders, StoreError, WindowState};
use std::fmt::Write as _;

/// Calls looked at for an alarm, and those that its text names.
const LOOKED_AT: i64 = 1_000;
const NAMED: usize = 3;

/// What to do about a call on the restart list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Restart it.
    Restart,
    /// Do not: a later FREEZE or UNFREEZE was taken, and a restart would be signed anew.
    Superseded,
    /// A restart fails again: the code is released here.
    Released,
    /// A restart fails again: neither we nor the marketplace know the code.
    Unknown,
    /// A restart fails again: this version cannot read it.
    Malformed,
    /// Only after the key and the clock are right; nothing proves that the marketplace made it.
    Unproven,
}

impl Advice {
    /// What to do about this call.
    #[must_use]
    pub fn of(row: &FailedCallRow) -> Self {
        let call = &row.call;
        let status = ["FREEZE", "UNFREEZE"].contains(&&*call.name.scene);
        if status && row.status_signed_at.is_some_and(|at| at > call.round.last_at) {
            return Self::Superseded;
        }
        if !call.authentic {
            return Self::Unproven;
        }
        match (call.result_code, row.license) {
            (ResultCode::UnknownCode, Some(State::Released)) => Self::Released,
            (ResultCode::UnknownCode, None) => Self::Unknown,
            (ResultCode::Malformed, _) => Self::Malformed,
            (
                ResultCode::UnknownCode
                | ResultCode::NotStored
                | ResultCode::NotAuthentic
                | ResultCode::Done,
                _,
            ) => Self::Restart,
        }
    }

    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Restart => "restart it in 卖家中心 > 生产接口消息",
            Self::Superseded => {
                "do not restart it: a later freeze or unfreeze of this code was taken; tick it off by hand"
            }
            Self::Released => {
                "a restart fails again: the code is released here; compare with the console, then tick it off by hand"
            }
            Self::Unknown => {
                "a restart fails again: nobody knows this code; ask the marketplace's operations"
            }
            Self::Malformed => {
                "a restart fails again: this version cannot read the call; see `authcoded callback list`"
            }
            Self::Unproven => {
                "compare the access key and the clock, then look for it in 卖家中心 > 生产接口消息; if it is not there, a stranger sent it"
            }
        }
    }
}

/// How the month's failed orders stand.
#[derive(Debug, Clone)]
pub struct FailedOrdersReport {
    /// `yyyy-mm` in Asia/Shanghai.
    pub month: String,
    /// The orders.
    pub orders: FailedOrders,
    /// How many may fail in a month.
    pub allowed: u32,
}

impl FailedOrdersReport {
    fn budget(&self) -> Budget {
        Budget::of(self.orders.failed, self.orders.at_risk, self.allowed)
    }
}

impl Guard {
    /// How the failed orders of this month stand.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn failed_orders(&self, now: Timestamp) -> Result<FailedOrdersReport, StoreError> {
        let (began, month) = beijing_month(now);
        let orders = self.lifecycle.store.read(|snapshot| snapshot.failed_orders(began))?;
        Ok(FailedOrdersReport { month, orders, allowed: self.failed_orders_per_month })
    }

    /// What is wrong because calls failed. A call that neither its signature nor its code shows to be ours
    /// raises nothing: anybody could.
    pub(super) fn restart_alarms(&self, now: Timestamp) -> Result<Vec<Alarm>, StoreError> {
        let read = |state| {
            self.lifecycle.store.read(|snapshot| {
                let counts = snapshot.failed_call_counts(state)?;
                let mut calls = snapshot.failed_calls(state, LOOKED_AT)?;
                calls.retain(|row| row.call.authentic || row.license.is_some());
                Ok((counts, calls))
            })
        };
        let mut alarms = Vec::new();
        let (counts, calls) = read(WindowState::Restart)?;
        if let Some(first) = calls.first() {
            let all = counts.proved + counts.claimed;
            let severity = if counts.proved > 0 { Severity::High } else { Severity::Warning };
            alarms.push(Alarm {
                id: "restart-list".to_owned(),
                kind: "restart_list",
                since: first.call.given_up_at.unwrap_or(now),
                severity,
                code: None,
                text: format!("calls that the marketplace has given up: {all} ({})", named(&calls)),
                what_to_do: "see `authcoded guard`; restart them in 卖家中心 > 生产接口消息, they are ticked off when they come. A renewal that stays away may cost the buyer the code",
            });
        }
        let (counts, calls) = read(WindowState::Open)?;
        if let Some(first) = calls.first() {
            let all = counts.proved + counts.claimed;
            alarms.push(Alarm {
                id: "retry-windows".to_owned(),
                kind: "retry_windows",
                since: first.call.round.first_at,
                severity: Severity::Warning,
                code: None,
                text: format!("calls that fail and are repeated: {all} ({})", named(&calls)),
                what_to_do: "repair what refuses them within two hours of the first attempt: see `authcoded guard` and the log",
            });
        }
        alarms.extend(over_budget(&self.failed_orders(now)?, now));
        Ok(alarms)
    }
}

fn named(calls: &[FailedCallRow]) -> String {
    let mut text = String::new();
    for row in calls.iter().take(NAMED) {
        let name = &row.call.name;
        let which = if name.order_id.is_empty() { &name.code } else { &name.order_id };
        let what = if name.scene.is_empty() { &name.activity } else { &name.scene };
        let comma = if text.is_empty() { "" } else { ", " };
        let what = if what.is_empty() { "unreadable" } else { what };
        let space = if which.is_empty() { "" } else { " " };
        // Writing to a String does not fail.
        let _ = write!(text, "{comma}{what}{space}{which}");
    }
    if calls.len() > NAMED {
        text.push_str(", …");
    }
    text
}

fn over_budget(report: &FailedOrdersReport, now: Timestamp) -> Option<Alarm> {
    let FailedOrdersReport { month, orders, allowed } = report;
    let FailedOrders { failed, at_risk, unproven } = orders;
    let (severity, verdict) = match report.budget() {
        Budget::Untouched => return None,
        Budget::Touched if *failed == 0 => return None,
        Budget::Touched => (Severity::Warning, "within what is allowed"),
        Budget::AtRisk => (Severity::High, "too many if those at risk fail as well"),
        Budget::Exceeded => (Severity::High, "too many: the product may be delisted"),
    };
    let unproven = if *unproven == 0 {
        String::new()
    } else {
        format!(" ({unproven} more that nothing proves)")
    };
    Some(Alarm {
        id: format!("failed-orders-{month}"),
        kind: "failed_orders",
        since: now,
        severity,
        code: None,
        text: format!(
            "failed orders in {month}: {failed}, at risk: {at_risk}, allowed: {allowed}; {verdict}{unproven}"
        ),
        what_to_do: "see `authcoded guard`; repair what refuses the calls, and restart those that were given up",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::retry_window::{CallName, Round};
    use crate::store::FailedCall;

    const LAST_AT: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    fn failed(scene: &str, result_code: ResultCode, license: Option<State>) -> FailedCallRow {
        let call = FailedCall {
            id: Some(1),
            name: CallName { scene: scene.to_owned(), ..CallName::default() },
            authentic: true,
            result_code,
            round: Round::begun(LAST_AT),
            state: WindowState::Restart,
            given_up_at: None,
            ended_at: None,
            reason: None,
        };
        FailedCallRow { call, license, status_signed_at: None }
    }

    #[test]
    fn the_advice_for_a_call_goes_by_why_it_failed() {
        let live = Some(State::Activated);
        for (code, license, advice) in [
            (ResultCode::UnknownCode, Some(State::Released), Advice::Released),
            (ResultCode::UnknownCode, None, Advice::Unknown),
            (ResultCode::UnknownCode, live, Advice::Restart),
            (ResultCode::Malformed, live, Advice::Malformed),
            (ResultCode::NotStored, live, Advice::Restart),
            (ResultCode::NotAuthentic, live, Advice::Restart),
        ] {
            let mut row = failed("RENEWAL", code, license);
            assert_eq!(Advice::of(&row), advice, "{code:?} {license:?}");
            row.call.authentic = false;
            assert_eq!(Advice::of(&row), Advice::Unproven, "{code:?} {license:?}");
        }
    }

    #[test]
    fn only_a_later_status_overtakes_and_only_a_status() {
        for (scene, later_ms, advice) in [
            ("FREEZE", 1, Advice::Superseded),
            ("UNFREEZE", 1, Advice::Superseded),
            ("FREEZE", 0, Advice::Restart),
            ("RENEWAL", 1, Advice::Restart),
        ] {
            let mut row = failed(scene, ResultCode::NotStored, Some(State::Activated));
            row.status_signed_at = Some(LAST_AT.plus_ms(later_ms));
            assert_eq!(Advice::of(&row), advice, "{scene} {later_ms}");
        }
    }

    #[test]
    fn three_calls_are_named_and_more_are_hinted_at() {
        let calls = |n| vec![failed("RENEWAL", ResultCode::NotStored, None); n];
        assert!(!named(&calls(NAMED)).contains('…'));
        assert_eq!(named(&[failed("", ResultCode::Malformed, None)]), "unreadable");
        assert!(named(&calls(NAMED + 1)).ends_with(", …"));
    }

    #[test]
    fn failed_orders_are_told_by_what_is_allowed() {
        let (warning, high) = (Some(Severity::Warning), Some(Severity::High));
        for (failed, at_risk, severity) in
            [(0, 0, None), (0, 5, None), (1, 0, warning), (0, 6, high), (5, 1, high), (6, 0, high)]
        {
            let orders = FailedOrders { failed, at_risk, unproven: 0 };
            let report = FailedOrdersReport { month: "2026-11".to_owned(), orders, allowed: 5 };
            let told = over_budget(&report, LAST_AT).map(|alarm| alarm.severity);
            assert_eq!(told, severity, "{failed} {at_risk}");
        }
    }
}
