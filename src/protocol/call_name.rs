//! What makes two attempts the same call: from a decoded call, or from a body that nobody could decode.
//!
//! Invariant: a call that is decoded has the name that was read off its bytes while it was not, so that a
//! success is known as the end of the failures before it. What is read off bytes decides nothing.

use super::callback::{Activity, Callback};
use super::order_notice::{self, OrderNotice};
use crate::domain::license::{Code, OrderId, OrderLineId};
use crate::domain::retry_window::CallName;
use crate::domain::transition::Command;
use ring::digest;
use serde_json::Value;

/// What the bytes of a refused call seem to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peeked {
    /// Its name.
    pub name: CallName,
    /// `testFlag` "1": a debug case or a dial test, which nobody repeats.
    pub test: bool,
}

/// The name of a decoded callback.
#[must_use]
pub fn of_callback(callback: &Callback) -> CallName {
    let (order_id, order_line_id, scene) = match &callback.command {
        Command::Renewal(refresh) => {
            (refresh.order_id.as_str(), refresh.order_line_id.as_str(), "RENEWAL")
        }
        Command::Unrenewal(refresh) => (
            refresh.order_id.as_str(),
            refresh.order_line_id.as_str(),
            "UNSUBSCRIBE_RENEWAL_PERIOD",
        ),
        Command::Freeze { .. } => ("", "", "FREEZE"),
        Command::Unfreeze { .. } => ("", "", "UNFREEZE"),
        // Its line is not part of what makes two releases the same (product.md §3.1).
        Command::Release { order_id } => (order_id.as_ref().map_or("", OrderId::as_str), "", ""),
        Command::BuyerReceived | Command::Activation(_) | Command::Query(_) => ("", "", ""),
    };
    CallName {
        activity: callback.activity.as_str().to_owned(),
        code: callback.code.as_str().to_owned(),
        order_id: order_id.to_owned(),
        order_line_id: order_line_id.to_owned(),
        scene: scene.to_owned(),
        digest: Vec::new(),
    }
}

/// The name of a decoded order notification.
#[must_use]
pub fn of_notice(notice: &OrderNotice) -> CallName {
    CallName {
        activity: order_notice::ACTIVITY.to_owned(),
        order_id: notice.order_id.as_str().to_owned(),
        order_line_id: notice.order_line_id.as_ref().map_or("", OrderLineId::as_str).to_owned(),
        ..CallName::default()
    }
}

/// Reads a name off a body that was refused. What is no usable text counts as absent.
#[must_use]
pub fn peek(body: &[u8]) -> Peeked {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |field: &str| parsed.get(field).and_then(Value::as_str).unwrap_or_default();
    // The rules of ids serve for words, too: they bound the length and keep control characters out.
    let id = |field| {
        if Code::parse(text(field)).is_ok() { text(field).to_owned() } else { String::new() }
    };
    let known = Activity::parse(text("activity")).map(Activity::as_str);
    let activity =
        known.or((text("activity") == order_notice::ACTIVITY).then_some(order_notice::ACTIVITY));
    let mut name =
        CallName { activity: activity.unwrap_or_default().to_owned(), ..CallName::default() };
    if activity != Some(order_notice::ACTIVITY) {
        name.code = id("license");
    }
    match known.and_then(Activity::parse) {
        Some(Activity::Refresh) => {
            (name.order_id, name.order_line_id) = (id("orderId"), id("orderLineId"));
            name.scene = id("scene");
        }
        Some(Activity::Status) => name.scene = id("status"),
        Some(Activity::Release) => name.order_id = id("orderId"),
        None => (name.order_id, name.order_line_id) = (id("orderId"), id("orderLineId")),
    }
    if activity.is_none() || (name.code.is_empty() && name.order_id.is_empty()) {
        name.digest = digest::digest(&digest::SHA256, body).as_ref().to_vec();
    }
    Peeked { name, test: text("testFlag") == "1" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::slots::Zone;
    use crate::domain::time::Timestamp;
    use crate::protocol::callback::decode_stored;
    use serde_json::json;

    fn name(body: &Value) -> CallName {
        peek(body.to_string().as_bytes()).name
    }

    #[test]
    fn a_decoded_call_has_the_name_that_was_read_off_its_bytes() {
        let refresh = |scene: &str| {
            json!({"activity": "refreshLicenseCode", "expireTime": "20271121083000", "license": "PL1",
                   "orderId": "CS1", "orderLineId": "CS1-1", "productId": "p", "scene": scene})
        };
        let bodies = [
            refresh("RENEWAL"),
            refresh("UNSUBSCRIBE_RENEWAL_PERIOD"),
            json!({"activity": "updateLicenseCodeStatus", "license": "PL1", "status": "FREEZE"}),
            json!({"activity": "updateLicenseCodeStatus", "license": "PL1", "status": "UNFREEZE", "orderId": "x"}),
            json!({"activity": "releaseLicenseCode", "license": "PL1"}),
            json!({"activity": "releaseLicenseCode", "license": "PL1", "orderId": "CS2", "orderLineId": "CS2-1"}),
        ];
        let mut seen = std::collections::BTreeSet::new();
        for body in &bodies {
            let bytes = body.to_string();
            let now = Timestamp::from_ms(1_795_249_800_000);
            let callback = decode_stored(bytes.as_bytes(), now, Zone::UTC).expect("decoded");
            assert_eq!(of_callback(&callback), name(body), "{body}");
            assert!(seen.insert(name(body)), "{body}");
        }
        let notice = json!({"activity": "orderNotify", "orderId": "CS1", "orderLineId": "CS1-1"});
        let decoded = OrderNotice {
            order_id: OrderId::parse("CS1").expect("an id"),
            order_line_id: Some(OrderLineId::parse("CS1-1").expect("an id")),
            test: false,
        };
        assert_eq!(of_notice(&decoded), name(&notice));
    }

    #[test]
    fn a_body_that_nobody_can_read_is_known_by_its_bytes() {
        let names: Vec<_> = ["", "{", "[1]", r#"{"activity":"newInstance","license":"PL1"}"#]
            .map(|body| peek(body.as_bytes()).name)
            .into();
        for name in &names {
            assert_eq!(name.digest.len(), 32, "{name:?}");
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1);
        }
        let odd = json!({"activity": "refreshLicenseCode", "license": "PL1", "scene": "RENEWAL_CHANGE", "orderId": 7});
        let odd = name(&odd);
        assert_eq!((&*odd.scene, &*odd.order_id, odd.digest.len()), ("RENEWAL_CHANGE", "", 0));
        let long = json!({"activity": "releaseLicenseCode", "license": "x".repeat(65)});
        assert_eq!((name(&long).code.as_str(), name(&long).digest.len()), ("", 32));
        assert!(peek(br#"{"testFlag":"1"}"#).test && !peek(b"").test);
    }
}
