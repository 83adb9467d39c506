//! Bodies of the marketplace's open API: ours exact, theirs leniently read (protocol.md §2).
//!
//! Invariant: only documented words of an answer become a verdict on a code; whatever else an answer
//! holds is left to the outcome map, and never counts as success.

mod batch;
mod order;
mod strange;
mod usage;

pub use batch::{BATCH_MAX, Batch, batch_activation_verdict, batch_body, batch_query_verdict};
pub use order::order_verdict;
pub use strange::{Strange, StrangeKind};
pub use usage::{CheckFailure, USAGE_CODES_MAX, USAGE_ENTRIES_MAX, usage_body, usage_verdict};

use crate::domain::license::{Code, Expiry, OrderId};
use crate::domain::outcome::{Outcome, of_answer};
use crate::domain::slots::Zone;
use crate::domain::time::DateText;
use crate::domain::transition::{ActivationVerdict, Facts, QueryVerdict};
use serde_json::{Map, Value, json};

/// Activation of one code.
pub const ACTIVATE_V1: &str = "/api/mkp-openapi-public/global/v1/license/activate";
/// Activation of up to 100 codes.
pub const ACTIVATE_V2: &str = "/api/mkp-openapi-public/global/v2/license/activate";
/// Query of one code; the path still has the call's former name.
pub const QUERY_V1: &str = "/api/mkp-openapi-public/global/v1/license/heartbeat";
/// Query of up to 100 codes; its fields are not published (protocol.md 2.5).
pub const QUERY_V2: &str = "/api/mkp-openapi-public/global/v2/license/heartbeat";
/// Report of how a code is used.
pub const USAGE_V2: &str = "/api/mkp-openapi-public/global/v2/license/software-usage-info";
/// Query of an order: a GET with `orderId`.
pub const ORDER_V1: &str = "/api/mkp-openapi-public/global/v1/order/query";

/// How much of an answer that cannot be read is kept, in characters.
const SAMPLE_CHARS: usize = 200;
/// How much of an error code is kept, in characters; documented ones have at most 16.
const CODE_CHARS: usize = 32;
/// The longest `product_id` of an answer, in characters (protocol.md 2.4).
const PRODUCT_ID_MAX_CHARS: usize = 128;

/// The body of an activation. The effect time is left out: the marketplace then takes its own clock.
#[must_use]
pub fn activate_body(code: &Code) -> Vec<u8> {
    json!({ "license": code.as_str() }).to_string().into_bytes()
}

/// The body of a query; the deprecated `heartbeatInfo` is left out.
#[must_use]
pub fn query_body(code: &Code) -> Vec<u8> {
    json!({ "license": code.as_str() }).to_string().into_bytes()
}

/// An answer of the open API or of the gateway before it. The order query has names of its own
/// (protocol.md 2.7).
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// `error_code` or `resultCode`; absent from answers nobody documented.
    pub error_code: Option<String>,
    /// `error_msg` or `resultMsg`: for people only, its wording differs between versions.
    pub error_msg: Option<String>,
    /// `data` or `orderInfo`, as it came.
    pub data: Option<Value>,
    /// Fields that no document told us of.
    pub strange: Vec<Strange>,
}

/// Why a body is no answer of the open API. The marketplace's fault, or that of something between.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Nothing there.
    #[error("the marketplace's answer is empty")]
    Empty,
    /// HTML, half a document, or not UTF-8.
    #[error("the marketplace's answer is not JSON (is a proxy answering?): {sample}")]
    NotJson {
        /// Its beginning.
        sample: String,
    },
    /// A list, a string or the like.
    #[error("the marketplace's answer is no JSON object: {sample}")]
    NotObject {
        /// Its beginning.
        sample: String,
    },
}

/// Reads an answer's body. Codes may be strings or numbers; unknown fields are only told.
///
/// # Errors
/// [`BadAnswer`] with a bounded sample when the body is no JSON object.
pub fn parse_answer(body: &[u8]) -> Result<Answer, BadAnswer> {
    if body.trim_ascii().is_empty() {
        return Err(BadAnswer::Empty);
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(mut fields)) => Ok(Answer {
            strange: strange::fields(&fields),
            error_code: text(&fields, "error_code")
                .or_else(|| text(&fields, "resultCode"))
                .map(|code| bounded(&code, CODE_CHARS)),
            error_msg: text(&fields, "error_msg").or_else(|| text(&fields, "resultMsg")),
            data: ["data", "orderInfo"]
                .into_iter()
                .find_map(|name| fields.remove(name).filter(|data| !data.is_null())),
        }),
        Ok(_) => Err(BadAnswer::NotObject { sample: sample(body) }),
        Err(_) => Err(BadAnswer::NotJson { sample: sample(body) }),
    }
}

/// The beginning of a body, fit for a log line: 200 characters, control characters replaced.
#[must_use]
pub fn sample(body: &[u8]) -> String {
    let bytes = &body[..body.len().min(SAMPLE_CHARS * 4)];
    bounded(&String::from_utf8_lossy(bytes), SAMPLE_CHARS)
}

