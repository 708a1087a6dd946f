//! Health checks: who asks, and whether the user container is ready.
//!
//! Source: Knative `pkg/queue/health`, `pkg/queue/readiness`; contract of the queue-proxy, section 5. Kinds: HTTP and
//! TCP, for one container.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::Shared};
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::TcpStream, sync::Mutex, time::Instant};

use crate::{
    body::{Body, empty, full},
    error::plain,
};

const NETWORK_PROBE: &str = "k-network-probe";
const NETWORK_HASH: &str = "k-network-hash";
const HEALTH_CHECKERS: [&str; 3] = ["kube-probe/", "Knative-Activator-Probe", "Knative-Autoscaling-Probe"];
/// Aggressive mode (`periodSeconds` 0): how often, how long each, how long in all.
const AGGRESSIVE_EVERY: Duration = Duration::from_millis(50);
const AGGRESSIVE_TIMEOUT: Duration = Duration::from_millis(100);
const AGGRESSIVE_BOUND: Duration = Duration::from_secs(10);

/// `SERVING_READINESS_PROBE`: the keys of a Kubernetes probe that are used. Others are ignored.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProbeSpec {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
    grpc: Option<serde_json::Value>,
    exec: Option<serde_json::Value>,
    period_seconds: u32,
    timeout_seconds: u32,
    success_threshold: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGet {
    #[serde(default)]
    path: String,
    port: u16,
    #[serde(default)]
    host: String,
    #[serde(default)]
    http_headers: Vec<ProbeHeader>,
}

#[derive(Debug, Clone, Deserialize)]
struct ProbeHeader {
    name: String,
    value: String,
}

#[derive(Debug, Clone, Deserialize)]
struct TcpSocket {
    port: u16,
    #[serde(default)]
    host: String,
}

