//! Each page in both languages, what it shows, and that nothing from outside becomes markup.

use super::super::market::Market;
use super::super::wire::{date_in_days, freeze, renewal};
use super::super::{Daemon, wait_until};
use super::{Browser, between};
use serde_json::json;

use super::super::market::Api::Activate;
use super::super::market::error;

/// A daemon with something on each page.
async fn lived_in() -> (Market, Daemon) {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    daemon.callback(&renewal("PL1", "CS-1", &date_in_days(365))).await;
    daemon.callback(&freeze("PL1")).await;
    market.says(Activate, "PL2", [error(200, "92020004")]);
    daemon.order("/v1/licenses", json!({"code": "PL2"})).await;
    daemon.until_kind("PL2", "activation_waiting").await;
    (market, daemon)
}

#[tokio::test]
async fn each_page_is_there_in_both_languages() {
    let (_market, daemon) = lived_in().await;
    let browser = Browser::signed_in(&daemon).await;
    let callback = daemon.last_callback("PL1").await["id"].clone();
    let callback = format!("/callbacks/{callback}");
    let titles = [
        ("/", "总览", "Overview"),
        ("/licenses", "授权码", "Codes"),
        ("/licenses/PL1", "PL1", "PL1"),
        ("/licenses/PL2?act=activate", "PL2", "PL2"),
        ("/callbacks", "回调", "Callbacks"),
        (&callback, "回调", "Callback"),
        ("/jobs", "任务与心跳", "Jobs and heartbeats"),
        ("/drift", "与云商店核对", "Compare with KooGallery"),
        ("/settings", "设置", "Settings"),
    ];
    for (lang, other) in [("zh-CN", "en"), ("en", "zh-CN")] {
        let fields = [("lang", lang), ("zone", "Europe/Berlin")];
        let kept = browser.submit("/settings", &fields).await;
        assert_eq!(kept.status, 303);
        for (path, zh, en) in titles {
            let page = browser.page(path).await;
            let title = if lang == "en" { en } else { zh };
            assert!(page.starts_with("<!DOCTYPE html>"));
            assert!(page.contains(&format!("<html lang=\"{lang}\">")), "{path}");
            assert!(between(&page, "<title>", "<").starts_with(title), "{path} {lang}");
            assert_eq!(page.matches("<h1>").count(), 1, "{path}");
            assert!(page.contains(&format!("name=\"lang\" value=\"{other}\"")), "{path}");
            assert!(page.contains("Europe/Berlin (UTC+0"), "the zone is named: {path}");
            let chinese = page.chars().filter(|c| ('\u{4e00}'..='\u{9fff}').contains(c)).count();
            // The other language's own name is the only Chinese on an English page.
            let names = page.matches("中文").count() * 2;
            assert!(if lang == "en" { chinese == names } else { chinese > 40 }, "{path} {lang}");
        }
    }
}

#[tokio::test]
async fn the_browsers_language_is_spoken_until_another_is_chosen() {
    let (_market, daemon) = lived_in().await;
    let browser = Browser::speaking(&daemon, "zh-CN,zh;q=0.9,en;q=0.5");
    assert!(browser.page("/sign-in").await.contains("管理令牌"));
    let chosen = browser.post("/settings", &[("lang", "en"), ("back", "/jobs")]).await;
    assert_eq!((chosen.status, chosen.header("location")), (303, "/jobs"));
    assert!(chosen.header("set-cookie").contains("SameSite=Strict"));
    assert!(browser.page("/sign-in").await.contains("Admin token"));
    let bad = browser.post("/settings", &[("zone", "Asia/Nowhere")]).await;
    assert_eq!(bad.status, 400);
    assert!(bad.text.contains("no such zone"), "{}", bad.text);
}

#[tokio::test]
async fn the_front_says_what_needs_a_human_and_how_things_stand() {
    let (market, daemon) = lived_in().await;
    let browser = Browser::signed_in(&daemon).await;
    let page = browser.page("/").await;
    assert!(page.contains("Nothing needs you."));
    assert!(page.contains("Waiting for the buyer (1)"));
    assert!(page.contains("<a class=\"code\" href=\"/licenses/PL2\">PL2</a>"));
    assert_eq!(page.matches("<td class=\"outcome-ok\"").count(), 1, "this half-day's heartbeat");
    assert_eq!(page.matches("<td class=\"outcome-none\"").count(), 27);
    assert!(page.contains("<svg class=\"bar\""));
    let frozen = between(&page, "/licenses?state=frozen\">", "</tr>");
    assert!(frozen.contains("<td class=\"number\">1</td>"), "{frozen}");
    assert!(page.contains("verdict-applied"));

    // A refused access key is an alarm with its remedy, in the viewer's language.
    market.trouble(Some(error(401, "APIGW.0301")));
    daemon.order("/v1/licenses/PL1/query", json!({})).await;
    let page = browser.page("/").await;
    let alarm = between(&page, "<article class=\"alarm alarm-high\">", "</article>");
    assert!(alarm.contains("the marketplace refused our access key"), "{alarm}");
    assert!(alarm.contains("check the clock"), "{alarm}");
    let kept = browser.submit("/settings", &[("lang", "zh-CN")]).await;
    assert_eq!(kept.status, 303);
    assert!(browser.page("/").await.contains("云商店拒绝了访问密钥"));
    market.trouble(None);
}

