//! The marketplace's sense of time: what the clock shows, and how long its waits last.
//!
//! Invariant: instants that leave the process (signatures, dates, ends) are the clock's; only waits are
//! divided by the speed, so that a merchant on real time can be tested in a hurry.

use crate::clock::Clock;
use crate::domain::time::Timestamp;
use std::time::Duration;

/// A clock with a speed for waits.
#[derive(Debug)]
pub(super) struct Pace {
    clock: Clock,
    speed: u32,
    origin: Timestamp,
}

impl Pace {
    /// `speed` divides all waits, beyond what a scaled clock already does. 0 is taken as 1.
    pub(super) fn new(clock: Clock, speed: u32) -> Self {
        let origin = clock.now();
        Self { clock, speed: speed.max(1), origin }
    }

    /// The time now.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How much of the clock's time a documented wait takes here.
    pub(super) fn span(&self, documented: Duration) -> Duration {
        documented / self.speed
    }

    /// How long one really waits for a documented limit, but never less than `floor`.
    pub(super) fn limit(&self, documented: Duration, floor: Duration) -> Duration {
        self.clock.real(self.span(documented)).max(floor)
    }

    /// What the marketplace's office clock shows: it runs faster by the speed, and only says when the
    /// next routine is due.
    pub(super) fn office_now(&self) -> Timestamp {
        let passed = self.now().ms_since(self.origin);
        self.origin.plus_ms(passed.saturating_mul(i64::from(self.speed)))
    }

    /// Waits until the office clock shows `due`; looks again each second, because clocks jump.
    pub(super) async fn office_until(&self, due: Timestamp) {
        loop {
            let left = due.ms_since(self.office_now());
            let Some(left) = u64::try_from(left).ok().filter(|ms| *ms > 0) else { return };
            self.nap(self.span(Duration::from_millis(left))).await;
        }
    }

    /// Waits until the clock shows `due`; looks again each second, because clocks jump.
    pub(super) async fn until(&self, due: Timestamp) {
        loop {
            let left = due.ms_since(self.now());
            let Some(left) = u64::try_from(left).ok().filter(|ms| *ms > 0) else { return };
            self.nap(Duration::from_millis(left)).await;
        }
    }

    async fn nap(&self, left: Duration) {
        const LONGEST: Duration = Duration::from_secs(1);
        const SHORTEST: Duration = Duration::from_millis(1);
        tokio::time::sleep(self.clock.real(left).clamp(SHORTEST, LONGEST)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_divided_and_limits_keep_their_floor() {
        let pace = Pace::new(Clock::system(), 60);
        assert_eq!(pace.span(Duration::from_mins(2)), Duration::from_secs(2));
        let floor = Duration::from_secs(2);
        assert_eq!(pace.limit(Duration::from_secs(20), floor), floor);
        assert_eq!(pace.limit(Duration::from_mins(5), floor), Duration::from_secs(5));
        let slow = Pace::new(Clock::system(), 0);
        assert_eq!(slow.limit(Duration::from_secs(20), floor), Duration::from_secs(20));
    }

    #[test]
    fn the_office_clock_runs_faster_from_the_start() {
        let start = Timestamp::from_ms(1_000);
        let mut pace = Pace::new(Clock::scaled(0, start, 1), 100);
        pace.origin = pace.now().plus_ms(-1_000);
        let shown = pace.office_now().ms_since(pace.origin);
        assert!((100_000..120_000).contains(&shown), "{shown}");
    }
}
