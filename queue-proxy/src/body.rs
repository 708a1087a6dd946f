//! HTTP bodies: one boxed type for all listeners, and the body that hands out a delivery.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use tokio::{runtime::Handle, sync::Semaphore};
use xdt_proto::ErrorWord;

use crate::{
    invocation::guard::clean,
    transfer::get::{Delivery, GetError},
};

/// Most bytes read and thrown away after a refusal, so that a client that sends before it listens gets its answer.
const DISCARD_LIMIT: u64 = 1 << 30;
/// Longest time spent on that, waiting for a turn included.
const DISCARD_TIME: Duration = Duration::from_secs(10);
/// Bodies thrown away at once: each fills its connection's read buffer again and again, and hundreds of refused clients
/// must not take more memory than the objects that refused them.
static DISCARDS: Semaphore = Semaphore::const_new(32);

/// A body of unknown length that pauses for so long before it is over the inline limit is a conversation (server-sent
/// events, gRPC streams) and passes as it is: it must not wait for more.
pub const COLLECT_PAUSE: Duration = Duration::from_millis(250);

/// Any error that ends a body early.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The body of requests and responses inside the proxy.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// No bytes.
#[must_use]
pub fn empty() -> Body {
    Body::new(Empty::new().map_err(|never| match never {}))
}

/// These bytes.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Body::new(Full::new(bytes.into()).map_err(|never| match never {}))
}

/// A request's body. What nobody wanted to read of it is read on and thrown away, within bounds, so that its client gets
/// to see its answer instead of a reset connection and can go on using an HTTP/1.1 connection.
pub struct ReadOn {
    body: Option<Incoming>,
    /// The client sends nothing before it is asked to, and nobody has asked.
    awaiting_consent: bool,
}

impl ReadOn {
    /// Wraps the body of `request`.
    #[must_use]
    pub fn request(request: Request<Incoming>) -> Request<Self> {
        let awaiting_consent = request.headers().contains_key(header::EXPECT);
        request.map(|body| Self {
            body: (!body.is_end_stream()).then_some(body),
            awaiting_consent,
        })
    }
}

impl HttpBody for ReadOn {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.awaiting_consent = false;
        let Some(body) = self.body.as_mut() else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        if frame.as_ref().is_none_or(Result::is_err) || body.is_end_stream() {
            self.body = None;
        }
        Poll::Ready(frame.map(|frame| frame.map(clean).map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for ReadOn {
    fn drop(&mut self) {
        if let Some(body) = self.body.take()
            && !self.awaiting_consent
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(discard(body));
        }
    }
}

/// Reads and drops what a refused client is still sending; the answer is on its way already.
pub async fn discard(mut body: Incoming) {
    let all = async {
        let _turn = DISCARDS.acquire().await;
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, |data| data.len() as u64);
            if read > DISCARD_LIMIT {
                break;
            }
        }
    };
    let _given_up_after = tokio::time::timeout(DISCARD_TIME, all).await;
}

/// Why a delivery broke off, told to whoever answers the caller after the body has begun.
#[derive(Clone, Default)]
pub struct Fate(Arc<OnceLock<ErrorWord>>);

impl Fate {
    /// The word, if the delivery failed.
    #[must_use]
    pub fn failure(&self) -> Option<ErrorWord> {
        self.0.get().copied()
    }
}

type Step = Pin<Box<dyn Future<Output = (Delivery, Result<Option<Bytes>, GetError>)> + Send>>;

/// The bytes of a delivery as a body: its length where it is known, an error instead of a clean end where it breaks.
pub struct DeliveryBody {
    step: Option<Step>,
    left: Option<u64>,
    fate: Fate,
}

impl DeliveryBody {
    /// Starts handing out `delivery`.
    #[must_use]
    pub fn new(delivery: Delivery) -> (Self, Fate) {
        let fate = Fate::default();
        let left = delivery.length();
        let step = (left != Some(0)).then(|| Self::step(delivery));
        (
            Self {
                step,
                left,
                fate: fate.clone(),
            },
            fate,
        )
    }

    fn step(mut delivery: Delivery) -> Step {
        Box::pin(async move {
            let next = delivery.next().await;
            (delivery, next)
        })
    }
}

impl HttpBody for DeliveryBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(step) = &mut self.step else {
            return Poll::Ready(None);
        };
        let (delivery, next) = ready!(step.as_mut().poll(cx));
        self.step = None;
        match next {
            Ok(Some(chunk)) => {
                self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
                if self.left != Some(0) {
                    self.step = Some(Self::step(delivery));
                }
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Ok(None) => Poll::Ready(None),
            Err(error) => {
                let _first = self.fate.0.set(error.kind());
                Poll::Ready(Some(Err(error.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.step.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
