//! How long to wait before a call is tried again: 5 s, doubling to 5 min, with jitter (product.md §9).

use ring::rand::{SecureRandom, SystemRandom};
use std::time::Duration;

/// The first wait, in milliseconds.
const FIRST_MS: u64 = 5_000;
/// The longest wait, in milliseconds.
const LONGEST_MS: u64 = 300_000;
/// The pause before the second try of a call that somebody waits for, in milliseconds.
const PAUSE_MS: u64 = 800;

/// The wait after `failures` failures in a row (0 counts as 1), with fresh jitter.
#[must_use]
pub fn delay(failures: u32) -> Duration {
    delay_with(failures, dice())
}

/// The same with the jitter given: `dice` 0 is half of the full wait, `u16::MAX` is all of it.
fn delay_with(failures: u32, dice: u16) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = FIRST_MS.saturating_mul(1 << doublings).min(LONGEST_MS);
    jitter(full, dice)
}

/// The pause between the two tries of a call that somebody waits for.
pub(super) fn pause() -> Duration {
    jitter(PAUSE_MS, dice())
}

fn jitter(full_ms: u64, dice: u16) -> Duration {
    let half = full_ms / 2;
    Duration::from_millis(half + (full_ms - half) * u64::from(dice) / u64::from(u16::MAX))
}

/// Sixteen random bits; the middle if the system has no randomness, for jitter is no secret.
fn dice() -> u16 {
    let mut bytes = [0; 2];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => u16::from_be_bytes(bytes),
        Err(_) => u16::MAX / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_five_seconds_to_five_minutes() {
        let full = |failures| delay_with(failures, u16::MAX).as_secs();
        let waits: Vec<u64> = (0..10).map(full).collect();
        assert_eq!(waits, [5, 5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(full(u32::MAX), 300);
    }

    #[test]
    fn jitter_stays_between_half_and_all() {
        assert_eq!(delay_with(1, 0), Duration::from_millis(2_500));
        for _ in 0..100 {
            assert!((2_500..=5_000).contains(&delay(1).as_millis()));
            assert!((400..=800).contains(&pause().as_millis()));
        }
    }
}
