//! Which domain is asked first, and which one rests.
//!
//! Invariants: the domain that last worked is asked first, the first one again after ten minutes; a domain
//! that failed several times in a row rests, and is asked meanwhile only when every other one was.

use super::endpoint::Endpoint;
use crate::domain::time::{MINUTE_MS, SECOND_MS, Timestamp};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long another domain than the first is preferred once it worked, in milliseconds.
const DETOUR_MS: i64 = 10 * MINUTE_MS;
/// Failures in a row after which a domain rests: a transport failure or a 5xx, whatever was asked.
const FAILURES: u32 = 5;
/// The first rest, in milliseconds; it doubles with each failure after it.
const REST_FIRST_MS: i64 = 10 * SECOND_MS;
/// The longest rest: an outage that is over is noticed within this time.
const REST_LAST_MS: i64 = MINUTE_MS;

/// The domains and what they showed.
#[derive(Debug)]
pub(super) struct Route {
    endpoints: Vec<Endpoint>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    detour: Option<Detour>,
    breakers: Vec<Breaker>,
}

#[derive(Debug, Clone, Copy)]
struct Detour {
    index: usize,
    since: Timestamp,
}

/// A domain's circuit breaker.
#[derive(Debug, Clone, Copy, Default)]
struct Breaker {
    /// In a row.
    failures: u32,
    /// When the last of them was.
    failed_at: Option<Timestamp>,
}

impl Breaker {
    /// Until when the domain rests, while it does. A clock that was set back ends a rest.
    fn rests_until(self, now: Timestamp) -> Option<Timestamp> {
        let more = self.failures.checked_sub(FAILURES)?;
        let rest_ms = REST_FIRST_MS.saturating_mul(1 << more.min(8)).min(REST_LAST_MS);
        let at = self.failed_at?;
        (0..rest_ms).contains(&now.ms_since(at)).then(|| at.plus_ms(rest_ms))
    }
}

impl Route {
    pub(super) fn new(endpoints: Vec<Endpoint>) -> Self {
        let breakers = vec![Breaker::default(); endpoints.len()];
        Self { endpoints, state: Mutex::new(State { detour: None, breakers }) }
    }

    /// Every endpoint once, with its index, in the order to ask: those that rest come last.
    pub(super) fn order(&self, now: Timestamp) -> Vec<(usize, &Endpoint)> {
        let state = self.lock();
        let current = |d: &Detour| (0..DETOUR_MS).contains(&now.ms_since(d.since));
        let first = state.detour.filter(current).map_or(0, |detour| detour.index);
        let mut order: Vec<_> = self.endpoints.iter().enumerate().collect();
        order.sort_by_key(|&(index, _)| {
            (state.breakers[index].rests_until(now).is_some(), index != first)
        });
        order
    }

    /// The endpoint of this index gave an answer.
    pub(super) fn worked(&self, index: usize, now: Timestamp) {
        let mut state = self.lock();
        state.breakers[index] = Breaker::default();
        let current = |d: &Detour| d.index == index && now.ms_since(d.since) < DETOUR_MS;
        if index == 0 {
            state.detour = None;
        } else if !state.detour.as_ref().is_some_and(current) {
            state.detour = Some(Detour { index, since: now });
        }
    }

    /// The endpoint of this index gave no answer, or one that says it does not work.
    pub(super) fn failed(&self, index: usize, now: Timestamp) {
        let breaker = &mut self.lock().breakers[index];
        breaker.failures = breaker.failures.saturating_add(1);
        breaker.failed_at = Some(now);
        if breaker.failures == FAILURES {
            tracing::warn!(
                endpoint = self.endpoints[index].host(),
                "a domain of the marketplace failed {FAILURES} times in a row and rests: the others are asked first; if all rest, what nobody waits for is put off"
            );
        }
    }

    /// Until when every domain rests, while they do.
    pub(super) fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        let state = self.lock();
        let until: Option<Vec<_>> = state.breakers.iter().map(|one| one.rests_until(now)).collect();
        until?.into_iter().min()
    }

    /// Each domain's name, and until when it rests, while it does.
    pub(super) fn domains(&self, now: Timestamp) -> Vec<(String, Option<Timestamp>)> {
        let state = self.lock();
        let names = self.endpoints.iter().map(|endpoint| endpoint.host().to_owned());
        names.zip(state.breakers.iter().map(|one| one.rests_until(now))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route<const N: usize>(hosts: [&str; N]) -> Route {
        Route::new(hosts.map(|text| Endpoint::parse(text).expect("an endpoint")).to_vec())
    }

    fn order(route: &Route, now: i64) -> Vec<usize> {
        route.order(Timestamp::from_ms(now)).iter().map(|(index, _)| *index).collect()
    }

    const T: fn(i64) -> Timestamp = Timestamp::from_ms;

    #[test]
    fn a_detour_lasts_ten_minutes_and_then_the_first_is_asked_again() {
        let route = route(["https://a", "https://b", "https://c"]);
        assert_eq!(order(&route, 0), [0, 1, 2]);
        route.worked(1, T(0));
        assert_eq!(order(&route, DETOUR_MS - 1), [1, 0, 2]);
        route.worked(1, T(DETOUR_MS - 1));
        assert_eq!(order(&route, DETOUR_MS), [0, 1, 2], "success does not prolong the detour");
        route.worked(2, T(DETOUR_MS));
        assert_eq!(order(&route, DETOUR_MS + 1), [2, 0, 1]);
        route.worked(1, T(2 * DETOUR_MS));
        assert_eq!(order(&route, 2 * DETOUR_MS), [1, 0, 2]);
        route.worked(0, T(2 * DETOUR_MS));
        assert_eq!(order(&route, 2 * DETOUR_MS), [0, 1, 2]);
        route.worked(1, T(DETOUR_MS));
        assert_eq!(order(&route, 0), [0, 1, 2], "a clock set back does not prolong it either");
    }

    #[test]
    fn a_domain_that_keeps_failing_rests_longer_each_time_up_to_a_minute() {
        let route = route(["https://a", "https://b"]);
        for n in 1..FAILURES {
            route.failed(0, T(i64::from(n)));
        }
        assert_eq!(order(&route, 10), [0, 1]);
        let mut rests = Vec::new();
        for n in 0..4 {
            let now = T(1_000_000 * (n + 1));
            route.failed(0, now);
            let (_, until) = route.domains(now).remove(0);
            rests.push(until.expect("it rests").ms_since(now));
        }
        assert_eq!(rests, [10_000, 20_000, 40_000, REST_LAST_MS]);
        assert_eq!(order(&route, 4_000_001), [1, 0]);
        assert_eq!(order(&route, 4_000_000 + REST_LAST_MS), [0, 1], "one may try it again");
        assert_eq!(order(&route, 3_000_000), [0, 1], "a clock set back ends a rest");
        route.worked(0, T(4_000_001));
        assert_eq!(order(&route, 4_000_001), [0, 1], "an answer ends it at once");
    }

    #[test]
    fn all_rest_only_while_each_one_does() {
        let route = route(["https://a", "https://b"]);
        for _ in 0..FAILURES {
            route.failed(0, T(0));
        }
        assert_eq!(route.rests_until(T(1)), None);
        for _ in 0..FAILURES {
            route.failed(1, T(5_000));
        }
        assert_eq!(route.rests_until(T(5_000)), Some(T(REST_FIRST_MS)));
        assert_eq!(route.rests_until(T(REST_FIRST_MS)), None);
    }
}
