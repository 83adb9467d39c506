//! The client as the rest of the daemon sees it: settings in, calls out, what the calls have shown.
//!
//! Invariant: what a call returns says whether the request may have been processed.

use super::answer::ReadVerdict;
use super::endpoint::{BadEndpoint, Endpoint};
use super::flow::{Flow, Question};
use super::health::{Api, Count};
use super::keyring::Keyring;
use super::wire::{Payload, Wire};
use crate::clock::Clock;
use crate::domain::license::{Code, OrderId};
use crate::domain::order::Order;
use crate::domain::slots::Zone;
use crate::domain::time::Timestamp;
use crate::domain::transition::{ActivationVerdict, QueryVerdict};
use crate::domain::usage::Usage;
use crate::protocol::aksk::Credentials;
use crate::protocol::open_api::{
    Answer, BATCH_MAX, Batch, CheckFailure, Strange, StrangeKind, activate_body,
    activation_verdict, batch_activation_verdict, batch_body, batch_query_verdict, order_verdict,
    query_body, query_verdict, usage_verdict,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Who we are, where the marketplace is, and how fast we may call.
#[derive(Debug)]
pub struct Settings {
    /// The domains in order of preference, each as [`Endpoint::parse`] takes it.
    pub endpoints: Vec<String>,
    /// The AK/SK of the merchant's account.
    pub credentials: Credentials,
    /// PEM certificates added to the system's roots.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// The zone that the marketplace's dates are read in.
    pub zone: Zone,
    /// The most requests per second, at least 1.
    pub requests_per_second: u32,
    /// How many codes one call may be about.
    pub batches: BatchSizes,
}

/// How many codes one call may be about, each 1 to [`BATCH_MAX`]; 1 means the
/// call about a single code (v1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSizes {
    /// An activation.
    pub activation: usize,
    /// A query.
    pub query: usize,
}

impl Default for BatchSizes {
    fn default() -> Self {
        Self { activation: 1, query: 1 }
    }
}

/// Why a client cannot be built. The configuration's fault.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The list is empty.
    #[error("marketplace.endpoints is empty: name at least one")]
    NoEndpoint,
    /// One of them is not usable.
    #[error("marketplace.endpoints, number {number}: {why}")]
    Endpoint {
        /// Its place in the list, from 1.
        number: usize,
        /// What is wrong with it.
        why: BadEndpoint,
    },
    /// Zero.
    #[error("marketplace.requests-per-second must be at least 1")]
    NoRate,
    /// The certificates cannot be read, or the system has no roots.
    #[error("TLS cannot be set up (extra-ca-file, or the system's certificates): {0}")]
    Tls(String),
}

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// Somebody waits: at most two tries within 10 s.
    Interactive,
    /// Somebody waits: one try within `deadline` (and 10 s at most), the queue before it included. The
    /// domains count as one.
    Once {
        /// Real time, not the clock's.
        deadline: Duration,
    },
    /// Somebody waits, but not for long: one try within 10 s, if its turn comes within `turn`.
    Brief {
        /// Real time, not the clock's.
        turn: Duration,
    },
    /// Nobody waits: one try within 10 s, when its turn comes. Those that somebody waits for go first;
    /// while every domain rests it is not begun.
    Background,
}

/// How a call went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<V> {
    /// Our clock when the request that was answered left; when we asked, if none left.
    pub asked_at: Timestamp,
    /// The answer's HTTP status.
    pub http: Option<u16>,
    /// The answer's code.
    pub error_code: Option<String>,
    /// What came of it.
    pub result: CallResult<V>,
    /// What the answer held that no document told us of, the first time that it was seen since the start.
    pub strange: Vec<Strange>,
}