/// A probe that this version cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ProbeSpecError {
    /// Not the JSON of a probe.
    #[error("not a Kubernetes probe: {0}")]
    Shape(#[from] serde_json::Error),
    /// A kind to come.
    #[error("a {0} probe is not supported; httpGet and tcpSocket are")]
    Kind(&'static str),
}

impl ProbeSpec {
    /// Reads the variable; `None` when it is empty: the container then always counts as ready.
    ///
    /// # Errors
    /// [`ProbeSpecError`].
    pub fn parse(text: &str) -> Result<Option<Self>, ProbeSpecError> {
        if text.is_empty() {
            return Ok(None);
        }
        // Through a map, because a struct would also be read from an array.
        let object: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(text)?;
        let spec: Self = serde_json::from_value(object.unwrap_or_default().into())?;
        if spec.grpc.is_some() {
            return Err(ProbeSpecError::Kind("grpc"));
        }
        if spec.exec.is_some() {
            return Err(ProbeSpecError::Kind("exec"));
        }
        Ok(Some(spec))
    }
}

type Running = Shared<futures_util::future::BoxFuture<'static, bool>>;

/// Answers health checks; one probe of the user container runs at a time, and all who wait share its result.
pub struct Prober {
    spec: Option<Arc<ProbeSpec>>,
    running: Mutex<Option<Running>>,
}

impl Prober {
    /// For a container with this probe; `None` = always ready.
    #[must_use]
    pub fn new(spec: Option<ProbeSpec>) -> Self {
        Self {
            spec: spec.map(Arc::new),
            running: Mutex::default(),
        }
    }

    /// The answer, if the request is a health check or an ingress probe; other requests are not touched.
    pub async fn answer<B>(&self, request: &Request<B>, failing: bool) -> Option<Response<Body>> {
        let map = request.headers();
        let probe = map
            .get(NETWORK_PROBE)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        if is_health_check(map) {
            return Some(match probe.as_deref() {
                _ if failing => plain_503(),
                Some("queue") if self.is_ready().await => Response::new(full("queue")),
                Some("queue") => status(StatusCode::SERVICE_UNAVAILABLE),
                other => {
                    let text = format!("unexpected probe header value: {}", other.unwrap_or_default());
                    plain(StatusCode::BAD_REQUEST, &text)
                }
            });
        }
        if probe.as_deref() != Some("probe") {
            return None;
        }
        Some(if failing { plain_503() } else { ingress_answer(map) })
    }

    async fn is_ready(&self) -> bool {
        let Some(spec) = self.spec.clone() else { return true };
        let mut running = self.running.lock().await;
        let shared = match running.as_ref().filter(|probe| probe.peek().is_none()) {
            Some(probe) => probe.clone(),
            None => {
                let probe = run(spec).boxed().shared();
                // Runs on its own: a caller that gives up does not stop it.
                tokio::spawn(probe.clone());
                *running = Some(probe.clone());
                probe
            }
        };
        drop(running);
        shared.await
    }
}

fn is_health_check(map: &HeaderMap) -> bool {
    let agent = map
        .get(header::USER_AGENT)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    agent.is_some_and(|agent| HEALTH_CHECKERS.iter().any(|prefix| agent.starts_with(prefix)))
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

fn plain_503() -> Response<Body> {
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

/// One run: a single attempt, or, in aggressive mode, attempts until `successThreshold` of them passed in a row.
async fn run(spec: Arc<ProbeSpec>) -> bool {
    if spec.period_seconds > 0 {
        let bound = Duration::from_secs(u64::from(spec.timeout_seconds.max(1)));
        return tokio::time::timeout(bound, attempt(&spec)).await.unwrap_or(false);
    }
    let started = Instant::now();
    let mut ticks = tokio::time::interval(AGGRESSIVE_EVERY);
    let mut passes = 0;
    while started.elapsed() < AGGRESSIVE_BOUND {
        ticks.tick().await;
        let passed = tokio::time::timeout(AGGRESSIVE_TIMEOUT, attempt(&spec))
            .await
            .unwrap_or(false);
        passes = if passed { passes + 1 } else { 0 };
        if passes >= spec.success_threshold.max(1) {
            return true;
        }
    }
    false
}

async fn attempt(spec: &ProbeSpec) -> bool {
    if let Some(get) = &spec.http_get {
        http_passes(get).await.unwrap_or(false)
    } else if let Some(tcp) = &spec.tcp_socket {
        connect(&tcp.host, tcp.port).await.is_ok()
    } else {
        false
    }
}

async fn connect(host: &str, port: u16) -> std::io::Result<TcpStream> {
    if host.is_empty() {
        return TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    }
    TcpStream::connect((host, port)).await
}

/// A GET on a connection of its own, as the kubelet does it: 200 to 399 passes.
async fn http_passes(get: &HttpGet) -> Option<bool> {
    let socket = connect(&get.host, get.port).await.ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.ok()?;
    let connection = tokio::spawn(connection);
    let path: Uri = format!("/{}", get.path.trim_start_matches('/')).parse().ok()?;
    let host = if get.host.is_empty() { "127.0.0.1" } else { &get.host };
    let mut request = Request::get(path)
        .header(header::HOST, format!("{host}:{}", get.port))
        .header(header::USER_AGENT, "kube-probe//")
        .header(header::CONNECTION, "close");
    for header in &get.http_headers {
        let special = ["user-agent", "host"]
            .iter()
            .any(|name| header.name.eq_ignore_ascii_case(name));
        if !special {
            request = request.header(&header.name, &header.value);
        }
    }
    let empty = Empty::<bytes::Bytes>::new().map_err(|never| -> std::io::Error { match never {} });
    let response = sender.send_request(request.body(empty).ok()?).await.ok()?;
    let passed = (200..400).contains(&response.status().as_u16());
    connection.abort();
    Some(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(pairs: &[(&'static str, &'static str)], failing: bool) -> Option<(u16, String)> {
        let mut request = Request::new(());
        for (name, value) in pairs {
            request
                .headers_mut()
                .insert(*name, value.parse().expect("a header value"));
        }
        let response = Prober::new(None).answer(&request, failing).await?;
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
            let other = [("user-agent", agent), ("k-network-probe", "activator")];
            let text = "unexpected probe header value: activator\n".to_owned();
            assert_eq!(answer(&other, false).await, Some((400, text)));
        }
        assert_eq!(
            answer(&[("k-network-probe", "queue"), ("user-agent", "curl")], false).await,
            None
        );
        assert_eq!(
            answer(&[("k-network-probe", "probe"), ("k-network-hash", "h")], false)
                .await
                .map(|a| a.0),
            Some(200)
        );
        assert_eq!(
            answer(&[("k-network-probe", "probe")], false).await.map(|a| a.0),
            Some(400)
        );
        assert_eq!(
            answer(&[("k-network-probe", "probe")], true).await.map(|a| a.0),
            Some(503)
        );
        assert_eq!(answer(&[], false).await, None);
    }

    #[test]
    fn probes_that_cannot_run_are_refused_at_start() {
        assert!(ProbeSpec::parse("").expect("absent").is_none());
        assert!(ProbeSpec::parse(r#"{"tcpSocket":{"port":8080,"host":"127.0.0.1"},"successThreshold":1}"#).is_ok());
        for text in ["[]", "x", r#"{"exec":{"command":["a"]}}"#, r#"{"grpc":{"port":1}}"#] {
            assert!(ProbeSpec::parse(text).is_err(), "{text}");
        }
    }
}
