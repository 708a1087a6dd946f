//! A request's body on its way to the user container, which the answer may overtake.
//!
//! Contract of the queue-proxy, section 2.4. A client that waits for `100 Continue` is read only with the user
//! container's consent, or after a second. Without full duplex, what is left of the body when the answer comes is read
//! before the answer goes out, up to [`MAX_REST`]; many HTTP/1.1 clients write all before they read.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use super::pieces::Pieces;
use crate::body::{Body, BoxError};

/// Most that is read ahead of the user container (Go: 256 KiB).
const MAX_REST: u64 = 256 * 1024;
/// Most pieces kept of what is read ahead: each costs memory beside its bytes.
const MAX_PIECES: usize = 16 * 1024;
/// How long a user container may take to consent before the body is sent anyway (Go: 1 s).
const CONSENT_TIME: Duration = Duration::from_secs(1);

/// The answer is over, and nobody waits for the rest of this body.
#[derive(Debug, thiserror::Error)]
#[error("the answer was over before the request")]
struct Overtaken;

struct State {
    source: Option<Body>,
    consent: Consent,
    /// Read from the source, not yet sent.
    ahead: VecDeque<Frame<Bytes>>,
    failed: Option<BoxError>,
    /// The source is being read ahead, by another task than the sender's.
    reading_ahead: bool,
    /// Whoever sends the body.
    sender: Option<Waker>,
}

enum Consent {
    /// Nobody asked for it.
    NotNeeded,
    Awaited(Option<Pin<Box<Sleep>>>),
    Given,
}

/// A handle of the body; the user container's connection has the other.
#[derive(Clone)]
pub(super) struct Upload(Arc<Shared>);

struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut *source).poll_frame(cx));
        if frame.as_ref().is_none_or(Result::is_err) || source.is_end_stream() {
            self.source = None;
        }
        Poll::Ready(frame)
    }

    /// Reads what is left, unless that is too much; counts it in `read`. True when all of it was read.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, read: &mut u64) -> Poll<bool> {
        loop {
            let left = self.source.as_ref().and_then(|source| source.size_hint().exact());
            if *read > MAX_REST || self.ahead.len() > MAX_PIECES || left.is_some_and(|left| left >= MAX_REST) {
                return Poll::Ready(false);
            }
            match ready!(self.poll_source(cx)) {
                None => return Poll::Ready(self.failed.is_none()),
                Some(Err(error)) => {
                    self.failed = Some(error);
                    return Poll::Ready(false);
                }
                Some(Ok(frame)) => {
                    *read += frame.data_ref().map_or(0, |data| data.len() as u64);
                    self.ahead.push_back(frame);
                    self.wake_sender();
                }
            }
        }
    }

    fn wake_sender(&mut self) {
        if let Some(sender) = self.sender.take() {
            sender.wake();
        }
    }
}

impl Upload {
    /// Takes the body of `request` into its hands. With `asks`, the client waits for consent.
    pub(super) fn wrap(request: Request<Body>, asks: bool) -> (Request<Body>, Self) {
        let (parts, body) = request.into_parts();
        let upload = Self(Arc::new(Shared(Mutex::new(State {
            source: Some(body),
            consent: if asks {
                Consent::Awaited(None)
            } else {
                Consent::NotNeeded
            },
            ahead: VecDeque::new(),
            failed: None,
            reading_ahead: false,
            sender: None,
        }))));
        let sending = Sending(upload.0.clone());
        (Request::from_parts(parts, Body::new(Pieces::new(sending))), upload)
    }

    /// The user container wants the body. False if nobody had asked.
    pub(super) fn consent(&self) -> bool {
        let mut state = self.0.lock();
        let asked = !matches!(state.consent, Consent::NotNeeded);
        if matches!(state.consent, Consent::Awaited(_)) {
            state.consent = Consent::Given;
            state.wake_sender();
        }
        asked
    }

    /// Whether the answer came before a body that its client still holds back.
    pub(super) fn refuses_to_wait(&self) -> bool {
        let state = self.0.lock();
        state.source.is_some() && !matches!(state.consent, Consent::NotNeeded)
    }

    /// The answer has come: reads the rest of the body, so that it has been read before the answer goes out. False if
    /// that is too much, is held back by the client, or breaks off.
    pub(super) async fn read_rest(&self) -> bool {
        {
            let mut state = self.0.lock();
            if state.source.is_some() && !matches!(state.consent, Consent::NotNeeded) {
                return false;
            }
            state.reading_ahead = true;
        }
        let mut read = 0;
        let whole = poll_fn(|cx| self.0.lock().poll_ahead(cx, &mut read)).await;
        let mut state = self.0.lock();
        state.reading_ahead = false;
        state.wake_sender();
        whole
    }
}

/// Held while the answer lasts. Afterwards nobody waits for a body that is not over yet; what was read of it is still
/// sent, so that the connection can be used again.
pub(super) struct Unfinished(pub(super) Upload);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.reading_ahead = false;
        if state.source.take().is_some() {
            state.failed = Some(Overtaken.into());
            state.wake_sender();
        }
    }
}

/// The body as the user container's connection sends it.
struct Sending(Arc<Shared>);

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.0.lock();
        if let Some(frame) = state.ahead.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = state.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Consent::Awaited(timer) = &mut state.consent {
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(CONSENT_TIME)));
            if timer.as_mut().poll(cx).is_pending() {
                state.sender = Some(cx.waker().clone());
                return Poll::Pending;
            }
            state.consent = Consent::Given;
        }
        let polled = if state.reading_ahead {
            Poll::Pending
        } else {
            state.poll_source(cx)
        };
        if polled.is_pending() {
            state.sender = Some(cx.waker().clone());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock();
        state.ahead.is_empty() && state.failed.is_none() && state.source.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.0.lock();
        let ahead: u64 = state
            .ahead
            .iter()
            .filter_map(Frame::data_ref)
            .map(|data| data.len() as u64)
            .sum();
        let exact = state
            .source
            .as_ref()
            .map_or(Some(0), |source| source.size_hint().exact());
        exact.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + ahead))
    }
}
