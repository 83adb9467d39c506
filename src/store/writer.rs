//! The writer: one thread, one connection, one commit for all who wait.
//!
//! The thread drains its bounded queue; every job runs in its own savepoint of one `BEGIN IMMEDIATE`;
//! the commit makes all durable; then all are answered. Invariants: nobody is answered before the
//! commit; a failed job leaves no trace; a commit that fails for any reason but a full disk ends the
//! thread, and with it the process.

use super::chain::Heads;
use super::checkpointer::Checkpointer;
use super::event_hours::newest_hour;
use super::reader::{Commits, Pools};
use super::versions::Versions;
use super::{OpenError, StoreError};
use crate::domain::state::State;
use crate::telemetry::request_id;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, ffi};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Jobs that may wait; more are refused, and a callback is answered 000005.
const QUEUE: usize = 4_096;
/// Jobs in one transaction at most: bounds the time until the first of them is answered.
const GROUP: usize = 256;
/// How often the log's size is looked at.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(100);

/// Why the writer ended.
#[derive(Debug)]
pub enum WriterEnd {
    /// It was asked to, and everything queued before is committed.
    Asked,
    /// It could not commit, or panicked. The process must end.
    Failed(String),
}

/// What the writer has done since start.
#[derive(Debug, Clone, Copy, Default)]
pub struct WriterStats {
    /// Jobs waiting now.
    pub waiting: usize,
    /// Commits so far.
    pub commits: u64,
}

/// What runs inside the transaction takes this.
pub struct Tx<'a> {
    pub(super) connection: &'a Connection,
    pub(super) heads: Heads,
    /// The hour of the newest event.
    pub(super) hour: Option<i64>,
    /// The request that the job under way is for.
    pub(super) request: Option<String>,
    pub(super) moved: [i64; State::ALL.len()],
    pub(super) versions: &'a Versions,
    /// Places in [`Versions`] of the codes whose rows were written.
    pub(super) changed: Vec<usize>,
}

/// Told of each commit: how many jobs, and how long the group took.
pub(super) type OnCommit = Box<dyn Fn(u32, Duration) + Send>;

trait Job: Send {
    /// The request it is for, if it is for one.
    fn request(&mut self) -> Option<String>;
    /// Runs in its savepoint. Returns whether to keep what it did.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Answers whoever waits; `committed` is how the group's commit went.
    fn answer(self: Box<Self>, committed: Result<(), &StoreError>);
}

enum Message {
    Job(Box<dyn Job>),
    /// Copy what is left of the log, so that it begins anew.
    FinishCheckpoint,
    /// Wakes the writer, which sees that the disk has failed.
    DiskFailed,
    End,
}

#[derive(Default)]
struct Counters {
    waiting: AtomicUsize,
    commits: AtomicU64,
    ended: AtomicBool,
    /// The disk did not keep what it was given: nothing more may be committed or copied.
    disk_failed: AtomicBool,
}

/// The way to the writer. Cheap to clone.
#[derive(Clone)]
pub(super) struct Handle {
    queue: SyncSender<Message>,
    counters: Arc<Counters>,
}

/// Starts the writer and the checkpointer.
pub(super) fn start(
    connection: Connection,
    commits: Commits,
    versions: Versions,
    (file, pools): (PathBuf, Pools),
    on_commit: OnCommit,
) -> Result<(Handle, oneshot::Receiver<WriterEnd>), OpenError> {
    let fail = |source| OpenError::Sqlite { file: file.clone(), source };
    let heads = Heads::load(&connection).map_err(fail)?;
    let hour = newest_hour(&connection).map_err(fail)?;
    let (queue, jobs) = sync_channel(QUEUE);
    let counters = Arc::new(Counters::default());
    let (ended, end) = oneshot::channel();
    let handle = Handle { queue: queue.clone(), counters: Arc::clone(&counters) };
    let shared = Arc::clone(&counters);
    let checkpointer = Checkpointer::new(file, pools.clone());
    let mut writer =
        Writer { connection, heads, hour, jobs, counters, commits, versions, on_commit, pools };
    thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || {
            let reason = catch_unwind(AssertUnwindSafe(|| writer.run()))
                .unwrap_or_else(|_| WriterEnd::Failed("the writer panicked".to_owned()));
            writer.counters.ended.store(true, Ordering::Relaxed);
            drop(ended.send(reason));
        })
        .map_err(OpenError::Thread)?;
    thread::Builder::new()
        .name("checkpointer".to_owned())
        .spawn(move || run_checkpointer(checkpointer, &queue, &shared))
        .map_err(OpenError::Thread)?;
    Ok((handle, end))
}

