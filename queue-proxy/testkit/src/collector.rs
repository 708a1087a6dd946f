//! A collector of telemetry inside the test: takes OTLP over gRPC and HTTP and Zipkin's JSON, and keeps what came.
//!
//! Serves HTTP/1.1 and HTTP/2 with prior knowledge, or TLS where it is given a certificate, on `127.0.0.1`.

mod decode;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    http::{Body, BoxError, bytes_body},
    wait::eventually,
};
pub use decode::{Metric, Point, Span};

/// One export as it came.
#[derive(Debug, Clone)]
pub struct Export {
    /// Path.
    pub path: String,
    /// Protocol.
    pub version: Version,
    /// Headers.
    pub headers: HeaderMap,
}

#[derive(Default)]
struct Shared {
    refusing: AtomicBool,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    exports: Vec<Export>,
    metrics: Vec<Metric>,
    spans: Vec<Span>,
    zipkin: Vec<Value>,
}

/// The collector; stops when dropped.
pub struct Collector {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Collector {
    /// Listens on a free port, without TLS.
    pub async fn start() -> Self {
        Self::begin(None).await
    }

    /// Listens on a free port, with TLS.
    pub async fn start_tls(acceptor: TlsAcceptor) -> Self {
        Self::begin(Some(acceptor)).await
    }

    async fn begin(acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::<Shared>::default();
        let server = tokio::spawn(serve(listener, acceptor, shared.clone()));
        Self {
            address,
            shared,
            server,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Refuses from now on, or takes again.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::Relaxed);
    }

    /// Exports so far, also refused ones.
    #[must_use]
    pub fn exports(&self) -> Vec<Export> {
        self.taken().exports.clone()
    }

    /// Metrics so far, newest last.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        self.taken().metrics.clone()
    }

    /// The newest metric of this name.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<Metric> {
        self.metrics().into_iter().rev().find(|metric| metric.name == name)
    }

    /// Spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.taken().spans.clone()
    }

    /// Zipkin spans so far.
    #[must_use]
    pub fn zipkin(&self) -> Vec<Value> {
        self.taken().zipkin.clone()
    }

    /// Waits for so many spans.
    pub async fn spans_came(&self, count: usize) -> Vec<Span> {
        eventually("spans at the collector", async || {
            Some(self.spans()).filter(|spans| spans.len() >= count)
        })
        .await
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.shared.taken()
    }
}

impl Shared {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Dropped with this task, which ends every connection.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        connections.spawn(async move {
            match acceptor {
                // A handshake that fails is what some tests are about.
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(socket).await {
                        connection(stream, shared).await;
                    }
                }
                None => connection(socket, shared).await,
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(shared.clone(), request));
    let builder = auto::Builder::new(TokioExecutor::new());
    let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let path = parts.uri.path().to_owned();
    let grpc = parts
        .headers
        .get("content-type")
        .is_some_and(|kind| kind == "application/grpc");
    shared.taken().exports.push(Export {
        path: path.clone(),
        version: parts.version,
        headers: parts.headers,
    });
    if shared.refusing.load(Ordering::Relaxed) {
        return Ok(if grpc {
            grpc_answer(13)
        } else {
            status(StatusCode::BAD_REQUEST)
        });
    }
    let message = if grpc {
        body.slice(decode::grpc_prefix(&body)..)
    } else {
        body
    };
    let mut taken = shared.taken();
    if path.ends_with("metrics") || path.ends_with("MetricsService/Export") {
        taken.metrics.extend(decode::metrics(&message));
    } else if path.ends_with("traces") || path.ends_with("TraceService/Export") {
        taken.spans.extend(decode::spans(&message));
    } else if path.ends_with("/api/v2/spans") {
        let spans: Vec<Value> = serde_json::from_slice(&message).expect("a list of spans");
        taken.zipkin.extend(spans);
        return Ok(status(StatusCode::ACCEPTED));
    } else {
        return Ok(status(StatusCode::NOT_FOUND));
    }
    Ok(if grpc { grpc_answer(0) } else { status(StatusCode::OK) })
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(bytes_body(""));
    *response.status_mut() = status;
    response
}

/// An empty message and its status in the trailers.
fn grpc_answer(code: u32) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    let frames = [
        Ok::<_, BoxError>(Frame::data(Bytes::from_static(&[0; 5]))),
        Ok(Frame::trailers(trailers)),
    ];
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    let response = Response::builder()
        .header("content-type", "application/grpc")
        .body(body);
    response.expect("a valid response")
}
