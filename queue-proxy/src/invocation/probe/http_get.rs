//! `httpGet`: a GET on a connection of its own; 200 to 399 passes.
//!
//! Source: Knative `pkg/queue/health/probe.go`, Go's `http.Client` (redirects); contract of the queue-proxy, section 5.4.
//! The container's answer is bounded: in time by the caller, in size here.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::AbortOnDropHandle;

use super::{
    attempt::{AttemptError, within},
    dial::{self, DialError},
    spec::HttpGet,
    target::{Target, TargetError},
    tls,
};
use crate::net::MAX_HEADERS;

/// Literally what stock sends: it leaves the Kubernetes version blank.
pub(super) const USER_AGENT: HeaderValue = HeaderValue::from_static("kube-probe//");
/// Requests that one probe makes; a redirect in the last answer fails it (Go's "stopped after 10 redirects").
const MAX_REQUESTS: usize = 10;
/// Largest head of an answer (Go: 10 MB).
const MAX_HEAD: usize = 256 * 1024;
/// Most of a body that is read, and how long: so that a container that writes a page does not see a reset. The status
/// alone decides.
const MAX_BODY: usize = 64 * 1024;
const BODY_TIME: Duration = Duration::from_millis(50);
/// Most bytes that one answer takes off its connection, interim responses and frames included.
const MAX_ANSWER: u64 = 512 * 1024;
/// What Go's client sets itself, whatever the probe's headers say.
const OWN_HEADERS: [HeaderName; 5] = [
    header::HOST,
    header::USER_AGENT,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TRAILER,
];
/// What does not follow a redirect to another host.
const SECRETS: [&str; 6] = [
    "authorization",
    "www-authenticate",
    "cookie",
    "cookie2",
    "proxy-authorization",
    "proxy-authenticate",
];

/// Why an HTTP probe failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("error constructing probe url: {0}")]
    Url(TargetError),
    #[error("failed to parse Location header: {0}")]
    Location(TargetError),
    #[error("invalid header field name or value")]
    Header,
    #[error("the TLS handshake failed")]
    Handshake,
    #[error("no valid HTTP answer")]
    NoAnswer,
    #[error("stopped after 10 redirects")]
    Redirects,
    #[error("HTTP probe did not respond Ready, got status code: {}", .0.as_u16())]
    Status(StatusCode),
}

impl From<hyper::Error> for HttpError {
    fn from(error: hyper::Error) -> Self {
        tracing::debug!(%error, "an HTTP probe got no answer");
        Self::NoAnswer
    }
}

#[derive(Debug, Clone, Copy)]
enum Protocol {
    Http1,
    /// With prior knowledge, in the clear only.
    Http2,
}

/// Asks. With `http2_detection`, HTTP/2 first: if it works, the GET with the probe's headers is done in HTTP/2 and counts;
/// otherwise a GET in HTTP/1.1 counts, without the probe's headers as in stock. Nothing is remembered, since the container
/// may restart as another server. Each of these requests has `timeout` of its own.
pub(super) async fn probe(get: &HttpGet, http2_detection: bool, timeout: Duration) -> Result<(), AttemptError> {
    let port = get.port.number().ok_or(HttpError::Dial(DialError::Port))?;
    let target = Target::of_probe(&get.scheme, &get.host, port, &get.path).map_err(HttpError::Url)?;
    let ask = async |protocol, headers: &HeaderMap| {
        let status = within(timeout, follow(protocol, &target, headers)).await?;
        let ready = (200..400).contains(&status.as_u16());
        ready.then_some(()).ok_or(AttemptError::from(HttpError::Status(status)))
    };
    if !http2_detection {
        return ask(Protocol::Http1, &headers(get)?).await;
    }
    let none = HeaderMap::new();
    match ask(Protocol::Http2, &none).await {
        Ok(()) => ask(Protocol::Http2, &headers(get)?).await,
        Err(_) => ask(Protocol::Http1, &none).await,
    }
}

/// The probe's own headers, without those that have no effect.
fn headers(get: &HttpGet) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    for header in &get.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| HttpError::Header)?;
        let value = HeaderValue::from_bytes(header.value.as_bytes()).map_err(|_| HttpError::Header)?;
        if !OWN_HEADERS.contains(&name) {
            headers.append(name, value);
        }
    }
    Ok(headers)
}

