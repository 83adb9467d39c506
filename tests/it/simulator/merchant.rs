//! A merchant's callback server, as small as it gets: it answers what it is told and shows what came.

use super::{ACCESS_KEY, PATIENCE};
use authcoded::clock::Clock;
use authcoded::protocol::callback_auth::{AccessKey, AuthError, verify};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// One call as it came in.
#[derive(Debug)]
pub(super) struct Came {
    pub(super) authentic: Result<(), AuthError>,
    pub(super) nonce: String,
    /// Milliseconds since the epoch, as signed.
    pub(super) timestamp: String,
    pub(super) content_type: String,
    pub(super) text: String,
    pub(super) body: Value,
}

/// What the merchant answers: status, content type, body.
pub(super) type Reply = (u16, &'static str, &'static str);

pub(super) const FINE: Reply =
    (200, "application/json", r#"{"resultCode":"000000","resultMsg":"success."}"#);

pub(super) struct Merchant {
    pub(super) url: String,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    came: mpsc::UnboundedReceiver<Came>,
    /// Dropped with the merchant, so that nothing is left over.
    _server: JoinSet<()>,
}

impl Merchant {
    /// A merchant whose first answers are these, and whose later ones are all fine.
    pub(super) async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let replies = Arc::new(Mutex::new(replies.into_iter().collect()));
        let (sender, came) = mpsc::unbounded_channel();
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&replies), sender));
        Self {
            url: format!("http://{address}/koogallery/callback"),
            replies,
            came,
            _server: server,
        }
    }

    /// The next call.
    pub(super) async fn next(&mut self) -> Came {
        let next = tokio::time::timeout(PATIENCE, self.came.recv()).await;
        next.expect("a call in time").expect("the server lives")
    }

    pub(super) fn answer_next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.replies.lock().expect("no panic before").extend(replies);
    }
}

async fn accept(
    listener: TcpListener,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    came: mpsc::UnboundedSender<Came>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let (replies, came) = (Arc::clone(&replies), came.clone());
        connections.spawn(async move {
            let service = service_fn(|request| {
                let (replies, came) = (Arc::clone(&replies), came.clone());
                async move { reply(request, &replies, &came).await }
            });
            let http = hyper::server::conn::http1::Builder::new();
            _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn reply(
    request: Request<Incoming>,
    replies: &Mutex<VecDeque<Reply>>,
    came: &mpsc::UnboundedSender<Came>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let content_type = request.headers()["content-type"].to_str().expect("text").to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let keys = [AccessKey::new(ACCESS_KEY.into())];
    let parameter = |name| {
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name));
        value.unwrap_or_default().to_owned()
    };
    let call = Came {
        authentic: verify(Some(&query), &body, &keys, Clock::system().now()).map(|_| ()),
        nonce: parameter("nonce="),
        timestamp: parameter("timestamp="),
        content_type,
        text: String::from_utf8_lossy(&body).into_owned(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let (status, content_type, text) =
        replies.lock().expect("no panic before").pop_front().unwrap_or(FINE);
    // The test may have seen enough.
    _ = came.send(call);
    let response = Response::builder().status(status).header("content-type", content_type);
    Ok(response.body(Full::from(text)).expect("a response"))
}
