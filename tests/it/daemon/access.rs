//! Who may ask the two local listeners, and how a request that is wrong is answered (product.md §6, §9).

use super::market::Market;
use super::wire::raw;
use super::{ADMIN_TOKEN, Daemon, SOFTWARE_TOKEN};
use serde_json::{Value, json};

async fn daemon() -> (Market, Daemon) {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    (market, daemon)
}

#[tokio::test]
async fn each_listener_wants_its_own_token_once() {
    let (_market, daemon) = daemon().await;
    let (admin, software) = (daemon.admin_addr(), daemon.software_addr());
    for (to, path, right, other) in [
        (admin, "/v1/summary", ADMIN_TOKEN, SOFTWARE_TOKEN),
        (admin, "/v1/no-such-path", ADMIN_TOKEN, SOFTWARE_TOKEN),
        (software, "/v1/entitlements/PL1", SOFTWARE_TOKEN, ADMIN_TOKEN),
        (software, "/v1/licenses", SOFTWARE_TOKEN, ADMIN_TOKEN),
    ] {
        let ask = async |values: &[String]| {
            let mut request = daemon.request("GET", to, path);
            for value in values {
                request = request.header("authorization", value);
            }
            daemon.plain(request).await
        };
        let bearer = |token: &str| format!("Bearer {token}");
        for values in [
            vec![],
            vec![bearer(other)],
            vec![bearer("")],
            vec![bearer(&right[1..])],
            vec![bearer(&format!("{right}x"))],
            vec![format!("Basic {right}")],
            vec![right.to_owned()],
            vec![bearer(right), bearer(right)],
            vec![bearer(right), bearer(other)],
        ] {
            let answer = ask(&values).await;
            answer.is_problem(401);
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
        assert_ne!(ask(&[bearer(right)]).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn health_and_metrics_need_no_token() {
    let (_market, daemon) = daemon().await;
    for to in [daemon.admin_addr(), daemon.software_addr()] {
        let get = async |path: &str| daemon.plain(daemon.request("GET", to, path)).await;
        assert_eq!(get("/healthz").await.status, 200);
        let ready = super::wait_until("a heartbeat", async || {
            let ready = get("/readyz").await;
            assert_eq!(ready.status, 200, "{}", ready.text);
            (!ready.body["last_heartbeat"].is_null()).then_some(ready)
        })
        .await;
        assert_eq!(ready.body["last_heartbeat"]["outcome"], "ok");
        let metrics = get("/metrics").await;
        assert_eq!(metrics.status, 200);
        assert!(metrics.text.lines().any(|line| line.starts_with("# TYPE ")), "{}", metrics.text);
        assert!(
            metrics.text.lines().any(|line| line.starts_with("authcoded_")),
            "{}",
            metrics.text
        );
        assert!(!metrics.text.contains("AUTHCODED-HEARTBEAT"), "no code is a label");
    }
}

#[tokio::test]
async fn the_operators_listener_answers_to_loopback_names_only() {
    let (_market, daemon) = daemon().await;
    let ask = async |host: &str| {
        let request = daemon.request("GET", daemon.admin_addr(), "/v1/summary");
        daemon.plain(request.header("host", host).bearer_auth(ADMIN_TOKEN)).await
    };
    for host in
        ["127.0.0.1", "127.0.0.1:8651", "localhost", "LocalHost:1", "[::1]:8651", "127.1.2.3"]
    {
        assert_eq!(ask(host).await.status, 200, "{host}");
    }
    for host in [
        "example.com",
        "localhost.example.com",
        "127.0.0.1.example.com",
        "10.0.0.1",
        "0.0.0.0",
        "[::2]",
        "localhost:x",
    ] {
        ask(host).await.is_problem(403);
    }
    let authorization = format!("authorization: Bearer {ADMIN_TOKEN}\r\nconnection: close\r\n");
    for hosts in ["", "host: localhost\r\nhost: example.com\r\n"] {
        let request = format!("GET /v1/summary HTTP/1.1\r\n{hosts}{authorization}\r\n");
        let answer = raw(daemon.admin_addr(), request.as_bytes()).await;
        let refused = answer.starts_with("HTTP/1.1 403") || answer.starts_with("HTTP/1.1 400");
        assert!(refused, "{answer}");
        assert!(!answer.contains("stopped_until"));
    }
    let answer = daemon.admin("GET", "/v1/summary", &Value::Null).await;
    assert_eq!(answer.header("access-control-allow-origin"), "", "no CORS");
}

#[tokio::test]
async fn a_path_that_is_not_there_is_404_and_a_wrong_method_405() {
    let (_market, daemon) = daemon().await;
    daemon.register("PL1", false).await;
    for path in [
        "/v1",
        "/v1/",
        "/v2/licenses",
        "/v1/license",
        "/v1/licenses/PL1/thaw",
        "/v1/summary/x",
        "/v1/licenses/",
    ] {
        for method in ["GET", "POST"] {
            let answer = daemon.admin(method, path, &Value::Null).await;
            let problem = if path == "/v1/licenses/" {
                [400, 404, 405].contains(&answer.status)
            } else {
                answer.status == 404
            };
            assert!(problem, "{method} {path}: {}", answer.status);
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
    }
    for (method, path, allow) in [
        ("DELETE", "/v1/licenses", "GET, POST"),
        ("PUT", "/v1/licenses/PL1", "GET"),
        ("POST", "/v1/licenses/PL1", "GET"),
        ("POST", "/v1/licenses/PL1/events", "GET"),
        ("GET", "/v1/licenses/PL1/activate", "POST"),
        ("GET", "/v1/licenses/PL1/query", "POST"),
        ("GET", "/v1/licenses/PL1/received", "POST"),
        ("GET", "/v1/licenses/PL1/release", "POST"),
        ("DELETE", "/v1/callbacks", "GET"),
        ("POST", "/v1/callbacks/1", "GET"),
        ("POST", "/v1/events", "GET"),
        ("PATCH", "/v1/probes", "GET, POST"),
        ("POST", "/v1/jobs", "GET"),
        ("GET", "/v1/jobs/reconcile/run", "POST"),
        ("POST", "/v1/summary", "GET"),
        ("POST", "/healthz", "GET"),
    ] {
        let answer = daemon.admin(method, path, &Value::Null).await;
        answer.is_problem(405);
        assert_eq!(answer.header("allow"), allow, "{method} {path}");
    }
    for (method, path) in [("POST", "/v1/entitlements/PL1"), ("GET", "/v1/licenses")] {
        daemon.software(method, path, &Value::Null).await.is_problem(405);
    }
    for path in ["/", "/v1/summary", "/v1/licenses/PL1", "/v1/events"] {
        daemon.software("GET", path, &Value::Null).await.is_problem(404);
    }
    for path in
        ["/v1/licenses/PL9", "/v1/licenses/PL9/events", "/v1/callbacks/999999", "/v1/callbacks/x"]
    {
        daemon.admin("GET", path, &Value::Null).await.is_problem(404);
    }
    for path in ["activate", "query", "received", "release"] {
        let path = format!("/v1/licenses/PL9/{path}");
        daemon.admin("POST", &path, &Value::Null).await.is_problem(404);
    }
    daemon.admin("POST", "/v1/jobs/no-such-job/run", &Value::Null).await.is_problem(404);
}

#[tokio::test]
async fn a_body_that_is_wrong_is_refused_whole() {
    let (_market, daemon) = daemon().await;
    let long = "x".repeat(65);
    for body in [
        json!({}),
        json!({"code": ""}),
        json!({"code": long}),
        json!({"code": "a\u{7}b"}),
        json!({"code": 7}),
        json!({"code": "PL1", "colour": "red"}),
        json!({"code": "PL1", "received": "yes"}),
        json!({"code": "PL1", "order_id": long}),
        json!({"code": "PL1", "note": "x".repeat(1_001)}),
        json!(["PL1"]),
        json!("PL1"),
    ] {
        daemon.admin("POST", "/v1/licenses", &body).await.is_problem(400);
        daemon.software("POST", "/v1/licenses", &body).await.is_problem(400);
    }
    let post = async |content_type: &str, body: String| {
        let request = daemon.request("POST", daemon.admin_addr(), "/v1/licenses").body(body);
        daemon.plain(request.bearer_auth(ADMIN_TOKEN).header("content-type", content_type)).await
    };
    post("text/plain", r#"{"code":"PL1"}"#.to_owned()).await.is_problem(415);
    post("application/json", r#"{"code":"PL1""#.to_owned()).await.is_problem(400);
    post("application/json", r#"{"code":"PL1","code":"PL2"}"#.to_owned()).await.is_problem(400);
    // Refused by its announced length: the body is not waited for, and the answer says that this
    // connection carries nothing more, so that a client does not lose its next request on it.
    let head = format!(
        "POST /v1/licenses HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\
         content-type: application/json\r\ncontent-length: 65537\r\n\r\n"
    );
    let answer = raw(daemon.admin_addr(), head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    daemon.register("PL1", false).await;
    for act in ["received", "release"] {
        let path = format!("/v1/licenses/PL1/{act}");
        daemon.admin("POST", &path, &json!({"why": "x"})).await.is_problem(400);
        daemon.admin("POST", &path, &json!({"reason": "x".repeat(1_001)})).await.is_problem(400);
    }
    daemon.admin("POST", "/v1/licenses/PL1/query", &json!({"now": true})).await.is_problem(400);
    assert_eq!(daemon.state("PL1").await, "issued");
    assert_eq!(daemon.items("/v1/licenses").await.len(), 1);
}
