//! What operators call: everything there is to see, and the few orders there are to give.

mod alarms;
mod delisting;
mod guard;
mod orders;

use super::access::{Token, check_host};
use super::body::{Query, decode_segment, preferred_wait, read_json};
use super::keys::LiveKeys;
use super::page::{Page, Place, Shown};
use super::problem::{Answer, Problem, json_answer};
use super::{health, shapes};
use crate::domain::license::{Code, OrderId};
use crate::domain::slots::parse_rfc3339;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::domain::transition::{Command, EventKind, Source};
use crate::guard::Guard;
use crate::lifecycle::{Lifecycle, LifecycleError, Registration};
use crate::notify::Notifier;
use crate::schedule::{Board, Manual};
use crate::store::{CallbackFilter, EventFilter, LicenseFilter, UsageFilter, Verdict};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Items in a list unless the caller says otherwise.
const LIMIT_DEFAULT: usize = 100;
/// Items in a list at most (product.md §6).
const LIMIT_MAX: usize = 1_000;
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
        let answer = self.route(request).await.unwrap_or_else(Problem::answer);
        self.lifecycle.metrics.http_request("admin", answer.status().as_u16());
        answer
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
                let asked = read_json::<RepairBody>(request).await?;
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

    async fn licenses(&self, query: Option<&str>) -> Result<serde_json::Value, Problem> {
        let known = ["state", "expires_before", "expires_after", "text", "q", "limit", "cursor"];
        let query = Query::parse(query, &known)?;
        let limit = limit(&query)?;
        let filter = LicenseFilter {
            state: state(&query)?,
            expires_before: instant(&query, "expires_before")?,
            expires_after: instant(&query, "expires_after")?,
            text: query.text("text").or_else(|| query.text("q")),
            after: query.text("cursor"),
            limit: limit + 1,
            ..LicenseFilter::default()
        };
        let mut rows = self.lifecycle.store.list(move |s| s.licenses(&filter)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.license.code.as_str().to_owned());
        let now = self.now();
        let items: Vec<_> = rows.iter().map(|row| shapes::license(row, now)).collect();
        Ok(shapes::list(&items, next.as_deref()))
    }

    /// Asks about a page of codes, by default a small one, because each is a paced call.
    async fn drift(&self, query: Option<&str>) -> Result<serde_json::Value, Problem> {
        let query = Query::parse(query, &["state", "text", "limit", "cursor"])?;
        let limit = limit(&query)?;
        let filter = LicenseFilter {
            state: state(&query)?,
            text: query.text("text"),
            after: query.text("cursor"),
            limit,
            ..LicenseFilter::default()
        };
        let page = self.lifecycle.drift(filter).await?;
        let items: Vec<_> = page.items.iter().map(shapes::drift).collect();
        let mut document = shapes::list(&items, page.next.as_deref());
        document["unasked"] = json!(page.unasked);
        Ok(document)
    }

    /// Repairs the codes that are named, each with its own outcome.
    async fn repair(&self, asked: RepairBody) -> Result<Answer, Problem> {
        if asked.codes.len() > LIMIT_MAX {
            return Err(Problem::bad_request("at most 1000 codes at once"));
        }
        let parse = |text: &String| {
            Code::parse(text).map_err(|error| Problem::bad_request(format!("{text:?}: {error}")))
        };
        let codes: Vec<Code> = asked.codes.iter().map(parse).collect::<Result<_, _>>()?;
        let mut items = Vec::with_capacity(codes.len());
        for code in codes {
            items.push(match self.lifecycle.repair(&code).await {
                Ok((outcome, row)) => json!({
                    "code": code.as_str(),
                    "outcome": outcome.as_str(),
                    "why": null,
                    "license": shapes::license(&row, self.now()),
                }),
                Err(LifecycleError::Store(error)) => return Err(error.into()),
                Err(error @ (LifecycleError::UnknownCode | LifecycleError::Released)) => json!({
                    "code": code.as_str(),
                    "outcome": "refused",
                    "why": error.to_string(),
                    "license": null,
                }),
            });
        }
        Ok(json_answer(StatusCode::OK, &shapes::list(&items, None)))
    }

    async fn events(
        &self,
        query: Option<&str>,
        code: Option<Code>,
    ) -> Result<serde_json::Value, Problem> {
        let known =
            ["code", "kind", "source", "order_id", "since", "until", "after", "limit", "cursor"];
        let query = Query::parse(query, &known)?;
        let limit = limit(&query)?;
        let filter = EventFilter {
            code: code.map(|code| code.as_str().to_owned()).or_else(|| query.text("code")),
            kind: word(&query, "kind", EventKind::ALL.map(EventKind::as_str))?,
            source: word(&query, "source", Source::ALL.map(Source::as_str))?,
            order_id: query.text("order_id"),
            since: instant(&query, "since")?,
            until: instant(&query, "until")?,
            below: query.parsed("cursor", "a cursor from an earlier answer")?,
            above: query.parsed("after", "the id of an event")?,
            limit: limit + 1,
        };
        let mut rows = self.lifecycle.store.list(move |s| s.events(&filter)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
        Ok(shapes::list(&rows.iter().map(shapes::event).collect::<Vec<_>>(), next.as_deref()))
    }

    async fn callbacks(&self, query: Option<&str>) -> Result<serde_json::Value, Problem> {
        let query = Query::parse(query, &["code", "verdict", "activity", "limit", "cursor"])?;
        let limit = limit(&query)?;
        let filter = CallbackFilter {
            code: query.text("code"),
            verdict: word(&query, "verdict", Verdict::ALL.map(Verdict::as_str))?,
            activity: query.text("activity"),
            below: query.parsed("cursor", "a cursor from an earlier answer")?,
            limit: limit + 1,
        };
        let mut rows = self.lifecycle.store.list(move |s| s.callbacks(&filter)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
        Ok(shapes::list(&rows.iter().map(shapes::callback).collect::<Vec<_>>(), next.as_deref()))
    }

    async fn probes(&self, query: Option<&str>) -> Result<serde_json::Value, Problem> {
        let query = Query::parse(query, &["limit", "cursor"])?;
        let limit = limit(&query)?;
        let below = query.parsed("cursor", "a cursor from an earlier answer")?;
        let mut rows = self.lifecycle.store.list(move |s| s.probes(below, limit + 1)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| row.id.to_string());
        Ok(shapes::list(&rows.iter().map(shapes::probe).collect::<Vec<_>>(), next.as_deref()))
    }

    async fn usage(&self, query: Option<&str>) -> Result<serde_json::Value, Problem> {
        let query = Query::parse(query, &["code", "state", "limit", "cursor"])?;
        let limit = limit(&query)?;
        let filter = UsageFilter {
            code: query.text("code"),
            state: query.parsed("state", "failed, waiting or sent")?,
            after: query.get("cursor").map(usage_cursor).transpose()?,
            limit: limit + 1,
        };
        let mut rows = self.lifecycle.store.list(move |s| s.usage_days(&filter)).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|row| format!("{} {}", row.day, row.code));
        Ok(shapes::list(&rows.iter().map(shapes::usage).collect::<Vec<_>>(), next.as_deref()))
    }

    fn summary(&self) -> Result<serde_json::Value, Problem> {
        let now = self.now();
        let (counts, waiting, orders, probes) = self.lifecycle.store.read(|snapshot| {
            Ok((
                snapshot.license_counts()?,
                snapshot.waiting_for_buyer()?,
                snapshot.awaited_orders(now.plus_ms(1))?,
                snapshot.probes(None, 1)?,
            ))
        })?;
        let licenses: serde_json::Map<_, _> =
            counts.iter().map(|(state, n)| (state.as_str().to_owned(), json!(n))).collect();
        let stopped_until = self.lifecycle.marketplace.stopped_until();
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "started_at": self.started_at.to_string(),
            "now": now.to_string(),
            "licenses": licenses,
            "waiting_for_buyer": waiting,
            "orders_awaited": orders.map_or(0, |orders| orders.count),
            "alarms": self.guard.alarms()?.len(),
            "last_heartbeat": probes.first().map(shapes::probe),
            "next_heartbeat": self.board.next_heartbeat(now).map(|at| at.to_string()),
            "writer_queue": self.lifecycle.store.stats().waiting,
            "marketplace": {
                "reachable": self.lifecycle.marketplace.reachable(),
                "stopped_until": stopped_until.map(|at| at.to_string()),
            },
            "access_keys": self.access_keys(),
        }))
    }

    /// Each live key, newest first: rotating one, the operator sees when the old one is no longer used.
    fn access_keys(&self) -> Vec<serde_json::Value> {
        let each = self.keys.iter().flat_map(|(interface, keys)| {
            keys.uses().into_iter().enumerate().map(move |(nth, used)| {
                json!({
                    "interface": interface,
                    "newest": nth == 0,
                    "key": used.mark,
                    "calls": used.calls,
                    "last_used_at": used.last_used_at.map(|at| at.to_string()),
                })
            })
        });
        each.collect()
    }
}

