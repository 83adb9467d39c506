//! The key that hides the software's clients, in a file of its own.
//!
//! Invariant: the same client has the same hash on this installation and on no other, and nobody without
//! the key can find out by guessing whom a hash stands for.

use super::secret_file::{self, SecretFileError};
use crate::domain::usage::{ClientHash, ClientId};
use crate::protocol::hex;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use secrecy::{ExposeSecret as _, SecretString};
use std::path::{Path, PathBuf};

/// The file's name in the data folder.
const FILE: &str = "client-key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum ClientKeyError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The file does not hold what we wrote.
    #[error("{}: not as we wrote it; restore it from a backup, or move it away: a new key is made, and clients that were reported today are counted once more", .0.display())]
    Damaged(PathBuf),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: no key can be made")]
    Random,
}

/// Hashes clients.
pub struct ClientKey(hmac::Key);

impl ClientKey {
    /// Reads the key in `folder`, or makes it.
    ///
    /// # Errors
    /// [`ClientKeyError`].
    pub fn open(folder: &Path) -> Result<Self, ClientKeyError> {
        let file = folder.join(FILE);
        let key = match secret_file::read(&file, "")? {
            Some(text) => hex::decode_32(text.expose_secret())
                .ok_or_else(|| ClientKeyError::Damaged(file.clone()))?,
            None => make(&file)?,
        };
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &key)))
    }

    /// The client's hash.
    #[must_use]
    pub fn hash(&self, client: &ClientId) -> ClientHash {
        let tag = hmac::sign(&self.0, client.expose().as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(tag.as_ref());
        ClientHash(hash)
    }
}

fn make(file: &Path) -> Result<[u8; 32], ClientKeyError> {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).map_err(|_| ClientKeyError::Random)?;
    secret_file::write(file, &SecretString::from(hex::encode(&key)))?;
    tracing::info!("a key that hides the software's clients was made");
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_one_hash_here_and_another_elsewhere() {
        let (here, there) = (tempfile::tempdir(), tempfile::tempdir());
        let (here, there) = (here.expect("a folder"), there.expect("a folder"));
        let client = |text| ClientId::parse(text).expect("a client id");
        let hash =
            |folder: &Path, text| ClientKey::open(folder).expect("a key").hash(&client(text));
        let first = hash(here.path(), "account1");
        assert_eq!(first, hash(here.path(), "account1"), "also after a restart");
        assert_ne!(first, hash(here.path(), "account2"));
        assert_ne!(first, hash(there.path(), "account1"));
    }

    #[test]
    fn a_damaged_key_is_refused_without_a_word_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["", "s3cret", &"zz".repeat(32), &"ab".repeat(33)] {
            let file = folder.path().join(FILE);
            secret_file::write(&file, &SecretString::from(text)).expect("written");
            let error = ClientKey::open(folder.path()).map(drop).expect_err("refused");
            assert!(matches!(error, ClientKeyError::Damaged(_)));
            assert!(text.is_empty() || !error.to_string().contains(text), "{error}");
        }
    }
}
