//! What the licensed software calls: may this code run, here is a code a buyer handed over, so it is used.

use super::access::Token;
use super::allowance::Allowance;
use super::answers::Answers;
use super::body::{Query, decode_segment, preferred_wait, read_json};
use super::connection::Begun;
use super::problem::{Answer, Problem, json_again, json_answer, json_bytes};
use super::{admin, health, shapes};
use crate::domain::license::Code;
use crate::domain::time::day_text;
use crate::domain::transition::Source;
use crate::domain::usage::{ActiveNum, ClientId};
use crate::guard::Guard;
use crate::lifecycle::{Lifecycle, Reported};
use crate::telemetry::request_id;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::json;
use std::future::Future;
use std::sync::Arc;

/// The software's listener.
pub struct Software {
    lifecycle: Arc<Lifecycle>,
    guard: Arc<Guard>,
    /// `None` on a socket, whose file mode says who may ask.
    token: Option<Token>,
    /// Each new code costs calls to the marketplace.
    new_codes: Arc<NewCodes>,
    /// Given again while they hold.
    answers: Arc<Answers>,
}

/// How many new codes the software may still register; one for all its listeners.
pub struct NewCodes(Allowance);

impl NewCodes {
    /// So many in an hour, which may come at once.
    #[must_use]
    pub fn per_hour(number: u32) -> Self {
        Self(Allowance::new(number, number))
    }
}

impl Software {
    /// Answers those who know `token`.
    #[must_use]
    pub fn new(
        lifecycle: Arc<Lifecycle>,
        guard: Arc<Guard>,
        token: Option<Token>,
        new_codes: Arc<NewCodes>,
        answers: Arc<Answers>,
    ) -> Self {
        Self { lifecycle, guard, token, new_codes, answers }
    }

    /// Answers one request.
    pub fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> Begun<impl Future<Output = Answer> + Send + use<>> {
        if let Some(answer) = self.given_before(&request) {
            return Begun::Done(answer);
        }
        let this = Arc::clone(self);
        Begun::UnderWay(async move { this.route(request).await.unwrap_or_else(Problem::answer) })
    }

    /// The answer that [`Self::route`] would come to, if it was given before and holds.
    fn given_before(&self, request: &Request<Incoming>) -> Option<Answer> {
        let segment = request.uri().path().strip_prefix("/v1/entitlements/")?;
        if request.method() != Method::GET
            || segment.contains('/')
            || request.uri().query().is_some()
        {
            return None;
        }
        if let Some(token) = &self.token {
            token.check(request.headers()).ok()?;
        }
        let code = percent_decode_str(segment).decode_utf8().ok()?;
        let (fresh, body) = self.answers.get(&code)?;
        self.lifecycle.holds(&fresh).then(|| json_again(body))
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let get = request.method() == Method::GET || request.method() == Method::HEAD;
        match segments.as_slice() {
            ["healthz"] if get => return Ok(health::healthz()),
            ["readyz"] if get => return Ok(health::readyz(&self.lifecycle, &self.guard).await),
            ["metrics"] if get => return Ok(health::metrics(&self.lifecycle, &self.guard)),
            [".well-known", "jwks.json"] if get => return Ok(self.jwks()),
            _ => {}
        }
        if let Some(token) = &self.token {
            token.check(request.headers())?;
        }
        match segments.as_slice() {
            ["v1", "entitlements", code] if get => {
                Query::parse(request.uri().query(), &[])?;
                self.entitlement(code).await
            }
            ["v1", "entitlements", _]
            | ["healthz" | "readyz" | "metrics"]
            | [".well-known", "jwks.json"] => Err(Problem::method_not_allowed("GET")),
            ["v1", "licenses"] if request.method() == Method::POST => {
                let wait = preferred_wait(request.headers());
                let asked = read_json::<admin::RegistrationBody>(request).await?.check(wait)?;
                self.may_register(&asked.code)?;
                admin::register(&self.lifecycle, asked, Source::Software).await
            }
            ["v1", "usage"] if request.method() == Method::POST => {
                let (code, reported) = read_json::<UsageBody>(request).await?.check()?;
                self.usage(code, &reported).await
            }
            ["v1", "licenses" | "usage"] => Err(Problem::method_not_allowed("POST")),
            _ => Err(Problem::no_such_path()),
        }
    }

    /// Refuses a code that we do not hold when too many new ones have come: whoever guesses codes must not
    /// wear out our welcome at the marketplace.
    fn may_register(&self, code: &Code) -> Result<(), Problem> {
        let known = self.lifecycle.store.read(|snapshot| snapshot.license(code))?.is_some();
        if known || self.new_codes.0.take(self.lifecycle.clock.now()) {
            return Ok(());
        }
        tracing::warn!(
            license.code = code.as_str(),
            request.id = request_id(),
            "a new code was not registered: software.new-codes-per-hour is used up; is somebody guessing codes?"
        );
        Err(Problem::too_many())
    }

    /// The keys that verify leases: no secret, so nobody needs a token.
    fn jwks(&self) -> Answer {
        let keys = self.lifecycle.leases.jwks(self.lifecycle.clock.now());
        json_answer(StatusCode::OK, &keys)
    }

    async fn entitlement(&self, segment: &str) -> Result<Answer, Problem> {
        let code = code_of(segment)?;
        let answer = self.lifecycle.entitlement(&code).await?;
        let body = shapes::entitlement(code.as_str(), &answer);
        if let Some(fresh) = answer.fresh {
            self.answers.put(&code, fresh, &body);
        }
        Ok(json_bytes(StatusCode::OK, body))
    }

    /// 202 when it is on disk; it is sent to the marketplace within the hour.
    async fn usage(&self, code: Code, reported: &Reported) -> Result<Answer, Problem> {
        let text = code.as_str().to_owned();
        let day = self.lifecycle.report_usage(code, reported).await?;
        let document = json!({ "code": text, "day": day_text(day) });
        Ok(json_answer(StatusCode::ACCEPTED, &document))
    }
}

/// The code that a segment of a path names.
fn code_of(segment: &str) -> Result<Code, Problem> {
    Code::parse(&decode_segment(segment)?)
        .map_err(|error| Problem::bad_request(format!("this is no code: {error}")))
}

/// What `POST /v1/usage` takes: one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UsageBody {
    code: String,
    client_id: Option<String>,
    active_num: Option<u64>,
}

impl UsageBody {
    /// Parses what it holds. No answer repeats a client id.
    fn check(self) -> Result<(Code, Reported), Problem> {
        let code = Code::parse(&self.code)
            .map_err(|error| Problem::bad_request(format!("code: {error}")))?;
        let reported = match (self.client_id, self.active_num) {
            (Some(text), None) => ClientId::parse(&text)
                .map(Reported::Client)
                .map_err(|error| format!("client_id {error}")),
            (None, Some(number)) => ActiveNum::parse(number)
                .map(Reported::Active)
                .map_err(|error| format!("active_num {error}")),
            (None, None) | (Some(_), Some(_)) => {
                Err("give either client_id or active_num".to_owned())
            }
        };
        Ok((code, reported.map_err(Problem::bad_request)?))
    }
}
