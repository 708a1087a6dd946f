//! Connections: to one of the sidecar's loopback addresses, or to the callee that a URL names.
//!
//! Used by the local HTTP transport and by invoke. Bounds: the time to connect, idle connections per destination and
//! their age. Nagle's algorithm is off everywhere, because a small object must not wait for an acknowledgement.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::{
        self,
        connect::{Connected, Connection, HttpConnector},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use tokio::net::TcpStream;
use tower_service::Service;

use super::LocalhostResolver;
use crate::payload::Outgoing;

/// A pool of HTTP/1.1 connections made by `C`.
pub(crate) type HttpClient<C> = legacy::Client<C, Outgoing>;

/// A sidecar in the same pod accepts at once or is not there; a callee may be a network away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Long enough to bridge the pauses of a busy function, short enough to leave no connection behind for long.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Room for 8 KiB of metadata in very short headers (the parser's own default is 100 headers).
const MAX_HEADERS: usize = 1024;

/// A client with a bounded pool: at most `max_idle` idle connections per destination, for 30 s each.
pub(crate) fn client<C>(connector: C, max_idle: usize) -> HttpClient<C>
where
    C: legacy::connect::Connect + Clone,
{
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(max_idle)
        .http1_max_headers(MAX_HEADERS)
        .build(connector)
}

/// Connects to whatever host a URL names, `*.localhost` included.
pub(crate) fn direct_connector() -> HttpConnector<LocalhostResolver> {
    let mut connector = HttpConnector::new_with_resolver(LocalhostResolver::new());
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector
}

/// Connects to one address, whatever host a URL names.
#[derive(Clone)]
pub(crate) struct Dialer {
    address: SocketAddr,
    is_proxy: bool,
}

impl Dialer {
    /// To a server that is meant itself.
    pub(crate) fn direct(address: SocketAddr) -> Self {
        Self {
            address,
            is_proxy: false,
        }
    }

    /// To a forward proxy: requests are written in absolute form (RFC 9112, section 3.2.2).
    pub(crate) fn proxy(address: SocketAddr) -> Self {
        Self {
            address,
            is_proxy: true,
        }
    }
}

impl Service<Uri> for Dialer {
    type Response = Link;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Link>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { address, is_proxy } = *self;
        Box::pin(async move {
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
            stream.set_nodelay(true)?;
            Ok(Link {
                io: TokioIo::new(stream),
                is_proxy,
            })
        })
    }
}

/// A connection that knows whether a proxy is at its other end.
pub(crate) struct Link {
    io: TokioIo<TcpStream>,
    is_proxy: bool,
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_proxy)
    }
}

impl Read for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}
