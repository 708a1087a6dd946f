//! The Knative path: one request of the user container's, its steps in the order they run.
//!
//! With XDT on, two joints are added: a reference in the request becomes its body ([`resolve`]), and a large response
//! becomes a reference for a caller that accepts one ([`offer`]). Without a key ring both are one check.

#![warn(clippy::large_futures)] // one exists for each request, and each level of call would copy it

pub mod activity;
pub mod breaker;
pub mod connect;
pub mod forward;
pub mod guard;
pub mod headers;
pub mod observe;
pub mod offer;
pub mod probe;
pub mod reason;
pub mod resolve;
pub mod stats;
pub mod timeouts;
pub mod upgrade;
pub mod watch;

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;
use xdt_proto::ErrorWord;

use crate::{
    body::{Body, BoxError, ReadOn, empty},
    drain::Drain,
    error::{Problem, plain},
    net::Peer,
    requestlog::{Entry, RequestLog},
    telemetry::Telemetry,
    transfer::Transfer,
};
use activity::Activity;
use breaker::{Breaker, QueueFull, Slot};
use forward::{ForwardError, Forwarded, Forwarder};
use guard::{Held, Timed};
use observe::Observer;
use probe::Prober;
use resolve::Inbound;
use stats::{Counted, Stats};
use timeouts::{Clock, Timeouts};

/// Everything that one request needs; shared by all listeners that serve the user container.
pub struct Invocation {
    /// Answers health checks.
    pub prober: Prober,
    /// Writes a line for each request.
    pub request_log: Option<Arc<RequestLog>>,
    /// Whether the instance is shutting down.
    pub drain: Arc<Drain>,
    /// What the autoscaler is told.
    pub stats: Arc<Stats>,
    /// Bounds concurrency; `None` = unbounded.
    pub breaker: Option<Breaker>,
    /// Talks to the user container.
    pub forwarder: Forwarder,
    /// The XDT half, when there is a key ring.
    pub transfer: Option<Arc<Transfer>>,
    /// How long a request may take.
    pub timeouts: Timeouts,
    /// `XDT_INLINE_LIMIT`.
    pub inline_limit: u64,
    /// Metrics and spans of requests, where they are on.
    pub telemetry: Option<Arc<Telemetry>>,
    /// Upgraded connections, which outlive the HTTP connection they began on.
    pub tunnels: TaskTracker,
}

/// Why a request was answered by the proxy instead of the user container.
enum Refused {
    QueueFull,
    Problem(Problem),
    Upstream(ForwardError),
}

