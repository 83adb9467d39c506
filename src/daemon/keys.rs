//! What proves to us who calls, and who explains why a proof did not hold.
//!
//! Invariant: the keys of a type of interface and their signature doctor are replaced together; a key that
//! a reload took out of force is known to the doctor alone.

use crate::config::Secrets;
use crate::http::{LiveKeys, Token};
use crate::protocol::signature_doctor::{Doctor, KeyRing};
use secrecy::{ExposeSecret as _, SecretString};
use std::sync::Arc;

/// All of it can be replaced while calls are under way.
pub(super) struct LocalKeys {
    pub(super) callbacks: Arc<LiveKeys>,
    pub(super) orders: Arc<LiveKeys>,
    pub(super) admin: Token,
    pub(super) software: Token,
    /// The keys of callbacks, and those of orders.
    history: [History; 2],
}

/// The keys of a type of interface.
#[derive(Default)]
struct History {
    live: Vec<SecretString>,
    /// What reloads took out of force, newest first.
    replaced: Vec<SecretString>,
}

impl LocalKeys {
    pub(super) fn of(secrets: &Secrets) -> Self {
        let mut history = <[History; 2]>::default();
        let [callbacks, orders] = doctors(secrets, &mut history);
        Self {
            callbacks: Arc::new(LiveKeys::new(&secrets.access_keys, callbacks)),
            orders: Arc::new(LiveKeys::new(&secrets.order_keys, orders)),
            admin: Token::new(&secrets.admin_token),
            software: Token::new(&secrets.software_token),
            history,
        }
    }

    pub(super) fn replace(&mut self, secrets: &Secrets) {
        let [callbacks, orders] = doctors(secrets, &mut self.history);
        self.callbacks.replace(&secrets.access_keys, callbacks);
        self.orders.replace(&secrets.order_keys, orders);
        self.admin.replace(&secrets.admin_token);
        self.software.replace(&secrets.software_token);
    }
}

impl History {
    /// Puts other keys in force and remembers those that no longer are.
    fn replace(&mut self, live: &[SecretString]) {
        let before = std::mem::replace(&mut self.live, live.to_vec());
        let known = before.into_iter().chain(std::mem::take(&mut self.replaced));
        self.replaced = known.filter(|key| !is_among(key, live)).collect();
    }
}

fn is_among(key: &SecretString, keys: &[SecretString]) -> bool {
    keys.iter().any(|other| other.expose_secret() == key.expose_secret())
}

/// Those of callbacks and of orders, with the keys that a caller may have taken for the right ones.
fn doctors(secrets: &Secrets, history: &mut [History; 2]) -> [Arc<Doctor>; 2] {
    let Secrets { access_keys, retired_keys, order_keys, ak, sk, .. } = secrets;
    let [callbacks, orders] = history;
    callbacks.replace(access_keys);
    orders.replace(order_keys);
    let doctor = |replaced: &[SecretString], live, retired, other_interface| {
        Arc::new(Doctor::new(&KeyRing { live, replaced, retired, other_interface, ak, sk }))
    };
    [
        doctor(&callbacks.replaced, access_keys, retired_keys, order_keys),
        doctor(&orders.replaced, order_keys, &[], access_keys),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_remembered_as_replaced_until_it_is_in_force_again() {
        let mut history = History::default();
        let mut replaced = |live: &[&str]| -> Vec<String> {
            let live: Vec<_> = live.iter().map(|key| SecretString::from(*key)).collect();
            history.replace(&live);
            history.replaced.iter().map(|key| key.expose_secret().to_owned()).collect()
        };
        assert!(replaced(&["one"]).is_empty());
        assert!(replaced(&["two", "one"]).is_empty());
        assert_eq!(replaced(&["two"]), ["one"]);
        assert_eq!(replaced(&["three"]), ["two", "one"]);
        assert_eq!(replaced(&["one", "three"]), ["two"]);
    }
}
