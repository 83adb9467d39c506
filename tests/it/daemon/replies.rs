//! What is answered to calls that are not as the protocol says (product.md §6, §9; protocol.md 4.1, 5.1 to 5.3).

use super::market::Market;
use super::wire::{but, date_in_days, freeze, release, renewal};
use super::{ACCESS_KEY, Daemon, Signed, nonce, now, signed, signed_at, signed_bytes, wait_until};
use authcoded::domain::time::Timestamp;
use authcoded::protocol::callback_auth::{AccessKey, sign};
use secrecy::SecretString;
use serde_json::{Value, json};

/// The three parameters of a good call, to be put together in another way.
struct Parts {
    body: Vec<u8>,
    signature: String,
    timestamp: String,
    nonce: String,
}

impl Parts {
    fn new(body: &Value) -> Self {
        let (at, nonce) = (now(), nonce());
        Self::at(body, at, nonce)
    }

    fn at(body: &Value, at: Timestamp, nonce: String) -> Self {
        let body = body.to_string().into_bytes();
        let key = AccessKey::new(SecretString::from(ACCESS_KEY));
        let signature = sign(&key, &body, at, &nonce);
        Self { body, signature, timestamp: at.as_ms().to_string(), nonce }
    }

    fn call(&self, query: &str) -> Signed {
        let query = query
            .replace("{s}", &self.signature)
            .replace("{t}", &self.timestamp)
            .replace("{n}", &self.nonce);
        let headers = vec![("content-type", "application/json")];
        Signed { query, body: self.body.clone(), headers }
    }
}

#[tokio::test]
async fn each_parameter_stands_once_and_in_its_form() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let body = renewal("PL1", "CS-1", &date_in_days(400));
    let parts = Parts::new(&body);
    for (query, expected) in [
        ("", "000001"),
        ("timestamp={t}&nonce={n}", "000001"),
        ("signature=&timestamp={t}&nonce={n}", "000001"),
        ("signature=00&timestamp={t}&nonce={n}", "000001"),
        ("signature={s}0&timestamp={t}&nonce={n}", "000001"),
        ("signature={s}&timestamp={t}0&nonce={n}", "000002"),
        ("signature={s}&timestamp=0{t}&nonce={n}", "000002"),
        ("signature={s}&timestamp=%20{t}&nonce={n}", "000002"),
        ("signature={s}&timestamp=abc&nonce={n}", "000002"),
        ("signature={s}&timestamp=&nonce={n}", "000002"),
        ("signature={s}&nonce={n}", "000002"),
        ("signature={s}&timestamp={t}", "000002"),
        ("signature={s}&timestamp={t}&nonce=", "000002"),
        ("signature={s}&signature={s}&timestamp={t}&nonce={n}", "000002"),
        ("signature={s}&timestamp={t}&timestamp={t}&nonce={n}", "000002"),
        ("signature={s}&timestamp={t}&nonce={n}&nonce={n}", "000002"),
        ("signature={s}&timestamp={t}&nonce=x{n}", "000001"),
        ("Signature={s}&timestamp={t}&nonce={n}", "000001"),
    ] {
        assert_eq!(daemon.reply(&parts.call(query)).await, expected, "{query}");
    }
    assert_eq!(daemon.state("PL1").await, "activated");
    // In any order, beside the parameter that one guide prints, in capitals.
    let call = parts.call("nonce={n}&contentType=application%2Fjson&timestamp={t}&signature={s}");
    let loud = call.query.replace(&parts.signature, &parts.signature.to_uppercase());
    assert_eq!(daemon.reply(&Signed { query: loud, ..call }).await, "000000");
    assert_eq!(daemon.state("PL1").await, "renewed");
}

#[tokio::test]
async fn a_digit_cannot_move_from_the_nonce_to_the_timestamp() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let body = but(&freeze("PL1"), "testFlag", json!("1"));
    let parts = Parts::at(&body, now(), format!("{}1", nonce()));
    assert_eq!(daemon.reply(&parts.call("signature={s}&timestamp={t}&nonce={n}")).await, "000000");
    let moved = Parts {
        timestamp: format!("1{}", parts.timestamp),
        nonce: parts.nonce.strip_suffix('1').expect("it ends so").to_owned(),
        ..parts
    };
    assert_eq!(daemon.reply(&moved.call("signature={s}&timestamp={t}&nonce={n}")).await, "000002");
}

