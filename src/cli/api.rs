//! A client of the daemon's admin API, over loopback.
//!
//! Invariant: the token goes to the configured admin address and nowhere else, and into no message.

use crate::config::Config;
use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;

/// How long an answer may take that needs no call to the marketplace, or two of them (10 s).
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long a probe may take: three stages of 10 s, and seven cases of 20 s before one of them ends it.
pub(super) const PROBE_PATIENCE: Duration = Duration::from_mins(4);
/// How long the connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// The most items of a list that the daemon gives at a time (product.md §9).
const PAGE: usize = 1000;
/// Characters that stand in a path segment or query as they are.
const RESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(
        "the daemon is not running at {address} ({why}); start it with `systemctl start authcoded` \
         or `authcoded --config {} serve`",
        config.display()
    )]
    Away { address: SocketAddr, why: std::io::Error, config: PathBuf },
    #[error("the daemon at {address} did not answer within {} s; look at its log", patience.as_secs())]
    Silent { address: SocketAddr, patience: Duration },
    #[error("the connection to the daemon at {address} broke; look at its log")]
    Broken { address: SocketAddr, source: hyper::Error },
    #[error(
        "at {address} answers something that is not this daemon ({status}, not JSON); check admin.listen"
    )]
    Stranger { address: SocketAddr, status: StatusCode },
    #[error("{}", .0.text())]
    Refused(Problem),
}

impl ApiError {
    /// Whether the daemon may be back in a moment.
    pub(super) const fn is_passing(&self) -> bool {
        match self {
            Self::Away { .. } | Self::Silent { .. } | Self::Broken { .. } => true,
            Self::Stranger { .. } => false,
            Self::Refused(problem) => problem.is_servers(),
        }
    }
}

/// A refusal as the daemon explained it (RFC 9457).
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    title: String,
    detail: String,
    request_id: String,
}

impl Problem {
    fn of(status: StatusCode, body: &Value) -> Self {
        let text = |key| body[key].as_str().unwrap_or_default().to_owned();
        let (title, detail, request_id) = (text("title"), text("detail"), text("request_id"));
        Self { status, title, detail, request_id }
    }

    /// Whether it is the daemon's fault or a passing one, and not the request's.
    const fn is_servers(&self) -> bool {
        self.status.as_u16() >= 500 || self.status.as_u16() == 429
    }

    fn text(&self) -> String {
        let usual = self.status.canonical_reason().unwrap_or("refused");
        let title = if self.title.is_empty() { usual } else { &self.title };
        let mut text = format!("the daemon says: {} {title}", self.status.as_u16());
        if !self.detail.is_empty() {
            let _ = write!(text, ": {}", self.detail);
        }
        if self.is_servers() && !self.request_id.is_empty() {
            let _ = write!(text, " (request.id {})", self.request_id);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            text.push_str(
                "; the file at admin.token-file is not the token the daemon started with",
            );
        }
        super::print::harmless(&text)
    }
}

/// What goes behind the `?`.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Adds a parameter, if there is a value.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.0.extend(value.map(|value| (name, value.to_string())));
        self
    }

    fn behind(&self, path: &str) -> String {
        let mut text = path.to_owned();
        for (nth, (name, value)) in self.0.iter().enumerate() {
            let mark = if nth == 0 { '?' } else { '&' };
            let _ = write!(text, "{mark}{name}={}", encoded(value));
        }
        text
    }
}

/// A text as a path segment or a query value.
pub(super) fn encoded(text: &str) -> String {
    // A segment of dots alone would be taken for a folder.
    if text.bytes().all(|byte| byte == b'.') {
        return text.replace('.', "%2E");
    }
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A list, and whether the daemon has more of it.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) items: Vec<Value>,
    pub(super) more: bool,
}

