//! Copies the log into the database when it has grown, beside the writer.
//!
//! SQLite waits for the disk only in the copy that is complete, and under load none is complete but the writer's
//! own, while which nobody is answered. So the copies here are followed by an fsync of their own: what is left to
//! the writer is small. The writer's copy is complete, and lets the log begin anew.
//!
//! Invariant: nothing is taken for durable because of what happens here; SQLite waits for the disk all the same.

use super::reader::Pools;
use super::writer::{is_failed_fsync, leave_the_log};
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::path::PathBuf;

/// Pages (of 4 KiB) in the log at which it is copied into the database.
const PAGES: i64 = 8_192;
/// Pages that may be left to the writer.
const LEFT_TO_WRITER: i64 = 128;
/// Each copy leaves what arrived meanwhile; under a load that does not end, more of them would be of no use.
const COPIES: usize = 4;

/// What copies the log of one database.
pub(super) struct Checkpointer {
    file: PathBuf,
    /// Their idle snapshots stand in its way.
    pools: Pools,
    open: Option<Open>,
}

struct Open {
    connection: Connection,
    /// For fsync. Never closed: that would end all locks which this process has on the file, SQLite's too.
    file: ManuallyDrop<File>,
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error("the database file could not be opened: {0}")]
    Open(std::io::Error),
    #[error("the database file could not be written to the disk: {0}")]
    Sync(std::io::Error),
}

impl CopyError {
    /// Whether the process must end.
    pub(super) fn is_failed_fsync(&self) -> bool {
        match self {
            Self::Sql(error) => is_failed_fsync(error),
            Self::Open(_) => false,
            Self::Sync(_) => true,
        }
    }
}

impl Checkpointer {
    pub(super) const fn new(file: PathBuf, pools: Pools) -> Self {
        Self { file, pools, open: None }
    }

    /// Copies, if the log has grown. Returns whether the writer is to finish it.
    pub(super) fn copy(&mut self) -> Result<bool, CopyError> {
        let Self { file, pools, open } = self;
        let Open { connection, file } = match open {
            Some(open) => open,
            None => open.insert(Open {
                connection: Connection::open_with_flags(
                    &*file,
                    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
                )?,
                file: ManuallyDrop::new(File::open(&*file).map_err(CopyError::Open)?),
            }),
        };
        let mut left = uncopied(connection)?;
        if left < PAGES {
            return Ok(false);
        }
        for _ in 0..COPIES {
            pools.release();
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            file.sync_all().map_err(CopyError::Sync)?;
            let before = std::mem::replace(&mut left, uncopied(connection)?);
            if left < LEFT_TO_WRITER || left >= before {
                break;
            }
        }
        pools.release();
        // A read that takes long holds the rest back: it is copied beside the writer when that has ended.
        Ok(left < PAGES)
    }

    /// Leaves the log where it is when the connection is closed.
    pub(super) fn leave_the_log(&self) {
        if let Some(open) = &self.open {
            leave_the_log(&open.connection);
        }
    }
}

/// Pages of the log that are not in the database yet.
fn uncopied(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| {
        Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?)
    })
}
