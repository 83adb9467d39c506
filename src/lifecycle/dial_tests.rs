//! Test traffic: answered, recorded, and, when it is not our own heartbeat's, noted as the marketplace's dial
//! test (protocol.md §6).
//!
//! Invariant: nothing here waits for the disk, and no row of a code is read or written.

use super::Lifecycle;
use super::evidence::{About, Evidence, Reply};
use crate::domain::dial_test::PROBE_CODE;
use crate::domain::outcome::ResultCode;
use crate::domain::time::Timestamp;
use crate::store::Verdict;

impl Lifecycle {
    /// Records test traffic of any kind, and answers it.
    pub(super) fn record_test(&self, evidence: &Evidence, about: About<'_>) -> Reply {
        let (code, detail) = (ResultCode::Done, "test traffic: checked, without effect");
        let draft = evidence.draft(about, Verdict::Test, code, detail);
        let dialled_at = (about.code != Some(PROBE_CODE)).then_some(draft.received_at);
        if dialled_at.is_some() {
            self.metrics.dial_test_call("answered");
        }
        let posted = self.store.post(move |tx| {
            tx.insert_callback(&draft)?;
            dialled_at.map_or(Ok(()), |at| tx.note_dial_test(at, false))
        });
        if !posted {
            tracing::warn!("a test callback was answered but not recorded: the queue is full");
        }
        Reply { code, verdict: Some(Verdict::Test) }
    }

    /// Notes an authentic call of a dial test that had to be answered other than 000000.
    pub fn dial_test_refused(&self, received_at: Timestamp) {
        self.metrics.dial_test_call("refused");
        if !self.store.post(move |tx| tx.note_dial_test(received_at, true)) {
            tracing::warn!("a failed dial test was not recorded: the queue is full");
        }
    }
}