/// The daemon of a configuration.
#[derive(Debug)]
pub(super) struct Api {
    address: SocketAddr,
    token: SecretString,
    config: PathBuf,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Api {
    /// Reads where the daemon listens and the token; nothing is called yet.
    pub(super) fn of(config: &Path) -> anyhow::Result<Self> {
        let loaded = Config::load(config)?;
        let token = loaded.admin.token_file.read_line("admin.token-file").with_context(|| {
            "cannot read the operators' token; run as the user that may (sudo?)".to_owned()
        })?;
        Ok(Self {
            address: loaded.admin.listen,
            token,
            config: config.to_owned(),
            connection: None,
        })
    }

    /// The same daemon, over a connection of its own.
    pub(super) fn another(&self) -> Self {
        Self {
            address: self.address,
            token: self.token.clone(),
            config: self.config.clone(),
            connection: None,
        }
    }

    /// Asks for one document.
    pub(super) async fn get(&mut self, path: &str, query: &Query) -> Result<Value, ApiError> {
        self.get_within(path, query, PATIENCE).await
    }

    /// The same for a document that takes the daemon longer.
    pub(super) async fn get_within(
        &mut self,
        path: &str,
        query: &Query,
        patience: Duration,
    ) -> Result<Value, ApiError> {
        self.call(Method::GET, &query.behind(path), None, patience).await.map(|(_, body)| body)
    }

    /// Asks for something to be done; tells the status, too.
    pub(super) async fn post(
        &mut self,
        path: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<(StatusCode, Value), ApiError> {
        self.call(Method::POST, path, body, patience).await
    }

    /// Up to `limit` items of a list, from as many pages as it takes; 0 means all.
    pub(super) async fn list(
        &mut self,
        path: &str,
        query: &Query,
        limit: usize,
    ) -> anyhow::Result<List> {
        let mut items = Vec::new();
        let keep = |page: Vec<Value>| {
            items.extend(page);
            Ok(())
        };
        let more = self.pages(path, query, limit, keep).await?;
        Ok(List { items, more })
    }

    /// The same, page by page as they come; returns whether there is more.
    pub(super) async fn pages(
        &mut self,
        path: &str,
        query: &Query,
        limit: usize,
        mut take: impl FnMut(Vec<Value>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let mut left = if limit == 0 { usize::MAX } else { limit };
        let mut cursor: Option<String> = None;
        loop {
            let query =
                query.clone().with("limit", Some(left.min(PAGE))).with("cursor", cursor.as_ref());
            let mut page = self.get(path, &query).await?;
            let Value::Array(items) = page["items"].take() else {
                anyhow::bail!("the daemon's answer to {path} is not a list");
            };
            left = left.saturating_sub(items.len());
            let next = page["next"].as_str().map(str::to_owned);
            let stuck = items.is_empty() || next == cursor;
            take(items)?;
            if next.is_none() || left == 0 || stuck {
                return Ok(next.is_some() && left == 0);
            }
            cursor = next;
        }
    }

    async fn call(
        &mut self,
        method: Method,
        target: &str,
        body: Option<&Value>,
        patience: Duration,
    ) -> Result<(StatusCode, Value), ApiError> {
        let address = self.address;
        let exchange = self.exchange(&method, target, body);
        let (status, body) = tokio::time::timeout(patience, exchange)
            .await
            .map_err(|_| ApiError::Silent { address, patience })??;
        let read = serde_json::from_slice::<Value>(&body);
        match read {
            Ok(document) if status.is_success() => Ok((status, document)),
            Ok(problem) => Err(ApiError::Refused(Problem::of(status, &problem))),
            Err(_) if status.is_success() || status.is_redirection() => {
                Err(ApiError::Stranger { address, status })
            }
            Err(_) => Err(ApiError::Refused(Problem::of(status, &Value::Null))),
        }
    }

    /// One request and its answer, on the connection of the one before where that still stands.
    async fn exchange(
        &mut self,
        method: &Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), ApiError> {
        let address = self.address;
        let broken = |source| ApiError::Broken { address, source };
        let kept = match self.connection.take() {
            Some(mut kept) => kept.ready().await.is_ok().then_some(kept),
            None => None,
        };
        if let Some(mut kept) = kept {
            match kept.send_request(self.request(method, target, body)).await {
                Ok(response) => return self.finish(kept, response).await,
                // Closed by the daemon before it took the request: not sent, so sent again below.
                Err(error) if error.is_canceled() => {}
                Err(error) => return Err(broken(error)),
            }
        }
        let mut fresh = self.connect().await?;
        let response =
            fresh.send_request(self.request(method, target, body)).await.map_err(broken)?;
        self.finish(fresh, response).await
    }

    async fn finish(
        &mut self,
        connection: SendRequest<Full<Bytes>>,
        response: hyper::Response<hyper::body::Incoming>,
    ) -> Result<(StatusCode, Bytes), ApiError> {
        let (head, body) = response.into_parts();
        let broken = |source| ApiError::Broken { address: self.address, source };
        let body = body.collect().await.map_err(broken)?.to_bytes();
        self.connection = Some(connection);
        Ok((head.status, body))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ApiError> {
        let away = |why| ApiError::Away { address: self.address, why, config: self.config.clone() };
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect(self.address))
            .await
            .map_err(|_| away(std::io::ErrorKind::TimedOut.into()))?
            .map_err(away)?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ApiError::Broken { address: self.address, source })?;
        // Its errors reach us through the sender.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    fn request(&self, method: &Method, target: &str, body: Option<&Value>) -> Request<Full<Bytes>> {
        let bytes = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut request = Request::new(Full::new(bytes));
        *request.method_mut() = method.clone();
        // Built from constants and encoded values, so it always parses.
        *request.uri_mut() = target.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::try_from(self.address.to_string()) {
            headers.insert(HOST, host);
        }
        let bearer = format!("Bearer {}", self.token.expose_secret());
        if let Ok(mut bearer) = HeaderValue::try_from(bearer) {
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        request
    }
}
