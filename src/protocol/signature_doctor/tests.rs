//! What no vector shows: texts, bounds, and that nothing panics. The planted causes are vectors
//! (tests/vectors/signature-doctor-vectors.json).

use super::*;
use crate::protocol::callback_auth::{AccessKey, signed_query, verify};
use proptest::prelude::*;
use secrecy::SecretString;
use std::sync::LazyLock;

const NOW: Timestamp = Timestamp::from_ms(1_795_249_800_000);
const BODY: &str =
    r#"{"activity":"updateLicenseCodeStatus","license":"PL1","status":"FREEZE","testFlag":"0"}"#;

static DOCTOR: LazyLock<Doctor> = LazyLock::new(|| {
    let keys = |names: &[&str]| names.iter().map(|n| SecretString::from(*n)).collect::<Vec<_>>();
    let sk = SecretString::from("the-sk");
    Doctor::new(&KeyRing {
        live: &keys(&["live-key", "live-key-before"]),
        replaced: &keys(&["replaced-key"]),
        retired: &keys(&["retired-key", "live-key", "ancient-key"]),
        other_interface: &keys(&["orders-key"]),
        ak: "the-ak",
        sk: &sk,
    })
});

fn signed_with(key: &str, body: &str, at: Timestamp) -> String {
    signed_query(&AccessKey::new(SecretString::from(key)), body.as_bytes(), at, "n0nce")
}

fn case<'a>(query: &'a str, body: &'a str, ahead_ms: Option<i64>) -> Case<'a> {
    Case { query: Some(query), headers: &[], body: body.as_bytes(), received_at: NOW, ahead_ms }
}

