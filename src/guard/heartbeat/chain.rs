//! The third stage: the certificate chain as it is served, judged with the roots that the client of the cases
//! trusts, and what is wrong with it in plain words.
//!
//! Invariant: the verdict is the verifier's; this only looks on, and explains.

use super::step::Diagnosis;
use super::{HeartbeatError, STAGE_LIMIT};
use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Timestamp};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, ProtocolVersion, SignatureScheme,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// Names of a certificate that are told at most.
const NAMES: usize = 3;

const RENEW: &str =
    "renew the certificate and reload the proxy; look why it was not renewed by itself";
const WHOLE_CHAIN: &str =
    "let the server send the whole chain (fullchain.pem instead of cert.pem), then reload it";
const NAME: &str =
    "serve a certificate that names the public address, or correct callback.public-url";
const TRUSTED: &str = "serve a certificate of a public authority: the marketplace trusts no other";
const CLOCK: &str = "compare the clocks of this machine and of whoever made the certificate";
const SPEAK: &str = "see that TLS 1.2 or 1.3 is served on this port, and the server's error log";

/// Judges chains.
pub(super) struct Chain {
    provider: Arc<CryptoProvider>,
    verifier: Arc<Verifier>,
}

/// What a look at a chain brought.
pub(super) struct Looked {
    /// Days until the certificate ends; negative when it has.
    pub(super) days: Option<i64>,
    pub(super) verdict: Result<String, Diagnosis>,
}

impl Chain {
    /// Trusts the system's roots and these (PEM).
    pub(super) fn trusting(extra_ca: Option<&[u8]>) -> Result<Self, HeartbeatError> {
        let extra: Vec<_> = CertificateDer::pem_slice_iter(extra_ca.unwrap_or_default())
            .collect::<Result<_, _>>()
            .map_err(|error| HeartbeatError::Certificate(error.to_string()))?;
        let provider = Arc::new(ring::default_provider());
        let verifier = Verifier::new_with_extra_roots(extra, Arc::clone(&provider))
            .map_err(HeartbeatError::Roots)?;
        Ok(Self { provider, verifier: Arc::new(verifier) })
    }

    /// Shakes hands with `host` and looks at what it serves.
    pub(super) async fn look(&self, stream: TcpStream, host: &str, now: Timestamp) -> Looked {
        let witness = Arc::new(Witness {
            verifier: Arc::clone(&self.verifier),
            served: Mutex::new(Vec::new()),
        });
        let shaken = self.shake_hands(stream, host, Arc::clone(&witness)).await;
        let served = witness.served.lock().unwrap_or_else(PoisonError::into_inner);
        let chain = parsed(&served);
        let days = chain.first().map(|leaf| ends(leaf).ms_since(now).div_euclid(DAY_MS));
        let verdict = match shaken {
            Ok(version) => Ok(praise(&chain, version, now)),
            Err(why) => Err(explain(&why, &chain, host, now)),
        };
        Looked { days, verdict }
    }

    async fn shake_hands(
        &self,
        stream: TcpStream,
        host: &str,
        witness: Arc<Witness>,
    ) -> Result<Option<ProtocolVersion>, Broken> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Broken::NoName)?;
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(Broken::Refused)?
            .dangerous()
            .with_custom_certificate_verifier(witness)
            .with_no_client_auth();
        let shaking = TlsConnector::from(Arc::new(config)).connect(name, stream);
        match timeout(STAGE_LIMIT, shaking).await {
            Err(_) => Err(Broken::Silent),
            Ok(Ok(stream)) => Ok(stream.get_ref().1.protocol_version()),
            Ok(Err(error)) => Err(Broken::of(error)),
        }
    }
}

/// Why there was no handshake.
#[derive(Debug)]
enum Broken {
    NoName,
    Silent,
    Refused(Error),
    Cut(io::Error),
}

impl Broken {
    fn of(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(inner) => Self::Refused(inner.clone()),
            None => Self::Cut(error),
        }
    }
}

