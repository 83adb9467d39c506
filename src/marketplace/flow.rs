//! The way of a call: turn, gate, endpoint after endpoint, one more try if somebody waits.
//!
//! Invariants: no request leaves without a turn of the line and a pass of the gate; each has one log line.

use super::answer::{Judged, Meaning, ReadVerdict, judge};
use super::backoff;
use super::client::{Call, CallResult, Effort};
use super::endpoint::Endpoint;
use super::gate::{Gate, Pass};
use super::health::{Api, Health, skew_ms};
use super::keyring::Keyring;
use super::line::{Line, NoTurn, Rank};
use super::route::Route;
use super::wire::{Failure, Payload, Reply, Wire};
use crate::clock::Clock;
use crate::domain::license::{Code, OrderId};
use crate::domain::time::Timestamp;
use crate::telemetry::request_id;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The longest that one try may take, both domains together.
const TRY: Duration = Duration::from_secs(10);
/// How long somebody who waits is kept waiting.
const INTERACTIVE: Duration = Duration::from_secs(10);
/// How long a call that nobody waits for stays in the queue.
const BACKGROUND_TURN: Duration = Duration::from_secs(30);
/// A request is not begun with less time than this: it could only end as a doubt.
const SHORTEST: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct Flow {
    wire: Wire,
    route: Route,
    pub(super) gate: Gate,
    line: Line,
    pub(super) health: Health,
    clock: Clock,
    /// Those that the wire signs with; no text of ours repeats their ids.
    pub(super) keys: Arc<Keyring>,
}

/// What is asked, in every try alike.
pub(super) struct Question<'q, V> {
    pub(super) api: Api,
    /// The codes it is about: no other call is made about any of them meanwhile.
    pub(super) codes: &'q [Code],
    /// The order it is about.
    pub(super) order: Option<&'q OrderId>,
    pub(super) payload: Payload,
    pub(super) read: ReadVerdict<'q, V>,
}

/// A try, and whether another one now could do better.
struct Try<V> {
    call: Call<V>,
    again: bool,
}

impl Flow {
    pub(super) fn new(
        wire: Wire,
        endpoints: Vec<Endpoint>,
        interval: Duration,
        keys: Arc<Keyring>,
        clock: Clock,
    ) -> Self {
        let (route, line) = (Route::new(endpoints), Line::new(interval));
        let (gate, health) = (Gate::open(), Health::default());
        Self { wire, route, gate, line, health, clock, keys }
    }

    pub(super) fn stopped_until(&self) -> Option<Timestamp> {
        self.gate.stopped_until(self.clock.now())
    }

    /// When something that nobody waits for may leave again, while it may not.
    pub(super) fn closed_until(&self) -> Option<Timestamp> {
        self.stopped_until().max(self.route.rests_until(self.clock.now()))
    }

    pub(super) fn domains(&self) -> Vec<(String, Option<Timestamp>)> {
        self.route.domains(self.clock.now())
    }

    pub(super) async fn call<V>(&self, question: &Question<'_, V>, effort: Effort) -> Call<V> {
        let limits = Limits::of(effort);
        let (rank, come) = (limits.rank, Instant::now());
        let (turn_by, deadline) = (come + limits.turn, come + limits.whole);
        if rank == Rank::Background
            && let Some(until) = self.route.rests_until(self.clock.now())
        {
            return self.stopped(until);
        }
        let _admission = match self.line.admission(rank, turn_by).await {
            Ok(admission) => admission,
            Err(no) => return self.unasked(no),
        };
        let _turns = match self.line.codes(question.codes, turn_by).await {
            Ok(turns) => turns,
            Err(no) => return self.unasked(no),
        };
        let mut last = self.try_once(question, rank, turn_by, deadline).await;
        for _ in 1..limits.tries {
            let pause = backoff::pause();
            if !last.again || Instant::now() + pause >= deadline {
                break;
            }
            sleep(pause).await;
            last = last.then(self.try_once(question, rank, deadline, deadline).await);
        }
        last.call
    }

