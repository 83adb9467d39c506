//! The load generator: requests ready as bytes, one thread, no pipelining, as little parsing as can be.
//!
//! It shares the machine with what it measures, so it must be cheap; the same generator drives both
//! sides of every ratio.

use super::figures::Latencies;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A round that takes longer ends the bench: something is broken.
const PATIENCE: Duration = Duration::from_mins(1);
/// No answer here is larger.
const ANSWER_MAX: usize = 4 << 10;

/// What is sent, to whom, and what a good answer says.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    /// Whole requests.
    pub(crate) requests: Arc<Vec<Vec<u8>>>,
    /// Whether they are sent over and over; otherwise the round ends with them.
    pub(crate) again: bool,
    /// A connection carries many requests, or one.
    pub(crate) keep_alive: bool,
    /// Must stand in every answer: a quick refusal is no result.
    pub(crate) expected: &'static [u8],
}

/// What a round came to.
pub(crate) struct Round {
    pub(crate) per_second: f64,
    pub(crate) latencies: Latencies,
}

/// One answered request: when it was due or sent, and how long the answer took from then.
pub(crate) type Sample = (Instant, Duration);

/// Each connection sends when its last answer has come, until `time` is over.
pub(crate) fn closed(load: &Load, connections: usize, time: Duration) -> Round {
    let began = Instant::now();
    let samples = run(load, connections, move |_| {
        let now = Instant::now();
        (now.duration_since(began) < time).then_some(now)
    });
    let ended = samples.iter().map(|(sent, took)| *sent + *took).max().unwrap_or(began);
    let took = ended.duration_since(began).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a count of some seconds")]
    let per_second = samples.len() as f64 / took;
    let latencies = Latencies::new(samples.into_iter().map(|(_, latency)| latency).collect());
    Round { per_second, latencies }
}

/// Requests are due at a steady rate; latency counts from when one was due, so that waiting for a free
/// connection counts, too (and up to 2 ms of the generator's own timer).
pub(crate) fn steady(load: &Load, connections: usize, per_second: f64) -> Vec<Sample> {
    let began = Instant::now();
    run(load, connections, move |n| {
        #[expect(clippy::cast_precision_loss, reason = "a count of some seconds")]
        Some(began + Duration::from_secs_f64(n as f64 / per_second))
    })
}

/// Sends what `due` says: the time of the n-th request, or that there shall be no more.
fn run<D>(load: &Load, connections: usize, due: D) -> Vec<Sample>
where
    D: Fn(usize) -> Option<Instant> + Clone + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let work = connection(load.clone(), Arc::clone(&next), due.clone());
        tasks.spawn_on(work, runtime.handle());
    }
    let samples = async { tokio::time::timeout(PATIENCE, tasks.join_all()).await };
    runtime.block_on(samples).expect("a round in time").concat()
}

async fn connection<D: Fn(usize) -> Option<Instant>>(
    load: Load,
    next: Arc<AtomicUsize>,
    due: D,
) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut open = None;
    let mut buffer = vec![0; ANSWER_MAX];
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let index = if load.again { n % load.requests.len() } else { n };
        let (Some(request), Some(due)) = (load.requests.get(index), due(n)) else {
            return samples;
        };
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
        }
        let stream = match &mut open {
            Some(stream) => stream,
            None => open.insert(connect(load.address).await),
        };
        let answer = exchange(stream, request, &mut buffer).await;
        samples.push((due, due.elapsed()));
        let holds = answer.windows(load.expected.len()).any(|part| part == load.expected);
        assert!(holds, "an answer that was not expected: {}", String::from_utf8_lossy(answer));
        if !load.keep_alive {
            open = None;
        }
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("an option");
    stream
}

/// Sends a request and reads its whole answer.
async fn exchange<'b>(stream: &mut TcpStream, request: &[u8], buffer: &'b mut [u8]) -> &'b [u8] {
    stream.write_all(request).await.expect("sent");
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.expect("an answer");
        assert!(read > 0, "the connection ended before its answer");
        filled += read;
        if let Some(length) = answer_length(&buffer[..filled])
            && filled >= length
        {
            return &buffer[..length];
        }
    }
}

/// The length of the answer that begins here, once its head is complete.
fn answer_length(bytes: &[u8]) -> Option<usize> {
    let body = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let name = b"content-length: ";
    let at = bytes[..body].windows(name.len()).position(|found| found == name);
    let digits = &bytes[at.expect("a length") + name.len()..body];
    let length = digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    Some(body + length)
}
