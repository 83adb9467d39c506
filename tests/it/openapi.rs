//! `openapi.yaml` says what the two local listeners do: neither more nor less.
//!
//! Paths come from the routes in the source, methods and parameters from a running daemon, fields from
//! its answers, so that a route or a field that is added without the document fails here.

mod daemon;
mod document;
mod routes;

use authcoded::domain::entitlement::Reason;
use authcoded::domain::order::OrderState;
use authcoded::domain::state::State;
use authcoded::domain::transition::{EventKind, Source};
use authcoded::schedule::Job;
use authcoded::store::UsageState;
use daemon::{Answered, Daemon, token_of};
use document::{Document, Listener, Operation};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// Nothing here takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(30);

fn words<const N: usize>(words: [&'static str; N]) -> BTreeSet<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// Asks the daemon, and holds each answer against the document.
struct Asker<'a> {
    daemon: &'a Daemon,
    document: &'a Document,
    seen: BTreeSet<(Listener, String, u16)>,
}

impl<'a> Asker<'a> {
    fn new(daemon: &'a Daemon, document: &'a Document) -> Self {
        Self { daemon, document, seen: BTreeSet::new() }
    }

    /// Asks `method path?query`; the answer must be one that the document gives for that operation.
    async fn ask(&mut self, listener: Listener, line: &str, body: Value) -> Answered {
        let (method, target) = line.split_once(' ').expect("a method and a target");
        let method: Method = method.parse().expect("a method");
        let body = (method == Method::POST).then(|| body.to_string());
        let request = self.daemon.request(listener, &method, target).with_body(body);
        let answered = request.send().await;
        self.hold(listener, &method, target, &answered);
        answered
    }

    fn hold(&mut self, listener: Listener, method: &Method, target: &str, answered: &Answered) {
        let path = target.split('?').next().expect("a path");
        let operation = self
            .document
            .operations()
            .into_iter()
            .find(|op| op.method == *method && op.is_at(path) && op.listeners.contains(&listener))
            .unwrap_or_else(|| panic!("{method} {path} is not described for {listener:?}"));
        let faults = self.document.faults(&operation, answered);
        assert!(faults.is_empty(), "{method} {target}: {faults:#?}\n{}", answered.body);
        self.seen.insert((listener, operation.name(), answered.status));
    }

    async fn ok(&mut self, listener: Listener, line: &str, body: Value) -> Value {
        let answered = self.ask(listener, line, body).await;
        assert!((200..300).contains(&answered.status), "{line}: {}", answered.body);
        answered.body
    }

    async fn refused(&mut self, listener: Listener, line: &str, body: Value, problem: &str) {
        let answered = self.ask(listener, line, body).await;
        let kind = answered.body["type"].as_str().unwrap_or_default();
        assert_eq!(kind, format!("urn:authcoded:problem:{problem}"), "{line}");
    }

    /// Asks until the answer is as wished.
    async fn until(
        &mut self,
        listener: Listener,
        line: &str,
        wished: impl Fn(&Value) -> bool,
    ) -> Value {
        let began = tokio::time::Instant::now();
        loop {
            let body = self.ok(listener, line, Value::Null).await;
            if wished(&body) {
                return body;
            }
            assert!(began.elapsed() < PATIENCE, "{line} did not become as wished: {body}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[test]
fn the_paths_are_those_of_the_routes() {
    let document = Document::load();
    for (listener, source) in [
        (Listener::Admin, include_str!("../../src/http/admin.rs")),
        (Listener::Software, include_str!("../../src/http/software.rs")),
    ] {
        let described: BTreeSet<_> = document
            .operations()
            .into_iter()
            .filter(|op| op.listeners.contains(&listener))
            .map(|op| routes::without_names(&op.path))
            .collect();
        assert_eq!(described, routes::of(source), "{listener:?}");
    }
}

#[test]
fn the_schemas_say_nothing_that_is_not_checked() {
    let document = Document::load();
    for (name, schema) in document.at("components/schemas").as_object().expect("schemas") {
        assert_eq!(document::strange_keywords(schema), Vec::<&str>::new(), "{name}");
    }
    for (name, parameter) in document.at("components/parameters").as_object().expect("parameters") {
        assert_eq!(document::strange_keywords(&parameter["schema"]), Vec::<&str>::new(), "{name}");
    }
}

#[test]
fn the_words_are_those_of_the_program() {
    let document = Document::load();
    assert_eq!(document.at("info/version"), env!("CARGO_PKG_VERSION"));
    let schema = |path: &str| {
        let words = document.at(&format!("components/schemas/{path}/enum"));
        let words = words.as_array().expect("a list").iter().filter_map(Value::as_str);
        words.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert_eq!(schema("State"), words(State::ALL.map(State::as_str)));
    assert_eq!(schema("EventKind"), words(EventKind::ALL.map(EventKind::as_str)));
    assert_eq!(schema("EventSource"), words(Source::ALL.map(Source::as_str)));
    assert_eq!(schema("OrderState"), words(OrderState::ALL.map(OrderState::as_str)));
    assert_eq!(schema("JobName"), words(Job::ALL.map(Job::as_str)));
    assert_eq!(schema("UsageState"), words(UsageState::ALL.map(UsageState::as_str)));
    assert_eq!(schema("Entitlement/properties/reason"), words(Reason::ALL.map(Reason::as_str)));
    let problems = routes::problems(include_str!("../../src/http/problem.rs"));
    let urn = |name| format!("urn:authcoded:problem:{name}");
    assert_eq!(schema("Problem/properties/type"), problems.into_iter().map(urn).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_parameters_fields_and_tokens_are_those_of_the_daemon() {
    let document = Document::load();
    let daemon = Daemon::start().await;
    let code = "PL-ANY";
    let body = Some(json!({"code": code, "activate": false}).to_string());
    let registered = daemon.request(Listener::Admin, &Method::POST, "/v1/licenses").with_body(body);
    assert_eq!(registered.send().await.status, 201);
    for operation in document.operations() {
        for &listener in &operation.listeners {
            let place = format!("{listener:?} {}", operation.name());
            let target = operation.target(&[
                ("code", code),
                ("id", "1"),
                ("name", "upkeep"),
                ("order_id", "CS-ANY"),
            ]);
            methods(&daemon, &document, listener, &operation.path, &target).await;
            token(&daemon, listener, &operation, &target).await;
            if operation.method == Method::GET {
                let (status, known) = parameters(&daemon, listener, &target).await;
                assert_eq!(operation.query_parameters(), known, "{place}");
                let open = operation.schemes.is_empty();
                assert!(
                    open || status == 400,
                    "{place} takes a parameter nobody described: {status}"
                );
            } else {
                let known = fields(&daemon, listener, &target).await;
                assert_eq!(document.body_fields(&operation), known, "{place}");
            }
        }
    }
    for listener in [Listener::Admin, Listener::Software] {
        let answered = daemon.request(listener, &Method::GET, "/v1/nothing").send().await;
        assert_eq!(answered.status, 404);
        let faults = document.faults_of("Problem", &answered.body);
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

/// A method that is not described is refused with the list of those that are.
async fn methods(
    daemon: &Daemon,
    document: &Document,
    listener: Listener,
    path: &str,
    target: &str,
) {
    let described = |method: &str| {
        let mut operations = document.operations().into_iter();
        operations
            .any(|op| op.path == path && op.method == *method && op.listeners.contains(&listener))
    };
    let all = ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    let allowed: Vec<_> = all.into_iter().filter(|method| described(method)).collect();
    for method in all.into_iter().filter(|method| !described(method)) {
        let method = method.parse().expect("a method");
        let answered = daemon.request(listener, &method, target).send().await;
        assert_eq!(answered.status, 405, "{method} {path} on {listener:?}: {}", answered.body);
        assert_eq!(answered.allow, Some(allowed.join(", ")), "{method} {path} on {listener:?}");
        let faults = document.faults_of("Problem", &answered.body);
        assert!(faults.is_empty(), "{method} {path}: {faults:#?}");
    }
}

/// Without the listener's own token nothing is answered, unless the document says so.
async fn token(daemon: &Daemon, listener: Listener, operation: &Operation, target: &str) {
    let place = format!("{listener:?} {}", operation.name());
    for token in [None, Some(token_of(listener.other()))] {
        let request = daemon.request(listener, &operation.method, target).with_token(token);
        let answered = request.send().await;
        let asks_for_a_token = answered.status == 401;
        assert_eq!(asks_for_a_token, !operation.schemes.is_empty(), "{place}: {}", answered.body);
    }
    let scheme = match listener {
        Listener::Admin => "adminToken",
        Listener::Software => "softwareToken",
    };
    let open = operation.schemes.is_empty();
    assert!(open || operation.schemes.contains(scheme), "{place} takes the token of its listener");
    let elsewhere = daemon.request(listener, &operation.method, target).with_host("example.com");
    let forbidden = elsewhere.send().await.status == 403;
    assert_eq!(forbidden, listener == Listener::Admin, "{place} called as example.com");
}

/// What is answered to a parameter that nobody described, and those that the path takes, as it tells then.
async fn parameters(daemon: &Daemon, listener: Listener, target: &str) -> (u16, BTreeSet<String>) {
    let target = format!("{target}?nonsense=1");
    let answered = daemon.request(listener, &Method::GET, &target).send().await;
    let detail = answered.body["detail"].as_str().unwrap_or_default();
    let known = detail.split_once("known are: ").map_or("", |(_, known)| known);
    let known = known.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    (answered.status, known)
}

/// The fields that a body may have, as it is told to whoever sends another.
async fn fields(daemon: &Daemon, listener: Listener, target: &str) -> BTreeSet<String> {
    let body = Some(json!({"nonsense": 1}).to_string());
    let answered = daemon.request(listener, &Method::POST, target).with_body(body).send().await;
    assert_eq!(answered.status, 400, "{target} takes a field nobody described");
    let detail = answered.body["detail"].as_str().unwrap_or_default();
    let (_, expected) = detail.split_once("unknown field `nonsense`, ").expect("why");
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_have_the_described_status_type_and_fields() {
    let document = Document::load();
    let daemon = Daemon::start().await;
    let mut asker = Asker::new(&daemon, &document);
    lives_of_codes(&mut asker).await;
    orders(&mut asker).await;
    guard(&mut asker).await;
    records(&mut asker).await;
    refusals(&mut asker).await;
    for listener in [Listener::Admin, Listener::Software] {
        for line in ["GET /healthz", "GET /readyz", "GET /metrics"] {
            asker.ok(listener, line, Value::Null).await;
        }
    }
    for operation in document.operations() {
        for &listener in &operation.listeners {
            let done = asker.seen.iter().any(|(seen, name, status)| {
                *seen == listener && *name == operation.name() && *status < 300
            });
            assert!(done, "{} was never answered on {listener:?}", operation.name());
        }
    }
    let seen: BTreeSet<u16> = asker.seen.iter().map(|(_, _, status)| *status).collect();
    // 401 and 403 are seen in the other test; 408 takes ten seconds, 429 ten thousand codes, and 503 a
    // broken disk.
    let mut described = document.statuses();
    described.retain(|status| ![401, 403, 408, 429, 503].contains(status));
    assert_eq!(seen, described);
}

/// Codes in every shape: waiting, activated, frozen, released, unknown.
async fn lives_of_codes(asker: &mut Asker<'_>) {
    use Listener::{Admin, Software};
    let bought = asker.daemon.bought(json!({"received": true})).await;
    let frozen = asker.daemon.bought(json!({"received": true})).await;
    let waiting = asker.daemon.bought(json!({"received": false})).await;
    let none = || json!({});
    let all = json!({"code": bought, "order_id": "CS1", "product_id": "P1", "note": "a note"});
    asker.ok(Software, "POST /v1/licenses", all.clone()).await;
    assert_eq!(asker.ask(Software, "POST /v1/licenses", all).await.status, 200, "known");
    for code in [&frozen, &waiting] {
        let answered = asker.ask(Admin, "POST /v1/licenses", json!({"code": code})).await;
        assert_eq!(answered.status, 201);
    }
    for code in [&bought, &frozen] {
        let line = format!("GET /v1/licenses/{code}");
        asker.until(Admin, &line, |license| license["state"] == "activated").await;
    }
    let report = asker.ok(Admin, &format!("POST /v1/licenses/{bought}/query"), none()).await;
    assert_eq!(report["outcome"], "done");
    let report = asker.ok(Admin, &format!("POST /v1/licenses/{waiting}/activate"), none()).await;
    assert_eq!(report["outcome"], "waiting_for_buyer");
    asker.daemon.act(&frozen, "freeze").await;
    let line = format!("GET /v1/licenses/{frozen}");
    asker.until(Admin, &line, |license| license["frozen_since"].is_string()).await;
    for (code, decision) in [
        (bought.as_str(), "allow"),
        (&frozen, "deny"),
        (&waiting, "deny"),
        ("PL-NEVER-SEEN", "deny"),
    ] {
        let answer = asker.ok(Software, &format!("GET /v1/entitlements/{code}"), none()).await;
        assert_eq!(answer["decision"], decision, "{answer}");
    }
    asker.ok(Admin, &format!("POST /v1/licenses/{waiting}/received"), none()).await;
    let why = json!({"reason": "a refund"});
    asker.ok(Admin, &format!("POST /v1/licenses/{frozen}/release"), why).await;
    let line = format!("POST /v1/licenses/{frozen}/received");
    asker.refused(Admin, &line, none(), "conflict").await;
    drift(asker, &bought).await;
    let history = format!("GET /v1/licenses/{frozen}/events?kind=operator");
    let history = asker.ok(Admin, &history, none()).await;
    assert_eq!(history["items"][0]["detail"], "reason given: a refund");
}

/// Orders that we are told of, and one that nobody has.
async fn orders(asker: &mut Asker<'_>) {
    use Listener::Admin;
    for _ in 0..2 {
        asker.daemon.bought(json!({"order_notify": true})).await;
    }
    let queried = |list: &Value| {
        let items = list["items"].as_array().expect("a list");
        items.len() == 2 && items.iter().all(|order| order["queried_at"].is_string())
    };
    let list = asker.until(Admin, "GET /v1/orders?state=awaited", queried).await;
    assert_eq!(list["items"][0]["lines"].as_array().map(Vec::len), Some(1), "{list}");
    for (order, outcome, is_known) in [
        (list["items"][1]["order_id"].as_str().expect("an order"), "done", true),
        ("MOCKMONTYRENEW", "done", true),
        ("CS-NOBODY-PLACED", "refused", false),
    ] {
        let report = asker.ok(Admin, &format!("POST /v1/orders/{order}/query"), json!({})).await;
        assert_eq!(report["outcome"], outcome, "{report}");
        assert_eq!(report["order"].is_object(), is_known, "{report}");
    }
}

/// What differs from the marketplace, and its repair; contradictions are alarms.
async fn drift(asker: &mut Asker<'_>, known: &str) {
    use Listener::Admin;
    // Two that the marketplace knows better, and one that it does not know at all.
    let sold = asker.daemon.bought(json!({"received": true})).await;
    for code in [sold.as_str(), "PL-NOBODY-SOLD"] {
        let body = json!({"code": code, "activate": false});
        asker.ok(Admin, "POST /v1/licenses", body).await;
    }
    asker.ok(Admin, "GET /v1/drift/plan", json!({})).await;
    asker.daemon.silently(&sold, "release").await;
    let found = asker.ok(Admin, "GET /v1/drift?limit=1000", json!({})).await;
    let drifts: Vec<_> = found["items"].as_array().expect("a list").iter().collect();
    let of = |code: &str| drifts.iter().find(|drift| drift["code"] == code);
    assert_eq!(of(&sold).expect("it differs")["marketplace"], "released", "{found}");
    assert_eq!(of("PL-NOBODY-SOLD").expect("it differs")["repair"], "none", "{found}");
    let codes = json!({"codes": [sold, known, "PL-NOBODY-SOLD", "PL-NEVER-SEEN"]});
    let repaired = asker.ok(Admin, "POST /v1/drift/apply", codes).await;
    let outcomes: Vec<_> =
        repaired["items"].as_array().expect("a list").iter().map(|one| &one["outcome"]).collect();
    assert_eq!(outcomes, ["done", "done", "refused", "refused"], "{repaired}");
    let alarms = asker.ok(Admin, "GET /v1/alarms", json!({})).await;
    assert_eq!(alarms["items"][0]["kind"], "contradiction", "{alarms}");
    let id = alarms["items"][0]["id"].as_str().expect("an id");
    let line = format!("POST /v1/alarms/{id}/acknowledge");
    let alarm = asker.ok(Admin, &line, json!({"reason": "known"})).await;
    assert_eq!(alarm["acknowledged"], "known", "{alarm}");
    asker.ok(Admin, "GET /v1/alarms?state=cleared", json!({})).await;
    let tested = asker.ok(Admin, "POST /v1/alarms/test", json!({})).await;
    assert_eq!(tested["items"], json!([]), "no channel is configured");
}

/// Calls that failed, as two hours would leave them, and a gap.
async fn guard(asker: &mut Asker<'_>) {
    use Listener::Admin;
    asker.daemon.edit(
        "INSERT INTO retry_window VALUES \
         (NULL, 'refreshLicenseCode', 'PL-OF-YORE', 'CS-1', 'CS-1-1', 'RENEWAL', x'', 1, '000005', 61, 1, 2, \
          'restart', 3, NULL, NULL), \
         (NULL, 'updateLicenseCodeStatus', 'PL-OF-YORE', '', '', 'FREEZE', x'', 0, '000001', 2, \
          9000000000000, 9000000000001, 'open', NULL, NULL, NULL); \
         INSERT INTO deaf_gap VALUES (NULL, 1000, 9000000, 'clock down', (SELECT min(id) FROM callback), \
         NULL, 0, 0); \
         INSERT INTO missed_call VALUES (last_insert_rowid(), 'PL-OF-YORE', 'RELEASE', 9000001, NULL);",
    );
    asker.ok(Admin, "POST /v1/licenses", json!({"code": "PL-COMMIT", "activate": false})).await;
    let report = asker.ok(Admin, "GET /v1/guard", json!({})).await;
    for list in ["retry_windows", "restart_list", "deaf"] {
        assert!(report[list][0].is_object(), "{list} is empty: {report}");
    }
    assert!(report["deaf"].to_string().contains("PL-OF-YORE"), "{report}");
    let line = "POST /v1/guard/restarted";
    let body = json!({"order_or_code": "CS-1", "reason": "done by hand"});
    assert_eq!(asker.ok(Admin, line, body.clone()).await["ticked_off"], 1);
    asker.refused(Admin, line, body, "not-found").await;
    asker
        .refused(Admin, line, json!({"order_or_code": "CS-1", "reason": " "}), "bad-request")
        .await;
}

/// Lists, their pages, and what stands in them.
async fn records(asker: &mut Asker<'_>) {
    use Listener::Admin;
    let none = || json!({});
    let list = asker.until(Admin, "GET /v1/callbacks", |list| list["items"][0].is_object()).await;
    asker.ok(Admin, &format!("GET /v1/callbacks/{}", list["items"][0]["id"]), none()).await;
    let probe = asker.ok(Admin, "POST /v1/probes", none()).await;
    assert_eq!(probe["outcome"], "ok", "{probe}");
    asker.ok(Admin, "POST /v1/jobs/upkeep/run", none()).await;
    let upkeep = |list: &Value| {
        let mut jobs = list["items"].as_array().expect("a list").iter();
        jobs.any(|job| job["name"] == "upkeep" && job["last_counts"].is_object())
    };
    asker.until(Admin, "GET /v1/jobs", upkeep).await;
    asker.ok(Admin, "GET /v1/summary", none()).await;
    let guard = asker.ok(Admin, "GET /v1/guard", none()).await;
    assert_eq!(guard["delisting"]["failing_days"], 0, "{guard}");
    for (days, severity) in [(1, "warning"), (2, "high"), (4, "emergency"), (0, "")] {
        let word = json!({"failing_days": days, "reason": "a mail says so"});
        let guard = asker.ok(Admin, "POST /v1/guard/delisting", word).await;
        assert_eq!(guard["delisting"]["failing_days"], days, "{guard}");
        let alarms = asker.ok(Admin, "GET /v1/alarms", none()).await;
        let mut alarms = alarms["items"].as_array().expect("a list").iter();
        let found = alarms.find(|alarm| alarm["kind"] == "delisting");
        let found = found.and_then(|alarm| alarm["severity"].as_str()).unwrap_or_default();
        assert_eq!(found, severity);
    }
    for word in
        [json!({"failing_days": 1, "reason": " "}), json!({"failing_days": -1, "reason": "x"})]
    {
        asker.refused(Admin, "POST /v1/guard/delisting", word, "bad-request").await;
    }
    let told =
        asker.ok(Admin, "GET /v1/events?kind=operator&source=operator&limit=1", none()).await;
    let detail = told["items"][0]["detail"].as_str().expect("a text");
    assert!(detail.ends_with("instead of 4; reason given: a mail says so"), "{detail}");
    usage(asker).await;
    let before = asker.ok(Admin, "GET /v1/lease-keys", none()).await;
    let rotated = asker.ok(Admin, "POST /v1/lease-keys/rotate", json!({"reason": "due"})).await;
    assert_eq!(rotated["retired"][0]["kid"], before["kid"]);
    let set = asker.ok(Listener::Software, "GET /.well-known/jwks.json", none()).await;
    assert_eq!(set["keys"].as_array().map(Vec::len), Some(2), "{set}");
    for path in ["/v1/licenses", "/v1/orders", "/v1/events", "/v1/probes", "/v1/usage"] {
        let first = asker.ok(Admin, &format!("GET {path}?limit=1"), none()).await;
        let cursor = first["next"].as_str().expect("there is more");
        let line = format!("GET {path}?limit=1&cursor={}", cursor.replace(' ', "+"));
        let second = asker.ok(Admin, &line, none()).await;
        assert_ne!(first["items"], second["items"], "{path}");
    }
    let page = asker.ok(Admin, "GET /v1/events?after=3&limit=1000", none()).await;
    let ids: Vec<_> =
        page["items"].as_array().expect("a list").iter().map(|e| e["id"].as_i64()).collect();
    assert_eq!(ids.last(), Some(&Some(4)), "whoever follows sees what came after, newest first");
}

/// What the software reports of two codes, of which the marketplace does not know one.
async fn usage(asker: &mut Asker<'_>) {
    use Listener::{Admin, Software};
    let known = asker.daemon.bought(json!({"received": true})).await;
    let unknown = "PL-NOBODY-USES";
    asker.ok(Admin, "POST /v1/licenses", json!({"code": known})).await;
    asker.ok(Admin, "POST /v1/licenses", json!({"code": unknown, "activate": false})).await;
    let line = format!("GET /v1/licenses/{known}");
    asker.until(Admin, &line, |license| license["state"] == "activated").await;
    for body in [
        json!({"code": known, "client_id": "a client"}),
        json!({"code": known, "active_num": 3}),
        json!({"code": unknown, "active_num": 1}),
    ] {
        let taken = asker.ask(Software, "POST /v1/usage", body).await;
        assert_eq!(taken.status, 202, "{}", taken.body);
    }
    let waiting = asker.ok(Admin, "GET /v1/usage?state=waiting", json!({})).await;
    assert_eq!(waiting["items"].as_array().map(Vec::len), Some(2), "{waiting}");
    asker.ok(Admin, "POST /v1/jobs/usage/run", json!({})).await;
    let line = format!("GET /v1/usage?code={known}&state=sent");
    asker.until(Admin, &line, |list| list["items"][0]["sent"] == 2).await;
    let failed = |list: &Value| list["items"][0]["error_code"] == "92020005";
    asker.until(Admin, "GET /v1/usage?state=failed", failed).await;
    let alarms = asker.ok(Admin, "GET /v1/alarms", json!({})).await;
    let mut alarms = alarms["items"].as_array().expect("a list").iter();
    assert!(alarms.any(|alarm| alarm["kind"] == "usage_failed"));
}

/// One refusal of each kind that can be had quickly.
async fn refusals(asker: &mut Asker<'_>) {
    use Listener::{Admin, Software};
    let none = || json!({});
    for (line, problem) in [
        ("GET /v1/licenses/PL-NEVER-SEEN", "not-found"),
        ("GET /v1/licenses/PL-NEVER-SEEN/events", "not-found"),
        ("POST /v1/licenses/PL-NEVER-SEEN/activate", "unknown-code"),
        ("POST /v1/licenses/PL-NEVER-SEEN/query", "unknown-code"),
        ("POST /v1/licenses/PL-NEVER-SEEN/received", "unknown-code"),
        ("POST /v1/licenses/PL-NEVER-SEEN/release", "unknown-code"),
        ("GET /v1/callbacks/999999", "not-found"),
        ("GET /v1/callbacks/first", "not-found"),
        ("POST /v1/jobs/nothing/run", "not-found"),
        ("GET /v1/alarms?state=gone", "bad-request"),
        ("POST /v1/alarms/clock/acknowledge", "bad-request"),
        ("GET /v1/licenses?limit=1001", "bad-request"),
        ("GET /v1/licenses?state=gone", "bad-request"),
        ("GET /v1/orders?state=gone", "bad-request"),
        ("GET /v1/events?since=yesterday", "bad-request"),
        ("GET /v1/events?since=", "bad-request"),
        ("GET /v1/events?kind=gone", "bad-request"),
        ("GET /v1/events?source=gone", "bad-request"),
        ("GET /v1/callbacks?verdict=gone", "bad-request"),
        ("GET /v1/alarms?cursor=clock", "bad-request"),
        ("POST /v1/licenses/PL-NEVER-SEEN/query?now=1", "bad-request"),
        ("GET /v1/probes?cursor=x", "bad-request"),
    ] {
        asker.refused(Admin, line, none(), problem).await;
    }
    let long = "x".repeat(65);
    asker.refused(Admin, &format!("GET /v1/licenses/{long}"), none(), "bad-request").await;
    asker.refused(Software, &format!("GET /v1/entitlements/{long}"), none(), "bad-request").await;
    asker.refused(Admin, &format!("POST /v1/orders/{long}/query"), none(), "bad-request").await;
    let unknown = json!({"code": "PL-NEVER-SEEN", "active_num": 1});
    asker.refused(Software, "POST /v1/usage", unknown, "unknown-code").await;
    for (listener, path) in
        [(Admin, "/v1/licenses"), (Software, "/v1/licenses"), (Software, "/v1/usage")]
    {
        let line = format!("POST {path}");
        for body in
            [json!({}), json!([]), json!(["PL1", null, null, null, null, null]), json!(null)]
        {
            asker.refused(listener, &line, body, "bad-request").await;
        }
        let large = json!({"code": "x".repeat(65 << 10)});
        asker.refused(listener, &line, large, "too-large").await;
        let request = asker.daemon.request(listener, &Method::POST, path);
        let form = request.with_body(Some("code=PL1".to_owned())).with_type("text/plain");
        let answered = form.send().await;
        asker.hold(listener, &Method::POST, path, &answered);
        assert_eq!(answered.body["type"], "urn:authcoded:problem:not-json");
    }
}
