//! `POST <path>`: what the marketplace calls. Limits, raw bytes, proof, decoding, decision, reply.
//! Each type of interface has a path and keys of its own (protocol.md 4.1).
//!
//! Invariant: HTTP 200 with both fields for everything that HTTP itself can carry (protocol.md 5.3);
//! no state changes before the signature holds, and no code's row is touched by test traffic.

use super::allowance::Allowance;
use super::body::{self, BodyError};
use super::problem::{Answer, text_answer};
use crate::domain::outcome::ResultCode;
use crate::domain::time::Timestamp;
use crate::lifecycle::{Arrival, Evidence, Lifecycle, Received, Reply};
use crate::protocol::callback::{self, Activity};
use crate::protocol::callback_auth::{AccessKey, Verified, verify};
use crate::protocol::{DecodeError, head, order_notice};
use crate::store::{CallbackDraft, Verdict};
use crate::telemetry::request_id;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_ENCODING, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

/// How much of a body is kept of which nothing was verified.
const UNVERIFIED_KEPT: usize = 4 << 10;
/// Refused calls recorded per hour at most, ten a second: a stranger must not fill the disk.
const REFUSALS_PER_HOUR: u32 = 36_000;
/// Refused calls recorded at once before that rate holds.
const REFUSALS_BURST: u32 = 50;

/// A path, and the keys that sign for it.
pub struct Door {
    path: String,
    keys: RwLock<Vec<AccessKey>>,
}

impl Door {
    /// The door at `path`, for calls signed with one of `keys` (newest first).
    #[must_use]
    pub const fn new(path: String, keys: Vec<AccessKey>) -> Self {
        Self { path, keys: RwLock::new(keys) }
    }
}

/// What is told behind a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interface {
    /// License授权码交付接口: renewals, freezes, releases.
    Licences,
    /// 通用接口: orders.
    Orders,
}

/// The routes of the public listener.
pub struct CallbackRoute {
    licences: Door,
    orders: Option<Door>,
    /// Codes the debug console was saved with: their calls are test traffic, whatever `testFlag` says.
    probe_codes: HashSet<String>,
    lifecycle: Arc<Lifecycle>,
    refusals: Allowance,
}

/// A refusal, before it is recorded.
struct Refused<'a> {
    code: ResultCode,
    why: String,
    signed_at: Option<Timestamp>,
    body: &'a [u8],
}

/// A decided call, as its log line tells of it.
struct Decided {
    reply: Reply,
    activity: &'static str,
    code: Option<String>,
    order_id: Option<String>,
}

