//! What a well-formed configuration can still have wrong; all of it is found in one pass.
//!
//! Invariant: a configuration without errors here can be served, as far as the file can tell.

mod notify;

use super::places::Places;
use super::socket::group_id;
use super::{Config, SecretFile};
use crate::domain::slots::HeartbeatTimes;
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A token shorter than this many characters can be guessed in time.
const TOKEN_MIN_CHARS: usize = 16;
/// The longest unconfirmed grace that is not taken for a mistake: 90 days.
const GRACE_MAX_HOURS: u32 = 90 * 24;
/// The most codes that the marketplace takes in one call (protocol.md 2.3).
const BATCH_MAX: usize = 100;
/// Retired keys that the doctor tries at most.
const RETIRED_MAX: usize = 8;
/// The longest lease, that the software may be given.
const LEASE_MAX_HOURS: u32 = 24;

/// Whether a problem forbids the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The daemon refuses to start.
    Error,
    /// It starts, but somebody should look.
    Warning,
}

impl Severity {
    /// The word that is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The configuration file.
    pub file: PathBuf,
    /// The line, counted from 1; `None` when neither the key nor its section is written.
    pub line: Option<usize>,
    /// The key, with its section.
    pub key: String,
    /// Whether it forbids the start.
    pub severity: Severity,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        let Self { severity, key, text, remedy, .. } = self;
        write!(f, ": {}: {key}: {text}; {remedy}", severity.as_str())
    }
}

impl Config {
    /// Everything that is wrong beyond the form. `file` is only read to find line numbers.
    #[must_use]
    pub fn check(&self, file: &Path) -> Vec<Problem> {
        let mut found = Findings { file, places: Places::of(file), problems: Vec::new() };
        self.check_callback(&mut found);
        self.check_orders(&mut found);
        self.check_marketplace(&mut found);
        self.check_listeners(&mut found);
        self.check_socket(&mut found);
        self.check_tokens(&mut found);
        self.check_numbers(&mut found);
        self.check_alarms(&mut found);
        if self.data_dir.exists() && !self.data_dir.is_dir() {
            found.error("data-dir", "is not a folder", "name a folder of its own");
        }
        let folder = self.backup.as_ref().map(|backup| &backup.folder);
        if folder.is_some_and(|folder| folder.exists() && !folder.is_dir()) {
            found.error("backup.folder", "is not a folder", "name a folder for the backups");
        }
        found.problems
    }

    fn check_callback(&self, found: &mut Findings<'_>) {
        let callback = &self.callback;
        let path = callback.path.as_str();
        found.path("callback.path", path);
        match &callback.public_url {
            None => found.warning(
                "callback.public-url",
                "is not set, so the heartbeat cannot probe it",
                "give the address that 卖家中心 holds for 生产接口",
            ),
            Some(url) if url.path() != path => found.warning(
                "callback.public-url",
                &format!("has the path {}, but callback.path is {path}", url.path()),
                "make them equal unless the proxy rewrites the path",
            ),
            Some(_) => {}
        }
        for (nth, code) in callback.probe_codes.iter().enumerate() {
            if let Err(why) = crate::domain::license::Code::parse(code) {
                found.push(
                    "callback.probe-codes",
                    Some(nth),
                    Severity::Error,
                    &format!("is no code: {why}"),
                    "copy the code from the debug console",
                );
            }
        }
        let live = found.access_keys("callback.access-key-files", &callback.access_key_files);
        self.check_retired(&live, found);
        self.check_tls(found);
    }

    fn check_retired(&self, live: &[SecretString], found: &mut Findings<'_>) {
        const KEY: &str = "callback.retired-access-key-files";
        let files = &self.callback.retired_access_key_files;
        if files.len() > RETIRED_MAX {
            let text = format!("names {} files", files.len());
            found.error(KEY, &text, &format!("keep the newest {RETIRED_MAX}"));
        }
        for (nth, file) in files.iter().enumerate() {
            match file.read_line(KEY) {
                Ok(key) if live.iter().any(|live| same(live, &key)) => found.push(
                    KEY,
                    Some(nth),
                    Severity::Error,
                    "names a key that callback.access-key-files accepts",
                    "name it in one of them only",
                ),
                Ok(_) => {}
                Err(why) => {
                    let text = format!("{}: {}", why.place.display(), why.kind);
                    found.push(KEY, Some(nth), Severity::Warning, &text, "remove it from the list");
                }
            }
        }
    }

