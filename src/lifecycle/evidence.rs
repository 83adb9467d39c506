//! What the record of a verified call needs beside what the call says, and how a repeat of it is known.
//!
//! Invariant: the same nonce with the same body gets the stored answer, with another body 000001.

use crate::domain::outcome::ResultCode;
use crate::domain::time::Timestamp;
use crate::protocol::callback;
use crate::protocol::callback_auth::Verified;
use crate::store::{CallbackDraft, Replay, StoreError, Tx, Verdict};
use std::sync::Arc;
use std::time::Instant;

/// How a call arrived, whoever sent it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Our clock when the last byte was read.
    pub at: Timestamp,
    /// The same moment, for measuring.
    pub began: Instant,
    /// The request's head ([`crate::protocol::head`]).
    pub head: Arc<str>,
    /// Our clock minus the marketplace's, in milliseconds, if it is known.
    pub clock_skew_ms: Option<i64>,
}

/// A verified call as it arrived. Only [`Verified`] makes one.
pub struct Evidence {
    received: Received,
    pub(super) replay: Replay,
    body: Vec<u8>,
}

/// What we answer, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The code on the wire.
    pub code: ResultCode,
    /// What was decided; `None` when nothing could be stored.
    pub verdict: Option<Verdict>,
}

/// What a call is about, for its record.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) activity: &'a str,
    pub(super) code: Option<&'a str>,
    pub(super) test: bool,
}

impl Received {
    /// How long it has taken so far, in milliseconds.
    #[must_use]
    pub fn took_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Evidence {
    /// Keeps what the record will need.
    #[must_use]
    pub fn new(verified: &Verified<'_>, received: Received) -> Self {
        Self {
            received,
            replay: Replay {
                signed_at: verified.signed_at(),
                nonce: verified.nonce().to_owned(),
                body_digest: verified.body_digest(),
            },
            body: verified.body().to_vec(),
        }
    }

    /// The record of the call.
    pub(super) fn draft(
        &self,
        about: About<'_>,
        verdict: Verdict,
        result_code: ResultCode,
        detail: &str,
    ) -> CallbackDraft {
        CallbackDraft {
            received_at: self.received.at,
            activity: about.activity.to_owned(),
            code: about.code.map(str::to_owned),
            test: about.test,
            signed_at: Some(self.replay.signed_at),
            verdict,
            result_code,
            detail: detail.to_owned(),
            doctor: None,
            duration_ms: self.received.took_ms(),
            body: self.body.clone(),
            head: Arc::clone(&self.received.head),
            reply: callback::reply(result_code),
            clock_skew_ms: self.received.clock_skew_ms,
        }
    }

    /// What is answered because this nonce came before, and why.
    pub(super) fn replayed(
        &self,
        tx: &Tx<'_>,
    ) -> Result<Option<(Verdict, ResultCode, &'static str)>, StoreError> {
        Ok(tx.replayed(&self.replay)?.map(|(code, same)| {
            if same {
                (Verdict::Repeated, code, "the same nonce and body as before: the stored answer")
            } else {
                let detail = "a nonce used before, with another body";
                (Verdict::Refused, ResultCode::NotAuthentic, detail)
            }
        }))
    }

    /// Records the call and, when it is final, its answer.
    pub(super) fn close(
        &self,
        tx: &mut Tx<'_>,
        about: About<'_>,
        verdict: Verdict,
        code: ResultCode,
        detail: &str,
    ) -> Result<Reply, StoreError> {
        tx.insert_callback(&self.draft(about, verdict, code, detail))?;
        if code.is_final() {
            tx.remember_nonce(&self.replay, code)?;
        }
        Ok(Reply { code, verdict: Some(verdict) })
    }
}
