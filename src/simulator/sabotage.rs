//! Spoils a right answer the way a fault rule wants it.
//!
//! Invariant: an answer that no rule is about leaves as it came.

use super::answer::{Answer, Voice, code_answer};
use super::codes;
use super::faults::Fault;
use bytes::Bytes;
use serde_json::Value;

/// How many bytes a huge answer has.
const HUGE: usize = 32 << 20;

/// What a fault does before the call is carried out.
#[derive(Debug)]
pub(super) enum Instead {
    /// This is answered, and nothing is done.
    Answer(Answer),
    /// Nothing is answered for as long as the caller waits.
    Silence,
    /// The connection ends.
    Cut,
}

/// What happens instead of the call, if the fault keeps it from being carried out.
pub(super) fn instead(fault: &Fault, voice: Voice, request_id: &str) -> Option<Instead> {
    match fault {
        Fault::Http(status) => {
            let code = codes::for_status(*status);
            let message = codes::find(code).map_or("error", |known| known.message);
            Some(Instead::Answer(code_answer(*status, code, message, voice, request_id)))
        }
        Fault::ErrorCode(code) => {
            let known = codes::find(code);
            let (http, message) =
                known.map_or((200, "a new code"), |known| (known.http, known.message));
            Some(Instead::Answer(code_answer(http, code, message, voice, request_id)))
        }
        Fault::HangBefore => Some(Instead::Silence),
        Fault::CutBefore => Some(Instead::Cut),
        Fault::Status(_)
        | Fault::Hang
        | Fault::Cut
        | Fault::Delay(_)
        | Fault::Html
        | Fault::Empty
        | Fault::Truncated
        | Fault::Huge
        | Fault::UnknownStatus
        | Fault::UnknownField
        | Fault::Numbers
        | Fault::BadDate
        | Fault::WrongContentType
        | Fault::Skew(_)
        | Fault::Duplicate
        | Fault::DuplicateResigned
        | Fault::Reorder
        | Fault::Drop
        | Fault::BadSignature
        | Fault::WrongKey
        | Fault::OldKey
        | Fault::WrongCertificate => None,
    }
}

/// Spoils the answer of a call that was carried out. Delays and silence are the caller's to keep.
pub(super) fn spoil(answer: &mut Answer, fault: &Fault) {
    match fault {
        Fault::Status(status) => answer.status = *status,
        Fault::Cut => answer.cut = true,
        Fault::Html => {
            answer.content_type = "text/html";
            answer.body = Bytes::from_static(
                b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>",
            );
        }
        Fault::Empty => answer.body = Bytes::new(),
        Fault::Truncated => answer.body.truncate(answer.body.len() / 2),
        Fault::Huge => {
            let mut body = br#"{"error_code":"92020000","error_msg":""#.to_vec();
            body.resize(HUGE, b'x');
            answer.body = Bytes::from(body);
        }
        Fault::WrongContentType => answer.content_type = "text/plain;charset=UTF-8",
        Fault::Skew(seconds) => answer.date_skew_s = *seconds,
        Fault::UnknownStatus => rewrite(answer, |name, value| {
            if name == "status" {
                *value = Value::from("SUSPENDED");
            }
        }),
        Fault::BadDate => rewrite(answer, |name, value| {
            if name == "expire_time" {
                *value = Value::from("20269999999999");
            }
        }),
        Fault::Numbers => rewrite(answer, |_, value| {
            if let Some(number) = value.as_str().and_then(|text| text.parse::<u64>().ok()) {
                *value = Value::from(number);
            }
        }),
        Fault::UnknownField => add_unknown_field(answer),
        Fault::Http(_)
        | Fault::ErrorCode(_)
        | Fault::Hang
        | Fault::HangBefore
        | Fault::CutBefore
        | Fault::Delay(_)
        | Fault::Duplicate
        | Fault::DuplicateResigned
        | Fault::Reorder
        | Fault::Drop
        | Fault::BadSignature
        | Fault::WrongKey
        | Fault::OldKey
        | Fault::WrongCertificate => {}
    }
}

/// Changes the fields of the answer, also those of the document inside `license_code_info`.
fn rewrite(answer: &mut Answer, change: impl Fn(&str, &mut Value) + Copy) {
    if let Ok(mut body) = serde_json::from_slice(&answer.body) {
        rewrite_fields(&mut body, change);
        answer.body = Bytes::from(body.to_string());
    }
}

fn rewrite_fields(value: &mut Value, change: impl Fn(&str, &mut Value) + Copy) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                change(name, field);
                rewrite_fields(field, change);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite_fields(item, change)),
        Value::String(text) => {
            if let Ok(mut inner @ Value::Object(_)) = serde_json::from_str(text) {
                rewrite_fields(&mut inner, change);
                *text = inner.to_string();
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn add_unknown_field(answer: &mut Answer) {
    let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else { return };
    let news = serde_json::json!({"kind": "news", "values": [1, 2, 3]});
    for place in ["", "/data"] {
        if let Some(Value::Object(fields)) = body.pointer_mut(place) {
            fields.insert("extension".to_owned(), news.clone());
        }
    }
    answer.body = Bytes::from(body.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activation() -> Answer {
        let body = serde_json::json!({"error_code": "92020000", "data": {
            "license_code_info": r#"{"status":"ALIVE","expire_time":"20270101000000"}"#,
        }});
        Answer::open_api(200, "92020000", &body)
    }

    fn spoilt(fault: &Fault) -> String {
        let mut answer = activation();
        spoil(&mut answer, fault);
        String::from_utf8(answer.body.to_vec()).expect("text")
    }

    #[test]
    fn the_document_inside_the_answer_is_spoilt_too() {
        assert!(spoilt(&Fault::UnknownStatus).contains(r#"\"status\":\"SUSPENDED\""#));
        assert!(spoilt(&Fault::BadDate).contains("20269999999999"));
        let numbers = spoilt(&Fault::Numbers);
        assert!(numbers.contains(r#""error_code":92020000"#), "{numbers}");
        assert!(numbers.contains(r#"\"expire_time\":20270101000000"#), "{numbers}");
        assert!(spoilt(&Fault::UnknownField).contains(r#""extension""#));
    }

    #[test]
    fn an_error_on_order_comes_with_its_documented_status() {
        let answered = |fault| match instead(&fault, Voice::License, "r") {
            Some(Instead::Answer(answer)) => (answer.status, answer.code.unwrap_or_default()),
            other => panic!("{other:?}"),
        };
        let code = |code: &str| answered(Fault::ErrorCode(code.to_owned()));
        assert_eq!(code("92020001"), (200, "92020001".to_owned()));
        assert_eq!(code("APIGW.0308"), (429, "APIGW.0308".to_owned()));
        assert_eq!(code("92029999"), (200, "92029999".to_owned()));
        assert_eq!(answered(Fault::Http(500)), (500, "92020001".to_owned()));
    }
}
