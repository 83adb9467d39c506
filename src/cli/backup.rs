//! `authcoded backup` and `authcoded restore`: copies of the database, and the way back.
//!
//! Both open the database themselves: a backup only reads, and a restore holds the folder, which a daemon at
//! work would not leave to it.

use super::{Output, print};
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::hex;
use crate::lifecycle::facts_of_a_restore;
use crate::store::{self, Chain, Inventory, Link};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The database in the data folder.
const DATABASE: &str = "authcoded.db";

pub(super) const BACKUP_HELP: &str = "\
Copies the database as it is at this instant, whether the daemon runs or not, reads the copy back \
(every page, the chains, the rows of each table), makes it durable, and only then gives it its \
name. Whatever interrupts it, FILE is whole or not there. Its mode is 0600.

The secrets, the configuration and the two keys in the data folder (lease keys, client key) are not in \
it: copy them as you copy secrets.

Example:
  sudo authcoded backup /var/backups/authcoded.db";

pub(super) const RESTORE_HELP: &str = "\
The daemon must be stopped. A backup that is damaged, not ours, or of a newer version is refused, and \
nothing is changed. The database that was there is kept beside the restored one, with the time in its \
name. At its next start the daemon asks the marketplace about every code before it relies on it; a \
freeze that was told after the backup is told by callbacks only, so restart such calls in the seller's \
console.

Example:
  sudo systemctl stop authcoded.service authcoded-callback.socket
  sudo authcoded restore /var/backups/authcoded.db
  sudo systemctl start authcoded-callback.socket authcoded.service";

/// What to copy to.
#[derive(Debug, clap::Args)]
#[command(after_help = BACKUP_HELP)]
pub(super) struct BackupArgs {
    /// The file to write; its folder must be there
    file: PathBuf,
    /// Take the place of a file of that name
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: Output,
}

/// What to put back.
#[derive(Debug, clap::Args)]
#[command(after_help = RESTORE_HELP)]
pub(super) struct RestoreArgs {
    /// The backup
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// Copies the database.
pub(super) fn back_up(config: &Path, args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let database = Config::load(config)?.data_dir.join(DATABASE);
    let made = store::back_up(&database, &args.file, args.force)?;
    if args.output.json {
        print::json(&document(&args.file, &made))?;
    } else {
        print::line(&format!("{}: {}", args.file.display(), in_words(&made)))?;
    }
    // It is kept, and somebody must look at it.
    Ok(if made.broken.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Puts a backup back.
pub(super) fn restore(config: &Path, args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let folder = Config::load(config)?.data_dir;
    let now = Clock::system().now();
    let restored = store::restore(&folder, &args.file, now, &facts_of_a_restore(now))?;
    let database = folder.join(DATABASE);
    if args.output.json {
        let mut document = document(&database, &restored.inventory);
        document["restored_from"] = json!(args.file);
        document["replaced"] = json!(restored.replaced);
        document["reconciles_all"] = json!(true);
        print::json(&document)?;
        return Ok(ExitCode::SUCCESS);
    }
    print::line(&format!("{}: {}", database.display(), in_words(&restored.inventory)))?;
    if let Some(replaced) = restored.replaced {
        print::line(&format!("The database that was there is kept as {}.", replaced.display()))?;
    }
    print::line(
        "At its next start the daemon asks the marketplace about every code before it relies on it. \
         Restart failed calls of the last days in the seller's console: a freeze is told by callbacks only.",
    )?;
    Ok(ExitCode::SUCCESS)
}

fn document(file: &Path, held: &Inventory) -> Value {
    let heads = held.heads.iter().map(|(chain, head)| {
        (chain.as_str().to_owned(), json!({ "id": head.id, "hash": hex::encode(&head.hash) }))
    });
    let of_events = |(chain, head): &(Chain, _)| (*chain == Chain::Events).then_some(*head);
    let last = held.heads.iter().find_map(of_events).filter(|head: &Link| head.id > 0);
    json!({
        "file": file,
        "bytes": held.bytes,
        "schema": held.schema,
        "rows": held.rows,
        "chain_end": last.map(|head| hex::encode(&head.hash)),
        "broken": held.broken.map(|(chain, row)| json!({ "chain": chain.as_str(), "id": row })),
        "heads": heads.collect::<serde_json::Map<_, _>>(),
    })
}

fn in_words(held: &Inventory) -> String {
    let rows = |table| held.rows.get(table).copied().unwrap_or(0);
    let chains = held.broken.map_or_else(
        || "the chains hold".to_owned(),
        |(chain, row)| {
            format!("the chain of {} does NOT hold at row {row}: copied as it is", chain.as_str())
        },
    );
    format!(
        "{} codes, {} events and {} callbacks ({chains}); schema {}, {} bytes, checked",
        rows("license"),
        rows("event"),
        rows("callback"),
        held.schema,
        held.bytes
    )
}