    fn check_orders(&self, found: &mut Findings<'_>) {
        const KEY: &str = "orders.access-key-files";
        let Some(orders) = &self.orders else { return };
        found.path("orders.path", &orders.path);
        if orders.path == self.callback.path {
            found.error(
                "orders.path",
                &format!("is {}, as callback.path is", orders.path),
                "give order notifications a path of their own, such as \"/koogallery/orders\"",
            );
        }
        for key in found.access_keys(KEY, &orders.access_key_files) {
            let files = &self.callback.access_key_files;
            // What is wrong with these files has been told at their own key.
            let mut licences = files.iter().filter_map(|file| file.read_line("").ok());
            if licences.any(|licence| same(&licence, &key)) {
                found.error(
                    KEY,
                    "names a key of callback.access-key-files, but a key serves one type of interface only",
                    "bind another key to 通用接口 in 卖家中心 and name its file",
                );
            }
        }
    }

    fn check_tls(&self, found: &mut Findings<'_>) {
        match (&self.callback.tls_cert, &self.callback.tls_key) {
            (None, None) => {}
            (Some(cert), Some(key)) => {
                found.readable("callback.tls-cert", cert);
                if let Err(why) = key.read("callback.tls-key") {
                    found.refused("callback.tls-key", None, &why);
                }
            }
            (Some(_), None) => found.error(
                "callback.tls-cert",
                "stands without tls-key",
                "give both, or neither behind a proxy",
            ),
            (None, Some(_)) => found.error(
                "callback.tls-key",
                "stands without tls-cert",
                "give both, or neither behind a proxy",
            ),
        }
    }

    fn check_marketplace(&self, found: &mut Findings<'_>) {
        const ENDPOINTS: &str = "marketplace.endpoints";
        let marketplace = &self.marketplace;
        if marketplace.endpoints.is_empty() {
            found.error(ENDPOINTS, "is empty", "remove the line to get the usual two");
        }
        for (nth, url) in marketplace.endpoints.iter().enumerate() {
            if url.path() != "/" {
                found.push(
                    ENDPOINTS,
                    Some(nth),
                    Severity::Error,
                    &format!("{url} has a path"),
                    "give scheme and host only; the paths are known",
                );
            }
            if marketplace.endpoints[..nth].iter().any(|earlier| earlier.origin() == url.origin()) {
                found.push(
                    ENDPOINTS,
                    Some(nth),
                    Severity::Warning,
                    &format!("{url} stands there twice"),
                    "remove one; a second address is for when the first is away",
                );
            }
        }
        found.secret("marketplace.ak-file", None, &marketplace.ak_file);
        found.secret("marketplace.sk-file", None, &marketplace.sk_file);
        if let Some(path) = &marketplace.extra_ca_file {
            found.readable("marketplace.extra-ca-file", path);
        }
    }

    fn check_listeners(&self, found: &mut Findings<'_>) {
        let mut listeners =
            vec![("callback.listen", self.callback.listen), ("admin.listen", self.admin.listen)];
        listeners.extend(self.software.listen.map(|listen| ("software.listen", listen)));
        for (nth, (key, listen)) in listeners.iter().enumerate() {
            if *key != "callback.listen" && !listen.ip().is_loopback() {
                found.error(
                    key,
                    &format!("{listen} can be reached from other machines"),
                    "listen on 127.0.0.1 or [::1]; reach it from elsewhere through ssh or a proxy",
                );
            }
            for (other, taken) in &listeners[..nth] {
                if collide(*listen, *taken) {
                    found.error(
                        key,
                        &format!("{listen} is taken by {other}"),
                        "give each listener a port of its own",
                    );
                }
            }
        }
    }

    fn check_socket(&self, found: &mut Findings<'_>) {
        let software = &self.software;
        if software.socket_mode.is_open() {
            found.warning(
                "software.socket-mode",
                &format!("{} lets every user of this machine ask", software.socket_mode),
                "give 0660 and name the software's group in software.socket-group",
            );
        }
        if let Some(group) = &software.socket_group
            && group_id(group).is_none()
        {
            found.error(
                "software.socket-group",
                &format!("{group} is no group of this machine"),
                "make it with `groupadd --system`, or give its number",
            );
        }
    }

    fn check_tokens(&self, found: &mut Findings<'_>) {
        let tokens = [
            ("admin.token-file", &self.admin.token_file),
            ("software.token-file", &self.software.token_file),
        ]
        .map(|(key, file)| {
            let token = found.secret(key, None, file);
            if token.as_ref().is_some_and(|t| t.expose_secret().len() < TOKEN_MIN_CHARS) {
                found.warning(
                    key,
                    &format!("{file}: the token has fewer than {TOKEN_MIN_CHARS} characters"),
                    "make one with `authcoded token new`",
                );
            }
            token
        });
        if let [Some(admin), Some(software)] = &tokens
            && same(admin, software)
        {
            found.error(
                "software.token-file",
                "the software has the operators' token, so it could release codes",
                "make one of its own with `authcoded token new`",
            );
        }
    }

