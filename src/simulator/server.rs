//! The simulator's one listener: bytes in, [`Arrived`] out to the open API or the console, answer back.
//!
//! Invariant: every connection, header and body has a deadline and a bound; stopping waits for answers
//! under way only as long as [`STOP_GRACE`].

use super::answer::{Answer, AnswerBody, Cut, Voice, bare, http_date};
use super::codes;
use super::state::Shared;
use super::tls::{Spoken, greet};
use super::{console, open_api};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, DATE, HOST, SERVER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// The gateway takes bodies of up to 12 MiB (protocol.md 2.9).
const BODY_MAX: usize = 12 << 20;
/// So many connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 1_024;
/// How long a header, and then a body, may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(30);
/// How long answers under way are waited for at the end.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// A request, complete.
#[derive(Debug)]
pub(super) struct Arrived {
    /// The method.
    pub method: Method,
    /// The path as sent.
    pub path: String,
    /// The query's pairs, decoded.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Arrived {
    /// The text of the first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The first value of this query parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// How a request ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// With an answer.
    Answer(Answer),
    /// With nothing, for a long time.
    Silence,
    /// With the end of the connection.
    Cut,
}

/// Accepts connections until `stop` says so or its sender is gone.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next() => {}
            accepted = accept(&listener, &permits) => {
                if let Some((stream, permit)) = accepted {
                    let (shared, stop) = (Arc::clone(&shared), stop.clone());
                    connections.spawn(async move {
                        connection(stream, shared, stop).await;
                        drop(permit);
                    });
                }
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_GRACE, drained).await.is_err() {
        connections.shutdown().await;
    }
}

/// Waits until it is time to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same as one that says stop.
    _ = stop.wait_for(|stop| *stop).await;
}

type Accepted = (TcpStream, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = Arc::clone(permits).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            // Out of descriptors, most likely: give the others time to close theirs.
            tracing::warn!(%error, "the simulator could not accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    _ = stream.set_nodelay(true);
    let spoken = tokio::select! {
        spoken = greet(stream, &shared) => spoken,
        () = stopped(&mut stop) => return,
    };
    match spoken {
        Some(Spoken::Plain(stream)) => converse(stream, shared, stop).await,
        Some(Spoken::Tls(stream)) => converse(*stream, shared, stop).await,
        None => {}
    }
}

async fn converse<S>(stream: S, shared: Arc<Shared>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { respond(&shared, request).await }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the simulator ended early");
    }
}

async fn respond(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Cut> {
    let ending = match arrive(request).await {
        Err(ending) => ending,
        Ok(arrived) if arrived.path == "/console" || arrived.path.starts_with("/console/") => {
            Ending::Answer(console::handle(shared, &arrived).await)
        }
        Ok(arrived) => open_api::handle(shared, &arrived).await,
    };
    match ending {
        Ending::Answer(answer) => Ok(response(shared, answer)),
        Ending::Silence | Ending::Cut => Err(Cut),
    }
}

/// Reads the whole request.
async fn arrive(request: Request<Incoming>) -> Result<Arrived, Ending> {
    let (head, body) = request.into_parts();
    let read = Limited::new(body, BODY_MAX).collect();
    let body = match tokio::time::timeout(ARRIVAL, read).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Ending::Answer(bare(codes::TOO_LARGE, Voice::License, "too-large")));
        }
        Ok(Err(_)) | Err(_) => return Err(Ending::Cut),
    };
    let mut headers = head.headers;
    // A request in absolute form names its host in the target.
    if let (None, Some(host)) = (headers.get(HOST), head.uri.authority()) {
        headers.extend(host.as_str().parse().ok().map(|host| (HOST, host)));
    }
    Ok(Arrived {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: pairs(head.uri.query().unwrap_or_default()),
        headers,
        body,
    })
}

/// Query pairs with percent signs decoded; a plus stays a plus (protocol.md 3).
fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once('=').unwrap_or((part, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}

fn response(shared: &Shared, answer: Answer) -> Response<AnswerBody> {
    let date = http_date(shared.pace.now().plus_ms(answer.date_skew_s.saturating_mul(1_000)));
    let built = Response::builder()
        .status(answer.status)
        .header(CONTENT_TYPE, answer.content_type)
        .header(DATE, date)
        .header(SERVER, "api-gateway")
        .body(AnswerBody::new(answer.body, answer.cut));
    // The parts are our own constants; if one were bad, an empty answer would be an honest one.
    built.unwrap_or_else(|_| Response::new(AnswerBody::new(Bytes::new(), false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_once_and_keep_their_plus() {
        let expected = [("orderId", "CS+1 é"), ("empty", ""), ("bare", "")];
        let expected = expected.map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(pairs("orderId=CS+1%20%C3%A9&&empty=&bare"), expected);
    }
}
