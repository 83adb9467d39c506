//! Space on the disk of the database.

use super::alarm;
use crate::domain::time::Timestamp;
use crate::guard::alarms::{Alarm, Severity};
use std::path::Path;

const MIB: u64 = 1 << 20;
/// Less than this is told.
const WARN_BYTES: u64 = 1 << 30;
/// And less than this share, in percent, unless more than [`AMPLE_BYTES`] are free.
const WARN_PERCENT: u64 = 10;
/// Enough for months, however large the disk is.
const AMPLE_BYTES: u64 = 10 << 30;
/// Callbacks will be answered 000005 soon.
const HIGH_BYTES: u64 = 200 * MIB;

/// A disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Space {
    pub(super) free: u64,
    pub(super) whole: u64,
}

/// What is free for us where this folder lies; `None` when the system does not tell.
pub(super) fn space(folder: &Path) -> Option<Space> {
    let told = rustix::fs::statvfs(folder).ok()?;
    let block = told.f_frsize;
    let (free, whole) = (told.f_bavail.saturating_mul(block), told.f_blocks.saturating_mul(block));
    (whole > 0).then_some(Space { free, whole })
}

impl Space {
    pub(super) fn alarm(self, now: Timestamp) -> Option<Alarm> {
        let Self { free, whole } = self;
        let severity = if free < HIGH_BYTES {
            Severity::High
        } else if free < WARN_BYTES || free < AMPLE_BYTES.min(whole / 100 * WARN_PERCENT) {
            Severity::Warning
        } else {
            return None;
        };
        let text =
            format!("{} MiB of {} MiB are free on the disk of data-dir", free / MIB, whole / MIB);
        let what_to_do = "free some space, or shorten [retention]: on a full disk callbacks are answered 000005, and it heals by itself";
        Some(alarm("disk_space", severity, now, text, what_to_do))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_or_a_gibibyte_warns_and_two_hundred_mebibytes_are_high() {
        let gib = 1 << 30;
        for (free, whole, severity) in [
            (10 * gib, 900 * gib, None),
            (10 * gib - 1, 900 * gib, Some(Severity::Warning)),
            (5 * gib, 40 * gib, None),
            (3 * gib, 40 * gib, Some(Severity::Warning)),
            (gib, 4 * gib, None),
            (gib - 1, 4 * gib, Some(Severity::Warning)),
            (HIGH_BYTES, 4 * gib, Some(Severity::Warning)),
            (HIGH_BYTES - 1, 4 * gib, Some(Severity::High)),
            (0, 4 * gib, Some(Severity::High)),
        ] {
            let told = Space { free, whole }.alarm(Timestamp::from_ms(0));
            assert_eq!(told.map(|alarm| alarm.severity), severity, "{free} of {whole}");
        }
    }

    #[test]
    fn the_system_tells_of_a_folder_that_is_there() {
        let told = space(Path::new("/")).expect("told");
        assert!(told.free <= told.whole, "{told:?}");
        assert_eq!(space(Path::new("/no/such/folder")), None);
    }
}
