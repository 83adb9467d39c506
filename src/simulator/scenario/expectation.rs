//! What a story expects, held against what the console and the merchant show.
//!
//! Invariant: looking changes nothing, at the marketplace or at the merchant.

use super::length::Length;
use super::look::{LOOK_EVERY, Look, until};
use super::player::Player;
use super::reply::{Reply, SUCCESS, failed};
use super::report::End;
use super::step::{Expect, License};
use crate::simulator::ask::Endpoint;
use crate::simulator::calls::RETRY_EVERY;
use crate::simulator::faults::On;
use hyper::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// The marketplace waits so long for a reply (protocol.md 4.1).
const REPLY: Duration = Duration::from_secs(20);
/// How long anything else may take if a story does not say.
const USUAL: Duration = Duration::from_secs(30);
/// How long the rounds of attempts last until a call has failed (protocol.md 4.5).
const GIVEN_UP: Duration = Duration::from_hours(3);

/// Holds one expectation against what there is.
pub(super) async fn check(player: &Player<'_>, expect: &Expect) -> End {
    let checked = match expect {
        Expect::Reply { result, http, activity, attempt, within } => {
            let wanted = Reply {
                result: result.as_deref().unwrap_or(SUCCESS),
                http: *http,
                activity: activity.as_deref(),
                attempt: attempt.unwrap_or(1),
            };
            let rounds = u32::try_from(wanted.attempt - 1).unwrap_or(u32::MAX);
            let usual = REPLY.saturating_add(RETRY_EVERY.saturating_mul(rounds));
            let look = async || Ok(wanted.look(&player.calls().await?));
            until(player, *within, usual, wanted.to_string(), look).await
        }
        Expect::FailedCall { attempts, within } => {
            let times = attempts.map_or(String::new(), |n| format!(" after {n} attempts"));
            let expected = format!("the call in the list of failed calls{times}");
            let look = async || Ok(failed(&player.calls().await?, *attempts));
            until(player, *within, GIVEN_UP, expected, look).await
        }
        Expect::Asked { interface, code, answer, within } => {
            let license = player.license(code.as_deref());
            let wanted = answer.as_deref();
            let answered = wanted.map_or(String::new(), |answer| format!(", answered {answer}"));
            let expected = format!("a call to {} about {license}{answered}", interface.as_str());
            let look = async || Ok(asked(&player.requests().await?, *interface, &license, wanted));
            until(player, *within, USUAL, expected, look).await
        }
        Expect::NotAsked { interface, during } => not_asked(player, *interface, *during).await,
        Expect::Code { code, stage, status, frozen, within } => {
            let wanted = [
                ("stage", stage.as_ref().map(|stage| json!(stage))),
                ("status", status.as_ref().map(|status| json!(status))),
                ("frozen", frozen.map(Value::from)),
            ];
            let path = player.code_path(code.as_deref());
            let look = async || {
                let mut code = player.press(Method::GET, &path, &Value::Null).await?;
                code["frozen"] = Value::from(!code["frozen_at"].is_null());
                Ok(compare(&code, &wanted))
            };
            until(player, *within, USUAL, told(&wanted), look).await
        }
        Expect::License(wanted) => license(player, wanted).await,
        Expect::DialTests { half_days, passed, within } => {
            let passed = passed.unwrap_or(true);
            let word = if passed { "passed" } else { "failed" };
            let expected = format!("the dial tests of {half_days} half-days, all {word}");
            let look = async || {
                let tests = player.press(Method::GET, "dial-tests", &Value::Null).await?;
                Ok(dialled(&tests, *half_days, passed))
            };
            until(player, *within, Duration::from_hours(24 * 7), expected, look).await
        }
    };
    checked.unwrap_or_else(End::Refused)
}

fn asked(requests: &[Value], interface: On, license: &str, answer: Option<&str>) -> Look {
    let about = |request: &&Value| {
        let codes = request["licenses"].as_array();
        // A request that was not let in was not read, so nobody knows which code it was about.
        let read = request["authentic"] == true;
        of(request, interface)
            && (!read || codes.is_some_and(|codes| codes.contains(&json!(license))))
    };
    let answers: Vec<&str> = requests
        .iter()
        .filter(about)
        .map(|request| request["code"].as_str().unwrap_or("nothing"))
        .collect();
    match answer {
        None if !answers.is_empty() => Look::Met,
        Some(wanted) if answers.contains(&wanted) => Look::Met,
        None | Some(_) if answers.is_empty() => Look::NotYet("no such call".to_owned()),
        None | Some(_) => Look::NotYet(format!("calls answered {}", answers.join(", "))),
    }
}

