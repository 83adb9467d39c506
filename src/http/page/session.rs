//! Who is signed in: sessions, each with an end, and how often somebody may try to begin one.
//!
//! Invariant: sessions are in memory only and bounded in number; the time is an argument. It is a clock that
//! only goes forward, because neither a corrected nor a faster clock of the daemon shall end or keep a session.

use crate::domain::time::Timestamp;
use crate::http::allowance::Allowance;
use crate::protocol::hex;
use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A session ends when it was not used for this long.
const IDLE: Duration = Duration::from_mins(30);
/// A session ends after this long, however much it is used.
const LONGEST: Duration = Duration::from_hours(12);
/// Sessions at a time; a further one ends the one that was not used for the longest.
const MOST: usize = 64;
/// Tries to sign in at once, by whomever.
const TRIES: u32 = 10;
/// Tries in an hour after that: ten in a minute.
const TRIES_PER_HOUR: u32 = 600;

/// What is known of a session; its id is kept as its digest only.
struct Session {
    began: Instant,
    used: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.used) >= IDLE || now.duration_since(self.began) >= LONGEST
    }
}

/// Whether looking for a session counts as its use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A person asked.
    ByHand,
    /// The page's script asked by itself: a page left open does not keep its session.
    BySelf,
}

/// All sessions.
pub(super) struct Sessions {
    random: SystemRandom,
    /// Makes a session's token for forms from its id.
    key: hmac::Key,
    open: Mutex<HashMap<[u8; 32], Session>>,
    tries: Allowance,
    since: Instant,
}

impl Sessions {
    /// None yet; `now` is where the clock of the tries begins.
    pub(super) fn new(now: Instant) -> Self {
        let random = SystemRandom::new();
        // Without randomness no session is begun either, so the fixed key serves nobody.
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random)
            .unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, b"authcoded"));
        let tries = Allowance::new(TRIES, TRIES_PER_HOUR);
        Self { random, key, open: Mutex::default(), tries, since: now }
    }

    /// Counts a try to sign in; `false` when there have been too many.
    pub(super) fn may_try(&self, now: Instant) -> bool {
        let ms = now.duration_since(self.since).as_millis();
        self.tries.take(Timestamp::from_ms(i64::try_from(ms).unwrap_or(i64::MAX)))
    }

    /// Begins a session and returns its id, which nobody can guess; `None` when there is no randomness.
    pub(super) fn begin(&self, now: Instant) -> Option<String> {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes).ok()?;
        let id = hex::encode(&bytes);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| !session.is_over(now));
        if open.len() >= MOST
            && let Some(oldest) = open.iter().min_by_key(|(_, session)| session.used)
        {
            let oldest = *oldest.0;
            open.remove(&oldest);
        }
        open.insert(key_of(&id), Session { began: now, used: now });
        Some(id)
    }

    /// Whether this is the id of a session that has not ended.
    pub(super) fn holds(&self, id: &str, by: Use, now: Instant) -> bool {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key_of(id);
        match open.get_mut(&key) {
            None => false,
            Some(session) if session.is_over(now) => {
                open.remove(&key);
                false
            }
            Some(session) => {
                if by == Use::ByHand {
                    session.used = now;
                }
                true
            }
        }
    }

    /// Ends a session.
    pub(super) fn end(&self, id: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&key_of(id));
    }

    /// What each form of this session carries, so that no other page can make one.
    pub(super) fn form_token(&self, id: &str) -> String {
        hex::encode(hmac::sign(&self.key, id.as_bytes()).as_ref())
    }

    /// Whether a form carries its session's token; in constant time.
    pub(super) fn form_holds(&self, id: &str, token: &str) -> bool {
        hex::decode_32(token)
            .is_some_and(|tag| hmac::verify(&self.key, id.as_bytes(), &tag).is_ok())
    }
}

fn key_of(id: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, id.as_bytes()).as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_session_ends_when_it_is_not_used_and_at_last_in_any_case() {
        let start = Instant::now();
        let sessions = Sessions::new(start);
        let id = sessions.begin(start).expect("randomness");
        let at = |minutes: u32| start + MINUTE * minutes;
        assert!(sessions.holds(&id, Use::ByHand, at(29)));
        assert!(sessions.holds(&id, Use::ByHand, at(58)));
        assert!(!sessions.holds(&id, Use::ByHand, at(88)), "thirty minutes without use");
        assert!(!sessions.holds(&id, Use::ByHand, at(59)), "and it does not come back");

        let id = sessions.begin(start).expect("randomness");
        for minutes in (0..720).step_by(20) {
            assert!(sessions.holds(&id, Use::ByHand, at(minutes)), "after {minutes} min");
        }
        assert!(!sessions.holds(&id, Use::ByHand, at(720)), "twelve hours");
    }

    #[test]
    fn a_page_left_open_does_not_keep_its_session() {
        let start = Instant::now();
        let sessions = Sessions::new(start);
        let id = sessions.begin(start).expect("randomness");
        for minutes in 1..30 {
            assert!(sessions.holds(&id, Use::BySelf, start + MINUTE * minutes));
        }
        assert!(!sessions.holds(&id, Use::BySelf, start + MINUTE * 30));
    }

    #[test]
    fn there_is_a_bound_and_the_least_used_goes_first() {
        let start = Instant::now();
        let sessions = Sessions::new(start);
        let ids: Vec<String> = (0..u32::try_from(MOST).expect("few"))
            .map(|n| sessions.begin(start + Duration::from_secs(n.into())).expect("randomness"))
            .collect();
        let now = start + MINUTE * 2;
        assert!(sessions.holds(&ids[0], Use::ByHand, now));
        let one_more = sessions.begin(now).expect("randomness");
        assert!(sessions.holds(&one_more, Use::ByHand, now));
        assert!(sessions.holds(&ids[0], Use::ByHand, now));
        assert!(!sessions.holds(&ids[1], Use::ByHand, now));
    }

    #[test]
    fn an_ended_session_and_one_never_begun_hold_nothing() {
        let start = Instant::now();
        let sessions = Sessions::new(start);
        let id = sessions.begin(start).expect("randomness");
        assert!(!sessions.holds("", Use::ByHand, start));
        assert!(!sessions.holds(&id[1..], Use::ByHand, start));
        sessions.end(&id);
        assert!(!sessions.holds(&id, Use::ByHand, start));
    }

    #[test]
    fn a_form_belongs_to_its_session() {
        let start = Instant::now();
        let sessions = Sessions::new(start);
        let [one, other] = [(); 2].map(|()| sessions.begin(start).expect("randomness"));
        let token = sessions.form_token(&one);
        assert!(sessions.form_holds(&one, &token));
        assert!(!sessions.form_holds(&other, &token));
        for bad in ["", "00", &token[2..], &one] {
            assert!(!sessions.form_holds(&one, bad), "{bad}");
        }
    }

    #[test]
    fn tries_are_few_whoever_tries() {
        let start = Instant::now();
        let sessions = Sessions::new(start);
        assert_eq!((0..100).filter(|_| sessions.may_try(start)).count(), 10);
        assert_eq!((0..100).filter(|_| sessions.may_try(start + MINUTE)).count(), 10);
    }
}
