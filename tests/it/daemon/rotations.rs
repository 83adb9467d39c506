//! Keys beside that of callbacks (whose rotation is in `reloads`): each is rotated under load, and not one
//! authentic call is refused.

use super::leases::{key_set, lease_of, verified};
use super::market::{Market, alive};
use super::wire::date_in_days;
use super::{ADMIN_TOKEN, Daemon, SOFTWARE_TOKEN, wait_until};
use crate::peer::{AK, NEXT_AK, NEXT_SK, Peer, Say, listener};
use jsonwebtoken::decode_header;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

const REFUSED: &str =
    r#"{"error_code":"APIGW.0301","error_msg":"Incorrect IAM authentication information"}"#;
const NEXT_ADMIN_TOKEN: &str = "the-next-admin-token-of-tests-0003";
const NEXT_SOFTWARE_TOKEN: &str = "the-next-software-token-of-tests-0004";

/// Four at a time do the same without pause while a key is rotated.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    done: AtomicUsize,
}

impl Load {
    async fn beside(&self, work: &impl AsyncFn(usize), rotation: impl Future<Output = ()>) {
        let worker = async |n| {
            while !self.over.load(Ordering::Relaxed) {
                work(n).await;
                self.done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let rotation = async {
            rotation.await;
            self.over.store(true, Ordering::Relaxed);
        };
        tokio::join!(worker(0), worker(1), worker(2), worker(3), rotation);
    }

    /// Waits for twenty more: whatever was under way before is over then.
    async fn more(&self) {
        let from = self.done.load(Ordering::Relaxed);
        wait_until("the load to go on", async || {
            (self.done.load(Ordering::Relaxed) > from + 20).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn ak_and_sk_are_rotated_under_load_without_a_refused_call() {
    let live = Arc::new(Mutex::new(vec![AK]));
    let (asked, end) = (Arc::clone(&live), date_in_days(365));
    let peer = Peer::deciding(listener().await, move |seen| {
        let live = asked.lock().expect("not poisoned");
        let known = seen.signed_by.is_some_and(|key| live.contains(&key));
        if known { alive(&end) } else { Say::new(401, REFUSED) }
    });
    let daemon = Daemon::start(&[peer.http()]).await;
    let codes = ["PL1", "PL2", "PL3", "PL4"];
    for code in codes {
        daemon.register(code, true).await;
    }
    let load = Load::default();
    let ask = async |n: usize| {
        let path = format!("/v1/licenses/{}/query", codes[n]);
        daemon.order(&path, json!({})).await;
    };
    load.beside(&ask, async {
        load.more().await;
        // The second pair, made in the account.
        *live.lock().expect("not poisoned") = vec![AK, NEXT_AK];
        daemon.put("ak", NEXT_AK);
        daemon.put("sk", NEXT_SK);
        assert_eq!(daemon.reload().await["level"], "INFO");
        load.more().await;
        // The first pair, deleted there.
        *live.lock().expect("not poisoned") = vec![NEXT_AK];
        load.more().await;
    })
    .await;
    let by: Vec<_> = peer.seen().into_iter().map(|seen| seen.signed_by).collect();
    for key in [AK, NEXT_AK] {
        assert!(by.iter().filter(|by| **by == Some(key)).count() > 20, "{key} was under load");
    }
    let first_new = by.iter().position(|by| *by == Some(NEXT_AK)).expect("a call");
    let late = by[first_new..].iter().filter(|by| **by == Some(AK)).count();
    assert!(late < codes.len(), "only what was under way was signed with the old one: {late}");
    let refused = daemon.lines().into_iter().find(|line| line["http"] == 401);
    assert_eq!(refused, None);
}

#[tokio::test]
async fn tokens_are_rotated_under_load_without_a_refused_request() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let held = Mutex::new([ADMIN_TOKEN, SOFTWARE_TOKEN]);
    let load = Load::default();
    let ask = async |n: usize| {
        let [admin, software] = *held.lock().expect("not poisoned");
        let (to, path, token) = match n % 2 {
            0 => (daemon.admin_addr(), "/v1/summary", admin),
            _ => (daemon.software_addr(), "/v1/entitlements/PL1", software),
        };
        let answer = daemon.plain(daemon.request("GET", to, path).bearer_auth(token)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    };
    load.beside(&ask, async {
        load.more().await;
        daemon.put("admin-token", NEXT_ADMIN_TOKEN);
        daemon.put("software-token", NEXT_SOFTWARE_TOKEN);
        assert_eq!(daemon.reload().await["level"], "INFO");
        // Nobody has read the new ones yet.
        load.more().await;
        *held.lock().expect("not poisoned") = [NEXT_ADMIN_TOKEN, NEXT_SOFTWARE_TOKEN];
        load.more().await;
    })
    .await;
    let shown = daemon.log().into_iter().find(|line| line.contains(NEXT_ADMIN_TOKEN));
    assert_eq!(shown, None);
}

/// The software keeps the key set, and fetches it anew only for a key that it does not know.
#[tokio::test]
async fn the_lease_key_is_rotated_under_load_and_every_lease_holds() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let kid = |lease: &str| decode_header(lease).expect("a header").kid.expect("a kid");
    let kept = Mutex::new(key_set(&daemon).await);
    let leases = Mutex::new(BTreeSet::new());
    let load = Load::default();
    let ask = async |_: usize| {
        let lease = lease_of(&daemon, "PL1").await;
        let known = kept.lock().expect("not poisoned").find(&kid(&lease)).is_some();
        if !known {
            let fresh = key_set(&daemon).await;
            *kept.lock().expect("not poisoned") = fresh;
        }
        let holds = verified(&lease, &kept.lock().expect("not poisoned"), "PL1").is_some();
        assert!(holds, "the key of {} is not told", kid(&lease));
        leases.lock().expect("not poisoned").insert(lease);
    };
    load.beside(&ask, async {
        for time in 1..=3 {
            load.more().await;
            let reason = json!({"reason": format!("rotation {time}")});
            let keys: Value = daemon.order("/v1/lease-keys/rotate", reason).await;
            let lease = lease_of(&daemon, "PL1").await;
            assert_eq!(keys["kid"], json!(kid(&lease)), "in force at once");
        }
        load.more().await;
    })
    .await;
    let leases = leases.into_inner().expect("not poisoned");
    let kids: BTreeSet<_> = leases.iter().map(|lease| kid(lease)).collect();
    assert_eq!(kids.len(), 4, "each key has signed under load");
    let set = key_set(&daemon).await;
    for lease in &leases {
        assert!(verified(lease, &set, "PL1").is_some(), "what was signed before holds to its end");
    }
}
