//! Medians and percentiles: few figures, robust against a machine that is shared.

use std::time::Duration;

/// The middle one of several rounds.
pub(crate) fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

/// Latencies of one round, sorted.
pub(crate) struct Latencies(Vec<Duration>);

impl Latencies {
    pub(crate) fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }

    /// The p-th percentile in milliseconds, p in percent; NaN when there are none.
    pub(crate) fn percentile_ms(&self, p: usize) -> f64 {
        let index = (self.0.len() * p / 100).min(self.0.len().saturating_sub(1));
        self.0.get(index).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}

/// Whether a goal is reached, in a word.
pub(crate) const fn met(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
