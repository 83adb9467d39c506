//! A request's body within its limits, and a request's query.

use super::problem::Problem;
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The largest body of any request (product.md §6).
pub(super) const BODY_MAX: usize = 64 << 10;
/// How long a body may take (product.md §9).
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How long anybody is kept waiting on request.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Larger than [`BODY_MAX`].
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// The connection broke, or the framing is wrong.
    Broken,
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::too_large(),
            BodyError::TooSlow => Self::too_slow(),
            BodyError::Broken => Self::bad_request("the body broke off"),
        }
    }
}

/// Reads the whole body; refuses by its announced length before reading.
pub(super) async fn read(body: Incoming) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Err(BodyError::TooLarge);
    }
    let collected = tokio::time::timeout(BODY_DEADLINE, Limited::new(body, BODY_MAX).collect());
    match collected.await {
        Err(_) => Err(BodyError::TooSlow),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
    }
}

/// How long a caller asks to wait for what comes of it: `Prefer: wait=N` in seconds (RFC 7240), five at
/// most. As with all preferences, one that cannot be read is no fault.
pub(super) fn preferred_wait(headers: &HeaderMap) -> Duration {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split([',', ';'])).map(str::trim);
    let wait = preferences.find_map(|preference| preference.strip_prefix("wait="));
    let seconds = wait.and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    Duration::from_secs(seconds).min(WAIT_MAX)
}

/// Reads a JSON body. An empty body reads as `{}`, so that orders without a choice need none. Whoever sends a body
/// gives no parameters beside it.
pub(super) async fn read_json<T: DeserializeOwned>(
    request: Request<Incoming>,
) -> Result<T, Problem> {
    Query::parse(request.uri().query(), &[])?;
    let is_encoded = request
        .headers()
        .get(CONTENT_ENCODING)
        .is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    let is_json = request.headers().get(CONTENT_TYPE).is_none_or(|value| {
        let essence = value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim();
        essence.eq_ignore_ascii_case("application/json")
    });
    let named = request.headers().contains_key(CONTENT_TYPE);
    let body = read(request.into_body()).await?;
    if !is_json || is_encoded || (!named && !body.is_empty()) {
        return Err(Problem::not_json());
    }
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    // A list would be read as the fields in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::bad_request("the body is not what this path takes: a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| {
        Problem::bad_request(format!("the body is not what this path takes: {error}"))
    })
}

/// The parameters of a query, decoded; a name twice is refused.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses a query; every name must be one of `known`.
    pub(super) fn parse(text: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if !known.contains(&name.as_str()) {
                let known = known.join(", ");
                return Err(Problem::bad_request(format!(
                    "there is no parameter {name:?} here; known are: {known}"
                )));
            }
            if pairs.iter().any(|(seen, _)| *seen == name) {
                return Err(Problem::bad_request(format!("the parameter {name:?} is given twice")));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The same of what a form sends: a field that was left empty is absent.
    pub(super) fn of_form(text: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let Self(mut pairs) = Self::parse(text, known)?;
        pairs.retain(|(_, value)| !value.is_empty());
        Ok(Self(pairs))
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter, owned.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// The value of a parameter, parsed; `wanted` says what it must be.
    pub(super) fn parsed<T: std::str::FromStr>(
        &self,
        name: &str,
        wanted: &str,
    ) -> Result<Option<T>, Problem> {
        self.get(name)
            .map(|text| {
                text.parse().map_err(|_| Problem::bad_request(format!("{name} must be {wanted}")))
            })
            .transpose()
    }
}

/// Decodes one part of a query or path: percent signs, and `+` as a blank in queries.
fn decode(text: &str) -> Result<String, Problem> {
    percent_decode_str(&text.replace('+', " "))
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Problem::bad_request("the query is not UTF-8"))
}

/// Decodes a segment of a path.
pub(super) fn decode_segment(text: &str) -> Result<String, Problem> {
    percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Problem::bad_request("the path is not UTF-8"))
}