    /// Asks one endpoint after the other until one gives an answer that counts.
    async fn try_once<V>(
        &self,
        question: &Question<'_, V>,
        rank: Rank,
        turn_by: Instant,
        deadline: Instant,
    ) -> Try<V> {
        let _place = match self.line.turn(rank, turn_by).await {
            Ok(place) => place,
            Err(no) => return Try { call: self.unasked(no), again: false },
        };
        let deadline = deadline.min(Instant::now() + TRY);
        let route = self.route.order(self.clock.now());
        let mut pass = None;
        let mut last: Option<Try<V>> = None;
        for (turn, (index, endpoint)) in route.iter().enumerate() {
            // The first step came with the turn.
            if turn > 0
                && let Err(no) = self.line.step(deadline).await
            {
                return last.unwrap_or_else(|| Try { call: self.unasked(no), again: false });
            }
            // After the wait for the turn: the stop may have begun meanwhile.
            let pass = match &pass {
                Some(pass) => pass,
                None => match self.gate.enter(self.clock.now()) {
                    Ok(entered) => pass.insert(entered),
                    Err(until) => return Try { call: self.stopped(until), again: false },
                },
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left < SHORTEST {
                break;
            }
            let others = route.len() - turn > 1;
            // A query leaves time for the other domain; a lost activation is not repeated anyway.
            let budget = if others && question.api.may_repeat_blindly() { left / 2 } else { left };
            let asked = self.ask(question, endpoint, pass, budget).await;
            if asked.call.http.is_some_and(|http| http < 500) {
                self.route.worked(*index, self.clock.now());
            } else {
                self.route.failed(*index, self.clock.now());
            }
            let next = asked.next_endpoint;
            last = Some(match last {
                Some(earlier) => earlier.then(asked.tried()),
                None => asked.tried(),
            });
            if !next {
                break;
            }
        }
        last.unwrap_or_else(|| Try { call: self.unasked(NoTurn::Busy), again: false })
    }

    /// One request to one endpoint, with its log line and its count.
    async fn ask<V>(
        &self,
        question: &Question<'_, V>,
        endpoint: &Endpoint,
        pass: &Pass<'_>,
        budget: Duration,
    ) -> Asked<V> {
        let asked_at = self.clock.now();
        let started = Instant::now();
        let path = question.api.path();
        let sent = self.wire.send(endpoint, path, &question.payload, asked_at, budget).await;
        let asked = match sent {
            Ok(reply) => {
                if let Some(ends) = reply.certificate_ends {
                    self.health.saw_certificate(endpoint.host(), ends);
                }
                self.answered(question, &reply, pass, asked_at)
            }
            Err(failure) => failed(question.api, endpoint, failure, asked_at),
        };
        self.health.reached(asked.call.http.is_some_and(|http| http < 500));
        self.health.count(question.api, asked.word);
        log(question, endpoint, &asked, started.elapsed());
        asked
    }

    fn answered<V>(
        &self,
        question: &Question<'_, V>,
        reply: &Reply,
        pass: &Pass<'_>,
        asked_at: Timestamp,
    ) -> Asked<V> {
        let now = self.clock.now();
        if let Some(date) = reply.date {
            self.health.saw_date(skew_ms(date, asked_at, now));
        }
        let judged: Judged<V> = judge(reply, question.read);
        if judged.is_welcome(reply.http) {
            pass.welcomed();
        }
        let word = judged.word();
        let server_fault = reply.http >= 500;
        let mut refusal = None;
        let (result, next_endpoint, again) = match judged.meaning {
            Meaning::Verdict(verdict) => (CallResult::Verdict(verdict), false, false),
            Meaning::Retry(why) => {
                // Throttling is not answered by asking again, here or elsewhere.
                let again = server_fault || reply.http == 200;
                let why = self.keys.hide(why);
                (CallResult::Retry { ambiguous: server_fault, why }, server_fault, again)
            }
            Meaning::Refused(why) => {
                refusal = Some(self.keys.hide(why));
                (CallResult::Stopped { until: pass.refused(now) }, false, false)
            }
            Meaning::Permanent(why) => {
                (CallResult::Permanent { why: self.keys.hide(why) }, false, false)
            }
            Meaning::Unrecognised(sample) => {
                let sample = self.keys.hide(sample);
                (CallResult::Unrecognised { sample }, false, false)
            }
        };
        let http = Some(reply.http);
        let strange = self.health.new_among(judged.strange);
        let call = Call { asked_at, http, error_code: judged.error_code, result, strange };
        Asked { call, word, refusal, next_endpoint, again }
    }

    fn stopped<V>(&self, until: Timestamp) -> Call<V> {
        let result = CallResult::Stopped { until };
        Call::unanswered(self.clock.now(), result)
    }

    fn unasked<V>(&self, no: NoTurn) -> Call<V> {
        let result = CallResult::Retry { ambiguous: false, why: no.to_string() };
        Call::unanswered(self.clock.now(), result)
    }
}

/// What an effort means, in real time from its beginning.
struct Limits {
    rank: Rank,
    tries: u32,
    /// By when its turn must come.
    turn: Duration,
    /// By when all must be over.
    whole: Duration,
}

impl Limits {
    fn of(effort: Effort) -> Self {
        let (rank, tries) = (Rank::Awaited, 1);
        match effort {
            Effort::Interactive => Self { rank, tries: 2, turn: INTERACTIVE, whole: INTERACTIVE },
            Effort::Once { deadline } => {
                let whole = deadline.min(TRY);
                Self { rank, tries, turn: whole, whole }
            }
            Effort::Brief { turn } => Self { rank, tries, turn: turn.min(TRY), whole: TRY },
            Effort::Background => Self {
                rank: Rank::Background,
                tries,
                turn: BACKGROUND_TURN,
                whole: BACKGROUND_TURN + TRY,
            },
        }
    }
}

/// One request and what came of it.
struct Asked<V> {
    call: Call<V>,
    /// For the log and the count.
    word: &'static str,
    /// Why we are not believed, for the log.
    refusal: Option<String>,
    /// Another endpoint may do better.
    next_endpoint: bool,
    /// Another try may do better.
    again: bool,
}

impl<V> Asked<V> {
    fn tried(self) -> Try<V> {
        Try { call: self.call, again: self.again }
    }
}

impl<V> Try<V> {
    /// The later try counts, but a doubt that the earlier one left stays, and so does what was strange.
    fn then(self, mut later: Self) -> Self {
        later.call.strange.splice(..0, self.call.strange);
        if let (CallResult::Retry { ambiguous: true, .. }, CallResult::Retry { ambiguous, .. }) =
            (&self.call.result, &mut later.call.result)
        {
            *ambiguous = true;
        }
        later
    }
}

fn failed<V>(api: Api, endpoint: &Endpoint, failure: Failure, asked_at: Timestamp) -> Asked<V> {
    let (word, ambiguous, elsewhere, why) = match failure {
        Failure::Certificate(why) => {
            let why = format!(
                "the certificate of {endpoint} does not hold; no other domain was asked. Check who \
                 answers there, this machine's clock and extra-ca-file: {why}"
            );
            ("certificate", false, false, why)
        }
        Failure::Unsent(why) => {
            ("unsent", false, true, format!("{endpoint} cannot be reached: {why}"))
        }
        Failure::Lost(why) => {
            let why = format!("no answer from {endpoint} to a request that left: {why}");
            ("lost", true, api.may_repeat_blindly(), why)
        }
    };
    let result = CallResult::Retry { ambiguous, why };
    let call = Call::unanswered(asked_at, result);
    Asked { call, word, refusal: None, next_endpoint: elsewhere, again: elsewhere }
}

/// One line per request. Never a header, a query or a body beyond a bounded sample.
fn log<V>(question: &Question<'_, V>, endpoint: &Endpoint, asked: &Asked<V>, took: Duration) {
    // A batch is told by its size: its codes' own lines follow when their answers are applied.
    let (code, codes) = match question.codes {
        [] => (None, None),
        [code] => (Some(code.as_str()), None),
        codes => (None, Some(codes.len())),
    };
    macro_rules! line {
        ($level:ident, $($why:tt)*) => {
            tracing::$level!(
                api = question.api.as_str(),
                license.code = code,
                codes,
                order.id = question.order.map(OrderId::as_str),
                request.id = request_id(),
                http = asked.call.http,
                result_code = asked.call.error_code.as_deref(),
                outcome = asked.word,
                duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                endpoint = endpoint.host(),
                $($why)*
            )
        };
    }
    match &asked.call.result {
        CallResult::Verdict(_) => line!(info, "marketplace call"),
        CallResult::Retry { why, .. } if asked.word == "certificate" => {
            line!(error, why, "marketplace call");
        }
        CallResult::Retry { why, .. } => line!(warn, why, "marketplace call"),
        CallResult::Stopped { until } => {
            let why = asked.refusal.as_deref();
            line!(error, why, stopped_until = %until, "marketplace call: queue stopped, check AK/SK and clock");
        }
        CallResult::Permanent { why } => line!(error, why, "marketplace call"),
        CallResult::Unrecognised { sample } => line!(warn, sample, "marketplace call"),
    }
}
