//! The calls that the marketplace owes the merchant: their attempts and their retries.
//!
//! Invariant: a call is tried once and then at most [`RETRIES`] times more (an order notification
//! [`ORDER_RETRIES`] times), each at least [`RETRY_EVERY`] after the one before; then it waits in the list of failed calls for a restart
//! (protocol.md 4.5). Nothing here sends, and nothing here reads the clock.

use super::message::{Interface, Message};
use super::millis;
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a failed call is repeated before it is given up.
pub(super) const RETRIES: u32 = 60;
/// The same for an order notification: three hours (protocol.md 4.6).
const ORDER_RETRIES: u32 = 90;
/// The time between two attempts.
pub(super) const RETRY_EVERY: Duration = Duration::from_mins(2);
/// Calls that went through are kept up to this many; calls that failed are always kept.
const KEPT_DONE: usize = 10_000;
/// After so many new calls the old ones are looked through.
const LOOK_EVERY: u64 = 1_000;

/// One try to deliver a call, and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Attempt {
    /// When it was signed.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// The HTTP status answered, if any answer came.
    pub status: Option<u16>,
    /// The `resultCode` answered, if one could be read.
    pub result_code: Option<String>,
    /// Real milliseconds until the answer was complete or the try was given up.
    pub latency_ms: u64,
    /// Why it does not count as delivered; none when it does.
    pub error: Option<String>,
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallState {
    /// Not through yet; will be tried again.
    Pending,
    /// Answered with success.
    Delivered,
    /// All attempts failed; waits for a restart by hand.
    Failed,
    /// Never sent, because a fault rule said so or nobody gave an address.
    Dropped,
}

impl CallState {
    /// The word in JSON.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// One call with the story of its delivery.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Call {
    /// Its number.
    pub id: u64,
    /// What is told.
    pub message: Message,
    /// When it came about.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
    /// Where it stands.
    pub state: CallState,
    /// Attempts since it was created or last restarted.
    pub round: u32,
    /// When it is tried next; none when it is not.
    #[serde(with = "millis::option")]
    pub next_at: Option<Timestamp>,
    /// Every attempt, oldest first.
    pub attempts: Vec<Attempt>,
}

/// All calls, by number.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Calls {
    last_id: u64,
    by_id: BTreeMap<u64, Call>,
}

impl Calls {
    /// Takes in a message that must be delivered from `now` on; the call's number.
    pub(super) fn add(&mut self, message: Message, now: Timestamp) -> u64 {
        self.last_id += 1;
        let call = Call {
            id: self.last_id,
            message,
            created_at: now,
            state: CallState::Pending,
            round: 0,
            next_at: Some(now),
            attempts: Vec::new(),
        };
        self.by_id.insert(call.id, call);
        self.forget_old();
        self.last_id
    }

    /// Notes an attempt. The next one is due `spacing` after this one was signed.
    pub(super) fn tried(&mut self, id: u64, attempt: Attempt, spacing: Duration) {
        let Some(call) = self.by_id.get_mut(&id) else { return };
        call.round += 1;
        (call.state, call.next_at) = if attempt.error.is_none() {
            (CallState::Delivered, None)
        } else if call.round > retries(&call.message) {
            (CallState::Failed, None)
        } else {
            (CallState::Pending, Some(attempt.at + spacing))
        };
        call.attempts.push(attempt);
    }

    /// Gives a call up without an attempt.
    pub(super) fn drop_call(&mut self, id: u64) {
        if let Some(call) = self.by_id.get_mut(&id) {
            (call.state, call.next_at) = (CallState::Dropped, None);
        }
    }

    /// Starts a call anew that failed or was dropped: a whole new round of attempts from `now` on.
    /// False when there is no such call or it needs no restart.
    pub(super) fn restart(&mut self, id: u64, now: Timestamp) -> bool {
        let Some(call) = self.by_id.get_mut(&id) else { return false };
        match call.state {
            CallState::Failed | CallState::Dropped => {
                (call.state, call.round, call.next_at) = (CallState::Pending, 0, Some(now));
                true
            }
            CallState::Pending | CallState::Delivered => false,
        }
    }

