//! The command line: one file per family of commands.
//!
//! Invariant: what changes a running daemon goes through its admin API; the database is opened by `backup`,
//! `restore`, `doctor` and `evidence` alone, of which only `restore` writes, and only where no daemon runs.

mod alarm;
mod api;
mod backup;
mod callback;
mod check;
mod codes;
mod csv;
mod delisting;
mod doctor;
mod drift;
mod evidence;
mod guard;
mod import;
mod instant;
mod job;
mod lease;
mod license;
mod log;
mod man;
mod order;
mod print;
mod probe;
mod sandbox;
mod scenario;
mod serve;
mod setup;
mod simulate;
mod status;
mod token;
mod usage;

use crate::config::DEFAULT_PATH;
use crate::telemetry::error_chain;
use api::Api;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

const ABOUT: &str = "Owns the life of every License 2.0 authorization code of a KooGallery merchant: \
receives the marketplace's callbacks, activates and queries codes, and tells the licensed software \
whether a code may run.";

const START_HERE: &str = "\
Start here:
  authcoded sandbox                        see it work, without configuration or keys
  authcoded setup                          write configuration and secrets, start the units
  authcoded doctor                         is anything in the way?
  authcoded serve                          run the daemon (usually: systemctl start authcoded)
  authcoded status                         what is going on, and does anything need me?
  authcoded license show CODE              one code, with its history
  authcoded log --since 1h                 what happened lately

Exit status: 0 done, 1 failed, 2 the command line is wrong.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "authcoded", version, about = ABOUT, after_help = START_HERE)]
#[command(arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = DEFAULT_PATH, display_order = 900)]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    #[command(after_help = serve::HELP)]
    Serve,
    /// Try everything against a simulated marketplace, without configuration or keys
    Sandbox(sandbox::Args),
    /// Run the simulated marketplace alone, to test any callback server
    Simulate(Box<simulate::Args>),
    /// Set up configuration, secrets and units, and see the first heartbeat
    Setup(Box<setup::Args>),
    /// Look for faults in the configuration and its secrets
    #[command(after_help = check::HELP)]
    Check(Output),
    /// Look for whatever could keep the daemon from its work, on this machine and around it
    #[command(after_help = doctor::HELP)]
    Doctor(Output),
    /// Show what is going on: codes by state, alarms, heartbeat, marketplace
    Status(Output),
    /// Look at authorization codes, register them, and act on them
    #[command(subcommand)]
    License(license::Command),
    /// Look at the calls that the marketplace made
    #[command(subcommand)]
    Callback(callback::Command),
    /// Look at the orders that the marketplace told of, and ask about orders
    #[command(subcommand)]
    Order(order::Command),
    /// Look at alarms, say that somebody looks after one, and test who is told
    #[command(subcommand)]
    Alarm(alarm::Command),
    /// Run and list availability heartbeats: what the marketplace's dial test would find
    #[command(subcommand)]
    Probe(probe::Command),
    /// Show the delisting clock, failed calls, what is to be restarted by hand, and missed calls
    #[command(after_help = guard::HELP)]
    Guard(guard::Args),
    /// List and run the background jobs
    #[command(subcommand)]
    Job(job::Command),
    /// Compare codes with the marketplace, and repair what differs
    #[command(after_help = drift::HELP)]
    Drift(drift::Args),
    /// Look at the keys that sign leases, and change them
    #[command(subcommand)]
    Lease(lease::Command),
    /// Look at how codes are used, and whether the marketplace was told
    #[command(subcommand)]
    Usage(usage::Command),
    /// Read what happened, from the event table of the running daemon
    #[command(after_help = log::HELP)]
    Log(log::Args),
    /// Write what happened into a file that others can check, or check one
    #[command(after_help = evidence::HELP)]
    Evidence(evidence::Args),
    /// Copy the database, while the daemon runs or not, and check the copy
    Backup(backup::BackupArgs),
    /// Put a backup in the place of the database of a stopped daemon
    Restore(backup::RestoreArgs),
    /// Print the rules: state transitions, marketplace codes, our answers
    Codes(Output),
    /// Print what completes this command line in a shell
    Completions(man::CompletionsArgs),
    /// Write the manual pages
    #[command(hide = true)]
    Man(man::ManArgs),
    /// Make access tokens for the two local listeners
    #[command(subcommand)]
    Token(token::Command),
}

/// How data is printed.
#[derive(Debug, Clone, Copy, Args)]
struct Output {
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

/// Parses the command line, runs the command, and tells how it went.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(code) => code,
        // `authcoded log | head` has got what it wanted.
        Err(error) if print::reader_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("authcoded: {}", error_chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = cli.config;
    match cli.command {
        Command::Serve => serve::run(&config),
        Command::Sandbox(args) => sandbox::run(&args),
        Command::Simulate(args) => wait_for(simulate::run(*args)),
        Command::Setup(args) => wait_for(setup::run(&config, *args)),
        Command::Check(output) => check::run(&config, output),
        Command::Doctor(output) => wait_for(doctor::run(&config, output)),
        Command::Status(output) => wait_for(status::run(Api::of(&config)?, output)),
        Command::License(command) => wait_for(license::run(Api::of(&config)?, command)),
        Command::Callback(command) => wait_for(callback::run(Api::of(&config)?, command)),
        Command::Order(command) => wait_for(order::run(Api::of(&config)?, command)),
        Command::Alarm(command) => wait_for(alarm::run(Api::of(&config)?, command)),
        Command::Probe(command) => wait_for(probe::run(Api::of(&config)?, command)),
        Command::Guard(args) => wait_for(guard::run(Api::of(&config)?, args)),
        Command::Job(command) => wait_for(job::run(Api::of(&config)?, command)),
        Command::Drift(args) => wait_for(drift::run(Api::of(&config)?, args)),
        Command::Lease(command) => wait_for(lease::run(Api::of(&config)?, command)),
        Command::Usage(command) => wait_for(usage::run(Api::of(&config)?, command)),
        Command::Log(args) => wait_for(log::run(Api::of(&config)?, args)),
        Command::Evidence(args) => wait_for(evidence::run(&config, args)),
        Command::Backup(args) => backup::back_up(&config, &args),
        Command::Restore(args) => backup::restore(&config, &args),
        Command::Codes(output) => codes::run(output),
        Command::Completions(args) => man::completions(&args, Cli::command()),
        Command::Man(args) => man::write(&args, Cli::command()),
        Command::Token(command) => token::run(&command),
    }
}

/// Runs a command that talks to the daemon; one thread is plenty for it.
fn wait_for(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

#[cfg(test)]
mod tests;
