//! What HTTP itself carries or refuses on the public listener (product.md §6, §9; hazards.md, HTTP).

use super::market::Market;
use super::wire::{but, freeze, raw, read_all};
use super::{ADMIN_TOKEN, Daemon, PATH, Signed, nonce, now, signed, signed_bytes};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LIMIT: usize = 64 << 10;

fn test_call() -> Signed {
    signed(&but(&freeze("PL1"), "testFlag", json!("1")))
}

/// A request as bytes, with these header lines and the body after them.
fn request(call: &Signed, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {PATH}?{} HTTP/1.1\r\nhost: x\r\n{headers}\r\n", call.query);
    [head.as_bytes(), body].concat()
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    bytes.extend(b"0\r\n\r\n");
    bytes
}

fn status(answer: &str) -> u16 {
    let number = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    number.unwrap_or_else(|| panic!("no status: {answer:?}")).parse().expect("a status")
}

#[tokio::test]
async fn only_post_to_the_one_path_is_taken() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let call = test_call();
    for path in [
        "/",
        "/koogallery",
        "/koogallery/callback/",
        "/koogallery/Callback",
        "/healthz",
        "/v1/summary",
    ] {
        let url = format!("{path}?{}", call.query);
        let request = daemon.request("POST", daemon.callback_addr(), &url).body(call.body.clone());
        assert_eq!(daemon.plain(request).await.status, 404, "{path}");
    }
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let url = format!("{PATH}?{}", call.query);
        let request = daemon.request(method, daemon.callback_addr(), &url).body(call.body.clone());
        let answer = daemon.plain(request).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method}");
    }
}

#[tokio::test]
async fn a_body_of_64_kib_is_taken_and_one_more_byte_is_not() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let padded = |length: usize| {
        let mut body = but(&freeze("PL1"), "testFlag", json!("1"));
        let bare = body.to_string().len() + r#","pad":"""#.len();
        body["pad"] = json!("x".repeat(length - bare));
        assert_eq!(body.to_string().len(), length);
        signed_bytes(body.to_string().as_bytes(), now(), &nonce())
    };
    let to = daemon.callback_addr();
    for (length, expected) in [(LIMIT, 200), (LIMIT + 1, 413), (4 * LIMIT, 413)] {
        let call = padded(length);
        // By the announced length the refusal comes before the body: none is sent.
        let announced = format!("content-length: {length}\r\n");
        let body = if expected == 413 { &[][..] } else { &call.body };
        let answer = raw(to, &request(&call, &announced, body)).await;
        assert_eq!(status(&answer), expected, "{length} announced");
        // Chunks announce nothing: what is too long is refused when it has come, without its end.
        let mut chunks = chunked(&call.body[..length.min(LIMIT + 1)], 5_000);
        if expected == 413 {
            chunks.truncate(chunks.len() - b"0\r\n\r\n".len());
        }
        let call = padded(length);
        let answer = raw(to, &request(&call, "transfer-encoding: chunked\r\n", &chunks)).await;
        assert_eq!(status(&answer), expected, "{length} in chunks");
    }
}

#[tokio::test]
async fn framing_that_two_readers_could_read_differently_is_refused() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let to = daemon.callback_addr();
    let call = test_call();
    let length = format!("content-length: {}\r\n", call.body.len());
    let transfer = "transfer-encoding: chunked\r\n";
    let chunks = chunked(&call.body, 10);
    let answer = raw(to, &request(&call, transfer, &chunks)).await;
    assert_eq!(status(&answer), 200, "chunks alone are fine");
    for headers in [
        format!("{length}{transfer}"),
        format!("{transfer}{length}"),
        format!("Transfer-Encoding: identity, chunked\r\n{length}"),
        format!("{length}content-length: 3\r\n"),
        "content-length: 3, 4\r\n".to_owned(),
        "content-length: -1\r\n".to_owned(),
        "content-length: 3x\r\n".to_owned(),
    ] {
        let answer = raw(to, &request(&call, &headers, &chunks)).await;
        assert_eq!(status(&answer), 400, "{headers}");
    }
    for garbage in
        ["GARBAGE\r\n\r\n", "\u{16}\u{3}\u{1}hello", "POST\r\n\r\n", "POST / HTTP/9.9\r\n\r\n"]
    {
        let answer = raw(to, garbage.as_bytes()).await;
        assert!(answer.is_empty() || status(&answer) == 400, "{garbage:?}: {answer}");
    }
    assert_eq!(daemon.reply(&test_call()).await, "000000", "it goes on");
}

