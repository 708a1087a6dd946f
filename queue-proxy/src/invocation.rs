//! The Knative path: one request of the user container's, its steps in the order they run.
//!
//! With XDT on, two joints are added: a reference in the request becomes its body ([`resolve`]), and a large response
//! becomes a reference for a caller that accepts one ([`offer`]). Without a key ring both are one check.

pub mod breaker;
pub mod connect;
pub mod forward;
pub mod guard;
pub mod headers;
pub mod offer;
pub mod probe;
pub mod resolve;
pub mod stats;
pub mod upgrade;
pub mod watch;

use std::{sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use xdt_proto::ErrorWord;

use crate::{
    body::{Body, discard},
    drain::Drain,
    error::{Problem, plain},
    net::Peer,
    transfer::Transfer,
};
use breaker::{Breaker, QueueFull, Slot};
use forward::{ForwardError, Forwarder};
use guard::Guarded;
use probe::Prober;
use resolve::Inbound;
use stats::{Counted, Stats};

/// Everything that one request needs; shared by all listeners that serve the user container.
pub struct Invocation {
    /// Answers health checks.
    pub prober: Prober,
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
    /// `REVISION_TIMEOUT_SECONDS`.
    pub timeout: Duration,
    /// `XDT_INLINE_LIMIT`.
    pub inline_limit: u64,
    /// Upgraded connections, which outlive the HTTP connection they began on.
    pub tunnels: TaskTracker,
}

/// Why a request was answered by the proxy instead of the user container.
enum Refused {
    QueueFull,
    Problem(Problem),
    Upstream(ForwardError),
    Upgrade(upgrade::Mismatch),
}

impl Invocation {
    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        if let Some(answer) = self.prober.answer(&request, self.drain.is_failing_probes()).await {
            return answer;
        }
        self.drain.touch();
        let deadline = Instant::now() + self.timeout;
        match tokio::time::timeout_at(deadline, self.invoke(request, peer, deadline)).await {
            Ok(Ok(response)) => response,
            Ok(Err(refused)) => refused.response(),
            Err(_) => timed_out(),
        }
    }

    async fn invoke(
        &self,
        mut request: Request<Incoming>,
        peer: Peer,
        deadline: Instant,
    ) -> Result<Response<Body>, Refused> {
        let accepts_reference = self.transfer.is_some() && headers::accepts_reference(request.headers());
        let inbound = match Inbound::of(self.transfer.as_ref(), &mut request).await {
            Ok(inbound) => inbound,
            Err(problem) => return Err(refuse(request, Refused::Problem(problem))),
        };
        let place = match self.admit(&request).await {
            Ok(place) => place,
            Err(refused) => return Err(refuse(request, refused)),
        };
        // The pull starts before the user container has to accept connections (thesis 6.4.1.3), but not while the
        // request waits for its place: what waits must not hold the memory that the running request may need.
        let body = match inbound.body().await {
            Ok(body) => body,
            Err(error) => return Err(refuse(request, Refused::Problem(error.into()))),
        };
        let upgrade = upgrade::asked(&mut request);
        headers::towards_user(&mut request, peer.address, self.transfer.is_some());
        if let Some(upgrade) = &upgrade {
            upgrade.renew(request.headers_mut());
        }
        let (request, fate) = body.into_request(request);
        let response = self.forwarder.forward(request, fate.is_some()).await.map_err(|error| {
            match fate.and_then(|fate| fate.failure()) {
                Some(word) => Refused::Problem(broken(word)),
                None => Refused::Upstream(error),
            }
        })?;
        if let Some(kind) = upgrade::switched(&response) {
            return self.switch(upgrade, &kind, response, place, deadline);
        }
        let response = response.map(|body| Guarded::new(body, place, deadline));
        let mut response = match &self.transfer {
            Some(transfer) if accepts_reference => offer::offer(transfer, response, self.inline_limit, deadline).await,
            _ => response.map(Body::new),
        };
        headers::towards_client(response.headers_mut());
        Ok(response)
    }

    /// Counts the request for the autoscaler and waits for its turn; the kubelet's own requests do neither.
    async fn admit(&self, request: &Request<Incoming>) -> Result<Place, Refused> {
        if headers::is_kubelet_probe(request.headers()) {
            return Ok(Place::default());
        }
        let counted = self.stats.arrived(headers::came_through_activator(request.headers()));
        let slot = breaker::slot(self.breaker.as_ref())
            .await
            .map_err(|QueueFull| Refused::QueueFull)?;
        Ok(Place {
            _counted: Some(counted),
            _slot: slot,
        })
    }

    /// Passes a `101` on and joins both sides behind it, until either closes or the request's time is over.
    fn switch(
        &self,
        upgrade: Option<upgrade::Asked>,
        kind: &http::HeaderValue,
        mut response: Response<Incoming>,
        place: Place,
        deadline: Instant,
    ) -> Result<Response<Body>, Refused> {
        let tunnel = upgrade
            .ok_or(upgrade::Mismatch)
            .and_then(|upgrade| upgrade.join(&mut response));
        let tunnel = tunnel.map_err(Refused::Upgrade)?;
        self.tunnels.spawn(async move {
            if tokio::time::timeout_at(deadline, tunnel).await.is_err() {
                tracing::warn!("Request timeout");
            }
            drop(place);
        });
        headers::towards_client(response.headers_mut());
        upgrade::restore(response.headers_mut(), kind);
        Ok(response.map(|_| crate::body::empty()))
    }
}

/// What one request holds until its response has ended: its place in the statistics and in the breaker.
#[derive(Default)]
struct Place {
    _counted: Option<Counted>,
    _slot: Option<Slot>,
}

/// Reads on what the client is still sending, so that it gets to see its answer instead of a reset connection.
fn refuse(request: Request<Incoming>, why: Refused) -> Refused {
    tokio::spawn(discard(request.into_body()));
    why
}

fn broken(word: ErrorWord) -> Problem {
    Problem {
        word,
        detail: "the request's object broke off after its delivery had begun".to_owned(),
    }
}

fn timed_out() -> Response<Body> {
    let mut response = Response::new(crate::body::full("request timeout"));
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

impl Refused {
    fn response(&self) -> Response<Body> {
        match self {
            Self::QueueFull => plain(StatusCode::SERVICE_UNAVAILABLE, "pending request queue full"),
            Self::Problem(problem) => problem.response(),
            Self::Upgrade(error) => {
                tracing::error!(%error, "error reverse proxying request");
                plain(StatusCode::BAD_GATEWAY, &error.to_string())
            }
            Self::Upstream(error) => {
                tracing::error!(%error, "error reverse proxying request");
                plain(StatusCode::BAD_GATEWAY, &error.to_string())
            }
        }
    }
}
