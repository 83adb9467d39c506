//! The stop of the whole queue after an authentication refusal (product.md §3.2, protocol.md 2.9).
//!
//! More than five refusals in a row lock the access key. Invariant: while stopped nothing passes; when the
//! stop is over one call passes alone, and only its success opens the gate for the others.

use crate::domain::time::{MINUTE_MS, SECOND_MS, Timestamp};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long a refusal stops the queue, in milliseconds.
pub(super) const STOP_MS: i64 = 5 * MINUTE_MS;
/// What callers are told to wait while the careful call is under way, in milliseconds.
const CAREFUL_MS: i64 = 10 * SECOND_MS;

/// Lets calls pass or not.
#[derive(Debug)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Stopped {
        until: Timestamp,
        /// The careful call is under way.
        trying: bool,
    },
}

impl Gate {
    pub(super) const fn open() -> Self {
        Self(Mutex::new(State::Open))
    }

    /// Asks to pass; refused with the time to come again.
    pub(super) fn enter(&self, now: Timestamp) -> Result<Pass<'_>, Timestamp> {
        let mut state = self.lock();
        match &mut *state {
            State::Open => Ok(Pass { gate: self, careful: false }),
            State::Stopped { until, .. } if now < *until => Err(*until),
            State::Stopped { trying: true, .. } => Err(now.plus_ms(CAREFUL_MS)),
            State::Stopped { trying, .. } => {
                *trying = true;
                Ok(Pass { gate: self, careful: true })
            }
        }
    }

    /// When the stop is over, while it is not.
    pub(super) fn stopped_until(&self, now: Timestamp) -> Option<Timestamp> {
        match *self.lock() {
            State::Stopped { until, .. } if now < until => Some(until),
            State::Stopped { .. } | State::Open => None,
        }
    }

    /// Stops until then, or longer if that is already so.
    pub(super) fn stop_until(&self, until: Timestamp) {
        let mut state = self.lock();
        let until = match *state {
            State::Open => until,
            State::Stopped { until: already, .. } => already.max(until),
        };
        *state = State::Stopped { until, trying: false };
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to call once. A careful one that is dropped without a word leaves the gate as it was.
#[derive(Debug)]
pub(super) struct Pass<'g> {
    gate: &'g Gate,
    careful: bool,
}

impl Pass<'_> {
    /// The marketplace refused to believe who we are: the queue stops. Returns until when.
    pub(super) fn refused(&self, now: Timestamp) -> Timestamp {
        let until = now.plus_ms(STOP_MS);
        self.gate.stop_until(until);
        until
    }

    /// The marketplace took us for who we are: a careful call's success opens the gate.
    pub(super) fn welcomed(&self) {
        let mut state = self.gate.lock();
        if self.careful && matches!(*state, State::Stopped { trying: true, .. }) {
            *state = State::Open;
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.careful
            && let State::Stopped { trying, .. } = &mut *self.gate.lock()
        {
            *trying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timestamp = Timestamp::from_ms(1_000_000);

    fn stopped() -> Gate {
        let gate = Gate::open();
        let until = gate.enter(T).expect("open").refused(T);
        assert_eq!(until, T.plus_ms(STOP_MS));
        gate
    }

    #[test]
    fn a_refusal_stops_everyone_for_five_minutes() {
        let gate = stopped();
        let until = T.plus_ms(STOP_MS);
        assert_eq!(gate.enter(until.plus_ms(-1)).expect_err("stopped"), until);
        assert_eq!(gate.stopped_until(until.plus_ms(-1)), Some(until));
        assert_eq!(gate.stopped_until(until), None);
    }

    #[test]
    fn after_it_one_passes_alone_and_its_success_opens() {
        let gate = stopped();
        let over = T.plus_ms(STOP_MS);
        let careful = gate.enter(over).expect("the careful call");
        assert_eq!(gate.enter(over).expect_err("others wait"), over.plus_ms(CAREFUL_MS));
        careful.welcomed();
        drop(careful);
        let first = gate.enter(over).expect("open");
        assert!(gate.enter(over).is_ok());
        assert!(!first.careful);
    }

    #[test]
    fn a_careful_call_that_is_refused_stops_again() {
        let gate = stopped();
        let over = T.plus_ms(STOP_MS);
        let careful = gate.enter(over).expect("the careful call");
        let until = careful.refused(over);
        drop(careful);
        assert_eq!(gate.enter(until.plus_ms(-1)).expect_err("stopped"), until);
        assert!(gate.enter(until).expect("the next careful call").careful);
    }

    #[test]
    fn a_careful_call_that_tells_nothing_leaves_the_turn_to_the_next() {
        let gate = stopped();
        let over = T.plus_ms(STOP_MS);
        drop(gate.enter(over).expect("the careful call"));
        assert!(gate.enter(over).expect("the next one").careful);
    }

    #[test]
    fn a_call_from_before_the_stop_cannot_open_it() {
        let gate = Gate::open();
        let (one, other) = (gate.enter(T).expect("open"), gate.enter(T).expect("open"));
        let until = one.refused(T);
        other.welcomed();
        drop(other);
        assert_eq!(gate.stopped_until(T), Some(until));
    }

    #[test]
    fn a_stop_brought_back_after_a_restart_holds_and_is_not_shortened() {
        let gate = stopped();
        gate.stop_until(T);
        assert_eq!(gate.stopped_until(T), Some(T.plus_ms(STOP_MS)));
        gate.stop_until(T.plus_ms(2 * STOP_MS));
        assert_eq!(gate.stopped_until(T), Some(T.plus_ms(2 * STOP_MS)));
    }
}