fn bounded(text: &str, chars: usize) -> String {
    text.chars().take(chars).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What an activation's answer says of the code; `None` when it is not about the code's state, and
/// [`of_answer`] alone decides.
#[must_use]
pub fn activation_verdict(http: u16, answer: &Answer, zone: Zone) -> Option<ActivationVerdict> {
    match of_answer(http, answer.error_code.as_deref()) {
        Outcome::Done => {
            let info = answer.data.as_ref().and_then(object).and_then(|data| {
                // A JSON document inside a string (protocol.md 2.2); an object is taken as well.
                data.get("license_code_info").and_then(object)
            });
            Some(ActivationVerdict::Done(info.map(|info| facts(&info, zone)).unwrap_or_default()))
        }
        Outcome::NotReceived => Some(ActivationVerdict::NotReceived),
        Outcome::IllegalState => Some(ActivationVerdict::IllegalState),
        Outcome::UnknownCode => Some(ActivationVerdict::UnknownCode),
        Outcome::Retry
        | Outcome::Stop
        | Outcome::Permanent
        | Outcome::NotActivated
        | Outcome::InvalidInBatch
        | Outcome::Unrecognised => None,
    }
}

/// What a query's answer says of `code`; `None` as for [`activation_verdict`], and also when it holds a
/// status nobody documented or speaks of another code: neither may change anything.
#[must_use]
pub fn query_verdict(http: u16, answer: &Answer, code: &Code, zone: Zone) -> Option<QueryVerdict> {
    match of_answer(http, answer.error_code.as_deref()) {
        Outcome::Done => {
            let info = answer.data.as_ref().and_then(object)?;
            if text(&info, "license_code").is_some_and(|named| named != code.as_str()) {
                return None;
            }
            status_verdict(&info, zone)
        }
        // A code that the buyer has not received cannot be activated either.
        Outcome::NotActivated | Outcome::NotReceived => Some(QueryVerdict::NotActivated),
        Outcome::UnknownCode => Some(QueryVerdict::UnknownCode),
        Outcome::Retry
        | Outcome::Stop
        | Outcome::Permanent
        | Outcome::IllegalState
        | Outcome::InvalidInBatch
        | Outcome::Unrecognised => None,
    }
}

/// What a LicenseInfo says; `None` for a status nobody documented.
fn status_verdict(info: &Map<String, Value>, zone: Zone) -> Option<QueryVerdict> {
    match text(info, "status")?.as_str() {
        "ALIVE" => Some(QueryVerdict::Alive(facts(info, zone))),
        "EXPIRED" => Some(QueryVerdict::Expired(facts(info, zone))),
        "RELEASED" => Some(QueryVerdict::Released),
        _ => None,
    }
}

/// The facts beside a status; what cannot be read is left out.
fn facts(info: &Map<String, Value>, zone: Zone) -> Facts {
    Facts {
        expiry: text(info, "expire_time").and_then(|text| expiry(&text, zone)),
        order_id: text(info, "order_id").and_then(|text| OrderId::parse(&text).ok()),
        product_id: text(info, "product_id").filter(|text| {
            text.chars().count() <= PRODUCT_ID_MAX_CHARS && !text.chars().any(char::is_control)
        }),
    }
}

fn expiry(text: &str, zone: Zone) -> Option<Expiry> {
    DateText::parse(text).ok().map(|text| zone.expiry(text))
}

/// An object, or the object inside a string.
fn object(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(fields) => Some(fields.clone()),
        Value::String(text) => serde_json::from_str(text).ok(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

/// A field that is a string or a number, trimmed; `None` when it is anything else or empty.
fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    let text = match fields.get(name)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &Value) -> Answer {
        parse_answer(body.to_string().as_bytes()).expect("an answer")
    }

    fn code() -> Code {
        Code::parse("PL1").expect("a code")
    }

    fn queried(http: u16, body: &Value) -> Option<QueryVerdict> {
        query_verdict(http, &answer(body), &code(), Zone::UTC)
    }

    fn alive(info: &Value) -> Option<Facts> {
        match queried(200, &json!({"error_code":"92020000","data":info}))? {
            QueryVerdict::Alive(facts) => Some(facts),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_documented_activation_is_read() {
        let info = r#"{"status":"ALIVE","expire_time":"20230726121646","product_id":"12345","amount":2,"order_id":"CS123"}"#;
        for info in [json!(info), serde_json::from_str(info).expect("json")] {
            let body = json!({"error_code":"92020000","error_msg":"success","data":{"license_code_info":info}});
            let verdict = activation_verdict(200, &answer(&body), Zone::UTC);
            let Some(ActivationVerdict::Done(facts)) = verdict else { panic!("{verdict:?}") };
            assert_eq!(facts.expiry.expect("an expiry").text.as_str(), "20230726121646");
            assert_eq!(facts.order_id.expect("an order").as_str(), "CS123");
            assert_eq!(facts.product_id.as_deref(), Some("12345"));
        }
    }

    #[test]
    fn an_activation_is_done_even_when_its_data_cannot_be_read() {
        for data in
            [json!(null), json!("x"), json!({}), json!({"license_code_info":"{half"}), json!([1])]
        {
            let body = json!({"error_code":92_020_000,"data":data});
            let verdict = activation_verdict(200, &answer(&body), Zone::UTC);
            assert_eq!(verdict, Some(ActivationVerdict::Done(Facts::default())));
        }
    }

    #[test]
    fn codes_about_the_state_become_verdicts_and_others_do_not() {
        let activated = |http, code: &str| {
            activation_verdict(http, &answer(&json!({"error_code":code})), Zone::UTC)
        };
        assert_eq!(activated(200, "92020003"), Some(ActivationVerdict::IllegalState));
        assert_eq!(activated(200, "92020004"), Some(ActivationVerdict::NotReceived));
        assert_eq!(activated(200, "92020005"), Some(ActivationVerdict::UnknownCode));
        let asked = |http, code: &str| queried(http, &json!({"error_code":code}));
        assert_eq!(asked(200, "92020005"), Some(QueryVerdict::UnknownCode));
        assert_eq!(asked(200, "92020011"), Some(QueryVerdict::NotActivated));
        assert_eq!(asked(200, "92020004"), Some(QueryVerdict::NotActivated));
        assert_eq!((asked(200, "92020003"), activated(200, "92020011")), (None, None));
        for (http, code) in [
            (200, "92020001"),
            (200, "92020002"),
            (403, "92020001"),
            (500, "92020000"),
            (401, "92020000"),
            (418, "92020000"),
            (429, "APIGW.0308"),
            (200, "12345678"),
            (200, ""),
        ] {
            assert_eq!((activated(http, code), asked(http, code)), (None, None), "{http} {code}");
        }
    }

    #[test]
    fn a_query_takes_documented_words_about_the_code_asked_for_only() {
        let status = |status: Value| {
            queried(
                200,
                &json!({"error_code":"92020000","data":{"license_code":"PL1","status":status}}),
            )
        };
        assert_eq!(status(json!("ALIVE")), Some(QueryVerdict::Alive(Facts::default())));
        assert_eq!(status(json!("EXPIRED")), Some(QueryVerdict::Expired(Facts::default())));
        assert_eq!(status(json!("RELEASED")), Some(QueryVerdict::Released));
        for unknown in [json!("FROZEN"), json!("alive"), json!(""), json!(1), json!(null)] {
            assert_eq!(status(unknown), None);
        }
        let other =
            json!({"error_code":"92020000","data":{"license_code":"PL2","status":"RELEASED"}});
        assert_eq!(queried(200, &other), None);
        assert_eq!(queried(200, &json!({"error_code":"92020000"})), None);
    }

    #[test]
    fn facts_are_read_leniently() {
        let facts = alive(
            &json!({"status":"ALIVE","expire_time":20_271_121_083_000_i64,"order_id":7,"news":{}}),
        )
        .expect("alive");
        assert_eq!(facts.expiry.expect("an expiry").text.as_str(), "20271121083000");
        assert_eq!(facts.order_id.expect("an order").as_str(), "7");
        let facts =
            alive(&json!("{\"status\":\"ALIVE\",\"expire_time\":\"soon\",\"order_id\":\"\"}"));
        assert_eq!(facts, Some(Facts::default()));
    }

    #[test]
    fn gateway_answers_have_a_code_too() {
        let body = json!({"error_msg":"throttled","error_code":"APIGW.0308","request_id":"x"});
        assert_eq!(answer(&body).error_code.as_deref(), Some("APIGW.0308"));
        assert_eq!(answer(&json!({})).error_code, None);
        let endless =
            answer(&json!({"error_code":"9\n".repeat(9_000)})).error_code.expect("a code");
        assert_eq!(endless, "9 ".repeat(16));
    }

    #[test]
    fn bodies_that_are_no_answer_leave_a_bounded_sample() {
        assert_eq!(parse_answer(b" \n"), Err(BadAnswer::Empty));
        let html = format!("<html>\n{}", "码".repeat(5_000));
        for body in [html.as_bytes(), b"{\"error_code\":\"9202", b"\xff\xfe{}"] {
            let Err(BadAnswer::NotJson { sample }) = parse_answer(body) else { panic!("{body:?}") };
            assert!(sample.chars().count() <= 200 && !sample.contains('\n'));
        }
        assert!(matches!(parse_answer(b"[1]"), Err(BadAnswer::NotObject { .. })));
    }

    #[test]
    fn request_bodies_name_the_code_and_escape_it() {
        let odd = Code::parse("a\"\\码").expect("a code");
        for body in [activate_body(&odd), query_body(&odd)] {
            let parsed: Value = serde_json::from_slice(&body).expect("json");
            assert_eq!(parsed, json!({"license":"a\"\\码"}));
        }
        assert_eq!(activate_body(&code()), br#"{"license":"PL1"}"#);
    }
}
