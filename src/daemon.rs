//! The daemon as a list of steps: open, restore, bind, work, tell that we are ready, wait, drain.
//!
//! Invariant: everything is parsed before anything is bound, and a dead writer ends the process.

mod keys;
mod reload;
mod telling;

use crate::clock::Clock;
use crate::config::{self, Config, Secrets};
use crate::domain::time::Timestamp;
use crate::guard::{DoctorQueue, Guard, KeyFile, Prober, Watch, Watched, start_doctor};
use crate::http::{
    Admin, Answers, Begun, CallbackRoute, Certificate, Door, Limits, Listener, NewCodes, Serving,
    Shown, Software, Tls, serve,
};
use crate::lifecycle::{Backups, ClientKey, Keys, Leases, Lifecycle, Retention, STOPPED_UNTIL};
use crate::marketplace::{BatchSizes, Client, Settings};
use crate::notify::Notifier;
use crate::protocol::aksk::Credentials;
use crate::protocol::callback_auth::AccessKey;
use crate::schedule::{Board, Ticks, Workers};
use crate::store::{Held, Store, WriterEnd};
use crate::telemetry::Metrics;
use anyhow::{Context as _, bail};
use keys::LocalKeys;
use reload::Reload;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Connections at a time on the two local listeners.
const LOCAL_CONNECTIONS: usize = 512;
/// How long the signature doctor may take to finish what is queued.
const DOCTOR_DRAIN: Duration = Duration::from_secs(2);
/// How long the writer may take to finish what is queued.
const WRITER_DRAIN: Duration = Duration::from_secs(3);
/// How much more time to start is asked for at a time.
const MORE_TIME: Duration = Duration::from_mins(1);

/// A daemon at work.
pub struct Daemon {
    /// Where it listens.
    pub addresses: Addresses,
    stop: watch::Sender<bool>,
    listeners: Vec<Serving>,
    workers: JoinSet<()>,
    doctor: JoinHandle<()>,
    notifiers: JoinSet<()>,
    ticks: Ticks,
    lifecycle: Arc<Lifecycle>,
    store: Store,
    writer_end: oneshot::Receiver<WriterEnd>,
    reload: Reload,
    _held: HeldLock,
}

/// Keeps the data folder ours until the daemon is gone.
struct HeldLock(#[expect(dead_code, reason = "held, not read")] std::fs::File);

/// Where a daemon listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The marketplace's listener.
    pub callback: SocketAddr,
    /// The operators' listener.
    pub admin: SocketAddr,
    /// The software's listener, unless it has only a socket.
    pub software: Option<SocketAddr>,
}

/// Runs the daemon until it is told to stop, or its writer dies. SIGHUP reads the configuration in `file`
/// again.
///
/// # Errors
/// Why it could not start, or that the writer died.
pub async fn run(config: Config, secrets: Secrets, file: &Path) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut daemon = Daemon::start(config, secrets, Clock::system()).await?;
    let ended = loop {
        tokio::select! {
            name = signals.next() => {
                tracing::info!(signal = name, "stopping: no new calls are taken, those under way are finished");
                break None;
            }
            end = daemon.writer_ended() => break Some(end),
            _ = hangup.recv() => daemon.reload.on_signal(file),
        }
    };
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    let stopped = daemon.stop().await;
    match ended {
        None => stopped,
        Some(end) => bail!(
            "the writer ended ({end:?}): nothing more can be stored; the log before this line says why"
        ),
    }
}

