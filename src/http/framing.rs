//! Watches a connection's first request head for `Content-Length` beside `Transfer-Encoding`.
//!
//! hyper takes such a request and drops the length, as RFC 9112 §6.1 allows; a proxy before us may have
//! read it the other way (request smuggling), so we refuse it with 400. Nothing is changed or delayed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A head longer than this is refused by the server anyway.
const HEAD_MAX: usize = 20 << 10;

/// A stream whose first request head is watched.
pub(super) struct Watched<S> {
    inner: S,
    /// What has been read of the head; `None` when it has ended.
    head: Option<Vec<u8>>,
    ambiguous: Arc<AtomicBool>,
}

impl<S> Watched<S> {
    /// Watches `inner`; the flag tells whether the head was ambiguous.
    pub(super) fn new(inner: S) -> (Self, Arc<AtomicBool>) {
        let ambiguous = Arc::new(AtomicBool::new(false));
        (Self { inner, head: Some(Vec::new()), ambiguous: Arc::clone(&ambiguous) }, ambiguous)
    }

    fn watch(&mut self, bytes: &[u8]) {
        let Some(head) = &mut self.head else {
            return;
        };
        head.extend_from_slice(bytes);
        let end = end_of_head(head);
        if end.is_some() || head.len() > HEAD_MAX {
            let head = &head[..end.unwrap_or(head.len())];
            if names(head, b"content-length") && names(head, b"transfer-encoding") {
                self.ambiguous.store(true, Ordering::Relaxed);
            }
            self.head = None;
        }
    }
}

/// Where the head ends; a bare line feed counts, because the server's parser takes it.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let feeds = |i: usize| bytes[i..].starts_with(b"\n\n") || bytes[i..].starts_with(b"\n\r\n");
    (0..bytes.len()).find(|&i| feeds(i))
}

fn names(head: &[u8], header: &[u8]) -> bool {
    head.split(|&b| b == b'\n').skip(1).any(|line| {
        let name = line.split(|&b| b == b':').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(header)
    })
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.watch(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambiguous(chunks: &[&str]) -> bool {
        let (mut watched, flag) = Watched::new(());
        for chunk in chunks {
            watched.watch(chunk.as_bytes());
        }
        flag.load(Ordering::Relaxed)
    }

    #[test]
    fn both_headers_in_either_order_are_ambiguous() {
        assert!(ambiguous(&[
            "POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        ]));
        assert!(ambiguous(&[
            "POST / HTTP/1.1\r\ntransfer-encod",
            "ing: chunked\r\ncontent-length:4\r\n",
            "\r\n"
        ]));
        assert!(ambiguous(&["POST / HTTP/1.1\nContent-Length: 4\nTransfer-Encoding: chunked\n\n"]));
    }

    #[test]
    fn one_of_them_or_a_body_that_names_them_is_fine() {
        assert!(!ambiguous(&["POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n"]));
        assert!(!ambiguous(&[
            "POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\n",
            "\nTransfer-Encoding: x\r\n\r\n"
        ]));
    }
}
