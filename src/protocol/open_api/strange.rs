//! What an answer holds that no document told us of: kept for people, never applied.
//!
//! Invariant: bounded, whatever an answer holds; a field is compared with the documented names alone.

use super::{bounded, object};
use serde_json::{Map, Value};

/// The most that is told of one answer.
const MOST: usize = 8;
/// How much of a name and of a sample is kept, in characters.
const NAME_CHARS: usize = 40;
const SAMPLE_CHARS: usize = 80;

/// Every documented name of a field, of all interfaces (protocol.md 2.2 to 2.9).
const KNOWN: [&str; 34] = [
    "activate_time",
    "amount",
    "chargingMode",
    "createTime",
    "data",
    "error_code",
    "error_msg",
    "expireTime",
    "expire_time",
    "license",
    "license_code",
    "license_code_info",
    "license_list",
    "orderId",
    "orderInfo",
    "orderLine",
    "orderLineId",
    "orderType",
    "order_id",
    "periodNumber",
    "periodType",
    "productId",
    "productInfo",
    "productName",
    "product_id",
    "request_id",
    "resultCode",
    "resultMsg",
    "skuCode",
    "skuName",
    "status",
    "total",
    "usageType",
    "usageValue",
];
/// The usage report's answer names what failed in a field whose name is known only so far.
const KNOWN_PREFIX: &str = "check_fail";

/// Which kind of thing nobody told us of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StrangeKind {
    /// A field of an answer.
    Field,
    /// An answer's code, status or shape.
    Answer,
}

impl StrangeKind {
    /// The word used in facts, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Answer => "answer",
        }
    }
}

/// Something that no document told us of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strange {
    /// What kind of thing it is.
    pub kind: StrangeKind,
    /// Its name: a field's, or an answer's code.
    pub name: String,
    /// How it looked, bounded.
    pub sample: String,
}

/// The unknown fields of an answer's envelope and of what it holds.
pub(super) fn fields(envelope: &Map<String, Value>) -> Vec<Strange> {
    let mut found = Vec::new();
    look(envelope, &mut found);
    found
}

fn look(fields: &Map<String, Value>, found: &mut Vec<Strange>) {
    for (name, value) in fields {
        if found.len() == MOST {
            return;
        }
        if !KNOWN.contains(&name.as_str()) && !name.starts_with(KNOWN_PREFIX) {
            let sample = bounded(&value.to_string(), SAMPLE_CHARS);
            let name = bounded(name, NAME_CHARS);
            if !found.iter().any(|one| one.name == name) {
                found.push(Strange { kind: StrangeKind::Field, name, sample });
            }
            continue;
        }
        match value {
            Value::Array(items) => {
                items.iter().filter_map(Value::as_object).for_each(|inner| look(inner, found));
            }
            Value::Object(inner) => look(inner, found),
            Value::String(text) if text.starts_with('{') => {
                if let Some(inner) = object(value) {
                    look(&inner, found);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(body: Value) -> Vec<String> {
        let Value::Object(envelope) = body else { panic!("an object") };
        fields(&envelope).into_iter().map(|one| one.name).collect()
    }

    #[test]
    fn documented_answers_hold_nothing_strange() {
        let info = r#"{"status":"ALIVE","expire_time":"20230726121646","product_id":"1","amount":2,"order_id":"C"}"#;
        for body in [
            json!({"error_code":"92020000","error_msg":"success","data":{"license_code_info":info}}),
            json!({"error_code":"92020000","data":{"license_code":"P","status":"ALIVE","activate_time":"x"}}),
            json!({"error_code":"APIGW.0301","error_msg":"no","request_id":"r"}),
            json!({"error_code":"92020000","data":{"check_fail_list":[{"license":"P"}]}}),
            json!({"resultCode":"MKT.0000","orderInfo":{"orderId":"C","orderLine":[{"periodNumber":1}]}}),
        ] {
            assert_eq!(names(body.clone()), Vec::<String>::new(), "{body}");
        }
    }

    #[test]
    fn a_new_field_is_named_wherever_it_stands() {
        let info = json!({"status": "ALIVE", "inner": 1}).to_string();
        let body = json!({"outer": {"x": "y"}, "data": {"license_code_info": info, "list": [{"status": 1}]}});
        assert_eq!(names(body), ["inner", "list", "outer"]);
    }

    #[test]
    fn however_much_is_strange_little_is_kept() {
        let many: Map<String, Value> = (0..1_000)
            .map(|n| (format!("{n}{}", "x".repeat(500)), json!("y".repeat(500))))
            .collect();
        let found = fields(&many);
        assert_eq!(found.len(), MOST);
        assert!(found.iter().all(|one| one.name.len() <= 40 && one.sample.len() <= 80));
    }
}