    fn check_numbers(&self, found: &mut Findings<'_>) {
        let retention = &self.retention;
        let at_least_one = [
            ("callback.max-connections", self.callback.max_connections == 0),
            ("marketplace.requests-per-second", self.marketplace.requests_per_second == 0),
            ("retention.callbacks-days", retention.callbacks_days == 0),
            ("retention.test-callbacks-days", retention.test_callbacks_days == 0),
            ("retention.probes-days", retention.probes_days == 0),
            ("retention.job-runs-days", retention.job_runs_days == 0),
            ("retention.usage-days", retention.usage_days == 0),
            ("retention.alarms-days", retention.alarms_days == 0),
            ("backup.keep", self.backup.as_ref().is_some_and(|backup| backup.keep == 0)),
        ];
        for (key, is_zero) in at_least_one {
            if is_zero {
                found.error(key, "is 0", "give at least 1");
            }
        }
        for (key, size) in [
            ("marketplace.activation-batch", self.marketplace.activation_batch),
            ("marketplace.query-batch", self.marketplace.query_batch),
        ] {
            if !(1..=BATCH_MAX).contains(&size) {
                found.error(
                    key,
                    "is not between 1 and 100",
                    "the marketplace takes at most 100 codes in one call; 1 asks about each alone",
                );
            }
        }
        if self.policy.grace_hours > GRACE_MAX_HOURS {
            found.error(
                "policy.grace-hours",
                "is more than 90 days",
                "give the hours a code may run past an unconfirmed end, such as 72",
            );
        }
        if !(1..=LEASE_MAX_HOURS).contains(&self.policy.lease_hours) {
            found.error(
                "policy.lease-hours",
                "is not between 1 and 24",
                "give the hours the software may go on while we are away, such as 24",
            );
        }
        let HeartbeatTimes::At(times) = &self.schedule.heartbeat else { return };
        if times.is_empty() {
            found.error(
                "schedule.heartbeat",
                "is empty",
                "give the times before each dial test: [\"08:00\", \"13:00\"]",
            );
        }
        if times.iter().enumerate().any(|(nth, time)| times[..nth].contains(time)) {
            found.error("schedule.heartbeat", "names a time twice", "name it once");
        }
    }
}

/// What has been found so far.
struct Findings<'a> {
    file: &'a Path,
    places: Places,
    problems: Vec<Problem>,
}

impl Findings<'_> {
    fn error(&mut self, key: &str, text: &str, remedy: &str) {
        self.push(key, None, Severity::Error, text, remedy);
    }

    fn warning(&mut self, key: &str, text: &str, remedy: &str) {
        self.push(key, None, Severity::Warning, text, remedy);
    }

    fn push(
        &mut self,
        key: &str,
        nth: Option<usize>,
        severity: Severity,
        text: &str,
        remedy: &str,
    ) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            line: self.places.line(key, nth),
            key: key.to_owned(),
            severity,
            text: text.to_owned(),
            remedy: remedy.to_owned(),
        });
    }

    fn secret(&mut self, key: &str, nth: Option<usize>, file: &SecretFile) -> Option<SecretString> {
        file.read_line(key).map_err(|why| self.refused(key, nth, &why)).ok()
    }

    fn refused(&mut self, key: &str, nth: Option<usize>, why: &super::SecretError) {
        let text = format!("{}: {}", why.place.display(), why.kind);
        self.push(key, nth, Severity::Error, &text, why.kind.remedy());
    }

    fn path(&mut self, key: &str, path: &str) {
        if !path.starts_with('/') {
            self.error(key, "does not begin with a slash", "write it as \"/…\"");
        } else if !path.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'?' | b'#')) {
            self.error(
                key,
                "holds characters that a path does not",
                "use plain ASCII without ? and #, percent-encoded where needed",
            );
        }
    }

    /// The keys of one type of interface; those that can be read are returned.
    fn access_keys(&mut self, key: &str, files: &[SecretFile]) -> Vec<SecretString> {
        if files.is_empty() || files.len() > 2 {
            self.error(
                key,
                &format!("names {} files", files.len()),
                "name one, or two (newest first) while one key replaces the other",
            );
        }
        let mut keys = Vec::new();
        for (nth, file) in files.iter().enumerate() {
            keys.extend(self.secret(key, Some(nth), file));
        }
        if let [newest, older] = keys.as_slice()
            && same(newest, older)
        {
            self.warning(key, "names the same key twice", "name the new key first, then the old");
        }
        keys
    }

    fn readable(&mut self, key: &str, path: &Path) {
        if let Err(why) = std::fs::read(path) {
            let text = format!("{}: cannot be read ({why})", path.display());
            self.error(key, &text, "name a PEM file that the user of the daemon may read");
        }
    }
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

/// Whether two listeners would want the same port of the same address; port 0 is the kernel's choice.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap =
        one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && overlap
}
