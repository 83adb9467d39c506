//! The list of codes at its length: pages of a thousand, orders, filters, and the export.

use super::super::Daemon;
use super::super::market::Market;
use super::Browser;
use std::collections::BTreeSet;

/// Codes that are written at once, half of them with an end.
const CODES: usize = 2_500;

/// A daemon that holds [`CODES`] released codes: no sweep asks about them.
async fn daemon() -> (Market, Daemon) {
    let market = Market::start().await;
    let mut daemon = Daemon::start(&[market.http()]).await;
    daemon.stop().await;
    let file = daemon.folder().join("data/authcoded.db");
    let connection = rusqlite::Connection::open(file).expect("the database");
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {CODES})
         INSERT INTO license (code, state, expires_text, expires_at, marketplace_status,
             renewals_in_force, registered_at, buyer_waits, note)
         SELECT printf('PL%05d', i), 'released',
             iif(i % 2, '20300101000000', NULL), iif(i % 2, 1893456000000 + (i * 7919 % 2500) * 60000, NULL),
             'released', 0, 1700000000000 + (i * 104729 % 2500) * 1000, 0, iif(i % 500 = 0, 'a, \"b\"', NULL)
         FROM n;
         INSERT INTO license_count VALUES ('released', {CODES})
         ON CONFLICT (state) DO UPDATE SET n = excluded.n;"
    );
    connection.execute_batch(&sql).expect("written");
    drop(connection);
    daemon.again().await;
    (market, daemon)
}

/// The codes on a page, in order.
fn codes(page: &str) -> Vec<String> {
    let cells = page.split("<td><a class=\"code\" href=\"/licenses/").skip(1);
    cells.map(|cell| cell.split('"').next().expect("a code").to_owned()).collect()
}

/// The address of the next page.
fn next(page: &str) -> Option<String> {
    let (_, rest) = page.split_once("<a rel=\"next\" href=\"")?;
    Some(rest.split('"').next().expect("its end").replace("&amp;", "&"))
}

/// All codes of a list, a page after the other.
async fn walked(browser: &Browser<'_>, path: &str, per_page: usize) -> Vec<String> {
    let (mut all, mut path) = (Vec::new(), Some(path.to_owned()));
    while let Some(at) = path {
        let page = browser.page(&at).await;
        let shown = codes(&page);
        path = next(&page);
        assert!(shown.len() == per_page || path.is_none(), "{at} is not full");
        all.extend(shown);
        assert!(all.len() <= CODES, "{at} repeats");
    }
    all
}

#[tokio::test]
async fn a_long_list_is_walked_in_each_order_and_exported_whole() {
    let (_market, daemon) = daemon().await;
    let browser = Browser::signed_in(&daemon).await;
    let everything: Vec<String> = (0..CODES).map(|i| format!("PL{i:05}")).collect();
    let by_code = walked(&browser, "/licenses?limit=1000", 1_000).await;
    assert_eq!(by_code, everything);
    for sort in ["expiry", "newest"] {
        let seen = walked(&browser, &format!("/licenses?sort={sort}&limit=1000"), 1_000).await;
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), CODES, "{sort}");
        let number = |code: &String| code[2..].parse::<i64>().expect("a number");
        let keys: Vec<i64> = seen
            .iter()
            .map(number)
            .map(|i| match sort {
                "expiry" if i % 2 == 0 => i64::MAX,
                "expiry" => i * 7_919 % 2_500,
                _ => -(i * 104_729 % 2_500),
            })
            .collect();
        assert!(keys.is_sorted(), "{sort}: {keys:?}");
    }
    assert_eq!(walked(&browser, "/licenses?text=PL0001&limit=50", 50).await, everything[10..20]);
    assert!(walked(&browser, "/licenses?state=issued", 100).await.is_empty());
    for bad in ["sort=colour", "cursor=x", "limit=1001", "limit=0", "state=odd", "colour=red"] {
        assert_eq!(browser.get(&format!("/licenses?{bad}")).await.status, 400, "{bad}");
    }

    let csv = browser.get("/licenses?format=csv").await;
    assert_eq!(
        (csv.status, csv.header("content-type"), csv.header("content-length")),
        (200, "text/csv; charset=utf-8", "")
    );
    assert!(csv.header("content-disposition").contains("licenses.csv"));
    let lines: Vec<&str> = csv.text.split("\r\n").collect();
    assert_eq!(lines.len(), CODES + 2, "a head, each code, and an end");
    assert!(lines[0].starts_with("code,state,expires_at,"), "{}", lines[0]);
    assert!(lines[1].starts_with("PL00000,released,,"), "{}", lines[1]);
    assert!(lines[1].ends_with(",\"a, \"\"b\"\"\""), "{}", lines[1]);
    let some = browser.get("/licenses?format=csv&text=PL0001").await;
    assert_eq!(some.text.lines().count(), 11);
}
