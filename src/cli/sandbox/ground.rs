//! What the sandbox stands on: its folder, secrets, ports, configuration file and clock.

use crate::cli::simulate::{CAPITALS, LETTERS, make_folder, make_secret, read_secret};
use crate::clock::Clock;
use crate::config::{Config, Secrets};
use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};
use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// The file that keeps the sandbox's time from one run to the next, in milliseconds since the epoch.
const CLOCK_FILE: &str = "clock";
/// The first morning begins at 07:45 in Beijing: a quarter of an hour before the first heartbeat.
const FIRST_MORNING_MS: i64 = 7 * HOUR_MS + 45 * MINUTE_MS;

/// Where everybody listens.
pub(super) struct Ports {
    pub(super) callback: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) software: SocketAddr,
    pub(super) marketplace: SocketAddr,
}

/// See the module.
pub(super) struct Ground {
    pub(super) folder: PathBuf,
    pub(super) clock: Clock,
    pub(super) ports: Ports,
    pub(super) access_key: SecretString,
    pub(super) ak: String,
    pub(super) sk: SecretString,
    pub(super) admin_token: SecretString,
    pub(super) software_token: SecretString,
    /// Differs from run to run, so that a new run's codes have new names.
    pub(super) seed: u64,
}

impl Ground {
    /// Makes what is missing in `folder`.
    pub(super) fn prepare(folder: &Path, speed: u32) -> anyhow::Result<Self> {
        make_folder(folder)?;
        let secret = |name: &str, letters, length| {
            let path = folder.join(name);
            if !path.exists() {
                make_secret(&path, letters, length)?;
            }
            read_secret(&path)
        };
        let clock = resume_clock(&folder.join(CLOCK_FILE), speed);
        Ok(Self {
            folder: folder.to_owned(),
            seed: clock.now().as_ms().unsigned_abs(),
            clock,
            ports: Ports {
                callback: free_port(8650)?,
                admin: free_port(8651)?,
                software: free_port(8652)?,
                marketplace: free_port(8660)?,
            },
            access_key: secret("access-key", LETTERS, 36)?,
            ak: secret("ak", CAPITALS, 20)?.expose_secret().to_owned(),
            sk: secret("sk", LETTERS, 40)?,
            admin_token: secret("admin-token", LETTERS, 43)?,
            software_token: secret("software-token", LETTERS, 43)?,
        })
    }

    pub(super) fn callback_url(&self) -> String {
        format!("http://{}/koogallery/callback", self.ports.callback)
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.folder.join("authcoded.toml")
    }

    /// Writes the configuration and reads it back, as `serve` would.
    pub(super) fn configure(
        &mut self,
        marketplace: SocketAddr,
    ) -> anyhow::Result<(Config, Secrets)> {
        let Ports { callback, admin, software, .. } = self.ports;
        let text = format!(
            "# Written by `authcoded sandbox` at each start.\n\
             data-dir = \"data\"\n\n\
             [callback]\nlisten = \"{callback}\"\npublic-url = \"{url}\"\n\
             access-key-files = [\"access-key\"]\n\n\
             [marketplace]\nendpoints = [\"http://{marketplace}\"]\n\
             ak-file = \"ak\"\nsk-file = \"sk\"\nrequests-per-second = 1\n\n\
             [admin]\nlisten = \"{admin}\"\ntoken-file = \"admin-token\"\n\n\
             [software]\nlisten = \"{software}\"\ntoken-file = \"software-token\"\n",
            url = self.callback_url(),
        );
        let file = self.config_file();
        std::fs::write(&file, text)
            .with_context(|| format!("{} cannot be written", file.display()))?;
        let (config, _) = Config::load_checked(&file)?;
        let secrets = config.load_secrets()?;
        Ok((config, secrets))
    }

    /// Keeps the time for the next start.
    pub(super) fn keep_clock(&self) -> anyhow::Result<()> {
        let (file, fresh) = (self.folder.join(CLOCK_FILE), self.folder.join("clock.new"));
        std::fs::write(&fresh, self.clock.now().as_ms().to_string())
            .and_then(|()| std::fs::rename(&fresh, &file))
            .with_context(|| format!("{} cannot be written", file.display()))
    }
}

/// Goes on where the last run stopped; begins this morning otherwise.
fn resume_clock(file: &Path, speed: u32) -> Clock {
    let real = Clock::system().now();
    let kept = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
    let origin = kept.map_or_else(
        || {
            let midnight = real.beijing_day() * DAY_MS - 8 * HOUR_MS;
            Timestamp::from_ms(midnight + FIRST_MORNING_MS)
        },
        Timestamp::from_ms,
    );
    Clock::scaled(real.as_ms(), origin, speed)
}

/// The usual port if it is free, else one of the kernel's choice.
fn free_port(usual: u16) -> anyhow::Result<SocketAddr> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = bind(usual).or_else(|_| bind(0)).context("no port is free on 127.0.0.1")?;
    Ok(listener.local_addr()?)
}
