//! What operators order and see: registration, moves by hand, probes, jobs, the summary, and every JSON shape
//! (product.md §6, §9).

use super::market::{Market, alive, done, error};
use super::wire::{but, date_in_days, freeze, renewal};
use super::{Daemon, wait_until};
use authcoded::domain::slots::parse_rfc3339;
use serde_json::{Value, json};

use super::market::Api::{Activate, Query};

/// Every field of a shape is there; `?` is one that may be null.
fn has_shape(value: &Value, fields: &str) {
    for field in fields.split_whitespace() {
        let (name, may_be_null) = match field.strip_suffix('?') {
            Some(name) => (name, true),
            None => (field, false),
        };
        let found = value.get(name).unwrap_or_else(|| panic!("no {name} in {value}"));
        assert!(may_be_null || !found.is_null(), "{name} is null in {value}");
        if name.ends_with("_at") || ["at", "since", "last_due", "next_due"].contains(&name) {
            assert!(found.is_null() || is_utc(found), "{name} is no time: {found}");
        }
    }
}

fn is_utc(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.ends_with('Z') && parse_rfc3339(text).is_some())
}

const LICENSE: &str = "code state expires_at? marketplace_status marketplace_checked_at? frozen_since? \
    registered_at activated_at? order_id? product_id? next_activation_at? last_error_code? note?";
const EVENT: &str = "id at code? kind source from? to? order_id? result_code? detail hash";
const CALLBACK: &str =
    "id received_at activity code? test signed_at? verdict result_code duration_ms body";
const PROBE: &str = "id slot started_at outcome steps certificate_days?";
const JOB: &str = "name schedule last_due? last_started? last_finished? last_outcome? next_due";

#[tokio::test]
async fn everything_shown_has_the_shape_of_the_contract() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let fresh = daemon.register("PL0", false).await;
    has_shape(&fresh, LICENSE);
    assert_eq!(
        (&fresh["marketplace_status"], &fresh["expires_at"]),
        (&json!("unknown"), &Value::Null)
    );
    daemon.activated("PL1").await;
    daemon.callback(&renewal("PL1", "CS-1", &date_in_days(365))).await;
    daemon.callback(&freeze("PL1")).await;
    let license = daemon.license("PL1").await;
    has_shape(&license, LICENSE);
    has_shape(
        &license,
        "expires_at frozen_since activated_at marketplace_checked_at order_id product_id",
    );
    assert_eq!(
        (&license["order_id"], &license["product_id"]),
        (&json!("CS-purchase"), &json!("product-1"))
    );
    for (path, shape) in [
        ("/v1/licenses", LICENSE),
        ("/v1/licenses/PL1/events", EVENT),
        ("/v1/events", EVENT),
        ("/v1/callbacks", CALLBACK),
        ("/v1/jobs", JOB),
    ] {
        let list = daemon.see(path).await;
        has_shape(&list, "items next?");
        let items = list["items"].as_array().expect("items");
        assert!(!items.is_empty(), "{path}");
        for item in items {
            has_shape(item, shape);
        }
    }
    let callback = daemon.last_callback("PL1").await;
    assert_eq!(daemon.see(&format!("/v1/callbacks/{}", callback["id"])).await, callback);
    assert!(callback["duration_ms"].is_u64() && callback["test"].is_boolean());
    for event in daemon.events("PL1").await {
        let hash = event["hash"].as_str().expect("text");
        assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    }
    let report = daemon.order("/v1/licenses/PL1/query", Value::Null).await;
    has_shape(&report, "outcome error_code? license");
    has_shape(&report["license"], LICENSE);
    let summary = daemon.see("/v1/summary").await;
    has_shape(
        &summary,
        "version started_at licenses waiting_for_buyer alarms last_heartbeat? next_heartbeat writer_queue marketplace",
    );
    has_shape(&summary["marketplace"], "reachable stopped_until?");
    let states = ["issued", "received", "activated", "renewed", "frozen", "released"];
    has_shape(&summary["licenses"], &states.join(" "));
    assert_eq!(
        (&summary["licenses"]["issued"], &summary["licenses"]["frozen"]),
        (&json!(1), &json!(1))
    );
    assert!(is_utc(&summary["next_heartbeat"]));
}

