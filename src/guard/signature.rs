//! Alarms for callbacks whose signature does not hold: one for each cause, while refusals of it go on.

use super::alarms::{Alarm, Severity};
use crate::domain::time::Timestamp;
use crate::protocol::signature_doctor::Cause;
use crate::store::{DIAGNOSES_APART_MS, DiagnosisRow};

/// What a stranger may have sent is told from so many refusals on: a scan is no trouble.
const STRANGERS: i64 = 3;

/// The alarms for what the doctor has found lately.
pub(super) fn alarms(found: &[DiagnosisRow], now: Timestamp) -> Vec<Alarm> {
    found.iter().filter_map(|row| alarm(row, now)).collect()
}

fn alarm(row: &DiagnosisRow, now: Timestamp) -> Option<Alarm> {
    let cause = Cause::parse(&row.cause)?;
    let goes_on = now.ms_since(row.last_at) < DIAGNOSES_APART_MS;
    if !goes_on || !(row.proven || row.refusals >= STRANGERS) {
        return None;
    }
    let times = if row.refusals == 1 {
        "a callback was".to_owned()
    } else {
        format!("{} callbacks were", row.refusals)
    };
    Some(Alarm {
        id: format!("signature-{}", cause.as_str().replace('_', "-")),
        kind: "signature",
        since: row.since,
        // Who has a key of ours is the marketplace, and what it sends is lost after two hours.
        severity: if row.proven { Severity::High } else { Severity::Warning },
        code: None,
        text: format!("{times} refused with 000001: {}", row.text),
        what_to_do: cause.what_to_do(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::MINUTE_MS;

    const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    fn row(cause: Cause, proven: bool, refusals: i64, ago_ms: i64) -> DiagnosisRow {
        let (since, last_at) = (NOW.plus_ms(-9_000_000), NOW.plus_ms(-ago_ms));
        let (cause, text) = (cause.as_str().to_owned(), "why".to_owned());
        DiagnosisRow { cause, since, last_at, refusals, proven, text }
    }

    #[test]
    fn what_a_key_of_ours_proves_is_told_at_once_and_a_stranger_after_three() {
        for (proven, refusals, severity) in [
            (true, 1, Some(Severity::High)),
            (false, 1, None),
            (false, 2, None),
            (false, 3, Some(Severity::Warning)),
        ] {
            let told = alarms(&[row(Cause::Unknown, proven, refusals, 0)], NOW);
            assert_eq!(told.first().map(|alarm| alarm.severity), severity, "{proven} {refusals}");
        }
    }

    #[test]
    fn each_cause_has_one_alarm_that_ends_an_hour_after_its_last_refusal() {
        let rows = Cause::ALL.map(|cause| row(cause, true, 2, DIAGNOSES_APART_MS - 1));
        let told = alarms(&rows, NOW);
        let mut ids: Vec<_> = told.iter().map(|alarm| alarm.id.clone()).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), Cause::ALL.len());
        assert!(told.iter().all(|alarm| alarm.since == NOW.plus_ms(-9_000_000)));
        assert!(alarms(&rows, NOW.plus_ms(MINUTE_MS)).is_empty());
    }
}
