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

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::Instant;
use xdt_proto::ErrorWord;

use crate::{
    body::{Body, discard},
    drain::Drain,
    error::{Problem, plain},
    transfer::Transfer,
};
use breaker::{Breaker, QueueFull};
use forward::{ForwardError, Forwarder};
use guard::Guarded;
use probe::Prober;
use resolve::Inbound;
use stats::Stats;

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
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
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
        peer: SocketAddr,
        deadline: Instant,
    ) -> Result<Response<Body>, Refused> {
        let counted = self.stats.arrived(headers::came_through_activator(request.headers()));
        let accepts_reference = self.transfer.is_some() && headers::accepts_reference(request.headers());
        let inbound = match Inbound::of(self.transfer.as_ref(), &mut request).await {
            Ok(inbound) => inbound,
            Err(problem) => {
                if let Some(transfer) = &self.transfer {
                    transfer.spawn(discard(request.into_body()));
                }
                return Err(Refused::Problem(problem));
            }
        };
        // The pull starts while the request waits for its turn and while the user container boots (thesis 6.4.1.3).
        let slot = async {
            breaker::slot(self.breaker.as_ref())
                .await
                .map_err(|QueueFull| Refused::QueueFull)
        };
        let body = async { inbound.body().await.map_err(|error| Refused::Problem(error.into())) };
        let (slot, body) = tokio::try_join!(slot, body)?;
        let upgrade = upgrade::asked(&mut request);
        headers::towards_user(&mut request, peer, self.transfer.is_some());
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
        let held = (counted, slot);
        if let Some(kind) = upgrade::switched(&response) {
            return switch(upgrade, &kind, response, held);
        }
        let response = response.map(|body| Box::pin(Guarded::new(body, held, deadline)));
        let mut response = match &self.transfer {
            Some(transfer) if accepts_reference => offer::offer(transfer, response, self.inline_limit).await,
            _ => response.map(Body::new),
        };
        headers::towards_client(response.headers_mut());
        Ok(response)
    }
}

/// Passes a `101` on and joins both sides behind it.
fn switch(
    upgrade: Option<upgrade::Asked>,
    kind: &http::HeaderValue,
    mut response: Response<Incoming>,
    held: impl Send + 'static,
) -> Result<Response<Body>, Refused> {
    let joined = upgrade
        .ok_or(upgrade::Mismatch)
        .and_then(|upgrade| upgrade.join(&mut response, held));
    joined.map_err(Refused::Upgrade)?;
    headers::towards_client(response.headers_mut());
    upgrade::restore(response.headers_mut(), kind);
    Ok(response.map(|_| crate::body::empty()))
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
