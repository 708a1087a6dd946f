//! What the cluster asks a sidecar: is it ready, how busy is it, is its drain over.
//!
//! Plays the activator, the autoscaler and the kubelet. Every answer is read up to a bound and under a deadline.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prost::Message;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use crate::address::{ADMIN_PORT, SERVING_PORT, STATS_PORT};
use crate::stats::{STAT_BYTES, Stat};

/// Pause between readiness probes. Shorter than the activator's 200 ms: it adds to each start that is measured.
const PROBE_PERIOD: Duration = Duration::from_millis(20);
/// Longest single probe; a sidecar holds it until its function is ready, at most 10 s.
const PROBE_TIMEOUT: Duration = Duration::from_secs(11);
/// Longest scrape, as the autoscaler's.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between scrapes when one waits for an instance to fall idle; the stats change each second.
const SCRAPE_PERIOD: Duration = Duration::from_millis(250);
/// Longest connection attempt on loopback.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Idle connections kept to one port: probes and scrapes come one at a time.
const IDLE_CONNECTIONS: usize = 1;
/// When they are closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for the sidecars' own ports; clones share their connections.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// Why a sidecar gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("no answer: {0}")]
    NoAnswer(#[from] hyper_util::client::legacy::Error),
    #[error("no answer in time")]
    Timeout,
    #[error("answer {status} `{body}`")]
    Refused { status: StatusCode, body: String },
    #[error("the answer broke off or was longer than {limit} bytes")]
    Body { limit: usize },
    #[error("the stats do not decode")]
    Stats(#[from] prost::DecodeError),
}

impl Admin {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS);
        Self {
            client: builder.build(connector),
        }
    }

    /// Probes as the activator does until the answer is 200 `queue`. At `deadline`: what the last probe saw.
    /// # Cancel safety
    /// Safe; a probe that is running at the sidecar goes on there.
    pub(crate) async fn ready(&self, address: Ipv4Addr, deadline: Instant) -> Result<(), AdminError> {
        let mut ticks = interval(PROBE_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let by = deadline.min(Instant::now() + PROBE_TIMEOUT);
            let last = match timeout_at(by, self.probe(address)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(_) => AdminError::Timeout,
            };
            if Instant::now() >= deadline {
                return Err(last);
            }
        }
    }

    async fn probe(&self, address: Ipv4Addr) -> Result<(), AdminError> {
        let headers = [("user-agent", "Knative-Activator-Probe"), ("k-network-probe", "queue")];
        let (status, body) = self.get(address, SERVING_PORT, "/healthz", &headers, 1024).await?;
        match status == StatusCode::OK && body == "queue" {
            true => Ok(()),
            false => Err(AdminError::Refused {
                status,
                body: String::from_utf8_lossy(&body).into_owned(),
            }),
        }
    }

    /// Whether the sidecar's stats have shown a second without requests before `deadline`. One that does not answer counts
    /// as busy: nobody knows what it is doing.
    pub(crate) async fn idle(&self, address: Ipv4Addr, deadline: Instant) -> bool {
        let mut ticks = interval(SCRAPE_PERIOD);
        loop {
            ticks.tick().await;
            match timeout_at(deadline, self.stats(address)).await {
                Ok(Ok(stat)) if stat.is_idle() => return true,
                Ok(Ok(stat)) => tracing::trace!(?stat, "still busy"),
                Ok(Err(error)) => tracing::debug!(%error, "no stats"),
                Err(_) => return false,
            }
        }
    }

    /// The sidecar's stats of the last second, as the autoscaler reads them.
    async fn stats(&self, address: Ipv4Addr) -> Result<Stat, AdminError> {
        let headers = [("accept", "application/protobuf")];
        let scrape = self.get(address, STATS_PORT, "/metrics", &headers, STAT_BYTES);
        let (status, body) = timeout(SCRAPE_TIMEOUT, scrape)
            .await
            .map_err(|_| AdminError::Timeout)??;
        match status {
            StatusCode::OK => Ok(Stat::decode(body)?),
            _ => Err(AdminError::Refused {
                status,
                body: String::from_utf8_lossy(&body).into_owned(),
            }),
        }
    }

    /// Returns when the drain is over, or when the sidecar no longer answers. Ask only after SIGTERM: the kubelet's
    /// preStop hook. Not bounded in time; the caller's grace is.
    pub(crate) async fn drained(&self, address: Ipv4Addr) -> Result<(), AdminError> {
        self.get(address, ADMIN_PORT, "/wait-for-drain", &[], 1024)
            .await
            .map(|_| ())
    }

    async fn get(
        &self,
        address: Ipv4Addr,
        port: u16,
        path: &str,
        headers: &[(&'static str, &'static str)],
        limit: usize,
    ) -> Result<(StatusCode, Bytes), AdminError> {
        let mut request = Request::new(Empty::new());
        let uri = format!("http://{}{path}", SocketAddr::from((address, port)));
        *request.uri_mut() = uri.parse().unwrap_or_default();
        for &(name, value) in headers {
            request
                .headers_mut()
                .insert(name, http::HeaderValue::from_static(value));
        }
        let response = self.client.request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limit).collect().await;
        Ok((status, body.map_err(|_| AdminError::Body { limit })?.to_bytes()))
    }
}
