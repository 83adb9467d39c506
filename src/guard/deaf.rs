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
        text: format!("gaps in which calls may have been missed and that are not settled: {open}"),
        what_to_do: "nothing while `authcoded job list` shows the reconcile at work: it compares every code. Otherwise see `authcoded guard`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::deafness::{Cause, Gap, Missed};
    use crate::domain::time::HOUR_MS;
    use crate::store::MissedCall;
    use std::collections::BTreeSet;

    #[test]
    fn a_missed_call_is_counted_until_it_arrives() {
        let at = Timestamp::from_ms(1_795_249_800_000);
        let missed = |arrived_at| MissedCall {
            code: "PL1".to_owned(),
            missed: Missed::Renewal,
            found_at: at,
            arrived_at,
        };
        let causes = BTreeSet::from([Cause::Down]);
        let mut gap = DeafGap {
            id: 1,
            gap: Gap { from: at, until: at.plus_ms(HOUR_MS), causes },
            before: None,
            after: None,
            settled_at: Some(at),
            asked: 1,
            repaired: 1,
            missed: vec![missed(None), missed(Some(at))],
        };
        assert!(told(&gap).contains("found 1 calls"), "{}", told(&gap));
        gap.missed.remove(0);
        assert!(!told(&gap).contains("found") && !told(&gap).contains("not every code"));
        gap.settled_at = None;
        assert!(
            told(&gap).ends_with("not every code has been compared with the marketplace since")
        );
    }
}