impl Daemon {
    /// Opens the store, restores what must be restored, binds, and begins to work.
    ///
    /// # Errors
    /// Why not; nothing is bound then.
    pub async fn start(config: Config, secrets: Secrets, clock: Clock) -> anyhow::Result<Self> {
        install_crypto();
        let metrics = Arc::new(Metrics::new());
        let counted = Arc::clone(&metrics);
        let (store, held) = {
            let _more = MoreTime::while_alive();
            Store::open(&config.data_dir, move |jobs, took| counted.commit(jobs, took))?
        };
        let Held { lock, writer_end } = held;
        let extra_ca = read_extra_ca(&config)?;
        let marketplace = connect(&config, &secrets, extra_ca.clone(), &clock)?;
        restore_stop(&store, &marketplace)?;
        let keys = Keys {
            leases: Leases::open(&config.data_dir, clock.now())
                .context("leases cannot be signed")?,
            clients: ClientKey::open(&config.data_dir).context("clients cannot be hidden")?,
        };
        let lifecycle = Arc::new(Lifecycle::new(
            store.clone(),
            marketplace,
            clock.clone(),
            config.marketplace.expire_time_zone,
            config.policy.entitlement(),
            keys,
            metrics,
        ));
        let bound = Bound::bind(&config).await?;
        let addresses = bound.addresses()?;
        let prober = prober(&config, &secrets, extra_ca.as_deref(), addresses, &clock)?;
        let watch = Arc::new(Watch::new(Watched {
            data_dir: config.data_dir.clone(),
            certificate: config.callback.tls_cert.clone(),
            key_files: key_files(&config),
        }));
        let guard =
            Guard::new(Arc::clone(&lifecycle), prober, Arc::clone(&watch), config.guard.on_sale)
                .allowing_failed_orders(config.guard.failed_orders_per_month);
        let extra_ca = extra_ca.as_deref();
        let (guard, notifier) = telling::wire(&config, &secrets, extra_ca, &lifecycle, guard)?;
        let guard = Arc::new(guard);
        let board =
            Arc::new(Board::new(config.schedule.zone, &config.schedule.heartbeat, clock.clone()));
        let (stop, stopping) = watch::channel(false);
        let (certificate, tls) = callback_tls(&config)?.unzip();
        notifier.forget_other_channels().await?;
        let notifiers = notifier.start(&stopping);
        let keys = LocalKeys::of(&secrets);
        let parts = Parts {
            config: &config,
            lifecycle: Arc::clone(&lifecycle),
            guard,
            watch,
            board,
            notifier,
            keys,
            shown: watch::Sender::new(shown(&config)),
        };
        let (doctors, doctor) = start_doctor(Arc::clone(&lifecycle), stopping.clone());
        let listeners = parts.listen(bound, tls, doctors, &stopping);
        let workers = parts.work(&stopping);
        let board = Arc::clone(&parts.board);
        let ticks = Ticks::start(board, store.clone(), clock, stopping).await?;
        announce(&config, addresses);
        let Parts { guard, watch, board, keys, shown, .. } = parts;
        let reload = Reload {
            config,
            channels: secrets.channels,
            addresses,
            lifecycle: Arc::clone(&lifecycle),
            guard,
            watch,
            board,
            keys,
            shown,
            certificate,
        };
        Ok(Self {
            addresses,
            stop,
            listeners,
            workers,
            doctor,
            notifiers,
            ticks,
            lifecycle,
            store,
            writer_end,
            reload,
            _held: HeldLock(lock),
        })
    }

    /// Resolves when the writer has ended, which it must not while the daemon works.
    pub async fn writer_ended(&mut self) -> WriterEnd {
        (&mut self.writer_end)
            .await
            .unwrap_or_else(|_| WriterEnd::Failed("its thread is gone".to_owned()))
    }

    /// Stops taking calls, finishes those under way, stores what is queued, and ends.
    ///
    /// # Errors
    /// The writer could not store what was queued, or the disk did not keep what was copied at the end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        for listener in self.listeners {
            listener.finished().await;
        }
        // It ends with the listener that hands refused calls over; each of them is to be recorded.
        drop(tokio::time::timeout(DOCTOR_DRAIN, self.doctor).await);
        self.ticks.stop().await;
        self.workers.shutdown().await;
        self.notifiers.shutdown().await;
        if let Err(error) = self.lifecycle.follow_failed_calls().await {
            tracing::warn!(%error, "calls that failed could not be noted: look for them in the seller's console");
        }
        if self.writer_end.is_terminated() {
            tracing::warn!("stopped; the writer had ended before");
            return Ok(());
        }
        self.store.shut_down();
        match tokio::time::timeout(WRITER_DRAIN, &mut self.writer_end).await {
            Ok(Ok(WriterEnd::Asked)) => tracing::info!("stopped"),
            Ok(end) => bail!(
                "the writer did not end as it was asked to ({end:?}): the log before this line says why"
            ),
            Err(_) => tracing::warn!(
                "stopped before the writer had finished: the log is replayed at the next start"
            ),
        }
        Ok(())
    }
}

