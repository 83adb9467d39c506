//! One POST and its bounded answer; the only file here that knows reqwest.
//!
//! Invariants: certificates are always checked; no redirect, no proxy, no silent resend; plain http goes to
//! a loopback literal only; an address is in no error, because it is all that a stranger needs.

use crate::telemetry::error_chain;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Certificate, Url, redirect, retry};
use secrecy::{ExposeSecret as _, SecretString};
use std::net::IpAddr;
use std::time::Duration;

/// How long a connection, with its TLS handshake, may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the whole of it may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 16 << 10;
/// The longest part of an answer that is told, in characters.
const TOLD_MAX: usize = 200;

/// An address that messages are posted to.
pub(super) struct Post {
    http: reqwest::Client,
    url: Url,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Post {
    pub(super) fn new(url: &SecretString, extra_ca: Option<&[u8]>) -> Result<Self, String> {
        let url =
            Url::parse(url.expose_secret()).map_err(|_| "its address is no URL".to_owned())?;
        let https = match url.scheme() {
            "https" => true,
            "http" if is_loopback(url.host_str()) => false,
            _ => return Err("its address is not https; plain http is for loopback literals".into()),
        };
        let builder = reqwest::Client::builder()
            .user_agent(concat!("authcoded/", env!("CARGO_PKG_VERSION")))
            .https_only(https)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .timeout(PATIENCE)
            .pool_max_idle_per_host(0);
        let builder = match (https, extra_ca) {
            (true, None) => builder,
            (true, Some(pem)) => {
                let roots =
                    Certificate::from_pem_bundle(pem).map_err(|error| error_chain(&error))?;
                builder.tls_certs_merge(roots)
            }
            // Plain loopback only: the system's roots are not even loaded, and nothing is trusted.
            (false, _) => builder.tls_certs_only([]),
        };
        let http = builder.build().map_err(|error| error_chain(&error))?;
        Ok(Self { http, url })
    }

    /// Posts a JSON body; `query` is added to what the address has.
    pub(super) async fn json(
        &self,
        query: &[(&str, &str)],
        headers: &[(&'static str, &str)],
        body: String,
    ) -> Result<Answer, String> {
        let mut url = self.url.clone();
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.post(url).header(CONTENT_TYPE, "application/json").body(body);
        for (name, value) in headers {
            let value = HeaderValue::try_from(*value).map_err(|error| error.to_string())?;
            request = request.header(HeaderName::from_static(name), value);
        }
        let mut response =
            request.send().await.map_err(|error| error_chain(&error.without_url()))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|error| error_chain(&error.without_url()))?
        {
            let room = ANSWER_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == ANSWER_MAX {
                break;
            }
        }
        Ok(Answer { status, body })
    }

    /// A text of the other side, as far as it may be told: not if it repeats a part of our address.
    pub(super) fn quotable(&self, text: &str) -> String {
        let parts = self.url.path_segments().into_iter().flatten().map(str::to_owned);
        let mut secrets = parts.chain(self.url.query_pairs().map(|(_, value)| value.into_owned()));
        if secrets.any(|part| part.len() >= 8 && text.contains(&part)) {
            return "(its words repeat a secret and are left out)".to_owned();
        }
        text.chars().filter(|c| !c.is_control()).take(TOLD_MAX).collect()
    }
}

fn is_loopback(host: Option<&str>) -> bool {
    let bare = host.unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_https_or_loopback_and_are_not_told() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let post = |url: &str| Post::new(&SecretString::from(url), None);
        for bad in ["http://localhost/x", "http://10.0.0.1/x", "ftp://127.0.0.1/", "secret"] {
            let why = post(bad).err().expect(bad);
            assert!(!why.contains(bad), "{why}");
        }
        let post = post("http://127.0.0.1:1/hook/abcdefgh-1234?key=9876543210").expect("good");
        assert_eq!(post.quotable("invalid key 9876543210"), post.quotable("hook abcdefgh-1234"));
        assert_eq!(post.quotable("invalid\u{1b} key"), "invalid key");
    }
}
