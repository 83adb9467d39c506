//! `authcoded setup`: from an installed package to the first heartbeat.
//!
//! Invariant: what is there already is kept, so that a second run changes nothing; no secret is an argument
//! of a command, and none is shown.

use super::api::{Api, PROBE_PATIENCE, Query};
use super::doctor;
use super::man::SHIPPED;
use super::{Output, print, probe, token};
use crate::config::{Config, HttpUrl, Severity};
use anyhow::{Context as _, bail};
use secrecy::zeroize::Zeroizing;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

/// The address in the shipped configuration that is to be changed.
const EXAMPLE_URL: &str = "https://license.example.com/koogallery/callback";
const UNITS: [&str; 2] = ["authcoded-callback.socket", "authcoded.service"];
/// How long the daemon may take until it answers.
const START: Duration = Duration::from_mins(1);

pub(super) const HELP: &str = "\
Writes the configuration (where --config says) and the secrets beside it, makes the two tokens, tries the \
marketplace and the public address, enables the units where systemd runs, and ends with the first \
heartbeat. It asks for what it is not told; with --yes it asks nothing. What is there already is kept: a \
second run changes nothing. The daemon makes its lease key at its first start.

Examples:
  sudo authcoded setup
  sudo authcoded setup --yes --public-url https://license.example.com/koogallery/callback \\
      --access-key-from key.txt --ak-from ak.txt --sk-from sk.txt";

/// What it is told on the command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Ask nothing: whatever is missing is an error
    #[arg(long)]
    yes: bool,
    /// The address that the seller's console holds
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// A file that holds the access key of callbacks (Key值), or - for standard input
    #[arg(long, value_name = "FILE")]
    access_key_from: Option<PathBuf>,
    /// A file that holds the access key id (AK)
    #[arg(long, value_name = "FILE")]
    ak_from: Option<PathBuf>,
    /// A file that holds the secret access key (SK)
    #[arg(long, value_name = "FILE")]
    sk_from: Option<PathBuf>,
    /// The folder of the database, if it is not to be the usual one
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// The marketplace's address, if it is not to be the usual two: a simulated one, for example
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Leave systemd alone
    #[arg(long)]
    no_unit: bool,
}

/// Runs it.
pub(super) async fn run(file: &Path, args: Args) -> anyhow::Result<ExitCode> {
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o755).create(folder);
    made.with_context(|| format!("{}: run as root", folder.display()))?;
    configuration(file, &args)?;
    for (name, what, from) in [
        (
            "access-key",
            "the access key (Key值) bound to License授权码交付接口",
            &args.access_key_from,
        ),
        ("ak", "the access key id (AK) of the account", &args.ak_from),
        ("sk", "its secret access key (SK)", &args.sk_from),
    ] {
        let ask = || secret(name, what, from.as_deref(), args.yes);
        keep_or_write(&folder.join(name), ask)?;
    }
    for name in ["admin-token", "software-token"] {
        keep_or_write(&folder.join(name), token::fresh)?;
    }
    let config = checked(file)?;
    if !doctor::try_outside(&config).await? {
        print::line(
            "\nThe above is to be put right; the daemon can start all the same, and goes on trying.",
        )?;
    }
    if args.no_unit || !Path::new("/run/systemd/system").exists() {
        print::line("\nNow start it, and look at its first heartbeat:")?;
        print::line(&format!("  authcoded --config {} serve", file.display()))?;
        print::line(&format!("  authcoded --config {} probe run", file.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    enable_units()?;
    first_heartbeat(file).await
}

fn configuration(file: &Path, args: &Args) -> anyhow::Result<()> {
    let there = match std::fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| file.display().to_string()),
    };
    let mut text = there.clone().unwrap_or_else(|| SHIPPED.to_owned());
    if text.contains(EXAMPLE_URL) {
        let url = match (&args.public_url, args.yes) {
            (Some(url), _) => url.clone(),
            (None, true) => {
                bail!("--public-url is missing: the address that the seller's console holds")
            }
            (None, false) => asked("The address that the seller's console holds (https://…)")?,
        };
        let parsed = HttpUrl::parse(&url).with_context(|| format!("--public-url {url}"))?;
        text = text.replacen(EXAMPLE_URL, &url, 1);
        let path = format!("path = \"{}\"", parsed.path());
        text = text.replacen("path = \"/koogallery/callback\"", &path, 1);
    }
    if there.is_none() {
        if let Some(folder) = &args.data_dir {
            text = text.replacen(
                "\"/var/lib/authcoded\"",
                &format!("{:?}", folder.display().to_string()),
                1,
            );
        }
        if let Some(endpoint) = &args.endpoint {
            let usual =
                text.lines().find(|line| line.starts_with("#endpoints = ")).unwrap_or_default();
            text = text.replacen(&usual.to_owned(), &format!("endpoints = [{endpoint:?}]"), 1);
        }
    }
    if there.as_ref() == Some(&text) {
        print::line(&format!("kept    {}", file.display()))?;
        return Ok(());
    }
    replace(file, text.as_bytes(), 0o644)?;
    print::line(&format!("written {}", file.display()))?;
    Ok(())
}