/// One provider for all TLS of the process; a second call changes nothing.
pub fn install_crypto() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// The trust roots of `marketplace.extra-ca-file`.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn read_extra_ca(config: &Config) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(file) = &config.marketplace.extra_ca_file else {
        return Ok(None);
    };
    let pem = std::fs::read(file)
        .with_context(|| format!("marketplace.extra-ca-file {} cannot be read", file.display()))?;
    Ok(Some(pem))
}

/// The way to the marketplace that this configuration describes; nothing is sent yet.
///
/// # Errors
/// What the configuration has wrong.
pub(crate) fn connect(
    config: &Config,
    secrets: &Secrets,
    extra_ca_pem: Option<Vec<u8>>,
    clock: &Clock,
) -> anyhow::Result<Client> {
    let settings = Settings {
        endpoints: config.marketplace.endpoints.iter().map(|url| url.as_str().to_owned()).collect(),
        credentials: Credentials::new(secrets.ak.clone(), secrets.sk.clone()),
        extra_ca_pem,
        zone: config.marketplace.expire_time_zone,
        requests_per_second: config.marketplace.requests_per_second,
        batches: BatchSizes {
            activation: config.marketplace.activation_batch,
            query: config.marketplace.query_batch,
        },
    };
    Ok(Client::new(settings, clock.clone())?)
}

/// A refused access key stays refused over a restart: five more tries would lock it.
fn restore_stop(store: &Store, marketplace: &Client) -> anyhow::Result<()> {
    let stopped = store.read(|snapshot| snapshot.fact(STOPPED_UNTIL))?;
    if let Some(until) = stopped.and_then(|text| text.parse().ok()) {
        marketplace.resume_stop(Timestamp::from_ms(until));
    }
    Ok(())
}

fn prober(
    config: &Config,
    secrets: &Secrets,
    extra_ca: Option<&[u8]>,
    addresses: Addresses,
    clock: &Clock,
) -> anyhow::Result<Prober> {
    let url = if let Some(url) = &config.callback.public_url {
        url.as_str().to_owned()
    } else {
        tracing::warn!(
            "callback.public-url is not set: the heartbeat probes the local listener only, not DNS, TLS and proxy"
        );
        format!("http://{}{}", addresses.callback, config.callback.path)
    };
    let newest = secrets.access_keys.first().context("callback.access-key-files names no key")?;
    Ok(Prober::new(url, AccessKey::new(newest.clone()), extra_ca, clock.clone())?)
}

