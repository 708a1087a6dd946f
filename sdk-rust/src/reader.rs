//! Bytes as they arrive: the streaming side of get, and the body of an answer to invoke.
//!
//! Made by the transport and by invoke. Holds one chunk at most; a slow reader slows the sender through TCP. Every
//! silence of the sender is bounded by the call's timeout, and a body that stops early never ends cleanly.

mod silence;

use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use futures_util::{Stream, stream};
use http_body::Body as _;
use hyper::body::Incoming;
use tokio::io::{AsyncRead, ReadBuf};
use xdt_proto::ByteCount;

use crate::{Error, ErrorKind, Metadata, Object, Result, aligned::AlignedVec};
use silence::Silence;

/// Most bytes reserved on the word of a header alone; beyond it memory grows with the bytes that really came.
const FIRST_RESERVATION: u64 = 256 * 1024 * 1024;

/// One object, or one answer's body, read as it arrives.
///
/// Implements tokio's `AsyncRead`; [`chunk`](Self::chunk) and [`stream`](Self::stream) give the arriving pieces without
/// a copy. Dropping it before the end gives the retrieval back.
pub struct Reader {
    body: Incoming,
    head: Head,
    /// What `AsyncRead` has received and not yet handed on.
    rest: Bytes,
    received: u64,
    state: State,
    silence: Silence,
}

/// What is known before the first byte.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) content_type: Option<String>,
    pub(crate) metadata: Metadata,
    /// Most bytes that [`Reader::collect`] holds.
    pub(crate) memory_limit: ByteCount,
    /// Longest silence of the sender.
    pub(crate) silence: Duration,
    /// Whether this is the body of an answer: whatever breaks, user code has run.
    pub(crate) is_answer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Failed(ErrorKind),
}

impl Reader {
    pub(crate) fn new(body: Incoming, head: Head) -> Self {
        let silence = Silence::new(head.silence);
        Self {
            body,
            head,
            rest: Bytes::new(),
            received: 0,
            state: State::Open,
            silence,
        }
    }

    /// Bytes still to come, where that is known: at first the size of the object (or of the range asked for).
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.body.size_hint().exact().map(|left| left + self.rest.len() as u64)
    }

    /// The content type, as in [`Object::content_type`].
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.head.content_type.as_deref()
    }

    /// User metadata, as in [`Object::metadata`].
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.head.metadata
    }

    /// The next bytes, as many as have arrived together; `None` at the verified end.
    ///
    /// # Errors
    /// [`ErrorKind::TransferBroken`] if the body ends early, [`ErrorKind::Timeout`] if nothing comes for the call's
    /// timeout. Bytes delivered before are then void, and every later call fails likewise.
    /// # Cancel safety
    /// Dropping the future loses no bytes.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// The arriving pieces as a stream, which ends after its first error.
    pub fn stream(self) -> impl Stream<Item = Result<Bytes>> + Send + Unpin + use<> {
        Box::pin(stream::unfold(Some(self), async |reader| {
            let mut reader = reader?;
            match reader.chunk().await {
                Ok(chunk) => Some((Ok(chunk?), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        }))
    }

    /// All bytes to the end, in memory that is reserved once where the size is known (the first 256 MiB of it, the rest
    /// as it arrives).
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk), and [`ErrorKind::TooLarge`] over
    /// [`memory_limit`](crate::ClientBuilder::memory_limit), where the size is known before anything is reserved.
    /// # Cancel safety
    /// Dropping the future frees the bytes and gives the retrieval back.
    pub async fn collect(mut self) -> Result<Object> {
        let limit = self.head.memory_limit;
        let size = self.size().unwrap_or(0);
        if size > limit.get() {
            return Err(over(limit));
        }
        let mut bytes = AlignedVec::with_capacity(ByteCount::new(size.min(FIRST_RESERVATION)).as_usize());
        while let Some(chunk) = self.chunk().await? {
            if (bytes.len() + chunk.len()) as u64 > limit.get() {
                return Err(over(limit));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Object::new(
            bytes.into_bytes(),
            self.head.content_type,
            self.head.metadata,
        ))
    }

    /// Takes the place of an answer's body: the answer's content type counts, the object's metadata do not.
    pub(crate) fn become_answer(&mut self, content_type: Option<String>) {
        self.head.content_type = content_type;
        self.head.metadata.clear();
        self.head.is_answer = true;
    }

    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.rest))));
        }
        match self.state {
            State::Open => {}
            State::Ended => return Poll::Ready(Ok(None)),
            State::Failed(kind) => return Poll::Ready(Err(self.told(Error::new(kind, "the transfer failed before")))),
        }
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                ready!(self.silence.poll(cx));
                return Poll::Ready(Err(self.fail(Error::timed_out(self.head.silence))));
            };
            self.silence.broken();
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) if !chunk.is_empty() => {
                        self.received += chunk.len() as u64;
                        return Poll::Ready(Ok(Some(chunk)));
                    }
                    _ => {} // trailers and empty pieces carry no bytes
                },
                Some(Err(_)) => return Poll::Ready(Err(self.fail(self.broken()))),
                None => {
                    self.state = State::Ended;
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }

    fn broken(&self) -> Error {
        let detail = format!("the body broke off after {} bytes", self.received);
        Error::new(ErrorKind::TransferBroken, detail)
    }

    fn fail(&mut self, error: Error) -> Error {
        self.state = State::Failed(error.kind());
        self.told(error)
    }

    fn told(&self, error: Error) -> Error {
        if self.head.is_answer {
            error.after_running()
        } else {
            error
        }
    }
}

fn over(limit: ByteCount) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!("the body is larger than this client's memory limit of {limit}"),
    )
}

impl AsyncRead for Reader {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Some(mut chunk) = ready!(this.poll_chunk(cx))? else {
            return Poll::Ready(Ok(()));
        };
        let count = chunk.len().min(buffer.remaining());
        buffer.put_slice(&chunk[..count]);
        chunk.advance(count);
        this.rest = chunk;
        Poll::Ready(Ok(()))
    }
}

/// Prints what is known and how far the reader is, never bytes or metadata.
impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("received", &self.received)
            .field("left", &self.size())
            .finish_non_exhaustive()
    }
}
