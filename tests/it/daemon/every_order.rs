//! FREEZE, UNFREEZE and RENEWAL signed in every order, delivered in every order, each of them doubled:
//! what was signed last holds, and nothing happens twice (product.md §3.1).

use super::market::Market;
use super::wire::{date_in_days, freeze, renewal, unfreeze};
use super::{Daemon, nonce, now, signed_at};
use serde_json::{Value, json};

/// The marketplace's acts, by their index.
const ACTS: [&str; 3] = ["FREEZE", "UNFREEZE", "RENEWAL"];
const PERMUTATIONS: [[usize; 3]; 6] =
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
/// The oldest signature of a story lies so far back; the window is a minute.
const OLDEST_MS: i64 = -40_000;
const APART_MS: i64 = 10_000;

fn body(act: usize, code: &str, end: &str) -> Value {
    match ACTS[act] {
        "FREEZE" => freeze(code),
        "UNFREEZE" => unfreeze(code),
        _ => renewal(code, &format!("CS-{code}"), end),
    }
}

#[tokio::test]
async fn what_was_signed_last_holds_whatever_the_order_of_delivery() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let end = date_in_days(400);
    for (story, signed) in PERMUTATIONS.iter().enumerate() {
        for (way, delivered) in PERMUTATIONS.iter().enumerate() {
            let code = format!("PL-{story}{way}");
            let told = || {
                let names = |order: &[usize; 3]| order.map(|act| ACTS[act]).join(", ");
                format!("signed {}, delivered {}", names(signed), names(delivered))
            };
            // What a question after each call is answered: the marketplace knows the renewal.
            market.says(super::market::Api::Query, &code, [super::market::alive(&end)]);
            daemon.activated(&code).await;
            let first = now().plus_ms(OLDEST_MS);
            let mut twice = Vec::new();
            for act in delivered {
                let place =
                    (0i64..).zip(signed).find(|(_, signed)| *signed == act).expect("an act").0;
                let call =
                    signed_at(&body(*act, &code, &end), first.plus_ms(place * APART_MS), &nonce());
                assert_eq!(daemon.reply(&call).await, "000000", "{}", told());
                twice.push(call);
            }
            for late in &twice {
                assert_eq!(daemon.reply(late).await, "000000", "{}, repeated", told());
            }
            let resigned = signed_at(&body(2, &code, &end), now(), &nonce());
            assert_eq!(daemon.reply(&resigned).await, "000000", "{}, signed again", told());

            let freezes = |act: &&usize| **act < 2;
            let frozen = signed.iter().rfind(freezes) == Some(&0);
            let license = daemon.license(&code).await;
            let expected = if frozen { "frozen" } else { "renewed" };
            assert_eq!(license["state"], expected, "{}: {license}", told());
            assert_eq!(license["expires_text"], json!(end), "{}", told());
            let kinds = daemon.kinds(&code).await;
            let count = |kind: &str| kinds.iter().filter(|seen| *seen == kind).count();
            assert_eq!(count("renewed"), 1, "{}: {kinds:?}", told());
            assert!(count("frozen") <= 1 && count("thawed") <= 1, "{}: {kinds:?}", told());
            assert_eq!(count("frozen") - count("thawed"), usize::from(frozen), "{}", told());

            assert_eq!(daemon.callback(&unfreeze(&code)).await, "000000");
            assert_eq!(daemon.state(&code).await, "renewed", "{}, then thawed", told());
        }
    }
}
