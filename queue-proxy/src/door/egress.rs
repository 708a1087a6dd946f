//! The egress proxy (contract, section 5): XDT for unchanged code that uses an HTTP proxy, and for the SDKs' invoke.
//!
//! A large body to a host under `XDT_EGRESS_HOSTS` becomes a passing object and its request a control message; a
//! response by reference becomes an ordinary response. Everything else passes untouched, `CONNECT` as a tunnel.

mod resolver;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, uri::Authority};
use http_body::Body as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use xdt_proto::{ByteCount, Reference, Retrievals, headers};

use crate::{
    body::{Body, BoxError, COLLECT_PAUSE, DeliveryBody, discard, empty},
    error::{Problem, plain},
    invocation::headers::{remove_hop_by_hop_but_trailers, towards_client},
    net::{CONNECTION_WINDOW, MAX_HEADERS, tune},
    transfer::{
        Transfer,
        description::Description,
        put::{OfferWriter, PutTerms},
        source::Span,
    },
};
use resolver::Resolver;

/// How long a connection to a callee may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Idle connections kept per callee.
const MAX_IDLE: usize = 64;
/// How long they are kept.
const IDLE: Duration = Duration::from_secs(90);

type HttpClient = Client<HttpConnector<Resolver>, Body>;

/// The proxy that the user container sends its own calls through.
pub struct Egress {
    transfer: Arc<Transfer>,
    http1: HttpClient,
    http2: HttpClient,
    suffixes: Vec<String>,
    inline_limit: u64,
    own: Vec<SocketAddr>,
}

/// What goes on to the callee, and what must happen beside it.
struct Outbound {
    request: Request<Body>,
    object: Option<Passing>,
}

/// An object whose control message is under way. When the call has ended, or its client has left, and nobody has claimed
/// the object, it is freed; one that is being read goes on.
struct Passing {
    transfer: Arc<Transfer>,
    reference: Reference,
}

impl Drop for Passing {
    fn drop(&mut self) {
        if self.transfer.release(&self.reference) {
            tracing::debug!("a call ended before its object was retrieved");
        }
    }
}

impl Egress {
    /// Converts calls to hosts under `suffixes`; `own` are the sidecar's own listeners, which are no targets.
    #[must_use]
    pub fn new(transfer: Arc<Transfer>, suffixes: Vec<String>, inline_limit: u64, own: Vec<SocketAddr>) -> Self {
        let client = |http2_only: bool| {
            let mut connector = HttpConnector::new_with_resolver(Resolver);
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(MAX_IDLE)
                .http1_max_headers(MAX_HEADERS)
                .http2_initial_connection_window_size(CONNECTION_WINDOW)
                .http2_only(http2_only)
                .set_host(false)
                .build(connector)
        };
        Self {
            transfer,
            http1: client(false),
            http2: client(true),
            suffixes,
            inline_limit,
            own,
        }
    }

