//! The deafness report: gaps in which calls may have been missed, until every code was compared since.

use super::{Alarm, Guard, Severity};
use crate::domain::time::Timestamp;
use crate::store::{DeafGap, StoreError};
use std::fmt::Write as _;

/// What a gap may have cost, for people.
#[must_use]
pub fn told(gap: &DeafGap) -> String {
    let mut text = match gap.gap.given_up() {
        Some((from, until)) => format!(
            "calls first made from {from} to {until} were given up before we heard again; those that are not \
             on the restart list were never seen: look for them in 卖家中心 > 生产接口消息. A freeze among them \
             is known there alone"
        ),
        None => "shorter than two hours: whatever was tried in it is tried again".to_owned(),
    };
    let open = gap.missed.iter().filter(|missed| missed.arrived_at.is_none()).count();
    if open > 0 {
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "; the comparison found {open} calls that must have been made and did not come, and what they would have told is applied"
        );
    }
    if gap.settled_at.is_none() {
        text.push_str("; not every code has been compared with the marketplace since");
    }
    text
}

impl Guard {
    /// What is wrong because calls may have been missed.
    pub(super) fn deaf_alarms(&self) -> Result<Option<Alarm>, StoreError> {
        let (open, since) = self.lifecycle.store.read(|snapshot| snapshot.open_gaps())?;
        Ok(since.map(|since| unsettled(open, since)))
    }
}

fn unsettled(open: i64, since: Timestamp) -> Alarm {
    Alarm {
        id: "deaf".to_owned(),
        kind: "deaf",
        since,
        severity: Severity::Warning,
        code: None,
        text: format!("{open} gaps in which calls may have been missed are not settled"),
        what_to_do: "nothing while `authcoded job list` shows the reconcile at work: it compares every code. Otherwise see `authcoded guard`",
    }
}
