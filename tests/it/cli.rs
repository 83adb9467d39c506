//! The commands against a stand-in of the admin API: what they ask, print, and exit with.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const TOKEN: &str = "a-token-of-the-tests-0123456789";

/// A request as it came: method, target, and body.
type Asked = (String, String, String);
/// What the stand-in answers to a request.
type Rule = dyn Fn(&Asked) -> (u16, Value) + Send + Sync;

/// A folder with a configuration, and a stand-in that answers at its admin address.
struct Stand {
    folder: TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stand {
    fn new(rule: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let folder = configuration(listener.local_addr().expect("an address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, rule): (_, Arc<Rule>) = (Arc::clone(&asked), Arc::new(rule));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, rule) = (Arc::clone(&seen), Arc::clone(&rule));
                std::thread::spawn(move || serve(&stream, &seen, &*rule));
            }
        });
        Self { folder, asked }
    }

    fn run(&self, args: &[&str]) -> Output {
        run(self.folder.path(), args, "")
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }

    fn targets(&self) -> Vec<String> {
        self.asked().into_iter().map(|(method, target, _)| format!("{method} {target}")).collect()
    }
}

fn configuration(admin: SocketAddr) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("access-key", "k"),
        ("ak", "AKIDEXAMPLE1234"),
        ("sk", "s"),
        ("software", "another-token-01"),
    ] {
        secret(folder.path(), name, text);
    }
    secret(folder.path(), "token", TOKEN);
    let text = format!(
        r#"data-dir = "data"
[callback]
public-url = "https://license.example.com/koogallery/callback"
access-key-files = ["access-key"]
[marketplace]
ak-file = "ak"
sk-file = "sk"
[admin]
listen = "{admin}"
token-file = "token"
[software]
token-file = "software"
"#
    );
    std::fs::write(folder.path().join("c.toml"), text).expect("write");
    folder
}

fn secret(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("write");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
}

