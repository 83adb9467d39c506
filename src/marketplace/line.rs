//! The queue before the wire: so many calls a second, so many at once, one at a time per code.
//!
//! Invariant: a place in the queue is taken only if its turn comes before the caller's deadline.

use crate::domain::license::Code;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How many calls may be under way at once. Fewer than the five refusals that lock an access key: when
/// the first of them is refused, the others cannot add up to a lock (protocol.md 2.9).
const AT_ONCE: usize = 4;

/// Who calls when.
#[derive(Debug)]
pub(super) struct Line {
    pace: Mutex<Pace>,
    at_once: Semaphore,
    codes: Mutex<HashMap<Code, Arc<tokio::sync::Mutex<()>>>>,
}

/// The turn did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoTurn {
    #[error("another call for this code is still under way")]
    CodeBusy,
    #[error("too many calls wait for their turn (requests-per-second)")]
    Busy,
}

impl Line {
    /// A line that moves once every `interval` of real time.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            pace: Mutex::new(Pace { interval, next: None }),
            at_once: Semaphore::new(AT_ONCE),
            codes: Mutex::new(HashMap::new()),
        }
    }

    /// Waits until no other call for any of `codes` is under way. They are taken in one order by everybody,
    /// so that no two callers wait for each other.
    pub(super) async fn codes(
        &self,
        codes: &[Code],
        deadline: Instant,
    ) -> Result<Vec<CodeTurn<'_>>, NoTurn> {
        let mut sorted: Vec<&Code> = codes.iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        let mut turns = Vec::with_capacity(sorted.len());
        for code in sorted {
            turns.push(self.code(code, deadline).await?);
        }
        Ok(turns)
    }

    async fn code(&self, code: &Code, deadline: Instant) -> Result<CodeTurn<'_>, NoTurn> {
        let lock = Arc::clone(self.entries().entry(code.clone()).or_default());
        // Made before the wait, so that the entry is dropped with the last who waits.
        let mut turn = CodeTurn { line: self, code: code.clone(), held: None };
        let held = timeout_at(deadline, lock.lock_owned()).await.map_err(|_| NoTurn::CodeBusy)?;
        turn.held = Some(held);
        Ok(turn)
    }

    /// Waits for a place among the calls under way.
    pub(super) async fn place(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, NoTurn> {
        match timeout_at(deadline, self.at_once.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(NoTurn::Busy),
        }
    }

    /// Waits for the pace: every single request takes a step of it.
    pub(super) async fn step(&self, deadline: Instant) -> Result<(), NoTurn> {
        let at = self
            .pace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .reserve(Instant::now(), deadline)
            .ok_or(NoTurn::Busy)?;
        sleep_until(at).await;
        Ok(())
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Code, Arc<tokio::sync::Mutex<()>>>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to call about a code. Its end lets the next one call.
#[derive(Debug)]
pub(super) struct CodeTurn<'l> {
    line: &'l Line,
    code: Code,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for CodeTurn<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut codes = self.line.entries();
        if codes.get(&self.code).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            codes.remove(&self.code);
        }
    }
}

/// Even spacing: no burst, so that no second holds more than the configured requests.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    next: Option<Instant>,
}

impl Pace {
    /// The turn of a caller who comes `now`; none if it would be after `latest`.
    fn reserve(&mut self, now: Instant, latest: Instant) -> Option<Instant> {
        let at = self.next.map_or(now, |next| next.max(now));
        if at > latest {
            return None;
        }
        self.next = Some(at + self.interval);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(200);

    #[test]
    fn turns_are_evenly_spaced_and_idle_time_is_not_saved_up() {
        let start = Instant::now();
        let mut pace = Pace { interval: STEP, next: None };
        let mut at = |come: Duration| {
            let turn = pace.reserve(start + come, start + come + Duration::from_secs(1));
            turn.map(|at| (at - start).as_millis())
        };
        let zero = Duration::ZERO;
        assert_eq!([at(zero), at(zero), at(zero)], [Some(0), Some(200), Some(400)]);
        assert_eq!([at(STEP * 10), at(STEP * 10)], [Some(2_000), Some(2_200)]);
    }

    #[test]
    fn a_turn_after_the_deadline_is_not_taken() {
        let start = Instant::now();
        let mut pace = Pace { interval: STEP, next: None };
        assert!(pace.reserve(start, start).is_some());
        assert_eq!(pace.reserve(start, start + STEP / 2), None);
        assert_eq!(pace.reserve(start, start + STEP), Some(start + STEP), "it went to the next");
    }

    fn code(text: &str) -> Code {
        Code::parse(text).expect("a code")
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_at_a_time_per_code_and_no_entry_stays() {
        let line = Line::new(STEP);
        let soon = || Instant::now() + STEP;
        let held = line.code(&code("a"), soon()).await.expect("free");
        assert!(line.code(&code("b"), soon()).await.is_ok(), "other codes are free");
        assert_eq!(line.code(&code("a"), soon()).await.err(), Some(NoTurn::CodeBusy));
        let again = code("a");
        let (next, ()) = tokio::join!(line.code(&again, soon()), async { drop(held) });
        assert!(next.is_ok());
        drop(next);
        assert!(line.entries().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_four_at_once() {
        let line = Line::new(STEP);
        let mut places = Vec::new();
        for _ in 0..AT_ONCE {
            places.push(line.place(Instant::now()).await.expect("a place"));
        }
        assert_eq!(line.place(Instant::now() + STEP).await.err(), Some(NoTurn::Busy));
        places.pop();
        assert!(line.place(Instant::now() + STEP).await.is_ok());
    }
}