#[tokio::test]
async fn a_registration_is_201_once_and_200_after_and_starts_the_activation() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.says(Activate, "PL2", [done(&date_in_days(10))]);
    let post = async |body: Value| daemon.admin("POST", "/v1/licenses", &body).await;
    let first =
        post(json!({"code": "PL1", "received": false, "activate": false, "order_id": "CS-1",
                            "product_id": "product-1", "note": "from the fair"}))
        .await;
    assert_eq!((first.status, &first.body["state"]), (201, &json!("issued")));
    assert_eq!(first.body["note"], "from the fair");
    assert_eq!(market.count(), 0);
    let again = post(json!({"code": "PL1", "activate": false})).await;
    assert_eq!((again.status, &again.body["state"]), (200, &json!("received")));
    assert_eq!(
        (&again.body["order_id"], &again.body["note"]),
        (&json!("CS-1"), &json!("from the fair"))
    );
    assert_eq!(daemon.kinds("PL1").await, ["registered", "received"]);
    assert_eq!(daemon.events("PL1").await[0]["source"], "operator");

    // A person typed it.
    let typed = post(json!({"code": "  PL2\n"})).await;
    assert_eq!((typed.status, &typed.body["code"]), (201, &json!("PL2")));
    daemon.until_state("PL2", "activated").await;
    let calls = market.count_of(Activate, "PL2");
    assert_eq!(post(json!({"code": "PL2"})).await.status, 200);
    daemon.order("/v1/licenses/PL2/release", Value::Null).await;
    let over = post(json!({"code": "PL2"})).await;
    assert_eq!((over.status, &over.body["state"]), (200, &json!("released")));
    assert_eq!(market.count_of(Activate, "PL2"), calls);
}

#[tokio::test]
async fn codes_are_opaque_and_case_sensitive_in_every_path() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for (code, segment) in [
        ("pl1", "pl1"),
        ("PL1", "PL1"),
        ("a/b?c#d é%", "a%2Fb%3Fc%23d%20%C3%A9%25"),
        ("+", "+"),
        ("码", "%E7%A0%81"),
    ] {
        daemon.register(code, false).await;
        assert_eq!(daemon.license(segment).await["code"], code);
        let events = daemon.items(&format!("/v1/licenses/{segment}/events")).await;
        assert_eq!(events.len(), 1, "{code}");
        assert_eq!(daemon.entitlement(segment).await["code"], code);
    }
    assert_eq!(daemon.items("/v1/licenses").await.len(), 5);
}

#[tokio::test]
async fn an_operator_moves_a_code_by_hand_and_may_say_why() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.register("PL1", false).await;
    let license =
        daemon.order("/v1/licenses/PL1/received", json!({"reason": "seen in the console"})).await;
    assert_eq!(license["state"], "received");
    let events = daemon.events("PL1").await;
    let moved = events.iter().find(|event| event["kind"] == "received").expect("an event");
    assert_eq!((&moved["source"], &moved["from"]), (&json!("operator"), &json!("issued")));
    assert!(events.iter().any(|event| {
        event["source"] == "operator"
            && event["detail"].as_str().expect("text").contains("seen in the console")
    }));
    assert_eq!(daemon.order("/v1/licenses/PL1/received", Value::Null).await["state"], "received");
    assert_eq!(daemon.order("/v1/licenses/PL1/release", json!({})).await["state"], "released");
    assert_eq!(daemon.reason("PL1").await, "released");
    let refused = daemon.admin("POST", "/v1/licenses/PL1/received", &Value::Null).await;
    refused.is_problem(409);
    // The table has no change here, not a refusal.
    assert_eq!(daemon.order("/v1/licenses/PL1/release", Value::Null).await["state"], "released");
    assert_eq!(daemon.kinds("PL1").await.iter().filter(|kind| *kind == "released").count(), 1);
    let report = daemon.order("/v1/licenses/PL1/activate", Value::Null).await;
    assert_eq!(report["outcome"], "refused");
    assert_eq!(market.count(), 0, "nothing is called for a code that is over");
}

#[tokio::test]
async fn an_activation_of_an_active_code_asks_instead() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let calls = market.count_of(Activate, "PL1");
    market.says(Query, "PL1", [alive(&date_in_days(3))]);
    let report = daemon.order("/v1/licenses/PL1/activate", Value::Null).await;
    assert_eq!((&report["outcome"], &report["error_code"]), (&json!("asked"), &Value::Null));
    assert_eq!(market.count_of(Activate, "PL1"), calls);
    assert_eq!(daemon.reason("PL1").await, "expiring");
}

#[tokio::test]
async fn a_probe_takes_its_stages_sends_the_seven_cases_and_is_kept() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let answer = daemon.admin("POST", "/v1/probes", &Value::Null).await;
    assert_eq!((answer.status, &answer.body["outcome"]), (200, &json!("ok")));
    let probe = answer.body;
    has_shape(&probe, PROBE);
    let steps = probe["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 10, "three stages, five debug cases and two that must be refused");
    let (stages, cases) = steps.split_at(3);
    let outcomes: Vec<_> = stages.iter().map(|step| step["outcome"].clone()).collect();
    assert_eq!(outcomes, ["ok", "ok", "skipped"], "plain http: {stages:?}");
    for step in cases {
        has_shape(step, "name outcome status? duration_ms detail");
        assert_eq!((&step["outcome"], &step["status"]), (&json!("ok"), &json!(200)));
    }
    let listed = daemon.items("/v1/probes").await;
    assert_eq!(listed[0], probe);
    assert_eq!(daemon.see("/v1/summary").await["last_heartbeat"], probe);
    assert!(
        daemon.items("/v1/events?kind=probe").await.len() >= 2,
        "the one at the start, and this one"
    );
}

