//! The body of an answer on an HTTP/1.1 connection: its trailers go out whether or not they were announced, and whether
//! or not the client said `TE: trailers` (contract of the queue-proxy, section 2.4). hyper alone would drop them.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::wire::Line;
use crate::body::{Body, BoxError};

/// Tells the connection's line when it is over, however that comes.
pub(super) struct Reply {
    body: Body,
    line: Arc<Line>,
    trailers: Trailers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trailers {
    /// An HTTP/1.0 client cannot get any.
    Dropped,
    Sent,
    /// They wait until everything before them is written.
    Left,
}

impl Reply {
    pub(super) fn new(body: Body, line: Arc<Line>, http11: bool) -> Self {
        let trailers = if http11 { Trailers::Sent } else { Trailers::Dropped };
        Self { body, line, trailers }
    }
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.trailers == Trailers::Left {
            return if self.line.trailers_are_next() {
                Poll::Ready(None)
            } else {
                Poll::Pending
            };
        }
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) if self.trailers == Trailers::Sent && !trailers.is_empty() => {
                    self.line.leave_trailers(&trailers);
                    self.trailers = Trailers::Left;
                    Poll::Pending // the wire wakes this task once it has written what came before
                }
                Ok(_) => Poll::Ready(None),
                Err(frame) => Poll::Ready(Some(Ok(frame))),
            },
            other => Poll::Ready(other),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.trailers != Trailers::Left && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.line.done();
    }
}
