//! Who is let in, and what no other page and no stranger can do.

use super::super::market::Market;
use super::super::{ADMIN_TOKEN, Daemon, SOFTWARE_TOKEN};
use super::{Browser, form_token};
use reqwest::Method;
use serde_json::Value;

const PAGES: [&str; 8] = [
    "/",
    "/licenses",
    "/licenses/PL1",
    "/callbacks",
    "/callbacks/1",
    "/jobs",
    "/drift",
    "/settings",
];

async fn daemon() -> (Market, Daemon) {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    (market, daemon)
}

#[tokio::test]
async fn whoever_has_not_signed_in_sees_the_sign_in_page_and_nothing_else() {
    let (_market, daemon) = daemon().await;
    daemon.register("PL1", false).await;
    let browser = Browser::new(&daemon);
    for path in PAGES {
        let answer = browser.get(path).await;
        let wanted = format!("/sign-in?back={}", super::encoded(path));
        let wanted = if path == "/" { "/sign-in" } else { &wanted };
        assert_eq!((answer.status, answer.header("location")), (303, wanted));
        assert_eq!(answer.text, "");
    }
    for (path, fields) in [
        ("/licenses/PL1", [("act", "release"), ("reason", "x")]),
        ("/jobs", [("job", "heartbeat"), ("reason", "x")]),
        ("/drift", [("act", "repair"), ("codes", "PL1")]),
    ] {
        let answer = browser.post(path, &fields).await;
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.header("location").starts_with("/sign-in"), "{path}");
    }
    assert_eq!(daemon.state("PL1").await, "issued");

    let page = browser.page("/sign-in?back=%2Flicenses%2FPL1").await;
    assert!(page.contains("Admin token") && !page.contains("issued"), "{page}");
    for wrong in [SOFTWARE_TOKEN, "", &ADMIN_TOKEN[1..], &format!("{ADMIN_TOKEN}x")] {
        let answer = browser.post("/sign-in", &[("token", wrong)]).await;
        assert_eq!(answer.status, 403);
        assert!(answer.text.contains("That is not the token"));
        assert_eq!(answer.header("set-cookie"), "");
    }
    let fields = [("token", ADMIN_TOKEN), ("back", "/licenses/PL1")];
    let answer = browser.post("/sign-in", &fields).await;
    assert_eq!((answer.status, answer.header("location")), (303, "/licenses/PL1"));
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("authcoded-session="), "{cookie}");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/"), "{cookie}");
    assert!(browser.page("/licenses/PL1").await.contains("<h1>PL1</h1>"));

    // The cookie is no bearer token, and the bearer token no cookie.
    let api = browser.send(browser.request(Method::GET, "/v1/summary")).await;
    api.is_problem(401);
    let bearer = browser.client.get(format!("{}/licenses", browser.origin()));
    let bearer = browser.send(bearer.bearer_auth(ADMIN_TOKEN)).await;
    assert_eq!(bearer.status, 303);

    let left = browser.submit("/", &[("leave", "yes")]).await;
    assert_eq!(left.status, 405, "the front takes no forms");
    let token = form_token(&browser.page("/").await);
    let session = browser.cookies.lock().expect("not poisoned").clone();
    let left = browser.post("/sign-in", &[("leave", "yes"), ("form", &token)]).await;
    assert_eq!((left.status, left.header("location")), (303, "/sign-in"));
    *browser.cookies.lock().expect("not poisoned") = session;
    assert_eq!(browser.get("/").await.status, 303, "the session is over, not only its cookie");
}

#[tokio::test]
async fn many_tries_are_refused_even_with_the_right_token() {
    let (_market, daemon) = daemon().await;
    let browser = Browser::new(&daemon);
    for _ in 0..10 {
        assert_eq!(browser.post("/sign-in", &[("token", "a guess")]).await.status, 403);
    }
    // One comes back every six seconds; a slow machine may see some of them.
    let mut refused = None;
    for _ in 0..10 {
        let answer = browser.post("/sign-in", &[("token", "a guess")]).await;
        refused = (answer.status == 429).then_some(answer).or(refused);
    }
    let refused = refused.expect("one was refused");
    assert_eq!(refused.header("retry-after"), "60");
    assert!(refused.text.contains("Too many tries"));
    let right = browser.post("/sign-in", &[("token", ADMIN_TOKEN)]).await;
    assert_eq!(right.status, 429, "a guess that is right must not show now");
    assert_eq!(daemon.admin("GET", "/v1/summary", &Value::Null).await.status, 200);
}