/// Asks systemd for more time to start, again and again until it is dropped: a large database that is brought
/// to a newer schema takes longer than the unit allows.
struct MoreTime(#[expect(dead_code, reason = "its end is what is waited for")] mpsc::Sender<()>);

impl MoreTime {
    fn while_alive() -> Self {
        let (alive, ended) = mpsc::channel();
        std::thread::spawn(move || {
            while ended.recv_timeout(MORE_TIME / 3) == Err(mpsc::RecvTimeoutError::Timeout) {
                let more = u32::try_from(MORE_TIME.as_micros()).unwrap_or(u32::MAX);
                drop(sd_notify::notify(&[sd_notify::NotifyState::ExtendTimeoutUsec(more)]));
            }
        });
        Self(alive)
    }
}

/// What people are shown of the configuration.
fn shown(config: &Config) -> Shown {
    let requests_per_second = config.marketplace.requests_per_second;
    Shown { zone: config.schedule.zone, settings: config.shown(), requests_per_second }
}

/// The files of secrets, as they are now.
fn key_files(config: &Config) -> Vec<KeyFile> {
    let places = config.secret_files().into_iter();
    places.map(|place| KeyFile::now(place.key, place.path, place.at_start_only)).collect()
}

fn callback_tls(config: &Config) -> anyhow::Result<Option<(Arc<Certificate>, Tls)>> {
    let (Some(certificate), Some(key)) = (&config.callback.tls_cert, &config.callback.tls_key)
    else {
        return Ok(None);
    };
    let key = key.clone();
    let read_key = move || key.read("callback.tls-key").map_err(|error| error.to_string());
    Ok(Some(Certificate::serve(certificate.clone(), Box::new(read_key))?))
}

/// Listeners that are bound and do not answer yet.
struct Bound {
    callback: Listener,
    admin: Listener,
    software: Option<Listener>,
    socket: Option<Listener>,
}

impl Bound {
    async fn bind(config: &Config) -> anyhow::Result<Self> {
        let callback = match handed_over()? {
            Some(listener) => listener,
            None => bind_tcp("callback.listen", config.callback.listen).await?,
        };
        let admin = bind_tcp("admin.listen", config.admin.listen).await?;
        let software = match config.software.listen {
            Some(address) => Some(bind_tcp("software.listen", address).await?),
            None => None,
        };
        let socket = bind_socket(&config.software)?.map(Listener::Unix);
        Ok(Self { callback, admin, software, socket })
    }

    fn addresses(&self) -> anyhow::Result<Addresses> {
        let address = |listener: &Listener| listener.address().context("a listener has no address");
        Ok(Addresses {
            callback: address(&self.callback)?,
            admin: address(&self.admin)?,
            software: self.software.as_ref().map(address).transpose()?,
        })
    }
}

/// The callback socket that systemd holds over restarts, if it holds one.
fn handed_over() -> anyhow::Result<Option<Listener>> {
    let handed = listenfd::ListenFd::from_env().take_tcp_listener(0);
    let Some(listener) = handed.context("the socket handed over by systemd is no TCP listener")?
    else {
        return Ok(None);
    };
    listener.set_nonblocking(true)?;
    Ok(Some(Listener::Tcp(TcpListener::from_std(listener)?)))
}

async fn bind_tcp(key: &str, address: SocketAddr) -> anyhow::Result<Listener> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "{key}: cannot listen on {address}; is another authcoded running, or the port taken?"
        )
    })?;
    Ok(Listener::Tcp(listener))
}

fn bind_socket(software: &config::Software) -> anyhow::Result<Option<UnixListener>> {
    let Some(path) = software.socket.as_deref() else {
        return Ok(None);
    };
    if std::os::unix::net::UnixStream::connect(path).is_err() {
        // Left behind by a process that is gone; bind would refuse it.
        drop(std::fs::remove_file(path));
    }
    let listener = UnixListener::bind(path)
        .with_context(|| format!("software.socket: cannot listen on {}", path.display()))?;
    if let Some(group) = &software.socket_group {
        let id = config::group_id(group)
            .with_context(|| format!("software.socket-group: {group} is no group here"))?;
        std::os::unix::fs::chown(path, None, Some(id)).with_context(|| {
            format!(
                "software.socket-group: {} cannot be given to {group}; the daemon's user must belong to it",
                path.display()
            )
        })?;
    }
    let mode = std::fs::Permissions::from_mode(software.socket_mode.bits());
    std::fs::set_permissions(path, mode)?;
    Ok(Some(listener))
}

/// What the listeners and workers are made of.
struct Parts<'a> {
    config: &'a Config,
    lifecycle: Arc<Lifecycle>,
    guard: Arc<Guard>,
    watch: Arc<Watch>,
    board: Arc<Board>,
    notifier: Arc<Notifier>,
    keys: LocalKeys,
    shown: watch::Sender<Shown>,
}

