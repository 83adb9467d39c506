//! The marketplace's side, over HTTP only: the other end in tests, in the sandbox, and for merchants who
//! try out any callback server (product.md §7).
//!
//! Invariant: it shares nothing with the daemon but the wire. It is as strict as the documents, and
//! everything that is left to chance comes from its seed.
//!
//! Reading order: `code` and `market` (the truth about codes), `message`, `calls` and
//! `callbacks` with `signing` (what the merchant is told), `gateway`, `ask` and `open_api` (what the merchant
//! asks), `faults` and `sabotage`, `dial_test`, `console`, `server`; then `scenario`, which plays stories
//! on the console.

mod answer;
mod ask;
mod callbacks;
mod calls;
mod code;
mod codes;
mod console;
mod data_file;
mod desk;
mod dial_test;
mod faults;
mod gateway;
mod market;
mod message;
mod millis;
mod mock_orders;
mod open_api;
mod pace;
mod page;
mod random;
mod sabotage;
mod scenario;
mod server;
mod signing;
mod state;
mod tls;
mod usage;
mod view;

pub use data_file::BadDataFile;
pub use scenario::{BadScenario, Length, MerchantApi, Outcome, Played, Report, Scenario};
pub use tls::CertificateFiles;

use crate::clock::Clock;
use crate::protocol::aksk::Credentials;
use crate::protocol::callback_auth::AccessKey;
use data_file::Keeper;
use pace::Pace;
use secrecy::{ExposeSecret as _, SecretString};
use state::{Kept, Parts, Shared, State};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tls::Acceptors;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// What a simulated marketplace is like.
#[derive(Debug)]
pub struct Settings {
    /// Where it listens. Loopback only, because its console has no password; port 0 is chosen by the kernel.
    pub listen: SocketAddr,
    /// Where the merchant is called. None: what the data file says, else nowhere.
    pub callback_url: Option<String>,
    /// Where the merchant is told of orders. None: what the data file says, else nowhere.
    pub order_url: Option<String>,
    /// Signs the callbacks (Key值).
    pub access_key: SecretString,
    /// Signs order notifications: another key, because one serves one type of interface only.
    pub order_key: Option<SecretString>,
    /// The key before the present one; what is ordered to be signed with it, is.
    pub old_access_key: Option<SecretString>,
    /// The merchant's access key id for the open API.
    pub ak: String,
    /// The merchant's secret key.
    pub sk: SecretString,
    /// Divides all waits, beyond what the clock does; 0 is taken as 1.
    pub speed: u32,
    /// Names codes, orders and nonces, and throws the dice of fault rules.
    pub seed: u64,
    /// Whether it dials twice a day.
    pub dial_tests: bool,
    /// Keeps codes and pending calls across runs.
    pub data_file: Option<PathBuf>,
    /// Added to the trust roots for callbacks over TLS: certificates in PEM.
    pub extra_ca_file: Option<PathBuf>,
    /// Serves TLS too, on the same port.
    pub tls: Option<CertificateFiles>,
    /// How long after its end a code is frozen by itself (宽限期); zero is never.
    pub grace: Duration,
    /// How long after that freeze it is released by itself (保留期); zero is never.
    pub retention: Duration,
}

impl Settings {
    /// A marketplace on a port of the kernel's choice, in real time, without dial tests, timers or a file.
    #[must_use]
    pub fn new(access_key: SecretString, ak: String, sk: SecretString) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            callback_url: None,
            order_url: None,
            access_key,
            order_key: None,
            old_access_key: None,
            ak,
            sk,
            speed: 1,
            seed: 1,
            dial_tests: false,
            data_file: None,
            extra_ca_file: None,
            tls: None,
            grace: Duration::ZERO,
            retention: Duration::ZERO,
        }
    }
}

