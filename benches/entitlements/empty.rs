//! The empty server: hyper, one fixed answer (the daemon's without its lease, so a third as long), nothing else.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use tokio::net::TcpListener;

/// Makes the bench the empty server.
pub(crate) const ARGUMENT: &str = "--empty-server";

const BODY: &[u8] = br#"{"checked_at":"2026-11-22T01:38:25.123Z","code":"PL0000000001BENCHCODE00000007919","days_left":180,"decision":"allow","expires_at":"2027-05-21T01:38:25.000Z","lease":null,"reason":"active","state":"renewed"}"#;

/// The empty server as a child process; killed when dropped.
pub(crate) struct Empty {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Empty {
    pub(crate) fn start() -> Self {
        let own = std::env::current_exe().expect("the bench itself");
        let mut child =
            Command::new(own).arg(ARGUMENT).stdout(Stdio::piped()).spawn().expect("started");
        let mut line = String::new();
        let mut told = BufReader::new(child.stdout.take().expect("a pipe"));
        told.read_line(&mut line).expect("its address");
        Self { child, address: line.trim().parse().expect("an address") }
    }
}

impl Drop for Empty {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Serves for ever, on the runtime that `authcoded serve` builds.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            stream.set_nodelay(true).expect("an option");
            tokio::spawn(
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)),
            );
        }
    });
}

async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut answer = Response::new(Full::new(Bytes::from_static(BODY)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}