#[test]
fn two_faults_are_found_together_and_the_first_is_the_cause() {
    let query = signed_with("ancient-key", &format!("{BODY}\n"), NOW.plus_ms(-75_500));
    let found = DOCTOR.examine(&case(&query, BODY, None));
    assert_eq!((found.cause(), found.proven()), (Cause::OlderKey, true));
    let text = found.to_string();
    for part in ["number 3 of", "; and a line end behind", "; and its clock is 75 s behind ours"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn the_clock_that_is_wrong_is_named() {
    for (skew_ms, ahead_ms, says) in [
        (61_000, None, "61 s behind ours; whose is not known"),
        (-75_000, Some(-74_000), "75 s ahead of ours; ours is wrong"),
        (75_000, Some(0), "75 s behind ours; ours agrees with the marketplace's"),
        (75_000, Some(-75_000), "whose is not known"),
        (28_800_500, Some(0), "28800 s behind ours, which is a time zone"),
        (-19_800_000, Some(0), "19800 s ahead of ours, which is a time zone"),
        (2_700_000, None, "2700 s behind ours; whose"),
    ] {
        let query = signed_with("live-key", BODY, NOW.plus_ms(-skew_ms));
        let found = DOCTOR.examine(&case(&query, BODY, ahead_ms));
        assert_eq!((found.cause(), found.proven()), (Cause::Clock, true), "{skew_ms}");
        assert!(found.to_string().contains(says), "{found}");
    }
}

#[test]
fn the_window_s_last_millisecond_is_no_clock_s_fault() {
    for (skew_ms, says) in [(60_000, "edge of the window"), (60_001, "60 s behind ours")] {
        let query = signed_with("live-key", BODY, NOW.plus_ms(-skew_ms));
        let found = DOCTOR.examine(&case(&query, BODY, None));
        assert!(found.to_string().contains(says), "{skew_ms}: {found}");
    }
}

#[test]
fn the_largest_body_that_is_searched_is_searched_wholly() {
    let body = format!(r#"{{"x":"{}"}}"#, "y".repeat(BODY_MAX - 8));
    assert_eq!(body.len(), BODY_MAX);
    let query = signed_with("live-key", &format!("{body}\n"), NOW);
    assert_eq!(DOCTOR.examine(&case(&query, &body, None)).cause(), Cause::BodyTrimmed);
}

#[test]
fn another_order_of_fields_is_looked_for_under_a_live_key_only() {
    let other = r#"{"status":"FREEZE","testFlag":"0","activity":"updateLicenseCodeStatus","license":"PL1"}"#;
    for (key, cause) in [("live-key", Cause::BodyReordered), ("retired-key", Cause::Unknown)] {
        let query = signed_with(key, other, NOW);
        assert_eq!(DOCTOR.examine(&case(&query, BODY, None)).cause(), cause, "{key}");
    }
}

#[test]
fn an_auth_token_proves_something_only_if_a_key_of_ours_made_it() {
    let query = "authToken=c3RyYW5nZXI%3D&timeStamp=20261121083000&instanceId=x";
    let found = DOCTOR.examine(&case(query, BODY, None));
    assert_eq!((found.cause(), found.proven()), (Cause::AuthToken, false));
}

#[test]
fn a_stranger_s_signature_proves_nothing() {
    let query = signed_with("a-stranger's-key", BODY, NOW.plus_ms(-75_000));
    let found = DOCTOR.examine(&case(&query, BODY, None));
    assert_eq!((found.cause(), found.proven()), (Cause::Unknown, false));
    assert!(found.to_string().contains("75 s behind"), "{found}");
    let empty = signed_with("live-key", BODY, NOW);
    let found = DOCTOR.examine(&case(&empty, "", None));
    assert_eq!((found.cause(), found.proven()), (Cause::BodyMissing, false));
}

#[test]
fn a_large_body_is_tried_only_as_it_came() {
    let large = format!(r#"{{"x":"{}"}}"#, "y".repeat(BODY_MAX));
    let query = signed_with("retired-key", &large, NOW);
    assert_eq!(DOCTOR.examine(&case(&query, &large, None)).cause(), Cause::PreviousKey);
    let query = signed_with("retired-key", &format!("{large}\n"), NOW);
    assert_eq!(DOCTOR.examine(&case(&query, &large, None)).cause(), Cause::Unknown);
}

#[test]
fn every_cause_has_a_word_of_its_own_and_a_remedy() {
    for cause in Cause::ALL {
        assert_eq!(Cause::parse(cause.as_str()), Some(cause));
        assert!(cause.what_to_do().len() > 30, "{cause:?}");
    }
    assert_eq!(Cause::parse("no such word"), None);
}

#[test]
fn no_key_is_in_what_is_printed() {
    assert!(!format!("{:?}", *DOCTOR).contains("key-"));
    for key in ["live-key", "retired-key", "orders-key", "the-sk", "the-ak"] {
        let query = signed_with(key, BODY, NOW);
        let found = DOCTOR.examine(&case(&query, &format!("{BODY} "), None));
        assert!(found.proven() && !format!("{found} {found:?}").contains(key), "{key}: {found}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_input_panics(
        query in ".{0,80}", value in ".{0,80}", body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        for query in [query.clone(), format!("signature={query}&timestamp={value}&nonce={value}")] {
            for name in SIGNATURE_HEADERS {
                let headers = [(name, value.clone())];
                let case = Case {
                    query: Some(&query), headers: &headers, body: &body, received_at: NOW, ahead_ms: None,
                };
                let found = DOCTOR.examine(&case);
                prop_assert!(!found.proven() && !found.to_string().is_empty());
            }
        }
    }

    #[test]
    fn json_of_any_kind_does_not_panic(body in "[\\[\\]{}:,\"\\\\a1nul u00e9é%=+/]{0,60}", at in -90_000i64..90_000) {
        let query = signed_with("nobody", &body, NOW.plus_ms(at));
        prop_assert!(!DOCTOR.examine(&case(&query, &body, None)).proven());
    }

    #[test]
    fn what_holds_is_no_case_for_the_doctor(body in "[ -~é]{0,60}", at in -60_000i64..=60_000) {
        let query = signed_with("live-key", &body, NOW.plus_ms(at));
        let keys = [AccessKey::new(SecretString::from("live-key"))];
        prop_assert!(verify(Some(&query), body.as_bytes(), &keys, NOW).is_ok());
        prop_assert!(DOCTOR.examine(&case(&query, &body, None)).proven());
    }
}
