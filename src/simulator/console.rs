//! The console: what buyers, sellers and the marketplace's staff would press, over HTTP as JSON.
//!
//! Invariant: only pages of this machine may use it (Host and Origin must be loopback names); a refused
//! act changes nothing and says why.

use super::answer::Answer;
use super::callbacks::post;
use super::calls::{Call, CallState};
use super::code::Refused;
use super::desk;
use super::dial_test::dial;
use super::faults::{BadRule, RuleText};
use super::gateway::LOCK;
use super::message::Interface;
use super::server::Arrived;
use super::signing::{Key, Manner, sign};
use super::state::{Shared, State};
use super::{page, view};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The most lines of one list.
const LIST_MAX: usize = 1_000;

/// Why a request to the console is refused. All are the caller's fault.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denied {
    /// Not from this machine.
    #[error("the console answers this machine only: ask for it by a loopback name or address")]
    NotLocal,
    /// Nothing there.
    #[error("there is nothing at this path; GET /console shows what there is")]
    NoSuchPath,
    /// A path with another method.
    #[error("this path does not take {0}")]
    Method(String),
    /// Not JSON, or another shape.
    #[error("the body is not as expected: {0}")]
    Body(#[from] serde_json::Error),
    /// A value out of range.
    #[error("{0}")]
    Value(&'static str),
    /// A bad fault rule.
    #[error(transparent)]
    Rule(#[from] BadRule),
    /// An act that the code does not allow.
    #[error(transparent)]
    Act(#[from] Refused),
    /// Nothing to restart.
    #[error("there is no failed call {0}; GET /console/failed lists them")]
    NoFailedCall(String),
    /// No key before the present one.
    #[error("there is no old key to sign with; start the marketplace with --old-access-key-file")]
    NoOldKey,
    /// Nobody to call.
    #[error("no callback URL is set; PUT /console/callback-url {{\"url\":\"…\"}} first")]
    NoUrl,
    /// Nothing to sign order notifications with.
    #[error("order notifications need a key of their own: start with one (--order-key-file)")]
    NoOrderKey,
}

impl Denied {
    const fn status(&self) -> u16 {
        match self {
            Self::NotLocal => 403,
            Self::NoSuchPath | Self::NoFailedCall(_) | Self::Act(Refused::Unknown(_)) => 404,
            Self::Method(_) => 405,
            Self::Body(_) | Self::Value(_) | Self::Rule(_) | Self::Act(Refused::BadLicense(_)) => {
                400
            }
            Self::Act(
                Refused::Exists(_)
                | Refused::Released(_)
                | Refused::Received(_)
                | Refused::NoRenewal(_)
                | Refused::AlreadySo(..),
            )
            | Self::NoOldKey
            | Self::NoUrl
            | Self::NoOrderKey => 409,
        }
    }
}

/// Answers one request to the console.
pub(super) async fn handle(shared: &Shared, request: &Arrived) -> Answer {
    match route(shared, request).await {
        Ok(answer) => answer,
        Err(denied) => {
            let (status, detail) = (denied.status(), denied.to_string());
            let title = if status == 409 { "not possible now" } else { "bad request" };
            let problem =
                json!({"type": "about:blank", "title": title, "status": status, "detail": detail});
            Answer::console(status, &problem)
        }
    }
}

async fn route(shared: &Shared, request: &Arrived) -> Result<Answer, Denied> {
    if !is_local(request) {
        return Err(Denied::NotLocal);
    }
    let path = request.path.strip_prefix("/console").unwrap_or_default().trim_matches('/');
    let decode = |segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
    let segments: Vec<_> = path.split('/').filter(|part| !part.is_empty()).map(decode).collect();
    let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
    let ok = |body: Value| Ok(Answer::console(200, &body));
    match (request.method.as_str(), &segments[..]) {
        ("GET", []) => Ok(Answer::text(200, "text/html;charset=UTF-8", page::overview(shared))),
        ("GET", ["codes"]) => ok(desk::list(shared, request)?),
        ("POST", ["codes"]) => desk::issue(shared, request).await,
        ("GET", ["codes", license]) => ok(desk::show(shared, license)?),
        ("POST", ["codes", license, act]) => {
            ok(desk::perform(shared, request, license, act).await?)
        }
        ("GET", ["calls"]) => ok(list_calls(shared, request, |_| true)?),
        ("GET", ["failed"]) => {
            ok(list_calls(shared, request, |call| call.state == CallState::Failed)?)
        }
        ("POST", ["failed", id, "restart"]) => ok(restart(shared, id).await?),
        ("GET", ["requests"]) => ok(list_requests(shared, request)?),
        ("GET", ["usage"]) => ok(
            json!({"items": shared.look(|state| state.kept.usage.to_json(request.parameter("license")))}),
        ),
        ("GET", ["dial-tests"]) => {
            ok(shared.look(|state| view::dial_tests(&state.kept.dial_tests)))
        }
        ("POST", ["dial-test"]) => {
            ok(view::dial_test(&dial(shared, None).await.ok_or(Denied::NoUrl)?))
        }
        ("POST", ["send"]) => ok(send(shared, request).await?),
        ("GET", ["faults"]) => ok(json!({"rules": shared.look(|state| state.faults.to_json())})),
        ("POST", ["faults"]) => ok(add_faults(shared, request)?),
        ("DELETE", ["faults"]) => {
            shared.note(|state| state.faults.clear());
            ok(json!({"rules": []}))
        }
        ("PUT", ["callback-url"]) => ok(set_url(shared, request, Interface::Licences).await?),
        ("PUT", ["order-url"]) => ok(set_url(shared, request, Interface::Orders).await?),
        ("PUT", ["lock"]) => ok(set_lock(shared, true)),
        ("DELETE", ["lock"]) => ok(set_lock(shared, false)),
        (
            method,
            []
            | [
                "codes" | "calls" | "failed" | "requests" | "usage" | "dial-tests" | "dial-test"
                | "send" | "faults" | "callback-url" | "order-url" | "lock",
            ]
            | ["codes", _]
            | ["codes", _, _]
            | ["failed", _, "restart"],
        ) => Err(Denied::Method(method.to_owned())),
        _ => Err(Denied::NoSuchPath),
    }
}

/// Another site's page can make a browser send requests here; its name or origin gives it away.
fn is_local(request: &Arrived) -> bool {
    let host = request.header("host").is_some_and(is_loopback);
    let origin = request.header("origin").map(|origin| origin.trim_start_matches("http://"));
    host && origin.is_none_or(is_loopback)
}

fn is_loopback(authority: &str) -> bool {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => authority,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The body as JSON; an empty one counts as `{}`.
pub(super) fn body<T: DeserializeOwned>(request: &Arrived) -> Result<T, Denied> {
    let bytes = request.body.trim_ascii();
    Ok(serde_json::from_slice(if bytes.is_empty() { b"{}" } else { bytes })?)
}

/// The `limit` parameter of a list.
pub(super) fn limit(request: &Arrived) -> Result<usize, Denied> {
    let text = request.parameter("limit").unwrap_or("1000");
    let limit = text.parse().ok().filter(|limit| (1..=LIST_MAX).contains(limit));
    limit.ok_or(Denied::Value("`limit` is a number from 1 to 1000"))
}

fn list_calls(
    shared: &Shared,
    request: &Arrived,
    wanted: impl Fn(&Call) -> bool,
) -> Result<Value, Denied> {
    let (limit, license) = (limit(request)?, request.parameter("license"));
    Ok(shared.look(|state| {
        let about = |call: &&Call| license.is_none() || call.message.license.as_deref() == license;
        let calls = state.kept.calls.newest_first().filter(|call| wanted(call)).filter(about);
        json!({"items": calls.take(limit).map(view::call).collect::<Value>()})
    }))
}

async fn restart(shared: &Shared, id: &str) -> Result<Value, Denied> {
    let now = shared.pace.now();
    let number = id.parse().unwrap_or(0);
    let restarted = shared.change(|state| state.kept.calls.restart(number, now)).await;
    if !restarted {
        return Err(Denied::NoFailedCall(id.to_owned()));
    }
    shared.deliver(number);
    let shown = shared.look(|state| state.kept.calls.get(number).map(view::call));
    Ok(shown.unwrap_or_default())
}

fn list_requests(shared: &Shared, request: &Arrived) -> Result<Value, Denied> {
    let (limit, now) = (limit(request)?, shared.pace.now());
    Ok(shared.look(|state| {
        let items: Value = state.requests.iter().rev().take(limit).map(view::seen).collect();
        let locked = state.guard.locked_until(now).map(|until| until.to_string());
        json!({"items": items, "counters": state.counters, "ak_locked_until": locked})
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendBody {
    /// A text is sent as it is, anything else as compact JSON.
    body: Value,
    #[serde(default)]
    bad_signature: bool,
    #[serde(default)]
    wrong_key: bool,
    #[serde(default)]
    old_key: bool,
    #[serde(default)]
    skew_s: i64,
    nonce: Option<String>,
    /// Sets `testFlag` of an object.
    test: Option<bool>,
}

/// Sends one call as told, once, outside the list of calls; the attempt, and the bytes sent as `body`.
async fn send(shared: &Shared, request: &Arrived) -> Result<Value, Denied> {
    let mut order: SendBody = body(request)?;
    let url = shared.look(|state| state.kept.callback_url.clone()).ok_or(Denied::NoUrl)?;
    let nonce_fits = |nonce: &String| nonce.chars().all(|c| c.is_ascii_alphanumeric());
    if !order.nonce.as_ref().is_none_or(nonce_fits) {
        return Err(Denied::Value("`nonce` is letters and digits"));
    }
    if let (Some(test), Value::Object(fields)) = (order.test, &mut order.body) {
        fields.insert("testFlag".to_owned(), if test { "1" } else { "0" }.into());
    }
    let text = match order.body {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let key = match (order.wrong_key, order.old_key) {
        (true, true) => return Err(Denied::Value("`wrong_key` and `old_key` exclude each other")),
        (_, true) if shared.old_key.is_none() => return Err(Denied::NoOldKey),
        (_, true) => Key::Old,
        (true, false) => Key::Wrong,
        (false, false) => Key::Present,
    };
    let manner = Manner {
        bad_signature: order.bad_signature,
        key,
        skew_s: order.skew_s,
        nonce: order.nonce,
        ..Manner::default()
    };
    let signed = sign(shared, &url, &text, &manner);
    let mut shown = view::attempt(&post(shared, &signed).await);
    shown["body"] = Value::from(signed.body);
    Ok(shown)
}

fn add_faults(shared: &Shared, request: &Arrived) -> Result<Value, Denied> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rules {
        rules: Vec<RuleText>,
    }
    let Rules { rules } = body(request)?;
    if shared.old_key.is_none() && rules.iter().any(RuleText::needs_old_key) {
        return Err(Denied::NoOldKey);
    }
    shared.note(|state| state.faults.add(rules))?;
    Ok(json!({"rules": shared.look(|state| state.faults.to_json())}))
}

async fn set_url(
    shared: &Shared,
    request: &Arrived,
    interface: Interface,
) -> Result<Value, Denied> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Address {
        url: Option<String>,
    }
    let Address { url } = body(request)?;
    if url.as_deref().is_some_and(|url| !super::is_callback_url(url)) {
        return Err(Denied::Value("`url` is an http or https address without a fragment, or null"));
    }
    if url.is_some() && shared.key(interface).is_none() {
        return Err(Denied::NoOrderKey);
    }
    let told = url.clone();
    let set = |state: &mut State| match interface {
        Interface::Licences => state.kept.callback_url = url,
        Interface::Orders => state.kept.order_url = url,
    };
    shared.change(set).await;
    Ok(json!({"url": told}))
}

fn set_lock(shared: &Shared, locked: bool) -> Value {
    let until = locked.then(|| shared.pace.now() + shared.pace.span(LOCK));
    shared.note(|state| state.guard.set_lock(until));
    json!({"ak_locked_until": until.map(|until| until.to_string())})
}
