//! The configuration file: TOML, kebab-case, unknown keys are errors (product.md §6, §9).
//!
//! Invariant: a loaded [`Config`] holds no secret, only where each one lies; a relative
//! path in the file has been joined to the folder of the file.

mod check;
mod defaults;
mod notify;
mod places;
mod secrets;
mod shown;
mod socket;
mod url;

pub use check::{Problem, Severity};
pub use notify::{Alarms, ChannelKind, MailTls, Notify};
pub use secrets::{ChannelSecrets, SecretError, SecretErrorKind, SecretFile, SecretPlace, Secrets};
pub use socket::{BadSocketMode, SocketMode, group_id};
pub use url::{BadUrl, HttpUrl};

use crate::domain::entitlement;
use crate::domain::slots::{HeartbeatTimes, Zone};
use crate::domain::time::HOUR_MS;
use crate::telemetry::{Format, Level};
use serde::de::{SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where the file lies unless `--config` names another.
pub const DEFAULT_PATH: &str = "/etc/authcoded/authcoded.toml";

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Config {
    /// The folder of the database.
    pub data_dir: PathBuf,
    /// What the marketplace calls.
    pub callback: Callback,
    /// Where order notifications arrive, if they are wanted.
    #[serde(default)]
    pub orders: Option<Orders>,
    /// What we call.
    pub marketplace: Marketplace,
    /// What operators call.
    pub admin: Admin,
    /// What the licensed software calls.
    pub software: Software,
    /// When the heartbeat runs.
    #[serde(default)]
    pub schedule: Schedule,
    /// What the guard may expect.
    #[serde(default)]
    pub guard: Guard,
    /// What the merchant chose for the end of a code.
    #[serde(default)]
    pub policy: Policy,
    /// What is logged, and how.
    #[serde(default)]
    pub log: Log,
    /// How long records are kept.
    #[serde(default)]
    pub retention: Retention,
    /// Nightly backups, if they are wanted.
    #[serde(default)]
    pub backup: Option<Backup>,
    /// How often somebody is told of an alarm.
    #[serde(default)]
    pub alarms: Alarms,
    /// Who is told.
    #[serde(default)]
    pub notify: Vec<Notify>,
}

/// The public listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Callback {
    /// Where it listens, unless systemd hands over a socket.
    #[serde(default = "defaults::callback_listen", deserialize_with = "from_text")]
    pub listen: SocketAddr,
    /// The one path that is answered.
    #[serde(default = "defaults::callback_path")]
    pub path: String,
    /// The address the marketplace was given; the heartbeat probes it.
    #[serde(default)]
    pub public_url: Option<HttpUrl>,
    /// The access keys (protocol.md 4.1), newest first; two while one replaces the other.
    pub access_key_files: Vec<SecretFile>,
    /// Keys that are accepted no longer, newest first: only to name them when something still signs with one.
    #[serde(default)]
    pub retired_access_key_files: Vec<SecretFile>,
    /// The certificate chain, PEM, when TLS ends here and not at a proxy.
    #[serde(default)]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[serde(default)]
    pub tls_key: Option<SecretFile>,
    /// Whether a connection may carry more than one call. Off: a restart then fails no call.
    #[serde(default)]
    pub keep_alive: bool,
    /// How many connections are served at a time.
    #[serde(default = "defaults::max_connections")]
    pub max_connections: usize,
    /// The codes the debug console was saved with: calls for them always succeed.
    #[serde(default)]
    pub probe_codes: Vec<String>,
}

/// Order notifications (protocol.md 4.6): another type of interface on the public listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Orders {
    /// The path that they are sent to.
    #[serde(default = "defaults::orders_path")]
    pub path: String,
    /// The keys that sign them, newest first; not those of callbacks, because a key serves one type of
    /// interface only.
    pub access_key_files: Vec<SecretFile>,
}

/// The marketplace's open API.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Marketplace {
    /// The base addresses, preferred first; the next one is tried after a transport failure.
    #[serde(default = "defaults::endpoints")]
    pub endpoints: Vec<HttpUrl>,
    /// The access key id (AK).
    pub ak_file: SecretFile,
    /// The secret access key (SK).
    pub sk_file: SecretFile,
    /// More trust roots, PEM; added to the built-in ones, never instead of them.
    #[serde(default)]
    pub extra_ca_file: Option<PathBuf>,
    /// The zone in which `expireTime` is read first (product.md §3.1).
    #[serde(default = "defaults::utc", deserialize_with = "from_text")]
    pub expire_time_zone: Zone,
    /// The pace of our calls.
    #[serde(default = "defaults::requests_per_second")]
    pub requests_per_second: u32,
    /// How many codes are activated in one call (v2, protocol.md 2.3); 1 is one call each (v1).
    #[serde(default = "defaults::one")]
    pub activation_batch: usize,
    /// How many codes one query asks about (v2, protocol.md 2.5: its fields are not published); 1 is one
    /// call each (v1).
    #[serde(default = "defaults::one")]
    pub query_batch: usize,
}

