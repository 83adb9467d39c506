//! `authcoded sandbox`: a daemon and a simulated marketplace, joined by the real wire protocol only, and
//! lives of codes in compressed time.
//!
//! Invariant: the daemon here is the one that `serve` runs, with a configuration file, secrets in files
//! and a database on disk; only its clock is faster, and the marketplace's with it.

mod ground;
mod story;

use crate::daemon::{Daemon, Signals};
use crate::simulator::{Settings, Simulator};
use crate::telemetry::{self, Format, Level};
use anyhow::Context as _;
use ground::Ground;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use story::Story;

pub(super) const HELP: &str = "\
It needs no configuration and no keys: it makes its own under --data-dir, and goes on there when \
it is started again. While it runs, every other command works on it:

  authcoded --config authcoded-sandbox/authcoded.toml log
  authcoded --config authcoded-sandbox/authcoded.toml license list
  authcoded --config authcoded-sandbox/authcoded.toml probe list";

/// How often the clock's reading is kept for the next start.
const KEEP_CLOCK_EVERY: Duration = Duration::from_secs(1);

/// What it is told on the command line.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Where configuration, secrets and both sides' data are kept
    #[arg(long, value_name = "FOLDER", default_value = "authcoded-sandbox")]
    data_dir: PathBuf,
    /// How many times faster than real time the sandbox's clock runs; the signature window of 60 s
    /// shrinks with it
    #[arg(long, value_name = "FACTOR", default_value_t = 240, value_parser = clap::value_parser!(u32).range(1..=600))]
    speed: u32,
    /// End by itself after so many real seconds
    #[arg(long, value_name = "SECONDS")]
    stop_after: Option<u64>,
}

/// Runs it until Ctrl-C or SIGTERM.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    telemetry::init(Level::Error, Format::Auto);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(play(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn play(args: &Args) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let mut ground = Ground::prepare(&args.data_dir, args.speed)?;
    let simulator = Simulator::start(marketplace(&ground), ground.clock.clone())
        .await
        .context("the simulated marketplace did not start")?;
    let (config, secrets) = ground.configure(simulator.address())?;
    let daemon = Daemon::start(config, secrets, ground.clock.clone()).await;
    let mut daemon = match daemon {
        Ok(daemon) => daemon,
        Err(error) => {
            simulator.stop().await;
            return Err(error);
        }
    };
    let story = Story::new(&ground, simulator.address(), daemon.addresses)?;
    story.introduce()?;
    let stop_after = args.stop_after.map_or(Duration::MAX, Duration::from_secs);
    let ended = tokio::select! {
        _ = signals.next() => Ok(()),
        () = tokio::time::sleep(stop_after) => Ok(()),
        end = daemon.writer_ended() => Err(anyhow::anyhow!("the daemon's writer ended: {end:?}")),
        told = story.tell() => told,
        kept = keep_clock(&ground) => kept,
    };
    println!("Ending; start it again on the same folder and it goes on.");
    let stopped = daemon.stop().await;
    simulator.stop().await;
    ground.keep_clock()?;
    ended.and(stopped)
}

fn marketplace(ground: &Ground) -> Settings {
    Settings {
        listen: ground.ports.marketplace,
        callback_url: Some(ground.callback_url()),
        dial_tests: true,
        seed: ground.seed,
        data_file: Some(ground.folder.join("marketplace.json")),
        ..Settings::new(ground.access_key.clone(), ground.ak.clone(), ground.sk.clone())
    }
}

/// Never returns unless the clock cannot be kept.
async fn keep_clock(ground: &Ground) -> anyhow::Result<()> {
    loop {
        ground.keep_clock()?;
        tokio::time::sleep(KEEP_CLOCK_EVERY).await;
    }
}
