//! The ingress's connections to one sidecar: pooled and kept alive, HTTP/1.1 and h2c apart.
//!
//! Dials the instance's address whatever host a request names, so that the host arrives unchanged. Idle connections are
//! bounded and closed in time; dropping the link closes all.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, Version, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// HTTP/2 frames we accept: measured at 4.2 to 4.6 GB/s per hop, against 2.8 with the default 16 KiB.
pub(super) const FRAME_BYTES: u32 = 256 * 1024;
/// Flow control windows of the same measurement: the bytes that one stream, and one connection, may have under way.
pub(super) const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// See [`STREAM_WINDOW`].
pub(super) const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Idle HTTP/1.1 connections kept to one sidecar; as many as call for another instance.
const IDLE_CONNECTIONS: usize = 100;
/// When they are closed: as a sidecar does with its own.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Longest connection attempt on loopback; a listener with a full queue is slow, a gone one refuses at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The way to one sidecar's serving port.
#[derive(Debug)]
pub(crate) struct Link {
    http1: Client<Dial, Incoming>,
    http2: Client<Dial, Incoming>,
}

impl Link {
    /// Opens no connection yet.
    pub(crate) fn new(sidecar: SocketAddr) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS);
        let http1 = builder.build(Dial(sidecar));
        builder.http2_only(true).http2_max_frame_size(FRAME_BYTES);
        builder
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW);
        Self {
            http1,
            http2: builder.build(Dial(sidecar)),
        }
    }

    /// Sends `request` in its own protocol version; for HTTP/1 the pool is one for all hosts, for h2c one per authority.
    pub(crate) async fn send(
        &self,
        mut request: Request<Incoming>,
        authority: &Authority,
    ) -> Result<Response<Incoming>, Error> {
        let is_http2 = request.version() == Version::HTTP_2;
        let mut target = std::mem::take(request.uri_mut()).into_parts();
        target.scheme = Some(Scheme::HTTP);
        target.authority = Some(if is_http2 {
            authority.clone()
        } else {
            Authority::from_static("sidecar")
        });
        if target.path_and_query.is_none() {
            target.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        }
        *request.uri_mut() = Uri::from_parts(target).unwrap_or_default();
        if is_http2 {
            request.headers_mut().remove(header::HOST);
            return self.http2.request(request).await;
        }
        if let Ok(host) = authority.as_str().parse() {
            request.headers_mut().insert(header::HOST, host);
        }
        *request.version_mut() = Version::HTTP_11;
        self.http1.request(request).await
    }
}

/// Connects to one address, whatever it is asked for.
#[derive(Debug, Clone)]
struct Dial(SocketAddr);

impl tower_service::Service<Uri> for Dial {
    type Response = TokioIo<TcpStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let address = self.0;
        Box::pin(async move {
            let socket = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
            socket.set_nodelay(true)?;
            Ok(TokioIo::new(socket))
        })
    }
}
