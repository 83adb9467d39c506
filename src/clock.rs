//! The one place that reads the machine's clock; everything else is told the time.
//!
//! Invariant: a [`Clock`] of speed 1 is the system's; a faster one is for the sandbox and for tests and
//! maps each real millisecond onto `speed` milliseconds of its own.

use crate::domain::time::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time at the edges. Cheap to clone; all clones agree.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Real milliseconds since the epoch at which this clock read `origin`.
    real_origin_ms: i64,
    origin: Timestamp,
    speed: u32,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self { real_origin_ms: 0, origin: Timestamp::from_ms(0), speed: 1 }
    }

    /// A clock that read `origin` when the machine's clock read `real_origin_ms` (milliseconds since the
    /// epoch) and runs `speed` times as fast. A speed of 0 is taken as 1: time never stands still.
    #[must_use]
    pub const fn scaled(real_origin_ms: i64, origin: Timestamp, speed: u32) -> Self {
        Self { real_origin_ms, origin, speed: if speed == 0 { 1 } else { speed } }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let passed = real_now_ms().saturating_sub(self.real_origin_ms);
        self.origin.plus_ms(passed.saturating_mul(i64::from(self.speed)))
    }

    /// How long one really waits until `duration` has passed on this clock.
    #[must_use]
    pub fn real(&self, duration: Duration) -> Duration {
        duration / self.speed
    }

    /// How many times faster than the machine's clock this one runs; 1 in production.
    #[must_use]
    pub const fn speed(&self) -> u32 {
        self.speed
    }
}

/// Milliseconds since the epoch on the machine's clock; negative when it is set before 1970.
#[expect(clippy::disallowed_methods, reason = "this is the edge that the rule points to")]
fn real_now_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_is_the_machines() {
        let before = real_now_ms();
        let told = Clock::system().now().as_ms();
        assert!((before..=real_now_ms()).contains(&told));
    }

    #[test]
    fn a_scaled_clock_runs_faster_from_its_origin() {
        let origin = Timestamp::from_ms(1_000_000);
        let clock = Clock::scaled(real_now_ms() - 2_000, origin, 3_600);
        let passed = clock.now().ms_since(origin);
        assert!((7_200_000..9_000_000).contains(&passed), "{passed}");
        assert_eq!(clock.real(Duration::from_hours(1)), Duration::from_secs(1));
        assert_eq!(Clock::scaled(0, origin, 0).real(Duration::from_secs(1)).as_secs(), 1);
    }
}