impl Handle {
    pub(super) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let request = request_id();
        self.send(Box::new(Work { request, run: Some(work), result: None, answer: Some(answer) }))?;
        answered.await.unwrap_or(Err(StoreError::WriterGone))
    }

    pub(super) fn post<F>(&self, request: Option<String>, work: F) -> bool
    where
        F: FnOnce(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        self.send(Box::new(Work { request, run: Some(work), result: None, answer: None })).is_ok()
    }

    fn send(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        self.counters.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(Message::Job(job)).map_err(|error| {
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => StoreError::QueueFull,
                TrySendError::Disconnected(_) => StoreError::WriterGone,
            }
        })
    }

    pub(super) fn stats(&self) -> WriterStats {
        WriterStats {
            waiting: self.counters.waiting.load(Ordering::Relaxed),
            commits: self.counters.commits.load(Ordering::Relaxed),
        }
    }

    pub(super) fn shut_down(&self) {
        let queue = self.queue.clone();
        // A full queue drains; a thread may wait for that, the runtime may not.
        thread::spawn(move || drop(queue.send(Message::End)));
    }
}

struct Work<T, F> {
    request: Option<String>,
    run: Option<F>,
    result: Option<Result<T, StoreError>>,
    answer: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: FnOnce(&mut Tx<'_>) -> Result<T, StoreError> + Send,
{
    fn request(&mut self) -> Option<String> {
        self.request.take()
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        self.result = self.run.take().map(|work| work(tx));
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, committed: Result<(), &StoreError>) {
        let result = match (self.result, committed) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(error)), _) => Err(error),
            (Some(Ok(_)) | None, Err(error)) => Err(not_committed(error)),
            (None, Ok(())) => Err(StoreError::NotCommitted("the work did not run".to_owned())),
        };
        match self.answer {
            // Whoever waited may have gone away: the work is done all the same.
            Some(answer) => drop(answer.send(result)),
            None => {
                if let Err(error) = result {
                    tracing::warn!(%error, "work that nobody waits for was not stored");
                }
            }
        }
    }
}

/// The same news for each of a group.
fn not_committed(error: &StoreError) -> StoreError {
    match error {
        StoreError::DiskFull => StoreError::DiskFull,
        other => StoreError::NotCommitted(other.to_string()),
    }
}

struct Writer {
    connection: Connection,
    heads: Heads,
    hour: Option<i64>,
    jobs: Receiver<Message>,
    counters: Arc<Counters>,
    commits: Commits,
    versions: Versions,
    on_commit: OnCommit,
    pools: Pools,
}

impl Writer {
    fn run(&mut self) -> WriterEnd {
        while let Ok(first) = self.jobs.recv() {
            let mut group: Vec<Box<dyn Job>> = Vec::new();
            let mut checkpoint = false;
            let mut end = false;
            let mut next = Some(first);
            while let Some(message) = next.take() {
                match message {
                    Message::Job(job) => group.push(job),
                    Message::FinishCheckpoint => checkpoint = true,
                    Message::DiskFailed => {}
                    Message::End => end = true,
                }
                if group.len() < GROUP && !end {
                    next = self.jobs.try_recv().ok();
                }
            }
            if self.counters.disk_failed.load(Ordering::Acquire) {
                return self.end_with_the_disk("the log before this line says why".to_owned());
            }
            if let Err(fatal) = self.commit_group(group) {
                tracing::error!(error = %fatal, "a commit failed: nothing more is acknowledged, the process ends; check the disk, then start again");
                return WriterEnd::Failed(fatal.to_string());
            }
            if checkpoint && let Err(why) = self.checkpoint("PASSIVE") {
                return self.end_with_the_disk(why);
            }
            if end {
                // An open snapshot would hold the log until the busy timeout.
                self.pools.close();
                return match self.checkpoint("TRUNCATE") {
                    Ok(()) => WriterEnd::Asked,
                    Err(why) => self.end_with_the_disk(why),
                };
            }
        }
        WriterEnd::Asked
    }

