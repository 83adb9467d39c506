//! The database: the only place that names rusqlite, and the only place with SQL.
//!
//! Invariants: one connection writes, on its own thread ([`writer`]); what must run inside a
//! transaction takes a [`Tx`]; the time is always an argument, never `now()` in SQL.

mod alarms;
mod archive;
mod backup;
mod callbacks;
pub mod chain;
mod checkpointer;
mod deaf_gaps;
mod diagnoses;
mod dial_tests;
mod event_hours;
mod events;
mod facts;
mod jobs;
mod licenses;
mod notices;
mod orders;
mod outbox;
mod reader;
mod relink;
mod restore;
mod retry_windows;
mod schema;
mod statistics;
mod unannounced;
mod usage;
mod verify;
mod versions;
mod writer;

pub use alarms::{AlarmFacts, AlarmRow};
pub use archive::{ReadOnly, Selection};
pub use backup::{BackupError, Inventory, back_up, examine, peek_fact, remove_unfinished};
pub use callbacks::{
    CallbackDraft, CallbackFilter, CallbackRow, LedgerEntry, Orphan, Replay, Verdict,
};
pub use chain::{Chain, Heads, Link};
pub use deaf_gaps::{DeafGap, MissedCall, Neighbour};
pub use diagnoses::{DIAGNOSES_APART_MS, DiagnosisDraft, DiagnosisRow};
pub use events::{EventFilter, EventRow};
pub use jobs::{JobRun, ProbeDraft, ProbeRow};
pub use licenses::{LicenseFilter, LicenseRow, LicenseSort};
pub use notices::{Notice, Undelivered};
pub use orders::{OrderFacts, OrderFilter, OrderRow, Overdue};
pub use outbox::{BuyerWait, Call, Owed};
pub use reader::Snapshot;
pub use restore::{Restored, restore};
pub use retry_windows::{FailedCall, FailedCallCounts, FailedCallRow, FailedOrders, WindowState};
pub use schema::is_held;
pub use unannounced::Unannounced;
pub use usage::{
    UsageBatch, UsageDay, UsageEnd, UsageFilter, UsageLimits, UsageRow, UsageState, UsageTrouble,
};
pub use verify::{ChainReport, Noted};
pub use versions::Version;
pub use writer::{Tx, WriterEnd, WriterStats};

use crate::domain::license::Code;
use crate::telemetry::request_id;
use reader::Readers;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use versions::Versions;

/// Why the store could not do what it was asked. The fault is ours or the machine's, never the caller's.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The writer's queue is full: the disk is slower than the callers. Try again later.
    #[error("the writer's queue is full: more arrives than the disk can store; try again")]
    QueueFull,
    /// The disk is full. Heals by itself when space is freed.
    #[error("the disk that holds the database is full: free some space, nothing else is needed")]
    DiskFull,
    /// The writer has ended; so will the process.
    #[error("the writer has stopped, see the log before this line; the process ends")]
    WriterGone,
    /// The group that the work was part of could not be committed.
    #[error("the transaction was not committed: {0}")]
    NotCommitted(String),
    /// SQLite refused a statement.
    #[error("database error: {0}")]
    Sql(#[from] rusqlite::Error),
    /// The nightly copy was not made.
    #[error("no backup was made: {0}")]
    Backup(#[from] Box<BackupError>),
    /// A row holds what no version of this program writes.
    #[error("the row {0} is damaged: restore a backup or run an integrity check")]
    Damaged(String),
    /// A row of a chain is not as it was written.
    #[error(
        "the chain of {chain} is broken at row {id}: somebody changed the database by hand; keep a copy of the file, and compare it with a backup"
    )]
    ChainBroken {
        /// Which chain.
        chain: &'static str,
        /// The first row that is wrong or missing.
        id: i64,
    },
}

/// Why the database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made or read.
    #[error("the data folder {folder} cannot be used: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process holds the folder.
    #[error("another authcoded is running on {0}: stop it first; two on one database are refused")]
    Locked(PathBuf),
    /// The file was written by a newer version.
    #[error(
        "{file} has schema {found}, this program knows {known}: install the newer version again, or restore a backup"
    )]
    Newer {
        /// The database file.
        file: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The file was written by an older version, and nobody may write to it here.
    #[error(
        "{file} has schema {found}, this program reads {known}: start the daemon of this version once"
    )]
    Older {
        /// The database file.
        file: PathBuf,
        /// Its `user_version`.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The file is not ours.
    #[error("{0} is not a database of authcoded: move it away, or correct data-dir")]
    Foreign(PathBuf),
    /// The file is damaged.
    #[error("{file} is damaged ({what}): nothing was changed; restore a backup")]
    Damaged {
        /// The database file.
        file: PathBuf,
        /// What SQLite found.
        what: String,
    },
    /// Somebody or something has changed, removed or moved a row of a chain.
    #[error(
        "{file}: the chain of {chain} does not hold at row {row}: it was changed, or one before it removed; restore a backup, and find out by whom"
    )]
    Chain {
        /// The database file.
        file: PathBuf,
        /// Which chain.
        chain: &'static str,
        /// The first row whose link does not hold.
        row: i64,
    },
    /// The copy that is made before a new schema could not be made.
    #[error("the schema was not changed, because no copy could be made before: {0}")]
    NoCopy(Box<BackupError>),
    /// SQLite is too old: 3.51.2 and before can corrupt a database when the WAL is reset.
    #[error(
        "SQLite {0} is too old: 3.51.3 is needed, because earlier ones can corrupt a WAL database"
    )]
    SqliteTooOld(&'static str),
    /// A setting that durability needs did not take.
    #[error(
        "{file}: PRAGMA {pragma} reads {found}, {wanted} is needed for durability; is the folder on a network or read-only file system?"
    )]
    Pragma {
        /// The database file.
        file: PathBuf,
        /// The setting.
        pragma: &'static str,
        /// What it reads.
        found: String,
        /// What is needed.
        wanted: &'static str,
    },
    /// SQLite failed otherwise.
    #[error("{file} cannot be opened: {source}")]
    Sqlite {
        /// The database file.
        file: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The writer's thread cannot be started.
    #[error("no thread for the writer: {0}")]
    Thread(std::io::Error),
}