    /// Answers one request of the user container.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let result = match target(&request) {
            Ok(target) if self.is_own(&target).await => Err(Problem::bad_request("the target is this proxy itself")),
            Ok(target) if request.method() == Method::CONNECT => Ok(self.tunnel(request, &target).await),
            Ok(target) => self.call(request, &target).await,
            Err(problem) => Err(problem),
        };
        result.unwrap_or_else(|problem| problem.response())
    }

    async fn call(&self, mut request: Request<Incoming>, target: &Authority) -> Result<Response<Body>, Problem> {
        if !self.converts(target.host()) {
            return self.passed(request, false, target).await;
        }
        let mut invoking = self.transfer.invoking(request.headers_mut());
        let result = invoking.within(self.passed(request, true, target)).await;
        invoking.ended(result.as_ref().ok().map(Response::status));
        result
    }

    async fn passed(
        &self,
        request: Request<Incoming>,
        converts: bool,
        target: &Authority,
    ) -> Result<Response<Body>, Problem> {
        let outbound = self.outbound(request, converts, target).await?;
        let client = if outbound.request.version() == Version::HTTP_2 {
            &self.http2
        } else {
            &self.http1
        };
        let object = outbound.object;
        let answer = client.request(outbound.request).await;
        drop(object);
        let response = answer.map_err(|error| {
            tracing::debug!(%error, "a call of the user container failed");
            error
        });
        match response {
            Ok(response) if converts => self.inbound(response).await,
            Ok(mut response) => {
                towards_client(response.headers_mut());
                Ok(response.map(|body| Body::new(body.map_err(Into::into))))
            }
            Err(error) if error.is_connect() => Ok(plain(StatusCode::BAD_GATEWAY, "the callee cannot be reached")),
            Err(_) => Ok(plain(
                StatusCode::BAD_GATEWAY,
                "the callee closed the connection or sent no valid answer",
            )),
        }
    }

    fn converts(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.suffixes.iter().any(|suffix| {
            let suffix = suffix.trim_start_matches('.');
            host == suffix || host.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))
        })
    }

    /// The request as it goes on: in origin form for this hop, and, for a large body to an XDT host, by reference.
    async fn outbound(
        &self,
        request: Request<Incoming>,
        converts: bool,
        target: &Authority,
    ) -> Result<Outbound, Problem> {
        let (mut parts, body) = request.into_parts();
        remove_hop_by_hop_but_trailers(&mut parts.headers);
        if parts.version == Version::HTTP_2 {
            parts.headers.remove(header::HOST);
        } else if let Ok(host) = HeaderValue::from_str(target.as_str()) {
            // RFC 9112, section 3.2.2: the authority of an absolute-form target replaces Host.
            parts.version = Version::HTTP_11;
            parts.headers.insert(header::HOST, host);
        }
        if !converts {
            return Ok(Outbound {
                request: Request::from_parts(parts, incoming(body)),
                object: None,
            });
        }
        parts
            .headers
            .insert(headers::ACCEPT, HeaderValue::from_static(headers::ACCEPT_REFERENCE));
        let own_reference = parts.headers.contains_key(headers::REFERENCE);
        match Large::of(body, self.inline_limit).await {
            Large::No(body) => Ok(Outbound {
                request: Request::from_parts(parts, body),
                object: None,
            }),
            Large::Yes { start, rest, size } if own_reference || self.transfer.is_draining() => {
                let _inline = size;
                Ok(Outbound {
                    request: Request::from_parts(parts, joined(start, rest)),
                    object: None,
                })
            }
            Large::Yes { start, rest, size } => {
                let description = Description::from_headers(size, &parts.headers)?;
                let object = self.hold(start, rest, description).await?;
                parts.headers.remove(header::CONTENT_LENGTH);
                parts.headers.remove(header::EXPECT); // met here: the body is being read already
                if let Ok(value) = HeaderValue::from_str(object.reference.as_str()) {
                    parts.headers.insert(headers::REFERENCE, value);
                }
                Ok(Outbound {
                    request: Request::from_parts(parts, empty()),
                    object: Some(object),
                })
            }
        }
    }

    /// Makes an object of a request body: passing (cut-through), or whole (store-and-forward).
    async fn hold(&self, start: Vec<Bytes>, rest: Incoming, description: Description) -> Result<Passing, Problem> {
        if !self.transfer.settings().cut_through {
            let terms = PutTerms {
                description,
                retrievals: Retrievals::ONE,
                ttl: None,
            };
            let put = self
                .transfer
                .put(joined(start, rest), terms)
                .await
                .map_err(|error| Problem::from(&error))?;
            return Ok(self.passing(put.reference));
        }
        match self
            .transfer
            .offer(description, self.transfer.settings().buffer_wait)
            .await
        {
            Ok(offer) => {
                let (reference, writer) = offer.split();
                self.transfer.spawn(write(writer, start, rest));
                Ok(self.passing(reference))
            }
            Err(error) => {
                self.transfer.spawn(discard(rest));
                Err(Problem::from(&error))
            }
        }
    }

    fn passing(&self, reference: Reference) -> Passing {
        Passing {
            transfer: self.transfer.clone(),
            reference,
        }
    }

    /// The response as the user container's client should see it.
    async fn inbound(&self, response: Response<Incoming>) -> Result<Response<Body>, Problem> {
        let (mut parts, body) = response.into_parts();
        towards_client(&mut parts.headers);
        let reference = parts.headers.remove(headers::REFERENCE);
        let bodiless = parts.status == StatusCode::NO_CONTENT || parts.status == StatusCode::NOT_MODIFIED;
        let Some(reference) = reference.filter(|_| !bodiless) else {
            return Ok(Response::from_parts(parts, incoming(body)));
        };
        parts.headers.remove(headers::OBJECT_SIZE);
        parts.headers.remove(header::CONTENT_LENGTH);
        let delivery = self
            .transfer
            .get(reference.to_str().unwrap_or_default(), Span::default(), true)
            .await?;
        if let Some(length) = delivery.length() {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let (object, _fate) = DeliveryBody::new(delivery);
        Ok(Response::from_parts(parts, with_trailers(object, body)))
    }

    /// `CONNECT`: bytes both ways, untouched.
    async fn tunnel(&self, request: Request<Incoming>, target: &Authority) -> Response<Body> {
        let host = target.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let Some(port) = target.port_u16() else {
            return Problem::bad_request("CONNECT needs a target with a port").response();
        };
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, resolver::connect(&host, port)).await;
        let Ok(Ok(mut upstream)) = connected else {
            return plain(StatusCode::BAD_GATEWAY, "the callee cannot be reached");
        };
        self.transfer.spawn(async move {
            let tunnelled = async {
                tune(&upstream)?;
                let client = hyper::upgrade::on(request).await.map_err(std::io::Error::other)?;
                tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut upstream).await
            };
            if let Err(error) = tunnelled.await {
                tracing::debug!(error = %error.kind(), "a tunnel of the user container ended");
            }
        });
        Response::new(empty())
    }

    /// Whether the target is one of this sidecar's own listeners, in whatever spelling.
    async fn is_own(&self, target: &Authority) -> bool {
        let port = target.port_u16().unwrap_or(80);
        if !self.own.iter().any(|own| own.port() == port) {
            return false;
        }
        let host = target
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .trim_end_matches('.');
        let addresses = resolver::addresses(host, port).await.unwrap_or_default();
        addresses
            .iter()
            .any(|address| self.own.iter().any(|own| reaches(*address, *own)))
    }
}

