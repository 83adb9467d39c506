//! Lists: order, pages, filters and their bad parameters (product.md §6, §9).

use super::market::Market;
use super::wire::{date_in_days, freeze, renewal};
use super::{Daemon, now};
use serde_json::{Value, json};

/// All items of a list, a page at a time.
async fn paged(daemon: &Daemon, path: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let mut page = format!("{path}{}limit={limit}", if path.contains('?') { '&' } else { '?' });
        if let Some(cursor) = &cursor {
            page = format!("{page}&cursor={cursor}");
        }
        let list = daemon.see(&page).await;
        let items = list["items"].as_array().expect("items");
        assert!(items.len() <= limit, "{page}");
        all.extend(items.iter().cloned());
        match list["next"].as_str() {
            Some(next) => {
                assert_eq!(items.len(), limit, "{page} is not full, and there is more");
                cursor = Some(next.to_owned());
            }
            None => return all,
        }
    }
}

fn codes(items: &[Value]) -> Vec<&str> {
    items.iter().map(|item| item["code"].as_str().expect("a code")).collect()
}

#[tokio::test]
async fn licences_are_listed_by_code_a_page_at_a_time_and_filtered() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    for (code, note) in [("PL3", "x"), ("PL1", "a fair"), ("PL5", "x"), ("PL2", "x"), ("PL4", "y")]
    {
        let body = json!({"code": code, "received": code > "PL3", "activate": false, "note": note,
                          "order_id": format!("CS-{code}")});
        daemon.order("/v1/licenses", body).await;
    }
    daemon.callback(&renewal("PL1", "CS-r1", "20300101000000")).await;
    daemon.callback(&renewal("PL2", "CS-r2", "20310101000000")).await;
    for limit in [1, 2, 3, 5, 1000] {
        let all = paged(&daemon, "/v1/licenses", limit).await;
        assert_eq!(codes(&all), ["PL1", "PL2", "PL3", "PL4", "PL5"], "{limit}");
    }
    for (filter, expected) in [
        ("state=received", &["PL4", "PL5"][..]),
        ("state=released", &[]),
        ("text=fair", &["PL1"]),
        ("text=CS-PL3", &["PL3"]),
        ("text=L5", &["PL5"]),
        ("expires_before=2030-06-01T00:00:00Z", &["PL1"]),
        ("expires_after=2030-06-01T00:00:00Z", &["PL2"]),
        (
            "expires_after=2029-01-01T00:00:00Z&expires_before=2032-01-01T08:00:00%2B08:00",
            &["PL1", "PL2"],
        ),
        ("state=issued&text=x", &["PL2", "PL3"]),
    ] {
        let found = paged(&daemon, &format!("/v1/licenses?{filter}"), 1).await;
        assert_eq!(codes(&found), expected, "{filter}");
    }
}

#[tokio::test]
async fn events_and_callbacks_are_newest_first_and_pages_stay_while_more_is_written() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let began = now();
    for n in 0..6 {
        let body = renewal("PL1", &format!("CS-{n}"), &date_in_days(400 + n));
        assert_eq!(daemon.callback(&body).await, "000000");
    }
    let ids = |items: &[Value]| -> Vec<i64> {
        items.iter().map(|item| item["id"].as_i64().expect("an id")).collect()
    };
    for path in ["/v1/events?code=PL1", "/v1/licenses/PL1/events", "/v1/callbacks?code=PL1"] {
        let whole = ids(&daemon.items(path).await);
        assert!(whole.len() >= 6 && whole.is_sorted_by(|a, b| a > b), "{path}: {whole:?}");
        let joint = if path.contains('?') { '&' } else { '?' };
        let first = daemon.see(&format!("{path}{joint}limit=2")).await;
        assert_eq!(daemon.callback(&freeze("PL1")).await, "000000");
        let cursor = first["next"].as_str().expect("more");
        let next = daemon.items(&format!("{path}{joint}limit=2&cursor={cursor}")).await;
        assert_eq!(ids(&next), whole[2..4], "{path}");
        assert!(ids(&paged(&daemon, path, 4).await).ends_with(&whole));
    }
    let renewed = daemon.items("/v1/events?kind=renewed&source=callback").await;
    assert_eq!(renewed.len(), 6);
    assert_eq!(daemon.items("/v1/events?order_id=CS-3").await.len(), 1);
    let since = began.to_string();
    assert_eq!(daemon.items(&format!("/v1/events?kind=renewed&since={since}")).await.len(), 6);
    assert_eq!(daemon.items(&format!("/v1/events?kind=renewed&until={since}")).await.len(), 0);
    let after = renewed[2]["id"].as_i64().expect("an id");
    let newer = daemon.items(&format!("/v1/events?kind=renewed&after={after}")).await;
    assert_eq!(ids(&newer), ids(&renewed[..2]));
    let calls = daemon.items("/v1/callbacks?activity=refreshLicenseCode&verdict=applied").await;
    assert_eq!(calls.len(), 6);
    assert!(daemon.items("/v1/callbacks?code=PL2").await.is_empty());
}

#[tokio::test]
async fn parameters_that_are_wrong_or_unheard_of_are_told() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.register("PL1", false).await;
    let lists = [
        "/v1/licenses",
        "/v1/licenses/PL1/events",
        "/v1/events",
        "/v1/callbacks",
        "/v1/probes",
        "/v1/jobs",
    ];
    for list in lists {
        for query in [
            "limit=0",
            "limit=1001",
            "limit=-1",
            "limit=x",
            "limit=1&limit=1",
            "colour=red",
            "limits=1",
        ] {
            let path = format!("{list}?{query}");
            let answer = daemon.admin("GET", &path, &Value::Null).await;
            assert_eq!(answer.status, 400, "{path}: {}", answer.text);
            answer.is_problem(400);
        }
        assert_eq!(
            daemon.admin("GET", &format!("{list}?limit=1000"), &Value::Null).await.status,
            200
        );
        assert_eq!(
            daemon.items(&format!("{list}?limit=1")).await.len().min(1),
            daemon.items(list).await.len().min(1)
        );
        assert!(daemon.items(&format!("{list}?limit=1")).await.len() <= 1, "{list}");
    }
    for path in [
        "/v1/licenses?state=expired",
        "/v1/licenses?expires_before=tomorrow",
        "/v1/licenses?text=%ff",
        "/v1/events?since=20260101",
        "/v1/events?cursor=x",
        "/v1/callbacks?cursor=x",
        "/v1/probes?cursor=x",
    ] {
        daemon.admin("GET", path, &Value::Null).await.is_problem(400);
    }
}
