//! A response body that holds what the request holds (slot, count) until its end, and that the revision timeout ends.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::body::BoxError;

/// The revision timeout passed while the response was streaming: it ends visibly broken.
#[derive(Debug, thiserror::Error)]
#[error("request timeout")]
pub struct TimedOut;

pin_project! {
    /// The user container's response body with `held` attached.
    pub struct Guarded<G> {
        #[pin]
        body: Incoming,
        held: Option<G>,
        #[pin]
        timer: Sleep,
    }
}

impl<G> Guarded<G> {
    /// Releases `held` when the body ends or is dropped.
    pub fn new(body: Incoming, held: G, deadline: Instant) -> Self {
        let held = (!body.is_end_stream()).then_some(held);
        Self {
            body,
            held,
            timer: sleep_until(deadline),
        }
    }
}

impl<G> HttpBody for Guarded<G> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        match this.body.poll_frame(cx) {
            Poll::Ready(frame) => {
                if frame.as_ref().is_none_or(Result::is_err) {
                    *this.held = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => match this.timer.poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(TimedOut.into()))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