fn keep_or_write(
    file: &Path,
    text: impl FnOnce() -> anyhow::Result<Zeroizing<String>>,
) -> anyhow::Result<()> {
    if file.exists() {
        print::line(&format!("kept    {}", file.display()))?;
        return Ok(());
    }
    replace(file, text()?.as_bytes(), 0o600)?;
    print::line(&format!("written {}", file.display()))?;
    Ok(())
}

/// Whole or not at all, and never open to others for a moment.
fn replace(file: &Path, text: &[u8], mode: u32) -> anyhow::Result<()> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let new = file.with_file_name(format!(".{name}.new"));
    drop(std::fs::remove_file(&new));
    let write = || {
        let mut out = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        out.write_all(text)?;
        out.sync_all()?;
        std::fs::rename(&new, file)?;
        File::open(
            file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(".")),
        )?
        .sync_all()
    };
    write().with_context(|| format!("{} cannot be written", file.display()))
}

/// A secret from a file, from standard input, or typed without being shown.
fn secret(
    name: &str,
    what: &str,
    from: Option<&Path>,
    yes: bool,
) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    match from {
        Some(path) if path == Path::new("-") => {
            std::io::stdin().lock().read_line(&mut text)?;
        }
        Some(path) => {
            let mut file = File::open(path).with_context(|| path.display().to_string())?;
            file.read_to_string(&mut text).with_context(|| path.display().to_string())?;
        }
        None if yes => bail!("--{name}-from is missing: a file that holds {what}"),
        None => *text = hidden(what)?,
    }
    let line = text.trim();
    if line.is_empty() {
        bail!("{name}: nothing was given: it is to be {what}");
    }
    Ok(Zeroizing::new(format!("{line}\n")))
}

fn asked(what: &str) -> anyhow::Result<String> {
    eprint!("{what}: ");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn hidden(what: &str) -> anyhow::Result<String> {
    let echo = |word: &str| {
        if std::io::stdin().is_terminal() {
            drop(Command::new("stty").arg(word).status());
        }
    };
    echo("-echo");
    let line = asked(&format!("{what} (not shown)"));
    echo("echo");
    eprintln!();
    line
}

fn checked(file: &Path) -> anyhow::Result<Config> {
    let config = Config::load(file)?;
    let problems = config.check(file);
    for problem in &problems {
        print::line(&problem.to_string())?;
    }
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        bail!("the configuration has errors: correct them and run this again");
    }
    Ok(config)
}

fn enable_units() -> anyhow::Result<()> {
    for args in [&["daemon-reload"][..], &["enable", "--now", UNITS[0], UNITS[1]][..]] {
        let status = Command::new("systemctl").args(args).status().context("systemctl")?;
        if !status.success() {
            bail!("systemctl {} failed: journalctl -u authcoded -n 50 says why", args.join(" "));
        }
    }
    Ok(())
}

async fn first_heartbeat(file: &Path) -> anyhow::Result<ExitCode> {
    let mut api = Api::of(file)?;
    let began = std::time::Instant::now();
    while let Err(error) = api.get("/v1/summary", &Query::default()).await {
        if began.elapsed() > START {
            return Err(error.into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    print::line("")?;
    probe::heartbeat(&mut api, Output { json: false }, PROBE_PATIENCE).await
}
