//! The keys that sign leases, in a file of their own.
//!
//! Invariant: a retired key stays in the key set until the last lease it signed has ended.

use super::Lifecycle;
use super::secret_file::{self, SecretFileError};
use crate::domain::entitlement::{Policy, Reason};
use crate::domain::lease::{LONGEST_MS, claims};
use crate::domain::license::License;
use crate::domain::time::Timestamp;
use crate::domain::transition::{EventDraft, EventKind, Source};
use crate::protocol::lease::{BadKey, PublicKey, SigningKey, jwks};
use crate::store::StoreError;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// The file's name in the data folder.
const FILE: &str = "lease-keys";
/// Whoever has read the file can sign leases.
const ROTATE: &str = ", then run `authcoded lease rotate`";

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum LeaseKeyError {
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] SecretFileError),
    /// The file does not hold what we wrote.
    #[error("{}: {why}; restore it from a backup, or move it away: a new key is made, and software that checks leases fetches the key set again", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// No key could be made.
    #[error(transparent)]
    Key(#[from] BadKey),
}

/// Why the keys were not rotated, or the rotation not recorded.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The old key goes on signing.
    #[error(transparent)]
    Keys(#[from] LeaseKeyError),
    /// The new key signs, but its event could not be stored.
    #[error("the new key signs leases, but that could not be recorded: {0}")]
    Store(#[from] StoreError),
}

/// The file's content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// The private key that signs, as [`SigningKey::generate`] writes it.
    signing: String,
    /// When it was made, in milliseconds since the epoch.
    made_at: i64,
    /// Public keys that signed before.
    retired: Vec<StoredRetired>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRetired {
    x: String,
    /// Milliseconds since the epoch.
    until: i64,
}

/// A key that no longer signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retired {
    /// The key.
    pub key: PublicKey,
    /// When the last lease it signed has ended.
    pub until: Timestamp,
}

/// The keys in force.
struct Ring {
    signing: SigningKey,
    made_at: Timestamp,
    retired: Vec<Retired>,
}

/// What operators are shown: no private key is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseKeys {
    /// The id of the key that signs.
    pub kid: String,
    /// When it was made.
    pub made_at: Timestamp,
    /// Keys that signed before, and are still in the key set.
    pub retired: Vec<Retired>,
}

/// Makes leases.
pub struct Leases {
    file: PathBuf,
    ring: RwLock<Ring>,
    /// How often the key was changed since the start.
    rotations: AtomicU64,
}

impl Lifecycle {
    /// Makes a new key for leases, ordered by an operator; an event says so.
    ///
    /// # Errors
    /// [`RotateError`].
    pub async fn rotate_lease_keys(
        self: &Arc<Self>,
        reason: Option<String>,
    ) -> Result<LeaseKeys, RotateError> {
        let (this, now) = (Arc::clone(self), self.clock.now());
        let rotated = tokio::task::spawn_blocking(move || this.leases.rotate(now)).await;
        let keys = rotated.map_err(|_| StoreError::WriterGone)??;
        let before = keys.retired.first().map_or("", |retired| retired.key.kid.as_str());
        let reason = reason.map_or_else(String::new, |reason| format!("; reason given: {reason}"));
        let detail =
            format!("leases are signed with the key {} instead of {before}{reason}", keys.kid);
        let event = EventDraft::note(EventKind::Operator, detail);
        self.store.write(move |tx| tx.append_event(now, None, Source::Operator, &event)).await?;
        Ok(keys)
    }
}

impl Leases {
    /// Reads the keys in `folder`, or makes the first one.
    ///
    /// # Errors
    /// [`LeaseKeyError`].
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, LeaseKeyError> {
        let file = folder.join(FILE);
        let ring = match read(&file)? {
            Some(ring) => ring,
            None => make(&file, Vec::new(), now)?,
        };
        Ok(Self { file, ring: RwLock::new(ring), rotations: AtomicU64::new(0) })
    }

    /// The lease for an answer; `None` for a denial.
    #[must_use]
    pub fn lease(
        &self,
        license: &License,
        reason: Reason,
        now: Timestamp,
        policy: &Policy,
    ) -> Option<String> {
        let made = claims(license, reason, now, policy)?;
        Some(self.ring.read().unwrap_or_else(PoisonError::into_inner).signing.sign(&made))
    }

    /// How often the key was changed since the start. Asked before a lease is made, it is of the key that
    /// signs it or of an older one.
    pub(super) fn rotations(&self) -> u64 {
        self.rotations.load(Ordering::Acquire)
    }

    /// The key set, as RFC 7517 writes it.
    #[must_use]
    pub fn jwks(&self, now: Timestamp) -> serde_json::Value {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let retired = ring.retired.iter().filter(|retired| retired.until > now);
        jwks(std::iter::once(ring.signing.public()).chain(retired.map(|retired| &retired.key)))
    }

