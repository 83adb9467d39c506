//! Delivers the marketplace's calls: signs, posts, judges the answer, tries again (protocol.md 4, 5).
//!
//! Invariant: every attempt has a fresh nonce and timestamp and is recorded; calls are independent of
//! each other, as the marketplace promises no order.

use super::calls::{Attempt, RETRY_EVERY};
use super::faults::{Fault, On};
use super::message::Message;
use super::server::stopped;
use super::signing::{Key, Manner, Signed, sign};
use super::state::{Shared, State};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long the marketplace waits for an answer (protocol.md 4.1).
const TIMEOUT: Duration = Duration::from_secs(20);
/// However fast time runs, the network needs this long.
const TIMEOUT_FLOOR: Duration = Duration::from_secs(2);
/// How long a call is held back at most for a later one to overtake it: half the window in which its
/// signature counts (protocol.md 5.1).
const HELD_BACK: Duration = Duration::from_secs(30);
/// How often is looked whether it was overtaken.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The longest answer that is read.
const ANSWER_MAX: usize = 64 << 10;
/// The longest `resultMsg`, in characters.
const RESULT_MSG_MAX: usize = 255;

/// Delivers each call whose number comes in, all at the same time, until `stop` says so. What is then
/// under way is given up, and stays pending.
pub(super) async fn deliver_all(
    shared: Arc<Shared>,
    mut due: mpsc::UnboundedReceiver<u64>,
    mut stop: watch::Receiver<bool>,
) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(id) = due.recv() => { running.spawn(deliver(Arc::clone(&shared), id)); }
            Some(_) = running.join_next() => {}
        }
    }
    running.shutdown().await;
}

/// Tries one call until it is through, failed for good, or dropped.
async fn deliver(shared: Arc<Shared>, id: u64) {
    loop {
        let next = shared.look(|state| {
            let call = state.kept.calls.get(id)?;
            Some((call.message.clone(), call.next_at?))
        });
        let Some((message, due)) = next else { return };
        shared.pace.until(due).await;
        let (url, faults) = shared.note(|state| draw(state, &message));
        let url = url.filter(|_| shared.key(message.interface()).is_some());
        let Some(url) = url.filter(|_| !faults.contains(&Fault::Drop)) else {
            tracing::info!(license.code = message.license, "callback dropped");
            shared.change(|state| state.kept.calls.drop_call(id)).await;
            return;
        };
        let attempts = attempt(&shared, id, &url, &message, &faults).await;
        if attempts.is_empty() {
            return;
        }
        for attempt in attempts {
            tracing::info!(
                license.code = message.license,
                activity = message.activity,
                status = attempt.status,
                result_code = attempt.result_code,
                duration_ms = attempt.latency_ms,
                error = attempt.error,
                "callback sent"
            );
            let spacing = shared.pace.span(RETRY_EVERY);
            shared.change(|state| state.kept.calls.tried(id, attempt, spacing)).await;
        }
    }
}

fn draw(state: &mut State, message: &Message) -> (Option<String>, Vec<Fault>) {
    let State { faults, kept, .. } = state;
    let about: Vec<&str> = message.license.as_deref().into_iter().collect();
    let url = kept.url(message.interface()).map(str::to_owned);
    (url, faults.draw(On::Callback, &about, &mut kept.dice))
}

/// One attempt; with a duplicate on order, the doubled one comes first, and the last one counts.
async fn attempt(
    shared: &Shared,
    id: u64,
    url: &str,
    message: &Message,
    faults: &[Fault],
) -> Vec<Attempt> {
    let mut manner = Manner { interface: message.interface(), ..Manner::default() };
    for fault in faults {
        match fault {
            Fault::Delay(ms) => tokio::time::sleep(Duration::from_millis(*ms)).await,
            Fault::BadSignature => manner.bad_signature = true,
            Fault::WrongKey => manner.key = Key::Wrong,
            Fault::OldKey => manner.key = Key::Old,
            Fault::Skew(seconds) => manner.skew_s = *seconds,
            Fault::WrongContentType => manner.content_type = "text/plain",
            Fault::Http(_)
            | Fault::ErrorCode(_)
            | Fault::Status(_)
            | Fault::Hang
            | Fault::HangBefore
            | Fault::Cut
            | Fault::CutBefore
            | Fault::Html
            | Fault::Empty
            | Fault::Truncated
            | Fault::Huge
            | Fault::UnknownStatus
            | Fault::UnknownField
            | Fault::Numbers
            | Fault::BadDate
            | Fault::Duplicate
            | Fault::DuplicateResigned
            | Fault::Reorder
            | Fault::Drop
            | Fault::WrongCertificate => {}
        }
    }
    let sign_it = || sign(shared, url, &message.body, &manner);
    let held_back = faults.contains(&Fault::Reorder).then(sign_it);
    if held_back.is_some() {
        be_overtaken(shared, id, message).await;
    }
    // Bounds what is under way; it is signed only then, so that no wait makes it stale.
    let Ok(_permit) = shared.permits.acquire().await else { return Vec::new() };
    let signed = held_back.unwrap_or_else(sign_it);
    let mut attempts = vec![post(shared, &signed).await];
    if faults.contains(&Fault::Duplicate) {
        attempts.push(post(shared, &signed).await);
    }
    if faults.contains(&Fault::DuplicateResigned) {
        attempts.push(post(shared, &sign_it()).await);
    }
    if faults.contains(&Fault::Cut) {
        attempts.iter_mut().for_each(lose_answer);
    }
    // An earlier copy that went through must not end the delivery before its twin is recorded.
    attempts.sort_by_key(|attempt| attempt.error.is_none());
    attempts
}

