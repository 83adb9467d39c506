//! Plays the acts of a story: each one is a request to the console, or a wait.
//!
//! Invariant: what an act caused is found by the marks set before it, so nothing that came earlier is
//! taken for its effect.

use super::expectation;
use super::file::FIRST_CODE;
use super::length::Length;
use super::merchant_api::MerchantApi;
use super::press::{encoded, number, text};
use super::report::End;
use super::step::{Buyer, Marketplace, Merchant, Signature, What};
use crate::simulator::state::Shared;
use hyper::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a story has come to.
pub(super) struct Player<'a> {
    pub(super) shared: &'a Shared,
    pub(super) merchant: Option<&'a MerchantApi>,
    /// The codes bought, by the story's names.
    pub(super) licenses: BTreeMap<String, String>,
    /// The name of the code that was bought last.
    pub(super) latest: String,
    /// Calls with a higher number were caused by the last act that tells the merchant something.
    pub(super) calls_before: u64,
    /// What that act sent outside the list of calls, in the same shape.
    pub(super) sent: Vec<Value>,
    /// So many open-API requests had come before the last act.
    pub(super) requests_before: u64,
}

impl<'a> Player<'a> {
    pub(super) fn new(shared: &'a Shared, merchant: Option<&'a MerchantApi>) -> Self {
        Self {
            shared,
            merchant,
            licenses: BTreeMap::new(),
            latest: FIRST_CODE.to_owned(),
            calls_before: 0,
            sent: Vec::new(),
            requests_before: 0,
        }
    }

    /// Plays one step.
    pub(super) async fn play(&mut self, what: &What) -> End {
        let done = match what {
            What::Expect(expect) => return expectation::check(self, expect).await,
            What::Wait(length) => {
                self.wait(*length).await;
                return End::Ok(None);
            }
            What::Buyer(act) => self.buyer(act).await,
            What::Marketplace(act) => self.marketplace(act).await,
            What::Merchant(act) => self.merchant(act).await,
        };
        done.unwrap_or_else(End::Refused)
    }

    async fn wait(&self, length: Length) {
        tokio::time::sleep(self.shared.pace.limit(length.0, Duration::ZERO)).await;
    }

    async fn buyer(&mut self, act: &Buyer) -> Result<End, String> {
        self.mark_requests().await?;
        match act {
            Buyer::Purchase { code, validity, product, amount, received, notify } => {
                let purchase = json!({
                    "validity_seconds": validity.map(|length| length.0.as_secs()),
                    "product_id": product, "amount": amount,
                    "received": received, "order_notify": notify,
                });
                self.mark_calls().await?;
                let bought = self.press(Method::POST, "codes", &purchase).await?;
                let license = text(&bought["license"]);
                code.as_deref().unwrap_or(FIRST_CODE).clone_into(&mut self.latest);
                self.licenses.insert(self.latest.clone(), license.clone());
                Ok(End::Ok(Some(license)))
            }
            Buyer::HandOver { code } => {
                let license = self.license(code.as_deref());
                let Some(merchant) = self.merchant else {
                    return Ok(End::Skipped(format!("give {license} to your software now")));
                };
                merchant.register(&self.shared.client, &license).await?;
                Ok(End::Ok(None))
            }
            Buyer::Receive { code } => self.act(code.as_deref(), "receive", json!({})).await,
            Buyer::Renew { code, by, end, product, silent, reversed } => {
                let seconds = by.map(|length| length.0.as_secs());
                let body = json!({
                    "seconds": seconds, "expire_time": end, "product_id": product,
                    "silent": silent, "reversed": reversed,
                });
                self.act(code.as_deref(), "renew", body).await
            }
            Buyer::Unrenew { code, end, silent } => {
                let body = json!({"expire_time": end, "silent": silent});
                self.act(code.as_deref(), "unrenew", body).await
            }
            Buyer::Refund { code, silent } => {
                self.act(code.as_deref(), "refund", json!({"silent": silent})).await
            }
        }
    }

