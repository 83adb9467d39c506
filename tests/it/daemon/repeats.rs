//! The same call again, in every way it can come again (product.md §3.1, §9).

use super::market::{Api, Market, alive};
use super::wire::{but, date_in_days, freeze, release, renewal, unfreeze, unrenewal};
use super::{Daemon, nonce, now, signed, signed_at, signed_bytes};
use serde_json::json;
use std::sync::Arc;

/// How often an event of this kind was written for a code.
async fn count(daemon: &Daemon, code: &str, kind: &str) -> usize {
    daemon.kinds(code).await.iter().filter(|found| *found == kind).count()
}

#[tokio::test]
async fn the_same_nonce_and_body_get_the_stored_answer_also_after_a_restart_and_a_crash() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    let end = date_in_days(400);
    market.says(Api::Query, "PL1", [alive(&end)]);
    daemon.activated("PL1").await;
    daemon.register("PL2", false).await;
    daemon.callback(&release("PL2", None)).await;
    let renewed = signed(&renewal("PL1", "CS-1", &end));
    let frozen = signed(&freeze("PL1"));
    let refused = signed(&unfreeze("PL2"));
    assert_eq!(daemon.reply(&renewed).await, "000000");
    assert_eq!(daemon.reply(&frozen).await, "000000");
    assert_eq!(daemon.reply(&refused).await, "000003");
    assert_eq!(daemon.callback(&unfreeze("PL1")).await, "000000");
    for round in 0..3 {
        match round {
            0 => {}
            1 => daemon.restart().await,
            _ => {
                daemon.kill();
                daemon.again().await;
            }
        }
        let events = daemon.events("PL1").await.len();
        for (call, code, answer) in
            [(&renewed, "PL1", "000000"), (&frozen, "PL1", "000000"), (&refused, "PL2", "000003")]
        {
            assert_eq!(daemon.reply(call).await, answer);
            assert_eq!(daemon.verdict(code).await, "repeated");
        }
        assert_eq!(daemon.state("PL1").await, "renewed", "the freeze did not come back");
        assert_eq!(daemon.events("PL1").await.len(), events, "a repeat has no effect");
    }
}

#[tokio::test]
async fn the_same_order_signed_again_has_one_effect_also_after_a_restart() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let end = date_in_days(400);
    let renew = renewal("PL1", "CS-1", &end);
    let unrenew = unrenewal("PL1", "CS-2", &date_in_days(200));
    let release = release("PL1", Some("CS-refund"));
    for body in [&renew, &unrenew, &renew, &release, &release] {
        assert_eq!(daemon.callback(body).await, "000000");
    }
    assert_eq!(daemon.verdict("PL1").await, "repeated");
    daemon.restart().await;
    for body in [&renew, &unrenew, &release] {
        assert_eq!(
            daemon.callback(body).await,
            "000000",
            "the stored reply, though it is released"
        );
        assert_eq!(daemon.verdict("PL1").await, "repeated");
    }
    for kind in ["renewed", "unrenewed", "released"] {
        assert_eq!(count(&daemon, "PL1", kind).await, 1, "{kind}");
    }
    assert_eq!(count(&daemon, "PL1", "contradiction").await, 0);
}

#[tokio::test]
async fn another_encoding_of_the_same_order_is_the_same_order() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let body = renewal("PL1", "CS-1", &date_in_days(400));
    assert_eq!(daemon.callback(&body).await, "000000");
    let pretty = serde_json::to_vec_pretty(&but(&body, "news", json!([1, 2]))).expect("JSON");
    assert_eq!(daemon.reply(&signed_bytes(&pretty, now(), &nonce())).await, "000000");
    assert_eq!(daemon.verdict("PL1").await, "repeated");
    assert_eq!(count(&daemon, "PL1", "contradiction").await, 0);
}

