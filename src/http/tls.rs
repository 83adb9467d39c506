//! TLS that ends here: certificate and key from files, looked at again when they change.

use super::server::Tls;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret as _, SecretString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, watch};
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

/// A certificate that is served, and its key.
pub struct Certificate {
    file: PathBuf,
    read_key: ReadKey,
    look: Notify,
}

/// Reads the private key again.
type ReadKey = Box<dyn Fn() -> Result<SecretString, String> + Send + Sync>;

impl Certificate {
    /// Serves these files; they are read again when the certificate's has changed, or when asked.
    ///
    /// # Errors
    /// [`TlsError`], now; later a faulty pair is logged and the last good one stays.
    pub fn serve(file: PathBuf, read_key: ReadKey) -> Result<(Arc<Self>, Tls), TlsError> {
        let (set, tls) = watch::channel(load(&file, &read_key)?);
        let certificate = Arc::new(Self { file, read_key, look: Notify::new() });
        tokio::spawn(Arc::clone(&certificate).follow(set));
        Ok((certificate, tls))
    }

    /// Whether the files, as they are now, can be served.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn check(&self) -> Result<(), TlsError> {
        load(&self.file, &self.read_key).map(drop)
    }

    /// The same for any files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn check_files<F>(file: &Path, read_key: &F) -> Result<(), TlsError>
    where
        F: Fn() -> Result<SecretString, String>,
    {
        load(file, read_key).map(drop)
    }

    /// Reads them again, whether they look changed or not.
    pub fn reload(&self) {
        self.look.notify_one();
    }

    async fn follow(self: Arc<Self>, set: watch::Sender<TlsAcceptor>) {
        let mut seen = modified(&self.file);
        loop {
            let asked = tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => false,
                () = self.look.notified() => true,
            };
            let now = modified(&self.file);
            if now == seen && !asked {
                continue;
            }
            match load(&self.file, &self.read_key) {
                Ok(acceptor) => {
                    seen = now;
                    tracing::info!(file = %self.file.display(), "the callback certificate was reloaded");
                    if set.send(acceptor).is_err() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the changed certificate is not usable: the old one stays");
                }
            }
        }
    }
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