    /// Runs and commits a group and answers everyone in it. An error is fatal.
    fn commit_group(&mut self, mut group: Vec<Box<dyn Job>>) -> Result<(), StoreError> {
        if group.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let committed = self.try_group(&mut group);
        self.counters.waiting.fetch_sub(group.len(), Ordering::Relaxed);
        if let Ok(changed) = &committed {
            self.commits.add();
            self.versions.change(changed);
            self.counters.commits.fetch_add(1, Ordering::Relaxed);
            (self.on_commit)(u32::try_from(group.len()).unwrap_or(u32::MAX), began.elapsed());
        } else if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        for job in group {
            job.answer(committed.as_ref().map(|_| ()));
        }
        match committed {
            Ok(_) => Ok(()),
            Err(StoreError::DiskFull) => {
                tracing::error!(
                    "the disk is full: callbacks are answered 000005 until there is space again"
                );
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the places in [`Versions`] of the codes whose rows were written.
    fn try_group(&mut self, group: &mut [Box<dyn Job>]) -> Result<Vec<usize>, StoreError> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map_err(classify)?;
        let mut tx = Tx {
            connection: &self.connection,
            heads: self.heads,
            hour: self.hour,
            request: None,
            moved: [0; 6],
            versions: &self.versions,
            changed: Vec::new(),
        };
        for job in group.iter_mut() {
            tx.savepoint(job.as_mut()).map_err(classify)?;
        }
        tx.store_moves().map_err(classify)?;
        tx.store_heads(&self.heads).map_err(classify)?;
        let (heads, hour, changed) = (tx.heads, tx.hour, tx.changed);
        self.connection.prepare_cached("COMMIT")?.execute([]).map_err(classify)?;
        (self.heads, self.hour) = (heads, hour);
        Ok(changed)
    }

    fn end_with_the_disk(&self, why: String) -> WriterEnd {
        tracing::error!(
            error = why,
            "what was copied into the database did not reach the disk: nothing more is acknowledged, the process ends; check the disk, then start again"
        );
        leave_the_log(&self.connection);
        WriterEnd::Failed(why)
    }

    /// Copies the log. An error is why the process must end.
    fn checkpoint(&self, mode: &str) -> Result<(), String> {
        let sql = format!("PRAGMA wal_checkpoint({mode})");
        match self.connection.query_row(&sql, [], |_| Ok(())) {
            Ok(()) => Ok(()),
            Err(error) if is_failed_fsync(&error) => Err(error.to_string()),
            Err(error) => {
                tracing::warn!(%error, "a checkpoint failed; the log goes on growing until one succeeds");
                Ok(())
            }
        }
    }
}

impl Tx<'_> {
    fn savepoint(&mut self, job: &mut dyn Job) -> rusqlite::Result<()> {
        self.connection.prepare_cached("SAVEPOINT job")?.execute([])?;
        let (heads, hour, moved) = (self.heads, self.hour, self.moved);
        self.request = job.request();
        if !job.run(self) {
            (self.heads, self.hour, self.moved) = (heads, hour, moved);
            if self.connection.is_autocommit() {
                // SQLite has rolled back everything by itself: a full disk, or an input/output error.
                return Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL),
                    None,
                ));
            }
            self.connection.prepare_cached("ROLLBACK TO job")?.execute([])?;
        }
        self.connection.prepare_cached("RELEASE job")?.execute([])?;
        Ok(())
    }
}

/// A full disk heals; everything else that stops a commit does not.
fn classify(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::DiskFull,
        _ => StoreError::Sql(error),
    }
}

/// After a failed fsync nobody can tell what is on the disk, and the next one would succeed. The log holds it
/// all, and a start copies it anew.
pub(super) fn is_failed_fsync(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_FSYNC)
}

/// Whoever closes the database last would copy the log into it and remove the log.
pub(super) fn leave_the_log(connection: &Connection) {
    if let Err(error) = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
        tracing::warn!(%error, "the log may not outlive the process");
    }
}

/// Copies the log when it has grown, for as long as the writer is at work.
fn run_checkpointer(
    mut checkpointer: Checkpointer,
    writer: &SyncSender<Message>,
    counters: &Counters,
) {
    let mut seen = 0;
    while !counters.ended.load(Ordering::Relaxed) {
        thread::sleep(CHECKPOINT_EVERY);
        let commits = counters.commits.load(Ordering::Relaxed);
        if commits == std::mem::replace(&mut seen, commits) {
            continue;
        }
        match checkpointer.copy() {
            Ok(true) => drop(writer.try_send(Message::FinishCheckpoint)),
            Ok(false) => {}
            Err(error) if error.is_failed_fsync() => {
                tracing::error!(%error, "the log could not be copied for good");
                counters.disk_failed.store(true, Ordering::Release);
                checkpointer.leave_the_log();
                drop(writer.send(Message::DiskFailed));
                return;
            }
            Err(error) => tracing::warn!(%error, "a checkpoint failed; it is tried again"),
        }
    }
}
