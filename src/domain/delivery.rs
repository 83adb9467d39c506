//! Messages on their way to people: when one is tried again, and when it is given up.
//!
//! Invariant: a message that was not taken is tried again until its time is over, ever more seldom.

use super::time::{DAY_MS, MINUTE_MS, SECOND_MS, Timestamp};

/// The first wait.
const FIRST_MS: i64 = 5 * SECOND_MS;
/// The longest wait.
const LONGEST_MS: i64 = 15 * MINUTE_MS;
/// Who has not taken a message by then will not.
const GIVE_UP_MS: i64 = 3 * DAY_MS;

/// What follows a try that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is tried again at this time.
    Again(Timestamp),
    /// It is not tried again.
    GiveUp,
}

/// What follows the `failures`th failure in a row of a message that was first due at `due_at`.
#[must_use]
pub fn after_failure(failures: u32, due_at: Timestamp, now: Timestamp) -> Next {
    if now.ms_since(due_at) >= GIVE_UP_MS {
        return Next::GiveUp;
    }
    let doublings = failures.saturating_sub(1).min(16);
    Next::Again(now.plus_ms((FIRST_MS << doublings).min(LONGEST_MS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_five_seconds_to_fifteen_minutes_for_three_days() {
        let due_at = Timestamp::from_ms(1_795_249_800_000);
        let (mut now, mut failures, mut waits) = (due_at, 0, Vec::new());
        loop {
            failures += 1;
            match after_failure(failures, due_at, now) {
                Next::Again(at) => {
                    waits.push(at.ms_since(now) / SECOND_MS);
                    now = at;
                }
                Next::GiveUp => break,
            }
        }
        assert_eq!(waits[..9], [5, 10, 20, 40, 80, 160, 320, 640, 900]);
        assert!(waits[9..].iter().all(|wait| *wait == 900));
        assert!((GIVE_UP_MS..GIVE_UP_MS + LONGEST_MS).contains(&now.ms_since(due_at)));
        assert_eq!(
            after_failure(u32::MAX, due_at, due_at),
            Next::Again(due_at.plus_ms(LONGEST_MS))
        );
    }
}
