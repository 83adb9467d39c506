//! A code, its orders, and what can be asked of it, as the marketplace keeps them.
//!
//! Invariant: a code is one of four stages; frozen is a fact beside the stage, expired follows from the
//! end (protocol.md 1.2).

use super::message::OrderRef;
use super::millis;
use crate::domain::license::BadId;
use crate::domain::time::{DateText, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far a code has come. Freezing is a fact beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Bought; the buyer has not taken it.
    Issued,
    /// The buyer has taken it (领取).
    Received,
    /// The merchant has activated it.
    Activated,
    /// Over.
    Released,
}

impl Stage {
    /// The word in JSON.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Received => "received",
            Self::Activated => "activated",
            Self::Released => "released",
        }
    }
}

/// A paid renewal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Renewal {
    /// Its order.
    pub order: OrderRef,
    /// By how much it moved the end, in milliseconds.
    pub added_ms: i64,
}

/// What kind of order it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum OrderKind {
    /// The purchase.
    New,
    /// A renewal.
    Renew,
    /// A refund of a renewal or of the whole.
    Unsubscribe,
}

/// An order as the order query shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    /// Its line.
    pub line: OrderRef,
    /// What it was for.
    pub kind: OrderKind,
    /// The product bought.
    pub product_id: String,
    /// When it was placed.
    #[serde(with = "millis")]
    pub created_at: Timestamp,
    /// The end of validity it led to.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
}

/// One code.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Code {
    /// The code itself.
    pub license: String,
    /// How far it has come.
    pub stage: Stage,
    /// The purchase.
    pub order: OrderRef,
    /// The product bought.
    pub product_id: String,
    /// How many were bought.
    pub amount: u32,
    /// When it was bought.
    #[serde(with = "millis")]
    pub issued_at: Timestamp,
    /// When the merchant activated it (or the delivery time the merchant named).
    #[serde(with = "millis::option")]
    pub activated_at: Option<Timestamp>,
    /// The end of its validity. Before activation only an estimate, unless it is fixed.
    #[serde(with = "millis")]
    pub expires_at: Timestamp,
    /// The end does not move with the activation any more.
    pub end_fixed: bool,
    /// Since when it is frozen, if it is.
    #[serde(with = "millis::option")]
    pub frozen_at: Option<Timestamp>,
    /// Renewals in force, oldest first.
    pub renewals: Vec<Renewal>,
}

impl Code {
    /// What the query says: there is no word for frozen, so a frozen code reads by its end
    /// (protocol.md 1.2). None before activation, when the query answers an error.
    pub(super) fn status(&self, now: Timestamp) -> Option<&'static str> {
        match self.stage {
            Stage::Issued | Stage::Received => None,
            Stage::Activated if now >= self.expires_at => Some("EXPIRED"),
            Stage::Activated => Some("ALIVE"),
            Stage::Released => Some("RELEASED"),
        }
    }

    /// The end as the wire writes it: UTC.
    pub(super) fn expire_text(&self) -> DateText {
        DateText::from_utc(self.expires_at)
    }
}

/// What is bought.
#[derive(Debug, Clone, Default)]
pub(super) struct Purchase {
    /// The code, if it shall have a certain one.
    pub license: Option<String>,
    /// The end, if it is fixed at the purchase.
    pub expires_at: Option<Timestamp>,
    /// Else how long it is valid from activation on.
    pub validity: Duration,
    /// The product.
    pub product_id: Option<String>,
    /// How many.
    pub amount: u32,
    /// Whether the buyer takes it at once.
    pub received: bool,
}

/// Where a new end comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum NewEnd {
    /// So many milliseconds more than now in force, or than now if that is past.
    Add(i64),
    /// Exactly this.
    At(Timestamp),
}

/// Why a buyer's or seller's act is impossible. All are the caller's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// No such code.
    #[error("there is no code {0}; GET /console/codes lists them")]
    Unknown(String),
    /// The code exists already.
    #[error("the code {0} exists already; leave `license` out to get a fresh one")]
    Exists(String),
    /// Not a code.
    #[error("`license` is {0}")]
    BadLicense(BadId),
    /// The code is over.
    #[error("the code {0} is released, and that is for ever")]
    Released(String),
    /// Received already.
    #[error("the code {0} is received already")]
    Received(String),
    /// There is no renewal to take back.
    #[error("the code {0} has no renewal in force; renew it first or give `expire_time`")]
    NoRenewal(String),
    /// Frozen or not, as asked.
    #[error("the code {0} is {1} already")]
    AlreadySo(String, &'static str),
}
