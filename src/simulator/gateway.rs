//! The gateway before the open API: who may come in, and who is locked out.
//!
//! Invariant: more than five authentication failures in a row lock the access key for five minutes, in
//! which every request of it is refused, also a right one (protocol.md 2.9).

use super::codes::{self, Known};
use crate::domain::time::Timestamp;
use crate::protocol::aksk::AkskRefused;
use std::time::Duration;

/// So many failures in a row are borne; one more locks.
const FAILURES_BORNE: u32 = 5;
/// How long an access key is locked.
pub(super) const LOCK: Duration = Duration::from_mins(5);

/// The gateway's memory of our access key.
#[derive(Debug, Default)]
pub(super) struct Guard {
    failures: u32,
    locked_until: Option<Timestamp>,
}

impl Guard {
    /// What the gateway says to a request whose signature was found to be `verified`. A lock lasts
    /// `lock` of the clock's time.
    pub(super) fn admit(
        &mut self,
        verified: &Result<(), AkskRefused>,
        now: Timestamp,
        lock: Duration,
    ) -> Result<(), Known> {
        let refused = match verified {
            // Neither names our access key, so neither counts against it.
            Err(AkskRefused::UnknownAccessKey) => return Err(codes::UNKNOWN_AK),
            Err(AkskRefused::Missing) => return Err(codes::NOT_AUTHENTIC),
            Ok(()) => false,
            Err(AkskRefused::Malformed(_) | AkskRefused::Clock { .. } | AkskRefused::Signature) => {
                true
            }
        };
        if self.locked_until(now).is_some() {
            return Err(codes::LOCKED);
        }
        if refused {
            self.failed(now, lock);
            return Err(codes::NOT_AUTHENTIC);
        }
        self.failures = 0;
        Ok(())
    }

    /// Until when the access key is locked, if it is.
    pub(super) fn locked_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.locked_until.filter(|until| now < *until)
    }

    /// Locks the access key now, or opens it.
    pub(super) fn set_lock(&mut self, until: Option<Timestamp>) {
        *self = Self { failures: 0, locked_until: until };
    }

    fn failed(&mut self, now: Timestamp, lock: Duration) {
        self.failures += 1;
        if self.failures > FAILURES_BORNE {
            self.set_lock(Some(now + lock));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_ms(1_795_249_800_000);
    const WRONG: Result<(), AkskRefused> = Err(AkskRefused::Signature);

    fn fail(guard: &mut Guard, times: u32) {
        for _ in 0..times {
            assert_eq!(guard.admit(&WRONG, START, LOCK), Err(codes::NOT_AUTHENTIC));
        }
    }

    #[test]
    fn six_failures_in_a_row_lock_for_five_minutes() {
        let mut guard = Guard::default();
        fail(&mut guard, 5);
        assert_eq!(guard.admit(&Ok(()), START, LOCK), Ok(()), "five are borne, a success forgets");
        fail(&mut guard, 6);
        let last = START.plus_ms(5 * 60_000 - 1);
        assert_eq!(guard.admit(&Ok(()), last, LOCK), Err(codes::LOCKED), "right, but locked");
        assert_eq!(guard.admit(&WRONG, last, LOCK), Err(codes::LOCKED), "and not longer for it");
        assert_eq!(guard.admit(&Ok(()), last.plus_ms(1), LOCK), Ok(()));
    }

    #[test]
    fn strangers_do_not_lock_us_out() {
        let mut guard = Guard::default();
        for _ in 0..100 {
            let stranger = guard.admit(&Err(AkskRefused::UnknownAccessKey), START, LOCK);
            assert_eq!(stranger, Err(codes::UNKNOWN_AK));
            assert!(guard.admit(&Err(AkskRefused::Missing), START, LOCK).is_err());
        }
        assert_eq!(guard.admit(&Ok(()), START, LOCK), Ok(()));
    }
}