/// What `POST /v1/licenses` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistrationBody {
    code: String,
    received: Option<bool>,
    activate: Option<bool>,
    order_id: Option<String>,
    product_id: Option<String>,
    note: Option<String>,
}

impl RegistrationBody {
    /// Parses what it holds; the code is trimmed, because a person may have typed it.
    pub(super) fn check(self, wait: Duration) -> Result<Registration, Problem> {
        let code = Code::parse(self.code.trim())
            .map_err(|error| Problem::bad_request(format!("code: {error}")))?;
        let order_id = self
            .order_id
            .map(|text| OrderId::parse(&text))
            .transpose()
            .map_err(|error| Problem::bad_request(format!("order_id: {error}")))?;
        Ok(Registration {
            code,
            received: self.received.unwrap_or(true),
            activate: self.activate.unwrap_or(true),
            order_id,
            product_id: self.product_id.map(|text| short("product_id", text)).transpose()?,
            note: self.note.map(|text| short("note", text)).transpose()?,
            wait,
        })
    }
}

/// Registers a code, and says what happens next; 201 when it is new.
pub(super) async fn register(
    lifecycle: &Lifecycle,
    asked: Registration,
    source: Source,
) -> Result<Answer, Problem> {
    let registered = lifecycle.register(asked, source).await?;
    let status = if registered.new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json_answer(status, &shapes::license(&registered.license, lifecycle.clock.now())))
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

