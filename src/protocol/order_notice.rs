//! A verified body to an order notification (protocol.md 4.6): somebody bought; it carries no code.
//!
//! Invariant: as for [`super::callback`], a body that leaves a doubt is refused whole.

use super::body::{Body, DecodeError, unknown};
use super::callback::Activity;
use super::callback_auth::Verified;
use crate::domain::license::{OrderId, OrderLineId};

/// The one activity of this type of interface, on the wire, in columns and in JSON.
pub const ACTIVITY: &str = "orderNotify";

/// An order notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderNotice {
    /// The order.
    pub order_id: OrderId,
    /// Its line, if one is named.
    pub order_line_id: Option<OrderLineId>,
    /// `testFlag` "1": to be answered, never to be applied.
    pub test: bool,
}

/// Decodes a verified body.
///
/// # Errors
/// [`DecodeError`] names the first field that is not as the protocol says.
pub fn decode(verified: &Verified<'_>) -> Result<OrderNotice, DecodeError> {
    let fields = Body::parse(verified.body())?;
    match fields.mandatory("activity")? {
        ACTIVITY => {}
        other => {
            let licences = Activity::parse(other).map(Activity::as_str);
            return Err(match licences {
                Some(activity) => DecodeError::Elsewhere { activity, path: "callback.path" },
                None => unknown("activity", other),
            });
        }
    }
    Ok(OrderNotice {
        order_id: fields.id("orderId", OrderId::parse)?,
        order_line_id: fields.optional_id("orderLineId", OrderLineId::parse)?,
        test: fields.test_flag()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::ResultCode;
    use crate::domain::slots::Zone;
    use crate::domain::time::Timestamp;
    use crate::protocol::callback;
    use crate::protocol::callback_auth::{AccessKey, signed_query, verify};
    use secrecy::SecretString;
    use serde_json::{Value, json};

    const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

    fn with_verified<T>(body: &Value, read: impl FnOnce(&Verified<'_>) -> T) -> T {
        let key = AccessKey::new(SecretString::from("key"));
        let body = body.to_string();
        let query = signed_query(&key, body.as_bytes(), NOW, "nonce");
        read(&verify(Some(&query), body.as_bytes(), &[key], NOW).expect("signed"))
    }

    fn decoded(body: &Value) -> Result<OrderNotice, DecodeError> {
        with_verified(body, decode)
    }

    fn notice() -> Value {
        json!({"activity": "orderNotify", "orderId": "CS1", "orderLineId": "CS1-000001", "testFlag": "1"})
    }

    fn with(field: &str, value: Value) -> Value {
        let mut body = notice();
        body[field] = value;
        body
    }

    #[test]
    fn a_notice_names_its_order_and_perhaps_a_line() {
        let full = decoded(&notice()).expect("decoded");
        assert_eq!((full.order_id.as_str(), full.test), ("CS1", true));
        assert_eq!(full.order_line_id.as_ref().map(OrderLineId::as_str), Some("CS1-000001"));
        let bare = json!({"activity": "orderNotify", "orderId": "码".repeat(64), "news": {"a": 1}});
        let bare = decoded(&bare).expect("decoded");
        assert_eq!((bare.order_id.as_str().chars().count(), bare.order_line_id), (64, None));
        assert!(!bare.test);
        for nothing in [json!(""), Value::Null] {
            assert_eq!(
                decoded(&with("orderLineId", nothing)).expect("decoded").order_line_id,
                None
            );
        }
    }

    #[test]
    fn what_is_missing_overlong_or_unknown_is_refused_by_name() {
        for field in ["activity", "orderId"] {
            for nothing in [json!(""), Value::Null] {
                assert_eq!(decoded(&with(field, nothing)), Err(DecodeError::Missing(field)));
            }
        }
        for field in ["activity", "orderId", "orderLineId", "testFlag"] {
            assert_eq!(decoded(&with(field, json!(1))), Err(DecodeError::NotText(field)));
        }
        let long = json!("x".repeat(65));
        for (field, value) in [
            ("orderId", long.clone()),
            ("orderLineId", long),
            ("orderId", json!("CS\n1")),
            ("testFlag", json!("2")),
            ("activity", json!("newInstance")),
        ] {
            let refused = decoded(&with(field, value)).expect_err("refused");
            assert!(
                matches!(&refused, DecodeError::Field { field: named, .. } if *named == field),
                "{refused}"
            );
        }
    }

    #[test]
    fn each_path_takes_its_own_activities_and_names_the_other() {
        for activity in Activity::ALL {
            let refused =
                decoded(&with("activity", json!(activity.as_str()))).expect_err("refused");
            let path = "callback.path";
            assert_eq!(refused, DecodeError::Elsewhere { activity: activity.as_str(), path });
        }
        let there = with_verified(&notice(), |verified| callback::decode(verified, Zone::UTC));
        let refused = there.expect_err("refused");
        assert!(refused.to_string().contains("orders.path"), "{refused}");
        assert_eq!(refused.result_code(), ResultCode::Malformed);
    }
}
