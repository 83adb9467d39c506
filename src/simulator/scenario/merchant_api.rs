//! The merchant's own side, where it is an authcoded: its admin interface, over HTTP like anybody's.
//!
//! Invariant: the token leaves in a header and is never printed.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::time::Duration;

/// How long an answer may take; an order may have to ask the marketplace twice.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the merchant's admin interface is, and what opens it.
#[derive(Debug)]
pub struct MerchantApi {
    /// Its address, such as `http://127.0.0.1:8651`.
    pub url: String,
    /// Its bearer token.
    pub token: SecretString,
}

impl MerchantApi {
    /// Registers a code that the buyer has handed over, which starts its activation.
    pub(super) async fn register(&self, http: &Client, license: &str) -> Result<(), String> {
        let body = json!({"code": license});
        known(self.ask(http, Method::POST, "/v1/licenses", Some(body)).await)
    }

    /// Orders `activate` or `query`.
    pub(super) async fn order(
        &self,
        http: &Client,
        license: &str,
        what: &str,
    ) -> Result<(), String> {
        let path = format!("{}/{what}", path(license));
        known(self.ask(http, Method::POST, &path, None).await)
    }

    /// What it knows about a code; none if it does not know it.
    pub(super) async fn license(
        &self,
        http: &Client,
        license: &str,
    ) -> Result<Option<Value>, String> {
        self.ask(http, Method::GET, &path(license), None).await
    }

    async fn ask(
        &self,
        http: &Client,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Option<Value>, String> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let mut request = http.request(method, url).bearer_auth(self.token.expose_secret());
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answered = async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.bytes().await?))
        };
        let answered = tokio::time::timeout(PATIENCE, answered).await;
        let (status, body) = answered
            .map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))
            .and_then(|answer| answer.map_err(|error| error.without_url().to_string()))
            .map_err(|why| format!("the merchant's admin interface cannot be asked: {why}"))?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(body)),
            status => {
                let detail = body["detail"].as_str().unwrap_or_default();
                Err(format!("the merchant's admin interface answered {status} {detail}"))
            }
        }
    }
}

fn known(answer: Result<Option<Value>, String>) -> Result<(), String> {
    answer?.map(drop).ok_or_else(|| "the merchant does not know the code".to_owned())
}

fn path(license: &str) -> String {
    format!("/v1/licenses/{}", utf8_percent_encode(license, NON_ALPHANUMERIC))
}