/// Which codes to repair.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RepairBody {
    codes: Vec<String>,
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

/// How many items a list shows.
pub(super) fn limit(query: &Query) -> Result<usize, Problem> {
    let wanted = "a number from 1 to 1000";
    match query.parsed("limit", wanted)? {
        None => Ok(LIMIT_DEFAULT),
        Some(n) if (1..=LIMIT_MAX).contains(&n) => Ok(n),
        Some(_) => Err(Problem::bad_request(format!("limit must be {wanted}"))),
    }
}

/// The state that a list is narrowed to.
pub(super) fn state(query: &Query) -> Result<Option<State>, Problem> {
    query
        .get("state")
        .map(|word| {
            let states = State::ALL.map(State::as_str).join(", ");
            State::parse(word)
                .ok_or_else(|| Problem::bad_request(format!("state must be one of {states}")))
        })
        .transpose()
}

/// One of the words that a parameter may have.
fn word<const N: usize>(
    query: &Query,
    name: &str,
    words: [&'static str; N],
) -> Result<Option<String>, Problem> {
    match query.get(name) {
        Some(given) if !words.contains(&given) => {
            let known = words.join(", ");
            Err(Problem::bad_request(format!("{name} must be one of {known}")))
        }
        given => Ok(given.map(str::to_owned)),
    }
}

/// Where a page of usage begins: the day and the code that the one before ended with.
fn usage_cursor(text: &str) -> Result<(i64, String), Problem> {
    let place = text.split_once(' ').and_then(|(day, code)| Some((day.parse().ok()?, code)));
    place
        .map(|(day, code)| (day, code.to_owned()))
        .ok_or_else(|| Problem::bad_request("cursor must be a cursor from an earlier answer"))
}

/// A page of a list that is made whole each time; the text of `key` is an item's cursor, and an
/// unknown cursor has nothing after it.
fn page(
    query: &Query,
    items: &[serde_json::Value],
    key: &str,
) -> Result<serde_json::Value, Problem> {
    let limit = limit(query)?;
    let from = query.get("cursor").map_or(0, |cursor| {
        items.iter().position(|item| item[key] == cursor).map_or(items.len(), |at| at + 1)
    });
    let page = &items[from..items.len().min(from.saturating_add(limit))];
    let more = from + page.len() < items.len();
    let next = page.last().filter(|_| more).and_then(|item| item[key].as_str());
    Ok(shapes::list(page, next))
}

fn instant(query: &Query, name: &str) -> Result<Option<Timestamp>, Problem> {
    query
        .get(name)
        .map(|text| {
            parse_rfc3339(text).ok_or_else(|| {
                Problem::bad_request(format!("{name} must be a time such as 2026-11-22T08:00:00Z"))
            })
        })
        .transpose()
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
