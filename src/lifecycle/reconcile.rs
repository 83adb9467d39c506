//! The sweep: codes are compared with the marketplace, the more often the more it matters, and all of
//! them after a gap in which we were deaf.
//!
//! It reads a page of codes, asks, and lets [`super::calls`] decide from the row as it is then. Memory
//! does not grow with the number of codes.

use super::{Lifecycle, LifecycleError};
use crate::domain::license::License;
use crate::domain::state::State;
use crate::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};
use crate::marketplace::Effort;
use crate::store::{LicenseFilter, StoreError};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Codes read at once.
const PAGE: usize = 500;
/// How long one query of the sweep may take.
const QUERY: Effort = Effort::Once { deadline: Duration::from_secs(10) };
/// Every code is compared at least this often.
const AT_LEAST_MS: i64 = 7 * DAY_MS;
/// Codes in use are compared this often.
const IN_USE_MS: i64 = DAY_MS;
/// Codes in use that end soon, or have just ended, are compared this often.
const NEAR_END_MS: i64 = 6 * HOUR_MS;
/// What "soon" and "just" mean.
const NEAR_MS: i64 = 72 * HOUR_MS;

/// The minute's mark: when the daemon last took calls and could store them, in milliseconds.
const HEARD_AT: &str = "heard_at";
/// The end of the last gap, in milliseconds: codes asked about before are to be asked again.
const DEAF_UNTIL: &str = "deaf_until";
/// A shorter gap loses no call: the marketplace comes again after two minutes, sixty times.
const GAP_MS: i64 = 10 * MINUTE_MS;

/// What a sweep would do.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plan {
    /// Codes there are.
    pub codes: u64,
    /// Codes that are due, which is one call each.
    pub calls: u64,
    /// How long that takes at the configured pace, in seconds.
    pub seconds: u64,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sweep {
    /// Codes looked at.
    pub seen: u64,
    /// Codes asked about.
    pub asked: u64,
    /// Questions without a usable answer, or about codes unknown there.
    pub failed: u64,
}

impl Lifecycle {
    /// Compares every code that is due. Ends early while the marketplace refuses us.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn reconcile(&self) -> Result<Sweep, StoreError> {
        let mut sweep = Sweep::default();
        let deaf_until = self.deaf_until()?;
        let mut after = None;
        loop {
            let filter = LicenseFilter { after: after.take(), limit: PAGE, ..Default::default() };
            let page = self.store.list(move |snapshot| snapshot.licenses(&filter)).await?;
            let Some(last) = page.last() else {
                return Ok(sweep);
            };
            after = Some(last.license.code.as_str().to_owned());
            for row in page {
                sweep.seen += 1;
                if !is_due(&row.license, deaf_until, self.clock.now()) {
                    continue;
                }
                if self.marketplace.stopped_until().is_some() {
                    return Ok(sweep);
                }
                sweep.asked += 1;
                match self.try_query(&row.license.code, QUERY, false).await {
                    Ok((super::CallOutcome::Done, _)) => {}
                    Ok(_) | Err(LifecycleError::UnknownCode | LifecycleError::Released) => {
                        sweep.failed += 1;
                    }
                    Err(LifecycleError::Store(error)) => return Err(error),
                }
            }
        }
    }
}

impl Lifecycle {
    /// What a sweep would do now, at `requests_per_second`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sweep_plan(&self, requests_per_second: u32) -> Result<Plan, StoreError> {
        let (now, deaf_until) = (self.clock.now(), self.deaf_until()?);
        let mut plan = Plan::default();
        let mut after = None;
        loop {
            let filter = LicenseFilter { after: after.take(), limit: PAGE, ..Default::default() };
            let page = self.store.list(move |snapshot| snapshot.licenses(&filter)).await?;
            let Some(last) = page.last() else {
                plan.seconds = plan.calls.div_ceil(u64::from(requests_per_second.max(1)));
                return Ok(plan);
            };
            after = Some(last.license.code.as_str().to_owned());
            plan.codes += page.len() as u64;
            let due = page.iter().filter(|row| is_due(&row.license, deaf_until, now));
            plan.calls += due.count() as u64;
        }
    }

    /// Marks this minute as one in which calls were taken and stored, unless some were not. After a gap
    /// every code is to be compared.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn mark_hearing(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let heard_at = self.fact_at(HEARD_AT)?;
        let gap = heard_at.is_some_and(|at| now.ms_since(at) >= GAP_MS);
        let missed = self.missed_calls.swap(false, Ordering::Relaxed);
        if gap || missed {
            tracing::warn!(
                since = heard_at.map(tracing::field::display),
                "calls may have been missed: every code is compared with the marketplace"
            );
        }
        self.store
            .write(move |tx| {
                if gap || missed {
                    tx.set_fact(DEAF_UNTIL, &now.as_ms().to_string())?;
                }
                tx.set_fact(HEARD_AT, &now.as_ms().to_string())
            })
            .await
    }

    fn deaf_until(&self) -> Result<Option<Timestamp>, StoreError> {
        self.fact_at(DEAF_UNTIL)
    }

    fn fact_at(&self, name: &str) -> Result<Option<Timestamp>, StoreError> {
        let text = self.store.read(|snapshot| snapshot.fact(name))?;
        Ok(text.and_then(|text| text.parse().ok()).map(Timestamp::from_ms))
    }
}

/// Whether a code is to be compared now.
fn is_due(license: &License, deaf_until: Option<Timestamp>, now: Timestamp) -> bool {
    let Some(asked_at) = license.marketplace_checked_at else {
        return true;
    };
    if license.state() != State::Released && deaf_until.is_some_and(|until| asked_at < until) {
        return true;
    }
    let near_end = license.expiry.is_some_and(|expiry| {
        expiry.earliest().ms_since(now) < NEAR_MS && now.ms_since(expiry.latest()) < NEAR_MS
    });
    let every = match license.state() {
        State::Activated | State::Renewed | State::Frozen if near_end => NEAR_END_MS,
        State::Activated | State::Renewed | State::Frozen => IN_USE_MS,
        State::Issued | State::Received | State::Released => AT_LEAST_MS,
    };
    now.ms_since(asked_at) >= every
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::license::{Code, Expiry, Standing};
    use crate::domain::state::Live;
    use crate::domain::time::DateText;

    #[test]
    fn codes_near_their_end_are_asked_more_often() {
        let now = DateText::parse("20261122000000").expect("a date").utc();
        let mut license = License::issued(Code::parse("PL1").expect("a code"), now);
        assert!(is_due(&license, None, now), "never asked");
        license.marketplace_checked_at = Some(now.plus_ms(-NEAR_END_MS));
        assert!(!is_due(&license, None, now));
        license.standing = Standing::Live(Live::Activated);
        let text = DateText::from_utc(now.plus_ms(2 * DAY_MS));
        license.expiry = Some(Expiry { text, at: text.utc() });
        assert!(is_due(&license, None, now));
        let text = DateText::from_utc(now.plus_ms(90 * DAY_MS));
        license.expiry = Some(Expiry { text, at: text.utc() });
        assert!(!is_due(&license, None, now));
        assert!(is_due(&license, None, now.plus_ms(IN_USE_MS)));
        assert!(is_due(&license, Some(now), now), "asked before a gap ended");
        license.standing = Standing::Released;
        assert!(!is_due(&license, Some(now), now));
    }
}
