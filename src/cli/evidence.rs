//! `authcoded evidence …`: what happened, in a file that others can check.
//!
//! Invariant: an archive appears whole under its name or not at all, and only its owner may read it.

mod archive;
mod rows;
mod verify;

use super::instant::{WHEN, When};
use super::license::code;
use super::print;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::license::Code;
use crate::store::{Chain, ReadOnly, Selection, StoreError};
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) const HELP: &str = "\
Reads the database itself, also while the daemon runs: run it as the daemon's user or root. Without a \
selection everything is taken. Of what is not selected only digests go into the archive, so that its \
chains can be checked without telling of other codes. The file says itself how to check it; \
verify-evidence.py (in /usr/share/authcoded) does so without this program.

Examples:
  authcoded evidence case-17.tar --code PL1AbCdEf
  authcoded evidence october.tar --since 2026-10-01 --until 2026-11-01
  authcoded evidence verify case-17.tar
  authcoded evidence verify                  the database itself";

/// What goes into an archive, or what is to be checked.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Args {
    #[command(subcommand)]
    verify: Option<Command>,
    /// The archive to write, a tar file
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// Only what concerns this code
    #[arg(long, value_parser = code)]
    code: Option<Code>,
    /// Only what concerns this order
    #[arg(long, value_name = "ORDER")]
    order: Option<String>,
    /// Only at or after this time
    #[arg(long, value_name = "TIME", help = format!("Only at or after this: {WHEN}"))]
    since: Option<When>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Replace a file of this name
    #[arg(long)]
    force: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check an archive, or the database itself
    Verify {
        /// The archive; without one, the database of the configuration
        file: Option<PathBuf>,
        /// A line `chain heads: …` of the journal, which the chains must pass through
        #[arg(long, value_name = "LINE", requires = "file")]
        heads: Option<String>,
    },
}

/// Runs it.
pub(super) async fn run(config: &Path, args: Args) -> anyhow::Result<ExitCode> {
    match args.verify {
        Some(Command::Verify { file: Some(file), heads }) => {
            verify::run(&file, heads.as_deref()).with_context(|| format!("{}", file.display()))?;
        }
        Some(Command::Verify { file: None, .. }) => verify_database(config)?,
        None => write(config, args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn write(config: &Path, args: Args) -> anyhow::Result<()> {
    let Some(file) = args.file else { bail!("name the archive to write") };
    let database = ReadOnly::open(&Config::load(config)?.data_dir)?;
    let selection = Selection {
        code: args.code.map(|code| code.as_str().to_owned()),
        order_id: args.order,
        since: args.since.map(When::instant),
        until: args.until.map(When::instant),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let target = file.clone();
    let made_at = Clock::system().now();
    let mut writing = tokio::task::spawn_blocking(move || {
        archive::write(&database, &selection, &target, args.force, made_at, &stopped)
    });
    let mut signals = crate::daemon::Signals::new()?;
    let written = tokio::select! {
        written = &mut writing => written,
        _ = signals.next() => {
            stop.store(true, Ordering::Relaxed);
            writing.await
        }
    };
    let told = written.context("the archive was not finished")??;
    print::line(&told)?;
    print::line(&format!(
        "{} is written; check it with `authcoded evidence verify`",
        file.display()
    ))
}

fn verify_database(config: &Path) -> anyhow::Result<()> {
    let database = ReadOnly::open(&Config::load(config)?.data_dir)?;
    for chain in Chain::ALL {
        let report = database.read(|snapshot| snapshot.verify_chain(chain))?;
        if let Some(id) = report.broken_at {
            return Err(StoreError::ChainBroken { chain: chain.as_str(), id }.into());
        }
        print::line(&format!("{}: {} rows, every link holds", chain.as_str(), report.rows))?;
    }
    Ok(())
}
