//! The queue before the wire: so many calls a second, so many at once, one at a time per code; first
//! those that somebody waits for.
//!
//! Invariants: a place in the queue is taken only if its turn comes before the caller's deadline; a call
//! that nobody waits for takes a turn that is free now, and leaves a place for one that somebody does.

use crate::domain::license::Code;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};

/// How many calls may be under way at once. Fewer than the five refusals that lock an access key: when
/// the first of them is refused, the others cannot add up to a lock (protocol.md 2.9).
const AT_ONCE: usize = 4;
/// How many of them nobody waits for.
const IN_BACKGROUND: usize = AT_ONCE - 1;
/// A call that nobody waits for lets others go first for so long, and then queues like them: owed calls
/// are made even when the software alone asks for more than the pace allows.
const GIVES_WAY: Duration = Duration::from_secs(5);

/// Who calls when.
#[derive(Debug)]
pub(super) struct Line {
    pace: Mutex<Pace>,
    at_once: Semaphore,
    background: Semaphore,
    /// Held by the one in the background that is next; the others come in order behind it.
    next_free: tokio::sync::Mutex<()>,
    codes: Mutex<HashMap<Code, Arc<tokio::sync::Mutex<()>>>>,
}

/// Whether somebody waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// The software, the marketplace inside its callback, or an operator.
    Awaited,
    /// Nobody: what is owed, and the sweep.
    Background,
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
            background: Semaphore::new(IN_BACKGROUND),
            next_free: tokio::sync::Mutex::new(()),
            codes: Mutex::new(HashMap::new()),
        }
    }

    /// Waits until a call of this rank may queue at all. Before [`Line::codes`]: a crowd in the background
    /// holds only the codes that it is about to ask for.
    pub(super) async fn admission(
        &self,
        rank: Rank,
        deadline: Instant,
    ) -> Result<Option<SemaphorePermit<'_>>, NoTurn> {
        match rank {
            Rank::Awaited => Ok(None),
            Rank::Background => permit(&self.background, deadline).await.map(Some),
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

    /// Waits for a place among the calls under way, and for the pace of its first request.
    pub(super) async fn turn(
        &self,
        rank: Rank,
        deadline: Instant,
    ) -> Result<SemaphorePermit<'_>, NoTurn> {
        if rank == Rank::Background {
            let patience = deadline.min(Instant::now() + GIVES_WAY);
            if let Ok(place) = timeout_at(patience, self.free_turn()).await {
                return Ok(place);
            }
        }
        let place = permit(&self.at_once, deadline).await?;
        self.step(deadline).await?;
        Ok(place)
    }

    /// Waits for the pace: every single request takes a step of it.
    pub(super) async fn step(&self, deadline: Instant) -> Result<(), NoTurn> {
        let at = self.pace().reserve(Instant::now(), deadline).ok_or(NoTurn::Busy)?;
        sleep_until(at).await;
        Ok(())
    }

    /// A place and a step that are free at the same time: neither is held while the other is waited for.
    async fn free_turn(&self) -> SemaphorePermit<'_> {
        let _next = self.next_free.lock().await;
        loop {
            let next = match self.at_once.acquire().await {
                Ok(place) => match self.pace().take_free(Instant::now()) {
                    Ok(()) => return place,
                    Err(next) => next,
                },
                // Never closed; if it were, the caller's deadline would end this.
                Err(_) => Instant::now() + GIVES_WAY,
            };
            sleep_until(next).await;
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Code, Arc<tokio::sync::Mutex<()>>>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn permit(of: &Semaphore, deadline: Instant) -> Result<SemaphorePermit<'_>, NoTurn> {
    match timeout_at(deadline, of.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        Ok(Err(_)) | Err(_) => Err(NoTurn::Busy),
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

    /// Takes the turn that is free `now`; if none is, when to look again.
    fn take_free(&mut self, now: Instant) -> Result<(), Instant> {
        match self.next {
            Some(next) if next > now => Err(next),
            Some(_) | None => {
                self.next = Some(now + self.interval);
                Ok(())
            }
        }
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
        let line = Line::new(Duration::ZERO);
        let mut places = Vec::new();
        for _ in 0..AT_ONCE {
            places.push(line.turn(Rank::Awaited, Instant::now()).await.expect("a place"));
        }
        let soon = || Instant::now() + STEP;
        assert_eq!(line.turn(Rank::Awaited, soon()).await.err(), Some(NoTurn::Busy));
        assert_eq!(line.turn(Rank::Background, soon()).await.err(), Some(NoTurn::Busy));
        places.pop();
        assert!(line.turn(Rank::Awaited, soon()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_background_leaves_a_place() {
        let line = Line::new(Duration::ZERO);
        let mut admitted = Vec::new();
        while let Ok(admission) = line.admission(Rank::Background, Instant::now()).await {
            let place = line.turn(Rank::Background, Instant::now()).await.expect("a place");
            admitted.push((admission, place));
        }
        assert_eq!(admitted.len(), IN_BACKGROUND);
        assert!(line.admission(Rank::Awaited, Instant::now()).await.is_ok());
        assert!(line.turn(Rank::Awaited, Instant::now()).await.is_ok());
    }

    /// The background asks without a pause while somebody comes now and then.
    #[tokio::test(start_paused = true)]
    async fn who_is_waited_for_goes_before_a_crowd_in_the_background() {
        let line = Arc::new(Line::new(STEP));
        let crowd: Vec<_> = (0..IN_BACKGROUND).map(|_| sweeping(&line)).collect();
        for n in 1..100 {
            tokio::time::sleep(Duration::from_millis(370 * n % 1_000)).await;
            let came = Instant::now();
            drop(line.turn(Rank::Awaited, came + STEP).await.expect("the next turn"));
            assert!(came.elapsed() <= STEP);
        }
        for sweeping in crowd {
            sweeping.abort();
            assert!(sweeping.await.is_err_and(|error| error.is_cancelled()), "it went on");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_background_is_not_starved_by_more_questions_than_the_pace_allows() {
        let line = Arc::new(Line::new(STEP));
        let askers: Vec<_> = (0..20)
            .map(|_| {
                let line = Arc::clone(&line);
                tokio::spawn(async move {
                    loop {
                        let soon = Instant::now() + STEP * 4;
                        if let Ok(place) = line.turn(Rank::Awaited, soon).await {
                            drop(place);
                        } else {
                            tokio::time::sleep(STEP).await;
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(STEP).await;
        let came = Instant::now();
        let late = came + GIVES_WAY * 4;
        assert!(line.turn(Rank::Background, late).await.is_ok());
        assert!(came.elapsed() >= GIVES_WAY, "it gave way first");
        assert!(came.elapsed() < GIVES_WAY * 2, "{:?}", came.elapsed());
        askers.iter().for_each(tokio::task::JoinHandle::abort);
    }

    /// Takes one turn after the other.
    fn sweeping(line: &Arc<Line>) -> tokio::task::JoinHandle<()> {
        let line = Arc::clone(line);
        tokio::spawn(async move {
            loop {
                let late = Instant::now() + GIVES_WAY * 10;
                drop(line.turn(Rank::Background, late).await.expect("a turn"));
            }
        })
    }
}