/// Waits until a later call about the same code has been tried, as behind a slow line.
async fn be_overtaken(shared: &Shared, id: u64, message: &Message) {
    let overtaken = |state: &State| {
        let mut later = state.kept.calls.newest_first().take_while(|call| call.id > id);
        later.any(|call| call.message.license == message.license && !call.attempts.is_empty())
    };
    let patience = Instant::now() + shared.pace.limit(HELD_BACK, TIMEOUT_FLOOR);
    while !shared.look(overtaken) && Instant::now() < patience {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The merchant has answered, but the marketplace never gets to know.
fn lose_answer(attempt: &mut Attempt) {
    (attempt.status, attempt.result_code) = (None, None);
    attempt.error = Some("no answer: the connection was cut, by a fault on order".to_owned());
}

/// Posts a call once and judges what comes back.
pub(super) async fn post(shared: &Shared, signed: &Signed) -> Attempt {
    let started = Instant::now();
    let timeout = shared.pace.limit(TIMEOUT, TIMEOUT_FLOOR);
    let answered = tokio::time::timeout(timeout, exchange(shared, signed)).await;
    let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let failed = |error| (None, None, Some(error));
    let (status, result_code, error) = match answered {
        Err(_) => failed(format!("no answer within {} ms", timeout.as_millis())),
        Ok(Err(error)) => failed(format!("no answer: {}", chain(&error.without_url()))),
        Ok(Ok(reply)) => {
            let verdict = judge(&reply);
            (Some(reply.status), verdict.result_code, verdict.fault)
        }
    };
    Attempt { at: signed.at, status, result_code, latency_ms, error }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    content_type: Option<String>,
    body: Vec<u8>,
}

async fn exchange(shared: &Shared, signed: &Signed) -> reqwest::Result<Reply> {
    let request = shared.client.post(&signed.url).header("content-type", signed.content_type);
    let mut response = request.body(signed.body.clone()).send().await?;
    let content_type = response.headers().get("content-type");
    let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_MAX {
            break;
        }
    }
    Ok(Reply { status: response.status().as_u16(), content_type, body })
}

struct Verdict {
    result_code: Option<String>,
    fault: Option<String>,
}

/// HTTP 200, `application/json`, both fields within their lengths, and 000000; all else is a failure
/// (protocol.md 4.1).
fn judge(reply: &Reply) -> Verdict {
    let body: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let field = |name| body.as_ref().and_then(|body| body.get(name)).and_then(Value::as_str);
    let result_code = field("resultCode").map(str::to_owned);
    let media_type = reply.content_type.as_deref().and_then(|text| text.split(';').next());
    let is_json = media_type.is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json"));
    let fault = if reply.status != 200 {
        Some(format!("HTTP status {}, only 200 counts", reply.status))
    } else if !is_json {
        let found = reply.content_type.as_deref().unwrap_or("none");
        Some(format!("content type {found}, only application/json can be read"))
    } else if reply.body.len() > ANSWER_MAX {
        Some("the answer is longer than 64 KiB".to_owned())
    } else {
        match (field("resultCode"), field("resultMsg")) {
            (None, _) => Some("the answer has no resultCode, or is no JSON".to_owned()),
            (_, None) => Some("the answer has no resultMsg".to_owned()),
            (Some(code), _) if code != "000000" => Some(format!("resultCode {code}")),
            (_, Some(msg)) if msg.chars().count() > RESULT_MSG_MAX => {
                Some("resultMsg is longer than 255 characters".to_owned())
            }
            (Some(_), Some(_)) => None,
        }
    };
    Verdict { result_code, fault }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(status: u16, content_type: Option<&str>, body: &str) -> Option<String> {
        let content_type = content_type.map(str::to_owned);
        judge(&Reply { status, content_type, body: body.into() }).fault
    }

    #[test]
    fn only_the_documented_success_counts() {
        let json = Some("application/json;charset=UTF-8");
        let good = r#"{"resultCode":"000000","resultMsg":"success."}"#;
        assert_eq!(fault(200, json, good), None);
        let long = format!(r#"{{"resultCode":"000000","resultMsg":"{}"}}"#, "x".repeat(256));
        for (status, content_type, body, word) in [
            (202, json, good, "202"),
            (500, json, good, "500"),
            (200, Some("text/html"), good, "text/html"),
            (200, None, good, "none"),
            (200, json, "", "no resultCode"),
            (200, json, "<html>", "no resultCode"),
            (200, json, r#"{"resultCode":"000000"}"#, "no resultMsg"),
            (200, json, r#"{"resultCode":0,"resultMsg":"success."}"#, "no resultCode"),
            (200, json, r#"{"resultCode":"000003","resultMsg":"unknown"}"#, "000003"),
            (200, json, &long, "255"),
        ] {
            let fault = fault(status, content_type, body).expect("a failure");
            assert!(fault.contains(word), "{fault}");
        }
    }
}