impl CallbackRoute {
    /// The routes through these doors; without one for orders, its path is not there.
    #[must_use]
    pub fn new(
        licences: Door,
        orders: Option<Door>,
        probe_codes: HashSet<String>,
        lifecycle: Arc<Lifecycle>,
    ) -> Self {
        let refusals = Allowance::new(REFUSALS_BURST, REFUSALS_PER_HOUR);
        Self { licences, orders, probe_codes, lifecycle, refusals }
    }

    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let answer = self.route(request).await;
        self.lifecycle.metrics.http_request("callback", answer.status().as_u16());
        answer
    }

    async fn route(&self, request: Request<Incoming>) -> Answer {
        let Some((interface, door)) = self.door(request.uri().path()) else {
            return bare(StatusCode::NOT_FOUND);
        };
        if request.method() != Method::POST {
            let mut answer = bare(StatusCode::METHOD_NOT_ALLOWED);
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return answer;
        }
        let (head, body) = request.into_parts();
        let body = match body::read(body).await {
            Ok(body) => body,
            Err(BodyError::TooLarge) => return bare(StatusCode::PAYLOAD_TOO_LARGE),
            Err(BodyError::TooSlow) => return bare(StatusCode::REQUEST_TIMEOUT),
            Err(BodyError::Broken) => return bare(StatusCode::BAD_REQUEST),
        };
        let received = self.received(&head);
        let encoded = head
            .headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
        let code = if encoded {
            let why = "the body is compressed: License 2.0 sends plain JSON".to_owned();
            let refused =
                Refused { code: ResultCode::Malformed, why, signed_at: None, body: &body };
            self.refuse(&refused, &received)
        } else {
            let verified = {
                let keys = door.keys.read().unwrap_or_else(PoisonError::into_inner);
                verify(head.uri.query(), &body, &keys, received.at)
            };
            match verified {
                Ok(verified) => self.decide(interface, &verified, received).await,
                Err(error) => {
                    let (code, why) = (error.result_code(), error.to_string());
                    let refused = Refused { code, why, signed_at: None, body: &body };
                    self.refuse(&refused, &received)
                }
            }
        };
        let reply = String::from_utf8(callback::reply(code)).unwrap_or_default();
        text_answer(StatusCode::OK, reply, "application/json")
    }

    fn door(&self, path: &str) -> Option<(Interface, &Door)> {
        let doors = [
            (Interface::Licences, Some(&self.licences)),
            (Interface::Orders, self.orders.as_ref()),
        ];
        let mut doors = doors.into_iter().filter_map(|(interface, door)| Some((interface, door?)));
        doors.find(|(_, door)| door.path == path)
    }

    /// Its last byte has just been read.
    fn received(&self, head: &Parts) -> Received {
        let headers = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let (path, query) = (head.uri.path(), head.uri.query());
        Received {
            at: self.lifecycle.clock.now(),
            began: Instant::now(),
            head: head::record(head.method.as_str(), path, query, headers).into(),
            clock_skew_ms: self.lifecycle.marketplace.clock_skew_ms(),
        }
    }

    async fn decide(
        &self,
        interface: Interface,
        verified: &Verified<'_>,
        received: Received,
    ) -> ResultCode {
        let evidence = Evidence::new(verified, received.clone());
        let decided = match interface {
            Interface::Licences => self.licence(verified, evidence).await,
            Interface::Orders => self.order(verified, evidence).await,
        };
        let Decided { reply, activity, code, order_id } = match decided {
            Ok(decided) => decided,
            Err(error) => {
                let (code, why) = (error.result_code(), error.to_string());
                let signed_at = Some(verified.signed_at());
                let refused = Refused { code, why, signed_at, body: verified.body() };
                return self.refuse(&refused, &received);
            }
        };
        let verdict = reply.verdict.map_or("not_stored", Verdict::as_str);
        let took = received.began.elapsed();
        self.lifecycle.metrics.callback(activity, verdict, reply.code.as_str(), took);
        tracing::info!(
            license.code = code,
            order.id = order_id.filter(|id| !id.is_empty()),
            request.id = request_id(),
            activity,
            verdict,
            result_code = reply.code.as_str(),
            skew_ms = verified.skew_ms(received.at),
            duration_ms = took.as_secs_f64() * 1e3,
            "callback"
        );
        reply.code
    }

    async fn licence(
        &self,
        verified: &Verified<'_>,
        evidence: Evidence,
    ) -> Result<Decided, DecodeError> {
        let callback = callback::decode(verified, self.lifecycle.zone)?;
        let (activity, code) = (callback.activity.as_str(), callback.code.as_str().to_owned());
        let order_id = callback.key.as_ref().map(|key| key.order_id.clone());
        let test = callback.test || self.probe_codes.contains(&code);
        let arrival = Arrival::new(callback, evidence);
        let reply = if test {
            self.lifecycle.test_callback(&arrival)
        } else {
            self.lifecycle.callback(arrival).await
        };
        Ok(Decided { reply, activity, code: Some(code), order_id })
    }

    async fn order(
        &self,
        verified: &Verified<'_>,
        evidence: Evidence,
    ) -> Result<Decided, DecodeError> {
        let notice = order_notice::decode(verified)?;
        let order_id = Some(notice.order_id.as_str().to_owned());
        let reply = if notice.test {
            self.lifecycle.test_order_notice(&evidence)
        } else {
            self.lifecycle.order_notice(notice, evidence).await
        };
        Ok(Decided { reply, activity: order_notice::ACTIVITY, code: None, order_id })
    }

    /// Answers and records a call that has no effect because something about it is wrong.
    fn refuse(&self, refused: &Refused<'_>, received: &Received) -> ResultCode {
        let activity = peek_activity(refused);
        let took = received.began.elapsed();
        let result_code = refused.code.as_str();
        self.lifecycle.metrics.callback(activity, "refused", result_code, took);
        if !self.refusals.take(received.at) {
            tracing::debug!(result_code, "a refused callback was counted, not recorded: too many");
            return refused.code;
        }
        tracing::warn!(
            request.id = request_id(),
            activity,
            verdict = "refused",
            result_code,
            duration_ms = took.as_secs_f64() * 1e3,
            "callback: {}",
            refused.why
        );
        let kept = if refused.signed_at.is_some() { refused.body.len() } else { UNVERIFIED_KEPT };
        let draft = CallbackDraft {
            received_at: received.at,
            activity: activity.to_owned(),
            code: None,
            test: false,
            signed_at: refused.signed_at,
            verdict: Verdict::Refused,
            result_code: refused.code,
            detail: refused.why.clone(),
            duration_ms: received.took_ms(),
            body: refused.body[..refused.body.len().min(kept)].to_vec(),
            head: Arc::clone(&received.head),
            reply: callback::reply(refused.code),
            clock_skew_ms: received.clock_skew_ms,
        };
        self.lifecycle.store.post(move |tx| tx.insert_callback(&draft).map(drop));
        refused.code
    }
}

/// The activity that an unusable body names, if it is one of ours: for the record only.
fn peek_activity(refused: &Refused<'_>) -> &'static str {
    let body: Option<serde_json::Value> = serde_json::from_slice(refused.body).ok();
    match body.as_ref().and_then(|body| body.get("activity")?.as_str()) {
        Some(order_notice::ACTIVITY) => order_notice::ACTIVITY,
        Some(named) => Activity::parse(named).map_or("", Activity::as_str),
        None => "",
    }
}

/// HTTP itself is broken, or this is not our address: a status without a body.
fn bare(status: StatusCode) -> Answer {
    text_answer(status, String::new(), "text/plain")
}
