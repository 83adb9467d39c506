//! Whether the marketplace can reach us: the heartbeat's alarm, the delisting clock, and dial tests that
//! should have come.

use super::alarms::{Alarm, Severity};
use super::{Guard, heartbeat};
use crate::domain::delisting::{self, Correction, Delisting, Evidence, FREEZES_AT, Witness};
use crate::domain::dial_test::{DialTest, HalfDay, LEARNT_FROM_DAYS, Watch, Windows, missing};
use crate::domain::time::{DAY_MS, Timestamp, day_text};
use crate::domain::transition::{EventDraft, EventKind, Source};
use crate::store::{ProbeRow, Snapshot, StoreError};
use serde_json::{Value, json};

/// The fact that keeps an operator's word about the delisting clock.
const CORRECTED: &str = "delisting_corrected";
/// Evidence is looked at this far back; a longer row of failing days needs no further proof.
const EVIDENCE_MS: i64 = 60 * DAY_MS;
/// Failing days from which on it is urgent, and an emergency.
const HIGH_DAYS: i64 = 2;
const EMERGENCY_DAYS: i64 = 4;

const REPAIR: &str = "repair what `authcoded probe run` names before the next dial test; if the count is wrong, `authcoded guard delisting --failing-days N --reason WHY`";

/// What an operator said of the delisting clock, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corrected {
    /// When, and how many days.
    pub word: Correction,
    /// Why.
    pub reason: String,
}

/// Where we stand with the marketplace's dial test.
#[derive(Debug, Clone)]
pub struct Availability {
    /// The delisting clock.
    pub delisting: Delisting,
    /// The operator's word that it goes by, if there is one.
    pub corrected: Option<Corrected>,
    /// When dial tests come, as far as it is learnt.
    pub windows: Windows,
    /// When the last call of one came.
    pub last_dial_test: Option<Timestamp>,
}

impl Guard {
    /// Where we stand with the marketplace's dial test.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn availability(&self) -> Result<Availability, StoreError> {
        let now = self.lifecycle.clock.now();
        self.lifecycle.store.read(|snapshot| {
            let corrected = corrected(snapshot)?;
            Ok(Availability {
                delisting: stand(snapshot, corrected.as_ref(), now)?,
                corrected,
                windows: Windows::learn(&lately(snapshot, now)?, now),
                last_dial_test: snapshot.last_dial_test()?,
            })
        })
    }

    /// When the marketplace dials, as far as it is learnt.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn dial_windows(&self) -> Result<Windows, StoreError> {
        let now = self.lifecycle.clock.now();
        let seen = self.lifecycle.store.read(|snapshot| lately(snapshot, now))?;
        Ok(Windows::learn(&seen, now))
    }

    /// Sets the delisting clock, as ordered by an operator who knows better; an event says so.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn correct_delisting(
        &self,
        failing_days: i64,
        reason: String,
    ) -> Result<(), StoreError> {
        let now = self.lifecycle.clock.now();
        let stood = self.availability()?.delisting.failing_days;
        let detail = format!(
            "the delisting clock stands at {failing_days} failing days instead of {stood}; reason given: {reason}"
        );
        let event = EventDraft::note(EventKind::Operator, detail);
        let word = json!({"at": now.as_ms(), "failing_days": failing_days, "reason": reason});
        self.lifecycle
            .store
            .write(move |tx| {
                tx.set_fact(CORRECTED, &word.to_string())?;
                tx.append_event(now, None, Source::Operator, &event)
            })
            .await
    }

    /// What is wrong with our availability now.
    pub(super) fn availability_alarms(&self, now: Timestamp) -> Result<Vec<Alarm>, StoreError> {
        let hears_since = self.lifecycle.hears_since()?.filter(|_| self.on_sale);
        self.lifecycle.store.read(|snapshot| {
            let probe = snapshot.probes(None, 1)?.into_iter().next();
            let failing_since = snapshot.failing_since()?;
            let heartbeat =
                probe.zip(failing_since).map(|(probe, since)| heartbeat_failed(&probe, since));
            let delisting = stand(snapshot, corrected(snapshot)?.as_ref(), now)?;
            // On the first day the heartbeat's alarm has said it already.
            let told = heartbeat.is_some() && delisting.failing_days < HIGH_DAYS;
            let delisting = (!told).then(|| days_failed(delisting, now)).flatten();
            let undialled = match hears_since {
                Some(hears_since) => dial_test_missing(snapshot, hears_since, now)?,
                None => None,
            };
            Ok([heartbeat, delisting, undialled].into_iter().flatten().collect())
        })
    }
}

