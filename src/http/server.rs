//! One accept loop for every listener: limits, deadlines, and a stop that fails no call.
//!
//! hyper's graceful shutdown closes a connection that was accepted but has not sent its first byte. So
//! a listener without keep-alive is drained by us: stop accepting, then let each connection finish.

use super::connection::{self, Begun};
use super::problem::Answer;
use crate::telemetry::Answered;
use hyper::Request;
use hyper::body::Incoming;
use std::collections::HashSet;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How long a TLS handshake may take.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// The longest wait for connections under way when the listener stops.
const DRAIN: Duration = Duration::from_secs(6);
/// The wait after a failed accept: out of descriptors heals when connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is accepted on.
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

/// TLS that ends here; the acceptor is looked up for each connection, so that it can be replaced.
pub type Tls = watch::Receiver<TlsAcceptor>;

/// What one listener allows.
#[derive(Clone)]
pub struct Limits {
    /// The listener's name in logs.
    pub name: &'static str,
    /// Counts the answers.
    pub answered: Answered,
    /// Whether a connection may carry more than one request.
    pub keep_alive: bool,
    /// Connections at a time; more wait in the kernel's queue.
    pub connections: usize,
    /// TLS, if it ends here.
    pub tls: Option<Tls>,
}

/// A listener at work.
pub struct Serving {
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    /// Resolves when the listener has stopped and its connections are done, or were cut off.
    pub async fn finished(self) {
        drop(self.task.await);
    }
}

/// Serves `listener` until `stop` turns true. `answer` never fails: every request gets a response.
pub fn serve<F, R>(
    listener: Listener,
    limits: Limits,
    answer: F,
    stop: watch::Receiver<bool>,
) -> Serving
where
    F: Fn(Request<Incoming>) -> Begun<R> + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let task = tokio::spawn(accept_loop(listener, limits, Arc::new(answer), stop));
    Serving { task }
}

async fn accept_loop<F, R>(
    listener: Listener,
    limits: Limits,
    answer: Arc<F>,
    mut stop: watch::Receiver<bool>,
) where
    F: Fn(Request<Incoming>) -> Begun<R> + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    let mut callers = Callers::default();
    loop {
        while connections.try_join_next().is_some() {}
        let place = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            accepted = accept(&listener) => accepted,
        };
        let Ok(place) = place else { break };
        let (limits, answer, stop) = (limits.clone(), Arc::clone(&answer), stop.clone());
        match accepted {
            Ok(Accepted::Tcp(stream)) => {
                // Answers are one small write: waiting to fill a packet would only delay them.
                drop(stream.set_nodelay(true));
                connections.spawn(async move {
                    accepted_tcp(stream, limits, answer, stop).await;
                    drop(place);
                });
            }
            Ok(Accepted::Unix(stream)) => {
                callers.tell(&stream, limits.name);
                connections.spawn(async move {
                    connection::serve(stream, limits, answer, stop).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(listener = limits.name, %error, "a connection could not be accepted; if this repeats, raise the limit of open files");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let drained =
        tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!(
            listener = limits.name,
            open = connections.len(),
            "connections that did not finish in time were cut off"
        );
    }
}

/// Resolves when the listener is to stop, or whoever could say so is gone.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

enum Accepted {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

/// The users who have called over a Unix socket since the start.
#[derive(Default)]
struct Callers(HashSet<u32>);

impl Callers {
    /// Logs who calls: a user's first connection for everybody to see, the others for whoever looks close.
    fn tell(&mut self, stream: &tokio::net::UnixStream, listener: &'static str) {
        let Ok(peer) = stream.peer_cred() else { return };
        let (uid, pid) = (peer.uid(), peer.pid());
        if self.0.insert(uid) {
            tracing::info!(
                listener,
                peer.uid = uid,
                peer.pid = pid,
                "a user calls for the first time"
            );
        } else {
            tracing::debug!(listener, peer.uid = uid, peer.pid = pid, "connection");
        }
    }
}

async fn accept(listener: &Listener) -> std::io::Result<Accepted> {
    match listener {
        Listener::Tcp(tcp) => tcp.accept().await.map(|(stream, _)| Accepted::Tcp(stream)),
        Listener::Unix(unix) => unix.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
    }
}

async fn accepted_tcp<F, R>(
    stream: tokio::net::TcpStream,
    limits: Limits,
    answer: Arc<F>,
    stop: watch::Receiver<bool>,
) where
    F: Fn(Request<Incoming>) -> Begun<R> + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let Some(tls) = &limits.tls else {
        return connection::serve(stream, limits, answer, stop).await;
    };
    let acceptor = tls.borrow().clone();
    match tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => connection::serve(stream, limits, answer, stop).await,
        Ok(Err(error)) => {
            tracing::debug!(listener = limits.name, %error, "a TLS handshake failed");
        }
        Err(_) => tracing::debug!(listener = limits.name, "a TLS handshake took too long"),
    }
}

impl Listener {
    /// The TCP address, if it has one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}
