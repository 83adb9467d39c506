//! `POST <path>`: what the marketplace calls. Limits, raw bytes, proof, decoding, decision, reply.
//! Each type of interface has a path and keys of its own (protocol.md 4.1).
//!
//! Invariant: HTTP 200 with both fields for everything that HTTP itself can carry (protocol.md 5.3);
//! no state changes before the signature holds, and no code's row is touched by test traffic.

use super::allowance::Allowance;
use super::body::{self, BodyError};
use super::keys::LiveKeys;
use super::problem::{Answer, text_answer};
use crate::domain::dial_test::PROBE_CODE;
use crate::domain::outcome::ResultCode;
use crate::domain::time::Timestamp;
use crate::guard::{DoctorQueue, RefusedCall, Watch};
use crate::lifecycle::{Arrival, Evidence, Lifecycle, Received, Reply};
use crate::protocol::call_name::{Peeked, peek};
use crate::protocol::callback::{self, Activity};
use crate::protocol::callback_auth::Verified;
use crate::protocol::signature_doctor::SIGNATURE_HEADERS;
use crate::protocol::{DecodeError, head, order_notice};
use crate::store::{CallbackDraft, Verdict};
use crate::telemetry::request_id;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_ENCODING, HeaderValue};
use hyper::http::request;
use hyper::{Method, Request, StatusCode};
use std::collections::HashSet;
use std::sync::Arc;
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
    keys: Arc<LiveKeys>,
}

impl Door {
    /// The door at `path`, for calls signed with one of `keys`; their doctor is told of those that are not.
    #[must_use]
    pub const fn new(path: String, keys: Arc<LiveKeys>) -> Self {
        Self { path, keys }
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
    doctors: DoctorQueue,
    watch: Arc<Watch>,
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
        doctors: DoctorQueue,
        watch: Arc<Watch>,
    ) -> Self {
        let refusals = Allowance::new(REFUSALS_BURST, REFUSALS_PER_HOUR);
        Self { licences, orders, probe_codes, lifecycle, refusals, doctors, watch }
    }

    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
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
            match door.keys.verify(head.uri.query(), &body, received.at) {
                Ok((verified, signer)) => {
                    if !is_heartbeat(&body) {
                        signer.used(received.at);
                    }
                    self.decide(interface, &verified, received).await
                }
                Err(error) => {
                    let (code, why) = (error.result_code(), error.to_string());
                    let refused = Refused { code, why, signed_at: None, body: &body };
                    if let Some(draft) = self.refusal(&refused, &received) {
                        self.hand_over(door, &head, &body, received.began, draft);
                    }
                    code
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
    fn received(&self, head: &request::Parts) -> Received {
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
                if self.is_dial_test(verified.body()) {
                    self.lifecycle.dial_test_refused(received.at);
                }
                let refused = Refused { code, why, signed_at, body: verified.body() };
                return self.refuse(&refused, &received);
            }
        };
        let verdict = reply.verdict.map_or("not_stored", Verdict::as_str);
        let took = received.began.elapsed();
        self.lifecycle.metrics.callback(activity, verdict, reply.code.as_str(), took);
        self.watch.answered(received.at, reply.verdict == Some(Verdict::Refused));
        self.watch.authentic(code.as_deref(), received.at, verified.skew_ms(received.at));
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

    /// Whether a body that cannot be used is test traffic all the same, and not our own heartbeat's.
    fn is_dial_test(&self, body: &[u8]) -> bool {
        let body: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let text = |field: &str| body.as_ref()?.get(field)?.as_str();
        let code = text("license").unwrap_or_default();
        let flagged = text("testFlag") == Some("1") || self.probe_codes.contains(code);
        flagged && code != PROBE_CODE
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
        if let Some(draft) = self.refusal(refused, received) {
            self.lifecycle.record_refusal(draft, self.peeked(refused.body));
        }
        refused.code
    }

    /// Records a call whose signature does not hold; the doctor does it, once he has had a look at it.
    fn hand_over(
        &self,
        door: &Door,
        head: &request::Parts,
        body: &Bytes,
        began: Instant,
        draft: CallbackDraft,
    ) {
        let peeked = self.peeked(body);
        if draft.result_code != ResultCode::NotAuthentic {
            self.lifecycle.record_refusal(draft, peeked);
            return;
        }
        let ours = peeked.name.code == PROBE_CODE;
        self.lifecycle.follow_refusal(&draft, peeked);
        let header = |name: &'static str| {
            let value = head.headers.get(name)?.to_str().ok()?;
            Some((name, value.to_owned()))
        };
        self.doctors.take(RefusedCall {
            doctor: door.keys.doctor(),
            query: head.uri.query().map(str::to_owned),
            headers: SIGNATURE_HEADERS.into_iter().filter_map(header).collect(),
            body: body.clone(),
            began,
            request_id: request_id(),
            draft,
            ours,
        });
    }

    /// What a body that was not decoded names.
    fn peeked(&self, body: &[u8]) -> Peeked {
        let mut peeked = peek(body);
        peeked.test |= self.probe_codes.contains(&peeked.name.code);
        peeked
    }

    /// Counts and logs a refusal; its record, unless there are too many.
    fn refusal(&self, refused: &Refused<'_>, received: &Received) -> Option<CallbackDraft> {
        let activity = peek_activity(refused);
        let took = received.began.elapsed();
        let result_code = refused.code.as_str();
        self.lifecycle.metrics.callback(activity, "refused", result_code, took);
        self.watch.answered(received.at, true);
        let authentic = refused.signed_at.is_some();
        if !self.refusals.take(received.at) && !authentic {
            tracing::debug!(result_code, "a refused callback was counted, not recorded: too many");
            return None;
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
        let kept = if authentic { refused.body.len() } else { UNVERIFIED_KEPT };
        Some(CallbackDraft {
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
            doctor: None,
        })
    }
}

/// Our own heartbeat says nothing about which key the marketplace signs with.
fn is_heartbeat(body: &[u8]) -> bool {
    body.windows(PROBE_CODE.len()).any(|part| part == PROBE_CODE.as_bytes())
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