#[tokio::test]
async fn a_heartbeat_that_finds_something_else_at_the_public_url_fails_and_is_told() {
    let (market, elsewhere) = (
        Market::start().await,
        crate::peer::Peer::saying(crate::peer::Say::new(200, "<html>")).await,
    );
    let setup = super::Setup {
        endpoints: vec![market.http()],
        callback: format!("public-url = \"{}/koogallery/callback\"", elsewhere.http()),
        ..super::Setup::default()
    };
    let daemon = Daemon::with(setup).await;
    let probe = daemon.order("/v1/probes", Value::Null).await;
    assert_eq!(probe["outcome"], "failed");
    let (_, cases) = probe["steps"].as_array().expect("steps").split_at(3);
    assert!(cases.iter().all(|step| step["outcome"] == "failed"), "{probe}");
    assert!(cases[0]["detail"].as_str().expect("text").contains("content type"), "{probe}");
    assert!(daemon.see("/v1/summary").await["alarms"].as_u64() > Some(0));
    let ready = daemon.plain(daemon.request("GET", daemon.admin_addr(), "/readyz")).await;
    assert_eq!((ready.status, &ready.body["last_heartbeat"]["outcome"]), (200, &json!("failed")));
}

#[tokio::test]
async fn a_job_is_started_by_hand_and_its_end_is_seen() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let jobs = daemon.items("/v1/jobs").await;
    let names: Vec<_> = jobs.iter().map(|job| job["name"].as_str().expect("a name")).collect();
    for name in ["heartbeat", "activation", "reconcile", "upkeep"] {
        assert!(names.contains(&name), "{names:?}");
        let seen = async || {
            let jobs = daemon.items("/v1/jobs").await;
            jobs.into_iter().find(|job| job["name"] == name).expect("the job")
        };
        wait_until("the run at the start is over", async || {
            (!seen().await["last_finished"].is_null()).then_some(())
        })
        .await;
        let before = seen().await;
        let answer = daemon.admin("POST", &format!("/v1/jobs/{name}/run"), &Value::Null).await;
        assert_eq!((answer.status, &answer.body["name"]), (202, &json!(name)));
        let after = wait_until("it is over", async || {
            let job = seen().await;
            (job["last_started"] != before["last_started"] && !job["last_finished"].is_null())
                .then_some(job)
        })
        .await;
        assert_eq!(after["last_outcome"], "ok", "{after}");
    }
}

#[tokio::test]
async fn drift_is_shown_without_a_change_and_alarms_say_what_to_do() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for code in ["PL1", "PL2"] {
        daemon.activated(code).await;
    }
    market.says(Query, "PL2", [super::market::released()]);
    let before = (daemon.license("PL2").await, daemon.events("PL2").await);
    let drift = daemon.see("/v1/drift").await;
    has_shape(&drift, "items next?");
    let items = drift["items"].as_array().expect("items");
    assert_eq!(items.len(), 1, "{drift}");
    has_shape(&items[0], "code local marketplace repair why");
    assert_eq!((&items[0]["code"], &items[0]["marketplace"]), (&json!("PL2"), &json!("released")));
    assert_eq!(
        (daemon.license("PL2").await, daemon.events("PL2").await),
        before,
        "looking changes nothing"
    );
    daemon.order("/v1/drift/apply", json!({"codes": ["PL2"]})).await;
    assert_eq!(daemon.state("PL2").await, "released");

    assert_eq!(daemon.callback(&renewal("PL2", "CS-1", &date_in_days(9))).await, "000003");
    let mut alarms = daemon.items("/v1/alarms").await;
    // A release that only a query told of is a silence, once the watch has looked.
    alarms.retain(|alarm| alarm["kind"] != "silence");
    assert_eq!(alarms.len(), 2, "it does not fit, and it fails: {alarms:?}");
    for alarm in &alarms {
        has_shape(alarm, "id kind since severity code? text what_to_do");
    }
    let contradiction = alarms.iter().find(|alarm| alarm["kind"] == "contradiction");
    assert_eq!(contradiction.expect("an alarm")["code"], "PL2");
    assert!(daemon.see("/v1/summary").await["alarms"].as_u64() > Some(1));
}

#[tokio::test]
async fn a_sweep_learns_what_no_callback_told() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for code in ["PL1", "PL2", "PL3"] {
        daemon.register(code, true).await;
    }
    market.says(Query, "PL2", [error(200, "92020011")]);
    market.says(Query, "PL3", [super::market::released()]);
    daemon.order("/v1/jobs/reconcile/run", Value::Null).await;
    daemon.until_state("PL1", "activated").await;
    daemon.until_state("PL3", "released").await;
    assert_eq!(daemon.state("PL2").await, "received");
    assert_eq!(daemon.events("PL3").await.last().expect("an event")["source"], "query");
    let body = but(&renewal("PL3", "CS-1", &date_in_days(9)), "testFlag", json!("1"));
    assert_eq!(daemon.callback(&body).await, "000000", "a test call does not care");
}
