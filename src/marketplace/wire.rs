//! One signed request over the wire and its bounded answer; the only file that knows reqwest's errors.
//!
//! Invariants: certificates are always checked; no redirect, no proxy, no silent resend; no body over
//! 64 KiB is read; what is signed as `host` is what is sent.

use super::endpoint::Endpoint;
use super::health::parse_http_date;
use super::keyring::Keyring;
use crate::domain::outcome::{Outcome, of_answer};
use crate::domain::time::{SECOND_MS, Timestamp};
use crate::protocol::aksk;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HOST, HeaderValue};
use reqwest::{Certificate, Method, redirect, retry};
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection, with its TLS handshake, may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the other side may stay silent in between.
const READ: Duration = Duration::from_secs(8);
/// How long an unused connection is kept: shorter than servers do, so that none is found closed.
const IDLE: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes.
const BODY_MAX: usize = 64 * 1024;
const JSON: &str = "application/json";

/// The HTTP client below the signature.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    http: reqwest::Client,
    keys: Arc<Keyring>,
}

/// What is sent: a JSON body by POST, or parameters by GET.
#[derive(Debug)]
pub(super) enum Payload {
    Body(Vec<u8>),
    Parameters(Vec<(&'static str, String)>),
}

/// An answer, as far as it was read.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) http: u16,
    /// At most 64 KiB.
    pub(super) body: Vec<u8>,
    /// Whether that is all of it.
    pub(super) whole: bool,
    /// The `Date` header.
    pub(super) date: Option<Timestamp>,
    /// When the server's certificate ends.
    pub(super) certificate_ends: Option<Timestamp>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server's certificate does not hold: somebody is in between, or a root is missing.
    Certificate(String),
    /// The request never left.
    Unsent(String),
    /// The request may have been processed.
    Lost(String),
}

impl Wire {
    /// Builds the client; `extra_ca_pem` is added to the system's roots, never put in their place. The
    /// error says what TLS lacks.
    pub(super) fn new(
        endpoints: &[Endpoint],
        keys: Arc<Keyring>,
        extra_ca_pem: Option<&[u8]>,
    ) -> Result<Self, String> {
        // An error means that the process has a provider already: each of our edges installs this one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let https = endpoints.iter().any(Endpoint::is_https);
        let builder = reqwest::Client::builder()
            .user_agent(concat!("authcoded/", env!("CARGO_PKG_VERSION")))
            .https_only(endpoints.iter().all(Endpoint::is_https))
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .referer(false)
            .connect_timeout(CONNECT)
            .read_timeout(READ)
            .pool_idle_timeout(IDLE)
            .tls_info(true);
        let builder = match (https, extra_ca_pem) {
            (true, None) => builder,
            (true, Some(pem)) => builder.tls_certs_merge(certificates(pem)?),
            // Plain loopback only: the system's roots are not even loaded, and nothing is trusted.
            (false, _) => builder.tls_certs_only([]),
        };
        let http = builder.build().map_err(|error| chain(&error))?;
        Ok(Self { http, keys })
    }

    /// Sends a signed request and reads the answer, all within `budget`.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        path: &str,
        payload: &Payload,
        now: Timestamp,
        budget: Duration,
    ) -> Result<Reply, Failure> {
        let date = aksk::sdk_date(now);
        let headers =
            [("host", endpoint.host()), ("content-type", JSON), (aksk::SDK_DATE, date.as_str())];
        let (method, body, query) = match payload {
            Payload::Body(body) => (Method::POST, body.as_slice(), Vec::new()),
            Payload::Parameters(pairs) => {
                let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
                (Method::GET, &[][..], pairs.collect())
            }
        };
        let signed =
            aksk::Request { method: method.as_str(), path, query: &query, headers: &headers, body };
        let mut authorization =
            HeaderValue::try_from(aksk::authorization(&self.keys.now(), &signed))
                .map_err(|_| Failure::Unsent("the access key id does not fit a header".into()))?;
        authorization.set_sensitive(true);
        let response = self
            .http
            .request(method, endpoint.at(path, &query))
            .header(HOST, endpoint.host())
            .header(CONTENT_TYPE, JSON)
            .header(aksk::SDK_DATE, &date)
            .header(AUTHORIZATION, authorization)
            .body(body.to_vec())
            .timeout(budget)
            .send()
            .await
            .map_err(failure)?;
        read(response).await
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, String> {
    let found = Certificate::from_pem_bundle(pem).map_err(|error| chain(&error))?;
    if found.is_empty() {
        Err("extra-ca-file holds no PEM certificate".to_owned())
    } else {
        Ok(found)
    }
}

/// Reads an answer up to the bound. One that breaks off tells nothing, unless its status alone says that
/// we are not believed.
async fn read(mut response: reqwest::Response) -> Result<Reply, Failure> {
    let http = response.status().as_u16();
    let date = response.headers().get(DATE).and_then(|date| parse_http_date(date.to_str().ok()?));
    let certificate_ends = certificate_ends(&response);
    let mut body = Vec::new();
    let whole = loop {
        match response.chunk().await {
            Ok(None) => break true,
            Ok(Some(chunk)) => {
                let room = BODY_MAX - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    break false;
                }
            }
            Err(_) if of_answer(http, None) == Outcome::Stop => break false,
            Err(error) => {
                let why = chain(&error.without_url());
                return Err(Failure::Lost(format!("HTTP {http}, then {why}")));
            }
        }
    };
    Ok(Reply { http, body, whole, date, certificate_ends })
}

fn certificate_ends(response: &reqwest::Response) -> Option<Timestamp> {
    let info = response.extensions().get::<reqwest::tls::TlsInfo>()?;
    let (_, leaf) = x509_parser::parse_x509_certificate(info.peer_certificate()?).ok()?;
    let seconds = leaf.validity().not_after.timestamp();
    Some(Timestamp::from_ms(seconds.saturating_mul(SECOND_MS)))
}

fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    let why = chain(&error);
    if is_certificate(&error) {
        Failure::Certificate(why)
    } else if error.is_connect() || error.is_builder() {
        Failure::Unsent(why)
    } else {
        Failure::Lost(why)
    }
}

/// An error with all that lies beneath it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        below = cause.source();
    }
    text
}

/// Whether a certificate is at the bottom of it.
fn is_certificate(error: &(dyn Error + 'static)) -> bool {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return matches!(
            tls,
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::UnsupportedNameType
        );
    }
    // An io error shows the source of what it holds, but not what it holds.
    if let Some(held) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        return is_certificate(held);
    }
    error.source().is_some_and(is_certificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_found_at_the_bottom_of_the_chain() {
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, bad));
        assert!(is_certificate(&wrapped));
        assert!(!is_certificate(&io::Error::other(rustls::Error::HandshakeNotComplete)));
        assert!(!is_certificate(&io::Error::from(io::ErrorKind::ConnectionReset)));
    }
}