#[tokio::test]
async fn a_head_over_16_kib_is_refused() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let call = test_call();
    let length = call.body.len();
    for (size, expected) in [(12 << 10, 200), (20 << 10, 431)] {
        let headers = format!("content-length: {length}\r\nx-pad: {}\r\n", "x".repeat(size));
        let mut stream = TcpStream::connect(daemon.callback_addr()).await.expect("a connection");
        stream.write_all(&request(&call, &headers, &call.body)).await.expect("sent");
        assert_eq!(status(&read_all(&mut stream).await), expected, "{size}");
    }
}

#[tokio::test]
async fn a_connection_that_stays_behind_is_closed_after_ten_seconds() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let call = test_call();
    let whole = request(&call, &format!("content-length: {}\r\n", call.body.len()), &call.body);
    let in_head = whole.len() - call.body.len() - 5;
    let in_body = whole.len() - 5;
    let begun = Instant::now();
    let wait = async |sent: &[u8]| {
        let answer = raw(daemon.callback_addr(), sent).await;
        (answer, begun.elapsed())
    };
    let (silent, head, body) =
        tokio::join!(wait(b""), wait(&whole[..in_head]), wait(&whole[..in_body]));
    for (answer, took) in [&silent, &head, &body] {
        assert!((9..=13).contains(&took.as_secs()), "{took:?}: {answer}");
    }
    assert!(silent.0.is_empty() || status(&silent.0) == 408, "{}", silent.0);
    assert!(head.0.is_empty() || status(&head.0) == 408, "{}", head.0);
    assert_eq!(status(&body.0), 408);
    assert_eq!(daemon.reply(&test_call()).await, "000000");
}

#[tokio::test]
async fn a_connection_to_the_public_listener_carries_one_call() {
    let market = Market::start().await;
    let daemon = Daemon::start(&[market.http()]).await;
    let two = [test_call(), test_call()].map(|call| {
        let length = call.body.len();
        request(
            &call,
            &format!("connection: keep-alive\r\ncontent-length: {length}\r\n"),
            &call.body,
        )
    });
    let answer = raw(daemon.callback_addr(), &two.concat()).await;
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    // The local listeners keep theirs.
    let mut stream = TcpStream::connect(daemon.admin_addr()).await.expect("a connection");
    let head = format!(
        "GET /v1/jobs HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
    );
    for _ in 0..2 {
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        let mut rest = Vec::new();
        while !rest.windows(12).any(|end| end == b"\"next\":null}") {
            assert!(stream.read_buf(&mut rest).await.expect("its body") > 0);
        }
    }
}

#[tokio::test]
async fn more_connections_than_allowed_wait_their_turn() {
    let market = Market::start().await;
    let setup = super::Setup {
        endpoints: vec![market.http()],
        callback: "max-connections = 2".to_owned(),
        ..super::Setup::default()
    };
    let daemon = Daemon::with(setup).await;
    let mut idle = Vec::new();
    for _ in 0..2 {
        idle.push(TcpStream::connect(daemon.callback_addr()).await.expect("a connection"));
    }
    let call = test_call();
    let mut waiting = std::pin::pin!(daemon.reply(&call));
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.as_mut()).await;
    assert!(early.is_err(), "both places are taken");
    drop(idle);
    assert_eq!(waiting.await, "000000");
    assert_eq!(daemon.admin("GET", "/v1/summary", &Value::Null).await.status, 200);
}