/// Gets `first`, and what its answers redirect to, on whatever host; returns the last status.
async fn follow(protocol: Protocol, first: &Target, headers: &HeaderMap) -> Result<StatusCode, HttpError> {
    let mut headers = headers.clone();
    let referer = headers.get(header::REFERER).cloned();
    let mut target = first.clone();
    for _ in 0..MAX_REQUESTS {
        let response = exchange(protocol, &target, &headers).await?;
        let Some(next) = redirection(&target, &response)? else {
            return Ok(response.status());
        };
        if !first.may_share_secrets_with(&next) {
            for name in SECRETS {
                headers.remove(name);
            }
        }
        if !target.tls || next.tls {
            let last = HeaderValue::from_str(&target.to_text()).map_err(|_| HttpError::Header)?;
            headers.insert(header::REFERER, referer.clone().unwrap_or(last));
        } else if referer.is_none() {
            headers.remove(header::REFERER);
        }
        target = next;
    }
    Err(HttpError::Redirects)
}

/// Where an answer redirects a GET to. A redirect without `Location` is an answer like any other.
fn redirection(from: &Target, response: &Response<()>) -> Result<Option<Target>, HttpError> {
    let location = response.headers().get(header::LOCATION);
    match (response.status().as_u16(), location) {
        (301 | 302 | 303 | 307 | 308, Some(location)) if !location.is_empty() => {
            let location =
                std::str::from_utf8(location.as_bytes()).map_err(|_| HttpError::Location(TargetError::Escape))?;
            from.redirected(location).map(Some).map_err(HttpError::Location)
        }
        _ => Ok(None),
    }
}

/// One request on a connection of its own.
async fn exchange(protocol: Protocol, target: &Target, headers: &HeaderMap) -> Result<Response<()>, HttpError> {
    let socket = dial::connect(&target.host, Some(target.port)).await?;
    match protocol {
        Protocol::Http1 if target.tls => {
            let socket = tls::connect(&target.host, socket)
                .await
                .map_err(|_| HttpError::Handshake)?;
            over_http1(socket, target, headers).await
        }
        Protocol::Http1 => over_http1(socket, target, headers).await,
        Protocol::Http2 if target.tls => Err(HttpError::NoAnswer),
        Protocol::Http2 => over_http2(socket, target, headers).await,
    }
}

async fn over_http1(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    headers: &HeaderMap,
) -> Result<Response<()>, HttpError> {
    let handshake = http1::Builder::new()
        .title_case_headers(true)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(dial::bounded(socket, MAX_ANSWER)));
    let (mut sender, connection) = handshake.await?;
    let _closed_at_the_end = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut request = request(target.path.clone().into(), headers);
    request.headers_mut().insert(header::HOST, target.authority.clone());
    if !closes(headers) {
        let close = HeaderValue::from_static("close");
        request.headers_mut().append(header::CONNECTION, close);
    }
    let response = sender.send_request(request).await?;
    Ok(read(response).await)
}

async fn over_http2(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    headers: &HeaderMap,
) -> Result<Response<()>, HttpError> {
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .handshake(TokioIo::new(dial::bounded(socket, MAX_ANSWER)));
    let (mut sender, connection) = handshake.await?;
    let _closed_at_the_end = AbortOnDropHandle::new(tokio::spawn(connection));
    let uri = Uri::builder()
        .scheme(uri::Scheme::HTTP)
        .authority(target.authority.as_bytes())
        .path_and_query(target.path.clone());
    let request = request(
        uri.build().map_err(|_| HttpError::Url(TargetError::Authority))?,
        headers,
    );
    let response = sender.send_request(request).await?;
    Ok(read(response).await)
}

fn request(uri: Uri, headers: &HeaderMap) -> Request<Empty<Bytes>> {
    let mut request = Request::new(Empty::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = uri;
    let map = request.headers_mut();
    map.insert(header::USER_AGENT, USER_AGENT);
    map.extend(headers.clone());
    // As Go's client does, which would unpack the body; nobody looks at it.
    if !headers.contains_key(header::ACCEPT_ENCODING) && !headers.contains_key(header::RANGE) {
        map.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    }
    request
}

fn closes(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    let mut tokens = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','));
    tokens.any(|token| token.trim().eq_ignore_ascii_case("close"))
}

/// The head, after a small body has been read.
async fn read(response: Response<Incoming>) -> Response<()> {
    let (parts, mut body) = response.into_parts();
    let whole = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > MAX_BODY {
                break;
            }
        }
    };
    let _enough = tokio::time::timeout(BODY_TIME, whole).await;
    Response::from_parts(parts, ())
}
