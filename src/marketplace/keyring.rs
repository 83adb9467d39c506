//! The credentials in force, which may be replaced while calls are under way.
//!
//! Invariant: no text that is shown holds the access key id of these or of those before them: an answer to
//! the last call of the old ones may still come.

use crate::protocol::aksk::Credentials;
use std::sync::{PoisonError, RwLock};

#[derive(Debug)]
pub(super) struct Keyring(RwLock<Held>);

#[derive(Debug)]
struct Held {
    now: Credentials,
    before: Option<Credentials>,
}

impl Keyring {
    pub(super) const fn new(credentials: Credentials) -> Self {
        Self(RwLock::new(Held { now: credentials, before: None }))
    }

    pub(super) fn now(&self) -> Credentials {
        self.0.read().unwrap_or_else(PoisonError::into_inner).now.clone()
    }

    pub(super) fn replace(&self, credentials: Credentials) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        held.before = Some(std::mem::replace(&mut held.now, credentials));
    }

    /// The gateway's messages repeat the access key id; we show its last four characters.
    pub(super) fn hide(&self, text: String) -> String {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(&held.now).chain(&held.before).fold(text, |text, credentials| {
            let id = credentials.access_key_id();
            if id.is_empty() { text } else { text.replace(id, &credentials.shown()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;

    #[test]
    fn neither_the_key_in_force_nor_the_one_before_is_shown() {
        let credentials = |id: &str| Credentials::new(id.to_owned(), SecretString::from("s"));
        let keys = Keyring::new(credentials("AKOLD0001111"));
        assert_eq!(keys.hide("the AK AKOLD0001111".to_owned()), "the AK …1111");
        keys.replace(credentials("AKNEW0002222"));
        assert_eq!(keys.now().access_key_id(), "AKNEW0002222");
        let text = "AKNEW0002222 and AKOLD0001111".to_owned();
        assert_eq!(keys.hide(text), "…2222 and …1111");
    }
}
