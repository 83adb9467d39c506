//! A backup takes the place of the database, which is kept aside.
//!
//! Invariant: whenever it is interrupted, `authcoded.db` is the old database or the restored one, whole, and
//! never the one with the log of the other.

use super::backup::{BackupError, Inventory, Part, examine, is_same, sync_folder};
use super::schema::{FILE, LOCK, lock};
use crate::domain::time::{DateText, Timestamp};
use rusqlite::{Connection, OpenFlags};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What was put back.
#[derive(Debug)]
pub struct Restored {
    /// What the database holds now.
    pub inventory: Inventory,
    /// Where the database went that was there before.
    pub replaced: Option<PathBuf>,
}

/// Puts a backup into the place of the database in `folder`, with these facts set in it.
///
/// # Errors
/// A daemon at work there, a backup of a newer version, one that is damaged or not ours, or a file that
/// cannot be written: the database is then as it was.
pub fn restore(
    folder: &Path,
    backup: &Path,
    now: Timestamp,
    facts: &[(&str, String)],
) -> Result<Restored, BackupError> {
    let held = lock(folder)?;
    let database = folder.join(FILE);
    if !backup.is_file() {
        return Err(BackupError::Missing(backup.to_owned()));
    }
    if is_same(backup, &database) {
        return Err(BackupError::Itself(backup.to_owned()));
    }
    // Said of the file that was named, before anything is written.
    examine(backup)?.whole(backup)?;
    let part = Part::take(&database)?;
    let inventory = part.fill(backup)?;
    part.set_facts(facts)?;
    part.sync()?;
    let replaced = keep_aside(&database, now)?;
    part.finish(true)?;
    for file in [database, folder.join(LOCK)] {
        give_to_owner_of(folder, &file)?;
    }
    drop(held);
    Ok(Restored { inventory, replaced })
}

/// Gives the database a second name. Its log goes into it, or with it if it is too damaged for that.
fn keep_aside(database: &Path, now: Timestamp) -> Result<Option<PathBuf>, BackupError> {
    let is_there = database.exists();
    if is_there {
        drop(empty_log(database));
    }
    let beside = |end: &str| database.with_file_name(format!("{FILE}{end}"));
    let aside = beside(&format!(".replaced-{}", DateText::from_utc(now).as_str()));
    let failed = |source| BackupError::File { file: aside.clone(), source };
    if is_there {
        std::fs::hard_link(database, &aside).map_err(failed)?;
    }
    // Also the log of a database that somebody moved away: it must not be taken for that of the restored one.
    for end in ["-wal", "-shm", "-journal"] {
        let log = beside(end);
        if log.exists() {
            let mut name = aside.clone().into_os_string();
            name.push(end);
            std::fs::rename(&log, name).map_err(failed)?;
        }
    }
    sync_folder(database)?;
    Ok(is_there.then_some(aside))
}

/// Nobody else has it open: the folder is ours. Closing the last connection takes the log away.
fn empty_log(database: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(database, flags)?;
    // It learns by its first read that there is a log.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Root restores, and another user runs the daemon.
fn give_to_owner_of(folder: &Path, file: &Path) -> Result<(), BackupError> {
    let give = || {
        // Not through a link, which the daemon's user could have put there.
        let (owner, own) = (std::fs::metadata(folder)?, std::fs::symlink_metadata(file)?);
        if (owner.uid(), owner.gid()) == (own.uid(), own.gid()) {
            return Ok(());
        }
        std::os::unix::fs::lchown(file, Some(owner.uid()), Some(owner.gid()))
    };
    give().map_err(|source| BackupError::File { file: file.to_owned(), source })
}
