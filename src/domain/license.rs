//! One authorization code and the facts beside its state. Facts are separate and never merged.

use super::state::{Live, State};
use super::time::{DateText, Timestamp};
use std::fmt;

/// The longest code, order id and order line id the protocol allows, in Unicode scalar values.
pub const ID_MAX_CHARS: usize = 64;

/// Why a text cannot be a code or an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadId {
    /// Nothing there.
    #[error("empty")]
    Empty,
    /// Longer than [`ID_MAX_CHARS`].
    #[error("longer than 64 characters")]
    TooLong,
    /// Holds a control character.
    #[error("holds a control character")]
    Control,
}

fn check_id(text: &str) -> Result<(), BadId> {
    if text.is_empty() {
        Err(BadId::Empty)
    } else if text.chars().count() > ID_MAX_CHARS {
        Err(BadId::TooLong)
    } else if text.chars().any(char::is_control) {
        Err(BadId::Control)
    } else {
        Ok(())
    }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// Takes the text as it is: opaque and case-sensitive.
            ///
            /// # Errors
            /// [`BadId`] when it is empty, longer than 64 characters or holds a control character.
            pub fn parse(text: &str) -> Result<Self, BadId> {
                check_id(text).map(|()| Self(text.into()))
            }

            /// The text as received.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id_type! {
    /// An authorization code (授权码): the only key that finds a licence.
    Code
}
id_type! {
    /// The marketplace's order number; every renewal, un-renewal and refund has its own.
    OrderId
}
id_type! {
    /// A line of an order.
    OrderLineId
}

/// The end of a code's validity, as the marketplace wrote it and as we read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Expiry {
    /// The text as received, without a zone.
    pub text: DateText,
    /// The instant in the configured zone: what JSON shows as `expires_at`.
    pub at: Timestamp,
}

impl Expiry {
    /// The earliest instant the text can mean; warnings count from it (product.md §3.1).
    #[must_use]
    pub fn earliest(&self) -> Timestamp {
        self.at.min(self.text.beijing())
    }

    /// The latest instant the text can mean; nothing is denied before it (product.md §3.1).
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.at.max(self.text.utc())
    }
}

/// What the marketplace last said of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MarketplaceStatus {
    /// In force.
    Alive,
    /// Past its end.
    Expired,
    /// Over.
    Released,
    /// Never asked, or no usable answer.
    Unknown,
}

impl MarketplaceStatus {
    /// Every status.
    pub const ALL: [Self; 4] = [Self::Alive, Self::Expired, Self::Released, Self::Unknown];

    /// The word used in columns and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Unknown => "unknown",
        }
    }

    /// The status that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// A freeze in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Freeze {
    /// The signed timestamp of the FREEZE call.
    pub since: Timestamp,
    /// Our clock when it was applied; an answer asked before is older than the freeze.
    pub applied_at: Timestamp,
    /// The live state it interrupted.
    pub from: Live,
    /// The expiry we held then, if any.
    pub expiry_then: Option<Timestamp>,
}

impl Freeze {
    /// Whether the freeze began at or after expiry: an unpaid end, not a violation.
    #[must_use]
    pub fn after_expiry(&self) -> bool {
        self.expiry_then.is_some_and(|expiry| self.since >= expiry)
    }
}

/// Where a code stands, with what only that standing knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// One of the live states.
    Live(Live),
    /// Frozen, with the state to go back to.
    Frozen(Freeze),
    /// Over.
    Released,
}

/// One code and everything we know of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct License {
    /// The code.
    pub code: Code,
    /// Its state, and the freeze if one is in force.
    pub standing: Standing,
    /// The end of its validity; unknown until the marketplace told us.
    pub expiry: Option<Expiry>,
    /// When the marketplace confirmed that the validity has ended; cleared when it is extended.
    pub end_confirmed_at: Option<Timestamp>,
    /// What the marketplace last answered.
    pub marketplace_status: MarketplaceStatus,
    /// When that answer was asked for (our clock).
    pub marketplace_checked_at: Option<Timestamp>,
    /// When a query last failed to get a usable answer, if none succeeded since.
    pub ask_failed_at: Option<Timestamp>,
    /// Renewals minus un-renewals, never below zero.
    pub renewals_in_force: u32,
    /// When we learnt of the code.
    pub registered_at: Timestamp,
    /// When the marketplace first confirmed an activation.
    pub activated_at: Option<Timestamp>,
    /// The signed timestamp of the last FREEZE or UNFREEZE that was not stale.
    pub status_signed_at: Option<Timestamp>,
    /// Our clock when a callback last changed this row; answers asked before are older.
    pub callback_at: Option<Timestamp>,
    /// How often the marketplace said that the buyer has not received it (the ladder's rung).
    pub buyer_waits: u32,
    /// The last marketplace code of a call for this code that was not a success.
    pub last_error_code: Option<String>,
    /// The purchase's order, if known.
    pub order_id: Option<OrderId>,
    /// The product bought, if known.
    pub product_id: Option<String>,
    /// An operator's remark.
    pub note: Option<String>,
}

impl License {
    /// A code as it is when first heard of: issued, and nothing else known.
    #[must_use]
    pub const fn issued(code: Code, now: Timestamp) -> Self {
        Self {
            code,
            standing: Standing::Live(Live::Issued),
            expiry: None,
            end_confirmed_at: None,
            marketplace_status: MarketplaceStatus::Unknown,
            marketplace_checked_at: None,
            ask_failed_at: None,
            renewals_in_force: 0,
            registered_at: now,
            activated_at: None,
            status_signed_at: None,
            callback_at: None,
            buyer_waits: 0,
            last_error_code: None,
            order_id: None,
            product_id: None,
            note: None,
        }
    }

    /// The state without what belongs to it.
    #[must_use]
    pub const fn state(&self) -> State {
        match self.standing {
            Standing::Live(live) => live.state(),
            Standing::Frozen(_) => State::Frozen,
            Standing::Released => State::Released,
        }
    }

    /// The freeze in force, if any.
    #[must_use]
    pub const fn freeze(&self) -> Option<&Freeze> {
        match &self.standing {
            Standing::Frozen(freeze) => Some(freeze),
            Standing::Live(_) | Standing::Released => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_opaque_up_to_sixty_four_characters() {
        assert_eq!(Code::parse(""), Err(BadId::Empty));
        assert_eq!(Code::parse(&"码".repeat(65)), Err(BadId::TooLong));
        assert!(Code::parse(&"码".repeat(64)).is_ok());
        assert_eq!(Code::parse("PL\n1"), Err(BadId::Control));
        assert_ne!(Code::parse("pl1"), Code::parse("PL1"));
    }

    #[test]
    fn the_two_readings_enclose_the_configured_one() {
        let text = DateText::parse("20270101000000").expect("a date");
        for at in [text.utc(), text.beijing()] {
            let expiry = Expiry { text, at };
            assert_eq!((expiry.earliest(), expiry.latest()), (text.beijing(), text.utc()));
        }
    }
}
