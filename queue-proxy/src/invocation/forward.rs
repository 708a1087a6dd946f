//! Forwards a request to the user container in the protocol version it came in with: HTTP/1.1, or HTTP/2 with prior
//! knowledge (contract of the queue-proxy, sections 2.4, 2.6 and 2.7). Bodies stream in both directions.

mod gather;
mod http1;
mod http2;
mod pieces;
mod socket;
mod target;
mod upload;

use std::{fs, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;

use super::{
    connect::{DialError, UserConnector},
    headers::{lists, remove_hop_by_hop},
    upgrade::Mismatch,
};
use crate::{body::Body, server::Interim};
use gather::Gathered;
use http1::Http1;
use http2::{Http2, Stream};
use pieces::Pieces;
use socket::Traffic;
use upload::{Unfinished, Upload};

/// Idle connections kept where concurrency is unbounded (stock: 1000).
const MAX_IDLE: usize = 1000;

/// Why the user container gave no answer. Short plain text, without an address.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// There was no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It closed, reset, or answered garbage.
    #[error("the user container closed the connection or sent no valid answer")]
    NoAnswer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It switched to a protocol that was not asked for.
    #[error(transparent)]
    Upgrade(#[from] Mismatch),
    /// A tunnel to elsewhere was asked for.
    #[error("client sent unsupported CONNECT request")]
    Connect,
}

impl ForwardError {
    /// Writes the line of the stock proxy, with what the kernel tells of its sockets.
    pub fn log(&self) {
        let sockets = fs::read_to_string("/proc/net/sockstat").unwrap_or_else(|_| "unknown".to_owned());
        let why = crate::error::chain(self);
        tracing::error!(error = %self, why, "error reverse proxying request; sockstat: {sockets}");
    }
}

/// An answer of the user container's.
pub struct Forwarded {
    /// Its head, and its body as it comes.
    pub response: Response<Incoming>,
    /// To be held until its body is over.
    pub lease: Lease,
    /// The client still sends what nobody reads: its connection is of no use afterwards.
    pub close: bool,
}

/// What an exchange with the user container occupies; dropped when its response is over, which also ends an upload that
/// is not.
#[derive(Default)]
pub struct Lease {
    _stream: Option<Stream>,
    _upload: Option<Unfinished>,
}

/// Talks to the user container.
pub struct Forwarder {
    http1: Http1,
    http2: Http2,
    /// The host where a request names none.
    authority: HeaderValue,
    full_duplex: bool,
}

impl Forwarder {
    /// For the user container on `port`; `concurrency` bounds idle connections, 0 = the default. `full_duplex` lets
    /// HTTP/1.1 answers go out while their requests still come in.
    #[must_use]
    pub fn new(port: u16, concurrency: usize, patience: Duration, full_duplex: bool) -> Self {
        let idle = if concurrency == 0 { MAX_IDLE } else { concurrency };
        let dial = UserConnector { port, patience: None };
        let patiently = UserConnector {
            patience: Some(patience),
            ..dial
        };
        let authority = format!("127.0.0.1:{port}");
        Self {
            http1: Http1::new(dial, patiently, idle),
            http2: Http2::new(dial, patiently),
            authority: HeaderValue::try_from(authority).unwrap_or_else(|_| HeaderValue::from_static("127.0.0.1")),
            full_duplex,
        }
    }

    /// Sends `request` on and waits for the head of the answer. With `object`, its body is a delivery: it waits for the
    /// user container to boot, and flows while the answer does.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub async fn forward(&self, mut request: Request<Body>, object: bool) -> Result<Forwarded, ForwardError> {
        let watch = Abandoned;
        let forwarded = async {
            if request.method() == Method::CONNECT {
                return Err(ForwardError::Connect);
            }
            if request.headers().get(header::HOST).is_none_or(HeaderValue::is_empty) {
                request.headers_mut().insert(header::HOST, self.authority.clone());
            }
            if request.version() == Version::HTTP_2 {
                self.forward_http2(request, object).await
            } else {
                self.forward_http1(request, object).await
            }
        };
        let forwarded = forwarded.await;
        std::mem::forget(watch);
        forwarded
    }

    async fn forward_http2(&self, mut request: Request<Body>, object: bool) -> Result<Forwarded, ForwardError> {
        // The server answers it itself (Go does): the client of HTTP/2 has its window.
        request.headers_mut().remove(header::EXPECT);
        target::with_authority(&mut request);
        let mut upload = None;
        if !hyper::body::Body::is_end_stream(request.body()) {
            if !object {
                let (wrapped, unfinished) = Upload::wrap(request, false);
                request = wrapped;
                upload = Some(Unfinished(unfinished));
            }
            request = request.map(|body| Body::new(Gathered::new(body)));
        }
        let (response, stream) = self.http2.send(request, object).await?;
        Ok(Forwarded {
            response,
            lease: Lease {
                _stream: Some(stream),
                _upload: upload,
            },
            close: false,
        })
    }

    async fn forward_http1(&self, mut request: Request<Body>, object: bool) -> Result<Forwarded, ForwardError> {
        *request.version_mut() = Version::HTTP_11;
        target::to_origin_form(&mut request);
        let interim = request.extensions_mut().remove::<Interim>();
        let upload = if hyper::body::Body::is_end_stream(request.body()) {
            None
        } else if object {
            request = request.map(|body| Body::new(Pieces::new(body)));
            None
        } else {
            let asks = request.headers().get(header::EXPECT);
            let asks = asks.is_some_and(|value| lists(value, "100-continue"));
            let (wrapped, upload) = Upload::wrap(request, asks);
            request = wrapped;
            Some(upload)
        };
        announce_chunks(&mut request);
        let relay = Relay {
            interim,
            upload: upload.clone(),
        };
        let response = self.http1.send(request, &relay, object).await?;
        // From here on whoever gives up ends the upload too.
        let lease = Lease {
            _stream: None,
            _upload: upload.clone().map(Unfinished),
        };
        let close = match &upload {
            Some(upload) if self.full_duplex => upload.refuses_to_wait(),
            Some(upload) => !upload.read_rest().await,
            None => false,
        };
        Ok(Forwarded { response, lease, close })
    }
}

