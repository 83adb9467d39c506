//! A secret of our own making, in a file of its own in the data folder.
//!
//! Invariant: the file is the owner's alone, and is replaced whole or not at all.

use secrecy::{ExposeSecret as _, SecretString};
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why a secret of ours cannot be used. No word of it is in here.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file cannot be read or written.
    #[error("{}: {source}; the daemon's user must own it", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is open to others: whoever read it knows the secret.
    #[error("{}: open to others than its owner (mode {mode:04o}); chmod 600 it{then}", file.display())]
    Open {
        /// The file.
        file: PathBuf,
        /// Its mode.
        mode: u32,
        /// What is to be done besides, because somebody may know the secret.
        then: &'static str,
    },
}

/// The secret; `None` if there is no such file. `then` is what to do besides closing one that was open.
pub(super) fn read(
    file: &Path,
    then: &'static str,
) -> Result<Option<SecretString>, SecretFileError> {
    let failed = |source| SecretFileError::File { file: file.to_owned(), source };
    let mode = match std::fs::metadata(file) {
        Ok(meta) => meta.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if mode & 0o077 != 0 {
        return Err(SecretFileError::Open { file: file.to_owned(), mode, then });
    }
    std::fs::read_to_string(file).map(SecretString::from).map(Some).map_err(failed)
}

/// Writes the secret, synced: a new file takes the place of the old one.
pub(super) fn write(file: &Path, text: &SecretString) -> Result<(), SecretFileError> {
    replace(file, text).map_err(|source| SecretFileError::File { file: file.to_owned(), source })
}

fn replace(file: &Path, text: &SecretString) -> io::Result<()> {
    let new = file.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    out.write_all(text.expose_secret().as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&new, file)?;
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_by_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a-key");
        assert!(read(&file, "").expect("no file is no error").is_none());
        // What a killed start left behind is no obstacle.
        std::fs::write(file.with_extension("new"), "half").expect("written");
        for text in ["first", "second"] {
            write(&file, &SecretString::from(text)).expect("written");
            let secret = read(&file, "").expect("read").expect("there");
            assert_eq!(secret.expose_secret(), text);
            let mode = std::fs::metadata(&file).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("chmod");
        assert!(matches!(read(&file, ""), Err(SecretFileError::Open { mode: 0o640, .. })));
    }
}
