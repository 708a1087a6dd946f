//! A response body that keeps its request's place at the instance until its last byte, or its end by force.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::function::Lease;

pin_project_lite::pin_project! {
    /// Frames pass as they come; nothing is held.
    pub(crate) struct Leased {
        #[pin]
        body: Incoming,
        lease: Option<Lease>,
    }
}

impl Leased {
    pub(crate) fn new(body: Incoming, lease: Lease) -> Self {
        Self {
            body,
            lease: Some(lease),
        }
    }
}

impl Body for Leased {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            *this.lease = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