#[tokio::test]
async fn a_code_has_its_facts_its_answer_and_one_timeline() {
    let (market, daemon) = lived_in().await;
    let browser = Browser::signed_in(&daemon).await;
    let asked = market.count();
    let page = browser.page("/licenses/PL1").await;
    assert_eq!(market.count(), asked, "looking asks nobody");
    assert!(page.contains("decision-deny\">deny"), "{page}");
    assert!(page.contains("<code>frozen</code>"));
    let timeline = between(&page, "<section id=\"timeline\">", "</section>");
    let rows: Vec<&str> = timeline.split("<tr class=\"kind-").skip(1).collect();
    let kinds: Vec<&str> = rows.iter().map(|row| row.split('"').next().expect("a kind")).collect();
    let events = daemon.kinds("PL1").await;
    assert_eq!(kinds.len(), events.len() + 2, "{kinds:?}");
    let (mut told, mut callbacks) = (Vec::new(), 0);
    for kind in kinds.iter().rev() {
        if *kind == "callback" {
            callbacks += 1;
        } else {
            told.push((*kind).to_owned());
        }
    }
    assert_eq!((told, callbacks), (events, 2));
    let frozen_at = kinds.iter().position(|kind| *kind == "frozen").expect("a freeze");
    assert_eq!(kinds[frozen_at + 1], "callback", "its cause stands below it: {kinds:?}");
    assert_eq!(browser.get("/licenses/PL9").await.status, 404);
    let callback = daemon.last_callback("PL1").await;
    let page = browser.page(&format!("/callbacks/{}", callback["id"])).await;
    let request = callback["request_id"].as_str().expect("an id");
    let reply = callback["reply"].as_str().expect("a reply").replace('"', "&quot;");
    for part in [
        "What came",
        "What was decided",
        "What was answered",
        "FREEZE",
        "000000",
        "POST /",
        "signature=sha256:",
        request,
        &reply,
    ] {
        assert!(page.contains(part), "{part}");
    }
    for id in ["0", "99999", "x", "-1"] {
        assert_eq!(browser.get(&format!("/callbacks/{id}")).await.status, 404, "{id}");
    }
}

#[tokio::test]
async fn nothing_that_comes_from_outside_is_markup() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let code = "<script>alert(1)</script>&\"'";
    let body = json!({"code": code, "activate": false, "note": "<img src=x onerror=alert(2)>",
                      "order_id": "<b>\"order\"</b>", "product_id": "'><svg onload=alert(3)>"});
    daemon.order("/v1/licenses", body).await;
    daemon.callback(&renewal(code, "<i>CS</i>", &date_in_days(9))).await;
    daemon.callback(&json!({"activity": "<u>odd</u>", "license": code, "testFlag": "0"})).await;
    let browser = Browser::signed_in(&daemon).await;
    let path = format!("/licenses/{}", super::encoded(code));
    let callbacks = daemon.items("/v1/callbacks").await;
    let mut paths = vec![
        path.clone(),
        format!("{path}?act=release"),
        format!("{path}?told=%3Cscript%3E"),
        "/".to_owned(),
        "/licenses".to_owned(),
        format!("/licenses?text={}", super::encoded(code)),
        "/callbacks".to_owned(),
        format!("/callbacks?code={}", super::encoded(code)),
        "/settings".to_owned(),
    ];
    paths.extend(callbacks.iter().map(|callback| format!("/callbacks/{}", callback["id"])));
    let mut seen = 0;
    for path in &paths {
        let page = browser.page(path).await;
        for markup in ["<script>", "<img", "<b>", "<i>", "<u>", "<svg onload"] {
            assert!(!page.contains(markup), "{path}: {markup}");
        }
        seen += page.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count();
    }
    assert!(seen > 6, "{seen}");
    let reason = "<script>reason</script>\nsecond line";
    let act = format!("{path}?act=release");
    let done = browser.submit(&act, &[("act", "release"), ("reason", reason)]).await;
    assert_eq!(done.status, 303);
    let page = browser.page(&path).await;
    assert!(page.contains("reason given: &lt;script&gt;reason&lt;/script&gt;"), "{page}");
}

#[tokio::test]
async fn every_setting_is_shown_and_no_secret() {
    let (_market, daemon) = lived_in().await;
    let browser = Browser::signed_in(&daemon).await;
    let page = browser.page("/settings").await;
    let shipped = include_str!("../../../../packaging/authcoded.toml");
    let mut section = String::new();
    let mut shown = 0;
    for line in shipped.lines() {
        let line = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = format!("{name}.");
        }
        let Some((key, _)) = line.split_once(" = ") else { continue };
        let is_key = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        // These sections are not configured here.
        let absent = ["orders.", "[notify].", "backup."].contains(&section.as_str());
        if is_key && !absent {
            assert!(page.contains(&format!("<code>{section}{key}</code>")), "{section}{key}");
            shown += 1;
        }
    }
    assert!(shown > 30, "{shown}");
    assert!(page.contains("/admin-token</code>"), "the place of a secret");
}

#[tokio::test]
async fn a_heartbeat_is_shown_with_its_steps_and_run_from_the_page() {
    let (_market, daemon) = lived_in().await;
    let browser = Browser::signed_in(&daemon).await;
    let before = daemon.items("/v1/probes").await.len();
    let started = browser.submit("/jobs", &[("job", "heartbeat")]).await;
    assert_eq!((started.status, started.header("location")), (303, "/jobs?told=started"));
    wait_until("another heartbeat", async || {
        (daemon.items("/v1/probes").await.len() > before).then_some(())
    })
    .await;
    let page = browser.page("/jobs?told=started").await;
    assert!(page.contains("The job has been started"));
    let last = between(&page, "<details open>", "</details>");
    assert_eq!(last.matches("<th scope=\"row\">").count(), 10, "{last}");
    assert!(last.contains("a wrong signature is refused"));
    let ordered = daemon.items("/v1/events?kind=operator").await;
    assert_eq!(ordered[0]["detail"], "ordered: run the job heartbeat");
    assert_eq!(browser.submit("/jobs", &[("job", "nonsense")]).await.status, 404);
}
