//! The HTTP body of a payload: whole bytes, or a stream whose stated length is enforced.
//!
//! Handed to the HTTP client by the transport and by invoke. Holds at most one chunk; remembers why a source failed,
//! because the HTTP client only tells that a body did.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Chunks;

/// A request body. Ends early only with an error, so that the receiver sees a broken request and never a short one.
pub(crate) enum Outgoing {
    /// All bytes at once; `None` when sent.
    Whole(Option<Bytes>),
    /// Chunk by chunk.
    Stream(StreamBody),
}

pub(crate) struct StreamBody {
    chunks: Chunks,
    /// Bytes still owed of the stated length.
    left: Option<u64>,
    /// The chunk that completes the stated length, kept until the stream has ended there: the HTTP client stops
    /// asking once the length is reached and would cut a longer payload silently.
    last: Option<Bytes>,
    ended: bool,
    fault: PayloadFault,
}

impl Outgoing {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }

    pub(crate) fn stream(chunks: Chunks, length: Option<u64>) -> Self {
        Self::Stream(StreamBody {
            chunks,
            left: length,
            last: None,
            ended: false,
            fault: PayloadFault::default(),
        })
    }

    /// Length in bytes, if known before sending.
    pub(crate) fn length(&self) -> Option<u64> {
        self.size_hint().exact()
    }

    /// Where to learn, after a failed call, whether this body was the reason.
    pub(crate) fn fault(&self) -> PayloadFault {
        match self {
            Self::Whole(_) => PayloadFault::default(),
            Self::Stream(stream) => stream.fault.clone(),
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(stream) => stream
                .poll_chunk(cx)
                .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Stream(stream) => stream.ended && stream.last.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(stream) => stream.left.map_or_else(SizeHint::default, |left| {
                SizeHint::with_exact(left + stream.last.as_ref().map_or(0, |last| last.len() as u64))
            }),
        }
    }
}

impl StreamBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        while !self.ended {
            match ready!(self.chunks.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    let Some(left) = self.left else {
                        return Poll::Ready(Some(Ok(chunk)));
                    };
                    let Some(left) = left.checked_sub(chunk.len() as u64) else {
                        return self.fail(io::Error::other("the payload is longer than its stated length"));
                    };
                    self.left = Some(left);
                    if left > 0 {
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    self.last = Some(chunk);
                }
                Some(Err(error)) => return self.fail(error),
                None if self.left.is_some_and(|left| left > 0) => {
                    return self.fail(io::Error::other("the payload is shorter than its stated length"));
                }
                None => self.ended = true,
            }
        }
        Poll::Ready(self.last.take().map(Ok))
    }

    fn fail(&mut self, error: io::Error) -> Poll<Option<io::Result<Bytes>>> {
        self.ended = true;
        self.last = None;
        self.fault.set(error);
        Poll::Ready(Some(Err(io::Error::other("the payload failed"))))
    }
}

/// Why a payload's source failed, if it did; shared between the body and the call that sends it.
#[derive(Clone, Default)]
pub(crate) struct PayloadFault(Arc<Mutex<Option<io::Error>>>);

impl PayloadFault {
    fn set(&self, error: io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// The source's own error; `None` if the payload did not fail.
    pub(crate) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;

    fn body(chunks: &'static [&'static str], length: Option<u64>) -> Outgoing {
        Outgoing::stream(
            stream::iter(chunks).map(|chunk| Ok(Bytes::from(*chunk))).boxed(),
            length,
        )
    }

    #[tokio::test]
    async fn a_stream_of_its_stated_length_arrives_whole() {
        for length in [None, Some(5)] {
            let body = body(&["ab", "", "cde", ""], length);
            assert_eq!(body.length(), length);
            assert_eq!(body.collect().await.expect("no failure").to_bytes(), "abcde");
        }
        assert_eq!(body(&[], Some(0)).collect().await.expect("no failure").to_bytes(), "");
    }

    #[tokio::test]
    async fn a_stream_of_another_length_fails_before_its_end() {
        let cases: [(&[&str], u64); 3] = [(&["abc"], 4), (&["abc", "d"], 3), (&["abcd"], 3)];
        for (chunks, length) in cases {
            let mut body = body(chunks, Some(length));
            let fault = body.fault();
            let mut sent = 0;
            let error = loop {
                match body.frame().await {
                    Some(Ok(frame)) => sent += frame.into_data().expect("data only").len() as u64,
                    Some(Err(error)) => break error,
                    None => panic!("a clean end for {chunks:?} of {length}"),
                }
            };
            assert!(
                sent <= length && sent < 4,
                "{chunks:?} of {length}: {sent} sent, then {error}"
            );
            assert!(fault.take().expect("the reason").to_string().contains("stated length"));
        }
    }
}
