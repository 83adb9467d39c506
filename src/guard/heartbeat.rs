//! The availability heartbeat: what the marketplace's dial test sends, sent by us, before it does.
//!
//! The way to the public URL is gone stage by stage (name, connection, TLS), then five signed debug cases must
//! be answered 000000 and two calls that are not authentic refused (protocol.md §6). Each is a step with a
//! diagnosis of its own; what an earlier fault bars is recorded as skipped, never left out.

mod cases;
mod chain;
mod reach;
mod step;

pub(super) use step::{Outcome, what_to_do};

use crate::clock::Clock;
use crate::protocol::callback_auth::AccessKey;
use cases::{Answered, cases};
use chain::Chain;
use reach::Target;
use std::time::{Duration, Instant};
use step::{DNS, Found, TCP, TLS};

/// The marketplace gives up after this long (protocol.md 4.1).
const FAIL_AFTER: Duration = Duration::from_secs(20);
/// We want to be told before.
const SLOW_AFTER: Duration = Duration::from_secs(2);
/// A case is waited for this long, to tell a slow server from a silent one.
const MEASURED_UP_TO: Duration = Duration::from_secs(30);
/// Each stage before the cases may take this long.
const STAGE_LIMIT: Duration = Duration::from_secs(10);

/// Why no prober could be made.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    /// The extra trust roots are not PEM.
    #[error("marketplace.extra-ca-file holds no certificate: {0}")]
    Certificate(String),
    /// There are no trust roots.
    #[error("no certificate can be judged: {0}; install the system's ca-certificates")]
    Roots(rustls::Error),
    /// The client could not be built.
    #[error("no HTTP client for the heartbeat: {0}")]
    Client(reqwest::Error),
    /// The public URL has no host.
    #[error("callback.public-url is no address that can be called")]
    Url,
}

/// Sends heartbeats to one URL.
pub struct Prober {
    client: reqwest::Client,
    url: String,
    target: Target,
    chain: Chain,
    key: AccessKey,
    clock: Clock,
}

impl Prober {
    /// Probes `url` with calls signed by `key`; trusts `extra_ca` (PEM) besides the system's roots.
    ///
    /// # Errors
    /// [`HeartbeatError`].
    pub fn new(
        url: String,
        key: AccessKey,
        extra_ca: Option<&[u8]>,
        clock: Clock,
    ) -> Result<Self, HeartbeatError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("authcoded-heartbeat/", env!("CARGO_PKG_VERSION")))
            .timeout(MEASURED_UP_TO)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0);
        if let Some(pem) = extra_ca {
            let roots = reqwest::Certificate::from_pem_bundle(pem)
                .map_err(|error| HeartbeatError::Certificate(error.to_string()))?;
            builder = builder.tls_certs_merge(roots);
        }
        let client = builder.build().map_err(HeartbeatError::Client)?;
        let target = Target::of(&url).ok_or(HeartbeatError::Url)?;
        let chain = Chain::trusting(extra_ca)?;
        Ok(Self { client, url, target, chain, key, clock })
    }

    /// Takes every step, one after the other.
    pub(super) async fn heartbeat(&self) -> Found {
        let mut found = Found::new();
        let began = Instant::now();
        let resolved = self.target.resolve().await;
        let addresses = found.take(DNS, began.elapsed(), resolved);
        let stream = match addresses {
            Some(addresses) => {
                let (took, connected) = self.target.connect(&addresses).await;
                found.take(TCP, took, connected)
            }
            None => found.skip(TCP),
        };
        match stream {
            Some(stream) if self.target.https => {
                let began = Instant::now();
                let looked = self.chain.look(stream, &self.target.host, self.clock.now()).await;
                found.certificate_days = looked.days;
                found.take(TLS, began.elapsed(), looked.verdict.map(|detail| ((), detail)));
            }
            Some(_) => found.leave_out(TLS, "plain http: there is no certificate to look at"),
            None => found.skip(TLS).unwrap_or_default(),
        }
        for case in cases() {
            if found.barred() {
                found.skip::<()>(case.name);
                continue;
            }
            let Answered { took, status, verdict } = self.send(&case).await;
            if took > FAIL_AFTER {
                found.bar(case.name);
            }
            found.answer(case.name, took, status, verdict);
        }
        found
    }
}
