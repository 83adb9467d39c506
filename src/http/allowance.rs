//! So many in an hour, and so many at once: what is over is refused, or only counted.

use crate::domain::time::{HOUR_MS, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering};

/// The use is kept in this many parts of one, so that a millisecond gives back `per_hour` parts.
const PARTS: i64 = HOUR_MS;

/// A bound on how often something may happen.
#[derive(Debug)]
pub(super) struct Allowance {
    burst: i64,
    per_hour: i64,
    /// Used up, in [`PARTS`]; sinks with time.
    used: AtomicI64,
    /// When it was last looked at, in milliseconds.
    at: AtomicI64,
}

impl Allowance {
    /// `burst` at once, and `per_hour` in an hour after that.
    pub(super) fn new(burst: u32, per_hour: u32) -> Self {
        let (burst, per_hour) = (i64::from(burst), i64::from(per_hour));
        Self { burst, per_hour, used: AtomicI64::new(0), at: AtomicI64::new(0) }
    }

    /// Takes one, if one is left. Races between callers may let a few more pass; the bound stays a bound.
    pub(super) fn take(&self, now: Timestamp) -> bool {
        let before = self.at.swap(now.as_ms(), Ordering::Relaxed);
        let whole_ms = self.burst * PARTS / self.per_hour.max(1) + 1;
        let passed_ms = now.as_ms().saturating_sub(before).clamp(0, whole_ms);
        let used = (self.used.load(Ordering::Relaxed) - passed_ms * self.per_hour).max(0);
        let free = used + PARTS <= self.burst * PARTS;
        self.used.store(if free { used + PARTS } else { used }, Ordering::Relaxed);
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lets_a_burst_pass_and_then_a_rate() {
        let allowance = Allowance::new(50, 36_000);
        let at = |ms: i64| Timestamp::from_ms(1_000_000_000_000 + ms);
        let burst = (0..200).filter(|_| allowance.take(at(0))).count();
        assert_eq!(burst, 50);
        assert!(!allowance.take(at(50)));
        assert_eq!((0..200).filter(|_| allowance.take(at(1_050))).count(), 10);
        assert_eq!((0..200).filter(|_| allowance.take(at(9_000_000_000))).count(), 50);
        assert!(!allowance.take(at(0)), "a clock set back gives nothing");
    }

    #[test]
    fn none_at_all_is_a_bound_too() {
        let allowance = Allowance::new(0, 0);
        assert!(!allowance.take(Timestamp::from_ms(1_000_000_000_000)));
    }
}
