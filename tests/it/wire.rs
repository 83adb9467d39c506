//! HTTP/1.1 by hand, one connection for each call: an answer counts only when it has come whole.

use authcoded::domain::time::Timestamp;
use authcoded::protocol::callback_auth::{AccessKey, signed_query};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::io::{self, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub(crate) const ACCESS_KEY: &str = "key-of-the-tests";
pub(crate) const ADMIN_TOKEN: &str = "an-admin-token-of-the-tests";
pub(crate) const SOFTWARE_TOKEN: &str = "a-software-token-of-the-tests";
/// Where the daemon takes callbacks.
pub(crate) const PATH: &str = "/koogallery/callback";

/// Longer than any answer may take: who runs into it has found a hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer that came whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

/// A callback, signed, ready to be sent; sent again as it is, it is the same call.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "the field's own term")]
pub(crate) struct Signed {
    pub(crate) signed_at: Timestamp,
    pub(crate) nonce: String,
    query: String,
    pub(crate) body: String,
}

impl Signed {
    pub(crate) fn new(body: String, signed_at: Timestamp, nonce: String) -> Self {
        let key = AccessKey::new(SecretString::from(ACCESS_KEY));
        let query = signed_query(&key, body.as_bytes(), signed_at, &nonce);
        Self { signed_at, nonce, query, body }
    }

    /// Calls the merchant; the result code, or why no answer came whole.
    pub(crate) fn send(&self, to: SocketAddr) -> io::Result<String> {
        let reply = exchange(to, "POST", &format!("{PATH}?{}", self.query), "", &self.body)?;
        assert_eq!(reply.status, 200, "{reply:?}");
        Ok(reply.json()["resultCode"].as_str().expect("a result code").to_owned())
    }
}

/// `refreshLicenseCode`.
pub(crate) fn refresh(scene: &str, code: &str, order: &str, expire_time: &str) -> String {
    let body = json!({
        "activity": "refreshLicenseCode", "scene": scene, "license": code, "orderId": order,
        "orderLineId": "1", "expireTime": expire_time, "testFlag": "0",
    });
    body.to_string()
}

/// `updateLicenseCodeStatus`.
pub(crate) fn status(code: &str, status: &str) -> String {
    json!({ "activity": "updateLicenseCodeStatus", "license": code, "status": status }).to_string()
}

/// `releaseLicenseCode`, for a refund.
pub(crate) fn release(code: &str, order: &str) -> String {
    json!({ "activity": "releaseLicenseCode", "license": code, "orderId": order }).to_string()
}

/// An operator's request.
pub(crate) fn admin(to: SocketAddr, method: &str, path: &str, body: &Value) -> io::Result<Reply> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    exchange(to, method, path, ADMIN_TOKEN, &body)
}

/// The licensed software's question.
pub(crate) fn entitlement(to: SocketAddr, code: &str) -> io::Result<Value> {
    let path = format!("/v1/entitlements/{code}");
    let reply = exchange(to, "GET", &path, SOFTWARE_TOKEN, "")?;
    assert_eq!(reply.status, 200, "{reply:?}");
    Ok(reply.json())
}

/// One request on a connection of its own.
fn exchange(
    to: SocketAddr,
    method: &str,
    target: &str,
    token: &str,
    body: &str,
) -> io::Result<Reply> {
    let length = body.len();
    let mut request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-length: {length}\r\n"
    );
    if !body.is_empty() {
        request += "content-type: application/json\r\n";
    }
    if !token.is_empty() {
        request.push_str("authorization: Bearer ");
        request.push_str(token);
        request.push_str("\r\n");
    }
    request += "\r\n";
    request += body;
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    whole(&answer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The answer, if all of it is there.
fn whole(answer: &[u8]) -> Option<Reply> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok())?
    });
    (body.len() == length?).then(|| Reply { status, body: body.to_owned() })
}
