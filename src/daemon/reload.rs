//! SIGHUP: the configuration and its secrets are read again, and what can change under way changes.
//!
//! Invariant: everything new is read and checked before anything is changed, so a configuration with a fault
//! changes nothing; no connection is closed and no call refused because of it.

use super::{Addresses, LocalKeys, key_files, prober, read_extra_ca, shown};
use crate::config::{ChannelSecrets, Config};
use crate::guard::{Guard, Watch};
use crate::http::{Certificate, Shown};
use crate::lifecycle::Lifecycle;
use crate::protocol::aksk::Credentials;
use crate::schedule::Board;
use crate::telemetry;
use sd_notify::NotifyState;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// What can be changed, and the configuration that is in force.
pub(super) struct Reload {
    pub(super) config: Config,
    /// The secrets of `[[notify]]`, which are read at the start only.
    pub(super) channels: Vec<ChannelSecrets>,
    pub(super) addresses: Addresses,
    pub(super) lifecycle: Arc<Lifecycle>,
    pub(super) guard: Arc<Guard>,
    pub(super) watch: Arc<Watch>,
    pub(super) board: Arc<Board>,
    pub(super) keys: LocalKeys,
    pub(super) shown: watch::Sender<Shown>,
    pub(super) certificate: Option<Arc<Certificate>>,
}

impl Reload {
    /// Reads `file` again and says what came of it, in the log and to systemd.
    pub(super) fn on_signal(&mut self, file: &Path) {
        let began = [NotifyState::Reloading];
        drop(sd_notify::notify(&began));
        let status = match self.reload(file) {
            Ok(left) if left.is_empty() => {
                tracing::info!(file = %file.display(), "the configuration was reloaded");
                "the configuration was reloaded"
            }
            Ok(left) => {
                tracing::warn!(
                    file = %file.display(),
                    needs_restart = left.join(", "),
                    "the configuration was reloaded, but some changes take effect at the next restart only"
                );
                "the configuration was reloaded; some changes need a restart, see the log"
            }
            Err(error) => {
                tracing::error!(
                    file = %file.display(),
                    error = telemetry::error_chain(error.as_ref()),
                    "the new configuration is refused, and the one before stays in force: run `authcoded check`, correct it, reload again"
                );
                "the new configuration is REFUSED, the one before stays in force; see the log"
            }
        };
        drop(sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]));
    }

    /// Returns the keys whose change needs a restart.
    fn reload(&mut self, file: &Path) -> anyhow::Result<Vec<&'static str>> {
        let (new, warnings) = Config::load_checked(file)?;
        let asked_for = new.load_secrets()?;
        let (was, is) = (fixed(&self.config), fixed(&new));
        let changed = was.iter().zip(&is).filter(|(was, is)| was != is);
        let mut left: Vec<_> = changed.map(|((key, _), _)| *key).collect();
        let pairs = self.channels.iter().zip(&asked_for.channels);
        if pairs.into_iter().any(|(was, is)| !was.is_same(is)) {
            left.push("the secrets of [[notify]]");
        }
        let config = in_force(&self.config, new);
        // Before they are read: a change in between is told, not missed.
        let files = key_files(&config);
        let secrets = config.load_secrets()?;
        let extra_ca = read_extra_ca(&config)?;
        let clock = &self.lifecycle.clock;
        let prober = prober(&config, &secrets, extra_ca.as_deref(), self.addresses, clock)?;
        self.certificate.as_ref().map_or(Ok(()), |certificate| certificate.check())?;
        // From here on nothing can fail.
        for warning in warnings {
            tracing::warn!(
                key = warning.key,
                line = warning.line,
                "{}; {}",
                warning.text,
                warning.remedy
            );
        }
        self.keys.replace(&secrets);
        self.watch.renew_key_files(files);
        let credentials = Credentials::new(secrets.ak.clone(), secrets.sk.clone());
        self.lifecycle.marketplace.replace_credentials(credentials);
        self.guard.replace_prober(prober);
        let schedule = &config.schedule;
        if schedule.zone != self.config.schedule.zone
            || schedule.heartbeat != self.config.schedule.heartbeat
        {
            self.board.reschedule(schedule.zone, &schedule.heartbeat);
        }
        telemetry::set_level(config.log.level);
        if let Some(certificate) = &self.certificate {
            certificate.reload();
        }
        self.shown.send_replace(shown(&config));
        self.config = config;
        Ok(left)
    }
}

/// What is in force after a reload: what needs a restart stays as it `was`, so that the next reload says so
/// again, and so does what would not fit it.
fn in_force(was: &Config, new: Config) -> Config {
    let mut config = was.clone();
    let Config { callback, orders, marketplace, admin, software, .. } = &mut config;
    if callback.path == new.callback.path {
        callback.public_url = new.callback.public_url;
    }
    callback.access_key_files = new.callback.access_key_files;
    callback.retired_access_key_files = new.callback.retired_access_key_files;
    if let Some((orders, new)) = orders.as_mut().zip(new.orders) {
        orders.access_key_files = new.access_key_files;
    }
    marketplace.ak_file = new.marketplace.ak_file;
    marketplace.sk_file = new.marketplace.sk_file;
    admin.token_file = new.admin.token_file;
    software.token_file = new.software.token_file;
    config.schedule = new.schedule;
    config.log.level = new.log.level;
    config
}

/// Each setting that is read at the start only, as text.
fn fixed(config: &Config) -> [(&'static str, String); 16] {
    let Config { callback, marketplace, software, .. } = config;
    let orders = config.orders.as_ref().map(|orders| &orders.path);
    let tls_key = callback.tls_key.as_ref().map(ToString::to_string);
    let limits = (&callback.keep_alive, &callback.max_connections, &callback.probe_codes);
    let calls = (&marketplace.endpoints, &marketplace.extra_ca_file, &marketplace.expire_time_zone);
    let pace =
        (marketplace.requests_per_second, marketplace.activation_batch, marketplace.query_batch);
    let socket = (&software.socket, &software.socket_mode, &software.socket_group);
    [
        ("data-dir", config.data_dir.display().to_string()),
        ("callback.listen, callback.path", format!("{:?}", (callback.listen, &callback.path))),
        (
            "callback.tls-cert, callback.tls-key (their names)",
            format!("{:?}", (&callback.tls_cert, tls_key)),
        ),
        ("callback.keep-alive, max-connections, probe-codes", format!("{limits:?}")),
        ("orders.path", format!("{orders:?}")),
        ("marketplace.endpoints, extra-ca-file, expire-time-zone", format!("{calls:?}")),
        ("marketplace.requests-per-second, activation-batch, query-batch", format!("{pace:?}")),
        ("admin.listen", format!("{:?}", config.admin.listen)),
        (
            "software.listen, new-codes-per-hour",
            format!("{:?}", (software.listen, software.new_codes_per_hour)),
        ),
        ("software.socket", format!("{socket:?}")),
        ("policy", format!("{:?}", config.policy)),
        ("guard", format!("{:?}", config.guard)),
        ("alarms", format!("{:?}", config.alarms)),
        ("notify", format!("{:?}", config.notify)),
        ("log.format", format!("{:?}", config.log.format)),
        ("retention, backup", format!("{:?}", (&config.retention, &config.backup))),
    ]
}