impl<V> Call<V> {
    /// A call to which there was no answer.
    pub(super) const fn unanswered(asked_at: Timestamp, result: CallResult<V>) -> Self {
        Self { asked_at, http: None, error_code: None, result, strange: Vec::new() }
    }
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallResult<V> {
    /// The marketplace said where the code stands.
    Verdict(V),
    /// Nothing learnt; again later.
    Retry {
        /// The request may have been processed all the same: ask before an activation is repeated.
        ambiguous: bool,
        /// For the log and the operator.
        why: String,
    },
    /// Nothing leaves until then: the marketplace does not believe who we are, now or a short while ago, or
    /// every domain rests and nobody waits.
    Stopped {
        /// When to come again.
        until: Timestamp,
    },
    /// Our request is wrong; repeating it changes nothing.
    Permanent {
        /// For the log and the operator.
        why: String,
    },
    /// A code, a status or a body that nobody told us of; like a retry that may have been processed, but
    /// to be looked at.
    Unrecognised {
        /// Status, code and the beginning of the body.
        sample: String,
    },
}

/// The marketplace's open API. Cheap to clone; all clones share queue, stop and counts.
#[derive(Debug, Clone)]
pub struct Client {
    flow: Arc<Flow>,
    zone: Zone,
    batches: BatchSizes,
}

impl Client {
    /// Builds a client; nothing is sent yet.
    ///
    /// # Errors
    /// [`BuildError`] names the setting to correct.
    pub fn new(settings: Settings, clock: Clock) -> Result<Self, BuildError> {
        let parse = |(index, text): (usize, &String)| {
            Endpoint::parse(text).map_err(|why| BuildError::Endpoint { number: index + 1, why })
        };
        let endpoints: Vec<_> =
            settings.endpoints.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(BuildError::NoEndpoint);
        }
        let rate = settings.requests_per_second;
        let interval = Duration::from_secs(1).checked_div(rate).ok_or(BuildError::NoRate)?;
        let keys = Arc::new(Keyring::new(settings.credentials));
        let wire = Wire::new(&endpoints, Arc::clone(&keys), settings.extra_ca_pem.as_deref())
            .map_err(BuildError::Tls)?;
        let interval = clock.real(interval);
        let flow = Flow::new(wire, endpoints, interval, keys, clock);
        let BatchSizes { activation, query } = settings.batches;
        let within = |size: usize| size.clamp(1, BATCH_MAX);
        let batches = BatchSizes { activation: within(activation), query: within(query) };
        Ok(Self { flow: Arc::new(flow), zone: settings.zone, batches })
    }

    /// Signs with these from the next request on. A stop that is in force stays: it is over soon, and one
    /// careful call then shows whether they are believed.
    pub fn replace_credentials(&self, credentials: Credentials) {
        self.flow.keys.replace(credentials);
    }

    /// How many codes one call may be about.
    #[must_use]
    pub const fn batches(&self) -> BatchSizes {
        self.batches
    }

    /// Activates a code (protocol.md 2.2).
    pub async fn activate(&self, code: &Code, effort: Effort) -> Call<ActivationVerdict> {
        let read = |http, answer: &Answer| activation_verdict(http, answer, self.zone);
        let codes = std::slice::from_ref(code);
        self.about(Api::Activate, codes, activate_body(code), &read, effort).await
    }

    /// Activates up to [`BATCH_MAX`] codes at once (protocol.md 2.3).
    pub async fn activate_batch(&self, codes: &[Code], effort: Effort) -> Call<Batch<()>> {
        let body = batch_body(codes);
        self.about(Api::ActivateBatch, codes, body, &batch_activation_verdict, effort).await
    }

    /// Asks where a code stands (protocol.md 2.4).
    pub async fn query(&self, code: &Code, effort: Effort) -> Call<QueryVerdict> {
        let read = |http, answer: &Answer| query_verdict(http, answer, code, self.zone);
        let codes = std::slice::from_ref(code);
        self.about(Api::Query, codes, query_body(code), &read, effort).await
    }

