//! The nightly backup: a copy beside those of the nights before, the oldest of which go.
//!
//! Invariant: none goes before the new one is whole, and only files of our own naming go.

use super::Lifecycle;
use crate::domain::time::{DateText, Timestamp};
use crate::store::{self, BackupError, Inventory, StoreError};
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
        let removed = remove_oldest(folder, &file, backups.keep).map_err(failed)?;
        Ok(Made { file, inventory, removed })
    }
}

/// Sorted by name they are sorted by time.
fn name(now: Timestamp) -> String {
    format!("{BEGINS}{}{ENDS}", DateText::from_utc(now).as_str())
}

/// Whether a file of this name is a nightly backup.
#[must_use]
pub fn is_ours(name: &str) -> bool {
    let stamp = name.strip_prefix(BEGINS).and_then(|rest| rest.strip_suffix(ENDS));
    stamp.is_some_and(|stamp| DateText::parse(stamp).is_ok())
}

/// Removes what is more than `keep` beside the one just `made`. One with a later name was made while the
/// clock was wrong: nobody can tell how old it is, so it goes first.
fn remove_oldest(folder: &Path, made: &Path, keep: usize) -> io::Result<usize> {
    let mut others = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if is_ours(name) && path != made {
            others.push(path);
        } else if is_left_behind(name) {
            store::remove_unfinished(&path)?;
        }
    }
    others.sort_unstable_by_key(|path| (path.as_path() < made, path.clone()));
    let surplus = others.len().saturating_sub(keep.max(1) - 1);
    for path in &others[..surplus] {
        std::fs::remove_file(path)?;
    }
    Ok(surplus)
}

/// A copy under way, or what an end of the daemon left of one.
fn is_left_behind(name: &str) -> bool {
    let copied = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(".part"));
    copied.is_some_and(is_ours)
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
        let left = format!(".{}.part", name(day(3)));
        std::fs::write(folder.path().join(&left), "").expect("written");
        let made = folder.path().join(name(day(8)));
        let remove = |keep| remove_oldest(folder.path(), &made, keep).expect("removed");
        assert_eq!((remove(3), remove(3)), (6, 0));
        let there = |file: &str| folder.path().join(file).exists();
        assert!(foreign.iter().all(|file| there(file)));
        assert!((6..9).all(|n| there(&name(day(n)))) && !there(&name(day(5))));
        assert!(!there(&left), "what a kill left of a copy");
        assert_eq!(remove(0), 2);
        assert!(there(&name(day(8))), "the newest stays whatever is asked for");
    }

    #[test]
    fn a_clock_that_was_wrong_removes_no_new_backup() {
        let folder = tempfile::tempdir().expect("a folder");
        let day = |n: i64| Timestamp::from_ms(1_795_249_800_000 + n * DAY_MS);
        for n in [1, 2, 3, 400, 401] {
            std::fs::write(folder.path().join(name(day(n))), "").expect("written");
        }
        let made = folder.path().join(name(day(3)));
        assert_eq!(remove_oldest(folder.path(), &made, 2).expect("removed"), 3);
        let there = |n: i64| folder.path().join(name(day(n))).exists();
        assert!(there(2) && there(3) && ![1, 400, 401].into_iter().any(there));
    }
}