/// The operators' listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Admin {
    /// Where it listens: a loopback address.
    #[serde(default = "defaults::admin_listen", deserialize_with = "from_text")]
    pub listen: SocketAddr,
    /// The bearer token of operators.
    pub token_file: SecretFile,
}

/// The licensed software's listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Software {
    /// Where it listens: a loopback address. Absent means the default, or nothing beside a socket.
    #[serde(default, deserialize_with = "maybe_from_text")]
    pub listen: Option<SocketAddr>,
    /// A Unix socket beside or instead of it.
    #[serde(default)]
    pub socket: Option<PathBuf>,
    /// The socket's mode: who may connect, because no token is asked for there.
    #[serde(default = "defaults::socket_mode", deserialize_with = "from_text")]
    pub socket_mode: SocketMode,
    /// The socket's group, by name or number; the daemon's own unless given.
    #[serde(default)]
    pub socket_group: Option<String>,
    /// How many codes that are new here the software may register in an hour.
    #[serde(default = "defaults::new_codes_per_hour")]
    pub new_codes_per_hour: u32,
    /// The bearer token of the software.
    pub token_file: SecretFile,
}

/// The times of the availability heartbeat.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Schedule {
    /// The zone of the times.
    #[serde(default = "defaults::shanghai", deserialize_with = "from_text")]
    pub zone: Zone,
    /// When it runs each day.
    #[serde(default = "defaults::heartbeat", deserialize_with = "times_from_text")]
    pub heartbeat: HeartbeatTimes,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { zone: defaults::shanghai(), heartbeat: defaults::heartbeat() }
    }
}

/// What the guard may expect.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Guard {
    /// Whether the product is on sale, so that the marketplace dials each half-day (protocol.md §6).
    #[serde(default = "defaults::on_sale")]
    pub on_sale: bool,
    /// How many orders may fail in a calendar month (Asia/Shanghai) before it is an alarm of its own.
    #[serde(default = "defaults::failed_orders_per_month")]
    pub failed_orders_per_month: u32,
}

impl Default for Guard {
    fn default() -> Self {
        let failed_orders_per_month = defaults::failed_orders_per_month();
        Self { on_sale: defaults::on_sale(), failed_orders_per_month }
    }
}

/// What the merchant chose for the end of a code.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Policy {
    /// How many hours a code may run past an end that the marketplace has not confirmed.
    #[serde(default = "defaults::grace_hours")]
    pub grace_hours: u32,
    /// How many hours a lease lasts at most, 1 to 24.
    #[serde(default = "defaults::lease_hours")]
    pub lease_hours: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { grace_hours: defaults::grace_hours(), lease_hours: defaults::lease_hours() }
    }
}

impl Policy {
    /// The policy as [`entitlement::decide`] takes it.
    #[must_use]
    pub fn entitlement(&self) -> entitlement::Policy {
        let grace_ms = i64::from(self.grace_hours) * HOUR_MS;
        let lease_ms = i64::from(self.lease_hours) * HOUR_MS;
        entitlement::Policy { grace_ms, lease_ms, ..entitlement::Policy::default() }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Log {
    /// The least important level that is logged.
    #[serde(default)]
    pub level: Level,
    /// Text or JSON.
    #[serde(default)]
    pub format: Format,
}

/// For how many days records are kept. Codes and their events are kept for ever.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Retention {
    /// Callbacks with their bodies. Never below one day: a nonce must outlive its window.
    #[serde(default = "defaults::half_a_year")]
    pub callbacks_days: u32,
    /// Debug callbacks (`testFlag` 1).
    #[serde(default = "defaults::two_weeks")]
    pub test_callbacks_days: u32,
    /// Probes with their steps.
    #[serde(default = "defaults::half_a_year")]
    pub probes_days: u32,
    /// Runs of jobs.
    #[serde(default = "defaults::half_a_year")]
    pub job_runs_days: u32,
    /// Usage reports that were sent or given up; others are kept until they are.
    #[serde(default = "defaults::a_month")]
    pub usage_days: u32,
    /// Alarms that went, and the messages about them.
    #[serde(default = "defaults::half_a_year")]
    pub alarms_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            callbacks_days: defaults::half_a_year(),
            test_callbacks_days: defaults::two_weeks(),
            probes_days: defaults::half_a_year(),
            job_runs_days: defaults::half_a_year(),
            usage_days: defaults::a_month(),
            alarms_days: defaults::half_a_year(),
        }
    }
}

