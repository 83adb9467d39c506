//! Chance from a seed: ids, nonces and fault dice that come out the same in every run.
//!
//! Invariant: nothing here asks the machine for randomness; no secret may come from here.

use crate::domain::time::{BEIJING_OFFSET_MS, DateText, Timestamp};
use serde::{Deserialize, Serialize};

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const CAPITALS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// The nonce lengths seen in the marketplace's examples (protocol.md 5.1).
const NONCE_LENGTHS: [usize; 3] = [16, 32, 64];

/// A splitmix64 generator; its whole state is one number, so that it can be kept across runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Random(u64);

impl Random {
    /// The generator that `seed` names; `stream` keeps generators of one seed apart.
    pub(super) const fn new(seed: u64, stream: u64) -> Self {
        Self(seed ^ stream.wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    /// The next 64 bits.
    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A fresh nonce of 16, 32 or 64 letters and digits.
    pub(super) fn nonce(&mut self) -> String {
        let length = *self.pick(&NONCE_LENGTHS);
        self.text(LETTERS, length)
    }

    /// A fresh authorization code: `PL` and 14 capitals and digits.
    pub(super) fn license(&mut self) -> String {
        format!("PL{}", self.text(CAPITALS, 14))
    }

    /// A fresh order number as the marketplace forms them: `CS`, the Beijing minute, six characters.
    pub(super) fn order_id(&mut self, now: Timestamp) -> String {
        let beijing = DateText::from_utc(now.plus_ms(BEIJING_OFFSET_MS));
        let minute = beijing.as_str().get(2..12).unwrap_or_default();
        format!("CS{minute}{}", self.text(CAPITALS, 6))
    }

    /// A fresh gateway request id: 32 lower-case hexadecimal digits.
    pub(super) fn request_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }

    /// True with the given probability; 0 and below is never, 1 and above is always.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        /// Two to the power of 32: the dice have that many sides.
        const SIDES: f64 = 4_294_967_296.0;
        let throw = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        f64::from(throw) < probability * SIDES
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let size = u64::try_from(from.len()).unwrap_or(1).max(1);
        let index = usize::try_from(self.next() % size).unwrap_or(0);
        &from[index]
    }

    fn text(&mut self, letters: &[u8], length: usize) -> String {
        (0..length).map(|_| char::from(*self.pick(letters))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_ids_again_and_streams_differ() {
        let ids = |seed, stream| {
            let mut random = Random::new(seed, stream);
            (0..50).map(|_| random.license()).collect::<Vec<_>>()
        };
        assert_eq!(ids(7, 1), ids(7, 1));
        assert_ne!(ids(7, 1), ids(8, 1));
        assert_ne!(ids(7, 1), ids(7, 2));
    }

    #[test]
    fn nonces_have_the_documented_lengths_and_letters() {
        let mut random = Random::new(1, 1);
        let nonces: Vec<_> = (0..300).map(|_| random.nonce()).collect();
        for length in NONCE_LENGTHS {
            assert!(nonces.iter().any(|nonce| nonce.len() == length));
        }
        assert!(nonces.iter().all(|n| n.chars().all(|c| c.is_ascii_alphanumeric())));
        assert!(nonces.iter().all(|n| NONCE_LENGTHS.contains(&n.len())));
    }

    #[test]
    fn chance_keeps_to_its_probability() {
        let mut random = Random::new(3, 3);
        let hits = (0..10_000).filter(|_| random.chance(0.3)).count();
        assert!((2_800..3_200).contains(&hits), "{hits}");
        assert!(!random.chance(0.0));
        assert!(random.chance(1.0));
    }

    #[test]
    fn an_order_number_tells_the_beijing_minute() {
        let at = DateText::parse("20220726064736").expect("a date").utc();
        let id = Random::new(1, 1).order_id(at);
        assert!(id.starts_with("CS2207261447"), "{id}");
        assert_eq!(id.len(), 18);
    }
}
