//! The marketplace client against a scripted peer: what leaves, what is asked again, what is not.

use crate::peer::{AK, Peer, SK, Say, credentials};
use authcoded::clock::Clock;
use authcoded::domain::license::Code;
use authcoded::domain::slots::Zone;
use authcoded::domain::transition::{ActivationVerdict, Facts, QueryVerdict};
use authcoded::marketplace::{
    Api, BadEndpoint, BatchSizes, BuildError, Call, CallResult, Client, Count, Effort, Settings,
};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpSocket;
use tokio::sync::{Barrier, Notify};

const DONE: &str = r#"{"error_code":"92020000","error_msg":"success"}"#;
const ALIVE: &str = r#"{"error_code":"92020000","data":{"license_code":"PL1","status":"ALIVE"}}"#;
const SHORT: Effort = Effort::Once { deadline: Duration::from_millis(600) };
const LONG: Effort = Effort::Once { deadline: Duration::from_secs(9) };

fn settings(endpoints: &[String]) -> Settings {
    Settings {
        endpoints: endpoints.to_vec(),
        credentials: credentials(),
        extra_ca_pem: None,
        zone: Zone::UTC,
        requests_per_second: 1_000,
        batches: BatchSizes::default(),
    }
}

fn client(endpoints: &[String]) -> Client {
    Client::new(settings(endpoints), Clock::system()).expect("a client")
}

fn code() -> Code {
    Code::parse("PL1").expect("a code")
}

fn alive() -> CallResult<QueryVerdict> {
    CallResult::Verdict(QueryVerdict::Alive(Facts::default()))
}

/// An address that is taken while this lives, and where nobody listens.
struct Closed(TcpSocket);

impl Closed {
    fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        Self(socket)
    }

    fn http(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("its address"))
    }
}