fn lately(snapshot: &Snapshot<'_>, now: Timestamp) -> Result<Vec<DialTest>, StoreError> {
    snapshot.dial_tests(now.beijing_day() - LEARNT_FROM_DAYS)
}

fn corrected(snapshot: &Snapshot<'_>) -> Result<Option<Corrected>, StoreError> {
    let Some(text) = snapshot.fact(CORRECTED)? else { return Ok(None) };
    let word: Option<Value> = serde_json::from_str(&text).ok();
    let read = |word: Value| {
        Some(Corrected {
            word: Correction {
                at: Timestamp::from_ms(word["at"].as_i64()?),
                failing_days: word["failing_days"].as_i64()?,
            },
            reason: word["reason"].as_str()?.to_owned(),
        })
    };
    word.and_then(read)
        .map(Some)
        .ok_or_else(|| StoreError::Damaged(format!("fact {CORRECTED}: {text}")))
}

fn stand(
    snapshot: &Snapshot<'_>,
    corrected: Option<&Corrected>,
    now: Timestamp,
) -> Result<Delisting, StoreError> {
    let since = now.plus_ms(-EVIDENCE_MS);
    let ours = snapshot.probe_outcomes(since)?;
    let ours = ours.into_iter().map(|(at, outcome)| (at, Witness::Ourselves, outcome == "failed"));
    let theirs = snapshot.dial_tests(since.beijing_day())?;
    let theirs = theirs.into_iter().map(|test| match test.refused_at {
        Some(at) => (at, Witness::Marketplace, true),
        None => (test.last_at, Witness::Marketplace, false),
    });
    let evidence: Vec<_> =
        ours.chain(theirs).map(|(at, witness, failed)| Evidence { at, witness, failed }).collect();
    Ok(delisting::stand(&evidence, corrected.map(|corrected| corrected.word)))
}

fn dial_test_missing(
    snapshot: &Snapshot<'_>,
    hears_since: Timestamp,
    now: Timestamp,
) -> Result<Option<Alarm>, StoreError> {
    let installed = snapshot.began_at()?.unwrap_or(now);
    let seen = lately(snapshot, now)?;
    let ever = snapshot.last_dial_test()?.is_some();
    // What was before the installation could not be seen either.
    let up_since = hears_since.max(installed);
    Ok(missing(&Watch { seen: &seen, ever, installed, up_since }, now).map(not_dialled))
}

fn heartbeat_failed(probe: &ProbeRow, since: Timestamp) -> Alarm {
    let steps: Value = serde_json::from_str(&probe.steps).unwrap_or_default();
    let mut steps = steps.as_array().into_iter().flatten();
    let failed = steps.find(|step| step["outcome"] == "failed");
    let text = |field: &str| failed.and_then(|step| step[field].as_str()).unwrap_or_default();
    let name = text("name");
    Alarm {
        id: "heartbeat".to_owned(),
        kind: "heartbeat",
        since,
        severity: Severity::High,
        code: None,
        text: format!(
            "the availability heartbeat of {} failed ({name}): {}",
            probe.slot,
            text("detail")
        ),
        what_to_do: heartbeat::what_to_do(name),
    }
}

fn days_failed(delisting: Delisting, now: Timestamp) -> Option<Alarm> {
    let days = delisting.failing_days;
    let severity = match days {
        EMERGENCY_DAYS.. => Severity::Emergency,
        HIGH_DAYS..EMERGENCY_DAYS => Severity::High,
        1..HIGH_DAYS => Severity::Warning,
        ..1 => return None,
    };
    let text = match FREEZES_AT - days {
        ..=0 => format!(
            "the dial test has failed on {days} days in a row: trading is frozen at {FREEZES_AT}; ask the marketplace's operations"
        ),
        1 => format!("the dial test has failed on {days} days in a row: one more freezes trading"),
        left => format!(
            "the dial test has failed, or would have, on {days} {} in a row: {left} more freeze trading",
            if days == 1 { "day" } else { "days" }
        ),
    };
    Some(Alarm {
        id: "delisting".to_owned(),
        kind: "delisting",
        since: delisting.since().unwrap_or(now),
        severity,
        code: None,
        text,
        what_to_do: REPAIR,
    })
}

fn not_dialled(half_day: HalfDay) -> Alarm {
    let HalfDay { day, half } = half_day;
    Alarm {
        id: "dial-test-missing".to_owned(),
        kind: "dial_test_missing",
        since: half_day.begins(),
        severity: Severity::Warning,
        code: None,
        text: format!(
            "no dial test was seen on the {} of {} though the product is on sale",
            half.as_str(),
            day_text(day)
        ),
        what_to_do: "look in the console whether the debug cases are saved (调测并保存用例) and which address and key are bound; if the product is not on sale, set guard.on-sale = false",
    }
}
