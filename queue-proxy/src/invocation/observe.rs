//! Measures and traces one request on its way: one [`Observer`] for each, which the pipeline tells what happens.
//!
//! Everything is recorded when the last holder lets go: the response's body, or the tunnel of an upgraded connection.
//! Whatever ends a request, also a client that leaves, is so counted once. Where telemetry is off an observer is one
//! empty `Option`. Source: contract of the queue-proxy, sections 7.2, 7.3 and 9; Knative `pkg/queue/request_metric.go`.

mod spans;

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use opentelemetry::trace::FutureExt as _;

use super::{
    breaker::Breaker,
    connect::DialError,
    forward::{ForwardError, Forwarded},
    headers,
    watch::Watched,
};
use crate::{
    body::{Body, BoxError},
    net::Peer,
    telemetry::{Labels, Telemetry},
};
use spans::Spans;

/// Status of a request whose client left before there was an answer (the stock proxy counts 200, an accident).
const CLIENT_LEFT: u16 = 499;
/// What an upgraded connection counts as: the stock proxy writes no status for it.
const UPGRADED: u16 = 200;
/// Type of the error when a call is given up, in Go's words (its `context.Canceled`).
const CANCELLED: &str = "*errors.errorString";

/// Watches one request; does nothing where telemetry is off.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<Exchange>>);

/// One request and its answer.
struct Exchange {
    telemetry: Arc<Telemetry>,
    labels: Labels,
    /// Probes that reach the user container are no requests in metrics, but calls of the user container they are.
    probe: bool,
    begun: Instant,
    /// Bytes of the request's body that went to the user container.
    read: Arc<AtomicU64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    status: Option<u16>,
    sent: u64,
    /// When the request left the queue.
    invoked: Option<Instant>,
    spans: Spans,
}

impl Observer {
    /// Begins to watch a request that has just come.
    pub fn begin<B>(telemetry: Option<&Arc<Telemetry>>, request: &Request<B>, peer: Peer) -> Self {
        let Some(telemetry) = telemetry else {
            return Self(None);
        };
        let labels = Labels::of(request, peer.tls);
        let probe = headers::is_probe(request.headers());
        let spans = match &telemetry.traces {
            Some(traces) if !probe => Spans::begin(traces, request, &labels, peer),
            _ => Spans::default(),
        };
        Self(Some(Arc::new(Exchange {
            telemetry: telemetry.clone(),
            labels,
            probe,
            begun: Instant::now(),
            read: Arc::default(),
            state: Mutex::new(State {
                spans,
                ..State::default()
            }),
        })))
    }

    /// The request waits for its place now. Not for requests that need none.
    pub fn queueing(&self, breaker: Option<&Breaker>) {
        if let Some(exchange) = &self.0
            && let Some(traces) = &exchange.telemetry.traces
        {
            exchange.state().spans.queueing(traces, breaker.is_some());
        }
    }

    /// The request goes to the user container.
    pub fn admitted(&self, breaker: Option<&Breaker>) {
        if let Some(exchange) = &self.0 {
            if let Some(breaker) = breaker {
                exchange.telemetry.queued(breaker.in_flight());
            }
            let mut state = exchange.state();
            state.spans.admitted();
            state.invoked = Some(Instant::now());
        }
    }

    /// A call of the user container begins: its headers carry the trace on, and its body is counted.
    pub fn calling(&self, request: Request<Body>) -> (Request<Body>, Call) {
        let Some(exchange) = &self.0 else {
            return (request, Call(None));
        };
        let (mut head, body) = request.into_parts();
        if let Some(traces) = &exchange.telemetry.traces {
            let port = exchange.telemetry.user_port;
            exchange
                .state()
                .spans
                .calling(traces, &mut head, &exchange.labels, port);
        }
        let body = Body::new(Counting {
            body,
            read: exchange.read.clone(),
        });
        let call = Call(Some((exchange.clone(), Instant::now())));
        (Request::from_parts(head, body), call)
    }

    /// Awaits `work` as a part of the request's trace.
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> T {
        let context = self.0.as_ref().and_then(|exchange| exchange.state().spans.context());
        match context {
            Some(context) => work.with_context(context).await,
            None => work.await,
        }
    }

    /// This is the answer; its end is the request's.
    pub fn answered(self, response: Response<Body>) -> Response<Body> {
        let Some(exchange) = self.0 else {
            return response;
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // Whoever keeps the tunnel keeps an observer.
            exchange.state().status = Some(UPGRADED);
            return response;
        }
        exchange.state().status = Some(response.status().as_u16());
        response.map(|body| {
            Body::new(Watched::new(body, move |end| {
                let mut state = exchange.state();
                state.sent = end.bytes;
                if end.aborted {
                    state.status = Some(StatusCode::INTERNAL_SERVER_ERROR.as_u16());
                }
            }))
        })
    }
}

impl Exchange {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let (status, sent) = (state.status.unwrap_or(CLIENT_LEFT), state.sent);
        let read = self.read.load(Ordering::Relaxed);
        state.spans.end(status, read, sent);
        if self.probe {
            return;
        }
        if let Some(invoked) = state.invoked {
            self.telemetry.invoked(status, invoked.elapsed());
        }
        self.telemetry
            .served(&self.labels, status, self.begun.elapsed(), read, sent);
    }
}

/// One call of the user container until its head has come; dropped before that, it was given up.
#[must_use]
pub struct Call(Option<(Arc<Exchange>, Instant)>);

impl Call {
    /// The user container has answered, or will not.
    pub fn ended(mut self, result: &Result<Forwarded, ForwardError>) {
        if self.0.is_some() {
            let status = result.as_ref().map(|forwarded| forwarded.response.status().as_u16());
            self.record(status.map_err(error_type));
        }
    }

    fn record(&mut self, result: Result<u16, &'static str>) {
        let Some((exchange, begun)) = self.0.take() else {
            return;
        };
        exchange.state().spans.called(result);
        let read = exchange.read.load(Ordering::Relaxed);
        let (labels, probe) = (&exchange.labels, exchange.probe);
        exchange.telemetry.called(labels, probe, result, begun.elapsed(), read);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.record(Err(CANCELLED));
    }
}

/// The type that the error has in Go's transport: whoever watches stock proxies knows these.
fn error_type(error: &ForwardError) -> &'static str {
    match error {
        ForwardError::Dial(DialError::Refused(_)) => "*net.OpError",
        ForwardError::Dial(DialError::TimedOut(_))
        | ForwardError::NoAnswer(_)
        | ForwardError::Upgrade(_)
        | ForwardError::Connect => "*errors.errorString",
    }
}

/// A request body that counts what the user container takes of it.
struct Counting {
    body: Body,
    read: Arc<AtomicU64>,
}

impl HttpBody for Counting {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
            self.read.fetch_add(bytes, Ordering::Relaxed);
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
