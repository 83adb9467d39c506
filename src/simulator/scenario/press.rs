//! The one way from a story to the marketplace: the console's own requests, without a network between.
//!
//! Invariant: nothing is asked that the console does not offer to everybody.

use super::player::Player;
use crate::simulator::console;
use crate::simulator::server::Arrived;
use bytes::Bytes;
use hyper::header::{HOST, HeaderValue};
use hyper::{HeaderMap, Method};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

impl Player<'_> {
    /// What the last act caused, oldest first: calls in the shape in which the console shows them.
    pub(super) async fn calls(&self) -> Result<Vec<Value>, String> {
        let list = self.press(Method::GET, "calls", &Value::Null).await?;
        let newest_first = list["items"].as_array().into_iter().flatten();
        let caused = newest_first.take_while(|call| number(&call["id"]) > self.calls_before);
        let mut calls: Vec<Value> = caused.cloned().collect();
        calls.reverse();
        Ok([self.sent.clone(), calls].concat())
    }

    /// Requests to the open API since the last act, newest first.
    pub(super) async fn requests(&self) -> Result<Vec<Value>, String> {
        self.requests_since(self.requests_before).await
    }

    /// The same since there were so many.
    pub(super) async fn requests_since(&self, before: u64) -> Result<Vec<Value>, String> {
        let seen = self.press(Method::GET, "requests", &Value::Null).await?;
        let new = usize::try_from(all_requests(&seen).saturating_sub(before)).unwrap_or(usize::MAX);
        Ok(seen["items"].as_array().into_iter().flatten().take(new).cloned().collect())
    }

    /// How many requests there have been.
    pub(super) async fn requests_so_far(&self) -> Result<u64, String> {
        self.press(Method::GET, "requests?limit=1", &Value::Null)
            .await
            .map(|seen| all_requests(&seen))
    }

    /// The code that a story calls `name`; the one bought last if it names none.
    pub(super) fn license(&self, name: Option<&str>) -> String {
        self.licenses.get(name.unwrap_or(&self.latest)).cloned().unwrap_or_default()
    }

    /// Where the console shows it.
    pub(super) fn code_path(&self, name: Option<&str>) -> String {
        format!("codes/{}", encoded(&self.license(name)))
    }

    /// A body of the story with its names of codes, as `<A>`, replaced.
    pub(super) fn named(&self, body: &toml::Value) -> Value {
        match body {
            toml::Value::String(text) => {
                let replace = |text: String, (name, license): (&String, &String)| {
                    text.replace(&format!("<{name}>"), license)
                };
                Value::String(self.licenses.iter().fold(text.clone(), replace))
            }
            toml::Value::Table(fields) => {
                fields.iter().map(|(key, value)| (key.clone(), self.named(value))).collect()
            }
            toml::Value::Array(items) => items.iter().map(|item| self.named(item)).collect(),
            toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_) => serde_json::to_value(body).unwrap_or_default(),
        }
    }

    /// Presses something on the console, or looks at it.
    pub(super) async fn press(
        &self,
        method: Method,
        target: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy();
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Arrived {
            method,
            path: format!("/console/{path}"),
            query: query
                .map(|(key, value)| (key.to_owned(), decoded(value).into_owned()))
                .collect(),
            headers: HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]),
            body,
        };
        let answer = console::handle(self.shared, &request).await;
        let shown: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status < 300 { Ok(shown) } else { Err(text(&shown["detail"])) }
    }
}

fn all_requests(seen: &Value) -> u64 {
    seen["counters"]
        .as_object()
        .into_iter()
        .flat_map(|counters| counters.values())
        .map(number)
        .sum()
}

/// A number the console shows.
pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// A text the console shows.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A code as a part of a path or a query.
pub(super) fn encoded(license: &str) -> String {
    utf8_percent_encode(license, NON_ALPHANUMERIC).to_string()
}
