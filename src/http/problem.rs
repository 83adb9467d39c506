//! Responses: JSON, and problem documents (RFC 9457) that say whose fault it was and what to do.

use super::reply_body::{Chunk, ReplyBody};
use crate::lifecycle::{LifecycleError, RotateError};
use crate::store::StoreError;
use crate::telemetry::request_id;
use bytes::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// What every route answers.
pub type Answer = Response<ReplyBody>;

/// Something is wrong, and this is what the caller is told.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// The last part of the problem's `type`; the README explains each.
    name: &'static str,
    detail: String,
    /// A header that the status asks for.
    header: Option<(hyper::header::HeaderName, &'static str)>,
}

impl Problem {
    fn new(status: StatusCode, name: &'static str, detail: impl Into<String>) -> Self {
        Self { status, name, detail: detail.into(), header: None }
    }

    /// 400: the caller's request is wrong.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    /// 401: no token, or a wrong one.
    pub(super) fn unauthorized() -> Self {
        let detail = "send the token of this interface as `Authorization: Bearer …`; its file is named in the configuration";
        let mut problem = Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
        problem.header = Some((WWW_AUTHENTICATE, "Bearer"));
        problem
    }

    /// 403: the request names a host that is not this machine's loopback.
    pub(super) fn wrong_host() -> Self {
        let detail = "this interface answers to loopback names only: call it as 127.0.0.1, [::1] or localhost";
        Self::new(StatusCode::FORBIDDEN, "wrong-host", detail)
    }

    /// 404: no such path.
    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is nothing at this path")
    }

    /// 404: no such thing.
    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such {what}"))
    }

    /// 405 with the methods that are allowed.
    pub(super) fn method_not_allowed(allowed: &'static str) -> Self {
        let detail = format!("this path takes {allowed}");
        let mut problem = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail);
        problem.header = Some((ALLOW, allowed));
        problem
    }

    /// 408: the body did not come in time.
    pub(super) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "the body did not arrive in time")
    }

    /// 409: the code's state forbids it.
    pub(super) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// 413: the body is too large.
    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the body is larger than 64 KiB")
    }

    /// 415: not JSON.
    pub(super) fn not_json() -> Self {
        let detail =
            "send the body as `Content-Type: application/json`, without a `Content-Encoding`";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", detail)
    }

    /// 429: the software has registered its share of new codes.
    pub(super) fn too_many() -> Self {
        let detail =
            "too many new codes in an hour; come again later, or raise software.new-codes-per-hour";
        let mut problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too-many", detail);
        problem.header = Some((RETRY_AFTER, "60"));
        problem
    }

    /// The status it is answered with.
    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong and what to do, in English.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The document.
    pub(super) fn answer(self) -> Answer {
        let document = json!({
            "type": format!("urn:authcoded:problem:{}", self.name),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "request_id": request_id(),
        });
        let mut answer = with_type(self.status, &document, "application/problem+json");
        if let Some((name, value)) = self.header {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

impl From<StoreError> for Problem {
    /// Our fault; a full queue or disk heals, so the caller may come again.
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a request could not be served");
        let detail = "the database could not do it now; the log says why. Nothing was changed";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "store", detail)
    }
}

impl From<RotateError> for Problem {
    fn from(error: RotateError) -> Self {
        match error {
            RotateError::Keys(error) => {
                tracing::error!(%error, "the key for leases was not rotated");
                let detail = "the new key could not be stored; the log says why. The old key goes on signing";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store", detail)
            }
            RotateError::Store(error) => error.into(),
        }
    }
}

impl From<LifecycleError> for Problem {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::UnknownCode => {
                Self::new(StatusCode::NOT_FOUND, "unknown-code", error.to_string())
            }
            LifecycleError::Released => Self::conflict(error.to_string()),
            LifecycleError::Store(error) => error.into(),
        }
    }
}

/// A JSON response.
pub(super) fn json_answer(status: StatusCode, document: &Value) -> Answer {
    with_type(status, document, "application/json")
}

/// A JSON response that is ready as bytes.
pub(super) fn json_bytes(status: StatusCode, body: Bytes) -> Answer {
    text_answer(status, body, "application/json")
}

/// A JSON response that has been sent before.
pub(super) fn json_again(body: Chunk) -> Answer {
    typed(StatusCode::OK, ReplyBody::Whole(body), "application/json")
}

/// Text with its type.
pub(super) fn text_answer(
    status: StatusCode,
    text: impl Into<Bytes>,
    content_type: &'static str,
) -> Answer {
    typed(status, ReplyBody::from(text.into()), content_type)
}

fn typed(status: StatusCode, body: ReplyBody, content_type: &'static str) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn with_type(status: StatusCode, document: &Value, content_type: &'static str) -> Answer {
    text_answer(status, document.to_string(), content_type)
}
