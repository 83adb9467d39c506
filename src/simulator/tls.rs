//! The open API over TLS, with a certificate that is right, or one that no client may believe.
//!
//! Invariant: one port serves both. A first byte of 22 begins a TLS handshake (RFC 8446 §5.1), and no
//! HTTP request begins with it; so the console stays within reach of a plain `curl`.

use super::faults::{Fault, On};
use super::state::Shared;
use rustls::ServerConfig;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 22;
/// How long a client may take to say its first byte, and then to shake hands.
const DEADLINE: Duration = Duration::from_secs(10);

/// The files of a certificate, in PEM.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Shakes hands, rightly or wrongly.
pub(super) struct Acceptors {
    right: TlsAcceptor,
    wrong: TlsAcceptor,
}

impl std::fmt::Debug for Acceptors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptors")
    }
}

impl Acceptors {
    /// Reads the files. The error says which one is of no use, and why.
    pub(super) fn load(files: &CertificateFiles) -> Result<Self, String> {
        let CertificateFiles { certificate, key } = files;
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| format!("{}: {error}", certificate.display()))?;
        let Some((own, above)) = chain.split_first() else {
            return Err(format!("{} holds no certificate", certificate.display()));
        };
        let bad_key = |why: String| format!("{}: {why}", key.display());
        let private = PrivateKeyDer::from_pem_file(key).map_err(|e| bad_key(e.to_string()))?;
        let private = any_supported_type(&private).map_err(|e| bad_key(e.to_string()))?;
        let right = CertifiedKey::new(chain.clone(), Arc::clone(&private));
        right.keys_match().map_err(|e| bad_key(e.to_string()))?;
        let forged: Vec<_> = [forged(own)].into_iter().chain(above.iter().cloned()).collect();
        let wrong = CertifiedKey::new(forged, private);
        Ok(Self { right: acceptor(right), wrong: acceptor(wrong) })
    }
}

fn acceptor(certified: CertifiedKey) -> TlsAcceptor {
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    TlsAcceptor::from(Arc::new(config))
}

/// The same certificate, but its issuer's signature does not hold: the last byte is part of it.
fn forged(certificate: &CertificateDer<'_>) -> CertificateDer<'static> {
    let mut der = certificate.as_ref().to_vec();
    if let Some(last) = der.last_mut() {
        *last ^= 1;
    }
    CertificateDer::from(der)
}

/// A connection, once it is known what is spoken on it.
pub(super) enum Spoken {
    /// HTTP in the clear.
    Plain(TcpStream),
    /// HTTP within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Finds out what is spoken, and shakes hands if it is TLS. `None`: the client gave up, or was right not
/// to believe the certificate.
pub(super) async fn greet(stream: TcpStream, shared: &Shared) -> Option<Spoken> {
    let Some(acceptors) = &shared.tls else {
        return Some(Spoken::Plain(stream));
    };
    let mut first = [0];
    let peeked = tokio::time::timeout(DEADLINE, stream.peek(&mut first)).await;
    if !matches!(peeked, Ok(Ok(1))) {
        return None;
    }
    if first[0] != HANDSHAKE {
        return Some(Spoken::Plain(stream));
    }
    let faults = shared.note(|state| {
        let dice = &mut state.kept.dice;
        state.faults.draw(On::Connection, &[], dice)
    });
    let wrong = faults.contains(&Fault::WrongCertificate);
    let acceptor = if wrong { &acceptors.wrong } else { &acceptors.right };
    match tokio::time::timeout(DEADLINE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(Spoken::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, wrong, "a TLS handshake with the simulator failed");
            None
        }
        Err(_) => None,
    }
}
