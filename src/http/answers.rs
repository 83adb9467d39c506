//! Answers to the software that may be given again, as the bytes they were sent as.
//!
//! Invariants: each is kept with what tells whether it still holds ([`Fresh`]); at most [`KEPT`] are kept. A
//! code and its answer lie side by side, because what costs here is memory that is far from the processor.

use super::reply_body::Chunk;
use crate::domain::license::Code;
use crate::lifecycle::Fresh;
use hashbrown::HashTable;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Seeded at start: nobody can choose codes that meet in a table.
    hasher: RandomState,
}

/// Two generations: when the young one is full it becomes the old one, and that is forgotten.
#[derive(Default)]
struct Part {
    young: HashTable<Kept>,
    old: HashTable<Kept>,
}

struct Kept {
    fresh: Fresh,
    /// The code, and the answer's body.
    text: Arc<[u8]>,
    /// Where the body begins.
    body: usize,
}

impl Kept {
    fn is_about(&self, code: &str) -> bool {
        self.code() == code.as_bytes()
    }

    fn code(&self) -> &[u8] {
        &self.text[..self.body]
    }
}

impl Answers {
    /// The answer that was last given about what may be a code, and what tells whether it holds.
    pub(super) fn get(&self, code: &str) -> Option<(Fresh, Chunk)> {
        let hash = self.hash(code.as_bytes());
        let part = self.part(hash);
        let is_it = |kept: &Kept| kept.is_about(code);
        let kept = part.young.find(hash, is_it).or_else(|| part.old.find(hash, is_it))?;
        let body = Chunk::Shared { text: Arc::clone(&kept.text), from: kept.body };
        Some((kept.fresh, body))
    }

    /// Keeps an answer in the place of an earlier one.
    pub(super) fn put(&self, code: &Code, fresh: Fresh, body: &[u8]) {
        let code = code.as_str();
        let text = [code.as_bytes(), body].concat().into();
        let kept = Kept { fresh, text, body: code.len() };
        let hash = self.hash(code.as_bytes());
        let mut part = self.part(hash);
        if let Some(earlier) = part.young.find_mut(hash, |kept| kept.is_about(code)) {
            *earlier = kept;
            return;
        }
        if part.young.len() >= GENERATION {
            part.old = std::mem::take(&mut part.young);
        }
        part.young.insert_unique(hash, kept, |kept| self.hash(kept.code()));
    }

    fn hash(&self, code: &[u8]) -> u64 {
        self.hasher.hash_one(code)
    }

    fn part(&self, hash: u64) -> MutexGuard<'_, Part> {
        // The tables use the hash's low and highest bits.
        let part = usize::try_from((hash >> 32) % PARTS as u64).unwrap_or_default();
        self.parts[part].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;
    use crate::lifecycle::Basis;
    use bytes::Buf as _;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

    fn put(answers: &Answers, code: &str, text: &str) {
        let fresh = Fresh { basis: Basis::default(), from: NOW, until: NOW.plus_ms(1) };
        answers.put(&Code::parse(code).expect("a code"), fresh, text.as_bytes());
    }

    #[test]
    fn the_last_answer_is_kept_for_its_code_and_no_other() {
        let answers = Answers::default();
        let get = |code| answers.get(code).map(|(_, body)| body.chunk().to_vec());
        put(&answers, "PL1", "first");
        put(&answers, "PL12", "another");
        put(&answers, "PL1", "second");
        assert_eq!(get("PL1").as_deref(), Some(&b"second"[..]));
        assert_eq!(get("PL12").as_deref(), Some(&b"another"[..]));
        for none in ["PL2", "PL", "PL1s", "pl1", ""] {
            assert_eq!(get(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let answers = Answers::default();
        for n in 0..4 * KEPT {
            put(&answers, &format!("PL{n}"), "");
        }
        let kept = |part: &Mutex<Part>| {
            let part = part.lock().expect("not poisoned");
            part.young.len() + part.old.len()
        };
        let kept: usize = answers.parts.iter().map(kept).sum();
        assert!((KEPT / 2..=KEPT).contains(&kept), "{kept}");
        assert!(answers.get(&format!("PL{}", 4 * KEPT - 1)).is_some(), "the last one");
        let strange = (0..2_000).filter(|n| answers.get(&format!("PX{n}")).is_some());
        assert_eq!(strange.count(), 0, "answers about codes that nobody asked about");
    }
}