/// Whether a connection to `target` ends at a listener bound to `own`.
fn reaches(target: SocketAddr, own: SocketAddr) -> bool {
    if target.port() != own.port() {
        return false;
    }
    let (target, own) = (target.ip().to_canonical(), own.ip().to_canonical());
    // Connecting to the unspecified address reaches loopback.
    let target_is_local = target.is_unspecified() || target.is_loopback();
    target == own || (own.is_unspecified() && target_is_local) || (target.is_unspecified() && own.is_loopback())
}

/// Scheme and authority that the client named.
fn target(request: &Request<Incoming>) -> Result<Authority, Problem> {
    let uri: &Uri = request.uri();
    let plain_http = uri.scheme_str().is_none_or(|scheme| scheme == "http");
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            Err(Problem::bad_request("the request target must not name a user"))
        }
        Some(authority) if plain_http => Ok(authority.clone()),
        Some(_) => Err(Problem::bad_request(
            "the proxy takes plain-http targets; use CONNECT for others",
        )),
        None => Err(Problem::bad_request(
            "the request target must be absolute, such as http://host/path",
        )),
    }
}

fn incoming(body: Incoming) -> Body {
    Body::new(body.map_err(Into::into))
}

/// A body, once it is known whether it is over the inline limit.
enum Large {
    No(Body),
    Yes {
        start: Vec<Bytes>,
        rest: Incoming,
        size: Option<ByteCount>,
    },
}