/// The open database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    writer: writer::Handle,
    readers: Arc<Readers>,
    lists: Arc<Readers>,
    versions: Versions,
    file: Arc<Path>,
}

/// What the daemon keeps beside the [`Store`]: the folder's lock and the end of the writer's thread.
pub struct Held {
    /// The folder is ours as long as this lives.
    pub lock: File,
    /// Resolves when the writer has ended, whatever the reason.
    pub writer_end: tokio::sync::oneshot::Receiver<WriterEnd>,
}

impl Store {
    /// Opens or creates the database in `folder`, and starts the writer, which tells `on_commit` how
    /// many jobs each commit made durable and how long the group took.
    ///
    /// # Errors
    /// [`OpenError`]; an existing file is never replaced.
    pub fn open<F>(folder: &Path, on_commit: F) -> Result<(Self, Held), OpenError>
    where
        F: Fn(u32, Duration) + Send + 'static,
    {
        let lock = schema::lock(folder)?;
        let file = folder.join(schema::FILE);
        let connection = schema::open_for_writing(&file)?;
        let commits = reader::Commits::default();
        let readers = Arc::new(Readers::open(&file, commits.clone(), reader::FAST)?);
        let lists = Arc::new(Readers::open(&file, commits.clone(), reader::LISTS)?);
        let pools = reader::Pools([Arc::clone(&readers), Arc::clone(&lists)]);
        let versions = Versions::default();
        let (writer, writer_end) = writer::start(
            connection,
            commits,
            versions.clone(),
            (file.clone(), pools),
            Box::new(on_commit),
        )?;
        let store = Self { writer, readers, lists, versions, file: file.into() };
        Ok((store, Held { lock, writer_end }))
    }

    /// Runs `work` in a transaction and returns when it is durable.
    ///
    /// # Errors
    /// What `work` returned (then nothing of it is stored), or why it could not be committed.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer.run(work).await
    }

    /// Queues `work` and does not wait. Returns whether there was room.
    pub fn post<F>(&self, work: F) -> bool
    where
        F: FnOnce(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        self.writer.post(request_id(), work)
    }

    /// The same for a request that has been answered; what is stored bears its id.
    pub fn post_as<F>(&self, request: Option<String>, work: F) -> bool
    where
        F: FnOnce(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        self.writer.post(request, work)
    }

    /// A quick read by key, on the calling thread: microseconds.
    ///
    /// # Errors
    /// [`StoreError::Sql`] or [`StoreError::Damaged`].
    pub fn read<T>(
        &self,
        work: impl FnOnce(&Snapshot<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.readers.read(work)
    }

    /// The version of the code's row. Asked before [`Store::read`], it is of the row read or of an older one.
    #[must_use]
    pub fn version(&self, code: &Code) -> Version {
        self.versions.of(code)
    }

    /// Whether the row that this is the version of is unchanged, for all that can be told without a read.
    #[must_use]
    pub fn holds(&self, version: Version) -> bool {
        self.versions.holds(version)
    }

    /// A read that may take long (lists, sweeps), away from the runtime's threads.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn list<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Snapshot<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let lists = Arc::clone(&self.lists);
        tokio::task::spawn_blocking(move || lists.read(work))
            .await
            .unwrap_or_else(|e| Err(StoreError::NotCommitted(format!("reader failed: {e}"))))
    }

    /// Copies the database to `to`, in the place of what is there, away from the runtime's threads
    /// ([`back_up`]).
    ///
    /// # Errors
    /// [`StoreError::Backup`].
    pub async fn back_up(&self, to: PathBuf) -> Result<Inventory, StoreError> {
        let file = Arc::clone(&self.file);
        match tokio::task::spawn_blocking(move || back_up(&file, &to, true)).await {
            Ok(made) => made.map_err(|error| Box::new(error).into()),
            Err(error) => Err(StoreError::NotCommitted(format!("the copy failed: {error}"))),
        }
    }

    /// Work waiting for the writer, and what it has done.
    #[must_use]
    pub fn stats(&self) -> WriterStats {
        self.writer.stats()
    }

    /// Asks the writer to finish what is queued, checkpoint and end.
    pub fn shut_down(&self) {
        self.writer.shut_down();
    }
}
