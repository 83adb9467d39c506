//! `authcoded serve`: everything is parsed and checked before anything is opened or bound.

use crate::config::Config;
use crate::telemetry;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long work that cannot be stopped is waited for at the end.
const LAST_WAIT: Duration = Duration::from_secs(1);

pub(super) const HELP: &str = "\
Reads the configuration, refuses it if `authcoded check` finds an error, opens the database, \
catches up on what was missed, and serves until SIGTERM or Ctrl-C. Logs go to standard error.

SIGHUP reads the configuration and its secrets again: keys, tokens, certificate, log level, heartbeat \
times and public address change without a call dropped; what needs a restart is said in the log. A \
configuration with an error is refused, and the one before stays in force.

Example:
  authcoded --config ./authcoded.toml serve";

/// Runs it until it is told to stop.
pub(super) fn run(file: &Path) -> anyhow::Result<ExitCode> {
    let (config, warnings) = Config::load_checked(file)?;
    telemetry::init(config.log.level, config.log.format);
    for warning in warnings {
        tracing::warn!(
            key = warning.key,
            line = warning.line,
            "{}; {}",
            warning.text,
            warning.remedy
        );
    }
    let secrets = config.load_secrets()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(crate::daemon::run(config, secrets, file));
    // A name that is being resolved, or a copy of the database under way, keeps nobody waiting.
    runtime.shutdown_timeout(LAST_WAIT);
    ended?;
    Ok(ExitCode::SUCCESS)
}
