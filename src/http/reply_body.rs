//! The body of an answer: whole, or in parts that are made while the caller reads.
//!
//! Invariant: a body in parts that cannot be finished breaks off, so that nobody takes a part for the whole.

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// See the module.
pub enum ReplyBody {
    /// Known to its end.
    Whole(Chunk),
    /// One part after the other; an error breaks it off.
    Parts(mpsc::Receiver<io::Result<Bytes>>),
}

/// Bytes on their way out.
pub enum Chunk {
    /// Made for this answer.
    Made(Bytes),
    /// The end of a text that others send, too. It lies beside its count, where [`Bytes`] keeps the two apart.
    Shared {
        /// The whole text.
        text: Arc<[u8]>,
        /// What is left to send begins here.
        from: usize,
    },
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.chunk().len()
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Made(bytes) => bytes,
            Self::Shared { text, from } => &text[*from..],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Made(bytes) => bytes.advance(count),
            Self::Shared { from, .. } => *from += count,
        }
    }
}

impl Default for ReplyBody {
    fn default() -> Self {
        Self::Whole(Chunk::Made(Bytes::new()))
    }
}

impl From<Bytes> for ReplyBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Chunk::Made(bytes))
    }
}

impl Body for ReplyBody {
    type Data = Chunk;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Chunk>>>> {
        match self.get_mut() {
            Self::Whole(chunk) if !chunk.has_remaining() => Poll::Ready(None),
            Self::Whole(chunk) => {
                let chunk = std::mem::replace(chunk, Chunk::Made(Bytes::new()));
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Self::Parts(parts) => {
                let part = ready!(parts.poll_recv(context));
                Poll::Ready(part.map(|part| part.map(|bytes| Frame::data(Chunk::Made(bytes)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(chunk) => !chunk.has_remaining(),
            Self::Parts(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(chunk) => SizeHint::with_exact(chunk.remaining() as u64),
            Self::Parts(_) => SizeHint::default(),
        }
    }
}
