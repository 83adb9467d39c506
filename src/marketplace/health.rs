//! What the calls have shown so far: counts for metrics, reachability, clock skew.
//!
//! Invariant: every request that left is counted once, under the word its log line shows.

use crate::domain::time::{DateText, SECOND_MS, Timestamp};
use crate::protocol::open_api::{self, Strange, StrangeKind};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The interfaces we call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Api {
    /// Activation of one code.
    Activate,
    /// Activation of up to 100 codes.
    ActivateBatch,
    /// Query of one code.
    Query,
    /// Query of up to 100 codes.
    QueryBatch,
    /// Report of how codes are used.
    Usage,
    /// Query of an order.
    Order,
}

impl Api {
    /// The word used in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::ActivateBatch => "activate_batch",
            Self::Query => "query",
            Self::QueryBatch => "query_batch",
            Self::Usage => "usage",
            Self::Order => "order",
        }
    }

    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Activate => open_api::ACTIVATE_V1,
            Self::ActivateBatch => open_api::ACTIVATE_V2,
            Self::Query => open_api::QUERY_V1,
            Self::QueryBatch => open_api::QUERY_V2,
            Self::Usage => open_api::USAGE_V2,
            Self::Order => open_api::ORDER_V1,
        }
    }

    /// Whether asking twice does no harm. An activation whose answer was lost may have been done, and a
    /// second one would be refused as illegal: it is queried first (protocol.md 2.9). A report that was
    /// taken would be counted twice.
    pub(super) const fn may_repeat_blindly(self) -> bool {
        match self {
            Self::Activate | Self::ActivateBatch | Self::Usage => false,
            Self::Query | Self::QueryBatch | Self::Order => true,
        }
    }
}

/// Strange things told apart at most; whatever comes after them is of the same kind of trouble.
const STRANGE_MAX: usize = 100;

/// How many requests of an interface had an outcome, since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The interface.
    pub api: Api,
    /// A word of [`crate::domain::outcome::Outcome`], or `unsent`, `lost`, `certificate`.
    pub outcome: &'static str,
    /// Requests.
    pub requests: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    counts: BTreeMap<(Api, &'static str), u64>,
    reachable: Option<bool>,
    /// The skew, and when it was measured on the clock that does not jump.
    skew: Option<(i64, Instant)>,
    /// When each domain's certificate ends.
    certificates: BTreeMap<String, Timestamp>,
    /// How often something strange was seen.
    strange: BTreeMap<(StrangeKind, String), u64>,
}

impl Health {
    /// Counts what is strange, and returns what was not seen before.
    pub(super) fn new_among(&self, strange: Vec<Strange>) -> Vec<Strange> {
        if strange.is_empty() {
            return strange;
        }
        let counted = &mut self.lock().strange;
        let is_new = |one: &Strange| {
            let key = (one.kind, one.name.clone());
            if counted.len() >= STRANGE_MAX && !counted.contains_key(&key) {
                return false;
            }
            let count = counted.entry(key).or_default();
            *count += 1;
            *count == 1
        };
        strange.into_iter().filter(is_new).collect()
    }

    /// How often each kind of strange thing was seen.
    pub(super) fn strange_counts(&self) -> BTreeMap<StrangeKind, u64> {
        let mut sums = BTreeMap::from([(StrangeKind::Field, 0), (StrangeKind::Answer, 0)]);
        for ((kind, _), count) in &self.lock().strange {
            *sums.entry(*kind).or_default() += count;
        }
        sums
    }

    pub(super) fn count(&self, api: Api, outcome: &'static str) {
        *self.lock().counts.entry((api, outcome)).or_default() += 1;
    }

    pub(super) fn counts(&self) -> Vec<Count> {
        let seen = self.lock();
        let count = |(&(api, outcome), &requests)| Count { api, outcome, requests };
        seen.counts.iter().map(count).collect()
    }

    pub(super) fn reached(&self, reachable: bool) {
        self.lock().reachable = Some(reachable);
    }

    pub(super) fn reachable(&self) -> Option<bool> {
        self.lock().reachable
    }

    pub(super) fn saw_date(&self, skew_ms: i64) {
        self.lock().skew = Some((skew_ms, Instant::now()));
    }

    pub(super) fn skew_ms(&self) -> Option<i64> {
        self.lock().skew.map(|(skew_ms, _)| skew_ms)
    }

    /// The skew, if it was measured within `age`.
    pub(super) fn skew_ms_within(&self, age: Duration) -> Option<i64> {
        let measured = self.lock().skew.filter(|(_, at)| at.elapsed() <= age);
        measured.map(|(skew_ms, _)| skew_ms)
    }

    pub(super) fn saw_certificate(&self, host: &str, ends: Timestamp) {
        let known = &mut self.lock().certificates;
        // Hosts are those of the configuration.
        match known.get_mut(host) {
            Some(known) => *known = ends,
            None => drop(known.insert(host.to_owned(), ends)),
        }
    }

    pub(super) fn certificates(&self) -> Vec<(String, Timestamp)> {
        self.lock().certificates.iter().map(|(host, ends)| (host.clone(), *ends)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Our clock minus theirs in milliseconds, as far as it is certain: their `Date` has whole seconds and was
/// written somewhere between our question and their answer, so what these explain counts as no skew.
pub(super) fn skew_ms(date: Timestamp, asked_at: Timestamp, answered_at: Timestamp) -> i64 {
    let latest = date.plus_ms(SECOND_MS - 1);
    if latest < asked_at {
        asked_at.ms_since(latest)
    } else if date > answered_at {
        answered_at.ms_since(date)
    } else {
        0
    }
}

/// The instant of a `Date` header: `Sun, 06 Nov 1994 08:49:37 GMT`, the only form that is sent today.
pub(super) fn parse_http_date(text: &str) -> Option<Timestamp> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let [day, month, year, time, "GMT"] = rest.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let digits = format!("{year}{month:02}{day}{}", time.replace(':', ""));
    DateText::parse(&digits).ok().map(|text| text.utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_bad_ones_are_not() {
        let at = parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").expect("a date");
        assert_eq!(at.to_string(), "1994-11-06T08:49:37.000Z");
        for bad in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CST",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 31 Feb 2026 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49 GMT",
        ] {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_skew_that_nothing_else_explains_counts() {
        let t = Timestamp::from_ms;
        for (date, asked, answered, skew) in [
            (10_000, 10_000, 10_200, 0),
            (10_000, 10_999, 11_500, 0),
            (10_000, 12_000, 12_100, 1_001),
            (12_000, 10_000, 12_000, 0),
            (15_000, 10_000, 10_300, -4_700),
        ] {
            assert_eq!(skew_ms(t(date), t(asked), t(answered)), skew);
        }
    }

    #[test]
    fn counts_add_up_by_interface_and_outcome() {
        let health = Health::default();
        assert_eq!((health.reachable(), health.skew_ms()), (None, None));
        for outcome in ["done", "lost", "done"] {
            health.count(Api::Query, outcome);
        }
        let done = Count { api: Api::Query, outcome: "done", requests: 2 };
        assert_eq!(health.counts(), [done, Count { outcome: "lost", requests: 1, ..done }]);
    }
}
