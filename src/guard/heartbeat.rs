//! The availability heartbeat: what the marketplace's dial test sends, sent by us, before it does.
//!
//! Five signed debug cases must be answered 000000, and two calls that are not authentic must be
//! refused, all over the public URL: DNS, TLS and proxy included (protocol.md §6).

use crate::clock::Clock;
use crate::domain::time::Timestamp;
use crate::protocol::callback_auth::{AccessKey, signed_query};
use crate::protocol::hex;
use reqwest::header::CONTENT_TYPE;
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The marketplace gives up after this long (protocol.md 4.1).
const FAIL_AFTER: Duration = Duration::from_secs(20);
/// We want to be told before.
const SLOW_AFTER: Duration = Duration::from_secs(2);
/// How far the stale case is signed in the past: one second more than is allowed.
const STALE_MS: i64 = 61_000;
/// The largest reply worth reading.
const REPLY_MAX: usize = 16 << 10;
/// The code that heartbeats are about: no purchase has it.
pub const PROBE_CODE: &str = "AUTHCODED-HEARTBEAT";

/// How a step or the whole went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    Ok,
    Slow,
    Failed,
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Failed => "failed",
        }
    }
}

/// What a heartbeat found.
pub(super) struct Found {
    pub(super) outcome: Outcome,
    pub(super) certificate_days: Option<i64>,
    steps: Vec<Step>,
}

struct Step {
    name: &'static str,
    outcome: Outcome,
    status: Option<u16>,
    took: Duration,
    detail: String,
}

/// A case: what is sent, and what must come back.
struct Case {
    name: &'static str,
    body: String,
    signed_ms_ago: i64,
    wrong_key: bool,
    expected: &'static str,
}

/// Why no prober could be made.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    /// The extra trust roots are not PEM.
    #[error("marketplace.extra-ca-file holds no certificate: {0}")]
    Certificate(reqwest::Error),
    /// The client could not be built.
    #[error("no HTTP client for the heartbeat: {0}")]
    Client(reqwest::Error),
}

/// Sends heartbeats to one URL.
pub struct Prober {
    client: reqwest::Client,
    url: String,
    key: AccessKey,
    clock: Clock,
}

impl Prober {
    /// Probes `url` with calls signed by `key`; trusts `extra_ca` (PEM) besides the system's roots.
    ///
    /// # Errors
    /// [`HeartbeatError`].
    pub fn new(
        url: String,
        key: AccessKey,
        extra_ca: Option<&[u8]>,
        clock: Clock,
    ) -> Result<Self, HeartbeatError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("authcoded-heartbeat/", env!("CARGO_PKG_VERSION")))
            .timeout(FAIL_AFTER)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .tls_info(true);
        if let Some(pem) = extra_ca {
            let roots =
                reqwest::Certificate::from_pem_bundle(pem).map_err(HeartbeatError::Certificate)?;
            builder = builder.tls_certs_merge(roots);
        }
        let client = builder.build().map_err(HeartbeatError::Client)?;
        Ok(Self { client, url, key, clock })
    }

    /// Sends all seven cases, one after the other.
    pub(super) async fn heartbeat(&self) -> Found {
        let mut found = Found { outcome: Outcome::Ok, certificate_days: None, steps: Vec::new() };
        for case in cases() {
            let (step, days) = self.send(&case).await;
            found.outcome = found.outcome.max(step.outcome);
            found.certificate_days = found.certificate_days.or(days);
            found.steps.push(step);
        }
        found
    }

    async fn send(&self, case: &Case) -> (Step, Option<i64>) {
        let began = Instant::now();
        let request = self.request(case);
        let (status, days, verdict) = match request.send().await {
            Err(error) => (None, None, Err(diagnose(&error))),
            Ok(mut response) => {
                let status = response.status().as_u16();
                let days = certificate_days(&response, self.clock.now());
                let plain_json = response
                    .headers()
                    .get(CONTENT_TYPE)
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned);
                let verdict = match read(&mut response).await {
                    Ok(body) => judge(case, status, plain_json.as_deref(), &body),
                    Err(why) => Err(why),
                };
                (Some(status), days, verdict)
            }
        };
        let took = began.elapsed();
        let (outcome, detail) = match verdict {
            Err(why) => (Outcome::Failed, why),
            Ok(()) if took > SLOW_AFTER => {
                (Outcome::Slow, format!("answered in {:.1} s, limit 20 s", took.as_secs_f64()))
            }
            Ok(()) => (Outcome::Ok, format!("answered {}", case.expected)),
        };
        (Step { name: case.name, outcome, status, took, detail }, days)
    }

    fn request(&self, case: &Case) -> reqwest::RequestBuilder {
        let signed_at = self.clock.now().plus_ms(-case.signed_ms_ago);
        let stranger;
        let key = if case.wrong_key {
            stranger = AccessKey::new(SecretString::from(nonce()));
            &stranger
        } else {
            &self.key
        };
        let query = signed_query(key, case.body.as_bytes(), signed_at, &nonce());
        let joint = if self.url.contains('?') { '&' } else { '?' };
        self.client
            .post(format!("{}{joint}{query}", self.url))
            .header(CONTENT_TYPE, "application/json")
            .body(case.body.clone())
    }
}

