//! The order numbers that every merchant may query for debugging (protocol.md 2.7).
//!
//! Invariant: they exist in every marketplace and belong to no code.

use crate::domain::time::{DAY_MS, DateText, Timestamp};
use serde_json::{Value, json};

/// Number, order type, charging mode, period type, days from the order to its end.
const MOCKS: [(&str, &str, &str, Option<&str>, i64); 9] = [
    ("MOCKPERIODYEARNEW", "NEW", "PERIOD", Some("year"), 365),
    ("MOCKONETIMENEW", "NEW", "ONE_TIME", None, 0),
    ("MOCKONDEMAND", "NEW", "ON_DEMAND", None, 0),
    ("MOCKONDEMANDPKG", "NEW", "ON_DEMAND_PKG", None, 0),
    ("MOCKPERIODDAYTRIAL", "NEW", "PERIOD", Some("day"), 7),
    ("MOCKMONTYTRIALTOFORMAL", "CHANGE", "PERIOD", Some("month"), 30),
    ("MOCKMONTYUNSUBSCRIBE", "UNSUBSCRIBE", "PERIOD", Some("month"), 0),
    ("MOCKMONTYRENEW", "RENEW", "PERIOD", Some("month"), 60),
    ("MOCKMONTYCHANGE", "CHANGE", "PERIOD", Some("month"), 30),
];

/// The `orderInfo` of a mock order, placed a day ago.
pub(super) fn find(order_id: &str, now: Timestamp) -> Option<Value> {
    let (_, kind, mode, period, days) = MOCKS.into_iter().find(|mock| mock.0 == order_id)?;
    let created_at = now.plus_ms(-DAY_MS);
    let end = period.map(|_| DateText::from_utc(created_at.plus_ms(days * DAY_MS)).to_string());
    Some(json!({
        "orderId": order_id, "orderType": kind, "createTime": DateText::from_utc(created_at).as_str(),
        "orderLine": [{
            "orderLineId": format!("{order_id}-000001"), "chargingMode": mode, "periodType": period,
            "periodNumber": period.map(|_| 1), "expireTime": end,
            "productInfo": [{"productId": "MOCKPRODUCT"}],
        }],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nine_are_there_and_no_tenth() {
        let now = Timestamp::from_ms(1_795_249_800_000);
        for (id, ..) in MOCKS {
            let line = &find(id, now).expect("a mock")["orderLine"][0]["orderLineId"];
            assert_eq!(line.as_str(), Some(format!("{id}-000001").as_str()));
        }
        assert!(find("MOCK", now).is_none());
    }
}
