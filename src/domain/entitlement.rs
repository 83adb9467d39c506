//! May this code run now? A pure function of the row, the clock and the policy (product.md §4).
//!
//! Invariant: missing information alone never denies an activated code before its grace is used up.

use super::license::{License, MarketplaceStatus};
use super::state::State;
use super::time::{DAY_MS, HOUR_MS, MINUTE_MS, Timestamp};

/// After a question without a usable answer the software is answered from what is known for so long,
/// before its next question asks the marketplace again.
pub(super) const ASK_AGAIN_MS: i64 = MINUTE_MS;

/// What the merchant chose.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// How long past its end a code may run while the marketplace has not confirmed the end.
    pub grace_ms: i64,
    /// How long before its end a code is called `expiring`.
    pub expiring_ms: i64,
    /// How long a lease lasts at most; never more than [`super::lease::LONGEST_MS`].
    pub lease_ms: i64,
}

impl Default for Policy {
    fn default() -> Self {
        Self { grace_ms: 72 * HOUR_MS, expiring_ms: 7 * DAY_MS, lease_ms: DAY_MS }
    }
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words are the vocabulary of product.md §4")]
pub enum Verdict {
    Allow,
    Deny,
}

impl Verdict {
    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// In force.
    Active,
    /// In force, and ends within a week.
    Expiring,
    /// Past our expiry; the marketplace was not asked yet, or gave no usable answer.
    GraceUnconfirmed,
    /// Past our expiry; the marketplace could not be reached.
    GraceOffline,
    /// Never activated.
    NotActivated,
    /// Past its end, and the marketplace confirmed it.
    Expired,
    /// Past its end, unconfirmed, and the grace is used up.
    ExpiredUnconfirmed,
    /// A freeze is in force.
    Frozen,
    /// Over.
    Released,
    /// We hold no such code.
    UnknownCode,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Active,
        Self::Expiring,
        Self::GraceUnconfirmed,
        Self::GraceOffline,
        Self::NotActivated,
        Self::Expired,
        Self::ExpiredUnconfirmed,
        Self::Frozen,
        Self::Released,
        Self::UnknownCode,
    ];

    /// The word used in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expiring => "expiring",
            Self::GraceUnconfirmed => "grace_unconfirmed",
            Self::GraceOffline => "grace_offline",
            Self::NotActivated => "not_activated",
            Self::Expired => "expired",
            Self::ExpiredUnconfirmed => "expired_unconfirmed",
            Self::Frozen => "frozen",
            Self::Released => "released",
            Self::UnknownCode => "unknown_code",
        }
    }

    /// Each reason belongs to one verdict.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Active | Self::Expiring | Self::GraceUnconfirmed | Self::GraceOffline => {
                Verdict::Allow
            }
            Self::NotActivated
            | Self::Expired
            | Self::ExpiredUnconfirmed
            | Self::Frozen
            | Self::Released
            | Self::UnknownCode => Verdict::Deny,
        }
    }
}

/// Decides for `license` (`None`: we hold no such code) at `now`.
#[must_use]
pub fn decide(license: Option<&License>, now: Timestamp, policy: &Policy) -> Reason {
    let Some(license) = license else {
        return Reason::UnknownCode;
    };
    match license.state() {
        State::Released => Reason::Released,
        State::Frozen => Reason::Frozen,
        State::Issued | State::Received => Reason::NotActivated,
        State::Activated | State::Renewed => in_use(license, now, policy),
    }
}

fn in_use(license: &License, now: Timestamp, policy: &Policy) -> Reason {
    if license.end_confirmed_at.is_some() {
        return Reason::Expired;
    }
    let Some(expiry) = license.expiry else {
        return Reason::Active;
    };
    if now < expiry.latest() {
        let warn_from = expiry.earliest().plus_ms(-policy.expiring_ms);
        return if now < warn_from { Reason::Active } else { Reason::Expiring };
    }
    if now >= grace_end(license, policy).unwrap_or(expiry.latest()) {
        Reason::ExpiredUnconfirmed
    } else if license.ask_failed_at.is_some_and(|at| at >= expiry.latest()) {
        Reason::GraceOffline
    } else {
        Reason::GraceUnconfirmed
    }
}

/// When the grace of a code in use is used up. An answer ALIVE given past our expiry renews it,
/// because the marketplace then contradicts our expiry, not the buyer's right.
#[must_use]
pub fn grace_end(license: &License, policy: &Policy) -> Option<Timestamp> {
    let end = license.expiry?.latest();
    let alive_at = (license.marketplace_status == MarketplaceStatus::Alive)
        .then_some(license.marketplace_checked_at)
        .flatten();
    Some(alive_at.map_or(end, |at| at.max(end)).plus_ms(policy.grace_ms))
}

/// Whole days until the expiry in the configured zone; 0 when it has passed, `None` when unknown.
#[must_use]
pub fn days_left(license: &License, now: Timestamp) -> Option<i64> {
    license.expiry.map(|expiry| (expiry.at.ms_since(now) / DAY_MS).max(0))
}

