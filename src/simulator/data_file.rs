//! The file that carries the simulated marketplace from one run to the next.
//!
//! Invariant: the file is whole at every instant (written beside, made durable, renamed over); changes
//! that come while one write is under way share the next.

use super::state::{FORMAT, Kept};
use serde::Deserialize;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use tokio::sync::watch;

/// Why a data file cannot be used. All are the operator's to settle.
#[derive(Debug, thiserror::Error)]
pub enum BadDataFile {
    /// It is there but cannot be read.
    #[error("cannot read {0}: check its owner and mode")]
    Read(PathBuf, #[source] std::io::Error),
    /// It is not what this program writes.
    #[error("{0} is not a simulator's data file; name another, or move it away to begin anew")]
    Content(PathBuf, #[source] serde_json::Error),
    /// It was written by a newer program.
    #[error("{0} has form {1}, this program knows form {FORMAT}: use the newer program")]
    Newer(PathBuf, u32),
    /// Another simulator keeps it.
    #[error("{0} is in use by another simulator: stop that one, or name another file")]
    Taken(PathBuf),
    /// Its folder cannot be written.
    #[error("cannot write {0}: check that its folder is there and may be written")]
    Write(PathBuf, #[source] std::io::Error),
}

/// What the file at `path` kept; nothing when there is no file yet.
pub(super) fn load(path: &Path) -> Result<Option<Kept>, BadDataFile> {
    #[derive(Deserialize)]
    struct Form {
        format: u32,
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(BadDataFile::Read(path.to_owned(), error)),
    };
    let bad = |error| BadDataFile::Content(path.to_owned(), error);
    let form: Form = serde_json::from_slice(&bytes).map_err(bad)?;
    if form.format > FORMAT {
        return Err(BadDataFile::Newer(path.to_owned(), form.format));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(bad)
}

/// Replaces the file at `path` by `bytes`, durably.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), BadDataFile> {
    let failed = |error| BadDataFile::Write(path.to_owned(), error);
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = owners_file(Path::new(&beside)).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new(".")));
    folder.and_then(|folder| folder.sync_all()).map_err(failed)
}

/// Keeps the file at `path` from other simulators for as long as the result lives.
fn lock(path: &Path) -> Result<File, BadDataFile> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let failed = |error| BadDataFile::Write(path.to_owned(), error);
    let file = owners_file(Path::new(&beside)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BadDataFile::Taken(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// A fresh, empty file for its owner alone: codes are worth money.
fn owners_file(path: &Path) -> std::io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Knows which change is on the disk.
#[derive(Debug)]
pub(super) struct Keeper {
    path: Option<PathBuf>,
    /// Held, never read.
    _lock: Option<File>,
    changed: watch::Sender<u64>,
    written: watch::Sender<u64>,
    error: Mutex<Option<String>>,
}

impl Keeper {
    /// A keeper of this file, or of nothing. The file is taken from now on.
    pub(super) fn new(path: Option<PathBuf>) -> Result<Self, BadDataFile> {
        let lock = path.as_deref().map(lock).transpose()?;
        Ok(Self {
            path,
            _lock: lock,
            changed: watch::Sender::new(0),
            written: watch::Sender::new(0),
            error: Mutex::new(None),
        })
    }

    /// Something has changed; the number of the change.
    pub(super) fn changed(&self) -> u64 {
        let mut version = 0;
        self.changed.send_modify(|last| {
            *last += 1;
            version = *last;
        });
        version
    }

    /// Waits until the change of this number is on the disk, or writing it has failed loudly.
    pub(super) async fn written(&self, version: u64) {
        if self.path.is_some() {
            // The sender lives as long as we do.
            _ = self.written.subscribe().wait_for(|last| *last >= version).await;
        }
    }

    /// Why the last write failed, if it did.
    pub(super) fn error(&self) -> Option<String> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes after each change; `snapshot` gives the bytes. Never ends.
    pub(super) async fn run(&self, snapshot: impl Fn() -> serde_json::Result<Vec<u8>>) {
        let mut changed = self.changed.subscribe();
        loop {
            if changed.wait_for(|last| *last > *self.written.borrow()).await.is_err() {
                return;
            }
            self.write_now(&snapshot).await;
        }
    }

    /// Writes once.
    pub(super) async fn write_now(&self, snapshot: impl Fn() -> serde_json::Result<Vec<u8>>) {
        let Some(path) = self.path.clone() else {
            self.written.send_replace(*self.changed.borrow());
            return;
        };
        // Read before the snapshot: the snapshot may hold more than this number, never less.
        let version = *self.changed.borrow();
        let result = match snapshot() {
            Ok(bytes) => tokio::task::spawn_blocking(move || write(&path, &bytes))
                .await
                .map_err(|error| error.to_string())
                .and_then(|result| result.map_err(|error| describe(&error))),
            Err(error) => Err(format!("the state could not be written as JSON: {error}")),
        };
        if let Err(text) = &result {
            tracing::error!(error = text, "the simulator's data file is behind");
        }
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = result.err();
        self.written.send_replace(version);
    }
}

fn describe(error: &BadDataFile) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_a_bad_one_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("market.json");
        assert!(load(&path).expect("no file is no fault").is_none());
        for (text, word) in [("{", "not a simulator's"), (r#"{"format":99}"#, "newer")] {
            write(&path, text.as_bytes()).expect("writable");
            let error = load(&path).expect_err("not ours");
            assert!(error.to_string().contains(word), "{error}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).expect("readable").count(), 1);
    }

    #[tokio::test]
    async fn a_change_is_on_the_disk_when_it_is_said_to_be() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("market.json");
        let keeper = Keeper::new(Some(path.clone())).expect("not taken");
        let second = Keeper::new(Some(path.clone()));
        assert!(matches!(second, Err(BadDataFile::Taken(_))), "{second:?}");
        let run = keeper.run(|| Ok(b"{}".to_vec()));
        let wait = async {
            let version = keeper.changed();
            keeper.written(version).await;
            assert_eq!(std::fs::read(&path).expect("written"), b"{}");
        };
        tokio::select! { () = run => {}, () = wait => {} }
    }
}