/// Why a simulated marketplace does not start. All are the operator's to settle.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is not a loopback address.
    #[error(
        "{0} is not a loopback address: the console has no password, so it stays on this machine"
    )]
    NotLoopback(SocketAddr),
    /// The address cannot be bound.
    #[error("cannot listen on {0}: is something else there? Choose another port")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The callback URL is none.
    #[error(
        "the URLs of callbacks and of order notifications must be an http or https address without a fragment"
    )]
    CallbackUrl,
    /// Order notifications have nothing of their own to be signed with.
    #[error("order notifications need a key of their own, another than that of callbacks")]
    OrderKey,
    /// The certificates cannot be read.
    #[error("cannot read certificates from {0}: a PEM file is expected")]
    ExtraCa(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The simulator's own certificate cannot be used.
    #[error("cannot serve TLS: {0}")]
    Tls(String),
    /// The HTTP client cannot be made.
    #[error("cannot prepare TLS for callbacks: are the system's certificates installed?")]
    Client(#[source] reqwest::Error),
    /// The data file cannot be used.
    #[error(transparent)]
    DataFile(#[from] BadDataFile),
}

/// A running marketplace.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    calls: JoinHandle<()>,
    tasks: JoinSet<()>,
    shared: Arc<Shared>,
}

impl Simulator {
    /// Starts it: when this returns, it answers, and pending calls of an earlier run are under way.
    ///
    /// # Errors
    /// [`StartError`], before anything has been changed.
    pub async fn start(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        if !settings.listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(settings.listen));
        }
        let urls = [&settings.callback_url, &settings.order_url];
        if urls.into_iter().flatten().any(|url| !is_callback_url(url)) {
            return Err(StartError::CallbackUrl);
        }
        let order_key = settings.order_key.as_ref().map(SecretString::expose_secret);
        if order_key.is_none_or(|key| key == settings.access_key.expose_secret())
            && (order_key.is_some() || settings.order_url.is_some())
        {
            return Err(StartError::OrderKey);
        }
        let client = client(settings.extra_ca_file)?;
        let tls =
            settings.tls.as_ref().map(Acceptors::load).transpose().map_err(StartError::Tls)?;
        let pace = Pace::new(clock, settings.speed);
        let keeper = Keeper::new(settings.data_file.clone())?;
        let mut kept = match &settings.data_file {
            Some(path) => data_file::load(path)?.unwrap_or_else(|| Kept::new(settings.seed)),
            None => Kept::new(settings.seed),
        };
        kept.callback_url = settings.callback_url.or(kept.callback_url);
        kept.order_url = settings.order_url.or(kept.order_url);
        kept.calls.hurry(pace.now(), pace.span(calls::RETRY_EVERY));
        let listen_failed = |error| StartError::Listen(settings.listen, error);
        let listener = TcpListener::bind(settings.listen).await.map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;

        let (due, due_calls) = mpsc::unbounded_channel();
        let parts = Parts {
            pace,
            access_key: AccessKey::new(settings.access_key),
            order_key: settings.order_key.map(AccessKey::new),
            old_key: settings.old_access_key.map(AccessKey::new),
            wrong_key: AccessKey::new("not-the-key-that-was-bound".into()),
            credentials: Credentials::new(settings.ak, settings.sk),
            client,
            tls,
            grace: settings.grace,
            retention: settings.retention,
            due,
            keeper,
        };
        let shared = Arc::new(Shared::new(parts, State::new(kept)));
        for id in shared.look(|state| state.kept.calls.pending()) {
            shared.deliver(id);
        }
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(pass_time(Arc::clone(&shared)));
        let keeping = Arc::clone(&shared);
        tasks.spawn(async move { keeping.keep_writing().await });
        if settings.dial_tests {
            tasks.spawn(dial_test::dial_daily(Arc::clone(&shared)));
        }
        let calls = callbacks::deliver_all(Arc::clone(&shared), due_calls, stopped.clone());
        let calls = tokio::spawn(calls);
        let server = tokio::spawn(server::serve(listener, Arc::clone(&shared), stopped));
        tracing::info!(%address, "simulated marketplace is up");
        Ok(Self { address, stop, server, calls, tasks, shared })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it within a few seconds: answers under way are waited for shortly, calls under way are left
    /// pending, and the data file is written a last time.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        for worker in [&mut self.server, &mut self.calls] {
            if let Err(error) = worker.await {
                tracing::error!(%error, "a part of the simulator had failed");
            }
        }
        self.tasks.shutdown().await;
        self.shared.write_last().await;
    }
}

/// Dropped without [`Simulator::stop`], nothing of it may go on.
impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
        self.calls.abort();
    }
}

/// Lets the clock freeze and release codes. Never ends.
async fn pass_time(shared: Arc<Shared>) {
    const LOOK_EVERY: Duration = Duration::from_secs(1);
    if shared.grace.is_zero() && shared.retention.is_zero() {
        return;
    }
    let (grace, retention) = (shared.pace.span(shared.grace), shared.pace.span(shared.retention));
    loop {
        tokio::time::sleep(shared.pace.limit(LOOK_EVERY, Duration::from_millis(50))).await;
        let now = shared.pace.now();
        let passed = |state: &mut State| {
            let messages = state.kept.market.pass_time(grace, retention, now);
            let any = !messages.is_empty();
            shared.tell(state, messages);
            any
        };
        if shared.note(passed) {
            shared.change(|_| ()).await;
        }
    }
}

/// Whether the marketplace could call this address.
fn is_callback_url(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none()
    })
}

/// The client that calls the merchant: no redirects, no proxy, strict TLS.
fn client(extra_ca_file: Option<PathBuf>) -> Result<reqwest::Client, StartError> {
    // Fails when another part of the process has chosen already; there is one provider to choose.
    _ = rustls::crypto::ring::default_provider().install_default();
    let mut extra = Vec::new();
    if let Some(path) = extra_ca_file {
        let pem = std::fs::read(&path).map_err(|e| StartError::ExtraCa(path.clone(), e.into()))?;
        extra = reqwest::Certificate::from_pem_bundle(&pem)
            .map_err(|error| StartError::ExtraCa(path, error.into()))?;
    }
    let builder = || {
        reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_idle_timeout(Duration::from_secs(5))
    };
    let with_system = builder().tls_certs_merge(extra.clone()).build();
    // A machine without system certificates can still be called with the extra ones, or in the clear:
    // fewer roots are stricter, never laxer.
    with_system.or_else(|_| builder().tls_certs_only(extra).build()).map_err(StartError::Client)
}
