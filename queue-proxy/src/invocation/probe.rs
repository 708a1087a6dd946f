//! Health checks: who asks, and whether the user container is ready.
//!
//! Source: Knative `knative.dev/pkg/network/handlers/drain.go` and `pkg/queue/health/handler.go`; contract of the
//! queue-proxy, sections 5.1 to 5.4. Here is the decision table; `spec` says what to probe, `flight` lets one run serve
//! all who wait, `run` gives the rhythm, `attempt` asks once, by `http_get`, [`grpc`] or a connection (`dial`).

mod attempt;
mod dial;
mod failures;
mod flight;
pub mod grpc;
mod http_get;
mod run;
mod spec;
pub mod target;
mod tls;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};

use crate::{
    body::{Body, empty, full},
    error::plain,
};
use flight::SingleFlight;
use run::Containers;
pub use spec::{ReadinessProbe, ReadinessProbeError};

const NETWORK_PROBE: HeaderName = HeaderName::from_static("k-network-probe");
const NETWORK_HASH: HeaderName = HeaderName::from_static("k-network-hash");
/// Kubelet, activator, autoscaler. Anyone may send these, as in stock: they are recognized by nothing else.
const HEALTH_CHECKERS: [&[u8]; 3] = [b"kube-probe/", b"Knative-Activator-Probe", b"Knative-Autoscaling-Probe"];
/// `K-Network-Probe` of a health check, and the body of the answer when ready.
const QUEUE: &str = "queue";

/// Answers health checks and ingress probes. Never waits for the breaker.
pub struct Prober {
    containers: Option<Arc<Containers>>,
    flight: SingleFlight,
}

impl Prober {
    /// For containers with these probes; `None` = always ready. With `http2_detection`, HTTP probes try HTTP/2 first.
    #[must_use]
    pub fn new(probe: Option<ReadinessProbe>, http2_detection: bool) -> Self {
        Self {
            containers: probe.map(|probe| Arc::new(Containers::new(probe, http2_detection))),
            flight: SingleFlight::default(),
        }
    }

    /// The answer, if the request is a health check or an ingress probe; other requests are not touched.
    ///
    /// # Cancel safety
    /// A caller that gives up does not stop the run it began.
    pub async fn answer<B>(&self, request: &Request<B>, failing: bool) -> Option<Response<Body>> {
        let map = request.headers();
        let probe = map.get(NETWORK_PROBE).map(HeaderValue::as_bytes);
        if is_health_check(map) {
            return Some(match probe {
                _ if failing => shutting_down(),
                Some(value) if value == QUEUE.as_bytes() => self.health().await,
                other => {
                    let value = String::from_utf8_lossy(other.unwrap_or_default());
                    plain(
                        StatusCode::BAD_REQUEST,
                        &format!("unexpected probe header value: {value}"),
                    )
                }
            });
        }
        if probe != Some(b"probe") {
            return None;
        }
        Some(if failing { shutting_down() } else { ingress_answer(map) })
    }

    async fn health(&self) -> Response<Body> {
        if !self.is_ready().await {
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return response;
        }
        let mut response = Response::new(full(QUEUE));
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        response
    }

    async fn is_ready(&self) -> bool {
        let Some(containers) = &self.containers else {
            return true;
        };
        let run = || {
            let containers = containers.clone();
            async move { containers.are_ready().await }
        };
        self.flight.join(run).await
    }
}

fn is_health_check(map: &HeaderMap) -> bool {
    let agent = map.get(header::USER_AGENT).map(HeaderValue::as_bytes);
    agent.is_some_and(|agent| HEALTH_CHECKERS.iter().any(|prefix| agent.starts_with(prefix)))
}

fn shutting_down() -> Response<Body> {
    plain(StatusCode::SERVICE_UNAVAILABLE, "shutting down")
}

/// The ingress checks a new route by a hash that must come back.
fn ingress_answer(map: &HeaderMap) -> Response<Body> {
    match map.get(NETWORK_HASH).filter(|hash| !hash.is_empty()) {
        Some(hash) => {
            let mut response = Response::new(empty());
            response.headers_mut().insert(NETWORK_HASH, hash.clone());
            response
        }
        None => plain(
            StatusCode::BAD_REQUEST,
            "a probe request must contain a non-empty \"K-Network-Hash\" header",
        ),
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn answer(pairs: &[(&'static str, &'static str)], failing: bool) -> Option<(u16, String)> {
        let mut request = Request::new(());
        for (name, value) in pairs {
            request
                .headers_mut()
                .append(*name, value.parse().expect("a header value"));
        }
        let response = Prober::new(None, false).answer(&request, failing).await?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("in memory").to_bytes();
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Contract of the queue-proxy, sections 5.1 and 5.2, row by row.
    #[tokio::test]
    async fn the_decision_table_holds() {
        let agents = [
            "kube-probe/1.30",
            "Knative-Activator-Probe",
            "Knative-Autoscaling-Probe/x",
        ];
        for agent in agents {
            let queue = [("user-agent", agent), ("k-network-probe", "queue")];
            assert_eq!(answer(&queue, false).await, Some((200, "queue".to_owned())));
            assert_eq!(answer(&queue, true).await, Some((503, "shutting down\n".to_owned())));
            for (value, told) in [("activator", "activator"), ("probe", "probe"), ("", "")] {
                let other = [("user-agent", agent), ("k-network-probe", value)];
                let text = format!("unexpected probe header value: {told}\n");
                assert_eq!(answer(&other, false).await, Some((400, text)));
            }
            let text = "unexpected probe header value: \n".to_owned();
            assert_eq!(answer(&[("user-agent", agent)], false).await, Some((400, text)));
            let second = [("user-agent", "curl"), ("user-agent", agent)];
            assert_eq!(answer(&second, false).await, None, "the first line counts");
        }
        let ordinary = [("k-network-probe", "queue"), ("user-agent", "curl")];
        assert_eq!(answer(&ordinary, false).await, None);
        assert_eq!(answer(&[("user-agent", "Kube-Probe/1")], false).await, None);
        let ingress = [("k-network-probe", "probe"), ("k-network-hash", "h")];
        assert_eq!(answer(&ingress, false).await, Some((200, String::new())));
        assert_eq!(answer(&ingress, true).await.map(|answer| answer.0), Some(503));
        let no_hash = [("k-network-probe", "probe"), ("k-network-hash", "")];
        assert_eq!(answer(&no_hash, false).await.map(|answer| answer.0), Some(400));
        assert_eq!(answer(&[], false).await, None);
    }
}
