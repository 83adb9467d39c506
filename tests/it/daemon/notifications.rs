//! Whoever is to be told of an alarm is told once, in the format of the channel, whatever fails in between.

use super::wire::{date_in_days, renewal};
use super::{Daemon, PATH, Setup, wait_until, wait_within};
use crate::peer::{Peer, Say as Answer};
use crate::standins::{
    Heard, MailServer, Proxy, Receiver, Say, feishu_fault, robot_fault, webhook_fault,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr";
const ROBOT_TOKEN: &str = "tokenOfTheRobot-0123456789";
const DINGTALK_SECRET: &str = "SECofDingtalk0123456789";
const FEISHU_SECRET: &str = "secretOfFeishu0123456789";
const FEISHU_PATH: &str = "/open-apis/bot/v2/hook/feishuHook-0123456789";
const MAIL_PASSWORD: &str = "passwordOfTheMailbox";
/// A failed message is tried again after 5 s, then after 10 s.
const RETRIES: Duration = Duration::from_mins(1);

/// What the stand-ins did not like.
type Faults = Arc<Mutex<Vec<String>>>;

/// Secret files of channels, and the sections that name them.
struct Channels {
    folder: TempDir,
    sections: String,
}

impl Channels {
    fn new(alarms: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let sections = format!("[alarms]\nname = \"shop-1\"\n{alarms}\n");
        Self { folder, sections }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, owner_only).expect("its mode");
        format!("{:?}", path.to_str().expect("UTF-8"))
    }

    fn add(&mut self, name: &str, kind: &str, url: &str, secret: Option<&str>, more: &str) {
        let url = self.file(&format!("{name}-url"), url);
        let secret = secret.map_or_else(String::new, |secret| {
            format!("secret-file = {}\n", self.file(&format!("{name}-secret"), secret))
        });
        let section = format!(
            "[[notify]]\nname = \"{name}\"\nkind = \"{kind}\"\nurl-file = {url}\n{secret}{more}\n"
        );
        self.sections.push_str(&section);
    }

    fn add_mail(&mut self, port: u16) {
        let password = self.file("password", MAIL_PASSWORD);
        let section = format!(
            "[[notify]]\nname = \"mail\"\nkind = \"smtp\"\nserver = \"127.0.0.1\"\nport = {port}\n\
             tls = \"none\"\nuser = \"authcoded\"\npassword-file = {password}\n\
             from = \"authcoded@example.com\"\nto = [\"ops@example.com\"]\nlanguage = \"en\"\n"
        );
        self.sections.push_str(&section);
    }
}

/// Answers `refusal` the first `failing` times, then takes what `fault` finds no fault with.
fn strict(
    faults: &Faults,
    failing: usize,
    refusal: Say,
    taken: &'static str,
    fault: impl Fn(&Heard) -> Option<String> + Send + Sync + 'static,
) -> Receiver {
    let faults = Arc::clone(faults);
    Receiver::start(move |n, heard| match fault(heard) {
        Some(fault) => {
            faults.lock().expect("not poisoned").push(fault);
            (Say::Reply(400, String::new()), false)
        }
        None if n < failing => (refusal.clone(), false),
        None => (Say::Reply(200, taken.to_owned()), true),
    })
}

/// What a robot was told, or why a message is not about the heartbeat.
fn robot_text(heard: &Heard) -> String {
    let body = heard.json();
    let text = body["text"]["content"].as_str().or(body["content"]["text"].as_str());
    text.expect("a text").to_owned()
}

fn no_secret_in(daemon: &Daemon) {
    let secrets = [
        WEBHOOK_SECRET,
        ROBOT_TOKEN,
        DINGTALK_SECRET,
        FEISHU_SECRET,
        "feishuHook-0123456789",
        MAIL_PASSWORD,
    ];
    for secret in secrets {
        let found = daemon.log().into_iter().find(|line| line.contains(secret));
        assert!(found.is_none(), "{secret} in the log: {found:?}");
    }
}

/// A marketplace that cannot answer.
async fn away() -> Peer {
    Peer::saying(Answer::new(500, "")).await
}

