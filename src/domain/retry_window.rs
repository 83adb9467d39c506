//! How long the marketplace goes on with a call that failed, and when it has given it up (protocol.md 4.5).
//!
//! It tries a call every two minutes, sixty times, and then never again by itself: the call waits in the
//! seller's console (卖家中心 > 生产接口消息) until somebody restarts it. Invariant: a call is known by what it
//! says, because each attempt is signed anew.

use super::time::{HOUR_MS, MINUTE_MS, Timestamp};

/// Between two attempts.
pub const RETRY_EVERY_MS: i64 = 2 * MINUTE_MS;
/// From the first attempt of a callback to its last.
pub const CALLBACK_SPAN_MS: i64 = 2 * HOUR_MS;
/// The same for an order notification (protocol.md 4.6).
const ORDER_NOTICE_SPAN_MS: i64 = 3 * HOUR_MS;
/// How late an attempt may be. The marketplace waits 20 s for each answer, and counts from there.
const LATE_MS: i64 = 4 * MINUTE_MS;
/// Listening in vain for so long, we have missed five attempts: the marketplace has given up. It began
/// earlier than we saw.
const SILENCE_MS: i64 = 10 * MINUTE_MS;
/// Attempts that are nearer to each other are no retries.
const APART_MS: i64 = 90_000;
/// How many orders may fail in a month. Printed for sister products: with more, one is delisted.
pub const FAILED_ORDERS_PER_MONTH: u32 = 5;

/// The activity of order notifications, which are retried for longer.
const ORDER_NOTIFY: &str = "orderNotify";

/// What makes two attempts the same call. What a call does not name is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallName {
    /// The activity on the wire; empty when it is none that we know.
    pub activity: String,
    /// The code; an order notification names none.
    pub code: String,
    /// The order; FREEZE and UNFREEZE name none.
    pub order_id: String,
    /// Its line.
    pub order_line_id: String,
    /// The scene of a new expiry, or the status: RENEWAL, FREEZE, …
    pub scene: String,
    /// SHA-256 of the body, when nothing else tells the call from others; otherwise empty.
    pub digest: Vec<u8>,
}

impl CallName {
    /// From the first attempt to the last, in milliseconds.
    #[must_use]
    pub fn span_ms(&self) -> i64 {
        if self.activity == ORDER_NOTIFY { ORDER_NOTICE_SPAN_MS } else { CALLBACK_SPAN_MS }
    }
}

/// The attempts of one round: from the first failure, or from a restart, to the end of the retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Attempts seen.
    pub attempts: u32,
    /// Our clock at the first of them.
    pub first_at: Timestamp,
    /// Our clock at the last of them.
    pub last_at: Timestamp,
}

impl Round {
    /// A round with its first attempt.
    #[must_use]
    pub const fn begun(at: Timestamp) -> Self {
        Self { attempts: 1, first_at: at, last_at: at }
    }

    /// The round with the attempts of another. Where they were seen by a clock that has jumped back
    /// since, the later word counts.
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(later.attempts),
            first_at: self.first_at.min(later.first_at),
            last_at: later.last_at,
        }
    }

    /// When the last retry is due, `span_ms` after the first attempt that we saw; never earlier than the
    /// marketplace's own end, because it may have begun before.
    #[must_use]
    pub const fn ends_at(&self, span_ms: i64) -> Timestamp {
        self.first_at.plus_ms(span_ms)
    }

    /// When the next attempt is due; none behind the window's end.
    #[must_use]
    pub fn next_at(&self, span_ms: i64) -> Option<Timestamp> {
        let next = self.last_at.plus_ms(RETRY_EVERY_MS);
        (next <= self.ends_at(span_ms).plus_ms(LATE_MS)).then_some(next)
    }

    /// Whether no attempt can come any more: the window's end has passed, or so many attempts stayed away
    /// while we listened (since `listening_since`) that the marketplace must have given up.
    #[must_use]
    pub fn is_over(&self, span_ms: i64, listening_since: Timestamp, now: Timestamp) -> bool {
        let since = listening_since.min(now);
        // What lies ahead was seen by a clock that was wrong.
        let last = if self.last_at > now { since } else { self.last_at };
        let ended = now >= self.ends_at(span_ms).plus_ms(LATE_MS) && now.ms_since(last) >= LATE_MS;
        ended || now.ms_since(last.max(since)) >= SILENCE_MS
    }

    /// Whether it looks like the marketplace's habit: more than one attempt, and not at once.
    #[must_use]
    pub const fn looks_retried(&self) -> bool {
        self.attempts >= 2 && self.last_at.ms_since(self.first_at) >= APART_MS
    }
}

/// How the failed orders of a month stand against what is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Budget {
    /// None failed, none is at risk.
    Untouched,
    /// Some failed or may, and it is enough if all do.
    Touched,
    /// Too many, if those at risk fail too.
    AtRisk,
    /// Too many failed.
    Exceeded,
}

