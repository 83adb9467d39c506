//! Stand-ins for those who are told of alarms: strict about what they are sent, and failing when told to.

use authcoded::clock::Clock;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Nothing a stand-in waits for takes this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// How far a signed time may be from ours, in seconds.
const AGE_MAX: i64 = 300;

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Heard {
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Heard {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    Reply(u16, String),
    /// The request is read, and the connection closed.
    Cut,
}

/// An HTTP server with a mind of its own; its thread ends with it.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<(Heard, bool)>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Mind = dyn Fn(usize, &Heard) -> (Say, bool) + Send + Sync;

impl Receiver {
    /// `mind` gets the number of the request, from 0, and says what is answered and whether that takes it.
    pub(crate) fn start(
        mind: impl Fn(usize, &Heard) -> (Say, bool) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (heard, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (into, end, mind): (_, _, Arc<Mind>) =
            (Arc::clone(&heard), Arc::clone(&ended), Arc::new(mind));
        let count = Arc::new(AtomicUsize::new(0));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let (into, mind, count) =
                    (Arc::clone(&into), Arc::clone(&mind), Arc::clone(&count));
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    let (say, taken) = mind(count.fetch_add(1, Ordering::SeqCst), &request);
                    into.lock().expect("not poisoned").push((request, taken));
                    if let Say::Reply(status, body) = say {
                        let length = body.len();
                        let text = format!(
                            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\
                             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                        );
                        let _ = (&stream).write_all(text.as_bytes());
                    }
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, heard, ended, thread: Some(thread) }
    }

    /// What it has taken so far, in order.
    pub(crate) fn taken(&self) -> Vec<Heard> {
        let heard = self.heard.lock().expect("not poisoned");
        heard.iter().filter(|(_, taken)| *taken).map(|(heard, _)| heard.clone()).collect()
    }

    /// Everything that came, taken or not.
    pub(crate) fn all(&self) -> Vec<Heard> {
        self.heard.lock().expect("not poisoned").iter().map(|(heard, _)| heard.clone()).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn read(stream: &TcpStream) -> Option<Heard> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let target = line.strip_prefix("POST ")?.split(' ').next()?.to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = query.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length: usize = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    Some(Heard { path: path.to_owned(), query, headers, body })
}

fn now_s() -> i64 {
    Clock::system().now().as_ms() / 1_000
}

fn signed(key: &[u8], text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    BASE64_STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

/// What is wrong with a webhook after the Standard Webhooks specification, if anything.
pub(crate) fn webhook_fault(heard: &Heard, secret: &str) -> Option<String> {
    let header = |name: &str| heard.headers.get(name).cloned().unwrap_or_default();
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_")?).expect("base64");
    let expected = format!("v1,{}", signed(&key, &format!("{id}.{at}.{}", heard.body)));
    let body = heard.json();
    let near = at.parse::<i64>().is_ok_and(|at| (now_s() - at).abs() < AGE_MAX);
    let shaped = body["type"].as_str().is_some_and(|kind| kind.starts_with("alarm."))
        && body["timestamp"].is_string()
        && body["data"].is_object();
    let named = !id.is_empty() && !id.contains('.');
    let json = header("content-type") == "application/json";
    let right = near && shaped && named && json && header("webhook-signature") == expected;
    (!right).then(|| format!("no good webhook: {heard:?}"))
}

/// The same of a robot of WeCom or DingTalk; `secret` is DingTalk's.
pub(crate) fn robot_fault(
    heard: &Heard,
    token: (&str, &str),
    secret: Option<&str>,
) -> Option<String> {
    let body = heard.json();
    let text = body["text"]["content"].as_str().unwrap_or_default();
    let known = heard.query.get(token.0).is_some_and(|value| value == token.1);
    let plain = body["msgtype"] == "text" && !text.is_empty() && text.len() <= 2_048;
    let signature_holds = secret.is_none_or(|secret| {
        let at = heard.query.get("timestamp").cloned().unwrap_or_default();
        let near = at.parse::<i64>().is_ok_and(|at| (now_s() * 1_000 - at).abs() < AGE_MAX * 1_000);
        let expected = signed(secret.as_bytes(), &format!("{at}\n{secret}"));
        near && heard.query.get("sign") == Some(&expected)
    });
    (!known || !plain || !signature_holds).then(|| format!("no good message: {heard:?}"))
}

/// The same of Feishu's.
pub(crate) fn feishu_fault(heard: &Heard, path: &str, secret: &str) -> Option<String> {
    let body = heard.json();
    let at = body["timestamp"].as_str().unwrap_or_default();
    let near = at.parse::<i64>().is_ok_and(|at| (now_s() - at).abs() < AGE_MAX);
    let right = heard.path == path
        && body["msg_type"] == "text"
        && body["content"]["text"].is_string()
        && near
        && body["sign"] == signed(format!("{at}\n{secret}").as_bytes(), "");
    (!right).then(|| format!("no good message: {heard:?}"))
}

/// A mail server that speaks enough of RFC 5321, and turns the first `failing` mails away for a while.
pub(crate) struct MailServer {
    pub(crate) address: SocketAddr,
    mails: Arc<Mutex<Vec<String>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MailServer {
    pub(crate) fn start(failing: usize, user: &'static str, password: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (mails, ended) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (into, end) = (Arc::clone(&mails), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            let mut left = failing;
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let refuse = left > 0;
                if let Some(mail) = session(&stream, refuse, user, password) {
                    into.lock().expect("not poisoned").push(mail);
                }
                left = left.saturating_sub(1);
            }
        });
        Self { address, mails, ended, thread: Some(thread) }
    }

    pub(crate) fn mails(&self) -> Vec<String> {
        self.mails.lock().expect("not poisoned").clone()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// One session; the mail, if it was taken. Commands out of order are refused with 503.
fn session(stream: &TcpStream, refuse: bool, user: &str, password: &str) -> Option<String> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut lines = BufReader::new(stream).lines();
    let say = |text: &str| stream.try_clone().and_then(|mut s| s.write_all(text.as_bytes())).ok();
    say("220 mail.example.com ESMTP\r\n")?;
    let (mut known, mut from, mut to, mut taken) = (false, false, false, None);
    let login = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
    loop {
        let line = lines.next()?.ok()?;
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => say("250-mail.example.com\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n")?,
            "AUTH" => {
                known = line == format!("AUTH PLAIN {login}");
                say(if known { "235 2.7.0 good\r\n" } else { "535 5.7.8 bad credentials\r\n" })?;
            }
            "MAIL" if refuse => say("451 4.3.0 try again later\r\n")?,
            "MAIL" if known => {
                from = line.starts_with("MAIL FROM:<authcoded@example.com>");
                say("250 2.1.0 good\r\n")?;
            }
            "RCPT" if from => {
                to = line == "RCPT TO:<ops@example.com>";
                say("250 2.1.5 good\r\n")?;
            }
            "DATA" if to => {
                say("354 go on\r\n")?;
                let mut mail = String::new();
                loop {
                    let line = lines.next()?.ok()?;
                    if line == "." {
                        break;
                    }
                    mail.push_str(line.strip_prefix('.').unwrap_or(&line));
                    mail.push('\n');
                }
                say("250 2.0.0 queued\r\n")?;
                taken = Some(mail);
            }
            "QUIT" => {
                say("221 2.0.0 bye\r\n");
                return taken;
            }
            _ => say("503 5.5.1 not now\r\n")?,
        }
    }
}

/// A proxy before the daemon: broken it answers 502, repaired it passes bytes on.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    behind: Arc<Mutex<Option<SocketAddr>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A broken one.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (behind, ended) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let (target, end) = (Arc::clone(&behind), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let target: Option<SocketAddr> = *target.lock().expect("not poisoned");
                std::thread::spawn(move || pass(stream, target));
            }
        });
        Self { address, behind, ended, thread: Some(thread) }
    }

    pub(crate) fn repair(&self, behind: SocketAddr) {
        *self.behind.lock().expect("not poisoned") = Some(behind);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn pass(stream: TcpStream, target: Option<SocketAddr>) {
    let Some(there) = target.and_then(|target| TcpStream::connect(target).ok()) else {
        drop(read(&stream));
        let _ = (&stream).write_all(
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        return;
    };
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    let (Ok(back), Ok(forth)) = (stream.try_clone(), there.try_clone()) else { return };
    let answers = std::thread::spawn(move || copy(forth, back));
    copy(stream, there);
    let _ = answers.join();
}
