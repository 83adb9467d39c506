//! What the marketplace tells the merchant: the three activities of License 2.0 and the order notice.
//!
//! Invariant: a body is sorted by key, compact, and all its values are strings, as in every example the
//! marketplace publishes (protocol.md 4.2 to 4.6).

use crate::domain::time::DateText;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A type of interface: each has an address and a key of its own (protocol.md 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interface {
    /// License授权码交付接口.
    Licences,
    /// 通用接口: order notifications.
    Orders,
}

const ORDER_NOTIFY: &str = "orderNotify";

/// One thing to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// Which of the documented calls it is.
    pub activity: String,
    /// The code it is about; none for an order notification.
    pub license: Option<String>,
    /// The exact bytes that are signed and sent.
    pub body: String,
}

/// Why the end of a code moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scene {
    /// The buyer paid for more.
    Renewal,
    /// The buyer gave a paid period back.
    Unrenewal,
}

/// An order and its line, as the marketplace numbers them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OrderRef {
    /// The order.
    pub order_id: String,
    /// The line of the order.
    pub order_line_id: String,
}

impl OrderRef {
    /// An order with its first line.
    pub(super) fn first_line(order_id: String) -> Self {
        let order_line_id = format!("{order_id}-000001");
        Self { order_id, order_line_id }
    }
}

/// Whether a message is a debug case (`testFlag` 1) or real.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TestFlag {
    /// "0": a real call.
    Real,
    /// "1": a debug case or a dial test; must have no effect.
    Test,
}

impl TestFlag {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Real => "0",
            Self::Test => "1",
        }
    }
}

impl Message {
    /// `refreshLicenseCode`: a new absolute end.
    pub(super) fn refresh(
        scene: Scene,
        license: &str,
        order: &OrderRef,
        product_id: Option<&str>,
        expire_time: DateText,
        test: TestFlag,
    ) -> Self {
        let scene = match scene {
            Scene::Renewal => "RENEWAL",
            Scene::Unrenewal => "UNSUBSCRIBE_RENEWAL_PERIOD",
        };
        let mut fields = BTreeMap::from([
            ("scene", scene),
            ("orderId", &order.order_id),
            ("orderLineId", &order.order_line_id),
            ("expireTime", expire_time.as_str()),
        ]);
        fields.extend(product_id.map(|id| ("productId", id)));
        Self::new("refreshLicenseCode", Some(license), fields, test)
    }

    /// `updateLicenseCodeStatus` with FREEZE, or UNFREEZE when `frozen` is false.
    pub(super) fn status(license: &str, frozen: bool, test: TestFlag) -> Self {
        let status = if frozen { "FREEZE" } else { "UNFREEZE" };
        let fields = BTreeMap::from([("status", status)]);
        Self::new("updateLicenseCodeStatus", Some(license), fields, test)
    }

    /// `releaseLicenseCode`; with the refund's order when a refund is the cause.
    pub(super) fn release(license: &str, refund: Option<&OrderRef>, test: TestFlag) -> Self {
        let fields = refund.map_or_else(BTreeMap::new, |order| {
            BTreeMap::from([
                ("orderId", order.order_id.as_str()),
                ("orderLineId", order.order_line_id.as_str()),
            ])
        });
        Self::new("releaseLicenseCode", Some(license), fields, test)
    }

    /// `orderNotify`: somebody bought; carries no code (protocol.md 4.6).
    pub(super) fn order_notify(order: &OrderRef, test: TestFlag) -> Self {
        let fields = BTreeMap::from([
            ("orderId", order.order_id.as_str()),
            ("orderLineId", order.order_line_id.as_str()),
        ]);
        Self::new(ORDER_NOTIFY, None, fields, test)
    }

    /// Where it goes.
    pub(super) fn interface(&self) -> Interface {
        if self.activity == ORDER_NOTIFY { Interface::Orders } else { Interface::Licences }
    }

    fn new<'a>(
        activity: &'a str,
        license: Option<&'a str>,
        mut fields: BTreeMap<&'a str, &'a str>,
        test: TestFlag,
    ) -> Self {
        fields.extend([("activity", activity), ("testFlag", test.as_str())]);
        fields.extend(license.map(|code| ("license", code)));
        let body = serde_json::to_string(&fields).unwrap_or_default();
        Self { activity: activity.to_owned(), license: license.map(str::to_owned), body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_sorted_compact_and_all_strings() {
        let freeze = Message::status("PL0000000001", true, TestFlag::Real);
        // The very body of the worked vector in protocol.md 5.5.
        assert_eq!(
            freeze.body,
            r#"{"activity":"updateLicenseCodeStatus","license":"PL0000000001","status":"FREEZE","testFlag":"0"}"#
        );
        let order = OrderRef::first_line("CS1".to_owned());
        let end = DateText::parse("20270101000000").expect("a date");
        let renewal =
            Message::refresh(Scene::Renewal, "PL1", &order, Some("p"), end, TestFlag::Test);
        assert_eq!(
            renewal.body,
            r#"{"activity":"refreshLicenseCode","expireTime":"20270101000000","license":"PL1","orderId":"CS1","orderLineId":"CS1-000001","productId":"p","scene":"RENEWAL","testFlag":"1"}"#
        );
        let over = Message::release("PL1", None, TestFlag::Real);
        assert_eq!(
            over.body,
            r#"{"activity":"releaseLicenseCode","license":"PL1","testFlag":"0"}"#
        );
    }
}