impl Budget {
    /// Where `failed` orders and `at_risk` more stand, when `allowed` may fail in a month.
    #[must_use]
    pub fn of(failed: u32, at_risk: u32, allowed: u32) -> Self {
        match (failed > allowed, failed.saturating_add(at_risk) > allowed) {
            (true, _) => Self::Exceeded,
            (false, true) => Self::AtRisk,
            (false, false) if failed == 0 && at_risk == 0 => Self::Untouched,
            (false, false) => Self::Touched,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_ms(1_795_249_800_000);
    const SPAN: i64 = CALLBACK_SPAN_MS;

    fn at(minutes: i64) -> Timestamp {
        START.plus_ms(minutes * MINUTE_MS)
    }

    #[test]
    fn sixty_retries_are_expected_and_then_none() {
        let mut round = Round::begun(START);
        for n in 1..=60 {
            assert_eq!(round.next_at(SPAN), Some(at(2 * n)));
            assert!(!round.is_over(SPAN, START, at(2 * n)));
            round = round.and(Round::begun(at(2 * n)));
        }
        assert_eq!((round.attempts, round.ends_at(SPAN)), (61, round.last_at));
        assert!(!round.is_over(SPAN, START, at(123)));
        assert!(round.is_over(SPAN, START, at(124)));
    }

    #[test]
    fn a_call_that_began_before_we_listened_is_given_up_when_it_stays_away() {
        // Up after an hour and fifty minutes, we see five attempts and no more.
        let up = at(110);
        let round = [112, 114, 116, 118]
            .map(at)
            .into_iter()
            .fold(Round::begun(up), |round, at| round.and(Round::begun(at)));
        assert!(!round.is_over(SPAN, up, at(127)));
        assert!(round.is_over(SPAN, up, at(128)));
        // Down again, nothing is heard, and nothing follows from that.
        assert!(!round.is_over(SPAN, at(200), at(209)));
        assert!(round.is_over(SPAN, at(200), at(210)));
    }

    #[test]
    fn an_order_notification_is_waited_for_an_hour_longer() {
        let name = CallName { activity: "orderNotify".to_owned(), ..CallName::default() };
        assert_eq!(name.span_ms(), 3 * HOUR_MS);
        assert_eq!(CallName::default().span_ms(), 2 * HOUR_MS);
    }

    #[test]
    fn one_call_or_a_burst_is_no_retry() {
        let once = Round::begun(START);
        assert!(!once.looks_retried());
        assert!(!once.and(Round::begun(START.plus_ms(APART_MS - 1))).looks_retried());
        assert!(once.and(Round::begun(START.plus_ms(APART_MS))).looks_retried());
    }

    #[test]
    fn a_budget_tells_what_failed_from_what_may() {
        for (failed, at_risk, expected) in [
            (0, 0, Budget::Untouched),
            (0, 5, Budget::Touched),
            (5, 0, Budget::Touched),
            (0, 6, Budget::AtRisk),
            (5, 1, Budget::AtRisk),
            (6, 0, Budget::Exceeded),
        ] {
            assert_eq!(Budget::of(failed, at_risk, 5), expected, "{failed} {at_risk}");
        }
    }

    proptest! {
        /// A marketplace that goes on as documented is never said to have given up while we listen, and is
        /// said so soon after its last attempt; whatever part of its attempts fell into an outage.
        #[test]
        fn a_round_is_over_when_the_marketplace_has_given_up(
            latencies in proptest::collection::vec(0..20_000i64, 60),
            missed in 0..60usize,
        ) {
            let mut attempts = vec![START];
            for latency in latencies {
                let last = attempts[attempts.len() - 1];
                attempts.push(last.plus_ms(RETRY_EVERY_MS + latency));
            }
            let since = attempts[missed];
            let mut round = Round::begun(since);
            for at in &attempts[missed + 1..] {
                prop_assert!(!round.is_over(SPAN, since, *at), "{at}");
                round = round.and(Round::begun(*at));
            }
            let last = attempts[60];
            prop_assert!(round.is_over(SPAN, since, last.plus_ms(SILENCE_MS)));
            prop_assert_eq!(round.attempts as usize, 61 - missed);
        }

        /// Whatever a clock does, a round ends ten minutes after the clock is right again and nothing comes.
        #[test]
        fn no_clock_keeps_a_round_open_for_ever(
            jumps in proptest::collection::vec(-30 * HOUR_MS..30 * HOUR_MS, 1..20),
        ) {
            let rounds = jumps.iter().map(|ms| Round::begun(START.plus_ms(*ms)));
            let round = rounds.reduce(Round::and).expect("one at least");
            prop_assert!(round.first_at <= round.last_at);
            let now = START.plus_ms(SILENCE_MS);
            let silent_since = if round.last_at <= now { round.last_at.max(START) } else { START };
            prop_assert!(round.is_over(SPAN, START, silent_since.plus_ms(SILENCE_MS).max(now)));
        }
    }
}
