//! Response bodies on their way to the client: [`Held`] keeps what the request holds (slot, count) until the user
//! container's body has ended, and [`Timed`] ends a body when the request's time is over, whether or not anybody reads
//! it.
//!
//! A body that came whole with its head, as most small ones do, costs no timer. Every other one has a single entry in
//! the runtime's timer wheel and no task: the entry's waker is the watch itself.

use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    task::coop::{Unconstrained, unconstrained},
    time::{Instant, Sleep, sleep_until},
};

use super::{headers, timeouts::Clock};
use crate::body::BoxError;

/// The request's time passed while its response was streaming: it ends visibly broken.
#[derive(Debug, thiserror::Error)]
#[error("request timeout")]
pub struct TimedOut;

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

/// The user container's response body with something attached, which is let go at its end.
pub struct Held<G>(Option<(Incoming, G)>);

impl<G> Held<G> {
    /// Lets `guard` go when `body` ends or is dropped.
    pub fn new(body: Incoming, guard: G) -> Self {
        Self((!body.is_end_stream()).then_some((body, guard)))
    }
}

impl<G: Unpin> HttpBody for Held<G> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let Some((body, _)) = self.0.as_mut() else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        if let Poll::Ready(Some(Err(error))) = &polled {
            tracing::error!(%error, "error reverse proxying request; the response broke off");
        }
        // Trailers are the end, which hyper does not say of HTTP/1.1's.
        let last = |frame: &Result<Frame<Bytes>, _>| frame.as_ref().map_or(true, Frame::is_trailers);
        if let Poll::Ready(frame) = &polled
            && (frame.as_ref().is_none_or(last) || body.is_end_stream())
        {
            self.0 = None;
        }
        polled.map(|frame| frame.map(|frame| frame.map(clean).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

/// The frame, without what trailers must not say.
pub fn clean(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        headers::clean_trailers(trailers);
    }
    frame
}

/// A body that ends with [`TimedOut`] when the request's time is over; the source is dropped at that moment.
pub struct Timed<B> {
    /// What came with the head.
    first: Option<Result<Frame<Bytes>, BoxError>>,
    source: Source<B>,
    size: SizeHint,
}

enum Source<B> {
    Watched(Arc<Watch<B>>),
    /// Nothing more comes.
    Exhausted,
    /// And the reader knows.
    Ended,
}

impl<B> Timed<B>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    /// Takes from `body` what is there already, and watches over the rest, if any.
    pub async fn begin(mut body: B, clock: &Clock) -> Self {
        let size = body.size_hint();
        let (first, source) = if body.is_end_stream() {
            (None, Source::Ended)
        } else {
            match poll_fn(|cx| Poll::Ready(Pin::new(&mut body).poll_frame(cx))).await {
                Poll::Ready(None) => (None, Source::Exhausted),
                Poll::Ready(Some(frame)) if frame.is_err() || body.is_end_stream() => (Some(frame), Source::Exhausted),
                Poll::Ready(first) => (first, Source::Watched(Watch::begin(body, *clock))),
                Poll::Pending => (None, Source::Watched(Watch::begin(body, *clock))),
            }
        };
        Self { first, source, size }
    }
}

impl<B> HttpBody for Timed<B>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            if matches!(this.source, Source::Exhausted) {
                this.source = Source::Ended;
            }
            return Poll::Ready(Some(first));
        }
        let Source::Watched(watch) = &this.source else {
            this.source = Source::Ended;
            return Poll::Ready(None);
        };
        let (polled, ended) = watch.poll_frame(cx);
        if ended {
            this.source = Source::Ended;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Ended)
    }

    /// As it was when the response began: nobody asks later, and a source that has ended already must still be
    /// announced with the length, or the unknown length, that the user container gave it.
    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

impl<B> Drop for Timed<B> {
    fn drop(&mut self) {
        if let Source::Watched(watch) = &self.source {
            watch.release();
        }
    }
}

/// A body and its alarm, until either ends the other.
struct Watch<B> {
    clock: Clock,
    watched: Mutex<Option<Watched<B>>>,
}

struct Watched<B> {
    body: B,
    /// Its waker owns the watch, so whoever ends the watch takes it out. Unconstrained, because a waker that is called
    /// while its own alarm is being set would wait for itself.
    alarm: Pin<Box<Unconstrained<Sleep>>>,
    due: Instant,
    written: Instant,
    reader: Option<Waker>,
}

impl<B: Send + 'static> Watch<B> {
    fn begin(body: B, clock: Clock) -> Arc<Self> {
        let written = Instant::now();
        let due = clock.next(written).0;
        let watch = Arc::new(Self {
            clock,
            watched: Mutex::new(Some(Watched {
                body,
                alarm: Box::pin(unconstrained(sleep_until(due))),
                due,
                written,
                reader: None,
            })),
        });
        let waker = Waker::from(watch.clone());
        let ringing = watch.lock().as_mut().is_some_and(|watched| watched.rings(&waker));
        if ringing {
            waker.wake();
        }
        watch
    }
}

impl<B> Watched<B> {
    fn rings(&mut self, waker: &Waker) -> bool {
        self.alarm.as_mut().poll(&mut Context::from_waker(waker)).is_ready()
    }

    /// Sets the alarm anew; whether it rings already.
    fn reset(&mut self, due: Instant, waker: &Waker) -> bool {
        self.due = due;
        self.alarm = Box::pin(unconstrained(sleep_until(due)));
        self.rings(waker)
    }
}

impl<B> Watch<B> {
    fn lock(&self) -> MutexGuard<'_, Option<Watched<B>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the body and the alarm, outside of the lock.
    fn release(&self) {
        let watched = self.lock().take();
        drop(watched);
    }
}

impl<B> Watch<B>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    /// The next frame, and whether it was the last.
    fn poll_frame(&self, cx: &mut Context<'_>) -> (Polled, bool) {
        let mut lock = self.lock();
        let Some(watched) = lock.as_mut() else {
            return (Poll::Ready(Some(Err(TimedOut.into()))), true);
        };
        let polled = Pin::new(&mut watched.body).poll_frame(cx);
        let ended = match &polled {
            Poll::Ready(frame) => frame.as_ref().is_none_or(Result::is_err) || watched.body.is_end_stream(),
            Poll::Pending => false,
        };
        if ended {
            let released = lock.take();
            drop(lock);
            drop(released);
        } else if polled.is_pending() {
            match &mut watched.reader {
                Some(reader) => reader.clone_from(cx.waker()),
                None => watched.reader = Some(cx.waker().clone()),
            }
        } else if self.clock.is_counting_idle() {
            watched.written = Instant::now();
        }
        (polled, ended)
    }
}

/// The alarm rings: either the time is over, or something was written meanwhile and it is set anew.
impl<B: Send + 'static> Wake for Watch<B> {
    fn wake(self: Arc<Self>) {
        let mut lock = self.lock();
        let Some(watched) = lock.as_mut() else { return };
        if Instant::now() < watched.due {
            return; // the runtime ends, and with it all alarms
        }
        let (due, expired) = self.clock.next(watched.written);
        if due > watched.due && !watched.reset(due, &Waker::from(self.clone())) {
            return;
        }
        let late = lock.take();
        drop(lock);
        expired.log();
        let reader = late.and_then(|mut late| late.reader.take());
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

#[cfg(test)]
mod tests;
