//! The cases: what is sent, what must come back, and what an answer that is not so means.

use super::step::{Diagnosis, seconds};
use super::{FAIL_AFTER, MEASURED_UP_TO, Prober};
use crate::domain::dial_test::PROBE_CODE;
use crate::protocol::callback_auth::{AccessKey, signed_query};
use crate::protocol::hex;
use reqwest::header::{CONTENT_TYPE, HeaderName, SERVER};
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How far the stale case is signed in the past: one second more than is allowed.
const STALE_MS: i64 = 61_000;
/// The largest reply worth reading.
const REPLY_MAX: usize = 16 << 10;
/// How much of a header of somebody else's is told.
const HEADER_TOLD: usize = 60;

const SLOW: &str =
    "look at the load of proxy and machine, and at its disk: the marketplace gives up after 20 s";
const OTHER_SERVER: &str = "something else answers: compare the path and the proxy's configuration";
const PROXY: &str =
    "see the proxy's error log, and whether it reaches the daemon's callback.listen";
const REDIRECT: &str =
    "give the console the final address: the marketplace may not follow a redirect";
const PATH: &str =
    "compare the path in the console, in the proxy and in callback.path; look for a firewall (WAF)";
const IMPOSTOR: &str = "something answers in our place, or checks nothing: take it out at once";
const KEY: &str = "compare the Key in the console (密钥管理) with the first of callback.access-key-files; the proxy must pass body and query on unchanged";
const BROKEN: &str = "see the logs of proxy and daemon at this minute";

/// A case: what is sent, and what must come back.
pub(super) struct Case {
    pub(super) name: &'static str,
    body: String,
    signed_ms_ago: i64,
    wrong_key: bool,
    expected: &'static str,
}

/// How a case ended.
pub(super) struct Answered {
    pub(super) took: Duration,
    pub(super) status: Option<u16>,
    pub(super) verdict: Result<String, Diagnosis>,
}

/// An answer, as far as it is judged.
struct Reply<'a> {
    status: u16,
    content_type: Option<&'a str>,
    server: Option<&'a str>,
    body: &'a [u8],
}