fn why<V: std::fmt::Debug>(call: &Call<V>) -> (bool, &str) {
    match &call.result {
        CallResult::Retry { ambiguous, why } => (*ambiguous, why),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn calls_are_signed_for_what_is_sent() {
    let peer = Peer::in_turn(vec![Say::new(200, DONE), Say::new(200, ALIVE)]).await;
    let client = client(&[peer.http()]);
    assert_eq!((client.reachable(), client.clock_skew_ms()), (None, None));
    let before = Clock::system().now();
    let activated = client.activate(&code(), LONG).await;
    assert_eq!(activated.result, CallResult::Verdict(ActivationVerdict::Done(Facts::default())));
    assert_eq!((activated.http, activated.error_code.as_deref()), (Some(200), Some("92020000")));
    assert!((before..=Clock::system().now()).contains(&activated.asked_at));
    assert_eq!(client.query(&code(), LONG).await.result, alive());
    let paths = ["license/activate", "license/heartbeat"];
    for (seen, path) in peer.seen().iter().zip(paths) {
        assert_eq!(seen.signature, Ok(()));
        assert_eq!(seen.path, format!("/api/mkp-openapi-public/global/v1/{path}"));
        assert_eq!(
            (seen.host.as_str(), seen.content_type.as_str()),
            (&*peer.addr.to_string(), "application/json")
        );
        assert_eq!(seen.user_agent, concat!("authcoded/", env!("CARGO_PKG_VERSION")));
        assert_eq!(seen.body, r#"{"license":"PL1"}"#);
    }
    assert_eq!((client.reachable(), client.clock_skew_ms()), (Some(true), Some(0)));
    let count = |api| Count { api, outcome: "done", requests: 1 };
    assert_eq!(client.counts(), [count(Api::Activate), count(Api::Query)]);
}

#[tokio::test]
async fn a_closed_door_sends_either_call_to_the_other_domain_signed_for_it() {
    let peer = Peer::in_turn(vec![Say::new(200, DONE), Say::new(200, ALIVE)]).await;
    let closed = Closed::new();
    for round in 0..2 {
        let client = client(&[closed.http(), peer.http()]);
        if round == 0 {
            let call = client.activate(&code(), LONG).await;
            assert!(matches!(call.result, CallResult::Verdict(_)), "{call:?}");
        } else {
            assert_eq!(client.query(&code(), LONG).await.result, alive());
        }
        let unsent = client.counts().into_iter().any(|count| count.outcome == "unsent");
        assert!(unsent, "the first domain was tried");
    }
    assert_eq!(peer.count(), 2);
    for seen in peer.seen() {
        assert_eq!((seen.signature, seen.host), (Ok(()), peer.addr.to_string()));
    }
}

#[tokio::test]
async fn a_server_fault_sends_it_there_too_and_the_next_call_starts_there() {
    let first = Peer::saying(Say::new(503, "<html>busy</html>")).await;
    let second = Peer::saying(Say::new(200, ALIVE)).await;
    let client = client(&[first.http(), second.http()]);
    for _ in 0..3 {
        assert_eq!(client.query(&code(), LONG).await.result, alive());
    }
    assert_eq!((first.count(), second.count()), (1, 3));
}

#[tokio::test]
async fn both_domains_down_is_one_try_and_says_whether_it_may_have_been_done() {
    let faulty = Peer::saying(Say::new(500, r#"{"error_code":"92020001"}"#)).await;
    let closed = Closed::new();
    let client = client(&[faulty.http(), closed.http()]);
    let call = client.activate(&code(), LONG).await;
    assert!(why(&call).0, "the first may have done it: {call:?}");
    assert_eq!((faulty.count(), client.reachable()), (1, Some(false)));
    let nobody = self::client(&[closed.http(), closed.http()]);
    let call = nobody.activate(&code(), LONG).await;
    assert!(!why(&call).0, "nothing left: {call:?}");
}

#[tokio::test]
async fn a_lost_activation_is_not_repeated_a_lost_query_is() {
    for lost in [Say::Cut, Say::Hang, Say::Break { http: 200 }, Say::Break { http: 502 }] {
        let first = Peer::saying(lost.clone()).await;
        let second = Peer::saying(Say::new(200, ALIVE)).await;
        let client = client(&[first.http(), second.http()]);
        let call = client.activate(&code(), SHORT).await;
        assert!(why(&call).0, "{call:?}");
        let broken = matches!(lost, Say::Break { .. });
        assert_eq!(why(&call).1.contains("HTTP"), broken, "{call:?}");
        assert_eq!((first.count(), second.count()), (1, 0), "{lost:?}");
        assert_eq!(client.query(&code(), SHORT).await.result, alive());
        assert_eq!((first.count(), second.count()), (2, 1), "{lost:?}");
    }
}

#[tokio::test]
async fn somebody_who_waits_gets_a_second_try_but_not_for_a_lost_activation() {
    let peer = Peer::in_turn(vec![Say::new(500, ""), Say::new(200, ALIVE)]).await;
    assert_eq!(client(&[peer.http()]).query(&code(), Effort::Interactive).await.result, alive());
    assert_eq!(peer.count(), 2);

    let down = Peer::saying(Say::new(200, r#"{"error_code":92020001}"#)).await;
    let call = client(&[down.http()]).query(&code(), Effort::Interactive).await;
    assert_eq!((why(&call).0, down.count()), (false, 2));

    let cut = Peer::saying(Say::Cut).await;
    let call = client(&[cut.http()]).activate(&code(), Effort::Interactive).await;
    assert_eq!((why(&call).0, cut.count()), (true, 1));

    let throttled = Peer::saying(Say::new(429, r#"{"error_code":"APIGW.0308"}"#)).await;
    let call = client(&[throttled.http(), peer.http()]).query(&code(), Effort::Interactive).await;
    assert_eq!((why(&call).0, throttled.count(), peer.count()), (false, 1, 2));
}

#[tokio::test]
async fn a_refusal_stops_the_whole_queue_without_another_request() {
    for (http, body) in [
        (401, r#"{"error_code":"APIGW.0301","error_msg":"verify aksk signature fail"}"#),
        (401, "<html>"),
        (403, r#"{"error_code":"92020001"}"#),
        (403, ""),
        (401, "break"),
    ] {
        let say = if body == "break" { Say::Break { http } } else { Say::new(http, body) };
        let first = Peer::saying(say).await;
        let second = Peer::saying(Say::new(200, ALIVE)).await;
        let client = client(&[first.http(), second.http()]);
        let call = client.query(&code(), Effort::Interactive).await;
        let CallResult::Stopped { until } = call.result else { panic!("{call:?}") };
        assert_eq!(call.http, Some(http));
        let wait = until.ms_since(call.asked_at);
        assert!((300_000..310_000).contains(&wait), "{wait}");
        assert_eq!(client.stopped_until(), Some(until));
        let other = Code::parse("PL2").expect("a code");
        for _ in 0..5 {
            let stopped = client.clone().activate(&other, Effort::Interactive).await;
            assert_eq!(stopped.result, CallResult::Stopped { until });
            assert_eq!(stopped.http, None);
        }
        assert_eq!((first.count(), second.count()), (1, 0));
    }
}

#[tokio::test]
async fn after_the_stop_one_careful_call_goes_alone_and_opens_the_queue() {
    let (arrived, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, gone) = (Arc::clone(&arrived), Arc::clone(&go));
    let together = Arc::new(Barrier::new(2));
    let peer = Peer::scripted(None, move |n| {
        let (told, gone) = (Arc::clone(&told), Arc::clone(&gone));
        let together = Arc::clone(&together);
        async move {
            if n == 0 {
                told.notify_one();
                gone.notified().await;
            } else {
                together.wait().await;
            }
            Say::new(200, ALIVE)
        }
    })
    .await;
    let client = client(&[peer.http()]);
    client.resume_stop(Clock::system().now().plus_ms(-1));
    assert_eq!(client.stopped_until(), None);
    let careful = tokio::spawn({
        let client = client.clone();
        async move { client.query(&code(), LONG).await }
    });
    arrived.notified().await;
    let other = Code::parse("PL2").expect("a code");
    let waiting = client.activate(&other, LONG).await;
    assert!(matches!(waiting.result, CallResult::Stopped { .. }), "{waiting:?}");
    assert_eq!(peer.count(), 1);
    go.notify_one();
    assert_eq!(careful.await.expect("no panic").result, alive());
    // Now two are let in at once: neither is answered before both are there.
    let (one, two) = (code(), other);
    let (one, two) = tokio::join!(client.query(&one, LONG), client.activate(&two, LONG));
    assert_eq!(one.result, alive());
    assert!(matches!(two.result, CallResult::Verdict(_)), "{two:?}");
    assert_eq!(peer.count(), 3);
}

#[tokio::test]
async fn a_careful_call_that_is_refused_stops_again_and_one_that_fails_leaves_the_turn() {
    let peer = Peer::in_turn(vec![Say::Cut, Say::new(401, ""), Say::new(200, ALIVE)]).await;
    let client = client(&[peer.http()]);
    client.resume_stop(Clock::system().now().plus_ms(-1));
    assert!(why(&client.query(&code(), LONG).await).0);
    let refused = client.query(&code(), LONG).await;
    assert!(matches!(refused.result, CallResult::Stopped { .. }));
    assert!(client.stopped_until().is_some());
    client.query(&code(), LONG).await;
    assert_eq!(peer.count(), 2);
}

#[tokio::test]
async fn a_stop_survives_a_restart() {
    let peer = Peer::saying(Say::new(200, ALIVE)).await;
    let client = client(&[peer.http()]);
    let until = Clock::system().now().plus_ms(60_000);
    client.resume_stop(until);
    assert_eq!(client.query(&code(), LONG).await.result, CallResult::Stopped { until });
    assert_eq!((client.stopped_until(), peer.count()), (Some(until), 0));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let trap = Peer::saying(Say::new(200, ALIVE)).await;
    let header = Some(("location", format!("{}/elsewhere", trap.http())));
    for http in [301, 302, 307, 308] {
        let peer = Peer::saying(Say::Reply { http, body: vec![], header: header.clone() }).await;
        let call = client(&[peer.http(), trap.http()]).query(&code(), LONG).await;
        assert!(matches!(call.result, CallResult::Unrecognised { .. }), "{call:?}");
        assert_eq!((peer.count(), trap.count()), (1, 0));
    }
}

#[tokio::test]
async fn what_nobody_told_us_of_is_kept_as_a_bounded_sample() {
    let huge = format!(r#"{{"error_code":"92020000","pad":"{}"}}"#, "x".repeat(200_000));
    // The part that is read would be a fine answer on its own.
    let padded = format!("{ALIVE}{}", " ".repeat(200_000));
    for body in [
        huge.as_str(),
        &padded,
        "<html>login</html>",
        "",
        r#"{"error_code":"9202"#,
        r#"{"error_code":"92029999","error_msg":"new"}"#,
        r#"{"error_code":"92020000","data":{"license_code":"PL1","status":"FROZEN"}}"#,
        r#"{"error_code":"92020000","data":{"license_code":"PL9","status":"RELEASED"}}"#,
    ] {
        let peer = Peer::saying(Say::new(200, body)).await;
        let closed = Closed::new();
        let client = client(&[peer.http(), closed.http()]);
        let call = client.query(&code(), LONG).await;
        let CallResult::Unrecognised { sample } = &call.result else { panic!("{call:?}") };
        assert!(sample.starts_with("HTTP 200") && sample.len() < 1_000, "{sample}");
        assert_eq!(client.counts()[0].outcome, "unrecognised");
        assert_eq!(peer.count(), 1);
    }
}

#[tokio::test]
async fn a_wrong_request_is_permanent_and_the_access_key_is_not_repeated() {
    let body = format!(r#"{{"error_code":"95000001","error_msg":"bad request of {AK}"}}"#);
    let peer = Peer::saying(Say::new(400, body)).await;
    let call = client(&[peer.http()]).activate(&code(), Effort::Interactive).await;
    let CallResult::Permanent { why } = &call.result else { panic!("{call:?}") };
    assert!(why.contains("bad request of …TEST") && !why.contains(AK), "{why}");
    assert_eq!(peer.count(), 1);
}

#[tokio::test]
async fn one_call_at_a_time_per_code() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (inside, peak) = (Arc::clone(&now), Arc::clone(&most));
    let peer = Peer::scripted(None, move |_| {
        let (inside, peak) = (Arc::clone(&inside), Arc::clone(&peak));
        async move {
            peak.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            inside.fetch_sub(1, Ordering::SeqCst);
            Say::new(200, r#"{"error_code":"92020011"}"#)
        }
    })
    .await;
    let client = client(&[peer.http()]);
    let ask = |codes: [&str; 3]| {
        let calls = codes.map(|text| {
            let (client, code) = (client.clone(), Code::parse(text).expect("a code"));
            tokio::spawn(async move { client.query(&code, LONG).await.result })
        });
        async move {
            for call in calls {
                let verdict = CallResult::Verdict(QueryVerdict::NotActivated);
                assert_eq!(call.await.expect("no panic"), verdict);
            }
        }
    };
    ask(["PL1", "PL1", "PL1"]).await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
    ask(["PL1", "PL2", "PL3"]).await;
    assert!(most.load(Ordering::SeqCst) > 1, "different codes do not wait for each other");
}

#[tokio::test]
async fn requests_are_paced() {
    let peer = Peer::saying(Say::new(200, r#"{"error_code":"92020011"}"#)).await;
    let settings = Settings { requests_per_second: 20, ..settings(&[peer.http()]) };
    let client = Client::new(settings, Clock::system()).expect("a client");
    let calls: Vec<_> = (0..6)
        .map(|n| {
            let (client, code) = (client.clone(), Code::parse(&format!("PL{n}")).expect("a code"));
            tokio::spawn(async move { client.query(&code, LONG).await })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic");
    }
    let seen = peer.seen();
    let span = seen[5].at.duration_since(seen[0].at);
    assert!(span >= Duration::from_millis(230), "five steps of 50 ms took {span:?}");
}

#[tokio::test]
async fn the_other_sides_clock_is_watched() {
    let header = Some(("date", "Sat, 21 Nov 2026 08:30:00 GMT".to_owned()));
    let peer = Peer::saying(Say::Reply { http: 200, body: ALIVE.into(), header }).await;
    let client = client(&[peer.http()]);
    let call = client.query(&code(), LONG).await;
    let theirs = authcoded::protocol::aksk::parse_sdk_date("20261121T083000Z").expect("a date");
    let skew = client.clock_skew_ms().expect("a skew");
    let plain = call.asked_at.ms_since(theirs);
    assert!((skew - plain).abs() <= 10_000, "{skew} for {plain}");
}

pub(crate) fn tls() -> (tokio_rustls::TlsAcceptor, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.expect("a key"))
        .expect("a server configuration");
    (Arc::new(config).into(), made.cert.pem().into_bytes())
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_told_and_never_evaded() {
    let (acceptor, pem) = tls();
    let first = Peer::scripted(Some(acceptor), |_| std::future::ready(Say::new(200, ALIVE))).await;
    let second = Peer::saying(Say::new(200, ALIVE)).await;
    let endpoints = [first.https(), second.http()];
    let client = client(&endpoints);
    let call = client.query(&code(), Effort::Interactive).await;
    let (ambiguous, told) = why(&call);
    assert!(!ambiguous && told.contains("certificate"), "{told}");
    assert_eq!((first.count(), second.count()), (0, 0));
    assert_eq!(client.counts(), [Count { api: Api::Query, outcome: "certificate", requests: 1 }]);

    let settings = Settings { extra_ca_pem: Some(pem), ..settings(&endpoints) };
    let trusting = Client::new(settings, Clock::system()).expect("a client");
    assert_eq!(trusting.query(&code(), LONG).await.result, alive());
    assert_eq!((first.count(), second.count()), (1, 0));
    assert_eq!(first.seen()[0].signature, Ok(()));
}

#[test]
fn wrong_settings_are_named() {
    let build = |change: fn(&mut Settings)| {
        let mut settings = settings(&["https://mkt.myhuaweicloud.com".to_owned()]);
        change(&mut settings);
        Client::new(settings, Clock::system()).expect_err("refused")
    };
    assert!(matches!(build(|s| s.endpoints.clear()), BuildError::NoEndpoint));
    let second = build(|s| s.endpoints.push("http://example.com".to_owned()));
    let expected = (2, BadEndpoint::NotHttps);
    assert!(matches!(second, BuildError::Endpoint { number, why } if (number, why) == expected));
    assert!(matches!(build(|s| s.requests_per_second = 0), BuildError::NoRate));
    let bad_pem = build(|settings| {
        let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        settings.extra_ca_pem = Some(pem.into());
    });
    assert!(matches!(bad_pem, BuildError::Tls(_)), "{bad_pem}");
    let no_pem = build(|settings| settings.extra_ca_pem = Some("no certificate".into()));
    assert!(matches!(no_pem, BuildError::Tls(_)), "{no_pem}");
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_request_is_one_log_line_without_secrets() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let refused = format!(r#"{{"error_code":"APIGW.0301","error_msg":"ak {AK} not exist"}}"#);
    let says = vec![Say::new(200, ALIVE), Say::new(401, refused)];
    let three_calls = async || {
        let peer = Peer::in_turn(says.clone()).await;
        let client = client(&[peer.http()]);
        for _ in 0..3 {
            client.query(&code(), LONG).await;
        }
        peer
    };
    // Another test that comes to a log statement first, and listens to nothing, may have closed it for all.
    three_calls().await;
    tracing::callsite::rebuild_interest_cache();
    lines.0.lock().expect("not poisoned").clear();
    let peer = three_calls().await;
    let text = String::from_utf8(lines.0.lock().expect("not poisoned").clone()).expect("text");
    let calls: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .filter(|line: &serde_json::Value| line["target"] == "authcoded::marketplace::flow")
        .collect();
    let fields = calls.iter().map(|line| &line["fields"]).collect::<Vec<_>>();
    assert_eq!(fields.len(), 2, "{text}");
    assert_eq!(fields[0]["license.code"], "PL1");
    assert_eq!((&fields[0]["http"], &fields[0]["outcome"]), (&200.into(), &"done".into()));
    assert_eq!(fields[0]["endpoint"], peer.addr.to_string());
    assert!(fields[0]["duration_ms"].is_u64());
    assert_eq!(
        (&fields[1]["result_code"], &fields[1]["outcome"]),
        (&"APIGW.0301".into(), &"stop".into())
    );
    let told = fields[1]["why"].as_str().expect("why");
    assert!(told.contains("ak …TEST not exist"), "{told}");
    for secret in [SK, AK, "Signature=", "SDK-HMAC"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}