/// Keeps what is served, and leaves the verdict to the verifier.
#[derive(Debug)]
struct Witness {
    verifier: Arc<Verifier>,
    served: Mutex<Vec<CertificateDer<'static>>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let served = std::iter::once(end_entity).chain(intermediates);
        *self.served.lock().unwrap_or_else(PoisonError::into_inner) =
            served.map(|certificate| certificate.clone().into_owned()).collect();
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn parsed<'a>(served: &'a [CertificateDer<'_>]) -> Vec<X509Certificate<'a>> {
    let parse = |der: &'a CertificateDer<'_>| x509_parser::parse_x509_certificate(der).ok();
    served.iter().filter_map(parse).map(|(_, certificate)| certificate).collect()
}

fn praise(
    chain: &[X509Certificate<'_>],
    version: Option<ProtocolVersion>,
    now: Timestamp,
) -> String {
    let version = match version {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let Some((leaf, others)) = chain.split_first() else { return version.to_owned() };
    let left = ends(leaf).ms_since(now).div_euclid(DAY_MS);
    let sent = match others.len() {
        0 => "no intermediate sent, none needed".to_owned(),
        1 => "1 intermediate sent".to_owned(),
        n => format!("{n} intermediates sent"),
    };
    format!("{version}, the certificate is for {}, {left} days left, {sent}", names(leaf))
}

fn explain(why: &Broken, chain: &[X509Certificate<'_>], host: &str, now: Timestamp) -> Diagnosis {
    match why {
        Broken::NoName => Diagnosis::new(format!("TLS: {host} is no name a server can have"), NAME),
        Broken::Silent => Diagnosis::new("TLS: no handshake within 10 s", SPEAK),
        Broken::Cut(error) => {
            let text = format!("TLS: the server broke off the handshake ({})", error.kind());
            Diagnosis::new(text, SPEAK)
        }
        Broken::Refused(Error::InvalidCertificate(fault)) => at_fault(fault, chain, host, now),
        Broken::Refused(Error::InvalidMessage(_)) => {
            Diagnosis::new("TLS: the server does not speak TLS on this port", SPEAK)
        }
        Broken::Refused(error) => Diagnosis::new(format!("TLS: no handshake: {error}"), SPEAK),
    }
}

/// What the verifier found wrong with a certificate.
fn at_fault(
    fault: &CertificateError,
    chain: &[X509Certificate<'_>],
    host: &str,
    now: Timestamp,
) -> Diagnosis {
    match (fault, chain.first()) {
        (CertificateError::Expired | CertificateError::ExpiredContext { .. }, _) => {
            expired(chain, now)
        }
        (CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }, _) => {
            Diagnosis::new("TLS: the certificate is not valid yet", CLOCK)
        }
        (
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            Some(leaf),
        ) => {
            let text = format!("TLS: the certificate is for {}, not {host}", names(leaf));
            Diagnosis::new(text, NAME)
        }
        (CertificateError::UnknownIssuer, Some(leaf)) => without_issuer(leaf, chain),
        (fault, _) => Diagnosis::new(format!("TLS: the certificate is refused: {fault}"), TRUSTED),
    }
}

fn expired(chain: &[X509Certificate<'_>], now: Timestamp) -> Diagnosis {
    let mut ended = chain.iter().enumerate().filter(|(_, one)| ends(one) <= now);
    let text = match ended.next() {
        Some((0, leaf)) => format!("the certificate expired {}", ago(now.ms_since(ends(leaf)))),
        Some((_, issuer)) => {
            let since = ago(now.ms_since(ends(issuer)));
            format!("the intermediate certificate {} expired {since}", subject(issuer))
        }
        None => "a certificate of the chain has expired".to_owned(),
    };
    Diagnosis::new(format!("TLS: {text}"), RENEW)
}

/// Nobody known has signed the last certificate of the chain.
fn without_issuer(leaf: &X509Certificate<'_>, chain: &[X509Certificate<'_>]) -> Diagnosis {
    if leaf.issuer() == leaf.subject() {
        return Diagnosis::new("TLS: the certificate is signed by itself", TRUSTED);
    }
    if chain[1..].iter().any(|other| other.subject() == leaf.issuer()) {
        let last = chain.iter().next_back().unwrap_or(leaf);
        let text = format!("TLS: the chain ends at {}, which nobody trusts", last.issuer());
        return Diagnosis::new(text, TRUSTED);
    }
    let text =
        format!("TLS: the server does not send its intermediate certificate ({})", leaf.issuer());
    Diagnosis::new(text, WHOLE_CHAIN)
}

fn ends(certificate: &X509Certificate<'_>) -> Timestamp {
    let seconds = certificate.validity().not_after.timestamp();
    Timestamp::from_ms(seconds.saturating_mul(SECOND_MS))
}

fn subject(certificate: &X509Certificate<'_>) -> String {
    certificate.subject().to_string()
}

/// The names that a certificate is for.
fn names(certificate: &X509Certificate<'_>) -> String {
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let alternatives = alternatives.iter().flat_map(|found| &found.value.general_names);
    let mut names: Vec<String> = alternatives
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => Some(address(bytes)),
            _ => None,
        })
        .collect();
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    match (names.is_empty(), more) {
        (true, _) => subject(certificate),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

fn address(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    let v6 = || <[u8; 16]>::try_from(bytes).map(|bytes| std::net::IpAddr::from(bytes).to_string());
    v4.or_else(|_| v6()).unwrap_or_else(|_| "an address that is none".to_owned())
}

fn ago(ms: i64) -> String {
    let (n, unit) = if ms >= 2 * DAY_MS {
        (ms / DAY_MS, "days")
    } else if ms >= 2 * HOUR_MS {
        (ms / HOUR_MS, "hours")
    } else {
        (ms / MINUTE_MS, "minutes")
    };
    format!("{n} {unit} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_past_is_told_in_its_unit() {
        for (ms, text) in [
            (2 * DAY_MS + HOUR_MS, "2 days ago"),
            (2 * DAY_MS - 1, "47 hours ago"),
            (90 * MINUTE_MS, "90 minutes ago"),
        ] {
            assert_eq!(ago(ms), text);
        }
    }

    #[test]
    fn addresses_of_a_certificate_are_readable() {
        assert_eq!(address(&[127, 0, 0, 1]), "127.0.0.1");
        assert_eq!(address(&[0; 16]), "::");
        assert_eq!(address(&[1]), "an address that is none");
    }
}
