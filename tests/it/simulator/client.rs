//! Our own client against the simulated marketplace: calls about many codes, orders, and what a refusal
//! of the access key costs.

use super::{AK, Market, SK, settings};
use authcoded::clock::Clock;
use authcoded::domain::license::{Code, OrderId};
use authcoded::domain::slots::Zone;
use authcoded::domain::time::MINUTE_MS;
use authcoded::domain::transition::QueryVerdict;
use authcoded::marketplace::{BatchSizes, CallResult, Client, Effort, Settings};
use authcoded::protocol::aksk::Credentials;
use authcoded::protocol::open_api::Batch;
use serde_json::{Value, json};
use std::time::Duration;

const ONCE: Effort = Effort::Once { deadline: Duration::from_secs(9) };

fn client(market: &Market) -> Client {
    client_with(market, SK, Clock::system())
}

fn client_with(market: &Market, sk: &str, clock: Clock) -> Client {
    let settings = Settings {
        endpoints: vec![market.url("")],
        credentials: Credentials::new(AK.to_owned(), sk.into()),
        extra_ca_pem: None,
        zone: Zone::UTC,
        requests_per_second: 1_000,
        batches: BatchSizes::default(),
    };
    Client::new(settings, clock).expect("a client")
}

fn code(text: &str) -> Code {
    Code::parse(text).expect("a code")
}

#[tokio::test]
async fn a_batch_is_activated_whole_or_told_to_be_split() {
    let market = Market::start(settings()).await;
    let client = client(&market);
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(code(&market.bought(json!({"received": true})).await));
    }
    let waiting = code(&market.bought(json!({"received": false})).await);
    let mixed = [codes[0].clone(), waiting.clone()];
    let split = client.activate_batch(&mixed, ONCE).await;
    assert_eq!(split.result, CallResult::Verdict(Batch::Split), "{split:?}");
    let done = client.activate_batch(&codes, ONCE).await;
    assert_eq!(done.result, CallResult::Verdict(Batch::Done(())), "{done:?}");

    let told = client.query_batch(&codes, ONCE).await;
    let CallResult::Verdict(Batch::Done(told)) = told.result else { panic!("{told:?}") };
    assert_eq!(
        told.iter().map(|(code, _)| code).collect::<Vec<_>>(),
        codes.iter().collect::<Vec<_>>()
    );
    for (_, verdict) in told {
        assert!(matches!(verdict, QueryVerdict::Alive(_)), "{verdict:?}");
    }
    let split = client.query_batch(&[codes[0].clone(), code("PL-NOBODY-SOLD")], ONCE).await;
    assert_eq!(split.result, CallResult::Verdict(Batch::Split), "{split:?}");
}

#[tokio::test]
async fn an_order_is_asked_for_with_signed_parameters() {
    let market = Market::start(settings()).await;
    let client = client(&market);
    let bought = market.act("codes", json!({"received": true})).await;
    let id = OrderId::parse(bought["order_id"].as_str().expect("an order")).expect("an id");
    let call = client.order(&id, ONCE).await;
    let CallResult::Verdict(order) = call.result else { panic!("{call:?}") };
    assert_eq!((order.id, order.kind.as_deref()), (id, Some("NEW")));
    assert_eq!(order.lines.len(), 1);
    // What must be encoded is signed as it is sent.
    let odd = OrderId::parse("CS 1&2=码+").expect("an id");
    let call = client.order(&odd, ONCE).await;
    assert_eq!(call.error_code.as_deref(), Some("MKT.0199"), "{call:?}");
    assert!(matches!(call.result, CallResult::Permanent { .. }), "{call:?}");
}

/// Signed requests that the simulator has counted, whatever they were answered.
async fn requests(market: &Market) -> u64 {
    let seen = market.see("requests").await;
    let counters = seen["counters"].as_object().expect("counters");
    counters.values().filter_map(Value::as_u64).sum()
}

/// Five minutes pass in two seconds. Whatever is called meanwhile, by whomever, one request is counted in
/// each five minutes: the first, then the careful one.
#[tokio::test]
async fn after_a_refusal_one_careful_request_is_counted_in_five_minutes() {
    tokio::join!(
        refused("not-the-secret-key", None),
        refused(SK, Some("http_403")),
        refused(SK, Some("status:401"))
    );
}

async fn refused(sk: &str, fault: Option<&str>) {
    let real = Clock::system().now();
    let clock = Clock::scaled(real.as_ms(), real, 150);
    let market = Market::start_at(settings(), clock.clone()).await;
    if let Some(fault) = fault {
        market.act("faults", json!({"rules": [{"on": "query", "fault": fault}]})).await;
    }
    let client = client_with(&market, sk, clock.clone());
    let asked = async |n: usize| {
        let effort = [ONCE, Effort::Interactive, Effort::Background][n % 3];
        let call = client.query(&code(&format!("PL{n}")), effort).await;
        assert!(matches!(call.result, CallResult::Stopped { .. }), "{fault:?}: {call:?}");
    };
    // What is under way when the first one is refused has left already.
    asked(0).await;
    for careful in 1..=3 {
        let until = client.stopped_until().expect("stopped");
        let mut tries = 0;
        while clock.now().plus_ms(5_000) < until {
            asked(tries).await;
            tries += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(tries > 10, "tried meanwhile: {tries}");
        assert_eq!(requests(&market).await, careful, "{fault:?}");
        let opened = tokio::time::timeout(Duration::from_secs(20), async {
            while clock.now() <= until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        opened.await.expect("the clock runs");
        tokio::join!(asked(0), asked(1), asked(2));
        let stopped_for = client.stopped_until().expect("stopped again").ms_since(until);
        assert!(stopped_for >= 5 * MINUTE_MS, "{stopped_for} ms");
    }
    assert!(market.see("requests").await["ak_locked_until"].is_null());
}
