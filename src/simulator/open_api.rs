//! The open API: what the merchant's calls do, and what they are answered (protocol.md 2).
//!
//! Invariant: gateway first, form second, effect third, and only then the faults that spoil an answer;
//! a request is in the list of requests whatever became of it.

use super::answer::{Answer, Voice, bare};
use super::ask::{Ask, Endpoint};
use super::code::{Code, Order, Stage};
use super::codes::{self, Known};
use super::faults::Fault;
use super::gateway::LOCK;
use super::mock_orders;
use super::sabotage::{Instead, instead, spoil};
use super::server::{Arrived, Ending};
use super::state::{Seen, Shared, State};
use super::usage::Report;
use crate::domain::time::{DateText, Timestamp};
use crate::protocol::aksk;
use serde_json::{Value, json};
use std::time::Duration;

/// Answers one request to the open API.
pub(super) async fn handle(shared: &Shared, request: &Arrived) -> Ending {
    let request_id = shared.note(|state| state.kept.request_ids.request_id());
    let Some(endpoint) = Endpoint::at(&request.path) else {
        return Ending::Answer(bare(codes::NO_SUCH_API, Voice::License, &request_id));
    };
    let voice = voice(endpoint);
    let mut seen = Seen {
        at: shared.pace.now(),
        method: request.method.to_string(),
        path: request.path.clone(),
        licenses: Vec::new(),
        authentic: false,
        status: None,
        code: None,
        faults: Vec::new(),
    };
    let examined = examine(shared, request, endpoint, &request_id, &mut seen).await;
    let refused = |known| Ending::Answer(bare(known, voice, &request_id));
    let ending = examined.unwrap_or_else(refused);
    if let Ending::Answer(answer) = &ending {
        seen.status = Some(answer.status);
        seen.code.clone_from(&answer.code);
    }
    tracing::info!(
        request.id = request_id,
        path = seen.path,
        license.code = seen.licenses.first(),
        result_code = seen.code,
        "open API request"
    );
    shared.note(|state| state.saw(seen));
    wait_if_silent(ending).await
}

const fn voice(endpoint: Endpoint) -> Voice {
    match endpoint {
        Endpoint::Order => Voice::Order,
        Endpoint::ActivateV1
        | Endpoint::ActivateV2
        | Endpoint::QueryV1
        | Endpoint::QueryV2
        | Endpoint::Usage => Voice::License,
    }
}

/// Gateway, form, effect.
async fn examine(
    shared: &Shared,
    request: &Arrived,
    endpoint: Endpoint,
    request_id: &str,
    seen: &mut Seen,
) -> Result<Ending, Known> {
    admit(shared, request)?;
    seen.authentic = true;
    let content_type = request.header("content-type");
    let ask = Ask::read(endpoint, &request.method, content_type, &request.query, &request.body)?;
    Ok(play(shared, endpoint, ask, request_id, seen).await)
}

/// The gateway's word on a request.
fn admit(shared: &Shared, request: &Arrived) -> Result<(), Known> {
    let query: Vec<_> = request.query.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    // Headers that are no text cannot be signed, so they are left out like the SDK leaves them out.
    let headers: Vec<_> = request
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let signed = aksk::Request {
        method: request.method.as_str(),
        path: &request.path,
        query: &query,
        headers: &headers,
        body: &request.body,
    };
    let now = shared.pace.now();
    let authorization = request.header("authorization");
    let verified = aksk::verify(&shared.credentials, &signed, authorization, now);
    if let Err(refused) = &verified {
        tracing::warn!(error = %refused, "open API request refused");
    }
    let lock = shared.pace.span(LOCK);
    shared.note(|state| state.guard.admit(&verified, now, lock))
}

/// Carries the request out under the faults that are on order.
async fn play(
    shared: &Shared,
    endpoint: Endpoint,
    ask: Ask,
    request_id: &str,
    seen: &mut Seen,
) -> Ending {
    let voice = voice(endpoint);
    let licenses = ask.licenses();
    seen.licenses = licenses.iter().map(|&license| license.to_owned()).collect();
    let faults = shared.note(|state| {
        let State { faults, kept, .. } = state;
        faults.draw(endpoint.on(), &licenses, &mut kept.dice)
    });
    seen.faults = faults.iter().map(|fault| format!("{fault:?}")).collect();
    match faults.iter().find_map(|fault| instead(fault, voice, request_id)) {
        Some(Instead::Answer(answer)) => return Ending::Answer(answer),
        Some(Instead::Silence) => return Ending::Silence,
        Some(Instead::Cut) => return Ending::Cut,
        None => {}
    }
    let now = shared.pace.now();
    let result = if matches!(ask, Ask::Query(_) | Ask::QueryAll(_) | Ask::Order { .. }) {
        shared.look(|state| look_up(state, &ask, now))
    } else {
        shared.change(|state| carry_out(state, ask, now)).await
    };
    let mut answer = match result {
        Ok(body) => {
            let success = if voice == Voice::Order { codes::ORDER_SUCCESS } else { codes::SUCCESS };
            Answer::open_api(success.http, success.code, &body)
        }
        Err(known) => bare(known, voice, request_id),
    };
    for fault in &faults {
        if let Fault::Delay(ms) = fault {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
        }
        spoil(&mut answer, fault);
    }
    if faults.contains(&Fault::Hang) { Ending::Silence } else { Ending::Answer(answer) }
}

/// Silence lasts until the caller goes away or the server stops, but not for ever.
async fn wait_if_silent(ending: Ending) -> Ending {
    const LONGEST: Duration = Duration::from_mins(10);
    if matches!(ending, Ending::Silence) {
        tokio::time::sleep(LONGEST).await;
        return Ending::Cut;
    }
    ending
}

