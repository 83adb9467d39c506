//! What the tests send to the daemon's three listeners, and how they read its answers.

use super::{ADMIN_TOKEN, Answer, Daemon, PATH, SOFTWARE_TOKEN, Signed, now, signed, wait_until};
use authcoded::domain::time::{DAY_MS, DateText};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A `yyyyMMddHHmmss` so many milliseconds from now, read as UTC.
pub(crate) fn date_in(ms: i64) -> String {
    DateText::from_utc(now().plus_ms(ms)).as_str().to_owned()
}

pub(crate) fn date_in_days(days: i64) -> String {
    date_in(days * DAY_MS)
}

pub(crate) fn refresh(scene: &str, code: &str, order: &str, expires: &str) -> Value {
    json!({"activity": "refreshLicenseCode", "expireTime": expires, "license": code,
           "orderId": order, "orderLineId": format!("{order}-000001"), "scene": scene, "testFlag": "0"})
}

pub(crate) fn renewal(code: &str, order: &str, expires: &str) -> Value {
    refresh("RENEWAL", code, order, expires)
}

pub(crate) fn unrenewal(code: &str, order: &str, expires: &str) -> Value {
    refresh("UNSUBSCRIBE_RENEWAL_PERIOD", code, order, expires)
}

pub(crate) fn status(code: &str, status: &str) -> Value {
    json!({"activity": "updateLicenseCodeStatus", "license": code, "status": status, "testFlag": "0"})
}

pub(crate) fn freeze(code: &str) -> Value {
    status(code, "FREEZE")
}

pub(crate) fn unfreeze(code: &str) -> Value {
    status(code, "UNFREEZE")
}

pub(crate) fn release(code: &str, order: Option<&str>) -> Value {
    let mut body = json!({"activity": "releaseLicenseCode", "license": code, "testFlag": "0"});
    if let Some(order) = order {
        body["orderId"] = json!(order);
        body["orderLineId"] = json!(format!("{order}-000001"));
    }
    body
}

/// The same body with one field changed; Null removes it.
pub(crate) fn but(body: &Value, field: &str, value: Value) -> Value {
    let mut body = body.clone();
    let fields = body.as_object_mut().expect("an object");
    if value.is_null() {
        fields.remove(field);
    } else {
        fields.insert(field.to_owned(), value);
    }
    body
}

pub(crate) async fn answer(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or_default();
    Answer { status, headers, text, body }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The names of the body's fields, sorted.
    pub(crate) fn is_problem(&self, status: u16) {
        assert_eq!(
            (self.status, self.header("content-type")),
            (status, "application/problem+json")
        );
        assert_eq!(self.body["status"], json!(status), "{}", self.text);
        for field in ["type", "title", "detail"] {
            assert!(self.body[field].as_str().is_some_and(|t| !t.is_empty()), "{}", self.text);
        }
    }
}

impl Daemon {
    /// A request without a token, to be dressed by the test.
    pub(crate) fn request(&self, method: &str, to: SocketAddr, path: &str) -> RequestBuilder {
        let method: Method = method.parse().expect("a method");
        self.http.request(method, format!("http://{to}{path}"))
    }

