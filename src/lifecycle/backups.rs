//! The nightly backup: a copy beside those of the nights before, the oldest of which go.
//!
//! Invariant: none goes before the new one is whole, and only files of our own naming go.

use super::Lifecycle;
use crate::domain::time::{DateText, Timestamp};
use crate::store::{BackupError, Inventory, StoreError};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

const BEGINS: &str = "authcoded-";
const ENDS: &str = ".db";

/// Where nightly backups go, and how many are kept.
#[derive(Debug, Clone)]
pub struct Backups {
    /// The folder; made with mode 0700.
    pub folder: PathBuf,
    /// How many, at least 1.
    pub keep: usize,
}

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    /// The file.
    pub file: PathBuf,
    /// What it holds.
    pub inventory: Inventory,
    /// How many older ones went.
    pub removed: usize,
}

impl Lifecycle {
    /// Makes a backup, then removes what is more than [`Backups::keep`].
    ///
    /// # Errors
    /// [`StoreError::Backup`]; nothing was removed unless the new one is whole.
    pub async fn back_up(&self, backups: &Backups) -> Result<Made, StoreError> {
        let folder = &backups.folder;
        let failed =
            |source| StoreError::from(Box::new(BackupError::File { file: folder.clone(), source }));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let file = folder.join(name(self.clock.now()));
        let inventory = self.store.back_up(file.clone()).await?;
        let removed = remove_oldest(folder, backups.keep).map_err(failed)?;
        Ok(Made { file, inventory, removed })
    }
}

/// Sorted by name they are sorted by time.
fn name(now: Timestamp) -> String {
    format!("{BEGINS}{}{ENDS}", DateText::from_utc(now).as_str())
}

fn is_ours(name: &str) -> bool {
    let stamp = name.strip_prefix(BEGINS).and_then(|rest| rest.strip_suffix(ENDS));
    stamp.is_some_and(|stamp| DateText::parse(stamp).is_ok())
}

fn remove_oldest(folder: &Path, keep: usize) -> io::Result<usize> {
    let mut ours = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(is_ours) {
            ours.push(path);
        }
    }
    ours.sort_unstable();
    let surplus = ours.len().saturating_sub(keep.max(1));
    for path in &ours[..surplus] {
        std::fs::remove_file(path)?;
    }
    Ok(surplus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::DAY_MS;

    #[test]
    fn the_oldest_of_ours_go_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let day = |n: i64| Timestamp::from_ms(1_795_249_800_000 + n * DAY_MS);
        let foreign = ["authcoded-by-hand.db", "authcoded-20261121.db", "notes"];
        for file in (0..9).map(|n| name(day(n))).chain(foreign.map(str::to_owned)) {
            std::fs::write(folder.path().join(file), "").expect("written");
        }
        assert_eq!(remove_oldest(folder.path(), 3).expect("removed"), 6);
        assert_eq!(remove_oldest(folder.path(), 3).expect("removed"), 0);
        let there = |file: &str| folder.path().join(file).exists();
        assert!(foreign.iter().all(|file| there(file)));
        assert!((6..9).all(|n| there(&name(day(n)))) && !there(&name(day(5))));
        assert_eq!(remove_oldest(folder.path(), 0).expect("removed"), 2);
        assert!(there(&name(day(8))), "the newest stays whatever is asked for");
    }
}
