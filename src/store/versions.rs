//! A number that changes whenever a row of `license` does: whoever keeps something that was made from a
//! row knows by it whether that still holds, without a read.
//!
//! Invariant: the number has changed before anybody is told of the write, and changes only after readers
//! see the write. So take the number first, read then: what is kept under it is never younger than it says.

use crate::domain::license::Code;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Codes share this many numbers, so that a million cost no more than one: a write to one code is then
/// taken for a write to the few that share its number, which costs them a read.
const NUMBERS: usize = 1 << 14;

/// The version of a row, as far as it can be told without reading it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Version {
    place: usize,
    number: u64,
}

/// The numbers. Clones share them.
#[derive(Clone)]
pub(super) struct Versions {
    numbers: Arc<[AtomicU64]>,
    /// Seeded at start: nobody can choose codes that share a number.
    hasher: RandomState,
}

impl Default for Versions {
    fn default() -> Self {
        let numbers = (0..NUMBERS).map(|_| AtomicU64::new(0)).collect();
        Self { numbers, hasher: RandomState::new() }
    }
}

impl Versions {
    pub(super) fn of(&self, code: &Code) -> Version {
        let place = self.place(code);
        Version { place, number: self.number(place) }
    }

    /// Whether the row is still of that version, for all that can be told.
    pub(super) fn holds(&self, version: Version) -> bool {
        self.number(version.place) == version.number
    }

    fn number(&self, place: usize) -> u64 {
        self.numbers[place].load(Ordering::Acquire)
    }

    /// Which number is the code's.
    pub(super) fn place(&self, code: &Code) -> usize {
        usize::try_from(self.hasher.hash_one(code) % NUMBERS as u64).unwrap_or_default()
    }

    /// Called after a commit that readers see, and before anybody is told of it.
    pub(super) fn change(&self, places: &[usize]) {
        for place in places {
            self.numbers[*place].fetch_add(1, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_concerns_its_code_and_hardly_another() {
        let versions = Versions::default();
        let code = |n: usize| Code::parse(&format!("PL{n}")).expect("a code");
        let before: Vec<_> = (0..1_000).map(|n| versions.of(&code(n))).collect();
        versions.change(&[versions.place(&code(7))]);
        let changed = before.iter().filter(|was| !versions.holds(**was)).count();
        assert!(!versions.holds(before[7]));
        assert!(versions.holds(versions.of(&code(7))));
        assert!((1..10).contains(&changed), "{changed}");
    }
}
