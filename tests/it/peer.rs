//! A scripted peer for the marketplace client: a hyper server on a port the kernel chose, which checks
//! every signature, writes down what it saw and answers as the test says.

use authcoded::clock::Clock;
use authcoded::protocol::aksk::{self, AkskRefused, Credentials};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, http};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub(crate) const AK: &str = "AKEXAMPLE0000000TEST";
pub(crate) const SK: &str = "skExampleSecretForTests";
/// A second pair, where a test makes one.
pub(crate) const NEXT_AK: &str = "AKEXAMPLE0000000NEXT";
pub(crate) const NEXT_SK: &str = "skExampleOfTheNextPair";

pub(crate) fn credentials() -> Credentials {
    Credentials::new(AK.to_owned(), SecretString::from(SK))
}

/// What a request looked like.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) user_agent: String,
    pub(crate) content_type: String,
    pub(crate) body: String,
    pub(crate) signature: Result<(), AkskRefused>,
    /// The access key id, where the signature holds for one of the two pairs.
    pub(crate) signed_by: Option<&'static str>,
}

/// What to answer.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    Reply {
        http: u16,
        body: Vec<u8>,
        header: Option<(&'static str, String)>,
    },
    /// Close the connection without an answer.
    Cut,
    /// Never answer.
    Hang,
    /// Answer so, but only after this long.
    Late(Duration, Box<Say>),
    /// Begin an answer and close the connection in the middle of its body.
    Break {
        http: u16,
    },
}

impl Say {
    pub(crate) fn new(http: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::Reply { http, body: body.into(), header: None }
    }
}

type Answering = Pin<Box<dyn Future<Output = Say> + Send>>;
type Script = dyn Fn(usize, &Seen) -> Answering + Send + Sync;

/// The peer. Its tasks end with it.
pub(crate) struct Peer {
    pub(crate) addr: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Peer {
    /// Always the same answer.
    pub(crate) async fn saying(say: Say) -> Self {
        Self::scripted(None, move |_| std::future::ready(say.clone())).await
    }

    /// One answer after the other, the last one for ever.
    pub(crate) async fn in_turn(says: Vec<Say>) -> Self {
        let answer = move |n: usize| says[n.min(says.len() - 1)].clone();
        Self::scripted(None, move |n| std::future::ready(answer(n))).await
    }

    /// `script` gets the number of the request, from 0.
    pub(crate) async fn scripted<F, S>(tls: Option<TlsAcceptor>, script: S) -> Self
    where
        S: Fn(usize) -> F + Send + Sync + 'static,
        F: Future<Output = Say> + Send + 'static,
    {
        let script: Arc<Script> = Arc::new(move |n, _| Box::pin(script(n)) as Answering);
        Self::on(listener().await, tls, script)
    }

    /// `script` sees the request.
    pub(crate) fn deciding<F>(listener: TcpListener, script: F) -> Self
    where
        F: Fn(&Seen) -> Say + Send + Sync + 'static,
    {
        let script: Arc<Script> = Arc::new(move |_, seen| {
            let say = script(seen);
            Box::pin(std::future::ready(say)) as Answering
        });
        Self::on(listener, None, script)
    }

    fn on(listener: TcpListener, tls: Option<TlsAcceptor>, script: Arc<Script>) -> Self {
        let addr = listener.local_addr().expect("its address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(accept(listener, tls, Arc::clone(&seen), script));
        Self { addr, seen, task }
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn https(&self) -> String {
        format!("https://{}", self.addr)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen().len()
    }
}

/// A listener on a port the kernel chose.
pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Script>,
) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        connections.spawn(connection(stream, tls.clone(), Arc::clone(&seen), Arc::clone(&script)));
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Script>,
) {
    match tls {
        None => serve(stream, seen, script).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, seen, script).await;
            }
        }
    }
}

async fn serve<S>(stream: S, seen: Arc<Mutex<Vec<Seen>>>, script: Arc<Script>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (seen, script) = (Arc::clone(&seen), Arc::clone(&script));
        async move {
            let request = look(request).await;
            let answering = {
                let mut seen = seen.lock().expect("not poisoned");
                let answering = script(seen.len(), &request);
                seen.push(request);
                answering
            };
            let mut say = answering.await;
            while let Say::Late(after, then) = say {
                tokio::time::sleep(after).await;
                say = *then;
            }
            match say {
                Say::Late(..) => unreachable!("waited for above"),
                Say::Reply { http, body, header } => {
                    let mut response = Response::builder().status(http);
                    if let Some((name, value)) = header {
                        response = response.header(name, value);
                    }
                    let body = Either::Left(Full::new(Bytes::from(body)));
                    Ok(response.body(body).expect("a response"))
                }
                Say::Break { http } => {
                    let response = Response::builder().status(http);
                    Ok(response.body(Either::Right(Broken::default())).expect("a response"))
                }
                Say::Cut => Err("cut"),
                Say::Hang => std::future::pending().await,
            }
        }
    });
    // A cut connection and a client that goes away are part of the tests.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// A body that fails after its first bytes have left.
#[derive(Default)]
struct Broken {
    polls: usize,
}

impl Body for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.polls += 1;
        match self.polls {
            1 => {
                let first = Bytes::from_static(br#"{"error_code":"92020000""#);
                Poll::Ready(Some(Ok(Frame::data(first))))
            }
            // A pause: hyper sends what it has.
            2 => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(Some(Err(io::Error::other("broken")))),
        }
    }
}

async fn look(request: Request<Incoming>) -> Seen {
    let (head, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let signature = check(&head, &body, &credentials());
    let next = Credentials::new(NEXT_AK.to_owned(), SecretString::from(NEXT_SK));
    let signed_by = match &signature {
        Ok(()) => Some(AK),
        Err(_) => check(&head, &body, &next).is_ok().then_some(NEXT_AK),
    };
    let header = |name: &str| text(&head, name).to_owned();
    Seen {
        at: Instant::now(),
        path: head.uri.path().to_owned(),
        host: header("host"),
        user_agent: header("user-agent"),
        content_type: header("content-type"),
        body: String::from_utf8(body.to_vec()).expect("text"),
        signature,
        signed_by,
    }
}

fn check(
    head: &http::request::Parts,
    body: &[u8],
    credentials: &Credentials,
) -> Result<(), AkskRefused> {
    let headers: Vec<(&str, &str)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
        .collect();
    let (method, path) = (head.method.as_str(), head.uri.path());
    let request = aksk::Request { method, path, query: &[], headers: &headers, body };
    let authorization = head.headers.get("authorization").map(|v| v.to_str().expect("text"));
    aksk::verify(credentials, &request, authorization, Clock::system().now())
}

fn text<'a>(head: &'a http::request::Parts, name: &str) -> &'a str {
    head.headers.get(name).map_or("", |value| value.to_str().expect("text"))
}