    /// Asks where up to [`BATCH_MAX`] codes stand (protocol.md 2.5).
    pub async fn query_batch(
        &self,
        codes: &[Code],
        effort: Effort,
    ) -> Call<Batch<Vec<(Code, QueryVerdict)>>> {
        let read = |http, answer: &Answer| batch_query_verdict(http, answer, codes, self.zone);
        self.about(Api::QueryBatch, codes, batch_body(codes), &read, effort).await
    }

    /// Reports how codes are used (protocol.md 2.6): `body` is what
    /// [`crate::protocol::open_api::usage_body`] made of `report`, perhaps in an earlier life, because a
    /// report whose answer was lost is sent again byte by byte.
    pub async fn report_usage(
        &self,
        report: &[Usage],
        body: Vec<u8>,
        effort: Effort,
    ) -> Call<Batch<Vec<CheckFailure>>> {
        let read = |http, answer: &Answer| usage_verdict(http, answer, report);
        let codes: Vec<Code> = report.iter().map(|usage| usage.code.clone()).collect();
        self.about(Api::Usage, &codes, body, &read, effort).await
    }

    /// Asks what an order holds (protocol.md 2.7).
    pub async fn order(&self, id: &OrderId, effort: Effort) -> Call<Order> {
        let read = |http, answer: &Answer| order_verdict(http, answer, id);
        let payload = Payload::Parameters(vec![("orderId", id.as_str().to_owned())]);
        let question =
            Question { api: Api::Order, codes: &[], order: Some(id), payload, read: &read };
        self.flow.call(&question, effort).await
    }

    /// One call about these codes, with a JSON body.
    async fn about<V>(
        &self,
        api: Api,
        codes: &[Code],
        body: Vec<u8>,
        read: ReadVerdict<'_, V>,
        effort: Effort,
    ) -> Call<V> {
        let payload = Payload::Body(body);
        self.flow.call(&Question { api, codes, order: None, payload, read }, effort).await
    }

    /// Until when nothing leaves, if the queue is stopped now.
    #[must_use]
    pub fn stopped_until(&self) -> Option<Timestamp> {
        self.flow.stopped_until()
    }

    /// Until when nothing leaves that nobody waits for: the queue is stopped, or every domain rests.
    #[must_use]
    pub fn closed_until(&self) -> Option<Timestamp> {
        self.flow.closed_until()
    }

    /// Brings a stop back after a restart; a later one that is in force is not shortened.
    pub fn resume_stop(&self, until: Timestamp) {
        self.flow.gate.stop_until(until);
    }

    /// Whether the last request was answered by something that works; `None` before the first.
    #[must_use]
    pub fn reachable(&self) -> Option<bool> {
        self.flow.health.reachable()
    }

    /// How often something came that no document told us of, by kind, since the start.
    #[must_use]
    pub fn strange_counts(&self) -> BTreeMap<StrangeKind, u64> {
        self.flow.health.strange_counts()
    }

    /// Each domain's name, and until when it rests after failures in a row, while it does.
    #[must_use]
    pub fn domains(&self) -> Vec<(String, Option<Timestamp>)> {
        self.flow.domains()
    }

    /// Our clock minus the marketplace's in milliseconds, from the last answer's `Date`.
    #[must_use]
    pub fn clock_skew_ms(&self) -> Option<i64> {
        self.flow.health.skew_ms()
    }

    /// The same, unless it was measured longer than `age` ago.
    #[must_use]
    pub fn recent_clock_skew_ms(&self, age: Duration) -> Option<i64> {
        self.flow.health.skew_ms_within(age)
    }

    /// When the certificate of each domain ends, as far as it has answered over TLS since the start.
    #[must_use]
    pub fn certificates(&self) -> Vec<(String, Timestamp)> {
        self.flow.health.certificates()
    }

    /// How many requests had which outcome, for metrics.
    #[must_use]
    pub fn counts(&self) -> Vec<Count> {
        self.flow.health.counts()
    }
}
