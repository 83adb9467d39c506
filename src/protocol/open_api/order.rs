//! The order query's answer (protocol.md 2.7): other field names, other codes, leniently read.
//!
//! Invariant: an order is taken only if the answer names the one that was asked for, or none.

use super::{Answer, expiry, object, text};
use crate::domain::license::{OrderId, OrderLineId};
use crate::domain::order::{Order, OrderLine};
use crate::domain::outcome::{Outcome, of_answer};
use crate::domain::slots::Zone;
use serde_json::{Map, Value};

/// How much of a word that nobody documented is kept, in characters.
const WORD_CHARS: usize = 64;

/// The order of an answer; `None` when it has none, and [`of_answer`] alone decides. Its times are UTC,
/// by the published sample (protocol.md 2.7), whatever zone expiries of codes are read in.
#[must_use]
pub fn order_verdict(http: u16, answer: &Answer, asked: &OrderId) -> Option<Order> {
    if of_answer(http, answer.error_code.as_deref()) != Outcome::Done {
        return None;
    }
    let info = answer.data.as_ref().and_then(object)?;
    if text(&info, "orderId").is_some_and(|named| named != asked.as_str()) {
        return None;
    }
    let lines = info.get("orderLine").and_then(Value::as_array);
    Some(Order {
        id: asked.clone(),
        kind: word(&info, "orderType"),
        created: text(&info, "createTime").and_then(|text| expiry(&text, Zone::UTC)),
        lines: lines.into_iter().flatten().filter_map(object).map(|line| read(&line)).collect(),
    })
}

fn read(fields: &Map<String, Value>) -> OrderLine {
    let product = fields.get("productInfo").and_then(|info| match info {
        Value::Array(list) => list.first().and_then(object),
        other => object(other),
    });
    OrderLine {
        id: text(fields, "orderLineId").and_then(|text| OrderLineId::parse(&text).ok()),
        charging_mode: word(fields, "chargingMode"),
        period_type: word(fields, "periodType"),
        period_number: text(fields, "periodNumber").and_then(|text| text.parse().ok()),
        expiry: text(fields, "expireTime").and_then(|text| expiry(&text, Zone::UTC)),
        product_id: product.and_then(|product| word(&product, "productId")),
    }
}

fn word(fields: &Map<String, Value>, name: &str) -> Option<String> {
    text(fields, name).map(|text| super::bounded(&text, WORD_CHARS))
}

#[cfg(test)]
mod tests {
    use super::super::parse_answer;
    use super::*;
    use serde_json::json;

    fn asked() -> OrderId {
        OrderId::parse("CS1").expect("an order")
    }

    fn verdict(http: u16, body: &Value) -> Option<Order> {
        let answer = parse_answer(body.to_string().as_bytes()).expect("an answer");
        order_verdict(http, &answer, &asked())
    }

    #[test]
    fn the_published_shape_is_read() {
        let order = verdict(
            200,
            &json!({"resultCode": "MKT.0000", "resultMsg": "success", "orderInfo": {
                "orderId": "CS1", "orderType": "NEW", "createTime": "20220726064736",
                "orderLine": [{"orderLineId": "CS1-000001", "chargingMode": "PERIOD", "periodType": "year",
                    "periodNumber": 1, "expireTime": "20230726155959", "productInfo": [{"productId": "P1"}]}],
            }}),
        )
        .expect("an order");
        assert_eq!((order.kind.as_deref(), order.lines.len()), (Some("NEW"), 1));
        assert_eq!(order.created.expect("a time").at.to_string(), "2022-07-26T06:47:36.000Z");
        let line = &order.lines[0];
        assert_eq!(line.id.as_ref().map(OrderLineId::as_str), Some("CS1-000001"));
        assert_eq!((line.period_number, line.product_id.as_deref()), (Some(1), Some("P1")));
        assert_eq!(line.expiry.expect("an end").text.as_str(), "20230726155959");
    }

    #[test]
    fn what_is_missing_is_unknown_and_another_order_is_none() {
        let bare =
            verdict(200, &json!({"resultCode": "MKT.0000", "orderInfo": {"orderLine": [{}, 7]}}));
        let bare = bare.expect("an order");
        assert_eq!((bare.id, bare.lines), (asked(), vec![OrderLine::default()]));
        for (http, body) in [
            (200, json!({"resultCode": "MKT.0000", "orderInfo": {"orderId": "CS2"}})),
            (200, json!({"resultCode": "MKT.0000"})),
            (400, json!({"resultCode": "MKT.0199"})),
            (200, json!({"resultCode": "MKT.1234", "orderInfo": {}})),
        ] {
            assert_eq!(verdict(http, &body), None, "{body}");
        }
    }
}
