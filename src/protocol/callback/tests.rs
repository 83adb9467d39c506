//! Every field of every activity, right and wrong.

use super::*;
use crate::protocol::callback_auth::{AccessKey, signed_query, verify};
use secrecy::SecretString;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);

fn decode_bytes(body: &[u8]) -> Result<Callback, DecodeError> {
    let key = AccessKey::new(SecretString::from("key"));
    let query = signed_query(&key, body, NOW, "nonce");
    decode(&verify(Some(&query), body, &[key], NOW).expect("signed"), Zone::UTC)
}

fn decode_json(body: &Value) -> Result<Callback, DecodeError> {
    decode_bytes(body.to_string().as_bytes())
}

fn renewal() -> Value {
    json!({"activity":"refreshLicenseCode","scene":"RENEWAL","license":"PL1","orderId":"CS1",
           "orderLineId":"CS1-1","expireTime":"20271121083000","productId":"P","testFlag":"0"})
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

#[test]
fn a_renewal_has_its_command_and_its_key() {
    let callback = decode_json(&renewal()).expect("decoded");
    assert_eq!((callback.activity, callback.test), (Activity::Refresh, false));
    let Command::Renewal(refresh) = &callback.command else { panic!("{callback:?}") };
    assert_eq!(refresh.expiry.at.to_string(), "2027-11-21T08:30:00.000Z");
    assert_eq!(refresh.product_id.as_deref(), Some("P"));
    let key = callback.key.expect("a key");
    assert_eq!(
        (key.scene, key.order_id.as_str(), key.order_line_id.as_str()),
        ("RENEWAL", "CS1", "CS1-1")
    );
}

#[test]
fn status_calls_carry_the_signed_time_and_no_key() {
    for (word, expected) in [
        ("FREEZE", Command::Freeze { signed_at: NOW }),
        ("UNFREEZE", Command::Unfreeze { signed_at: NOW }),
    ] {
        let body = json!({"activity":"updateLicenseCodeStatus","license":"PL1","status":word,"testFlag":"1"});
        let callback = decode_json(&body).expect("decoded");
        assert_eq!((callback.command, callback.key, callback.test), (expected, None, true));
    }
}

#[test]
fn a_release_is_keyed_by_its_order_or_none() {
    let body =
        json!({"activity":"releaseLicenseCode","license":"PL1","orderId":null,"orderLineId":""});
    let plain = decode_json(&body).expect("decoded");
    assert_eq!(plain.command, Command::Release { order_id: None });
    let refund =
        decode_json(&with(with(body, "orderId", json!("CS9")), "orderLineId", json!("CS9-1")))
            .expect("decoded");
    let keys = [plain, refund].map(|c| c.key.expect("a key"));
    assert_eq!(
        keys.each_ref().map(|k| (k.scene, k.order_id.as_str(), k.order_line_id.as_str())),
        [("RELEASE", "", ""), ("RELEASE", "CS9", "")]
    );
}

#[test]
fn mandatory_fields_may_not_be_absent_null_or_empty() {
    for field in ["activity", "scene", "license", "orderId", "orderLineId", "expireTime"] {
        let mut absent = renewal();
        absent.as_object_mut().expect("an object").remove(field);
        for body in [absent, with(renewal(), field, Value::Null), with(renewal(), field, json!(""))]
        {
            assert_eq!(decode_json(&body), Err(DecodeError::Missing(field)));
        }
    }
}

#[test]
fn only_strings_are_taken() {
    for field in [
        "activity",
        "scene",
        "license",
        "orderId",
        "orderLineId",
        "expireTime",
        "productId",
        "testFlag",
    ] {
        for value in [json!(1), json!(true), json!(["x"]), json!({"x":"y"})] {
            assert_eq!(
                decode_json(&with(renewal(), field, value)),
                Err(DecodeError::NotText(field))
            );
        }
    }
}

#[test]
fn overlong_and_unknown_values_are_refused_by_name() {
    let long = json!("码".repeat(65));
    for (field, value) in [
        ("license", long.clone()),
        ("orderId", long.clone()),
        ("orderLineId", long.clone()),
        ("productId", long),
        ("productId", json!("a\u{7}")),
        ("license", json!("a\n")),
        ("expireTime", json!("2027-11-21")),
        ("expireTime", json!("20270229000000")),
        ("scene", json!("TRIAL_TO_FORMAL")),
        ("activity", json!("newInstance")),
        ("activity", json!("RefreshLicenseCode")),
        ("testFlag", json!("2")),
        ("testFlag", json!("")),
        ("testFlag", json!("01")),
    ] {
        match decode_json(&with(renewal(), field, value)) {
            Err(DecodeError::Field { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    let longest = decode_json(&with(renewal(), "license", json!("码".repeat(64))));
    assert_eq!(longest.expect("64 scalar values").code.as_str().chars().count(), 64);
}

#[test]
fn what_is_unknown_or_null_beside_the_fields_is_ignored() {
    let mut body = with(renewal(), "news", json!({"deep":[1, {"a":null}]}));
    body = with(with(body, "testFlag", Value::Null), "productId", json!(""));
    let callback = decode_json(&body).expect("decoded");
    assert!(!callback.test);
    assert!(matches!(callback.command, Command::Renewal(Refresh { product_id: None, .. })));
}

#[test]
fn bodies_that_leave_a_doubt_are_refused_whole() {
    let nested = |depth: usize| {
        format!(
            r#"{{"activity":"releaseLicenseCode","license":"PL1","x":{}{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    assert!(decode_bytes(nested(15).as_bytes()).is_ok());
    for body in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "\u{feff}{}".to_owned(),
        r#"{"activity":"releaseLicenseCode","license":"PL1"}x"#.to_owned(),
        r#"{"activity":"releaseLicenseCode","license":"PL1","license":"PL1"}"#.to_owned(),
        r#"{"activity":"releaseLicenseCode","license":"PL1","x":{"a":1,"\u0061":1}}"#.to_owned(),
        r#"{"activity":"releaseLicenseCode","license":"\ud800"}"#.to_owned(),
        nested(16),
        nested(100_000),
    ] {
        let refused = decode_bytes(body.as_bytes()).expect_err("refused");
        assert!(matches!(refused, DecodeError::Body(_)), "{refused}");
        assert_eq!(refused.result_code(), ResultCode::Malformed);
    }
    assert!(decode_bytes(b"{\"activity\":\"releaseLicenseCode\",\"license\":\"\xff\"}").is_err());
}

#[test]
fn content_is_what_was_said_not_how() {
    let of = |body: &Value| decode_json(body).expect("decoded").content;
    let pretty = serde_json::to_vec_pretty(&renewal()).expect("json");
    assert_eq!(decode_bytes(&pretty).expect("decoded").content, of(&renewal()));
    for (field, value) in [
        ("expireTime", "20271121083001"),
        ("license", "PL2"),
        ("orderId", "CS2"),
        ("orderLineId", "CS1-2"),
        ("productId", "Q"),
        ("scene", "UNSUBSCRIBE_RENEWAL_PERIOD"),
    ] {
        assert_ne!(of(&with(renewal(), field, json!(value))), of(&renewal()), "{field}");
    }
}

#[test]
fn replies_are_json_with_both_fields() {
    for code in ResultCode::ALL {
        let reply: Value = serde_json::from_slice(&reply(code)).expect("json");
        assert_eq!(reply, json!({"resultCode": code.as_str(), "resultMsg": code.message()}));
    }
    assert_eq!(reply(ResultCode::Done), br#"{"resultCode":"000000","resultMsg":"success."}"#);
}

#[test]
fn activities_round_trip() {
    for activity in Activity::ALL {
        assert_eq!(Activity::parse(activity.as_str()), Some(activity));
    }
}