impl Invocation {
    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let log = Entry::begin(self.request_log.as_ref(), &request, peer);
        let is_head = request.method() == Method::HEAD;
        if let Some(answer) = self.prober.answer(&request, self.drain.is_failing_probes()).await {
            return to_head(is_head, log.answered(answer));
        }
        log.passed_on();
        self.drain.touch();
        let clock = Clock::start(self.timeouts);
        let observer = Observer::begin(self.telemetry.as_ref(), &request, peer);
        let request = ReadOn::request(request);
        // Pinned here: passed by value, the state of a whole request would be stored, and copied, at every level.
        let outcome = {
            let invoked = pin!(self.invoke(request, peer, clock, &observer, &log));
            clock.until_started(invoked).await
        };
        let response = match outcome {
            Ok(Ok(response)) => response,
            Ok(Err(refused)) => refused.response(),
            Err(expired) => {
                expired.log();
                expired.response()
            }
        };
        observer.answered(to_head(is_head, log.answered(response)))
    }

    async fn invoke(
        &self,
        mut request: Request<ReadOn>,
        peer: Peer,
        clock: Clock,
        observer: &Observer,
        log: &Entry,
    ) -> Result<Response<Body>, Refused> {
        let accepts_reference = self.transfer.is_some() && headers::accepts_reference(request.headers());
        let inbound = Inbound::of(self.transfer.as_ref(), &mut request)
            .await
            .map_err(Refused::Problem)?;
        let place = self.admit(&request, observer).await?;
        observer.admitted(self.breaker.as_ref());
        // The pull starts before the user container has to accept connections (thesis 6.4.1.3), but not while the
        // request waits for its place: what waits must not hold the memory that the running request may need.
        let body = observer
            .within(inbound.body())
            .await
            .map_err(|error| Refused::Problem(error.into()))?;
        let upgrade = upgrade::asked(&mut request);
        headers::towards_user(&mut request, peer.address, self.transfer.is_some());
        if let Some(upgrade) = &upgrade {
            upgrade.renew(request.headers_mut());
        }
        let (request, fate) = body.into_request(request);
        let (request, call) = observer.calling(request);
        let forwarded = self.forwarder.forward(request, fate.is_some()).await;
        call.ended(&forwarded);
        let forwarded = forwarded.map_err(|error| match fate.and_then(|fate| fate.failure()) {
            Some(word) => Refused::Problem(broken(word)),
            None => Refused::Upstream(error),
        })?;
        let Forwarded { response, lease, close } = forwarded;
        if let Some(kind) = upgrade::switched(&response) {
            return self.switch(upgrade, &kind, response, (place, log.clone()), clock);
        }
        let response = response.map(|body| Held::new(body, (place, lease)));
        let mut response = match &self.transfer {
            Some(transfer) if accepts_reference => {
                let offered = Box::pin(offer::offer(transfer, response, self.inline_limit, clock.end()));
                timed(observer.within(offered).await, &clock).await
            }
            _ => timed(response, &clock).await,
        };
        headers::towards_client(response.headers_mut());
        if close {
            headers::announce_close(response.headers_mut());
        }
        reason::standardize(&mut response);
        Ok(response)
    }

    /// Counts the request for the autoscaler and waits for its turn; the kubelet's own requests do neither.
    async fn admit(&self, request: &Request<ReadOn>, observer: &Observer) -> Result<Place, Refused> {
        if headers::is_kubelet_probe(request.headers()) {
            return Ok(Place::default());
        }
        let counted = self.stats.arrived(headers::came_through_activator(request.headers()));
        observer.queueing(self.breaker.as_ref());
        let slot = breaker::slot(self.breaker.as_ref())
            .await
            .map_err(|QueueFull| Refused::QueueFull)?;
        Ok(Place {
            _counted: Some(counted),
            _slot: slot,
            _observed: observer.clone(),
        })
    }

    /// Passes a `101` on and joins both sides behind it, until either closes or the request's time is over.
    fn switch(
        &self,
        upgrade: Option<upgrade::Asked>,
        kind: &http::HeaderValue,
        mut response: Response<Incoming>,
        held: (Place, Entry),
        clock: Clock,
    ) -> Result<Response<Body>, Refused> {
        let activity = Activity::begin();
        let tunnel = upgrade
            .ok_or(upgrade::Mismatch)
            .and_then(|upgrade| upgrade.join(&mut response, activity.clone()));
        let tunnel = tunnel.map_err(|mismatch| Refused::Upstream(mismatch.into()))?;
        self.tunnels.spawn(async move {
            if let Err(expired) = clock.until_closed(&activity, tunnel).await {
                expired.log();
            }
            drop(held);
        });
        headers::towards_client(response.headers_mut());
        upgrade::restore(response.headers_mut(), kind);
        Ok(response.map(|_| crate::body::empty()))
    }
}

/// What one request holds until its response has ended: its place in the statistics and in the breaker, and
/// whoever measures it.
#[derive(Default)]
struct Place {
    _counted: Option<Counted>,
    _slot: Option<Slot>,
    _observed: Observer,
}

/// From now on the request's time runs against its body.
async fn timed<B>(response: Response<B>, clock: &Clock) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let (parts, body) = response.into_parts();
    Response::from_parts(parts, Body::new(Timed::begin(body, clock).await))
}

/// An answer of our own to a HEAD: the length of its body, without the body (RFC 9110, section 9.3.2).
fn to_head(is_head: bool, mut response: Response<Body>) -> Response<Body> {
    if !is_head || response.body().is_end_stream() {
        return response;
    }
    if let Some(length) = response.body().size_hint().exact() {
        response
            .headers_mut()
            .entry(header::CONTENT_LENGTH)
            .or_insert_with(|| length.into());
    }
    response.map(|_| empty())
}

fn broken(word: ErrorWord) -> Problem {
    Problem {
        word,
        detail: "the request's object broke off after its delivery had begun".to_owned(),
    }
}

impl Refused {
    fn response(&self) -> Response<Body> {
        match self {
            Self::QueueFull => plain(StatusCode::SERVICE_UNAVAILABLE, "pending request queue full"),
            Self::Problem(problem) => problem.response(),
            Self::Upstream(error) => {
                error.log();
                plain(StatusCode::BAD_GATEWAY, &error.to_string())
            }
        }
    }
}
