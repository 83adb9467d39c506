//! Answers to the software that may be given again, as the bytes they were sent as.
//!
//! Invariants: what is given is what a new answer would say ([`Fresh::holds`]); at most [`KEPT`] are kept.

use crate::domain::license::Code;
use crate::domain::time::Timestamp;
use crate::lifecycle::{Basis, Fresh};
use bytes::Bytes;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Answers kept at most, about 1 KiB each: codes asked about more than once in five minutes.
const KEPT: usize = 1 << 15;
/// Each under a lock of its own, so that callers seldom meet.
const PARTS: usize = 16;
/// In one generation of one part; the other generation takes as many.
const GENERATION: usize = KEPT / PARTS / 2;

/// The answers; one for all of the software's listeners.
#[derive(Default)]
pub struct Answers {
    parts: [Mutex<Part>; PARTS],
    hasher: RandomState,
}

/// Two generations: when the young one is full it becomes the old one, and that is forgotten.
#[derive(Default)]
struct Part {
    young: HashMap<Code, Kept>,
    old: HashMap<Code, Kept>,
}

struct Kept {
    fresh: Fresh,
    body: Bytes,
}

impl Answers {
    /// The answer that was given about `code`, if it holds `now` on this `basis`.
    pub(super) fn get(&self, code: &Code, basis: Basis, now: Timestamp) -> Option<Bytes> {
        let part = self.part(code);
        let kept = part.young.get(code).or_else(|| part.old.get(code))?;
        kept.fresh.holds(basis, now).then(|| kept.body.clone())
    }

    /// Keeps an answer in the place of an earlier one.
    pub(super) fn put(&self, code: Code, fresh: Fresh, body: Bytes) {
        let mut part = self.part(&code);
        if part.young.len() >= GENERATION && !part.young.contains_key(&code) {
            part.old = std::mem::take(&mut part.young);
        }
        part.young.insert(code, Kept { fresh, body });
    }

    fn part(&self, code: &Code) -> MutexGuard<'_, Part> {
        let part = usize::try_from(self.hasher.hash_one(code) % PARTS as u64).unwrap_or_default();
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    fn code(n: usize) -> Code {
        Code::parse(&format!("PL{n}")).expect("a code")
    }

    fn put(answers: &Answers, n: usize, text: &str, until: Timestamp) {
        let fresh = Fresh { basis: Basis::default(), from: NOW, until };
        answers.put(code(n), fresh, Bytes::from(text.to_owned()));
    }

    #[test]
    fn an_answer_is_kept_for_its_time_and_its_code() {
        let answers = Answers::default();
        let get = |n, now| answers.get(&code(n), Basis::default(), now);
        put(&answers, 1, "first", NOW.plus_ms(5));
        assert_eq!(get(1, NOW).as_deref(), Some(&b"first"[..]));
        put(&answers, 1, "second", NOW.plus_ms(10));
        assert_eq!(get(1, NOW.plus_ms(9)).as_deref(), Some(&b"second"[..]));
        assert_eq!(get(1, NOW.plus_ms(10)), None, "over");
        assert_eq!(get(1, NOW.plus_ms(-1)), None, "the clock was set back");
        assert_eq!(get(2, NOW), None, "another code");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let answers = Answers::default();
        for n in 0..4 * KEPT {
            put(&answers, n, "", NOW.plus_ms(1));
        }
        let kept = |part: &Mutex<Part>| {
            let part = part.lock().expect("not poisoned");
            part.young.len() + part.old.len()
        };
        let kept: usize = answers.parts.iter().map(kept).sum();
        assert!((KEPT / 2..=KEPT).contains(&kept), "{kept}");
        assert!(answers.get(&code(4 * KEPT - 1), Basis::default(), NOW).is_some(), "the last one");
    }
}