impl Prober {
    pub(super) async fn send(&self, case: &Case) -> Answered {
        let began = Instant::now();
        let (status, verdict) = match self.request(case).send().await {
            Err(error) => (None, Err(diagnose(&error))),
            Ok(mut response) => {
                let status = response.status().as_u16();
                let header = |name: HeaderName| {
                    response
                        .headers()
                        .get(name)
                        .and_then(|value| value.to_str().ok())
                        .map(str::to_owned)
                };
                let (content_type, server) = (header(CONTENT_TYPE), header(SERVER));
                let verdict = read(&mut response).await.and_then(|body| {
                    judge(
                        case,
                        &Reply {
                            status,
                            content_type: content_type.as_deref(),
                            server: server.as_deref(),
                            body: &body,
                        },
                    )
                });
                (Some(status), verdict)
            }
        };
        let took = began.elapsed();
        let verdict = if took > FAIL_AFTER && took < MEASURED_UP_TO {
            Err(Diagnosis::new(format!("answered in {}, limit 20 s", seconds(took)), SLOW))
        } else {
            verdict
        };
        Answered { took, status, verdict }
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

pub(super) fn cases() -> [Case; 7] {
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
fn judge(case: &Case, reply: &Reply<'_>) -> Result<String, Diagnosis> {
    if reply.status != 200 {
        return Err(not_200(reply));
    }
    let essence = reply.content_type.unwrap_or("").split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let essence = if essence.is_empty() { "missing" } else { essence };
        let text = format!("content type {} instead of application/json", told(essence));
        return Err(Diagnosis::new(text, OTHER_SERVER));
    }
    let body: Value = serde_json::from_slice(reply.body)
        .map_err(|_| Diagnosis::new("the reply is not JSON", OTHER_SERVER))?;
    let field = |name: &str| {
        let text = body.get(name).and_then(Value::as_str);
        text.ok_or_else(|| Diagnosis::new(format!("{name} is missing"), OTHER_SERVER))
    };
    let (code, _) = (field("resultCode")?, field("resultMsg")?);
    if code == case.expected { Ok(format!("answered {code}")) } else { Err(unexpected(case, code)) }
}

/// Our own listener answers 200 to every call that HTTP can carry: somebody else answered.
fn not_200(reply: &Reply<'_>) -> Diagnosis {
    let by = reply.server.map_or_else(String::new, |server| format!(" ({})", told(server)));
    let status = reply.status;
    match status {
        300..=399 => Diagnosis::new(format!("answered HTTP {status}, a redirect{by}"), REDIRECT),
        400..=499 => Diagnosis::new(format!("answered HTTP {status}{by}"), PATH),
        _ => Diagnosis::new(format!("proxy answered HTTP {status}{by}"), PROXY),
    }
}

fn unexpected(case: &Case, code: &str) -> Diagnosis {
    let code = told(code);
    if case.expected == "000000" {
        return if code == "000001" {
            let text = "answered 000001: is the newest access key the bound one?";
            Diagnosis::new(text, KEY)
        } else {
            Diagnosis::new(format!("answered {code} instead of 000000"), OTHER_SERVER)
        };
    }
    if code == "000000" {
        let what = if case.wrong_key { "a call with a wrong signature" } else { "a stale call" };
        Diagnosis::new(format!("{what} was accepted"), IMPOSTOR)
    } else {
        Diagnosis::new(format!("answered {code} instead of {}", case.expected), IMPOSTOR)
    }
}

/// What a stranger wrote, cut and without control characters.
fn told(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(HEADER_TOLD).collect()
}

async fn read(response: &mut reqwest::Response) -> Result<Vec<u8>, Diagnosis> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| diagnose(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > REPLY_MAX {
            return Err(Diagnosis::new("the reply is larger than 16 KiB", OTHER_SERVER));
        }
    }
    Ok(body)
}

/// Names what failed; the URL is left out, because it carries the signature.
fn diagnose(error: &reqwest::Error) -> Diagnosis {
    if error.is_timeout() {
        let bound = MEASURED_UP_TO.as_secs();
        return Diagnosis::new(format!("no answer within {bound} s, limit 20 s"), SLOW);
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let layer = if error.is_connect() { "cannot connect" } else { "the connection broke" };
    Diagnosis::new(format!("{layer}: {cause}"), BROKEN)
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

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Option<&str> = Some("application/json;charset=UTF-8");

    fn judged(case: &Case, status: u16, content_type: Option<&str>, body: &[u8]) -> String {
        let server = (status == 502).then_some("nginx/1.24.0");
        match judge(case, &Reply { status, content_type, server, body }) {
            Ok(detail) => detail,
            Err(why) => why.text,
        }
    }

    #[test]
    fn an_answer_is_judged_as_the_marketplace_does() {
        let [case, ..] = cases();
        let good = br#"{"resultCode":"000000","resultMsg":"success."}"#;
        assert_eq!(judged(&case, 200, JSON, good), "answered 000000");
        for (status, content_type, body, says) in [
            (502, JSON, &good[..], "proxy answered HTTP 502 (nginx/1.24.0)"),
            (301, JSON, good, "answered HTTP 301, a redirect"),
            (404, JSON, good, "answered HTTP 404"),
            (200, Some("text/html"), good, "content type text/html instead of application/json"),
            (200, None, good, "content type missing instead of application/json"),
            (200, JSON, b"<html>", "the reply is not JSON"),
            (200, JSON, br#"{"resultCode":"000000"}"#, "resultMsg is missing"),
            (200, JSON, br#"{"resultMsg":"x"}"#, "resultCode is missing"),
            (
                200,
                JSON,
                br#"{"resultCode":"000001","resultMsg":"x"}"#,
                "answered 000001: is the newest access key the bound one?",
            ),
            (
                200,
                JSON,
                br#"{"resultCode":"000005","resultMsg":"x"}"#,
                "answered 000005 instead of 000000",
            ),
        ] {
            assert_eq!(judged(&case, status, content_type, body), says);
        }
    }

    #[test]
    fn a_call_that_must_be_refused_is_not_accepted() {
        let [.., wrong, stale] = cases();
        let accepted = br#"{"resultCode":"000000","resultMsg":"x"}"#;
        let refused = br#"{"resultCode":"000001","resultMsg":"x"}"#;
        let says = [
            (&wrong, "a call with a wrong signature was accepted"),
            (&stale, "a stale call was accepted"),
        ];
        for (case, says) in says {
            assert_eq!(judged(case, 200, JSON, accepted), says);
            assert_eq!(judged(case, 200, JSON, refused), "answered 000001");
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