#[tokio::test]
async fn only_calls_signed_now_with_a_live_key_are_authentic() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let body = freeze("PL1");
    for ms in [61_000, -61_500] {
        let call = signed_at(&body, now().plus_ms(-ms), &nonce());
        assert_eq!(daemon.reply(&call).await, "000001", "{ms} ms old");
    }
    let stranger = AccessKey::new(SecretString::from("not-the-key-that-was-bound"));
    let (at, nonce) = (now(), nonce());
    let json = body.to_string();
    let signature = sign(&stranger, json.as_bytes(), at, &nonce);
    let query = format!("signature={signature}&timestamp={}&nonce={nonce}", at.as_ms());
    assert_eq!(daemon.reply(&Signed { query, ..signed(&body) }).await, "000001");
    let other = Signed { body: json.replace("PL1", "PL2").into_bytes(), ..signed(&body) };
    assert_eq!(daemon.reply(&other).await, "000001", "another body");
    assert_eq!(daemon.state("PL1").await, "activated");
    for ms in [55_000, -55_000] {
        let test = but(&body, "testFlag", json!("1"));
        let call = signed_at(&test, now().plus_ms(-ms), &super::nonce());
        assert_eq!(daemon.reply(&call).await, "000000", "{ms} ms old");
    }
    // The sorted, compact, null-free form is as good as the raw body (protocol.md 5.2).
    let sent = format!(" {{\"testFlag\":\"0\", \"x\":null, \"status\":\"FREEZE\",\n{}", &json[1..]);
    let sent = sent.replace(r#","status":"FREEZE","testFlag":"0""#, "");
    let call = Signed { body: sent.into_bytes(), ..signed(&body) };
    assert_eq!(daemon.reply(&call).await, "000000");
    assert_eq!(daemon.state("PL1").await, "frozen");
}

#[tokio::test]
async fn two_access_keys_are_live_while_one_replaces_the_other() {
    let market = Market::start().await;
    let daemon = Daemon::with(super::Setup {
        endpoints: vec![market.http()],
        access_keys: vec!["the-new-access-key", ACCESS_KEY],
        ..super::Setup::default()
    })
    .await;
    let body = but(&freeze("PL1"), "testFlag", json!("1"));
    assert_eq!(daemon.callback(&body).await, "000000", "the old key");
    let key = AccessKey::new(SecretString::from("the-new-access-key"));
    let (at, nonce) = (now(), nonce());
    let signature = sign(&key, body.to_string().as_bytes(), at, &nonce);
    let query = format!("signature={signature}&timestamp={}&nonce={nonce}", at.as_ms());
    assert_eq!(daemon.reply(&Signed { query, ..signed(&body) }).await, "000000", "the new key");
}