/// hyper sends no body of unknown length with methods that seldom have one, unless it is told to.
fn announce_chunks(request: &mut Request<Body>) {
    let body = request.body();
    if !hyper::body::Body::is_end_stream(body)
        && hyper::body::Body::size_hint(body).exact().is_none()
        && !request.headers().contains_key(header::CONTENT_LENGTH)
    {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(header::TRANSFER_ENCODING, chunked);
    }
}

/// Where the user container's informational answers go.
#[derive(Clone)]
struct Relay {
    interim: Option<Interim>,
    upload: Option<Upload>,
}

impl Relay {
    /// Has `request` bring its informational answers here, on a connection with this `traffic`.
    fn attach(&self, request: &mut Request<Body>, traffic: &Arc<Traffic>) {
        let (relay, traffic) = (self.clone(), traffic.clone());
        hyper::ext::on_informational(request, move |answer| {
            if traffic.informed() {
                relay.pass(answer.status(), answer.headers());
            }
        });
    }

    fn pass(&self, status: StatusCode, headers: &HeaderMap) {
        // The client's 100 is written by the server, when its body is read for the first time.
        if status == StatusCode::CONTINUE && self.upload.as_ref().is_some_and(Upload::consent) {
            return;
        }
        if let Some(interim) = &self.interim {
            let mut headers = headers.clone();
            remove_hop_by_hop(&mut headers);
            interim.relay(status, &headers);
        }
    }
}

/// Tells, when dropped, that nobody waits for the answer any more.
struct Abandoned;

impl Drop for Abandoned {
    fn drop(&mut self) {
        tracing::debug!("the client went away, or its time was over, before the user container answered");
    }
}
