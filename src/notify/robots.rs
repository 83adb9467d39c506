//! Group robots of WeCom (企业微信), DingTalk (钉钉) and Feishu (飞书), each in its documented format.
//!
//! * WeCom (developer.work.weixin.qq.com, 群机器人配置说明): `{"msgtype":"text","text":{"content":…}}` of at
//!   most 2048 bytes; taken when `errcode` is 0.
//! * DingTalk (open.dingtalk.com, 自定义机器人): the same body; with 加签, `timestamp` (milliseconds) and `sign`
//!   in the query, the base64 of HMAC-SHA256 over `timestamp\nsecret` with the secret as the key; taken when
//!   `errcode` is 0.
//! * Feishu (open.feishu.cn, 自定义机器人使用指南): `{"msg_type":"text","content":{"text":…}}`; with 签名校验,
//!   `timestamp` (seconds) and `sign` in the body, the base64 of HMAC-SHA256 over nothing with
//!   `timestamp\nsecret` as the key; taken when `code` is 0 (`StatusCode` of older answers).
//!
//! Invariant: plain text only, and no mark-up in it: nothing that came from outside can mention a member or
//! become a link with another name.

use super::wire::{Answer, Post};
use crate::domain::time::{SECOND_MS, Timestamp};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

/// The longest text, in bytes: WeCom's limit, the least of the three.
const TEXT_MAX: usize = 2_048;

/// Whose robot it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RobotKind {
    Wecom,
    Dingtalk,
    Feishu,
}

impl RobotKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Wecom => "wecom",
            Self::Dingtalk => "dingtalk",
            Self::Feishu => "feishu",
        }
    }
}

/// A robot.
pub(super) struct Robot {
    pub(super) kind: RobotKind,
    post: Post,
    secret: Option<SecretString>,
}

impl Robot {
    pub(super) fn new(
        kind: RobotKind,
        url: &SecretString,
        secret: Option<SecretString>,
        extra_ca: Option<&[u8]>,
    ) -> Result<Self, String> {
        Ok(Self { kind, post: Post::new(url, extra_ca)?, secret })
    }

    pub(super) async fn send(&self, text: &str, now: Timestamp) -> Result<(), String> {
        let text = plain(text);
        let answer = match self.kind {
            RobotKind::Wecom | RobotKind::Dingtalk => {
                let body = json!({ "msgtype": "text", "text": { "content": text } }).to_string();
                let at = now.as_ms().to_string();
                let sign = self.secret.as_ref().map(|secret| of_dingtalk(&at, secret));
                let query = sign.as_ref().map(|sign| [("timestamp", at.as_str()), ("sign", sign)]);
                let query = query.as_ref().map_or(&[][..], |query| &query[..]);
                self.post.json(query, &[], body).await?
            }
            RobotKind::Feishu => {
                let mut body = json!({ "msg_type": "text", "content": { "text": text } });
                if let Some(secret) = &self.secret {
                    let at = now.as_ms().div_euclid(SECOND_MS).to_string();
                    body["sign"] = of_feishu(&at, secret).into();
                    body["timestamp"] = at.into();
                }
                self.post.json(&[], &[], body.to_string()).await?
            }
        };
        self.judge(&answer)
    }

    /// A refusal comes with HTTP 200: what counts is the number in the body.
    fn judge(&self, answer: &Answer) -> Result<(), String> {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let (codes, words) = match self.kind {
            RobotKind::Wecom | RobotKind::Dingtalk => ([&body["errcode"], &Value::Null], "errmsg"),
            RobotKind::Feishu => ([&body["code"], &body["StatusCode"]], "msg"),
        };
        let code = codes.into_iter().find_map(Value::as_i64);
        match (answer.status, code) {
            (200, Some(0)) => Ok(()),
            (_, Some(code)) => {
                let words = self.post.quotable(body[words].as_str().unwrap_or_default());
                Err(format!("it answered {code}: {words}"))
            }
            (status, None) => Err(format!("it answered HTTP {status} without a result")),
        }
    }
}

fn of_dingtalk(at: &str, secret: &SecretString) -> String {
    let secret = secret.expose_secret();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, format!("{at}\n{secret}").as_bytes()))
}

fn of_feishu(at: &str, secret: &SecretString) -> String {
    let key = format!("{at}\n{}", secret.expose_secret());
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    BASE64_STANDARD.encode(hmac::sign(&key, b""))
}

/// The text as it may be shown: `<@userid>` and `<at …>` would call people, and the robot's limit holds.
fn plain(text: &str) -> String {
    let text = text.replace('<', "＜").replace('>', "＞");
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_call_nobody_and_fit() {
        assert_eq!(plain("a <@all> b"), "a ＜@all＞ b");
        assert_eq!(plain(&"码".repeat(1_000)).len(), 2_046);
    }

    /// Computed with another program, from the documents' rules.
    #[test]
    fn signatures_are_those_of_the_documents() {
        let secret = SecretString::from("SECexample0123456789");
        assert_eq!(
            of_dingtalk("1795249800000", &secret),
            "bO/s4/RETyfmd+RMQDpEZ6sRG23uPAG6hAKF09VftmM="
        );
        assert_eq!(
            of_feishu("1795249800", &secret),
            "c8FWg1KMftYKMLR29lXqC0XO4169AcfyeozFUcZTAcE="
        );
    }
}