    async fn marketplace(&mut self, act: &Marketplace) -> Result<End, String> {
        self.mark_requests().await?;
        match act {
            Marketplace::Expire { code } => self.act(code.as_deref(), "expire", json!({})).await,
            Marketplace::Freeze { code, silent } => {
                self.act(code.as_deref(), "freeze", json!({"silent": silent})).await
            }
            Marketplace::Unfreeze { code, silent } => {
                self.act(code.as_deref(), "unfreeze", json!({"silent": silent})).await
            }
            Marketplace::Release { code, silent } => {
                self.act(code.as_deref(), "release", json!({"silent": silent})).await
            }
            Marketplace::Send { body, test, signature, signed_ago, signed_ahead, nonce } => {
                let seconds = |length: &Option<Length>| {
                    length.map_or(0, |length| i64::try_from(length.0.as_secs()).unwrap_or(0))
                };
                let signed_with = |wanted| *signature == Some(wanted);
                let order = json!({
                    "body": self.named(body), "test": test, "nonce": nonce,
                    "bad_signature": signed_with(Signature::Damaged),
                    "wrong_key": signed_with(Signature::WrongKey),
                    "old_key": signed_with(Signature::OldKey),
                    "skew_s": seconds(signed_ahead) - seconds(signed_ago),
                });
                self.send(&order).await
            }
            Marketplace::Repeat => {
                let calls = self.calls().await?;
                let last = calls.last().filter(|call| call["body"].is_string());
                let last = last.ok_or("the last act has sent nothing that could be repeated")?;
                let order = json!({"body": last["body"]});
                self.send(&order).await
            }
            Marketplace::DialTest => {
                self.mark_calls().await?;
                let test = self.press(Method::POST, "dial-test", &Value::Null).await?;
                let case = |case: &Value| json!({"activity": case["name"], "attempts": [case]});
                self.sent = test["cases"].as_array().into_iter().flatten().map(case).collect();
                Ok(End::Ok(None))
            }
            Marketplace::Fault { on, fault, code, times, probability } => {
                let license = code.as_deref().map(|name| self.license(Some(name)));
                let rule = json!({
                    "on": on.as_str(), "fault": fault, "code": license, "times": times,
                    "probability": probability,
                });
                self.press(Method::POST, "faults", &json!({"rules": [rule]})).await?;
                Ok(End::Ok(None))
            }
            Marketplace::ClearFaults => self.switch(Method::DELETE, "faults").await,
            Marketplace::LockKey => self.switch(Method::PUT, "lock").await,
            Marketplace::UnlockKey => self.switch(Method::DELETE, "lock").await,
        }
    }

    async fn merchant(&mut self, act: &Merchant) -> Result<End, String> {
        self.mark_requests().await?;
        let (license, order) = match act {
            Merchant::RestartFailedCalls { code } => return self.restart(code.as_deref()).await,
            Merchant::Query { code } => (self.license(code.as_deref()), "query"),
            Merchant::Activate { code } => (self.license(code.as_deref()), "activate"),
        };
        let Some(merchant) = self.merchant else {
            return Ok(End::Skipped(format!("have your software {order} {license} now")));
        };
        merchant.order(&self.shared.client, &license, order).await?;
        Ok(End::Ok(None))
    }

    /// An act on a code, which may cause calls.
    async fn act(&mut self, name: Option<&str>, act: &str, body: Value) -> Result<End, String> {
        self.mark_calls().await?;
        let path = self.code_path(name);
        self.press(Method::POST, &format!("{path}/{act}"), &body).await?;
        Ok(End::Ok(None))
    }

    async fn send(&mut self, order: &Value) -> Result<End, String> {
        self.mark_calls().await?;
        let attempt = self.press(Method::POST, "send", order).await?;
        let body = &attempt["body"];
        self.sent = vec![json!({"activity": "the call", "body": body, "attempts": [attempt]})];
        Ok(End::Ok(None))
    }

    async fn switch(&self, method: Method, path: &str) -> Result<End, String> {
        self.press(method, path, &Value::Null).await?;
        Ok(End::Ok(None))
    }

    async fn restart(&self, name: Option<&str>) -> Result<End, String> {
        let failed = format!("failed?license={}", encoded(&self.license(name)));
        let failed = self.press(Method::GET, &failed, &Value::Null).await?;
        let calls = failed["items"].as_array().filter(|items| !items.is_empty());
        for call in calls.ok_or("there is no failed call about the code")? {
            let path = format!("failed/{}/restart", call["id"]);
            self.press(Method::POST, &path, &Value::Null).await?;
        }
        Ok(End::Ok(None))
    }

    async fn mark_requests(&mut self) -> Result<(), String> {
        self.requests_before = self.requests_so_far().await?;
        Ok(())
    }

    async fn mark_calls(&mut self) -> Result<(), String> {
        let newest = self.press(Method::GET, "calls?limit=1", &Value::Null).await?;
        self.calls_before = number(&newest["items"][0]["id"]);
        self.sent.clear();
        Ok(())
    }
}
