//! One connection: each request of it is answered in its turn, and a stop lets the one under way finish.
//!
//! hyper answers an idle connection's graceful shutdown by closing it, which is right for one that is kept
//! alive and wrong for one that has yet to send its only request: that one is let finish by itself.

use super::deadline::{Answering, OurTurn, Punctual, Turns};
use super::framing::Watched;
use super::problem::Answer;
use super::server::{Limits, stopped};
use crate::telemetry::{Answered, as_request};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::unconstrained;

/// How long a request's head may take (product.md §9).
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// The largest request head.
const HEAD_BYTES: usize = 16 << 10;

/// What became of a request at once: its answer, or the way to it.
pub enum Begun<F> {
    /// Answered. Nothing is made for such a request that only a longer one needs.
    Done(Answer),
    /// Under way.
    UnderWay(F),
}

/// Serves a connection to its end, or until `stop` turns true and what is under way is answered.
pub(super) async fn serve<S, F, R>(
    stream: S,
    limits: Limits,
    answer: Arc<F>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> Begun<R> + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let turns = Turns::new();
    let (stream, ambiguous) =
        Watched::new(Punctual::new(stream, HEAD_DEADLINE, Arc::clone(&turns)));
    let answered = limits.answered;
    let service = service_fn(move |request: Request<Incoming>| {
        let asked = Asked { turn: turns.ours(), has_body: !request.body().is_end_stream() };
        let begun = if ambiguous.load(Ordering::Relaxed) {
            let mut refused = Response::default();
            *refused.status_mut() = StatusCode::BAD_REQUEST;
            Begun::Done(last(refused))
        } else {
            answer(request)
        };
        match begun {
            Begun::Done(answer) => Responding::Done(Some(asked.response(answer, &answered))),
            // Boxed, so that the state of all routes is not moved about with an answer that is ready.
            Begun::UnderWay(work) => {
                let answered = answered.clone();
                Responding::UnderWay(Box::pin(async move {
                    asked.response(as_request(work).await, &answered)
                }))
            }
        }
    });
    let mut serving = pin!(
        http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES)
            .keep_alive(limits.keep_alive)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = if limits.keep_alive {
        let mut news = News::of(&stop);
        // A task that has spent its turn would not be told, and this asks but once.
        let mut stopping = pin!(unconstrained(stopped(&mut stop)));
        poll_fn(|context| {
            let ended = serving.as_mut().poll(context);
            if ended.is_pending()
                && news.may_have_come(context)
                && stopping.as_mut().poll(context).is_ready()
            {
                news.end();
                serving.as_mut().graceful_shutdown();
                return serving.as_mut().poll(context);
            }
            ended
        })
        .await
    } else {
        serving.await
    };
    if let Err(error) = ended {
        tracing::debug!(listener = limits.name, %error, "a connection ended early");
    }
}

/// Whether it is worth to ask if the listener stops: whoever asks takes a lock that all connections share, and
/// a connection would ask after every request.
enum News {
    Awaited { signal: watch::Receiver<bool>, waker: Option<Waker> },
    Ended,
}

impl News {
    fn of(stop: &watch::Receiver<bool>) -> Self {
        Self::Awaited { signal: stop.clone(), waker: None }
    }

    /// The first time, whenever something was told since, and when another waker is to be woken.
    fn may_have_come(&mut self, context: &Context<'_>) -> bool {
        let Self::Awaited { signal, waker } = self else { return false };
        let waits = waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
        if waits && matches!(signal.has_changed(), Ok(false)) {
            return false;
        }
        *waker = Some(context.waker().clone());
        true
    }

    fn end(&mut self) {
        *self = Self::Ended;
    }
}

/// A request that is to be answered.
struct Asked {
    turn: OurTurn,
    has_body: bool,
}

impl Asked {
    fn response(self, answer: Answer, answered: &Answered) -> Response<Answering> {
        answered.count(answer.status().as_u16());
        // A refused body may not have been read to its end. hyper would then close without a word, and a
        // client that keeps connections would lose its next request on this one.
        let is_last = self.has_body && answer.status().is_client_error();
        self.turn.answering(if is_last { last(answer) } else { answer })
    }
}

/// What hyper waits for.
enum Responding<F> {
    /// `None` when it has been taken.
    Done(Option<Response<Answering>>),
    UnderWay(Pin<Box<F>>),
}

impl<F: Future<Output = Response<Answering>>> Future for Responding<F> {
    type Output = Result<Response<Answering>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Done(response) => {
                response.take().map_or(Poll::Pending, |told| Poll::Ready(Ok(told)))
            }
            Self::UnderWay(work) => work.as_mut().poll(context).map(Ok),
        }
    }
}

/// Marks an answer as the last one of its connection.
fn last(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}
