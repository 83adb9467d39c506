//! The live keys of a type of interface, when each of them last signed a call, and who knows the other ones.
//!
//! Invariant: keys are replaced as a whole, between two calls: one that is verified under the old keys is
//! answered as theirs.

use crate::domain::time::Timestamp;
use crate::protocol::callback_auth::{AccessKey, AuthError, Verified, verify};
use crate::protocol::hex;
use crate::protocol::signature_doctor::Doctor;
use ring::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Bytes of a key's SHA-256 that name it: enough to tell keys apart, useless for finding one.
const MARK_BYTES: usize = 4;

/// The keys in force, newest first.
pub struct LiveKeys(RwLock<InForce>);

struct InForce {
    keys: Vec<AccessKey>,
    /// In the order of the keys.
    uses: Vec<Arc<Used>>,
    /// Is told of the calls that none of them signed.
    doctor: Arc<Doctor>,
}

struct Used {
    mark: String,
    calls: AtomicU64,
    /// Milliseconds; 0 before the first.
    last: AtomicI64,
}

/// What a key was used for since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The beginning of the key's SHA-256, in hex: `sha256sum` of the key tells which one it is.
    pub mark: String,
    /// Authentic calls, other than our own heartbeat's.
    pub calls: u64,
    /// The last of them.
    pub last_used_at: Option<Timestamp>,
}

impl LiveKeys {
    /// These keys, newest first; `doctor` explains calls that none of them signed.
    #[must_use]
    pub fn new(keys: &[SecretString], doctor: Arc<Doctor>) -> Self {
        let live = Self(RwLock::new(InForce {
            keys: Vec::new(),
            uses: Vec::new(),
            doctor: Arc::clone(&doctor),
        }));
        live.replace(keys, doctor);
        live
    }

    /// Puts other keys in force, and their doctor; what is known of one that stays is kept.
    pub fn replace(&self, keys: &[SecretString], doctor: Arc<Doctor>) {
        let mut live = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let kept = |key: &SecretString| {
            let mark = mark(key);
            let known = live.uses.iter().find(|used| used.mark == mark).cloned();
            known.unwrap_or_else(|| {
                Arc::new(Used { mark, calls: AtomicU64::new(0), last: AtomicI64::new(0) })
            })
        };
        let uses = keys.iter().map(kept).collect();
        let keys = keys.iter().cloned().map(AccessKey::new).collect();
        *live = InForce { keys, uses, doctor };
    }

    /// Verifies a call under the keys in force.
    pub(super) fn verify<'a>(
        &self,
        query: Option<&str>,
        body: &'a [u8],
        now: Timestamp,
    ) -> Result<(Verified<'a>, Signer), AuthError> {
        let live = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let verified = verify(query, body, &live.keys, now)?;
        let signer = Signer(live.uses.get(verified.key_index()).cloned());
        Ok((verified, signer))
    }

    /// Who explains calls that no key in force signed.
    pub(super) fn doctor(&self) -> Arc<Doctor> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).doctor)
    }

    /// Each key in force, newest first.
    #[must_use]
    pub fn uses(&self) -> Vec<KeyUse> {
        let live = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let told = |used: &Arc<Used>| {
            let last = used.last.load(Ordering::Relaxed);
            KeyUse {
                mark: used.mark.clone(),
                calls: used.calls.load(Ordering::Relaxed),
                last_used_at: (last > 0).then(|| Timestamp::from_ms(last)),
            }
        };
        live.uses.iter().map(told).collect()
    }
}

/// The key that signed a call.
pub(super) struct Signer(Option<Arc<Used>>);

impl Signer {
    /// Counts the call for its key.
    pub(super) fn used(&self, at: Timestamp) {
        if let Some(used) = &self.0 {
            used.calls.fetch_add(1, Ordering::Relaxed);
            used.last.fetch_max(at.as_ms(), Ordering::Relaxed);
        }
    }
}

fn mark(key: &SecretString) -> String {
    hex::encode(&digest(&SHA256, key.expose_secret().as_bytes()).as_ref()[..MARK_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::callback_auth::signed_query;
    use crate::protocol::signature_doctor::KeyRing;

    const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    fn call(keys: &LiveKeys, key: &str) -> bool {
        let signing = AccessKey::new(SecretString::from(key));
        let query = signed_query(&signing, b"{}", NOW, "nonce");
        keys.verify(Some(&query), b"{}", NOW).map(|(_, signer)| signer.used(NOW)).is_ok()
    }

    fn doctor(live: &[SecretString]) -> Arc<Doctor> {
        let sk = SecretString::from("sk");
        let [replaced, retired, other_interface] = [&[][..]; 3];
        Arc::new(Doctor::new(&KeyRing {
            live,
            replaced,
            retired,
            other_interface,
            ak: "ak",
            sk: &sk,
        }))
    }

    #[test]
    fn a_key_is_known_by_its_last_use_as_long_as_it_stays() {
        let secrets = ["first", "second", "third"].map(SecretString::from);
        let keys = LiveKeys::new(&secrets[..1], doctor(&secrets[..1]));
        let replace = |live: &[SecretString]| keys.replace(live, doctor(live));
        assert!(call(&keys, "first") && !call(&keys, "second"));
        replace(&[secrets[1].clone(), secrets[0].clone()]);
        assert!(call(&keys, "first") && call(&keys, "second"));
        let uses = keys.uses();
        assert_eq!((uses[0].calls, uses[1].calls), (1, 2));
        assert_eq!(uses[1].last_used_at, Some(NOW));
        assert_eq!(uses[1].mark, "a7937b64", "what `printf first | sha256sum` begins with");
        replace(&secrets[2..]);
        assert!(!call(&keys, "first") && !call(&keys, "second"));
        assert_eq!(keys.uses()[0].last_used_at, None);
    }
}