#[tokio::test]
async fn the_same_order_with_other_content_changes_nothing_and_is_told() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let body = renewal("PL1", "CS-1", &date_in_days(400));
    assert_eq!(daemon.callback(&body).await, "000000");
    let before = daemon.license("PL1").await;
    let alarms = daemon.see("/v1/summary").await["alarms"].as_u64();
    for (field, value) in
        [("expireTime", json!(date_in_days(900))), ("productId", json!("product-9"))]
    {
        let told = count(&daemon, "PL1", "contradiction").await;
        assert_eq!(daemon.callback(&but(&body, field, value)).await, "000000");
        assert_eq!(daemon.license("PL1").await, before, "{field}");
        assert_eq!(count(&daemon, "PL1", "contradiction").await, told + 1, "{field}");
    }
    assert!(daemon.see("/v1/summary").await["alarms"].as_u64() > alarms);
    assert_eq!(daemon.callback(&body).await, "000000", "the first content is still a plain repeat");
    assert_eq!(count(&daemon, "PL1", "contradiction").await, 2);
}

#[tokio::test]
async fn a_nonce_with_another_body_is_not_authentic() {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let (at, nonce) = (now(), nonce());
    let first = renewal("PL1", "CS-1", &date_in_days(400));
    assert_eq!(daemon.reply(&signed_at(&first, at, &nonce)).await, "000000");
    let before = daemon.license("PL1").await;
    for round in 0..2 {
        let other = signed_at(&release("PL1", None), at, &nonce);
        assert_eq!(daemon.reply(&other).await, "000001", "round {round}");
        assert_eq!(daemon.verdict("PL1").await, "refused");
        let now = daemon.license("PL1").await;
        assert_eq!((&now["state"], &now["expires_at"]), (&before["state"], &before["expires_at"]));
        daemon.restart().await;
    }
    assert_eq!(daemon.reply(&signed_at(&first, at, &nonce)).await, "000000");
}

#[tokio::test]
async fn code_scene_order_and_line_together_make_an_order() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for code in ["PL1", "PL2"] {
        daemon.activated(code).await;
    }
    let first = renewal("PL1", "CS-1", &date_in_days(400));
    let line =
        but(&renewal("PL1", "CS-1", &date_in_days(500)), "orderLineId", json!("CS-1-000002"));
    let scene = unrenewal("PL1", "CS-1", &date_in_days(450));
    let code = renewal("PL2", "CS-1", &date_in_days(450));
    for body in [&first, &line, &scene, &code] {
        assert_eq!(daemon.callback(body).await, "000000");
        let code = body["license"].as_str().expect("a code");
        assert_eq!(daemon.verdict(code).await, "applied", "{body}");
    }
    assert_eq!(count(&daemon, "PL1", "renewed").await, 2);
    assert_eq!(daemon.state("PL1").await, "renewed", "two renewals, one un-renewal");
    // A release without an order, then the one of a refund: two keys, one end.
    for order in [None, Some("CS-1"), None] {
        assert_eq!(daemon.callback(&release("PL2", order)).await, "000000");
    }
    assert_eq!(count(&daemon, "PL2", "released").await, 1);
    assert_eq!(daemon.verdict("PL2").await, "repeated");
}

#[tokio::test]
async fn calls_that_come_all_at_once_are_applied_once() {
    let market = Market::start().await;
    let daemon = Arc::new(Daemon::start(&[market.http()]).await);
    daemon.activated("PL1").await;
    let body = renewal("PL1", "CS-1", &date_in_days(400));
    let same = signed(&body);
    let calls: Vec<_> = (0..40)
        .map(|n| {
            let call = if n % 2 == 0 { same.clone() } else { signed(&body) };
            let daemon = Arc::clone(&daemon);
            tokio::spawn(async move { daemon.reply(&call).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("no panic"), "000000");
    }
    assert_eq!(count(&daemon, "PL1", "renewed").await, 1);
    let recorded = daemon.items("/v1/callbacks?code=PL1&limit=1000").await;
    let applied = recorded.iter().filter(|callback| callback["verdict"] == "applied").count();
    assert_eq!((recorded.len(), applied), (40, 1));
}
