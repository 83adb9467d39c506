//! `authcoded simulate`: the simulated marketplace alone, for whoever tests a callback server.
//!
//! Invariant: a secret is read from a file or made into one; none is ever printed.

use super::scenario;
use crate::clock::Clock;
use crate::config::{BadUrl, HttpUrl};
use crate::simulator::{CertificateFiles, Settings, Simulator};
use anyhow::{Context as _, bail};
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::{ExposeSecret as _, SecretString};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The longest secret that is taken from a file, in bytes.
const SECRET_MAX: usize = 1_024;
pub(super) const CAPITALS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
pub(super) const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

pub(super) const HELP: &str = "\
It plays the marketplace's side of License 2.0 on this machine: an open API that checks AK/SK \
signatures, signed callbacks with 60 retries two minutes apart, dial tests at 09:00 and 15:00 \
Asia/Shanghai, and a console over HTTP to buy, receive, renew, freeze and refund codes, and to \
order faults.

Example:
  authcoded simulate --speed 60 \\
    --callback-url http://127.0.0.1:8650/koogallery/callback
  curl -s http://127.0.0.1:8660/console

A story in a file tries out any callback server, one documented rule at a time. Start your server \
with the simulator's keys, and with http://127.0.0.1:8660 as the marketplace's address, then:
  authcoded simulate --scenario renewal.toml \
    --against http://127.0.0.1:8650/koogallery/callback";

/// What it is told on the command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Where it listens; a loopback address, because its console has no password
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8660")]
    listen: SocketAddr,
    /// The merchant's callback URL; may be set later on the console
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,
    /// The key (Key值) that signs callbacks; made in the data folder if not given
    #[arg(long, value_name = "FILE")]
    access_key_file: Option<PathBuf>,
    /// The merchant's URL for order notifications; may be set later on the console
    #[arg(long, value_name = "URL")]
    order_url: Option<String>,
    /// The key that signs order notifications; made in the data folder if not given
    #[arg(long, value_name = "FILE")]
    order_key_file: Option<PathBuf>,
    /// The key before the present one, for calls that are ordered to be signed with it (`old_key`)
    #[arg(long, value_name = "FILE")]
    old_access_key_file: Option<PathBuf>,
    /// The merchant's access key id; made in the data folder if not given
    #[arg(long, value_name = "FILE")]
    ak_file: Option<PathBuf>,
    /// The merchant's secret key; made in the data folder if not given
    #[arg(long, value_name = "FILE")]
    sk_file: Option<PathBuf>,
    /// Certificates in PEM that are trusted, beside the system's, when callbacks go over TLS
    #[arg(long, value_name = "FILE")]
    extra_ca_file: Option<PathBuf>,
    /// The simulator's own certificate chain in PEM: the open API answers https on the same port, too
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Divides all waits: at 60, the two minutes between retries become two seconds
    /// [default: 1, or what the scenario says]
    #[arg(long, value_name = "FACTOR", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) speed: Option<u32>,
    /// Names codes, orders and nonces; the same seed gives the same names
    /// [default: 1; for a scenario another one each time]
    #[arg(long, value_name = "NUMBER")]
    pub(super) seed: Option<u64>,
    /// Do not dial twice a day
    #[arg(long)]
    no_dial_tests: bool,
    /// Freeze a code so many days after its end (宽限期); 0 is never
    #[arg(long, value_name = "DAYS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=3_650))]
    grace_days: u64,
    /// Release a code so many days after that freeze (保留期); 0 is never
    #[arg(long, value_name = "DAYS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=3_650))]
    retention_days: u64,
    /// Keeps codes, pending calls and made secrets from one run to the next
    #[arg(long, value_name = "FOLDER", default_value = "authcoded-simulator")]
    pub(super) data_dir: PathBuf,
    #[command(flatten)]
    pub(super) story: Story,
}

/// What is told of a story to be played.
#[derive(Debug, clap::Args)]
pub(super) struct Story {
    /// Play the story in this file, tell step by step how it went, and end: 0 as expected, 1 not
    #[arg(long, value_name = "FILE", requires = "against", help_heading = "Stories")]
    pub(super) scenario: Option<PathBuf>,
    /// The callback URL of the server that the story tests
    #[arg(
        long,
        value_name = "URL",
        requires = "scenario",
        conflicts_with = "callback_url",
        help_heading = "Stories"
    )]
    pub(super) against: Option<String>,
    /// Where that server's admin interface is, if it is an authcoded: codes are then handed over to it,
    /// and its own state is looked at; without it such steps are skipped
    #[arg(
        long,
        value_name = "URL",
        requires = "scenario",
        requires = "admin_token_file",
        value_parser = admin_url,
        help_heading = "Stories"
    )]
    pub(super) admin: Option<String>,
    /// The file of its operators' token
    #[arg(long, value_name = "FILE", requires = "admin", help_heading = "Stories")]
    pub(super) admin_token_file: Option<PathBuf>,
    /// Print one JSON document instead of text
    #[arg(long, requires = "scenario", help_heading = "Stories")]
    pub(super) json: bool,
}

/// The token goes there, so it is held to the rule of all our addresses.
fn admin_url(text: &str) -> Result<String, BadUrl> {
    HttpUrl::parse(text).map(|url| url.as_str().to_owned())
}

/// Runs it until Ctrl-C or SIGTERM.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.story.scenario {
        return scenario::run(&args, file).await;
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    make_folder(&args.data_dir)?;
    let files = SecretFiles::of(&args);
    let settings = settings(&args, &files)?;
    let data_file = args.data_dir.join("marketplace.json");
    let simulator =
        Simulator::start(Settings { data_file: Some(data_file), ..settings }, Clock::system())
            .await
            .context("the simulated marketplace did not start")?;
    tell(simulator.address(), &files)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    simulator.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Where the secrets are.