/// Nightly backups.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Backup {
    /// Where they go; another disk is better than the one of the database.
    pub folder: PathBuf,
    /// How many are kept.
    #[serde(default = "defaults::a_week_of_backups")]
    pub keep: u32,
}

fn from_text<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    parsed(&String::deserialize(from)?)
}

fn maybe_from_text<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
    T::Err: fmt::Display,
{
    from_text(from).map(Some)
}

fn times_from_text<'de, D: Deserializer<'de>>(from: D) -> Result<HeartbeatTimes, D::Error> {
    struct Written;

    impl<'de> Visitor<'de> for Written {
        type Value = HeartbeatTimes;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"auto\" or a list of times such as [\"08:00\", \"13:00\"]")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<HeartbeatTimes, E> {
            if text == "auto" {
                return Ok(HeartbeatTimes::Auto);
            }
            Err(E::invalid_value(Unexpected::Str(text), &self))
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<HeartbeatTimes, A::Error> {
            let mut times = Vec::new();
            while let Some(text) = list.next_element::<String>()? {
                times.push(parsed(&text)?);
            }
            Ok(HeartbeatTimes::At(times))
        }
    }

    from.deserialize_any(Written)
}

fn parsed<T, E>(text: &str) -> Result<T, E>
where
    T: FromStr,
    T::Err: fmt::Display,
    E: serde::de::Error,
{
    text.parse().map_err(|why| E::custom(format_args!("\"{text}\": {why}")))
}

/// Why a file is no configuration. Always the operator's to put right.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {}: {why}; run as a user that may, or name another with --config", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// It is not TOML, or a key is unknown, missing or of the wrong type.
    #[error("{}:{line}:{column}: {message}; {remedy}", file.display())]
    Invalid {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The column in characters, counted from 1.
        column: usize,
        /// What is wrong there.
        message: String,
        /// What to do.
        remedy: &'static str,
    },
    /// [`Config::check`] found errors.
    #[error("the configuration is refused:\n{}", lines(.0))]
    Refused(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Config {
    /// Reads the file and resolves its paths against the folder it lies in.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] or [`ConfigError::Invalid`].
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|why| ConfigError::Unreadable { file: file.to_owned(), why })?;
        let mut config = Self::parse(&text, file)?;
        config.resolve(file.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// [`Config::load`], then [`Config::check`]: refuses errors, hands on the warnings.
    ///
    /// # Errors
    /// Any [`ConfigError`].
    pub fn load_checked(file: &Path) -> Result<(Self, Vec<Problem>), ConfigError> {
        let config = Self::load(file)?;
        let problems = config.check(file);
        if problems.iter().any(|problem| problem.severity == Severity::Error) {
            return Err(ConfigError::Refused(problems));
        }
        Ok((config, problems))
    }

    fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let mut config: Self =
            toml::from_str(text).map_err(|error| invalid(&error, text, file.to_owned()))?;
        if config.software.socket.is_none() {
            config.software.listen.get_or_insert_with(defaults::software_listen);
        }
        Ok(config)
    }

    fn resolve(&mut self, folder: &Path) {
        let callback = &mut self.callback;
        let keys =
            callback.access_key_files.iter_mut().chain(&mut callback.retired_access_key_files);
        let secrets = keys.chain([
            &mut self.marketplace.ak_file,
            &mut self.marketplace.sk_file,
            &mut self.admin.token_file,
            &mut self.software.token_file,
        ]);
        let orders = self.orders.iter_mut().flat_map(|orders| &mut orders.access_key_files);
        let notify = self.notify.iter_mut().flat_map(Notify::files);
        let secrets = secrets.chain(orders).chain(notify);
        secrets.chain(&mut callback.tls_key).for_each(|secret| secret.resolve(folder));
        let paths = [
            Some(&mut self.data_dir),
            self.callback.tls_cert.as_mut(),
            self.marketplace.extra_ca_file.as_mut(),
            self.software.socket.as_mut(),
            self.backup.as_mut().map(|backup| &mut backup.folder),
        ];
        // `join` leaves an absolute path as it is.
        paths.into_iter().flatten().for_each(|path| *path = folder.join(&*path));
    }
}

fn invalid(error: &toml::de::Error, text: &str, file: PathBuf) -> ConfigError {
    let message = error.message().replace('\n', ", ");
    let remedy = if message.starts_with("unknown field") {
        "correct the key or remove it"
    } else if message.starts_with("missing field") {
        "add it to this section"
    } else if message.starts_with("duplicate") {
        "keep one of them"
    } else {
        "correct it here"
    };
    let (line, column) = position(text, error.span().map_or(0, |span| span.start));
    ConfigError::Invalid { file, line, column, message, remedy }
}

/// Line and column, both counted from 1, of the byte at `offset`.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests;
