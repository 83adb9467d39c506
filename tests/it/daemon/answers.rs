//! Answers to the software that are given again: never past a change of their code (product.md §4).

use super::market::{Api, Market, alive};
use super::wire::{date_in_days, freeze, release, renewal, unfreeze};
use super::{Daemon, Setup, now, wait_until};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Callers who ask all the time.
const CALLERS: usize = 4;
const ROUNDS: usize = 25;

#[tokio::test]
async fn an_answer_is_given_again_until_its_code_changes() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    market.says(Api::Query, "PL1", [alive(&date_in_days(100))]);
    daemon.activated("PL1").await;
    let first = daemon.entitlement("PL1").await;
    // A lease made in another second says so.
    let second = now().as_ms() / 1_000;
    wait_until("another second", async || (now().as_ms() / 1_000 > second).then_some(())).await;
    assert_eq!(daemon.entitlement("PL1").await, first, "given again");
    let head = daemon.request("HEAD", daemon.software_addr(), "/v1/entitlements/PL1");
    let head = daemon.plain(head.bearer_auth(super::SOFTWARE_TOKEN)).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    let stranger = daemon.request("GET", daemon.software_addr(), "/v1/entitlements/PL1");
    daemon.plain(stranger.bearer_auth("guessed")).await.is_problem(401);

    assert_eq!(daemon.callback(&renewal("PL1", "CS-1", &date_in_days(200))).await, "000000");
    let renewed = daemon.entitlement("PL1").await;
    assert_eq!((&renewed["state"], &renewed["days_left"]), (&json!("renewed"), &json!(199)));
    assert_ne!(renewed["lease"], first["lease"]);
    // What an operator has asked for is told, too.
    market.says(Api::Query, "PL1", [alive(&date_in_days(300))]);
    daemon.order("/v1/licenses/PL1/query", Value::Null).await;
    assert_eq!(daemon.entitlement("PL1").await["days_left"], 299);
    assert_eq!(daemon.callback(&freeze("PL1")).await, "000000");
    assert_eq!(daemon.reason("PL1").await, "frozen");
    assert_eq!(daemon.callback(&release("PL1", None)).await, "000000");
    assert_eq!(daemon.reason("PL1").await, "released");
}

/// The answers are asked for while the call is being stored, too: none of those may outlive it.
#[tokio::test]
async fn nothing_said_before_a_freeze_is_said_after_it_however_many_ask() {
    let market = Market::start().await;
    let setup = Setup { endpoints: vec![market.http()], ..Setup::default() };
    let daemon = Arc::new(Daemon::with(setup).await);
    daemon.activated("PL1").await;
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (daemon, over, asked) =
                (Arc::clone(&daemon), Arc::clone(&over), Arc::clone(&asked));
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let reason = daemon.reason("PL1").await;
                    assert!(["active", "frozen"].contains(&reason.as_str()), "{reason}");
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        for (call, reason) in [(freeze("PL1"), "frozen"), (unfreeze("PL1"), "active")] {
            let before = asked.load(Ordering::Relaxed);
            assert_eq!(daemon.callback(&call).await, "000000");
            for _ in 0..2 {
                assert_eq!(daemon.reason("PL1").await, reason, "round {round}");
            }
            // Each round begins with an answer that may be given again.
            let enough = before + 2 * CALLERS as u64;
            wait_until("they go on asking", async || {
                (asked.load(Ordering::Relaxed) > enough).then_some(())
            })
            .await;
        }
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no panic");
    }
}