async fn heartbeat(daemon: &Daemon) -> Option<Value> {
    daemon.items("/v1/alarms").await.into_iter().find(|alarm| alarm["kind"] == "heartbeat")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_channel_is_told_once_in_its_format_though_it_fails_first() {
    let faults = Faults::default();
    let refused =
        |code: i64| Say::Reply(200, format!(r#"{{"errcode":{code},"errmsg":"not now"}}"#));
    let hook = strict(&faults, 2, Say::Cut, "", |heard| webhook_fault(heard, WEBHOOK_SECRET));
    let good = r#"{"errcode":0,"errmsg":"ok"}"#;
    let wecom = strict(&faults, 1, refused(45009), good, |heard| {
        robot_fault(heard, ("key", ROBOT_TOKEN), None)
    });
    let dingtalk = strict(&faults, 1, refused(310_000), good, |heard| {
        robot_fault(heard, ("access_token", ROBOT_TOKEN), Some(DINGTALK_SECRET))
    });
    let busy = Say::Reply(200, r#"{"code":11232,"msg":"frequency limited"}"#.to_owned());
    let feishu = strict(&faults, 1, busy, r#"{"code":0,"msg":"success","data":{}}"#, |heard| {
        feishu_fault(heard, FEISHU_PATH, FEISHU_SECRET)
    });
    let mail = MailServer::start(1, "authcoded", MAIL_PASSWORD);
    let proxy = Proxy::start();
    let mut channels = Channels::new("settle-minutes = 0");
    let at = |receiver: &Receiver, target: &str| format!("http://{}{target}", receiver.address);
    channels.add("hook", "webhook", &at(&hook, "/alarms"), Some(WEBHOOK_SECRET), "");
    let english = "language = \"en\"";
    let url = at(&wecom, &format!("/cgi-bin/webhook/send?key={ROBOT_TOKEN}"));
    channels.add("wecom", "wecom", &url, None, english);
    let url = at(&dingtalk, &format!("/robot/send?access_token={ROBOT_TOKEN}"));
    channels.add("dingtalk", "dingtalk", &url, Some(DINGTALK_SECRET), "");
    channels.add("feishu", "feishu", &at(&feishu, FEISHU_PATH), Some(FEISHU_SECRET), english);
    channels.add_mail(mail.address.port());
    let peer = away().await;
    let daemon = Daemon::with(Setup {
        endpoints: vec![format!("http://{}", peer.addr)],
        callback: format!("public-url = \"http://{}{PATH}\"", proxy.address),
        sections: channels.sections.clone(),
        ..Setup::default()
    })
    .await;

    let robots = [&wecom, &dingtalk, &feishu];
    let told = async |count: usize| {
        wait_within(RETRIES, "every channel has its message", async || {
            let all = robots.iter().all(|robot| robot.taken().len() >= count);
            (all && hook.taken().len() >= count && mail.mails().len() >= count).then_some(())
        })
        .await;
    };
    told(1).await;
    let alarm = heartbeat(&daemon).await.expect("it is open");
    assert!(alarm["told_at"].is_string() && alarm["number"].is_i64(), "{alarm}");
    let raised = hook.taken()[0].json();
    assert_eq!(raised["type"], "alarm.raised");
    assert_eq!(
        (&raised["data"]["kind"], &raised["data"]["severity"]),
        (&json!("heartbeat"), &json!("high"))
    );
    assert_eq!(raised["data"]["installation"], "shop-1");
    let ids: BTreeSet<_> =
        hook.all().iter().map(|heard| heard.headers["webhook-id"].clone()).collect();
    assert_eq!(ids.len(), 1, "each try has the same id");
    let id = ids.first().expect("an id");
    for robot in robots {
        let text = robot_text(&robot.taken()[0]);
        assert!(text.starts_with("authcoded ") && text.contains("shop-1"), "{text}");
        assert!(text.contains(id.as_str()), "the id is seen: {text}");
    }
    assert!(robot_text(&dingtalk.taken()[0]).contains("可用性心跳未通过"));
    let first = &mail.mails()[0];
    assert!(first.contains(&format!("Message-ID: <{id}@example.com>")), "{first}");
    assert!(first.contains("Subject: authcoded alarm, high, raised:"), "{first}");

    proxy.repair(daemon.callback_addr());
    let probe = daemon.order("/v1/probes", json!({})).await;
    assert_eq!(probe["outcome"], "ok", "{probe}");
    told(2).await;
    assert_eq!(hook.taken()[1].json()["type"], "alarm.over");
    assert!(robot_text(&wecom.taken()[1]).contains(", over: "));
    assert!(heartbeat(&daemon).await.is_none());
    let cleared = daemon.items("/v1/alarms?state=cleared").await;
    assert_eq!((cleared[0]["kind"].clone(), cleared.len()), (json!("heartbeat"), 1));
    let events = daemon.items("/v1/events?kind=alarm").await;
    let details: Vec<_> = events.iter().filter_map(|event| event["detail"].as_str()).collect();
    assert!(details[0].starts_with("alarm heartbeat is over"), "{details:?}");
    assert!(details[1].starts_with("alarm heartbeat raised (high)"), "{details:?}");

    assert_eq!(*faults.lock().expect("not poisoned"), Vec::<String>::new());
    let counts = robots.map(|robot| robot.taken().len());
    assert_eq!((counts, hook.taken().len(), mail.mails().len()), ([2, 2, 2], 2, 2));
    no_secret_in(&daemon);
}

/// Whatever kills the daemon, and whatever the receiver does: each cause is told, under one id.
#[tokio::test(flavor = "multi_thread")]
async fn no_message_is_lost_or_doubled_over_kills() {
    const ROUNDS: usize = 8;
    const FAULTY: usize = 12;
    let seed = std::process::id();
    eprintln!("seed {seed}");
    let mut dice = u64::from(seed) | 1;
    let mut roll = move |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let hook = Receiver::start(|n, heard| {
        assert_eq!(webhook_fault(heard, WEBHOOK_SECRET), None);
        match n % 3 {
            // Taken, and the daemon does not learn of it.
            0 if n < FAULTY => (Say::Cut, true),
            1 if n < FAULTY => (Say::Reply(503, String::new()), false),
            _ => (Say::Reply(204, String::new()), true),
        }
    });
    let mut channels = Channels::new("");
    let url = format!("http://{}/", hook.address);
    channels.add("hook", "webhook", &url, Some(WEBHOOK_SECRET), "show-codes = false");
    let peer = away().await;
    let mut daemon = Daemon::with(Setup {
        endpoints: vec![format!("http://{}", peer.addr)],
        sections: channels.sections.clone(),
        ..Setup::default()
    })
    .await;
    for round in 0..ROUNDS {
        let code = format!("PL{round}");
        daemon.register(&code, true).await;
        daemon.order(&format!("/v1/licenses/{code}/release"), json!({})).await;
        assert_eq!(daemon.callback(&renewal(&code, "CS1", &date_in_days(30))).await, "000003");
        // Asking for an alarm that is not there looks at all of them.
        let reason = json!({"reason": "x"});
        let look = daemon.admin("POST", "/v1/alarms/none/acknowledge", &reason);
        let _ = tokio::time::timeout(Duration::from_millis(roll(60)), look).await;
        tokio::time::sleep(Duration::from_millis(roll(40))).await;
        daemon.kill();
        daemon.again().await;
    }
    let causes: BTreeSet<String> = daemon
        .items("/v1/events?kind=contradiction")
        .await
        .iter()
        .map(|event| format!("contradiction-{}", event["id"]))
        .collect();
    assert_eq!(causes.len(), ROUNDS);
    wait_within(RETRIES * 2, "every message has arrived and is recorded", async || {
        let text = daemon.plain(daemon.request("GET", daemon.admin_addr(), "/metrics")).await.text;
        let told: BTreeSet<_> = hook
            .taken()
            .iter()
            .filter_map(|heard| heard.json()["data"]["id"].as_str().map(str::to_owned))
            .collect();
        let all = causes.iter().all(|cause| told.contains(cause));
        (all && text.contains("authcoded_notifications_waiting 0\n")).then_some(())
    })
    .await;
    let mut ids: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut bodies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for heard in hook.all() {
        let id = heard.headers["webhook-id"].clone();
        let data = heard.json()["data"].clone();
        let code = &data["code"];
        assert!(code.is_null() || code == "…", "no code is shown: {data}");
        let cause = data["id"].as_str().expect("a cause").to_owned();
        ids.entry(cause).or_default().insert(id.clone());
        bodies.entry(id).or_default().insert(heard.body);
    }
    for cause in &causes {
        assert_eq!(ids[cause].len(), 1, "{cause} was told twice: {ids:?}");
    }
    assert!(bodies.values().all(|bodies| bodies.len() == 1), "each try says the same: {bodies:?}");
    let told = hook.all().len();
    println!("{ROUNDS} kills: {} causes, {told} requests, {} ids", causes.len(), bodies.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_keeps_its_time_over_restarts_and_can_be_acknowledged() {
    let proxy = Proxy::start();
    let peer = away().await;
    let mut daemon = Daemon::with(Setup {
        endpoints: vec![format!("http://{}", peer.addr)],
        callback: format!("public-url = \"http://{}{PATH}\"", proxy.address),
        ..Setup::default()
    })
    .await;
    let first = wait_until("it is written down", async || {
        heartbeat(&daemon).await.filter(|alarm| alarm["number"].is_i64())
    })
    .await;
    let none =
        daemon.admin("POST", "/v1/alarms/nothing/acknowledge", &json!({"reason": "x"})).await;
    assert_eq!(none.status, 404, "{}", none.text);
    for body in [json!({}), json!({"reason": " "})] {
        let refused = daemon.admin("POST", "/v1/alarms/heartbeat/acknowledge", &body).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
    }
    let reason = json!({"reason": "certificate ordered"});
    let alarm = daemon.order("/v1/alarms/heartbeat/acknowledge", reason).await;
    assert_eq!(alarm["acknowledged"], "certificate ordered");
    daemon.kill();
    daemon.again().await;
    // A newer probe has failed since; the alarm is the one of before.
    wait_until("the heartbeat of the start has failed", async || {
        let probes = daemon.items("/v1/probes").await;
        (probes.len() == 2).then_some(())
    })
    .await;
    let again = heartbeat(&daemon).await.expect("it is open");
    assert_eq!((&again["since"], &again["number"]), (&first["since"], &first["number"]));
    assert_eq!(again["acknowledged"], "certificate ordered");
    let operator = daemon.items("/v1/events?kind=alarm&source=operator").await;
    assert_eq!(operator.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_message_tells_of_each_channel_how_it_fared() {
    let good = Receiver::start(|_, _| (Say::Reply(204, String::new()), true));
    let bad = r#"{"errcode":310000,"errmsg":"sign not match tokenOfTheRobot-0123456789"}"#;
    let bad = Receiver::start(move |_, _| (Say::Reply(200, bad.to_owned()), false));
    let mut channels = Channels::new("");
    channels.add("good", "webhook", &format!("http://{}/", good.address), Some(WEBHOOK_SECRET), "");
    let url = format!("http://{}/send?access_token={ROBOT_TOKEN}", bad.address);
    channels.add("bad", "dingtalk", &url, None, "min-severity = \"emergency\"");
    // A redirect is not followed, and takes nothing.
    let moved = Receiver::start(|_, _| (Say::Reply(302, String::new()), false));
    let url = format!("http://{}/", moved.address);
    channels.add("moved", "webhook", &url, Some(WEBHOOK_SECRET), "");
    let peer = away().await;
    let endpoints = vec![format!("http://{}", peer.addr)];
    let setup = Setup { endpoints, sections: channels.sections.clone(), ..Setup::default() };
    let daemon = Daemon::with(setup).await;
    let tested = daemon.order("/v1/alarms/test", json!({})).await;
    let items = tested["items"].as_array().expect("a list");
    assert_eq!((&items[0]["channel"], &items[0]["outcome"]), (&json!("good"), &json!("sent")));
    assert_eq!((&items[1]["channel"], &items[1]["outcome"]), (&json!("bad"), &json!("failed")));
    let why = items[1]["error"].as_str().expect("why");
    assert!(why.contains("310000") && !why.contains(ROBOT_TOKEN), "{why}");
    assert_eq!((&items[2]["channel"], &items[2]["outcome"]), (&json!("moved"), &json!("failed")));
    assert_eq!(items[2]["error"], "it answered HTTP 302");
    assert_eq!(good.taken()[0].json()["type"], "alarm.test");
    let one = daemon.order("/v1/alarms/test", json!({"channel": "good"})).await;
    assert_eq!(one["items"].as_array().map(Vec::len), Some(1));
    let none = daemon.admin("POST", "/v1/alarms/test", &json!({"channel": "other"})).await;
    assert_eq!(none.status, 404);
    no_secret_in(&daemon);
}