fn of(request: &Value, interface: On) -> bool {
    let path = request["path"].as_str().unwrap_or_default();
    Endpoint::at(path).is_some_and(|endpoint| endpoint.on() == interface)
}

async fn not_asked(
    player: &Player<'_>,
    interface: Option<On>,
    during: Length,
) -> Result<End, String> {
    let before = player.requests_so_far().await?;
    let end = Instant::now() + player.shared.pace.limit(during.0, Duration::ZERO);
    loop {
        let over = Instant::now() >= end;
        let new = player.requests_since(before).await?;
        if let Some(call) = new.iter().find(|call| interface.is_none_or(|wanted| of(call, wanted)))
        {
            let which = interface.map_or("the open API", On::as_str);
            let expected = format!("no call to {which} during {during}");
            return Ok(End::Missed { expected, got: format!("a call to {}", call["path"]) });
        }
        if over {
            return Ok(End::Ok(None));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The merchant's own view of a code.
async fn license(player: &Player<'_>, license: &License) -> Result<End, String> {
    let License { code, known, state, marketplace_status, frozen, same_end, within } = license;
    let Some(merchant) = player.merchant else {
        return Ok(End::Skipped(
            "only with --admin can the merchant's own state be seen".to_owned(),
        ));
    };
    let wanted = [
        ("known", known.map(Value::from)),
        ("state", state.as_ref().map(|state| json!(state))),
        ("marketplace_status", marketplace_status.as_ref().map(|status| json!(status))),
        ("frozen", frozen.map(Value::from)),
        ("same_end", same_end.map(Value::from)),
    ];
    let name = player.license(code.as_deref());
    let path = player.code_path(code.as_deref());
    let look = async || {
        let found = merchant.license(&player.shared.client, &name).await?;
        let market = player.press(Method::GET, &path, &Value::Null).await?;
        let mut license = found.clone().unwrap_or_else(|| json!({}));
        license["known"] = Value::from(found.is_some());
        license["frozen"] = Value::from(license["frozen_since"].is_string());
        license["same_end"] =
            Value::from(digits(&license["expires_at"]) == digits(&market["expires_at"]));
        Ok(compare(&license, &wanted))
    };
    until(player, *within, USUAL, told(&wanted), look).await
}

/// An instant down to the second, which is all that the wire carries.
fn digits(instant: &Value) -> Option<String> {
    Some(instant.as_str()?.chars().filter(char::is_ascii_digit).take(14).collect())
}

type Wanted<'a> = [(&'a str, Option<Value>)];

/// Compares the fields that are asked for.
fn compare(found: &Value, wanted: &Wanted<'_>) -> Look {
    let asked = wanted.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?)));
    let other: Vec<String> = asked
        .filter(|(name, value)| found[*name] != **value)
        .map(|(name, _)| format!("{name} {}", found[name]))
        .collect();
    if other.is_empty() { Look::Met } else { Look::NotYet(other.join(", ")) }
}

fn told(wanted: &Wanted<'_>) -> String {
    let asked = wanted.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    asked.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
}

fn dialled(tests: &Value, half_days: usize, passed: bool) -> Look {
    let daily =
        tests["items"].as_array().into_iter().flatten().filter(|test| test["slot"].is_string());
    let daily: Vec<&Value> = daily.collect();
    match daily.iter().find(|test| test["passed"] != passed) {
        Some(test) => {
            Look::Never(format!("the one of {}: passed {}", test["slot"], test["passed"]))
        }
        None if daily.len() >= half_days => Look::Met,
        None => Look::NotYet(format!("{} so far", daily.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fields_asked_for_are_compared() {
        let found = json!({"stage": "activated", "status": "ALIVE"});
        assert!(matches!(
            compare(&found, &[("stage", None), ("status", Some(json!("ALIVE")))]),
            Look::Met
        ));
        let look = compare(&found, &[("stage", Some(json!("released")))]);
        assert!(matches!(look, Look::NotYet(got) if got == "stage \"activated\""));
    }

    #[test]
    fn a_request_is_told_by_its_interface_code_and_answer() {
        let path = crate::protocol::open_api::QUERY_V1;
        let seen =
            [json!({"path": path, "authentic": true, "licenses": ["PL1"], "code": "92020005"})];
        let met = |on, license, answer| matches!(asked(&seen, on, license, answer), Look::Met);
        assert!(met(On::Query, "PL1", None) && met(On::Query, "PL1", Some("92020005")));
        assert!(!met(On::Activate, "PL1", None) && !met(On::Query, "PL2", None));
        assert!(!met(On::Query, "PL1", Some("92020000")));
    }
}
