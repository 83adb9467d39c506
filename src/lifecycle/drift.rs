//! Local against marketplace: what differs, what a repair would do, and the repair itself.
//!
//! Invariant: looking changes nothing; a repair is an ordinary query, decided from the row as it is then.

use super::{CallOutcome, Lifecycle, LifecycleError};
use crate::domain::license::{Code, License};
use crate::domain::time::Timestamp;
use crate::domain::transition::{Command, EventKind, QueryAnswer, QueryVerdict, decide};
use crate::marketplace::{CallResult, Effort};
use crate::store::{LicenseFilter, LicenseRow, StoreError};

/// A code whose row differs from what the marketplace says.
#[derive(Debug, Clone)]
pub struct Drift {
    /// The row.
    pub license: License,
    /// The marketplace's word: `alive`, `expired`, `released`, `not_activated` or `unknown_code`.
    pub marketplace: &'static str,
    /// The end the marketplace gives, in the configured zone.
    pub marketplace_expires_at: Option<Timestamp>,
    /// What a repair would do: kinds of events, or `none` where a human must decide.
    pub repair: String,
    /// Why.
    pub why: String,
}

/// What was found among the codes of one page.
#[derive(Debug, Clone, Default)]
pub struct DriftPage {
    /// The codes that differ.
    pub items: Vec<Drift>,
    /// Codes that got no usable answer.
    pub unasked: u64,
    /// The last code of the page, if there may be more.
    pub next: Option<String>,
}

impl Lifecycle {
    /// Asks about each code of a page, now, and tells which differ. Changes nothing.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn drift(&self, filter: LicenseFilter) -> Result<DriftPage, StoreError> {
        let limit = filter.limit;
        let rows = self.store.list(move |snapshot| snapshot.licenses(&filter)).await?;
        let mut page = DriftPage::default();
        if rows.len() == limit {
            page.next = rows.last().map(|row| row.license.code.as_str().to_owned());
        }
        for LicenseRow { license, .. } in rows {
            let call = self.ask(&license.code, Effort::Background).await;
            let CallResult::Verdict(verdict) = call.result else {
                page.unasked += 1;
                continue;
            };
            let answer = QueryAnswer { asked_at: call.asked_at, verdict };
            page.items.extend(compare(license, answer, self.clock.now()));
        }
        Ok(page)
    }

    /// Repairs one code: asks, and lets the answer have its effect.
    ///
    /// # Errors
    /// [`LifecycleError::UnknownCode`], [`LifecycleError::Store`].
    pub async fn repair(&self, code: &Code) -> Result<(CallOutcome, LicenseRow), LifecycleError> {
        let report = self.query(code).await?;
        Ok((report.outcome, report.license))
    }
}

/// What the answer would change, if anything but the time it was asked at.
fn compare(license: License, answer: QueryAnswer, now: Timestamp) -> Option<Drift> {
    let (marketplace, expiry) = match &answer.verdict {
        QueryVerdict::Alive(facts) => ("alive", facts.expiry),
        QueryVerdict::Expired(facts) => ("expired", facts.expiry),
        QueryVerdict::Released => ("released", None),
        QueryVerdict::NotActivated => ("not_activated", None),
        QueryVerdict::UnknownCode => ("unknown_code", None),
    };
    let decision = decide(&license, &Command::Query(answer), now).ok()?;
    let first = decision.events.first()?;
    let contradicts = first.kind == EventKind::Contradiction;
    let kinds: Vec<_> = decision.events.iter().map(|event| event.kind.as_str()).collect();
    let why =
        decision.events.iter().map(|event| event.detail.as_str()).find(|text| !text.is_empty());
    Some(Drift {
        repair: if contradicts { "none".to_owned() } else { kinds.join(", ") },
        why: why.map_or_else(
            || format!("{} here, {marketplace} at the marketplace", license.state()),
            str::to_owned,
        ),
        marketplace,
        marketplace_expires_at: expiry.map(|expiry| expiry.at),
        license,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::license::Expiry;
    use crate::domain::time::DateText;
    use crate::domain::transition::Facts;

    const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    fn drift(license: License, verdict: QueryVerdict) -> Option<(String, &'static str)> {
        let drift = compare(license, QueryAnswer { asked_at: NOW, verdict }, NOW)?;
        assert!(!drift.why.is_empty());
        Some((drift.repair, drift.marketplace))
    }

    fn issued() -> License {
        License::issued(Code::parse("PL1").expect("a code"), NOW)
    }

    #[test]
    fn what_differs_is_told_with_its_repair() {
        let text = DateText::parse("20280101000000").expect("a date");
        let expiry = Some(Expiry { text, at: text.utc() });
        let alive = || QueryVerdict::Alive(Facts { expiry, ..Facts::default() });
        let told = drift(issued(), alive());
        assert_eq!(told, Some(("received, activated, observed".to_owned(), "alive")));
        assert_eq!(
            drift(issued(), QueryVerdict::Released),
            Some(("released".to_owned(), "released"))
        );
        assert_eq!(
            drift(issued(), QueryVerdict::UnknownCode),
            Some(("none".to_owned(), "unknown_code"))
        );
        assert_eq!(drift(issued(), QueryVerdict::NotActivated), None);
        let command = Command::Query(QueryAnswer { asked_at: NOW, verdict: alive() });
        let same = decide(&issued(), &command, NOW).expect("decided").license;
        assert_eq!(drift(same, alive()), None);
    }
}
