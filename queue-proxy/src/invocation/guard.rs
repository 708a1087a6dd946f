//! A response body that holds what the request holds (slot, count) until its end, and that the revision timeout ends,
//! whether or not anybody reads it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use crate::body::BoxError;

/// The revision timeout passed while the response was streaming: it ends visibly broken.
#[derive(Debug, thiserror::Error)]
#[error("request timeout")]
pub struct TimedOut;

/// The user container's body and what is held for it; empty after the end or the timeout.
struct Held<G>(Mutex<Option<(Incoming, G)>>);

impl<G> Held<G> {
    fn lock(&self) -> MutexGuard<'_, Option<(Incoming, G)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user container's response body with something attached.
pub struct Guarded<G> {
    held: Arc<Held<G>>,
    ended: bool,
    /// Ends the exchange at the deadline, also while the client reads nothing.
    _timer: Option<AbortOnDropHandle<()>>,
}

impl<G: Send + 'static> Guarded<G> {
    /// Releases `guard` when the body ends or is dropped, and at `deadline` at the latest.
    pub fn new(body: Incoming, guard: G, deadline: Instant) -> Self {
        let ended = body.is_end_stream();
        let held = Arc::new(Held(Mutex::new((!ended).then_some((body, guard)))));
        let timer = (!ended).then(|| {
            let held = held.clone();
            AbortOnDropHandle::new(tokio::spawn(async move {
                sleep_until(deadline).await;
                tracing::warn!("Request timeout");
                let late = held.lock().take();
                drop(late);
            }))
        });
        Self {
            held,
            ended,
            _timer: timer,
        }
    }
}

impl<G> HttpBody for Guarded<G> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let mut held = self.held.lock();
        let Some((body, _)) = held.as_mut() else {
            drop(held);
            self.ended = true;
            return Poll::Ready(Some(Err(TimedOut.into())));
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let over = match &polled {
            Poll::Ready(frame) => frame.as_ref().is_none_or(Result::is_err) || body.is_end_stream(),
            Poll::Pending => false,
        };
        let released = if over { held.take() } else { None };
        drop(held);
        drop(released);
        self.ended |= over;
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        self.held
            .lock()
            .as_ref()
            .map_or_else(SizeHint::default, |(body, _)| body.size_hint())
    }
}