/// Whether the marketplace is to be asked before answering: on the first use of the Beijing day,
/// and as a last look before an end is first told. An answer from before `restored_at` was put back with a
/// backup: who knows what has happened since.
#[must_use]
pub fn ask_first(
    license: &License,
    now: Timestamp,
    reason: Reason,
    restored_at: Option<Timestamp>,
) -> bool {
    let just_failed = license.ask_failed_at.is_some_and(|at| now.ms_since(at) < ASK_AGAIN_MS);
    if !State::IN_USE.contains(&license.state()) || just_failed {
        return false;
    }
    let asked = license.marketplace_checked_at.max(license.ask_failed_at);
    let today = license.marketplace_checked_at.is_some_and(|at| {
        at.beijing_day() == now.beijing_day() && restored_at.is_none_or(|since| at >= since)
    });
    let looked = license.expiry.is_none_or(|expiry| asked.is_some_and(|at| at >= expiry.latest()));
    match reason {
        Reason::Expired | Reason::ExpiredUnconfirmed => !looked,
        Reason::GraceUnconfirmed | Reason::GraceOffline => !today || !looked,
        Reason::Active | Reason::Expiring => !today,
        Reason::NotActivated | Reason::Frozen | Reason::Released | Reason::UnknownCode => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::license::{Code, Expiry, Standing};
    use crate::domain::state::Live;
    use crate::domain::time::DateText;

    fn activated(expiry: &str) -> License {
        let text = DateText::parse(expiry).expect("a date");
        let code = Code::parse("PL1").expect("a code");
        let mut license = License::issued(code, Timestamp::from_ms(0));
        license.standing = Standing::Live(Live::Activated);
        license.expiry = Some(Expiry { text, at: text.utc() });
        license
    }

    fn at(text: &str) -> Timestamp {
        DateText::parse(text).expect("a date").utc()
    }

    #[test]
    fn the_ladder_over_the_end_of_a_code() {
        let mut license = activated("20270101000000");
        let policy = Policy::default();
        let reason = |license: &License, now| decide(Some(license), now, &policy);
        assert_eq!(reason(&license, at("20261201000000")), Reason::Active);
        // Seven days before the earlier reading, which is Beijing's.
        assert_eq!(reason(&license, at("20261224155959")), Reason::Active);
        assert_eq!(reason(&license, at("20261224160000")), Reason::Expiring);
        assert_eq!(reason(&license, at("20261231235959")), Reason::Expiring);
        assert_eq!(reason(&license, at("20270101000000")), Reason::GraceUnconfirmed);
        license.ask_failed_at = Some(at("20270101000001"));
        assert_eq!(reason(&license, at("20270101000002")), Reason::GraceOffline);
        assert_eq!(reason(&license, at("20270103235959")), Reason::GraceOffline);
        assert_eq!(reason(&license, at("20270104000000")), Reason::ExpiredUnconfirmed);
        license.marketplace_status = MarketplaceStatus::Alive;
        license.marketplace_checked_at = Some(at("20270103120000"));
        assert_eq!(reason(&license, at("20270104000000")), Reason::GraceOffline);
        license.end_confirmed_at = Some(at("20270104000000"));
        assert_eq!(reason(&license, at("20270104000000")), Reason::Expired);
    }

    #[test]
    fn the_later_reading_denies_whatever_zone_is_configured() {
        let mut license = activated("20270101000000");
        let text = license.expiry.expect("set above").text;
        license.expiry = Some(Expiry { text, at: text.beijing() });
        let now = text.beijing().plus_ms(HOUR_MS);
        assert_eq!(decide(Some(&license), now, &Policy::default()), Reason::Expiring);
    }

    #[test]
    fn an_unknown_end_is_not_an_end() {
        let mut license = activated("20270101000000");
        license.expiry = None;
        assert_eq!(
            decide(Some(&license), at("20990101000000"), &Policy::default()),
            Reason::Active
        );
    }

    #[test]
    fn the_first_use_of_a_beijing_day_asks_once() {
        let mut license = activated("20280101000000");
        let now = at("20270101120000");
        assert!(ask_first(&license, now, Reason::Active, None));
        license.marketplace_checked_at = Some(now.plus_ms(-MINUTE_MS));
        assert!(!ask_first(&license, now, Reason::Active, None));
        assert!(ask_first(&license, at("20270101160000"), Reason::Active, None));
        for (restored_ago, asks) in [(MINUTE_MS - 1, true), (MINUTE_MS, false)] {
            let restored_at = Some(now.plus_ms(-restored_ago));
            assert_eq!(ask_first(&license, now, Reason::Active, restored_at), asks);
        }
    }

    #[test]
    fn a_denial_for_expiry_is_preceded_by_one_look_after_the_end() {
        let mut license = activated("20270101000000");
        license.marketplace_checked_at = Some(at("20261231120000"));
        let now = at("20270105000000");
        assert!(ask_first(&license, now, Reason::ExpiredUnconfirmed, None));
        license.ask_failed_at = Some(now);
        assert!(!ask_first(&license, now.plus_ms(1), Reason::ExpiredUnconfirmed, None));
    }

    #[test]
    fn every_reason_has_its_own_word() {
        let words: std::collections::HashSet<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
    }
}