fn run(folder: &Path, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_authcoded"))
        .arg("--config")
        .arg(folder.join("c.toml"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// Answers the requests of one connection until it is closed.
fn serve(stream: &TcpStream, seen: &Mutex<Vec<Asked>>, rule: &Rule) {
    let mut reader = BufReader::new(stream);
    while let Some((asked, authorised)) = read_request(&mut reader) {
        let (status, body) =
            if authorised { rule(&asked) } else { (401, json!({"title": "no token"})) };
        seen.lock().expect("not poisoned").push(asked);
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut out = stream;
        if out.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> Option<(Asked, bool)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next()?, words.next()?);
    let (mut length, mut authorised, mut host) = (0, false, false);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ")?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => authorised = value == format!("Bearer {TOKEN}"),
            "host" => host = value.starts_with("127.0.0.1:"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(((method, target, String::from_utf8(body).ok()?), authorised && host))
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn license(code: &str) -> Value {
    json!({"code": code, "state": "issued", "expires_at": null, "note": "a, \"b\""})
}

/// Pages of codes `C0`, `C1` … of at most two each.
fn paged(total: usize) -> impl Fn(&Asked) -> (u16, Value) {
    move |(_, target, _)| {
        let from = target.split("cursor=C").nth(1).map_or(0, |n| n.parse().expect("a number"));
        let to = (from + 2).min(total);
        let items: Vec<_> = (from..to).map(|n| license(&format!("C{n}"))).collect();
        (200, json!({"items": items, "next": (to < total).then(|| format!("C{to}"))}))
    }
}

#[test]
fn a_list_follows_its_pages_up_to_the_limit() {
    let stand = Stand::new(paged(5));
    let output = stand.run(&["license", "list", "--state", "issued", "--limit", "3"]);
    assert!(output.status.success(), "{}", err(&output));
    assert!(err(&output).contains("there is more"), "{}", err(&output));
    assert_eq!(
        stand.targets(),
        [
            "GET /v1/licenses?state=issued&limit=3",
            "GET /v1/licenses?state=issued&limit=1&cursor=C2",
        ]
    );
    let output = stand.run(&["license", "list", "--limit", "0", "--json"]);
    let items: Vec<Value> = serde_json::from_str(&out(&output)).expect("one array");
    assert_eq!(items.len(), 5);
    assert_eq!(err(&output), "");
}

#[test]
fn an_export_is_csv_of_all_pages() {
    let stand = Stand::new(paged(3));
    let output = stand.run(&["license", "export"]);
    let text = out(&output);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("code,state,expires_at,"), "{text}");
    assert_eq!(lines[3], r#"C2,issued,,,,,,,,,,,"a, ""b""""#);
}

#[test]
fn an_import_reports_bad_lines_and_goes_on() {
    let stand = Stand::new(|(_, _, body)| {
        let body: Value = serde_json::from_str(body).expect("JSON");
        match body["code"].as_str().expect("a code") {
            "NEW" => (201, license("NEW")),
            "OLD" => (200, license("OLD")),
            _ => (400, json!({"title": "Bad code", "detail": "not of this shop"})),
        }
    });
    let text = "code,received\nNEW,no\nSTRANGE,\nOLD,\nX,perhaps\n";
    let output = run(stand.folder.path(), &["license", "import", "-"], text);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(out(&output), "1 registered, 1 already known, 2 bad\n");
    let told = err(&output);
    assert!(told.contains("line 3: the daemon says: 400 Bad code: not of this shop"), "{told}");
    assert!(told.contains("line 5: \"perhaps\" is neither"), "{told}");
    let sent: Vec<Value> = stand
        .asked()
        .iter()
        .map(|(_, _, body)| serde_json::from_str(body).expect("JSON"))
        .collect();
    for (code, received) in [("NEW", false), ("OLD", true)] {
        let expected = json!({"code": code, "received": received, "activate": true});
        assert!(sent.contains(&expected), "{sent:?}");
    }
}

#[test]
fn an_import_stops_when_the_daemon_fails() {
    let stand = Stand::new(|_| (503, json!({"title": "Busy"})));
    let output = run(stand.folder.path(), &["license", "import", "-"], &"A\n".repeat(1_000));
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("stopped at line 1;"), "{}", err(&output));
    assert!(stand.asked().len() < 100, "those under way, and no more: {}", stand.asked().len());
}

#[test]
fn codes_with_any_character_stay_one_path_segment() {
    let stand = Stand::new(|(_, target, _)| match target.as_str() {
        target if target.contains("/events") => (200, json!({"items": [], "next": null})),
        _ => (200, license("a/b?c#d é%")),
    });
    let output = stand.run(&["license", "show", "a/b?c#d é%", "--json"]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(stand.targets()[0], "GET /v1/licenses/a%2Fb%3Fc%23d%20%C3%A9%25");
    stand.run(&["license", "show", ".."]);
    assert!(stand.targets().iter().any(|target| target == "GET /v1/licenses/%2E%2E"));
}

#[test]
fn an_answer_of_the_marketplace_decides_the_exit_status() {
    let stand = Stand::new(|(_, target, _)| {
        let code = target.split('/').nth(3).expect("a code");
        (200, json!({"outcome": code, "error_code": null, "license": license("A")}))
    });
    for (outcome, expected) in
        [("done", 0), ("asked", 0), ("waiting_for_buyer", 0), ("retry_later", 1), ("refused", 1)]
    {
        let output = stand.run(&["license", "activate", outcome]);
        assert_eq!(output.status.code(), Some(expected), "{outcome}");
    }
    assert_eq!(stand.targets()[0], "POST /v1/licenses/done/activate");
}

#[test]
fn a_release_carries_its_reason_and_a_refusal_its_explanation() {
    let stand = Stand::new(|(_, _, body)| match body.as_str() {
        "{}" => (409, json!({"title": "Not now", "detail": "it is \u{1b}[2J over"})),
        _ => (200, license("A")),
    });
    let output = stand.run(&["license", "release", "A", "--yes", "--reason", "refund"]);
    assert!(output.status.success(), "{}", err(&output));
    assert_eq!(stand.asked()[0].2, r#"{"reason":"refund"}"#);
    let output = stand.run(&["license", "release", "A"]);
    assert_eq!(output.status.code(), Some(1));
    let told = err(&output);
    assert!(told.contains("the daemon says: 409 Not now: it is \\u{1b}[2J over"), "{told}");
}

#[test]
fn a_failed_probe_fails() {
    for (outcome, expected) in [("ok", 0), ("slow", 0), ("failed", 1)] {
        let stand = Stand::new(move |_| {
            let step =
                json!({"name": "renewal", "outcome": outcome, "status": 200, "duration_ms": 3});
            (200, json!({"id": 7, "outcome": outcome, "steps": [step]}))
        });
        let output = stand.run(&["probe", "run"]);
        assert_eq!(output.status.code(), Some(expected), "{outcome}");
        assert!(out(&output).contains("renewal"), "{}", out(&output));
        assert_eq!(stand.targets(), ["POST /v1/probes"]);
        let document: Value =
            serde_json::from_str(&out(&stand.run(&["probe", "run", "--json"]))).expect("JSON");
        assert_eq!(document["outcome"], outcome, "one document and nothing else");
    }
}

#[test]
fn a_probe_is_told_to_a_tired_person() {
    let step = |name, outcome, ms, detail, what_to_do| {
        json!({"name": name, "outcome": outcome, "status": null, "duration_ms": ms,
               "detail": detail, "what_to_do": what_to_do})
    };
    let steps = [
        step("dns", "ok", 12, "license.example.com is 203.0.113.5", json!(null)),
        step("tcp", "slow", 2_345, "connected to 203.0.113.5:443", json!("look at the proxy")),
        step("tls", "failed", 31, "TLS: the certificate expired 2 days ago", json!("renew it")),
        step("renewal", "skipped", 0, "not tried, because tls failed", json!(null)),
    ];
    let stand = Stand::new(move |_| (200, json!({"id": 7, "outcome": "failed", "steps": steps})));
    let told = out(&stand.run(&["probe", "run"]));
    let expected = "\
STEP     OUTCOME  TIME   WHAT IT MEANS                            WHAT TO DO
dns      ok       12 ms  license.example.com is 203.0.113.5
tcp      slow     2.3 s  connected to 203.0.113.5:443             look at the proxy
tls      FAILED   31 ms  TLS: the certificate expired 2 days ago  renew it
renewal  skipped  -      not tried, because tls failed

probe 7: FAILED. The dial test would fail now, at tls: TLS: the certificate expired 2 days ago.
Repair that first, then run this again. Five failing days in a row freeze trading (`authcoded guard`).
";
    assert_eq!(told, expected);
}

#[test]
fn the_delisting_clock_is_shown_and_corrected_with_a_reason() {
    let stand = Stand::new(|(_, _, body)| {
        let days = serde_json::from_str::<Value>(body)
            .map_or(2, |body| body["failing_days"].as_i64().expect("a number"));
        let clock =
            json!({"failing_days": days, "since": "2026-11-20T16:00:00.000Z", "corrected": null});
        let dials = json!({"last_at": null, "morning": {"earliest": "09:00", "latest": "10:31"}, "afternoon": null});
        (200, json!({"delisting": clock, "dial_tests": dials}))
    });
    let told = out(&stand.run(&["guard"]));
    assert!(told.contains("failing days    2 in a row (5 freeze trading)"), "{told}");
    assert!(told.contains("09:00 to 10:31 in Beijing"), "{told}");
    assert!(told.contains("none was seen yet"), "{told}");
    let args = ["guard", "delisting", "--failing-days", "0", "--reason", "the console is green"];
    assert!(out(&stand.run(&args)).contains("0 in a row"));
    let (method, target, body) = stand.asked().pop().expect("a call");
    assert_eq!((&*method, &*target), ("POST", "/v1/guard/delisting"));
    assert_eq!(body, r#"{"failing_days":0,"reason":"the console is green"}"#);
    let output = stand.run(&["guard", "delisting", "--failing-days", "0"]);
    assert_eq!(output.status.code(), Some(2), "a reason is asked for");
}

#[test]
fn the_log_is_told_forwards_and_can_be_followed() {
    let event = |id: u64| json!({"id": id, "at": "t", "kind": "renewed", "source": "callback"});
    let stand = Stand::new(move |(_, target, _)| {
        match target.split("after=").nth(1).and_then(|rest| rest.split('&').next()) {
            None => (200, json!({"items": [event(2), event(1)], "next": null})),
            // Whoever asks for what comes after an event is answered forwards.
            Some("2") => (200, json!({"items": [event(3), event(4)], "next": null})),
            Some(_) => (403, json!({"title": "that is all"})),
        }
    });
    let output = stand.run(&["log", "--kind", "renewed", "--since", "2026-11-22"]);
    assert_eq!(out(&output).lines().count(), 3, "{}", out(&output));
    assert_eq!(
        stand.targets(),
        ["GET /v1/events?kind=renewed&since=2026-11-22T00:00:00.000Z&limit=50"]
    );
    let output = stand.run(&["log", "--follow", "--json"]);
    let text = out(&output);
    let ids: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("one object")["id"].as_u64())
        .collect();
    assert_eq!(ids, [Some(1), Some(2), Some(3), Some(4)]);
    assert!(err(&output).contains("that is all"), "{}", err(&output));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let stand = Stand::new(paged(5000));
    let mut child = Command::new(env!("CARGO_BIN_EXE_authcoded"))
        .arg("--config")
        .arg(stand.folder.path().join("c.toml"))
        .args(["license", "export"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
}

#[test]
fn alarms_are_listed_tested_and_acknowledged() {
    let stand = Stand::new(|(method, target, body)| match (method.as_str(), target.as_str()) {
        ("GET", target) if target.contains("state=cleared") => {
            (200, json!({"items": [], "next": null}))
        }
        ("GET", _) => {
            let alarm = json!({"id": "clock", "severity": "high", "text": "it is wrong",
                "what_to_do": "repair it", "since": "2026-11-22T08:00:00.000Z"});
            (200, json!({"items": [alarm], "next": null}))
        }
        ("POST", "/v1/alarms/test") => {
            let sent = json!({"channel": "ops", "kind": "smtp", "outcome": "sent", "error": null});
            let failed = json!({"channel": "chat", "kind": "wecom", "outcome": "failed",
                "error": "it answered 93000"});
            let only = body.contains("ops");
            let items = if only { vec![sent] } else { vec![sent, failed] };
            (200, json!({"items": items, "next": null}))
        }
        ("POST", "/v1/alarms/clock%20x/acknowledge") if body.contains("case 17") => {
            (200, json!({"id": "clock x"}))
        }
        _ => (404, json!({"title": "Not found"})),
    });
    let listed = out(&stand.run(&["alarm", "list"]));
    assert!(listed.contains("clock") && listed.contains("repair it"), "{listed}");
    assert_eq!(out(&stand.run(&["alarm", "list", "--state", "cleared"])), "nothing is wrong\n");
    let all = stand.run(&["alarm", "test"]);
    assert_eq!(all.status.code(), Some(1), "one of them failed");
    assert!(out(&all).contains("it answered 93000"));
    assert_eq!(stand.run(&["alarm", "test", "--channel", "ops"]).status.code(), Some(0));
    let known = stand.run(&["alarm", "acknowledge", "clock x", "--reason", "case 17"]);
    assert!(out(&known).contains("clock x is acknowledged"), "{}", err(&known));
}

#[test]
fn status_jobs_and_callbacks_are_shown() {
    let stand = Stand::new(|(method, target, _)| {
        match (method.as_str(), target.split('?').next().expect("a path")) {
            ("GET", "/v1/summary") => (
                200,
                json!({
                    "alarms": 2,
                    "licenses": {"frozen": 4},
                    "last_heartbeat": {"outcome": "slow", "slot": "2026-11-22T08:00", "steps": []},
                    "marketplace": {"reachable": true},
                }),
            ),
            ("GET", "/v1/alarms") => {
                let clock = json!({"severity": "high", "kind": "clock", "text": "it is wrong",
                    "what_to_do": "repair it", "code": null});
                (200, json!({"items": [clock], "next": null}))
            }
            ("GET", "/v1/callbacks/3") => (200, json!({"id": 3, "body": "{\"a\":1}"})),
            ("POST", "/v1/jobs/reconcile/run") => (202, json!({"name": "reconcile"})),
            ("GET", _) => (200, json!({"items": [{"id": 3, "name": "usage"}], "next": null})),
            _ => (404, json!({"title": "Not found"})),
        }
    });
    assert!(out(&stand.run(&["status"])).contains("frozen              4"));
    let status = out(&stand.run(&["status"]));
    let heartbeat: Vec<&str> = status.lines().filter(|l| l.contains("heartbeat")).collect();
    assert_eq!(heartbeat, ["last heartbeat         slow"], "the outcome, not the document");
    assert!(status.contains("  its slot             2026-11-22T08:00"), "{status}");
    assert!(status.contains("alarms                 2"), "{status}");
    assert!(
        status.contains("high: clock, since -, code -\n  it is wrong\n  repair it\n"),
        "{status}"
    );
    assert!(out(&stand.run(&["callback", "show", "3"])).contains("{\"a\":1}"));
    assert!(out(&stand.run(&["callback", "list", "--verdict", "refused"])).contains('3'));
    assert!(out(&stand.run(&["job", "list"])).contains("usage"));
    assert!(out(&stand.run(&["job", "run", "reconcile"])).contains("started"));
    assert!(stand.targets().contains(&"GET /v1/callbacks?verdict=refused&limit=50".to_owned()));
    assert!(out(&stand.run(&["usage", "list", "--state", "failed"])).starts_with("DAY"));
    assert!(stand.targets().contains(&"GET /v1/usage?state=failed&limit=50".to_owned()));
}

#[test]
fn a_daemon_that_is_away_or_strange_is_named() {
    // The port was free a moment ago, and nothing listens on it.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let folder = configuration(free);
    let output = run(folder.path(), &["status"], "");
    assert_eq!(output.status.code(), Some(1));
    let told = err(&output);
    assert!(told.contains(&format!("the daemon is not running at {free}")), "{told}");
    assert!(told.contains("start it with"), "{told}");

    let stand = Stand::new(|_| (200, json!({})));
    secret(stand.folder.path(), "token", "another-token-of-the-tests");
    let output = stand.run(&["status"]);
    let told = err(&output);
    assert!(told.contains("401 no token; the file at admin.token-file"), "{told}");
    assert!(!told.contains("another-token"), "{told}");
}

#[test]
fn a_wrong_command_line_is_2_and_a_bad_configuration_1() {
    let folder = configuration("127.0.0.1:1".parse().expect("an address"));
    for args in [
        &["license", "list", "--state", "expired"][..],
        &["license", "show", ""],
        &["log", "--since", "yesterday"],
        &["log", "--kind", "no-such-kind"],
        &["job", "run", "no-such-job"],
        &["nonsense"],
        &[],
    ] {
        assert_eq!(run(folder.path(), args, "").status.code(), Some(2), "{args:?}");
    }
    let output = run(folder.path(), &["check"], "");
    assert!(output.status.success(), "{}{}", out(&output), err(&output));
    assert!(out(&output).contains("configuration is fine"), "{}", out(&output));
    assert!(out(&output).contains("…1234"), "{}", out(&output));
    assert!(!out(&output).contains("AKIDEXAMPLE"), "{}", out(&output));

    std::fs::set_permissions(folder.path().join("sk"), std::fs::Permissions::from_mode(0o644))
        .expect("chmod");
    let output = run(folder.path(), &["check"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("c.toml:7: error: marketplace.sk-file: "), "{}", out(&output));
    let output = run(folder.path(), &["check", "--json"], "");
    let document: Value = serde_json::from_str(&out(&output)).expect("JSON");
    assert_eq!((&document["ok"], &document["problems"][0]["line"]), (&json!(false), &json!(7)));

    std::fs::write(folder.path().join("c.toml"), "data-dir = \"x\"\ncolour = 1\n").expect("write");
    let output = run(folder.path(), &["check"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("c.toml:2:1: unknown field `colour`"), "{}", err(&output));
}

#[test]
fn tokens_are_new_each_time_and_fit_a_header() {
    let folder = configuration("127.0.0.1:1".parse().expect("an address"));
    let token = || out(&run(folder.path(), &["token", "new"], "")).trim_end().to_owned();
    let (one, other) = (token(), token());
    assert_ne!(one, other);
    assert_eq!(one.len(), 43);
    assert!(one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{one}");
}
