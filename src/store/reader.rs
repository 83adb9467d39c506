//! Readers: separate connections that see what was committed, in snapshots kept open between reads.
//!
//! Beginning a read transaction costs more than a read by key, so a snapshot lives until the writer
//! has committed, or until a checkpoint needs it gone. Invariant: a read that begins after a write
//! was answered sees that write.

use super::schema::open_for_reading;
use super::{OpenError, StoreError};
use rusqlite::Connection;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Connections for reads by key on the runtime's threads.
pub(super) const FAST: usize = 2;
/// Connections for lists and sweeps.
pub(super) const LISTS: usize = 2;

/// Counts commits; the writer adds, readers compare.
#[derive(Clone, Default)]
pub(super) struct Commits(Arc<AtomicU64>);

impl Commits {
    /// Called after a commit and before anybody is told of it.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A consistent view of the database.
pub struct Snapshot<'a> {
    pub(super) connection: &'a Connection,
}

/// A few connections, each with its open snapshot.
pub(super) struct Readers {
    slots: Vec<Mutex<Reader>>,
    next: AtomicUsize,
    commits: Commits,
    /// The store is about to end: a snapshot ends with its read.
    closed: AtomicBool,
}

/// All readers of a store, as a checkpoint sees them.
#[derive(Clone)]
pub(super) struct Pools(pub(super) [Arc<Readers>; 2]);

impl Pools {
    /// Ends idle snapshots, so that a checkpoint can finish.
    pub(super) fn release(&self) {
        self.0.iter().for_each(|pool| pool.release());
    }

    /// The same, for good: reads that come later, or are under way, leave none behind.
    pub(super) fn close(&self) {
        self.0.iter().for_each(|pool| pool.closed.store(true, Ordering::Release));
        self.release();
    }
}

struct Reader {
    connection: Connection,
    /// The count of commits when the open snapshot began.
    since: Option<u64>,
}

impl Readers {
    pub(super) fn open(file: &Path, commits: Commits, count: usize) -> Result<Self, OpenError> {
        let slots = (0..count)
            .map(|_| {
                open_for_reading(file)
                    .map(|connection| Mutex::new(Reader { connection, since: None }))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { slots, next: AtomicUsize::new(0), commits, closed: AtomicBool::new(false) })
    }

    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&Snapshot<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut reader = self.slot();
        let now = self.commits.count();
        if reader.since != Some(now) {
            reader.release();
            reader.connection.prepare_cached("BEGIN")?.execute([])?;
            reader.since = Some(now);
        }
        let result = work(&Snapshot { connection: &reader.connection });
        if self.closed.load(Ordering::Acquire) {
            reader.release();
        }
        result
    }

    fn release(&self) {
        for slot in &self.slots {
            slot.lock().unwrap_or_else(PoisonError::into_inner).release();
        }
    }

    fn slot(&self) -> MutexGuard<'_, Reader> {
        for slot in &self.slots {
            if let Ok(reader) = slot.try_lock() {
                return reader;
            }
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.slots.len();
        self.slots[next].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    fn release(&mut self) {
        if self.since.take().is_some()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::warn!(%error, "a reader could not end its snapshot; it begins a new one");
        }
    }
}
