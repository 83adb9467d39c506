//! The simulated marketplace, driven over HTTP only, as a merchant's server would meet it.

mod calls;
mod client;
mod faults;
mod merchant;
mod open_api;

use authcoded::clock::Clock;
use authcoded::domain::time::Timestamp;
use authcoded::protocol::aksk::{self, Credentials, authorization, sdk_date};
use authcoded::simulator::{Settings, Simulator};
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

const ACCESS_KEY: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";
const AK: &str = "AKEXAMPLE0000000TEST";
const SK: &str = "skExampleSecretForTestVectorsOnly0000000";
/// Nothing in these tests takes this long unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings() -> Settings {
    Settings::new(ACCESS_KEY.into(), AK.to_owned(), SK.into())
}

/// A running simulator with a client that holds the merchant's keys.
struct Market {
    simulator: Simulator,
    client: reqwest::Client,
    credentials: Credentials,
}

struct Answered {
    status: u16,
    date: Option<String>,
    content_type: Option<String>,
    body: Value,
}

impl Answered {
    fn code(&self) -> &str {
        self.body["error_code"].as_str().or(self.body["resultCode"].as_str()).unwrap_or_default()
    }
}

impl Market {
    async fn start(settings: Settings) -> Self {
        Self::start_at(settings, Clock::system()).await
    }

    async fn start_at(settings: Settings, clock: Clock) -> Self {
        let simulator = Simulator::start(settings, clock).await.expect("it starts");
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([])
            .timeout(PATIENCE)
            .build()
            .expect("a client");
        Self { simulator, client, credentials: Credentials::new(AK.to_owned(), SK.into()) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.simulator.address())
    }

    /// An open-API request, signed with `credentials` at `now`.
    fn signed(
        &self,
        credentials: &Credentials,
        now: Timestamp,
        method: &Method,
        target: &str,
        body: &str,
    ) -> reqwest::RequestBuilder {
        let host = self.simulator.address().to_string();
        let date = sdk_date(now);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<_> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let headers =
            [("host", host.as_str()), ("x-sdk-date", &date), ("content-type", "application/json")];
        let request = aksk::Request {
            method: method.as_str(),
            path,
            query: &query,
            headers: &headers,
            body: body.as_bytes(),
        };
        let authorization = authorization(credentials, &request);
        let mut built = self.client.request(method.clone(), self.url(target));
        for (name, value) in headers {
            built = built.header(name, value);
        }
        built.header("authorization", authorization).body(body.to_owned())
    }

    async fn ask(&self, method: Method, target: &str, body: &str) -> Answered {
        let now = Clock::system().now();
        answered(self.signed(&self.credentials, now, &method, target, body)).await
    }

    async fn post(&self, target: &str, body: &Value) -> Answered {
        self.ask(Method::POST, target, &body.to_string()).await
    }

    async fn console(&self, method: Method, path: &str, body: &Value) -> Answered {
        let url = self.url(&format!("/console/{path}"));
        answered(self.client.request(method, url).body(body.to_string())).await
    }

    async fn act(&self, path: &str, body: Value) -> Value {
        let answered = self.console(Method::POST, path, &body).await;
        assert!(answered.status < 300, "{path}: {}", answered.body);
        answered.body
    }

    async fn see(&self, path: &str) -> Value {
        self.console(Method::GET, path, &Value::Null).await.body
    }

    /// Looks at a page of the console until it is as wished.
    async fn until(&self, path: &str, wished: impl Fn(&Value) -> bool) -> Value {
        let seen = async {
            loop {
                let body = self.see(path).await;
                if wished(&body) {
                    return body;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        seen.unwrap_or_else(|elapsed| panic!("{path} did not become as wished: {elapsed}"))
    }

    /// The name of a fresh code.
    async fn bought(&self, purchase: Value) -> String {
        let code = self.act("codes", purchase).await;
        code["license"].as_str().expect("a code").to_owned()
    }
}

async fn answered(request: reqwest::RequestBuilder) -> Answered {
    let response = request.send().await.expect("an answer");
    let header =
        |name| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    let (date, content_type) = (header("date"), header("content-type"));
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answered { status, date, content_type, body }
}