/// What changes nothing.
fn look_up(state: &State, ask: &Ask, now: Timestamp) -> Result<Value, Known> {
    let market = &state.kept.market;
    match ask {
        Ask::Query(license) => market.ask(license).map(|code| success(&license_info(code, now))),
        Ask::QueryAll(licenses) => licenses
            .iter()
            .map(|license| market.ask(license).map(|code| license_info(code, now)))
            .collect::<Result<Value, Known>>()
            .map(|list| success(&list))
            .map_err(|_| codes::INVALID_IN_LIST),
        Ask::Order { order_id, order_line_id } => {
            let asked = |line: &str| order_line_id.as_deref().is_none_or(|asked| asked == line);
            let order = market.order(order_id).filter(|order| asked(&order.line.order_line_id));
            let info = order.map(order_info).or_else(|| {
                mock_orders::find(order_id, now).filter(|_| asked(&format!("{order_id}-000001")))
            });
            let info = info.ok_or(codes::ORDER_UNKNOWN)?;
            let known = codes::ORDER_SUCCESS;
            Ok(json!({"resultCode": known.code, "resultMsg": known.message, "orderInfo": info}))
        }
        Ask::Activate { .. } | Ask::ActivateAll { .. } | Ask::Usage(_) => Ok(Value::Null),
    }
}

/// What changes something.
fn carry_out(state: &mut State, ask: Ask, now: Timestamp) -> Result<Value, Known> {
    match ask {
        Ask::Activate { license, effect } => {
            let code = state.kept.market.activate(&license, effect, now)?;
            let info = json!({
                "status": "ALIVE", "expire_time": code.expire_text().as_str(),
                "product_id": code.product_id, "amount": code.amount, "order_id": code.order.order_id,
            });
            Ok(success(&json!({"license_code_info": info.to_string()})))
        }
        Ask::ActivateAll { licenses, effect } => activate_all(state, &licenses, effect, now),
        Ask::Usage(reports) => take_usage(state, reports, now),
        Ask::Query(_) | Ask::QueryAll(_) | Ask::Order { .. } => look_up(state, &ask, now),
    }
}

/// All or nothing, and the answer has no data (protocol.md 2.3).
fn activate_all(
    state: &mut State,
    licenses: &[String],
    effect: Option<Timestamp>,
    now: Timestamp,
) -> Result<Value, Known> {
    let market = &mut state.kept.market;
    let distinct: std::collections::BTreeSet<_> = licenses.iter().collect();
    let all_may = licenses.iter().all(|license| market.may_activate(license, effect).is_ok());
    if distinct.len() != licenses.len() || !all_may {
        return Err(codes::INVALID_IN_LIST);
    }
    for license in licenses {
        market.activate(license, effect, now)?;
    }
    Ok(json!({"error_code": codes::SUCCESS.code, "error_msg": codes::SUCCESS.message}))
}

/// Counts the reports of active codes; the others are named in a list, and if there is nothing else,
/// the first one's fault is the answer.
fn take_usage(state: &mut State, reports: Vec<Report>, now: Timestamp) -> Result<Value, Known> {
    let market = &state.kept.market;
    let fault = |report: &Report| match market.ask(&report.license) {
        Ok(code) if code.stage == Stage::Released => Some(codes::ILLEGAL_STATE),
        Ok(_) => None,
        Err(known) => Some(known),
    };
    let (bad, good): (Vec<_>, Vec<_>) = reports
        .into_iter()
        .map(|report| (fault(&report), report))
        .partition(|(fault, _)| fault.is_some());
    if let (true, Some((Some(known), _))) = (good.is_empty(), bad.first()) {
        return Err(*known);
    }
    let failed: Vec<Value> = bad
        .iter()
        .filter_map(|(fault, report)| Some((fault.as_ref()?, report)))
        .map(|(known, report)| {
            json!({"license": report.license, "error_code": known.code, "error_msg": known.message})
        })
        .collect();
    for (_, report) in good {
        state.kept.usage.add(report, now.beijing_day());
    }
    if failed.is_empty() {
        return Ok(json!({"error_code": codes::SUCCESS.code, "error_msg": codes::SUCCESS.message}));
    }
    Ok(success(&json!({"check_fail_list": failed})))
}

fn success(data: &Value) -> Value {
    let known = codes::SUCCESS;
    json!({"error_code": known.code, "error_msg": known.message, "data": data})
}

/// LicenseInfo of the query. A code released before it was activated has no `activate_time`.
fn license_info(code: &Code, now: Timestamp) -> Value {
    let mut info = json!({
        "license_code": code.license, "status": code.status(now),
        "expire_time": code.expire_text().as_str(), "product_id": code.product_id,
        "order_id": code.order.order_id, "amount": code.amount,
    });
    if let (Some(at), Value::Object(fields)) = (code.activated_at, &mut info) {
        fields.insert("activate_time".to_owned(), DateText::from_utc(at).as_str().into());
    }
    info
}

fn order_info(order: &Order) -> Value {
    json!({
        "orderId": order.line.order_id, "orderType": order.kind,
        "createTime": DateText::from_utc(order.created_at).as_str(),
        "orderLine": [{
            "orderLineId": order.line.order_line_id, "chargingMode": "PERIOD", "periodType": "year",
            "periodNumber": 1, "expireTime": DateText::from_utc(order.expires_at).as_str(),
            "productInfo": [{"productId": order.product_id}],
        }],
    })
}
