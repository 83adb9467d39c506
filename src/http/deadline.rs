//! How long a connection may keep us waiting for a request's head: one timer for its whole life.
//!
//! hyper's own deadline makes a timer and reads once more for every request. Here the timer goes off once in a
//! while, looks since when a head has been waited for, and goes on if that is not long.
//!
//! Invariant: a connection is ended only while a head is waited for, never while a request is answered or its
//! answer is written, however long either takes.

use super::problem::Answer;
use super::reply_body::{Chunk, ReplyBody};
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

/// Stands where the time would stand since which the caller is waited for.
const OURS: u64 = u64::MAX;

/// Whose turn it is on a connection: the caller's, to send a request's head, or ours, to answer it.
pub(super) struct Turns {
    began: Instant,
    /// Microseconds after `began` at which the caller's turn came, or [`OURS`].
    callers_since: AtomicU64,
}

impl Turns {
    /// A connection has begun, and the caller is to send a head.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), callers_since: AtomicU64::new(0) })
    }

    /// Our turn, until what is returned is dropped.
    pub(super) fn ours(self: &Arc<Self>) -> OurTurn {
        self.callers_since.store(OURS, Ordering::Relaxed);
        OurTurn(Arc::clone(self))
    }

    fn callers(&self) {
        let passed = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(OURS - 1);
        self.callers_since.store(passed, Ordering::Relaxed);
    }

    /// When the caller's turn came; `None` in ours.
    fn waiting_since(&self) -> Option<Instant> {
        let since = self.callers_since.load(Ordering::Relaxed);
        (since != OURS).then(|| self.began + Duration::from_micros(since))
    }
}

/// It is our turn as long as this lives.
pub(super) struct OurTurn(Arc<Turns>);

impl OurTurn {
    /// Ends with the last of the answer's body.
    pub(super) fn answering(self, answer: Answer) -> Response<Answering> {
        answer.map(|body| Answering { body, _turn: self })
    }
}

impl Drop for OurTurn {
    fn drop(&mut self) {
        self.0.callers();
    }
}

/// The body of an answer; dropped when all of it has been taken.
pub(super) struct Answering {
    body: ReplyBody,
    _turn: OurTurn,
}

impl Body for Answering {
    type Data = Chunk;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Chunk>>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that ends with an error when the caller's turn takes longer than it may.
pub(super) struct Punctual<S> {
    inner: S,
    limit: Duration,
    turns: Arc<Turns>,
    timer: Pin<Box<Sleep>>,
    /// Whom the timer wakes.
    waker: Option<Waker>,
    /// The caller does not read what we have written: the rest of an answer is still ours to send.
    full: bool,
}

impl<S> Punctual<S> {
    /// Lets each of the caller's turns take `limit`.
    pub(super) fn new(inner: S, limit: Duration, turns: Arc<Turns>) -> Self {
        let timer = Box::pin(tokio::time::sleep(limit));
        Self { inner, limit, turns, timer, waker: None, full: false }
    }

    /// Resolves when the caller's turn has taken too long.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let waits = self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        if waits && !self.timer.is_elapsed() {
            return Poll::Pending;
        }
        self.waker = Some(context.waker().clone());
        loop {
            // A task that has spent its turn would not be told, and this asks but once.
            ready!(pin!(unconstrained(self.timer.as_mut())).poll(context));
            let now = Instant::now();
            let since = self.turns.waiting_since().filter(|_| !self.full).unwrap_or(now);
            if now.duration_since(since) >= self.limit {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(since + self.limit);
        }
    }

    fn wrote<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if written.is_pending() {
            self.full = true;
        } else if std::mem::take(&mut self.full) && self.turns.waiting_since().is_some() {
            self.turns.callers();
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Punctual<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(context, buffer) {
            return Poll::Ready(read);
        }
        ready!(self.poll_late(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request's head came in time")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Punctual<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        self.wrote(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.wrote(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    const LIMIT: Duration = Duration::from_secs(10);
    const SECOND: Duration = Duration::from_secs(1);

    fn connection() -> (Punctual<DuplexStream>, Arc<Turns>, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(8);
        let turns = Turns::new();
        (Punctual::new(ours, LIMIT, Arc::clone(&turns)), turns, theirs)
    }

    /// How long a reader waits until the connection is given up.
    async fn given_up_after(stream: &mut Punctual<DuplexStream>) -> Duration {
        let began = Instant::now();
        let read = stream.read(&mut [0; 8]).await;
        assert_eq!(read.expect_err("nothing came").kind(), io::ErrorKind::TimedOut);
        began.elapsed()
    }

    /// Whether a reader may wait for a long time.
    async fn is_kept(stream: &mut Punctual<DuplexStream>) -> bool {
        let mut buffer = [0; 8];
        tokio::time::timeout(LIMIT * 100, stream.read(&mut buffer)).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_trickles_is_given_up_as_one_that_is_silent() {
        let (mut stream, _turns, mut caller) = connection();
        for _ in 0..7 {
            tokio::time::advance(SECOND).await;
            caller.write_all(b"x").await.expect("sent");
            assert_eq!(stream.read(&mut [0; 8]).await.expect("read"), 1);
        }
        let rest = given_up_after(&mut stream).await;
        assert!((SECOND * 2..SECOND * 4).contains(&rest), "{rest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn each_turn_of_the_caller_has_its_own_time_and_ours_has_none() {
        let (mut stream, turns, caller) = connection();
        let ours = turns.ours();
        assert!(is_kept(&mut stream).await, "a request is answered as long as it takes");
        drop(ours);
        let waited = given_up_after(&mut stream).await;
        assert!((LIMIT..LIMIT + SECOND).contains(&waited), "{waited:?}");
        drop(caller);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_the_caller_does_not_read_is_ours_to_send() {
        let (mut stream, _turns, mut caller) = connection();
        let writing = tokio::time::timeout(SECOND, stream.write_all(b"more than eight"));
        writing.await.expect_err("nobody reads");
        assert!(is_kept(&mut stream).await, "nobody is late");
        caller.read_exact(&mut [0; 8]).await.expect("read");
        stream.write_all(b"more").await.expect("there is room");
        let waited = given_up_after(&mut stream).await;
        assert!((LIMIT..LIMIT + SECOND).contains(&waited), "{waited:?}");
    }
}
