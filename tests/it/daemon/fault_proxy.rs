//! A proxy before the daemon's public listener, with TLS of its own and with faults that a test switches on:
//! what can go wrong between the marketplace and us.

use super::now;
use crate::peer::listener;
use authcoded::domain::time::{DAY_MS, Timestamp};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// What the proxy does wrong with every call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// It answers so itself.
    Status(u16),
    /// It passes the call on and the answer back, but only after this long.
    Delay(Duration),
    /// It gives the answer another content type.
    ContentType(&'static str),
    /// It leaves this field out of the answer.
    Without(&'static str),
    /// It answers every call with this code.
    Always(&'static str),
    /// It accepts what was signed more than a minute ago.
    AcceptStale,
}

/// Which certificate it serves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Served {
    Good,
    ExpiredDaysAgo(i64),
    For(&'static str),
    WithoutIntermediate,
    BySomebodyUnknown,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A root that the daemon trusts, and an intermediate that signs.
struct Authorities {
    root: Authority,
    intermediate: Authority,
}

struct Doing {
    tls: TlsAcceptor,
    fault: Option<Fault>,
    upstream: Option<SocketAddr>,
}

/// The proxy. Its tasks end with it.
pub(crate) struct FaultProxy {
    addr: SocketAddr,
    authorities: Authorities,
    doing: Arc<Mutex<Doing>>,
    task: JoinHandle<()>,
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FaultProxy {
    /// One without faults, for the name `localhost`; it passes on once it knows where to.
    pub(crate) async fn start() -> Self {
        let authorities = Authorities::new("Test Root");
        let tls = authorities.acceptor(Served::Good);
        let doing = Arc::new(Mutex::new(Doing { tls, fault: None, upstream: None }));
        let listener = listener().await;
        let addr = listener.local_addr().expect("its address");
        let task = tokio::spawn(accept(listener, Arc::clone(&doing)));
        Self { addr, authorities, doing, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }

    /// The root to be trusted.
    pub(crate) fn root_pem(&self) -> String {
        self.authorities.root.as_ref().pem()
    }

    pub(crate) fn pass_on_to(&self, upstream: SocketAddr) {
        self.doing.lock().expect("not poisoned").upstream = Some(upstream);
    }

    pub(crate) fn fail(&self, fault: Option<Fault>) {
        self.doing.lock().expect("not poisoned").fault = fault;
    }

    pub(crate) fn serve(&self, served: Served) {
        self.doing.lock().expect("not poisoned").tls = self.authorities.acceptor(served);
    }
}

impl Authorities {
    fn new(root: &str) -> Self {
        let key = || KeyPair::generate().expect("a key");
        let root = CertifiedIssuer::self_signed(authority(root), key()).expect("a root");
        let intermediate = CertifiedIssuer::signed_by(authority("Test Intermediate"), key(), &root);
        Self { root, intermediate: intermediate.expect("an intermediate") }
    }

    fn acceptor(&self, served: Served) -> TlsAcceptor {
        let mut name = "localhost";
        let mut ends = now().plus_ms(90 * DAY_MS);
        let mut signer = &self.intermediate;
        let stranger;
        match served {
            Served::Good | Served::WithoutIntermediate => {}
            Served::ExpiredDaysAgo(days) => ends = now().plus_ms(-days * DAY_MS - 60_000),
            Served::For(other) => name = other,
            Served::BySomebodyUnknown => {
                stranger = Self::new("Unknown Root");
                signer = &stranger.intermediate;
            }
        }
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let date = |at: Timestamp| {
            epoch + Duration::from_millis(u64::try_from(at.as_ms()).expect("after 1970"))
        };
        params.not_before = date(ends.plus_ms(-365 * DAY_MS));
        params.not_after = date(ends);
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, signer).expect("a certificate");
        let mut chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone()];
        if !matches!(served, Served::WithoutIntermediate) {
            chain.push(signer.as_ref().der().clone());
        }
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a server configuration");
        Arc::new(config).into()
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

async fn accept(listener: TcpListener, doing: Arc<Mutex<Doing>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        connections.spawn(connection(stream, Arc::clone(&doing)));
    }
}

async fn connection(stream: TcpStream, doing: Arc<Mutex<Doing>>) {
    let tls = doing.lock().expect("not poisoned").tls.clone();
    // A client that refuses the certificate is part of the tests.
    let Ok(stream) = tls.accept(stream).await else { return };
    let service = service_fn(move |request| {
        let (fault, upstream) = {
            let doing = doing.lock().expect("not poisoned");
            (doing.fault, doing.upstream)
        };
        answer(request, fault, upstream)
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    request: Request<Incoming>,
    fault: Option<Fault>,
    upstream: Option<SocketAddr>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let stale = signed_ms_ago(&request) > 60_500;
    let (mut status, mut content_type) = (200, "application/json");
    let body = match fault {
        Some(Fault::Status(other)) => {
            (status, content_type) = (other, "text/html");
            "<html>".to_owned()
        }
        Some(Fault::Always(code)) => reply(code),
        Some(Fault::AcceptStale) if stale => reply("000000"),
        None if upstream.is_none() => {
            status = 503;
            String::new()
        }
        _ => pass_on(request, upstream.expect("somewhere to pass it on to")).await?,
    };
    let body = match fault {
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            body
        }
        Some(Fault::ContentType(other)) => {
            content_type = other;
            body
        }
        Some(Fault::Without(field)) => {
            let mut reply: serde_json::Value = serde_json::from_str(&body).expect("JSON");
            reply.as_object_mut().expect("an object").remove(field);
            reply.to_string()
        }
        Some(Fault::Status(_) | Fault::Always(_) | Fault::AcceptStale) | None => body,
    };
    let response = Response::builder().status(status).header("content-type", content_type);
    Ok(response.body(Full::new(Bytes::from(body))).expect("a response"))
}

fn reply(code: &str) -> String {
    format!(r#"{{"resultCode":"{code}","resultMsg":"x"}}"#)
}

fn signed_ms_ago(request: &Request<Incoming>) -> i64 {
    let query = request.uri().query().unwrap_or_default();
    let signed = query.split('&').find_map(|pair| pair.strip_prefix("timestamp="));
    let signed = signed.and_then(|text| text.parse().ok()).expect("a timestamp");
    now().ms_since(Timestamp::from_ms(signed))
}

async fn pass_on(request: Request<Incoming>, upstream: SocketAddr) -> Result<String, hyper::Error> {
    let target = request.uri().path_and_query().expect("a path").to_string();
    let body = request.into_body().collect().await?.to_bytes();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build();
    let call = client.expect("a client").post(format!("http://{upstream}{target}"));
    let call = call.header("content-type", "application/json").body(body);
    Ok(call.send().await.expect("an answer").text().await.expect("a text"))
}
