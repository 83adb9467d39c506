//! Refused callbacks, examined one after the other once their reply has left, and then recorded.
//!
//! Invariants: nobody waits for a diagnosis, and none changes what was answered; the queue is bounded and
//! so is what it may cost; each call handed over is recorded once, examined or not.

use crate::lifecycle::Lifecycle;
use crate::protocol::signature_doctor::{Case, Diagnosis, Doctor};
use crate::store::{CallbackDraft, DiagnosisDraft};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Calls that may wait to be examined; more are recorded without.
const QUEUE: usize = 64;
/// How long a call waits at least. Its reply needs no more than the time to be written to a socket, so
/// that no search is under way while anybody measures it.
const REPLY_FIRST: Duration = Duration::from_millis(500);
/// The pause between two searches: five a second, each of a few milliseconds of one core.
const PAUSE: Duration = Duration::from_millis(200);

/// A call that was refused as not authentic.
pub struct RefusedCall {
    /// Who knows the keys of its type of interface.
    pub doctor: Arc<Doctor>,
    /// The query of its URL.
    pub query: Option<String>,
    /// Its headers that may hold a signature.
    pub headers: Vec<(&'static str, String)>,
    /// Its whole body.
    pub body: Bytes,
    /// When its last byte was read.
    pub began: Instant,
    /// The id of its log line.
    pub request_id: Option<String>,
    /// Its record.
    pub draft: CallbackDraft,
    /// It is one of the heartbeat's own that must be refused.
    pub ours: bool,
}

/// The way to the doctor. Cheap to clone; the doctor's work ends when the last one is gone.
#[derive(Clone)]
pub struct DoctorQueue {
    calls: mpsc::Sender<RefusedCall>,
    lifecycle: Arc<Lifecycle>,
}

/// Starts the doctor's work. When `stop` turns true nothing waits any more, and what is queued is finished.
#[must_use]
pub fn start_doctor(
    lifecycle: Arc<Lifecycle>,
    stop: watch::Receiver<bool>,
) -> (DoctorQueue, JoinHandle<()>) {
    let (calls, queued) = mpsc::channel(QUEUE);
    let queue = DoctorQueue { calls, lifecycle: Arc::clone(&lifecycle) };
    (queue, tokio::spawn(work(queued, lifecycle, stop)))
}

impl DoctorQueue {
    /// Takes a call to be examined and recorded, at once and without waiting; without room it is only
    /// recorded.
    pub fn take(&self, call: RefusedCall) {
        let full = match self.calls.try_send(call) {
            Ok(()) => return,
            Err(
                mpsc::error::TrySendError::Full(call) | mpsc::error::TrySendError::Closed(call),
            ) => call,
        };
        self.lifecycle.metrics.unexamined();
        let draft = full.draft;
        self.lifecycle.store.post(move |tx| tx.insert_callback(&draft).map(drop));
    }
}

async fn work(
    mut queued: mpsc::Receiver<RefusedCall>,
    lifecycle: Arc<Lifecycle>,
    mut stop: watch::Receiver<bool>,
) {
    while let Some(call) = queued.recv().await {
        sleep_unless(&mut stop, REPLY_FIRST.saturating_sub(call.began.elapsed())).await;
        let ahead_ms = lifecycle.marketplace.clock_skew_ms();
        let examined = tokio::task::spawn_blocking(move || {
            let diagnosis = call.examine(ahead_ms);
            (call, diagnosis)
        });
        match examined.await {
            Ok((call, diagnosis)) => record(call, &diagnosis, &lifecycle),
            // The panic is in the log, with its place.
            Err(_) => lifecycle.metrics.unexamined(),
        }
        sleep_unless(&mut stop, PAUSE).await;
    }
}

async fn sleep_unless(stop: &mut watch::Receiver<bool>, pause: Duration) {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => {}
        () = tokio::time::sleep(pause) => {}
    }
}

impl RefusedCall {
    fn examine(&self, ahead_ms: Option<i64>) -> Diagnosis {
        self.doctor.examine(&Case {
            query: self.query.as_deref(),
            headers: &self.headers,
            body: &self.body,
            received_at: self.draft.received_at,
            ahead_ms,
        })
    }
}

/// Tells the diagnosis to the log, the metrics and the database.
fn record(call: RefusedCall, diagnosis: &Diagnosis, lifecycle: &Lifecycle) {
    let cause = diagnosis.cause();
    let RefusedCall { mut draft, request_id, ours, .. } = call;
    let text = format!("{diagnosis}: {}", cause.what_to_do());
    if ours {
        draft.detail = format!("{}; our own heartbeat, which must be refused", draft.detail);
        tracing::debug!(
            request.id = request_id,
            cause = cause.as_str(),
            "signature doctor: {text}"
        );
    } else {
        draft.detail = format!("{}. Doctor: {text}", draft.detail);
        lifecycle.metrics.diagnosis(cause.as_str());
        tracing::warn!(
            request.id = request_id,
            cause = cause.as_str(),
            proven = diagnosis.proven(),
            "signature doctor: {text}"
        );
    }
    let found = DiagnosisDraft {
        at: draft.received_at,
        cause: cause.as_str(),
        proven: diagnosis.proven(),
        text: diagnosis.to_string(),
    };
    draft.doctor = Some(found.cause);
    lifecycle.store.post_as(request_id, move |tx| {
        tx.insert_callback(&draft)?;
        // Our own heartbeat's is no trouble.
        if ours { Ok(()) } else { tx.note_diagnosis(&found) }
    });
}