    /// The keys as operators see them.
    #[must_use]
    pub fn keys(&self, now: Timestamp) -> LeaseKeys {
        let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner);
        let retired = ring.retired.iter().filter(|retired| retired.until > now).cloned();
        LeaseKeys {
            kid: ring.signing.public().kid.clone(),
            made_at: ring.made_at,
            retired: retired.collect(),
        }
    }

    /// Makes a new key and signs with it from now on. The file is synced before it does.
    ///
    /// # Errors
    /// [`LeaseKeyError`]; then the old key goes on signing.
    pub fn rotate(&self, now: Timestamp) -> Result<LeaseKeys, LeaseKeyError> {
        {
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            let last =
                Retired { key: ring.signing.public().clone(), until: now.plus_ms(LONGEST_MS) };
            let mut retired: Vec<_> = std::iter::once(last).chain(ring.retired.clone()).collect();
            retired.retain(|retired| retired.until > now);
            *ring = make(&self.file, retired, now)?;
            self.rotations.fetch_add(1, Ordering::Release);
        }
        Ok(self.keys(now))
    }
}

fn read(file: &Path) -> Result<Option<Ring>, LeaseKeyError> {
    let damaged = |why: String| LeaseKeyError::Damaged { file: file.to_owned(), why };
    let Some(text) = secret_file::read(file, ROTATE)? else {
        return Ok(None);
    };
    // The parser's own words could quote the text.
    let stored: Stored = serde_json::from_str(text.expose_secret())
        .map_err(|error| damaged(format!("not as we wrote it, near line {}", error.line())))?;
    let signing = SigningKey::parse(&SecretString::from(stored.signing))
        .map_err(|error| damaged(error.to_string()))?;
    let retired = stored.retired.iter().map(|retired| {
        let key = PublicKey::parse(&retired.x).map_err(|error| damaged(error.to_string()))?;
        Ok(Retired { key, until: Timestamp::from_ms(retired.until) })
    });
    let retired = retired.collect::<Result<_, LeaseKeyError>>()?;
    Ok(Some(Ring { signing, made_at: Timestamp::from_ms(stored.made_at), retired }))
}

/// Makes a key and writes it with the retired ones.
fn make(file: &Path, retired: Vec<Retired>, now: Timestamp) -> Result<Ring, LeaseKeyError> {
    let (signing, text) = SigningKey::generate()?;
    let stored = Stored {
        signing: text.expose_secret().to_owned(),
        made_at: now.as_ms(),
        retired: retired
            .iter()
            .map(|retired| StoredRetired { x: retired.key.x.clone(), until: retired.until.as_ms() })
            .collect(),
    };
    let text = SecretString::from(serde_json::to_string(&stored).unwrap_or_default());
    secret_file::write(file, &text)?;
    tracing::info!(kid = signing.public().kid, "a key for leases was made");
    Ok(Ring { signing, made_at: now, retired })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::license::{Code, Standing};
    use crate::domain::state::Live;
    use std::os::unix::fs::PermissionsExt as _;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    fn license(code: &str) -> License {
        let mut license = License::issued(Code::parse(code).expect("a code"), NOW);
        license.standing = Standing::Live(Live::Activated);
        license
    }

    fn lease(leases: &Leases, license: &License, now: Timestamp) -> String {
        leases.lease(license, Reason::Active, now, &Policy::default()).expect("a lease")
    }

    #[test]
    fn a_denial_has_no_lease() {
        let folder = tempfile::tempdir().expect("a folder");
        let leases = Leases::open(folder.path(), NOW).expect("keys");
        assert_ne!(lease(&leases, &license("PL2"), NOW), lease(&leases, &license("PL3"), NOW));
        assert!(leases.lease(&license("PL1"), Reason::Frozen, NOW, &Policy::default()).is_none());
    }

    #[test]
    fn a_rotated_key_stays_in_the_set_for_the_longest_lease_and_over_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let leases = Leases::open(folder.path(), NOW).expect("keys");
        let before = lease(&leases, &license("PL1"), NOW);
        let first = leases.keys(NOW);
        let second = leases.rotate(NOW.plus_ms(1)).expect("rotated");
        assert_ne!(first.kid, second.kid);
        assert_eq!(second.retired[0].key.kid, first.kid);
        assert_ne!(before, lease(&leases, &license("PL1"), NOW), "signed anew");
        assert_eq!(leases.rotations(), 1);
        drop(leases);
        let again = Leases::open(folder.path(), NOW.plus_ms(2)).expect("keys");
        assert_eq!(again.keys(NOW.plus_ms(2)), second);
        let kids = |now| again.jwks(now)["keys"].as_array().map_or(0, Vec::len);
        assert_eq!((kids(NOW.plus_ms(LONGEST_MS)), kids(NOW.plus_ms(LONGEST_MS + 1))), (2, 1));
    }

    #[test]
    fn a_file_that_is_open_or_damaged_is_refused_without_a_word_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Leases::open(folder.path(), NOW).expect("keys"));
        let file = folder.path().join(FILE);
        let mode = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode));
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        mode(0o640).expect("chmod");
        let open = Leases::open(folder.path(), NOW).map(drop);
        let error = open.expect_err("refused").to_string();
        assert!(error.contains("(mode 0640); chmod 600 it, then run `authcoded lease"), "{error}");
        mode(0o600).expect("chmod");
        for text in
            ["", "{}", r#"{"signing":"s3cret","made_at":1,"retired":[]}"#, r#"{"signing":"s3cret""#]
        {
            std::fs::write(&file, text).expect("written");
            let error = Leases::open(folder.path(), NOW).map(drop).expect_err("refused");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
