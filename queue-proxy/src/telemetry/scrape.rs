//! Request metrics for Prometheus: `GET /metrics` on a port of their own (contract of the queue-proxy, section 7.2).
//!
//! Bounds: [`MAX_CONNECTIONS`] at once, [`HEADER_TIMEOUT`] for a handshake and for each request's head,
//! counted from the answer before it: a scraper that comes less often connects anew.

mod secure;

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, ToSocketAddrs as _},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Registry, TextEncoder};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

use super::push::SecureError;
use crate::{config::telemetry::Scraped, net};

/// A scraper has so long to send a request's head (as the stock proxy).
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Scrapers at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// Pause after a failed accept: descriptors have run out, and accepting at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");

/// Binds what `plan` says (no host: `bind`, or every address) and answers scrapers until the process ends. A port that
/// cannot be bound is told and ignored, as the stock proxy does.
///
/// # Errors
/// [`SecureError`].
pub(super) fn start(registry: Registry, plan: &Scraped, bind: Option<IpAddr>) -> Result<(), SecureError> {
    let tls = plan.tls.as_ref().map(secure::acceptor).transpose()?;
    let port = plan.port;
    match listen(&plan.host, port, bind) {
        Ok(listener) => drop(tokio::spawn(serve(listener, tls, registry))),
        Err(error) => {
            let error = error.kind();
            tracing::warn!(port, %error, "request metrics are not served: the port cannot be bound");
        }
    }
    Ok(())
}

fn listen(host: &str, port: u16, bind: Option<IpAddr>) -> io::Result<TcpListener> {
    if host.is_empty() {
        return net::listen(bind, port);
    }
    let mut addresses = (host, port).to_socket_addrs()?;
    net::listen_on(addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?)
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, registry: Registry) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (tls, registry) = (tls.clone(), registry.clone());
        tokio::spawn(async move {
            match tls {
                None => connection(socket, registry).await,
                Some(tls) => {
                    let shaken = tokio::time::timeout(HEADER_TIMEOUT, tls.accept(socket)).await;
                    if let Ok(Ok(stream)) = shaken {
                        connection(stream, registry).await;
                    }
                }
            }
            drop(place);
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, registry: Registry) {
    let service = service_fn(move |request| {
        let answer = answer(&registry, &request);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // A scraper that leaves is its own affair.
    let _ended = connection.await;
}

fn answer<B>(registry: &Registry, request: &Request<B>) -> Response<Full<Bytes>> {
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(header::ALLOW, allowed);
        return response;
    }
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => {
            let mut response = Response::new(Full::new(text.into()));
            response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
            response
        }
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "metrics could not be written\n")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
