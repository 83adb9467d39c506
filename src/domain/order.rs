//! An order as the marketplace tells of it (protocol.md 2.7): for people, and to find the code it paid for.
//!
//! Invariant: nothing here decides about a code. An order names no code; a code names its order.

use super::license::{Expiry, OrderId, OrderLineId};

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its number.
    pub id: OrderId,
    /// `NEW`, `RENEW`, `UNSUBSCRIBE` and the like, as sent.
    pub kind: Option<String>,
    /// When it was placed.
    pub created: Option<Expiry>,
    /// What was bought.
    pub lines: Vec<OrderLine>,
}

/// A line of an order. Whatever the answer left out is unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderLine {
    /// Its number.
    pub id: Option<OrderLineId>,
    /// `PERIOD`, `ONE_TIME` and the like, as sent.
    pub charging_mode: Option<String>,
    /// `year`, `month` or `day`, as sent.
    pub period_type: Option<String>,
    /// How many periods.
    pub period_number: Option<i64>,
    /// The end of what was bought.
    pub expiry: Option<Expiry>,
    /// The product.
    pub product_id: Option<String>,
}
