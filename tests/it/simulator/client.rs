//! Our own client against the simulated marketplace: calls about many codes, and orders.

use super::{AK, Market, SK, settings};
use authcoded::clock::Clock;
use authcoded::domain::license::{Code, OrderId};
use authcoded::domain::slots::Zone;
use authcoded::domain::transition::QueryVerdict;
use authcoded::marketplace::{BatchSizes, CallResult, Client, Effort, Settings};
use authcoded::protocol::aksk::Credentials;
use authcoded::protocol::open_api::Batch;
use serde_json::json;
use std::time::Duration;

const ONCE: Effort = Effort::Once { deadline: Duration::from_secs(9) };

fn client(market: &Market) -> Client {
    let settings = Settings {
        endpoints: vec![market.url("")],
        credentials: Credentials::new(AK.to_owned(), SK.into()),
        extra_ca_pem: None,
        zone: Zone::UTC,
        requests_per_second: 1_000,
        batches: BatchSizes::default(),
    };
    Client::new(settings, Clock::system()).expect("a client")
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