    /// Null is no body.
    async fn ask(
        &self,
        to: SocketAddr,
        token: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Answer {
        let request = self.request(method, to, path).bearer_auth(token);
        answer(if body.is_null() {
            request
        } else {
            request.header("content-type", "application/json").body(body.to_string())
        })
        .await
    }

    pub(crate) async fn plain(&self, request: RequestBuilder) -> Answer {
        answer(request).await
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask(self.admin_addr(), ADMIN_TOKEN, method, path, body).await
    }

    pub(crate) async fn software(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask(self.software_addr(), SOFTWARE_TOKEN, method, path, body).await
    }

    /// What operators see at `path`.
    pub(crate) async fn see(&self, path: &str) -> Value {
        let answer = self.admin("GET", path, &Value::Null).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "application/json"),
            "{path}"
        );
        answer.body
    }

    /// An operator's order that succeeds.
    pub(crate) async fn order(&self, path: &str, body: Value) -> Value {
        let answer = self.admin("POST", path, &body).await;
        assert!((200..300).contains(&answer.status), "{path}: {} {}", answer.status, answer.text);
        answer.body
    }

    /// Sends a callback and returns whatever comes back.
    pub(crate) async fn send(&self, call: &Signed) -> Answer {
        let path = format!("{PATH}?{}", call.query);
        let mut request = self.request("POST", self.callback_addr(), &path).body(call.body.clone());
        for (name, value) in &call.headers {
            request = request.header(*name, *value);
        }
        answer(request).await
    }

    /// Sends a callback; the answer must be one the marketplace can read (protocol.md 4.1).
    pub(crate) async fn reply(&self, call: &Signed) -> String {
        result_code(&self.send(call).await)
    }

    /// Signs a body, sends it, and returns the result code.
    pub(crate) async fn callback(&self, body: &Value) -> String {
        self.reply(&signed(body)).await
    }

    pub(crate) async fn license(&self, code: &str) -> Value {
        self.see(&format!("/v1/licenses/{code}")).await
    }

    pub(crate) async fn state(&self, code: &str) -> String {
        self.license(code).await["state"].as_str().expect("a state").to_owned()
    }

    /// The events of a code, oldest first.
    pub(crate) async fn events(&self, code: &str) -> Vec<Value> {
        let mut events = self.items(&format!("/v1/events?code={code}&limit=1000")).await;
        events.reverse();
        events
    }

    /// Their kinds.
    pub(crate) async fn kinds(&self, code: &str) -> Vec<String> {
        let events = self.events(code).await;
        events.iter().map(|event| event["kind"].as_str().expect("a kind").to_owned()).collect()
    }

    pub(crate) async fn items(&self, path: &str) -> Vec<Value> {
        self.see(path).await["items"].as_array().expect("items").clone()
    }

    /// The newest recorded callback of a code.
    pub(crate) async fn last_callback(&self, code: &str) -> Value {
        let items = self.items(&format!("/v1/callbacks?code={code}&limit=1")).await;
        items.into_iter().next().expect("a callback")
    }

    pub(crate) async fn verdict(&self, code: &str) -> String {
        self.last_callback(code).await["verdict"].as_str().expect("a verdict").to_owned()
    }

    /// Registers a code as an operator does, without activating it.
    pub(crate) async fn register(&self, code: &str, received: bool) -> Value {
        let body = json!({"code": code, "received": received, "activate": false});
        self.order("/v1/licenses", body).await
    }

    /// Registers a code and has it activated by the marketplace.
    pub(crate) async fn activated(&self, code: &str) {
        self.order("/v1/licenses", json!({"code": code})).await;
        self.until_state(code, "activated").await;
        // The activation's expiry is an estimate: the question that follows it is waited for.
        wait_until("the activation is asked after", async || {
            let seen = !self.license(code).await["marketplace_checked_at"].is_null();
            seen.then_some(())
        })
        .await;
    }

    pub(crate) async fn until_state(&self, code: &str, state: &str) -> Value {
        wait_until(&format!("{code} is {state}"), async || {
            let answer = self.admin("GET", &format!("/v1/licenses/{code}"), &Value::Null).await;
            (answer.body["state"] == state).then_some(answer.body)
        })
        .await
    }

    pub(crate) async fn until_kind(&self, code: &str, kind: &str) -> Value {
        wait_until(&format!("{code} has an event {kind}"), async || {
            self.events(code).await.into_iter().find(|event| event["kind"] == kind)
        })
        .await
    }

    pub(crate) async fn entitlement(&self, code: &str) -> Value {
        let path = format!("/v1/entitlements/{code}");
        let answer = self.software("GET", &path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.body
    }

    /// The reason of an entitlement.
    pub(crate) async fn reason(&self, code: &str) -> String {
        self.entitlement(code).await["reason"].as_str().expect("a reason").to_owned()
    }
}

/// The result code of a reply that the marketplace can read.
pub(crate) fn result_code(answer: &Answer) -> String {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json"),
        "{answer:?}"
    );
    let fields = answer.body.as_object().expect("an object");
    assert_eq!(fields.len(), 2, "{}", answer.text);
    let message = fields["resultMsg"].as_str().expect("resultMsg is a text");
    assert!(!message.is_empty() && message.chars().count() <= 255, "{message}");
    let code = fields["resultCode"].as_str().expect("resultCode is a text");
    assert_eq!(code.len(), 6);
    code.to_owned()
}

/// Sends bytes as they are and reads until the daemon closes the connection.
pub(crate) async fn raw(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.expect("a connection");
    stream.write_all(bytes).await.expect("sent");
    read_all(&mut stream).await
}

/// Reads until the daemon closes; a reset is a close, too.
pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let reading = tokio::time::timeout(super::PATIENCE, stream.read_to_end(&mut read)).await;
    let _ = reading.expect("the daemon closes the connection");
    String::from_utf8_lossy(&read).into_owned()
}