impl Large {
    /// Reads at most `limit` bytes, and only where the length was not announced.
    async fn of(mut body: Incoming, limit: u64) -> Self {
        if let Some(size) = body.size_hint().exact() {
            return if size <= limit {
                Self::No(incoming(body))
            } else {
                Self::Yes {
                    start: Vec::new(),
                    rest: body,
                    size: Some(ByteCount::new(size)),
                }
            };
        }
        let (mut start, mut length) = (Vec::new(), 0);
        loop {
            let Ok(frame) = tokio::time::timeout(COLLECT_PAUSE, body.frame()).await else {
                return Self::No(joined(start, body)); // a conversation, not a bulk transfer
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        length += data.len() as u64;
                        start.push(data);
                        if length > limit {
                            return Self::Yes {
                                start,
                                rest: body,
                                size: None,
                            };
                        }
                    }
                    Err(trailers) => return Self::No(ended(start, Ok(trailers))),
                },
                Some(Err(error)) => return Self::No(ended(start, Err(error.into()))),
                None => {
                    let frames = start.into_iter().map(|data| Ok(Frame::data(data)));
                    return Self::No(Body::new(StreamBody::new(stream::iter(frames))));
                }
            }
        }
    }
}

fn ended(start: Vec<Bytes>, last: Result<Frame<Bytes>, BoxError>) -> Body {
    let frames = start.into_iter().map(|data| Ok(Frame::data(data))).chain([last]);
    Body::new(StreamBody::new(stream::iter(frames)))
}

fn joined(start: Vec<Bytes>, rest: Incoming) -> Body {
    let frames = stream::unfold((start.into_iter(), rest), |(mut start, mut rest)| async move {
        if let Some(data) = start.next() {
            return Some((Ok(Frame::data(data)), (start, rest)));
        }
        let frame = rest.frame().await?;
        Some((frame.map_err(BoxError::from), (start, rest)))
    });
    Body::new(StreamBody::new(Box::pin(frames)))
}

/// The object's bytes, then what the control path's body ends with (trailers of gRPC).
fn with_trailers(object: DeliveryBody, control: Incoming) -> Body {
    if control.is_end_stream() {
        return Body::new(object);
    }
    let frames = stream::unfold((object, control), |(mut object, mut control)| async move {
        if let Some(frame) = object.frame().await {
            return Some((frame, (object, control)));
        }
        let frame = control.frame().await?;
        Some((frame.map_err(BoxError::from), (object, control)))
    });
    Body::new(StreamBody::new(Box::pin(frames)))
}

/// Writes a request body into its object; what is left when the reader is gone is read and thrown away.
async fn write(mut writer: OfferWriter, start: Vec<Bytes>, mut rest: Incoming) {
    let written = async {
        for data in start {
            writer.write(data).await?;
        }
        writer.write_all(&mut rest).await?;
        writer.finish().await
    };
    if let Err(error) = written.await {
        tracing::debug!(%error, "an object offered by the egress proxy ended early");
        discard(rest).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(target: &str, own: &str) -> bool {
        reaches(target.parse().expect("an address"), own.parse().expect("an address"))
    }

    #[test]
    fn every_spelling_of_the_proxy_is_recognised() {
        for target in ["127.0.0.1:8016", "0.0.0.0:8016", "[::ffff:127.0.0.1]:8016", "[::]:8016"] {
            assert!(reach(target, "127.0.0.1:8016"), "{target}");
        }
        assert!(reach("10.0.0.1:8012", "10.0.0.1:8012"));
        assert!(reach("127.0.0.1:8012", "[::]:8012"));
        assert!(!reach("127.0.0.1:8017", "127.0.0.1:8016"));
        assert!(
            !reach("127.0.0.2:8016", "127.0.0.1:8016"),
            "another loopback address is another host"
        );
        assert!(!reach("10.0.0.2:8012", "10.0.0.1:8012"));
    }
}
