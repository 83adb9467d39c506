//! The writer's queue: a length that stays is a disk that is slower than the callers.

use crate::domain::time::Timestamp;
use crate::guard::alarms::{Alarm, Severity};
use std::collections::VecDeque;

/// Looks in a row at which the queue must be long: one burst is no trouble.
const LOOKS: usize = 3;
/// Jobs; the queue holds 4,096, and more are answered 000005.
const WARN_JOBS: usize = 512;
const HIGH_JOBS: usize = 3_072;

pub(super) fn remember(looks: &mut VecDeque<usize>, waiting: usize) {
    looks.push_back(waiting);
    while looks.len() > LOOKS {
        looks.pop_front();
    }
}

pub(super) fn alarm(looks: &VecDeque<usize>, now: Timestamp) -> Option<Alarm> {
    let least = looks.iter().copied().min().filter(|_| looks.len() >= LOOKS)?;
    let severity = match least {
        HIGH_JOBS.. => Severity::High,
        WARN_JOBS.. => Severity::Warning,
        _ => return None,
    };
    let text = format!("{least} jobs or more have waited for the writer for a minute");
    let what_to_do = "see authcoded_commit_duration_seconds: the disk is slower than the callers. Look what else uses it; a full queue answers callbacks with 000005";
    Some(super::alarm("writer_queue", severity, now, text, what_to_do))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_length_that_stays_is_told() {
        let now = Timestamp::from_ms(0);
        for (lengths, severity) in [
            (&[4_000, 4_000][..], None),
            (&[4_000, 0, 4_000], None),
            (&[511, 4_000, 4_000], None),
            (&[0, 512, 600, 4_000], Some(Severity::Warning)),
            (&[3_072, 3_072, 3_072], Some(Severity::High)),
        ] {
            let mut looks = VecDeque::new();
            for length in lengths {
                remember(&mut looks, *length);
            }
            assert_eq!(alarm(&looks, now).map(|alarm| alarm.severity), severity, "{lengths:?}");
        }
    }
}