impl Parts<'_> {
    fn listen(
        &self,
        bound: Bound,
        tls: Option<Tls>,
        doctors: DoctorQueue,
        stop: &watch::Receiver<bool>,
    ) -> Vec<Serving> {
        let callback = &self.config.callback;
        let LocalKeys { callbacks, orders: order_keys, .. } = &self.keys;
        let orders = self.config.orders.as_ref();
        let route = Arc::new(CallbackRoute::new(
            Door::new(callback.path.clone(), Arc::clone(callbacks)),
            orders.map(|orders| Door::new(orders.path.clone(), Arc::clone(order_keys))),
            callback.probe_codes.iter().cloned().collect(),
            Arc::clone(&self.lifecycle),
            doctors,
            Arc::clone(&self.watch),
        ));
        let limits = Limits {
            name: "callback",
            answered: self.lifecycle.metrics.http_requests("callback"),
            keep_alive: callback.keep_alive,
            connections: callback.max_connections,
            tls,
        };
        let answer = move |request| Begun::UnderWay(Arc::clone(&route).answer(request));
        let mut listeners = vec![serve(bound.callback, limits, answer, stop.clone())];

        let admin = Arc::new(Admin::new(
            Arc::clone(&self.lifecycle),
            Arc::clone(&self.guard),
            Arc::clone(&self.board),
            Arc::clone(&self.notifier),
            self.keys.admin.clone(),
            vec![("callbacks", Arc::clone(callbacks)), ("orders", Arc::clone(order_keys))],
            self.shown.subscribe(),
        ));
        let answer = move |request| Begun::UnderWay(Arc::clone(&admin).answer(request));
        listeners.push(serve(bound.admin, self.local("admin"), answer, stop.clone()));

        let new_codes = Arc::new(NewCodes::per_hour(self.config.software.new_codes_per_hour));
        let answers = Arc::new(Answers::default());
        for (listener, token) in
            [(bound.software, Some(self.keys.software.clone())), (bound.socket, None)]
        {
            let Some(listener) = listener else { continue };
            let guard = Arc::clone(&self.guard);
            let (lifecycle, new_codes) = (Arc::clone(&self.lifecycle), Arc::clone(&new_codes));
            let answers = Arc::clone(&answers);
            let software = Arc::new(Software::new(lifecycle, guard, token, new_codes, answers));
            let answer = move |request| software.answer(request);
            listeners.push(serve(listener, self.local("software"), answer, stop.clone()));
        }
        listeners
    }

    fn local(&self, name: &'static str) -> Limits {
        let answered = self.lifecycle.metrics.http_requests(name);
        Limits { name, answered, keep_alive: true, connections: LOCAL_CONNECTIONS, tls: None }
    }

    fn work(&self, stop: &watch::Receiver<bool>) -> JoinSet<()> {
        let workers = Workers {
            lifecycle: Arc::clone(&self.lifecycle),
            guard: Arc::clone(&self.guard),
            board: Arc::clone(&self.board),
            retention: Retention {
                callback_days: i64::from(self.config.retention.callbacks_days),
                test_callback_days: i64::from(self.config.retention.test_callbacks_days),
                probe_days: i64::from(self.config.retention.probes_days),
                job_days: i64::from(self.config.retention.job_runs_days),
                usage_days: i64::from(self.config.retention.usage_days),
                alarm_days: i64::from(self.config.retention.alarms_days),
            },
            backups: self.config.backup.as_ref().map(|backup| Backups {
                folder: backup.folder.clone(),
                keep: backup.keep as usize,
            }),
        };
        let mut workers = workers.start(stop);
        let (watch, lifecycle) = (Arc::clone(&self.watch), Arc::clone(&self.lifecycle));
        let stop = stop.clone();
        workers.spawn(async move { watch.keep_looking(&lifecycle, stop).await });
        workers
    }
}

fn announce(config: &Config, addresses: Addresses) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        callback = %addresses.callback,
        callback_path = config.callback.path,
        orders_path = config.orders.as_ref().map(|orders| orders.path.as_str()),
        admin = %addresses.admin,
        software = addresses.software.map(tracing::field::display),
        data_dir = %config.data_dir.display(),
        "ready"
    );
    drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
}

/// The signals that ask for an end.
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next one's name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
