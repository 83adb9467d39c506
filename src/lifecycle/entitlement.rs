//! The licensed software asks: may this code run now?
//!
//! Invariants: the answer waits at most [`ASK_BOUND`] for the marketplace, and one query per code is under
//! way, however many ask; an answer may be given again while its [`Basis`] is unchanged and its time not over.

use super::Lifecycle;
use crate::domain::entitlement::{Reason, ask_first, days_left, decide};
use crate::domain::freshness::fresh_until;
use crate::domain::license::{Code, License};
use crate::domain::time::Timestamp;
use crate::marketplace::Effort;
use crate::store::{StoreError, Version};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The longest an answer waits for the marketplace (product.md §4).
const ASK_BOUND: Duration = Duration::from_millis(800);
/// The query itself may go on behind it, but one whose turn comes later would only keep others waiting.
const QUERY: Effort = Effort::Brief { turn: ASK_BOUND };

/// The answer.
#[derive(Debug, Clone)]
pub struct Entitlement {
    /// Why; the verdict follows from it.
    pub reason: Reason,
    /// The row it was decided from; `None` for an unknown code.
    pub license: Option<License>,
    /// Whole days until the expiry.
    pub days_left: Option<i64>,
    /// What the software may go on when we are away; `None` for every denial.
    pub lease: Option<String>,
    /// How long it may be given again; `None` if the next caller must be answered anew.
    pub fresh: Option<Fresh>,
}

/// What an answer was made from: the row as it was, and the key that signed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Basis {
    row: Version,
    rotations: u64,
}

/// When an answer holds, as long as its basis does.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    /// What must be unchanged.
    pub basis: Basis,
    /// When it was made.
    pub from: Timestamp,
    /// The first instant at which it could be another one.
    pub until: Timestamp,
}

impl Fresh {
    fn covers(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }
}

impl Lifecycle {
    /// Decides for `code`, after asking the marketplace where the contract wants it asked first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn entitlement(self: &Arc<Self>, code: &Code) -> Result<Entitlement, StoreError> {
        let first = self.entitlement_now(code)?;
        if !self.wants_a_question(&first) {
            return Ok(first);
        }
        self.ask_bounded(code).await?;
        self.entitlement_now(code)
    }

    /// Whether a new answer would be the same as the one that this is told of.
    #[must_use]
    pub fn holds(&self, fresh: &Fresh) -> bool {
        let Basis { row, rotations } = fresh.basis;
        fresh.covers(self.clock.now())
            && self.store.holds(row)
            && self.leases.rotations() == rotations
    }

    /// Whether the marketplace is to be asked before this is told.
    fn wants_a_question(&self, answer: &Entitlement) -> bool {
        let license = answer.license.as_ref();
        license.is_some_and(|license| {
            ask_first(license, self.clock.now(), answer.reason, self.restored_at)
        })
    }

    /// Decides from what is known.
    fn entitlement_now(&self, code: &Code) -> Result<Entitlement, StoreError> {
        // Before the row and the key are read: what is made from newer ones is only forgotten too early.
        let basis = Basis { row: self.store.version(code), rotations: self.leases.rotations() };
        let license = self.store.read(|snapshot| snapshot.license(code))?;
        let now = self.clock.now();
        let until = license
            .as_ref()
            .and_then(|known| fresh_until(known, now, &self.policy, self.restored_at));
        let reason = decide(license.as_ref(), now, &self.policy);
        let known = license.as_ref();
        Ok(Entitlement {
            reason,
            days_left: known.and_then(|license| days_left(license, now)),
            lease: known.and_then(|license| self.leases.lease(license, reason, now, &self.policy)),
            fresh: until.map(|until| Fresh { basis, from: now, until }),
            license,
        })
    }

    /// Waits for the one query of this code that is under way, starting it if there is none.
    async fn ask_bounded(self: &Arc<Self>, code: &Code) -> Result<(), StoreError> {
        let mut done = {
            let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(under_way) = asking.get(code) {
                under_way.clone()
            } else if !self.wants_a_question(&self.entitlement_now(code)?) {
                // One that was under way when we looked has been answered since.
                return Ok(());
            } else {
                let (finish, done) = watch::channel(());
                asking.insert(code.clone(), done.clone());
                let (this, code) = (Arc::clone(self), code.clone());
                tokio::spawn(async move { this.ask_for_software(&code, finish).await });
                done
            }
        };
        // An error of `changed` means that the query has ended: that is what was waited for.
        drop(tokio::time::timeout(ASK_BOUND, done.changed()).await);
        Ok(())
    }

    async fn ask_for_software(&self, code: &Code, finish: watch::Sender<()>) {
        if let Err(error) = self.try_query(code, QUERY, false).await {
            tracing::warn!(license.code = code.as_str(), %error, "the day's first query was not stored");
        }
        self.asking.lock().unwrap_or_else(PoisonError::into_inner).remove(code);
        drop(finish);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_from_when_it_was_made_until_it_could_be_another() {
        let at = Timestamp::from_ms;
        let fresh = Fresh { basis: Basis::default(), from: at(10), until: at(15) };
        let covered: Vec<i64> = (0..20).filter(|ms| fresh.covers(at(*ms))).collect();
        assert_eq!(covered, [10, 11, 12, 13, 14], "not after the clock was set back, either");
    }
}
