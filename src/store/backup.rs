//! Copies of the whole database, made while it is at work and checked before they count.
//!
//! Invariant: what stands under the name that was asked for is whole, checked and durable; a copy that was
//! interrupted is only ever found as `.NAME.part`, and the next one to the same name takes that away.

use super::chain::{Chain, Link};
use super::relink::walk_earlier;
use super::schema::{WITH_CHAINS, identify, open_for_reading, sqlite};
use super::{OpenError, Snapshot, StoreError};
use rusqlite::backup::{Backup as Copying, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::fs::{File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long to wait before a page is tried again that another connection holds.
const PAUSE: Duration = Duration::from_millis(20);
/// How often, so that a copy ends in a fault and not never.
const TRIES: u32 = 500;

/// Why there is no copy. Nothing stands under the name that was asked for that did not before.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The name is taken.
    #[error("{0} exists and was left alone: name another file, or overwrite it with --force")]
    Exists(PathBuf),
    /// Somebody copies to the same name.
    #[error("another backup to {0} is under way: wait for it, or name another file")]
    Busy(PathBuf),
    /// There is nothing to copy.
    #[error("{0}: no such database; is data-dir right, and may this user read it?")]
    Missing(PathBuf),
    /// It would be copied over itself.
    #[error("{0} is the database itself: name a backup of it")]
    Itself(PathBuf),
    /// A file cannot be written, synced or renamed.
    #[error("{file}: {source}")]
    File {
        /// The file or folder.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database, or the copy when it was checked, is not what it should be.
    #[error(transparent)]
    Database(#[from] OpenError),
}

/// What a database holds, all of it read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// The number of its schema.
    pub schema: i64,
    /// Rows by table.
    pub rows: BTreeMap<String, i64>,
    /// Where each chain ends: a hash covers every row before. Before schema 8 there was only that of the events.
    pub heads: Vec<(Chain, Link)>,
    /// The first row at which a chain does not hold, if there is one.
    pub broken: Option<(Chain, i64)>,
    /// The file's length.
    pub bytes: u64,
}

impl Inventory {
    /// Itself, if every chain holds; `file` is what was read.
    ///
    /// # Errors
    /// [`OpenError::Chain`].
    pub fn whole(self, file: &Path) -> Result<Self, OpenError> {
        match self.broken {
            None => Ok(self),
            Some((chain, row)) => {
                Err(OpenError::Chain { file: file.to_owned(), chain: chain.as_str(), row })
            }
        }
    }
}

/// Reads a whole database that nobody needs to have open: whose it is, every page, the chains.
///
/// # Errors
/// [`OpenError`] says what is wrong with it; nothing is changed. A chain that does not hold is told in the
/// inventory: such a database is still the only one there is.
pub fn examine(file: &Path) -> Result<Inventory, OpenError> {
    let connection = open_for_reading(file)?;
    let schema = identify(file, &connection)?;
    connection.execute_batch("BEGIN").map_err(|source| sqlite(file, source))?;
    let damaged = |what| OpenError::Damaged { file: file.to_owned(), what };
    let failed = |error| match error {
        StoreError::Sql(source) => sqlite(file, source),
        other => damaged(other.to_string()),
    };
    let snapshot = Snapshot { connection: &connection };
    if let Some(what) = snapshot.integrity_fault().map_err(failed)? {
        return Err(damaged(what));
    }
    let (mut heads, mut broken) = (Vec::new(), None);
    let chains = if schema < WITH_CHAINS { &[Chain::Events] } else { &Chain::ALL[..] };
    for chain in chains.iter().copied() {
        let (report, head) = if schema < WITH_CHAINS {
            walk_earlier(&connection).map_err(|source| sqlite(file, source))?
        } else {
            let report = snapshot.verify_chain(chain).map_err(failed)?;
            (report, snapshot.chain_ends(chain).map_err(failed)?.1)
        };
        broken = broken.or(report.broken_at.map(|row| (chain, row)));
        heads.push((chain, head));
    }
    let rows = count_rows(&connection).map_err(|source| sqlite(file, source))?;
    let bytes = std::fs::metadata(file).map_or(0, |meta| meta.len());
    Ok(Inventory { schema, rows, heads, broken, bytes })
}

/// One fact of a database that nobody needs to have open.
///
/// # Errors
/// [`OpenError`].
pub fn peek_fact(file: &Path, name: &str) -> Result<Option<String>, OpenError> {
    let connection = open_for_reading(file)?;
    let fact = Snapshot { connection: &connection }.fact(name);
    fact.map_err(|error| OpenError::Damaged { file: file.to_owned(), what: error.to_string() })
}

/// Copies `database`, as it is at this instant, to `to` (mode 0600), and reads the copy back. The daemon
/// may be at work on it, or not.
///
/// # Errors
/// [`BackupError`]; without `force`, a file that is there already is one.
pub fn back_up(database: &Path, to: &Path, force: bool) -> Result<Inventory, BackupError> {
    if !database.is_file() {
        return Err(BackupError::Missing(database.to_owned()));
    }
    if is_same(database, to) {
        return Err(BackupError::Itself(to.to_owned()));
    }
    if !force && std::fs::symlink_metadata(to).is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let part = Part::take(to)?;
    let inventory = part.fill(database)?;
    part.sync()?;
    part.finish(force)?;
    Ok(inventory)
}

pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let real = std::fs::canonicalize;
    matches!((real(one), real(other)), (Ok(one), Ok(other)) if one == other)
}

fn count_rows(connection: &Connection) -> rusqlite::Result<BTreeMap<String, i64>> {
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    let tables = statement.query_map([], |row| row.get::<_, String>(0))?;
    let count = |table: rusqlite::Result<String>| {
        let table = table?;
        let sql = format!("SELECT count(*) FROM \"{table}\"");
        let rows = connection.query_row(&sql, [], |row| row.get(0))?;
        Ok((table, rows))
    };
    tables.map(count).collect()
}

/// A copy that is being made, under a name that nobody takes for a finished one.
pub(super) struct Part {
    path: PathBuf,
    to: PathBuf,
    /// Holds the lock that keeps a second copy to the same name away.
    file: File,
    finished: bool,
}

impl Part {
    pub(super) fn take(to: &Path) -> Result<Self, BackupError> {
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let path = to.with_file_name(format!(".{name}.part"));
        let failed = |source| BackupError::File { file: path.clone(), source };
        let mut options = File::options();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::Busy(to.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let ours = file.metadata().map_err(failed)?.ino();
        if std::fs::metadata(&path).map(|meta| meta.ino()).ok() != Some(ours) {
            // Whoever held the lock has just finished and renamed it.
            return Err(BackupError::Busy(to.to_owned()));
        }
        let part = Self { path: path.clone(), to: to.to_owned(), file, finished: false };
        forget_journals(&part.path);
        part.file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
        part.file.set_len(0).map_err(failed)?;
        Ok(part)
    }

    /// Copies one snapshot of `database`, and compares what was counted in it with what the copy holds.
    pub(super) fn fill(&self, database: &Path) -> Result<Inventory, BackupError> {
        let source = open_for_reading(database)?;
        identify(database, &source)?;
        let failed = |error| sqlite(database, error);
        source.execute_batch("BEGIN").map_err(failed)?;
        let rows = count_rows(&source).map_err(failed)?;
        self.copy(&source).map_err(|error| sqlite(&self.path, error))?;
        drop(source);
        let copied = examine(&self.path)?;
        if copied.rows != rows {
            let what = format!("rows were lost in the copy: {rows:?} became {:?}", copied.rows);
            return Err(OpenError::Damaged { file: self.path.clone(), what }.into());
        }
        Ok(copied)
    }

    fn copy(&self, source: &Connection) -> rusqlite::Result<()> {
        let mut copy = self.open()?;
        // Until it is synced and renamed nobody relies on it.
        copy.pragma_update(None, "journal_mode", "off")?;
        copy.pragma_update(None, "synchronous", "off")?;
        let copying = Copying::new(source, &mut copy)?;
        let mut tries = 0;
        while !matches!(copying.step(-1)?, StepResult::Done) {
            tries += 1;
            if tries > TRIES {
                return Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                    None,
                ));
            }
            std::thread::sleep(PAUSE);
        }
        drop(copying);
        drop(copy);
        // One file by itself, without a log beside it: it is moved about, and read from where nobody may write.
        self.open()?.pragma_update(None, "journal_mode", "delete")
    }

    /// Sets facts in the copy.
    pub(super) fn set_facts(&self, facts: &[(&str, String)]) -> Result<(), BackupError> {
        let set = || {
            let connection = self.open()?;
            for (name, value) in facts {
                connection.execute(
                    "INSERT INTO fact VALUES (?1, ?2) \
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, value),
                )?;
            }
            Ok(())
        };
        Ok(set().map_err(|error| sqlite(&self.path, error))?)
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        Connection::open_with_flags(&self.path, flags)
    }

    pub(super) fn sync(&self) -> Result<(), BackupError> {
        self.file.sync_all().map_err(|source| BackupError::File { file: self.path.clone(), source })
    }

    /// Gives it its name, durably.
    pub(super) fn finish(mut self, force: bool) -> Result<(), BackupError> {
        let failed = |source| BackupError::File { file: self.to.clone(), source };
        // A link does not replace what somebody else put there meanwhile; not every file system has links.
        let linked = if force { Ok(false) } else { link(&self.path, &self.to) };
        match linked {
            Ok(true) => std::fs::remove_file(&self.path).map_err(failed)?,
            Ok(false) => std::fs::rename(&self.path, &self.to).map_err(failed)?,
            Err(_) => return Err(BackupError::Exists(self.to.clone())),
        }
        sync_folder(&self.to)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.finished {
            forget_journals(&self.path);
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Removes the rest of a copy, with its journals, unless somebody is at work on it.
///
/// # Errors
/// The file cannot be opened or removed.
pub fn remove_unfinished(part: &Path) -> io::Result<()> {
    if File::open(part)?.try_lock().is_ok() {
        forget_journals(part);
        std::fs::remove_file(part)?;
    }
    Ok(())
}

fn forget_journals(part: &Path) {
    for end in ["-journal", "-wal", "-shm"] {
        let mut name = part.to_owned().into_os_string();
        name.push(end);
        drop(std::fs::remove_file(name));
    }
}

/// Whether the link was made; an error if the name is taken.
fn link(from: &Path, to: &Path) -> Result<bool, ErrorKind> {
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error.kind()),
        Err(_) => Ok(false),
    }
}

/// Makes the names in the folder of `file` durable.
pub(super) fn sync_folder(file: &Path) -> Result<(), BackupError> {
    let folder = match file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| BackupError::File { file: folder.to_owned(), source })
}
