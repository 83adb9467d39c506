//! TLS that ends here: certificate and key from files, looked at again when they change.

use super::server::Tls;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret as _, SecretString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// How often the certificate file is looked at.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Why TLS cannot be served. The operator's to put right.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate file is unreadable or no PEM chain.
    #[error("callback.tls-cert {file}: {why}")]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key is no PEM key.
    #[error("callback.tls-key: {0}")]
    Key(String),
    /// They do not fit together.
    #[error("callback.tls-cert and callback.tls-key do not fit together: {0}")]
    Pair(rustls::Error),
}

/// An acceptor for these files; `read_key` is called again when the certificate file has changed.
///
/// # Errors
/// [`TlsError`], now; later a faulty pair is logged and the last good one stays.
pub fn acceptor<F>(certificate: PathBuf, read_key: F) -> Result<Tls, TlsError>
where
    F: Fn() -> Result<SecretString, String> + Send + 'static,
{
    let (set, tls) = watch::channel(load(&certificate, &read_key)?);
    let mut seen = modified(&certificate);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = modified(&certificate);
            if now == seen {
                continue;
            }
            match load(&certificate, &read_key) {
                Ok(acceptor) => {
                    seen = now;
                    tracing::info!(file = %certificate.display(), "the callback certificate was reloaded");
                    if set.send(acceptor).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the changed certificate is not usable: the old one stays");
                }
            }
        }
    });
    Ok(tls)
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|meta| meta.modified()).ok()
}

fn load(
    file: &Path,
    read_key: &impl Fn() -> Result<SecretString, String>,
) -> Result<TlsAcceptor, TlsError> {
    let bad = |why: String| TlsError::Certificate { file: file.to_owned(), why };
    let chain: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| bad(error.to_string()))?;
    if chain.is_empty() {
        return Err(bad("holds no certificate".to_owned()));
    }
    let key = read_key().map_err(TlsError::Key)?;
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
        .map_err(|error| TlsError::Key(error.to_string()))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(TlsError::Pair)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