#[tokio::test]
async fn a_form_without_its_sessions_token_changes_nothing() {
    let (_market, daemon) = daemon().await;
    daemon.register("PL1", false).await;
    let browser = Browser::signed_in(&daemon).await;
    let other = Browser::signed_in(&daemon).await;
    let of_other = form_token(&other.page("/licenses/PL1?act=release").await);
    for token in ["", "00", &"0".repeat(64), &of_other] {
        let fields = [("act", "release"), ("reason", "x"), ("form", token)];
        let answer = browser.post("/licenses/PL1", &fields).await;
        assert_eq!(answer.status, 403, "{token}");
        assert!(answer.text.contains("no longer valid"), "{}", answer.text);
        for (path, field) in [
            ("/jobs", ("job", "heartbeat")),
            ("/drift", ("act", "look")),
            ("/settings", ("lang", "en")),
        ] {
            assert_eq!(browser.post(path, &[field, ("form", token)]).await.status, 403, "{path}");
        }
    }
    assert_eq!(daemon.state("PL1").await, "issued");
    assert_eq!(daemon.kinds("PL1").await, ["registered"]);
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let (_market, daemon) = daemon().await;
    daemon.register("PL1", false).await;
    let browser = Browser::signed_in(&daemon).await;
    let token = form_token(&browser.page("/licenses/PL1").await);
    let body = format!("act=release&reason=x&form={token}");
    let post = async |origin: Option<&str>, site: Option<&str>, host: Option<&str>| {
        let cookies = browser.cookies.lock().expect("not poisoned").clone();
        let cookies: Vec<_> = cookies.iter().map(|(n, v)| format!("{n}={v}")).collect();
        let url = format!("{}/licenses/PL1", browser.origin());
        let mut request = browser.client.post(url).header("cookie", cookies.join("; "));
        for (name, value) in [("origin", origin), ("sec-fetch-site", site), ("host", host)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        browser.send(request.body(body.clone())).await
    };
    let ours = browser.origin();
    let ours = Some(ours.as_str());
    for origin in
        [None, Some("null"), Some("http://evil.example"), Some("http://127.0.0.1:1"), Some("")]
    {
        let answer = post(origin, None, None).await;
        assert_eq!(answer.status, 403, "{origin:?}");
        assert!(answer.text.contains("did not come from this page"), "{}", answer.text);
    }
    for site in ["cross-site", "same-site", "none"] {
        assert_eq!(post(ours, Some(site), None).await.status, 403, "{site}");
    }
    for host in ["evil.example", "evil.example:8651", "127.0.0.1.evil.example"] {
        let origin = format!("http://{host}");
        post(Some(&origin), Some("same-origin"), Some(host)).await.is_problem(403);
        let get = browser.request(Method::GET, "/licenses/PL1").header("host", host);
        let answer = browser.send(get).await;
        answer.is_problem(403);
        assert!(!answer.text.contains("PL1"), "a rebound name reads nothing");
    }
    assert_eq!(daemon.state("PL1").await, "issued");
    assert_eq!(post(ours, Some("same-origin"), None).await.status, 303);
    assert_eq!(daemon.state("PL1").await, "released");
}

#[tokio::test]
async fn every_answer_keeps_the_browser_from_doing_more_than_showing_it() {
    let (_market, daemon) = daemon().await;
    daemon.register("PL1", false).await;
    let browser = Browser::signed_in(&daemon).await;
    let others = ["/sign-in", "/style.css", "/script.js", "/licenses?format=csv", "/licenses/PL9"];
    for path in PAGES.into_iter().chain(others) {
        let answer = browser.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        for part in ["frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"] {
            assert!(policy.contains(part), "{policy}");
        }
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
            ("access-control-allow-origin", ""),
        ] {
            assert_eq!(answer.header(name), value, "{path}: {name}");
        }
        if answer.header("content-type").starts_with("text/html") {
            for forbidden in ["<style", " style=\"", " onclick=", "//cdn", "https://"] {
                assert!(!answer.text.contains(forbidden), "{path}: {forbidden}");
            }
            assert_eq!(
                answer.text.matches("<script").count(),
                usize::from(!answer.text.is_empty())
            );
        }
    }
    for method in [Method::PUT, Method::DELETE, Method::PATCH] {
        let answer = browser.send(browser.request(method, "/licenses/PL1")).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, POST"));
    }
}
