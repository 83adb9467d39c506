//! An order as the marketplace tells of it (protocol.md 2.7): for people, and to find the code it paid for.
//!
//! Invariant: nothing here decides about a code. An order names no code; a code names its order.

use super::license::{Expiry, OrderId, OrderLineId};

/// Kinds of orders that concern a code which exists already. Any other word may be a purchase.
const WITHOUT_A_CODE: [&str; 3] = ["RENEW", "UNSUBSCRIBE", "CHANGE"];
/// "Not your product" and "no authority" (protocol.md 2.7): the marketplace took us for who we are, and
/// refuses this order; asking again would only stop the queue again.
const NOT_OURS: [&str; 2] = ["MKT.0150", "MKT.0151"];

/// How an order stands that we were told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrderState {
    /// Bought, and no code was registered for it yet.
    Awaited,
    /// A code with this order is known here.
    Arrived,
    /// It brings no code: it renews, returns or changes one that exists.
    NoCode,
    /// The marketplace does not let us read it.
    Unknown,
}

impl OrderState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Awaited, Self::Arrived, Self::NoCode, Self::Unknown];

    /// The word in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Awaited => "awaited",
            Self::Arrived => "arrived",
            Self::NoCode => "no_code",
            Self::Unknown => "unknown",
        }
    }

    /// The state that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Whether this refusal concerns the order alone, so that its query ends with it.
#[must_use]
pub fn is_not_ours(error_code: Option<&str>) -> bool {
    error_code.is_some_and(|code| NOT_OURS.contains(&code))
}

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

impl Order {
    /// Whether a code is to come with it, as far as its kind tells.
    #[must_use]
    pub fn brings_a_code(&self) -> bool {
        !self.kind.as_deref().is_some_and(|kind| WITHOUT_A_CODE.contains(&kind))
    }

    /// The line of this number, or else the first.
    #[must_use]
    pub fn line(&self, id: Option<&OrderLineId>) -> Option<&OrderLine> {
        let named = self.lines.iter().find(|line| id.is_some() && line.id.as_ref() == id);
        named.or(self.lines.first())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kinds_that_concern_another_code_bring_none() {
        let of = |kind: Option<&str>| {
            let kind = kind.map(str::to_owned);
            let id = OrderId::parse("CS1").expect("an order");
            Order { id, kind, created: None, lines: Vec::new() }.brings_a_code()
        };
        assert!(of(None) && of(Some("NEW")) && of(Some("SOMETHING")));
        assert!(!of(Some("RENEW")) && !of(Some("UNSUBSCRIBE")) && !of(Some("CHANGE")));
    }

    #[test]
    fn the_line_is_the_named_one_or_the_first() {
        let id = |text: &str| OrderLineId::parse(text).expect("a line");
        let line = |text: &str| OrderLine { id: Some(id(text)), ..OrderLine::default() };
        let lines = vec![line("1"), line("2")];
        let order_id = OrderId::parse("CS1").expect("an order");
        let order = Order { id: order_id, kind: None, created: None, lines };
        let found =
            |asked: Option<&OrderLineId>| order.line(asked).and_then(|line| line.id.clone());
        assert_eq!(found(Some(&id("2"))), Some(id("2")));
        assert_eq!(found(Some(&id("3"))), Some(id("1")));
        assert_eq!(found(None), Some(id("1")));
    }

    #[test]
    fn states_round_trip() {
        for state in OrderState::ALL {
            assert_eq!(OrderState::parse(state.as_str()), Some(state));
        }
    }
}