fn cases() -> [Case; 7] {
    let refresh = |scene: &str| {
        json!({"activity": "refreshLicenseCode", "expireTime": "20991231235959",
               "license": PROBE_CODE, "orderId": "AUTHCODED-ORDER", "orderLineId": "AUTHCODED-ORDER-1",
               "productId": "AUTHCODED-PRODUCT", "scene": scene, "testFlag": "1"})
    };
    let status = |status: &str| {
        json!({"activity": "updateLicenseCodeStatus", "license": PROBE_CODE, "status": status,
               "testFlag": "1"})
    };
    let release = json!({"activity": "releaseLicenseCode", "license": PROBE_CODE,
                         "orderId": "AUTHCODED-ORDER", "orderLineId": "AUTHCODED-ORDER-1",
                         "testFlag": "1"});
    // Written by serde_json, whose maps are sorted and compact: as the marketplace sends them.
    let case = |name, body: &Value, expected| Case {
        name,
        body: body.to_string(),
        signed_ms_ago: 0,
        wrong_key: false,
        expected,
    };
    [
        case("renewal", &refresh("RENEWAL"), "000000"),
        case("unrenewal", &refresh("UNSUBSCRIBE_RENEWAL_PERIOD"), "000000"),
        case("freeze", &status("FREEZE"), "000000"),
        case("unfreeze", &status("UNFREEZE"), "000000"),
        case("release", &release, "000000"),
        Case { wrong_key: true, ..case("wrong_signature", &status("FREEZE"), "000001") },
        Case { signed_ms_ago: STALE_MS, ..case("stale", &status("FREEZE"), "000001") },
    ]
}

/// Checks an answer as the marketplace does (protocol.md 4.1): status, type, both fields, code.
fn judge(case: &Case, status: u16, content_type: Option<&str>, body: &[u8]) -> Result<(), String> {
    if status != 200 {
        return Err(format!(
            "HTTP {status}: the marketplace wants 200; a proxy or another server answered"
        ));
    }
    let essence = content_type.unwrap_or("").split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(format!("content type {essence:?} instead of application/json"));
    }
    let reply: Value =
        serde_json::from_slice(body).map_err(|_| "the reply is not JSON".to_owned())?;
    let field = |name: &str| {
        reply.get(name).and_then(Value::as_str).ok_or_else(|| format!("{name} is missing"))
    };
    let (code, _) = (field("resultCode")?, field("resultMsg")?);
    if code == case.expected {
        Ok(())
    } else if case.expected == "000001" {
        Err(format!(
            "a call that is not authentic was answered {code}: something answers for us, or checks nothing"
        ))
    } else {
        Err(format!(
            "answered {code} instead of {}: is the newest access key the bound one?",
            case.expected
        ))
    }
}

async fn read(response: &mut reqwest::Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| diagnose(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > REPLY_MAX {
            return Err("the reply is larger than 16 KiB".to_owned());
        }
    }
    Ok(body)
}

/// Names the layer that failed; the URL is left out, because it carries the signature.
fn diagnose(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", FAIL_AFTER.as_secs());
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let layer = if error.is_connect() { "cannot connect" } else { "the connection broke" };
    format!("{layer}: {cause}")
}

fn certificate_days(response: &reqwest::Response, now: Timestamp) -> Option<i64> {
    let info = response.extensions().get::<reqwest::tls::TlsInfo>()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(info.peer_certificate()?).ok()?;
    let end =
        Timestamp::from_ms(certificate.validity().not_after.timestamp().saturating_mul(1_000));
    Some(end.ms_since(now).div_euclid(crate::domain::time::DAY_MS))
}

/// 32 hex digits that nobody can guess.
fn nonce() -> String {
    let mut bytes = [0u8; 16];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        tracing::warn!(
            "no randomness for a nonce: it repeats, and the stored answer is given again"
        );
    }
    hex::encode(&bytes)
}

impl Found {
    pub(super) fn steps_json(&self) -> String {
        let steps = self.steps.iter().map(|step| {
            json!({
                "name": step.name,
                "outcome": step.outcome.as_str(),
                "status": step.status,
                "duration_ms": u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
                "detail": step.detail,
            })
        });
        Value::Array(steps.collect()).to_string()
    }

    /// One line: the first thing that is wrong, or that all is well.
    pub(super) fn diagnosis(&self) -> String {
        self.steps
            .iter()
            .find(|step| step.outcome == self.outcome && step.outcome != Outcome::Ok)
            .map_or_else(
                || format!("ok, {} cases answered as they should", self.steps.len()),
                |step| format!("{}, {}: {}", self.outcome.as_str(), step.name, step.detail),
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_judged_as_the_marketplace_does() {
        let [case, ..] = cases();
        let json = Some("application/json;charset=UTF-8");
        let good = br#"{"resultCode":"000000","resultMsg":"success."}"#;
        assert_eq!(judge(&case, 200, json, good), Ok(()));
        for (status, content_type, body, says) in [
            (502, json, &good[..], "HTTP 502"),
            (200, Some("text/html"), good, "text/html"),
            (200, None, good, "content type"),
            (200, json, b"<html>", "not JSON"),
            (200, json, br#"{"resultCode":"000000"}"#, "resultMsg is missing"),
            (200, json, br#"{"resultCode":"000001","resultMsg":"x"}"#, "answered 000001"),
        ] {
            let why = judge(&case, status, content_type, body).expect_err("refused");
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn the_cases_are_sorted_and_compact() {
        for case in cases() {
            let sorted: std::collections::BTreeMap<String, Value> =
                serde_json::from_str(&case.body).expect("json");
            assert_eq!(serde_json::to_string(&sorted).expect("json"), case.body);
        }
    }
}