    /// After a restart, brings attempts nearer that a slower run, or a clock that was ahead, had planned
    /// later than `spacing` from `now` or from the attempt before.
    pub(super) fn hurry(&mut self, now: Timestamp, spacing: Duration) {
        for call in self.by_id.values_mut() {
            let last = call.attempts.last().map_or(now, |attempt| attempt.at.min(now));
            call.next_at = call.next_at.map(|due| due.min(last + spacing));
        }
    }

    /// The call with this number.
    pub(super) fn get(&self, id: u64) -> Option<&Call> {
        self.by_id.get(&id)
    }

    /// All calls, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Call> {
        self.by_id.values().rev()
    }

    /// The numbers of the calls that are still to be delivered, oldest first.
    pub(super) fn pending(&self) -> Vec<u64> {
        let pending = self.by_id.values().filter(|call| call.state == CallState::Pending);
        pending.map(|call| call.id).collect()
    }

    /// Forgets the oldest calls that are through. Looks only now and then, so that adding stays cheap.
    fn forget_old(&mut self) {
        if !self.last_id.is_multiple_of(LOOK_EVERY) {
            return;
        }
        let done = self.by_id.values().filter(|call| call.state == CallState::Delivered);
        let newest_first: Vec<u64> = done.map(|call| call.id).rev().collect();
        for id in newest_first.into_iter().skip(KEPT_DONE) {
            self.by_id.remove(&id);
        }
    }
}

fn retries(message: &Message) -> u32 {
    match message.interface() {
        Interface::Licences => RETRIES,
        Interface::Orders => ORDER_RETRIES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::message::{OrderRef, TestFlag};

    const START: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    fn failed_at(at: Timestamp) -> Attempt {
        Attempt { at, status: Some(500), result_code: None, latency_ms: 3, error: Some("x".into()) }
    }

    #[test]
    fn a_call_is_tried_sixty_one_times_over_two_hours_and_then_waits_for_a_restart() {
        let mut calls = Calls::default();
        let id = calls.add(Message::release("PL1", None, TestFlag::Real), START);
        let mut times = Vec::new();
        while let Some(at) = calls.get(id).expect("it is there").next_at {
            times.push(at);
            calls.tried(id, failed_at(at), RETRY_EVERY);
        }
        assert_eq!(times.len(), 61);
        assert_eq!(times[60].ms_since(START), 2 * 60 * 60 * 1_000);
        assert_eq!(calls.get(id).expect("it is there").state, CallState::Failed);
        assert!(calls.pending().is_empty());

        let later = START + Duration::from_hours(5);
        assert!(calls.restart(id, later));
        assert!(!calls.restart(id, later), "a pending call needs no restart");
        assert_eq!(calls.pending(), [id]);
        calls.tried(id, Attempt { error: None, ..failed_at(later) }, RETRY_EVERY);
        let call = calls.get(id).expect("it is there");
        assert_eq!(
            (call.state, call.next_at, call.attempts.len()),
            (CallState::Delivered, None, 62)
        );
    }

    #[test]
    fn an_order_notification_is_tried_for_three_hours() {
        let mut calls = Calls::default();
        let order = OrderRef::first_line("CS1".to_owned());
        let id = calls.add(Message::order_notify(&order, TestFlag::Real), START);
        let mut last = START;
        while let Some(at) = calls.get(id).expect("it is there").next_at {
            last = at;
            calls.tried(id, failed_at(at), RETRY_EVERY);
        }
        assert_eq!(last.ms_since(START), 3 * 60 * 60 * 1_000);
    }

    #[test]
    fn only_calls_that_went_through_are_forgotten() {
        let mut calls = Calls::default();
        let first = calls.add(Message::release("PL1", None, TestFlag::Real), START);
        for _ in 0..2 * KEPT_DONE {
            let id = calls.add(Message::release("PL2", None, TestFlag::Real), START);
            calls.tried(id, Attempt { error: None, ..failed_at(START) }, RETRY_EVERY);
        }
        assert_eq!(calls.newest_first().count(), KEPT_DONE + 3);
        assert!(calls.get(first).is_some());
    }
}
