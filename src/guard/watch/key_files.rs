//! Files that are read at the start and at a reload, and have changed since: what runs is not what they say.

use super::alarm as of_kind;
use crate::domain::time::Timestamp;
use crate::guard::alarms::{Alarm, Severity};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file with what was seen of it when it was read.
#[derive(Debug, Clone)]
pub struct KeyFile {
    /// The key of the configuration that names it.
    key: String,
    path: PathBuf,
    /// systemd hands it over at the start, and a reload does not read it.
    at_start_only: bool,
    stamp: Option<Stamp>,
}

/// Changes whenever a file is written or replaced: when, which one, how long.
type Stamp = (i64, i64, u64, u64);

impl KeyFile {
    /// The file at `path` as it is now. One that we may not look at is not watched.
    #[must_use]
    pub fn now(key: String, path: PathBuf, at_start_only: bool) -> Self {
        let stamp = stamp(&path);
        Self { key, path, at_start_only, stamp }
    }

    fn has_changed(&self) -> bool {
        self.stamp.is_some() && self.stamp != stamp(&self.path)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.mtime(), found.mtime_nsec(), found.ino(), found.len()))
}

/// What is watched after a reload: what it read, as it was then, and the others as they were before.
pub(super) fn renewed(known: &[KeyFile], read: Vec<KeyFile>) -> Vec<KeyFile> {
    let renew = |file: KeyFile| {
        let same = |other: &&KeyFile| other.path == file.path;
        let before = known.iter().find(same).filter(|_| file.at_start_only);
        let stamp = before.map_or(file.stamp, |before| before.stamp);
        KeyFile { stamp, ..file }
    };
    read.into_iter().map(renew).collect()
}

/// Those that have changed, each with its key.
pub(super) fn changed(files: &[KeyFile]) -> Vec<String> {
    let changed = files.iter().filter(|file| file.has_changed());
    changed.map(|file| format!("{} ({})", file.key, file.path.display())).collect()
}

pub(super) fn alarm(changed: &[String], now: Timestamp) -> Option<Alarm> {
    let text = format!("changed or removed since the daemon read them: {}", changed.join(", "));
    let what_to_do = "reload the daemon (`systemctl reload authcoded`), or restart it where they are systemd credentials; neither fails a call, and until then the old contents hold";
    (!changed.is_empty()).then(|| of_kind("key_files", Severity::Warning, now, text, what_to_do))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_or_removed_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access-key");
        let put = |text: &str| std::fs::write(&path, text).expect("written");
        put("one");
        let place = |key: &str, path: PathBuf, at_start_only| {
            KeyFile::now(key.to_owned(), path, at_start_only)
        };
        let ours = |at_start_only| place("callback.access-key-files", path.clone(), at_start_only);
        let file = ours(false);
        let missing = place("x", folder.path().join("missing"), false);
        let files = [file, missing];
        assert_eq!(changed(&files), Vec::<String>::new());
        put("longer");
        let told = changed(&files);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("callback.access-key-files (/"), "{told:?}");
        assert!(changed(&renewed(&files, vec![ours(false)])).is_empty(), "it was reloaded");
        assert_eq!(changed(&renewed(&files, vec![ours(true)])).len(), 1, "it could not be");
        std::fs::rename(&path, folder.path().join("gone")).expect("moved");
        assert_eq!(changed(&files).len(), 1);
        assert!(alarm(&told, Timestamp::from_ms(0)).is_some());
        assert!(alarm(&[], Timestamp::from_ms(0)).is_none());
    }
}