#[derive(Debug)]
pub(super) struct SecretFiles {
    pub(super) access_key: PathBuf,
    pub(super) order_key: PathBuf,
    pub(super) ak: PathBuf,
    pub(super) sk: PathBuf,
}

impl SecretFiles {
    /// Those that were given, and for the others where they are or will be made.
    pub(super) fn of(args: &Args) -> Self {
        let made = |given: &Option<PathBuf>, name| {
            given.clone().unwrap_or_else(|| args.data_dir.join(name))
        };
        Self {
            access_key: made(&args.access_key_file, "access-key"),
            order_key: made(&args.order_key_file, "order-key"),
            ak: made(&args.ak_file, "ak"),
            sk: made(&args.sk_file, "sk"),
        }
    }
}

pub(super) fn settings(args: &Args, files: &SecretFiles) -> anyhow::Result<Settings> {
    const DAY: Duration = Duration::from_hours(24);
    let days = |number: u64| DAY * u32::try_from(number).unwrap_or(u32::MAX);
    let secret = |given: &Option<PathBuf>, path: &Path, letters, length| {
        if given.is_none() && !path.exists() {
            make_folder(&args.data_dir)?;
            make_secret(path, letters, length)?;
        }
        read_secret(path)
    };
    let access_key = secret(&args.access_key_file, &files.access_key, LETTERS, 36)?;
    let order_key = secret(&args.order_key_file, &files.order_key, LETTERS, 36)?;
    let ak = secret(&args.ak_file, &files.ak, CAPITALS, 20)?;
    let sk = secret(&args.sk_file, &files.sk, LETTERS, 40)?;
    Ok(Settings {
        listen: args.listen,
        callback_url: args.callback_url.clone(),
        order_url: args.order_url.clone(),
        order_key: Some(order_key),
        old_access_key: args.old_access_key_file.as_deref().map(read_secret).transpose()?,
        speed: args.speed.unwrap_or(1),
        seed: args.seed.unwrap_or(1),
        dial_tests: !args.no_dial_tests,
        extra_ca_file: args.extra_ca_file.clone(),
        tls: args
            .tls_cert
            .clone()
            .zip(args.tls_key.clone())
            .map(|(certificate, key)| CertificateFiles { certificate, key }),
        grace: days(args.grace_days),
        retention: days(args.retention_days),
        ..Settings::new(access_key, ak.expose_secret().to_owned(), sk)
    })
}

/// Says where everything is, on standard output.
fn tell(address: SocketAddr, files: &SecretFiles) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "The simulated marketplace is up.")?;
    writeln!(out, "  open API    http://{address}   (the daemon's marketplace.endpoints)")?;
    writeln!(out, "  console     http://{address}/console")?;
    writeln!(out, "  access key  {}   (callback.access-key-files)", files.access_key.display())?;
    writeln!(out, "  order key   {}   (orders.access-key-files)", files.order_key.display())?;
    writeln!(out, "  AK          {}   (marketplace.ak-file)", files.ak.display())?;
    writeln!(out, "  SK          {}   (marketplace.sk-file)", files.sk.display())?;
    writeln!(out, "Ctrl-C ends it.")?;
    Ok(out.flush()?)
}

pub(super) fn make_folder(path: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| {
        format!("cannot make the folder {}; give another --data-dir", path.display())
    })
}

/// Makes a secret that only its owner can read.
pub(super) fn make_secret(path: &Path, letters: &[u8], length: usize) -> anyhow::Result<()> {
    let random = SystemRandom::new();
    let mut text = String::with_capacity(length + 1);
    while text.len() < length {
        let mut byte = [0_u8];
        if random.fill(&mut byte).is_err() {
            bail!("the system gives no randomness to make {}", path.display());
        }
        // Bytes beyond the last whole set of letters would make some letters more likely.
        let whole = 256 / letters.len() * letters.len();
        if usize::from(byte[0]) < whole {
            text.push(char::from(letters[usize::from(byte[0]) % letters.len()]));
        }
    }
    text.push('\n');
    let secret = SecretString::from(text);
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| {
        file.write_all(secret.expose_secret().as_bytes())?;
        file.sync_all()
    })
    .with_context(|| format!("cannot make {}; give another --data-dir", path.display()))
}

/// Reads a secret; the line's end is not part of it.
pub(super) fn read_secret(path: &Path) -> anyhow::Result<SecretString> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map(SecretString::from).with_context(|| {
        format!("cannot read {name}; give the file of a secret, one line of text")
    })?;
    let line = text.expose_secret().trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.len() > SECRET_MAX || line.chars().any(char::is_control) {
        bail!("{name} does not hold a secret; it must be one line of 1 to {SECRET_MAX} bytes");
    }
    Ok(line.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_made_secret_is_the_owners_alone_and_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sk");
        make_secret(&path, LETTERS, 40).expect("made");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let secret = read_secret(&path).expect("a secret");
        assert!(secret.expose_secret().len() == 40);
        assert!(secret.expose_secret().bytes().all(|byte| LETTERS.contains(&byte)));
        assert!(make_secret(&path, LETTERS, 40).is_err(), "never made twice");
    }

    #[test]
    fn a_file_without_a_secret_is_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["", "\n", "two\nlines\n", &"x".repeat(SECRET_MAX + 1)] {
            let path = folder.path().join("access-key");
            std::fs::write(&path, text).expect("written");
            let error = read_secret(&path).expect_err("no secret").to_string();
            assert!(error.contains("access-key"), "{error}");
        }
    }
}
