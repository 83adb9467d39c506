//! Outages of two hours, in compressed time: the real daemon and the simulated marketplace on one clock that
//! runs fast. What the daemon says is to be restarted must be what the marketplace has given up.

mod world;

use authcoded::domain::time::{MINUTE_MS, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use world::{World, call_of, names_of};

/// Every call that is really made is answered 000005, as with a full disk.
const FULL: &str = "CREATE TRIGGER planted BEFORE INSERT ON callback WHEN NEW.test = 0 \
                    BEGIN SELECT RAISE(ABORT, 'planted'); END";

fn instant(text: &Value) -> Timestamp {
    let text = text.as_str().expect("a time");
    authcoded::domain::slots::parse_rfc3339(text).expect("a time")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_leaves_the_restart_list_that_the_marketplace_shows() {
    let mut world = World::start().await;
    for code in ["PL-A", "PL-B", "PL-C", "PL-D", "PL-E", "PL-F", "PL-G"] {
        world.in_use(code).await;
    }
    assert_eq!(world.guard().await["restart_list"], json!([]));

    // The disk is full: what is called about now is seen, and fails.
    world.edit(FULL);
    for (code, act) in
        [("PL-A", "renew"), ("PL-B", "freeze"), ("PL-C", "refund"), ("PL-D", "renew")]
    {
        world.act(code, act).await;
    }
    let seen = world.until("four calls fail", "/console/calls", |calls| {
        let failing = calls.iter().filter(|call| {
            let attempts = call["attempts"].as_array().expect("attempts");
            attempts.iter().any(|attempt| attempt["result_code"] == "000005")
        });
        let failing: BTreeSet<_> = failing.map(call_of).collect();
        (failing.len() == 4).then_some(failing)
    });
    let seen = seen.await;
    let open = world.until_guard("they are repeated", |guard| {
        let open = names_of(&guard["retry_windows"]);
        (open == seen).then(|| guard.clone())
    });
    let open = open.await;
    assert_eq!(open["failed_orders"]["at_risk"], 3, "a freeze has no order");
    for window in open["retry_windows"].as_array().expect("a list") {
        assert_eq!(
            (&window["result_code"], &window["authentic"]),
            (&json!("000005"), &json!(true))
        );
        let (first, ends) = (instant(&window["first_at"]), instant(&window["window_ends_at"]));
        assert_eq!(ends.ms_since(first), 120 * MINUTE_MS);
        let (last, next) = (instant(&window["last_at"]), instant(&window["next_expected_at"]));
        assert_eq!(next.ms_since(last), 2 * MINUTE_MS);
    }

    // Then the daemon is down, until the marketplace has given up what it was called about meanwhile.
    world.stop().await;
    world.act("PL-E", "renew").await;
    world.act("PL-F", "freeze").await;
    let never_seen: BTreeSet<_> = world
        .until("two calls are given up unseen", "/console/failed", |failed| {
            let failed: BTreeSet<_> = failed.iter().map(call_of).collect();
            (failed.len() == 6).then(|| failed.difference(&seen).cloned().collect())
        })
        .await;
    world.act("PL-G", "renew").await;
    world.edit("DROP TRIGGER planted");
    world.again().await;

    let failed = world.until("the one that came late gets through", "/console/calls", |calls| {
        let done =
            calls.iter().any(|call| call["license"] == "PL-G" && call["state"] == "delivered");
        done.then(|| {
            calls.iter().filter(|call| call["state"] == "failed").cloned().collect::<Vec<_>>()
        })
    });
    let failed = failed.await;
    let shown: BTreeSet<_> = failed.iter().map(call_of).collect();
    assert_eq!(shown, seen.union(&never_seen).cloned().collect());
    let guard = world.until_guard("the windows close and the gap is settled", |guard| {
        let closed =
            names_of(&guard["restart_list"]) == seen && guard["retry_windows"] == json!([]);
        (closed && guard["deaf"][0]["state"] == "settled").then(|| guard.clone())
    });
    let guard = guard.await;
    assert_eq!(guard["failed_orders"]["count"], 3);
    assert_eq!(guard["failed_orders"]["at_risk"], 0);

    // What was never seen lies in the time that the report names; the comparison found what it could.
    let gap = &guard["deaf"][0];
    assert_eq!(gap["why"], json!(["down", "not_stored"]), "{gap}");
    let (from, until) = (instant(&gap["given_up_from"]), instant(&gap["given_up_until"]));
    for call in failed.iter().filter(|call| never_seen.contains(&call_of(call))) {
        let created = instant(&call["created_at"]);
        assert!(from <= created && created <= until, "{call} {gap}");
    }
    // The one that came late may have been found before it came; a freeze leaves no trace.
    let missed = gap["missed"].as_array().expect("a list").iter();
    let missed: Vec<_> = missed.filter(|missed| missed["arrived_at"].is_null()).collect();
    assert_eq!(missed.len(), 1, "{gap}");
    assert_eq!((&missed[0]["code"], &missed[0]["scene"]), (&json!("PL-E"), &json!("RENEWAL")));
    assert!(instant(&gap["first_call_after"]["received_at"]) >= instant(&gap["until"]), "{gap}");
    let alarms = world.alarms().await;
    assert!(alarms.contains("restart_list") && alarms.contains("failed_orders"), "{alarms:?}");
    assert!(!alarms.contains("deaf"), "{alarms:?}");

    // Restarted in the console, they come again, and are ticked off by that alone.
    for call in &failed {
        world.restart(call).await;
    }
    let guard = world.until_guard("all is ticked off", |guard| {
        let done = guard["restart_list"] == json!([]) && guard["retry_windows"] == json!([]);
        let mut missed = guard["deaf"][0]["missed"].as_array().expect("a list").iter();
        let came = missed.all(|missed| !missed["arrived_at"].is_null());
        (done && came).then(|| guard.clone())
    });
    let guard = guard.await;
    assert_eq!(guard["failed_orders"]["count"], 3, "they count in their month all the same");
    world
        .until("the marketplace has none left", "/console/failed", |failed| {
            failed.is_empty().then_some(())
        })
        .await;
    assert!(!world.alarms().await.contains("restart_list"));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_wrong_key_the_list_is_the_same_and_says_that_nothing_proves_it() {
    let mut world = World::start().await;
    world.in_use("PL-A").await;
    world.in_use("PL-B").await;
    world.stop().await;
    world.set_key("another-key-than-the-one-bound");
    world.again().await;
    world.act("PL-A", "renew").await;
    world.act("PL-B", "freeze").await;
    let failed = world.until("both are given up", "/console/failed", |failed| {
        let failed: Vec<_> = failed.to_vec();
        (failed.len() == 2).then_some(failed)
    });
    let failed = failed.await;
    let guard = world.until_guard("the windows close", |guard| {
        let list = names_of(&guard["restart_list"]);
        (list == failed.iter().map(call_of).collect()).then(|| guard.clone())
    });
    let guard = guard.await;
    for item in guard["restart_list"].as_array().expect("a list") {
        assert_eq!((&item["result_code"], &item["authentic"]), (&json!("000001"), &json!(false)));
        assert!(item["what_to_do"].as_str().is_some_and(|text| text.contains("access key")));
    }
    let orders = &guard["failed_orders"];
    assert_eq!((&orders["count"], &orders["unproven"]), (&json!(0), &json!(1)));
    assert_eq!(guard["deaf"][0]["why"], json!(["not_authentic"]), "{}", guard["deaf"]);

    world.stop().await;
    world.set_key(world::KEY);
    world.again().await;
    for call in &failed {
        world.restart(call).await;
    }
    world
        .until_guard("all is ticked off", |guard| {
            (guard["restart_list"] == json!([])).then_some(())
        })
        .await;
    world.stop().await;
}
