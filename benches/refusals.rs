//! The reply to a planted cause beside the reply to its twin, whose signature is wrong and nothing else:
//! who measures replies must not learn which of them a key of ours made.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a bench that cannot go on ends"
)]

mod rig;

use authcoded::domain::time::Timestamp;
use authcoded::protocol::callback_auth::{AccessKey, sign};
use rig::daemon::{ACCESS_KEY, AK, Daemon, PATH, SK, Setting};
use rig::figures::{median, met};
use secrecy::SecretString;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Pairs at full speed: most of them are more than is recorded, so the doctor sees few.
const QUICK_PAIRS: usize = 6_000;
/// Pairs at a pace at which each call is recorded and examined.
const SLOW_PAIRS: usize = 120;
const SLOW_PAUSE: Duration = Duration::from_millis(125);
/// Beyond so many standard deviations the ranks of two equal samples are once in 370 tries.
const Z_MAX: f64 = 3.0;
const BODY: &str =
    r#"{"activity":"updateLicenseCodeStatus","license":"PL1","status":"FREEZE","testFlag":"0"}"#;

/// Who signs what is sent, and when.
const PLANTED: [(&str, &str, &str, i64); 5] = [
    ("SK instead of the key", SK, BODY, 0),
    ("AK instead of the key", AK, BODY, 0),
    ("key with a line end", "bench-access-key-0123456789\n", BODY, 0),
    ("empty body signed", ACCESS_KEY, "", 0),
    ("clock 75 s behind", ACCESS_KEY, BODY, -75_000),
];

fn main() {
    let folder = rig::folder();
    let setting = Setting { keep_alive: true, log_level: "error", marketplace: None };
    let daemon = Daemon::start(folder.path(), setting);
    daemon.settle();
    println!("microseconds to the reply 000001, medians; z of the ranks (Mann-Whitney)\n");
    println!("{:>24} | {:>7} | {:>8} | {:>8} | {:>6}", "", "pairs", "planted", "wrong", "z");
    let mut worst = 0.0_f64;
    for (pairs, pause) in [(QUICK_PAIRS, Duration::ZERO), (SLOW_PAIRS, SLOW_PAUSE)] {
        for (name, key, body, ahead_ms) in PLANTED {
            let (planted, wrong) = measure(daemon.callback, key, body, ahead_ms, pairs, pause);
            let z = rank_z(&planted, &wrong);
            worst = worst.max(z.abs());
            let (planted, wrong) = (median(planted), median(wrong));
            println!("{name:>24} | {pairs:>7} | {planted:>8.1} | {wrong:>8.1} | {z:>6.2}");
        }
    }
    println!("\nlargest |z| {worst:.2} (goal {Z_MAX}: {})", met(worst < Z_MAX));
}

/// Times of both kinds, sent in turns, now the one first and now the other.
fn measure(
    address: SocketAddr,
    key: &str,
    body: &str,
    ahead_ms: i64,
    pairs: usize,
    pause: Duration,
) -> (Vec<f64>, Vec<f64>) {
    let key = AccessKey::new(SecretString::from(key));
    let mut stream = TcpStream::connect(address).expect("connected");
    stream.set_nodelay(true).expect("an option");
    let mut times = (Vec::with_capacity(pairs), Vec::with_capacity(pairs));
    for n in 0..pairs {
        for planted in [n % 2 == 0, n % 2 == 1] {
            let at = rig::now().plus_ms(ahead_ms);
            let request = request(&key, body, at, n, planted);
            std::thread::sleep(pause);
            let took = exchange(&mut stream, &request);
            if planted { times.0.push(took) } else { times.1.push(took) }
        }
    }
    times
}

fn request(key: &AccessKey, body: &str, at: Timestamp, n: usize, planted: bool) -> Vec<u8> {
    let nonce = format!("nonce{n:059}");
    let mut signature = sign(key, body.as_bytes(), at, &nonce).into_bytes();
    if !planted {
        signature[63] = if signature[63] == b'0' { b'1' } else { b'0' };
    }
    let signature = String::from_utf8(signature).expect("hex");
    let (time, length) = (at.as_ms(), BODY.len());
    format!(
        "POST {PATH}?signature={signature}&timestamp={time}&nonce={nonce} HTTP/1.1\r\n\
         Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{BODY}"
    )
    .into_bytes()
}

/// Microseconds from the last byte sent to the first bytes of the answer, which is one small write.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> f64 {
    let mut answer = [0; 4 << 10];
    let began = Instant::now();
    stream.write_all(request).expect("sent");
    let read = stream.read(&mut answer).expect("an answer");
    let took = began.elapsed();
    let text = String::from_utf8_lossy(&answer[..read]);
    assert!(text.contains(r#""resultCode":"000001""#), "{text}");
    took.as_secs_f64() * 1e6
}

/// How far the rank sum of `one` is from what equal samples have, in standard deviations.
#[expect(clippy::cast_precision_loss, reason = "some thousands")]
fn rank_z(one: &[f64], other: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = one.iter().map(|time| (*time, true)).collect();
    all.extend(other.iter().map(|time| (*time, false)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ranks: usize =
        all.iter().enumerate().filter(|(_, (_, is_one))| *is_one).map(|(rank, _)| rank + 1).sum();
    let (n, m) = (one.len() as f64, other.len() as f64);
    let mean = n * (n + m + 1.0) / 2.0;
    let deviation = (n * m * (n + m + 1.0) / 12.0).sqrt();
    (ranks as f64 - mean) / deviation
}
