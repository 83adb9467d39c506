//! What operators call: everything there is to see, and the few orders there are to give.

mod alarms;
mod delisting;
mod drift;
mod guard;
mod lists;
mod orders;
mod registration;
mod summary;

pub(super) use lists::{limit, state};
pub(super) use registration::{RegistrationBody, register};

use super::access::{Token, check_host};
use super::body::{Query, decode_segment, preferred_wait, read_json};
use super::keys::LiveKeys;
use super::page::{Page, Place, Shown};
use super::problem::{Answer, Problem, json_answer};
use super::{health, shapes};
use crate::domain::license::Code;
use crate::domain::time::Timestamp;
use crate::domain::transition::{Command, Source};
use crate::guard::Guard;
use crate::lifecycle::Lifecycle;
use crate::notify::Notifier;
use crate::schedule::{Board, Manual};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use lists::page;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::watch;

/// The longest remark or reason, in characters.
const TEXT_MAX: usize = 1_000;

/// The operators' listener.
pub struct Admin {
    lifecycle: Arc<Lifecycle>,
    guard: Arc<Guard>,
    board: Arc<Board>,
    notifier: Arc<Notifier>,
    token: Token,
    keys: Vec<(&'static str, Arc<LiveKeys>)>,
    shown: watch::Receiver<Shown>,
    started_at: Timestamp,
    page: Page,
}

impl Admin {
    /// Answers those who know `token` and call by a loopback name; tells of the `keys` of each type of
    /// interface, and of the configuration what is `shown`.
    #[must_use]
    pub fn new(
        lifecycle: Arc<Lifecycle>,
        guard: Arc<Guard>,
        board: Arc<Board>,
        notifier: Arc<Notifier>,
        token: Token,
        keys: Vec<(&'static str, Arc<LiveKeys>)>,
        shown: watch::Receiver<Shown>,
    ) -> Self {
        let started_at = lifecycle.clock.now();
        let page = Page::new(
            Arc::clone(&lifecycle),
            Arc::clone(&guard),
            Arc::clone(&board),
            token.clone(),
            shown.clone(),
        );
        Self { lifecycle, guard, board, notifier, token, keys, shown, started_at, page }
    }

    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        self.route(request).await.unwrap_or_else(Problem::answer)
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Problem> {
        check_host(&request)?;
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let method = request.method().clone();
        let get = method == Method::GET || method == Method::HEAD;
        match segments.as_slice() {
            ["healthz"] if get => return Ok(health::healthz()),
            ["readyz"] if get => return Ok(health::readyz(&self.lifecycle, &self.guard).await),
            ["metrics"] if get => return Ok(health::metrics(&self.lifecycle, &self.guard)),
            ["healthz" | "readyz" | "metrics"] => return Err(Problem::method_not_allowed("GET")),
            _ => {}
        }
        if let Some(place) = Place::of(&segments) {
            return Ok(self.page.answer(place, request).await);
        }
        self.token.check(request.headers())?;
        match (&method, segments.as_slice()) {
            (&(Method::GET | Method::HEAD), segments) => self.read(&request, segments).await,
            (&Method::POST, segments) => self.order(request, segments).await,
            (_, segments) => Err(wrong_method(segments)),
        }
    }

    async fn read(
        &self,
        request: &Request<Incoming>,
        segments: &[&str],
    ) -> Result<Answer, Problem> {
        let query = request.uri().query();
        let document = match segments {
            ["v1", "licenses"] => self.licenses(query).await?,
            ["v1", "licenses", code] => {
                Query::parse(query, &[])?;
                let code = code_of(code)?;
                let row = self.lifecycle.store.read(|snapshot| snapshot.license_row(&code))?;
                shapes::license(&row.ok_or_else(|| Problem::not_found("code"))?, self.now())
            }
            ["v1", "licenses", code, "events"] => {
                let code = code_of(code)?;
                if self.lifecycle.store.read(|snapshot| snapshot.license(&code))?.is_none() {
                    return Err(Problem::not_found("code"));
                }
                self.events(query, Some(code)).await?
            }
            ["v1", "callbacks"] => self.callbacks(query).await?,
            ["v1", "callbacks", id] => {
                Query::parse(query, &[])?;
                let id = id.parse().map_err(|_| Problem::not_found("callback"))?;
                let row = self.lifecycle.store.read(|snapshot| snapshot.callback(id))?;
                shapes::callback(&row.ok_or_else(|| Problem::not_found("callback"))?)
            }
            ["v1", "orders"] => self.orders(query).await?,
            ["v1", "events"] => self.events(query, None).await?,
            ["v1", "probes"] => self.probes(query).await?,
            ["v1", "usage"] => self.usage(query).await?,
            ["v1", "jobs"] => {
                let jobs = self.board.status(&self.lifecycle.store)?;
                let jobs: Vec<_> = jobs.iter().map(shapes::job).collect();
                page(&Query::parse(query, &["limit", "cursor"])?, &jobs, "name")?
            }
            ["v1", "summary"] => {
                Query::parse(query, &[])?;
                self.summary()?
            }
            ["v1", "drift"] => self.drift(query).await?,
            ["v1", "drift", "plan"] => {
                Query::parse(query, &[])?;
                let pace = self.shown.borrow().requests_per_second;
                let plan = self.lifecycle.sweep_plan(pace).await?;
                json!({ "codes": plan.codes, "due": plan.due, "calls": plan.calls, "seconds": plan.seconds })
            }
            ["v1", "lease-keys"] => {
                Query::parse(query, &[])?;
                shapes::lease_keys(&self.lifecycle.leases.keys(self.now()))
            }
            ["v1", "guard"] => self.guard(query).await?,
            ["v1", "alarms"] => self.alarms(query).await?,
            segments => return Err(wrong_method(segments)),
        };
        Ok(json_answer(StatusCode::OK, &document))
    }

    async fn order(
        &self,
        request: Request<Incoming>,
        segments: &[&str],
    ) -> Result<Answer, Problem> {
        match segments {
            ["v1", "licenses"] => {
                let wait = preferred_wait(request.headers());
                let asked = read_json::<RegistrationBody>(request).await?.check(wait)?;
                register(&self.lifecycle, asked, Source::Operator).await
            }
            ["v1", "licenses", code, "activate"] => {
                let code = code_of(code)?;
                read_json::<NoBody>(request).await?;
                let report = self.lifecycle.activate(&code).await?;
                Ok(json_answer(StatusCode::OK, &shapes::call_report(&report, self.now())))
            }
            ["v1", "licenses", code, "query"] => {
                let code = code_of(code)?;
                read_json::<NoBody>(request).await?;
                let report = self.lifecycle.query(&code).await?;
                Ok(json_answer(StatusCode::OK, &shapes::call_report(&report, self.now())))
            }
            ["v1", "licenses", code, "received"] => {
                self.move_by_hand(code, request, Command::BuyerReceived).await
            }
            ["v1", "licenses", code, "release"] => {
                self.move_by_hand(code, request, Command::Release { order_id: None }).await
            }
            ["v1", "orders", order_id, "query"] => self.query_order(order_id, request).await,
            ["v1", "guard", "restarted"] => self.restarted(request).await,
            ["v1", "probes"] => {
                read_json::<NoBody>(request).await?;
                let slot = format!("manual {}", self.now());
                let row = self.guard.heartbeat(&slot).await?;
                Ok(json_answer(StatusCode::OK, &shapes::probe(&row)))
            }
            ["v1", "guard", "delisting"] => self.correct_delisting(request).await,
            ["v1", "alarms", "test"] => self.test_channels(request).await,
            ["v1", "alarms", id, "acknowledge"] => self.acknowledge_alarm(id, request).await,
            ["v1", "drift", "apply"] => {
                let asked = read_json::<drift::RepairBody>(request).await?;
                self.repair(asked).await
            }
            ["v1", "lease-keys", "rotate"] => {
                let reason = read_json::<ReasonBody>(request).await?.check()?;
                let keys = self.lifecycle.rotate_lease_keys(reason).await?;
                Ok(json_answer(StatusCode::OK, &shapes::lease_keys(&keys)))
            }
            ["v1", "jobs", name, "run"] => {
                read_json::<NoBody>(request).await?;
                match self.board.run(name) {
                    Manual::Unknown => Err(Problem::not_found("job")),
                    Manual::Started => {
                        let jobs = self.board.status(&self.lifecycle.store)?;
                        let job = jobs.iter().find(|job| job.name == *name);
                        let document = job.map_or(serde_json::Value::Null, shapes::job);
                        Ok(json_answer(StatusCode::ACCEPTED, &document))
                    }
                }
            }
            segments => Err(wrong_method(segments)),
        }
    }

    async fn move_by_hand(
        &self,
        code: &str,
        request: Request<Incoming>,
        command: Command,
    ) -> Result<Answer, Problem> {
        let code = code_of(code)?;
        let reason = read_json::<ReasonBody>(request).await?.check()?;
        let row = self.lifecycle.order(&code, command, reason).await?;
        Ok(json_answer(StatusCode::OK, &shapes::license(&row, self.now())))
    }

    fn now(&self) -> Timestamp {
        self.lifecycle.clock.now()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    reason: Option<String>,
}

impl ReasonBody {
    /// A blank reason is none.
    fn check(self) -> Result<Option<String>, Problem> {
        let reason = self.reason.map(|text| short("reason", text)).transpose()?;
        Ok(reason.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
    }
}

/// An order without a choice.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoBody {}

fn short(name: &str, text: String) -> Result<String, Problem> {
    if text.chars().count() > TEXT_MAX || text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Problem::bad_request(format!(
            "{name} must be at most {TEXT_MAX} characters without control characters"
        )));
    }
    Ok(text)
}

/// The code that a segment of a path names.
pub(super) fn code_of(segment: &str) -> Result<Code, Problem> {
    Code::parse(&decode_segment(segment)?)
        .map_err(|error| Problem::bad_request(format!("this is no code: {error}")))
}

/// 405 where the path exists with another method, 404 elsewhere.
fn wrong_method(segments: &[&str]) -> Problem {
    match segments {
        ["v1", "licenses" | "probes"] => Problem::method_not_allowed("GET, POST"),
        ["v1", "licenses" | "callbacks", _]
        | ["v1", "licenses", _, "events"]
        | [
            "v1",
            "callbacks" | "orders" | "events" | "jobs" | "summary" | "alarms" | "drift"
            | "lease-keys" | "usage" | "guard",
        ]
        | ["v1", "drift", "plan"] => Problem::method_not_allowed("GET"),
        ["v1", "licenses", _, "activate" | "query" | "received" | "release"]
        | ["v1", "orders", _, "query"]
        | ["v1", "guard", "delisting" | "restarted"]
        | ["v1", "alarms", "test"]
        | ["v1", "alarms", _, "acknowledge"]
        | ["v1", "drift", "apply"]
        | ["v1", "lease-keys", "rotate"]
        | ["v1", "jobs", _, "run"] => Problem::method_not_allowed("POST"),
        _ => Problem::no_such_path(),
    }
}
