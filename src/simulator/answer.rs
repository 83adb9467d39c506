//! What the simulator answers over HTTP, before hyper sees it.
//!
//! Invariant: a licence answer has `error_code` and `error_msg`, an order answer `resultCode` and
//! `resultMsg`, a gateway answer a `request_id` beside its code (protocol.md 2.2, 2.7, 2.9).

use super::codes::Known;
use crate::domain::time::{DateText, Timestamp};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The content type of every answer of the open API.
const OPEN_API_JSON: &str = "application/json;charset=UTF-8";

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// The bytes.
    pub body: Bytes,
    /// The connection ends before the body does.
    pub cut: bool,
    /// How far the `Date` header is ahead, in seconds.
    pub date_skew_s: i64,
    /// The error code answered, for the list of requests.
    pub code: Option<String>,
}

impl Answer {
    /// An answer of the open API with this code and body.
    pub(super) fn open_api(status: u16, code: &str, body: &serde_json::Value) -> Self {
        Self {
            status,
            content_type: OPEN_API_JSON,
            body: Bytes::from(body.to_string()),
            cut: false,
            date_skew_s: 0,
            code: Some(code.to_owned()),
        }
    }

    /// An answer of the console.
    pub(super) fn console(status: u16, body: &serde_json::Value) -> Self {
        let content_type =
            if status < 400 { "application/json" } else { "application/problem+json" };
        Self::text(status, content_type, body.to_string())
    }

    /// Any other answer.
    pub(super) fn text(status: u16, content_type: &'static str, body: String) -> Self {
        let body = Bytes::from(body);
        Self { status, content_type, body, cut: false, date_skew_s: 0, code: None }
    }
}

/// Who answers: it decides what the fields are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Voice {
    /// The licence interfaces.
    License,
    /// The order query.
    Order,
}

/// A code without data, in the form that its family has. `request_id` is used by the gateway only.
pub(super) fn bare(known: Known, voice: Voice, request_id: &str) -> Answer {
    code_answer(known.http, known.code, known.message, voice, request_id)
}

/// The same for a code that need not be documented.
pub(super) fn code_answer(
    status: u16,
    code: &str,
    message: &str,
    voice: Voice,
    request_id: &str,
) -> Answer {
    let body = if code.starts_with("APIG") {
        serde_json::json!({"error_msg": message, "error_code": code, "request_id": request_id})
    } else {
        match voice {
            Voice::License => serde_json::json!({"error_code": code, "error_msg": message}),
            Voice::Order => serde_json::json!({"resultCode": code, "resultMsg": message}),
        }
    };
    Answer::open_api(status, code, &body)
}

/// The `Date` header: RFC 9110's IMF-fixdate.
pub(super) fn http_date(at: Timestamp) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = DateText::from_utc(at);
    let part = |range: std::ops::Range<usize>| text.as_str().get(range).unwrap_or_default();
    // The epoch was a Thursday.
    let weekday = text.utc().as_ms().div_euclid(crate::domain::time::DAY_MS).rem_euclid(7);
    let day = usize::try_from(weekday).ok().and_then(|day| DAYS.get(day)).copied();
    let month = part(4..6).parse::<usize>().ok().and_then(|m| MONTHS.get(m.wrapping_sub(1)));
    format!(
        "{}, {} {} {} {}:{}:{} GMT",
        day.unwrap_or_default(),
        part(6..8),
        month.copied().unwrap_or_default(),
        part(0..4),
        part(8..10),
        part(10..12),
        part(12..14)
    )
}

/// The body that hyper sends: the bytes, and then the end or a broken connection.
#[derive(Debug)]
pub(super) struct AnswerBody {
    data: Option<Bytes>,
    cut: bool,
}

impl AnswerBody {
    /// A whole body, or the first half of one that is announced whole.
    pub(super) fn new(mut data: Bytes, cut: bool) -> Self {
        if cut {
            data.truncate(data.len() / 2);
        }
        Self { data: Some(data), cut }
    }
}

/// The connection is to end here.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
pub(super) struct Cut;

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        Poll::Ready(match self.data.take().filter(|data| !data.is_empty()) {
            Some(data) => Some(Ok(Frame::data(data))),
            None if self.cut => Some(Err(Cut)),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        !self.cut && self.data.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.data.as_ref().map_or(0, Bytes::len);
        // A cut body announces more than will come.
        let announced = if self.cut { 2 * left + 2 } else { left };
        SizeHint::with_exact(u64::try_from(announced).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        let date = |text| http_date(DateText::parse(text).expect("a date").utc());
        assert_eq!(date("19941106084937"), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date("20261121083000"), "Sat, 21 Nov 2026 08:30:00 GMT");
        assert_eq!(date("20000229235959"), "Tue, 29 Feb 2000 23:59:59 GMT");
    }

    #[test]
    fn a_gateway_answer_has_its_request_id_whoever_is_asked() {
        for voice in [Voice::License, Voice::Order] {
            let answer = bare(super::super::codes::LOCKED, voice, "abc");
            let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(
                (&body["error_code"], &body["request_id"]),
                (&"APIGW.0301".into(), &"abc".into())
            );
        }
    }
}