#[tokio::test]
async fn fields_that_are_missing_overlong_or_unheard_of_are_malformed() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let long = "码".repeat(65);
    let renewal = renewal("PL1", "CS-1", &date_in_days(400));
    let (freeze, release) = (freeze("PL1"), release("PL1", Some("CS-2")));
    let mut cases = Vec::new();
    for field in ["activity", "license", "scene", "orderId", "orderLineId", "expireTime"] {
        cases.push(but(&renewal, field, Value::Null));
        for bad in [json!(""), json!(7), json!(["x"]), json!({"x": "y"}), json!(true)] {
            cases.push(but(&renewal, field, bad));
        }
    }
    for field in ["license", "orderId", "orderLineId", "productId"] {
        cases.push(but(&renewal, field, json!(long)));
        cases.push(but(&renewal, field, json!("a\u{7}b")));
    }
    for bad in [
        "2027",
        "20271301000000",
        "20270230000000",
        "20270101240000",
        "2027-01-01 00:00",
        "２０２７０１０１００００００",
    ] {
        cases.push(but(&renewal, "expireTime", json!(bad)));
    }
    cases.push(but(&renewal, "activity", json!("newInstance")));
    cases.push(but(&renewal, "activity", json!("RefreshLicenseCode")));
    cases.push(but(&renewal, "scene", json!("TRIAL_TO_FORMAL")));
    cases.push(but(&freeze, "status", json!("NORMAL")));
    cases.push(but(&freeze, "status", Value::Null));
    cases.push(but(&freeze, "license", Value::Null));
    cases.push(but(&release, "orderId", json!(long)));
    cases.push(but(&release, "license", json!(long)));
    for bad in [json!("2"), json!("true"), json!(1)] {
        cases.push(but(&freeze, "testFlag", bad));
    }
    for body in &cases {
        assert_eq!(daemon.callback(body).await, "000002", "{body}");
        // The debug console's own calls must be as good (product.md §6).
        if body.get("testFlag") == Some(&json!("0")) {
            let test = but(body, "testFlag", json!("1"));
            assert_eq!(daemon.callback(&test).await, "000002", "{test}");
        }
    }
    assert_eq!(market.count(), 0, "nothing was asked for a malformed call");
    let fits = but(&renewal, "productId", json!("码".repeat(64)));
    assert_eq!(daemon.callback(&but(&fits, "license", json!("码".repeat(64)))).await, "000000");
    assert_eq!(daemon.callback(&but(&renewal, "news", json!({"any": [1]}))).await, "000000");
}

#[tokio::test]
async fn bodies_that_are_no_plain_json_object_are_malformed() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let good = freeze("PL1").to_string();
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let twice = format!("{{\"status\":\"UNFREEZE\",{}", &good[1..]);
    let bom = format!("\u{feff}{good}");
    for body in [
        "",
        "null",
        "[]",
        "\"x\"",
        "{",
        "activity=x",
        &deep,
        &twice,
        &bom,
        &format!("{good}{good}"),
    ] {
        let call = signed_bytes(body.as_bytes(), now(), &nonce());
        assert_eq!(daemon.reply(&call).await, "000002", "{body:.60}");
    }
    let gbk = signed_bytes(b"{\"license\":\"\xc2\xeb\"}", now(), &nonce());
    assert_eq!(daemon.reply(&gbk).await, "000002");
    for encoding in ["gzip", "br", "deflate, gzip"] {
        let mut call = signed_bytes(good.as_bytes(), now(), &nonce());
        call.headers.push(("content-encoding", encoding));
        assert_eq!(daemon.reply(&call).await, "000002", "{encoding}");
    }
    let mut call = signed_bytes(good.as_bytes(), now(), &nonce());
    call.headers = vec![("content-type", "text/plain"), ("content-encoding", "identity")];
    assert_eq!(daemon.reply(&call).await, "000000", "the content type is not ours to judge");
}

#[tokio::test]
async fn a_refused_call_is_recorded_and_changes_nothing() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    daemon.activated("PL1").await;
    let before = (daemon.license("PL1").await, daemon.events("PL1").await);
    let body = but(&renewal("PL1", "CS-1", "20990101000000"), "scene", json!("NO_SCENE"));
    assert_eq!(daemon.callback(&body).await, "000002");
    let forged =
        Signed { query: "signature=00&timestamp=1&nonce=x".to_owned(), ..signed(&freeze("PL1")) };
    assert_eq!(daemon.reply(&forged).await, "000002");
    wait_until("both are recorded", async || {
        let items = daemon.items("/v1/callbacks?verdict=refused").await;
        let ours = |activity: &str, signed: bool| {
            items.iter().any(|callback| {
                callback["activity"] == activity
                    && callback["result_code"] == "000002"
                    && callback["signed_at"].is_string() == signed
            })
        };
        let forged = ours("updateLicenseCodeStatus", false);
        (ours("refreshLicenseCode", true) && forged).then_some(())
    })
    .await;
    assert_eq!((daemon.license("PL1").await, daemon.events("PL1").await), before);
}
