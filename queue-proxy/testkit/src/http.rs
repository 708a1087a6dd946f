//! HTTP clients with kept-alive connections, and answers that are easy to look at.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use crate::payload::Digest;

/// Longest wait for a whole answer.
pub const ANSWER_TIME: Duration = Duration::from_secs(60);
/// Most bytes of an answer kept in memory.
const MAX_ANSWER: usize = 256 << 20;
/// Idle connections kept per address.
const MAX_IDLE: usize = 128;
/// HTTP/2 windows: large enough never to be what a test measures.
const WINDOW: u32 = 4 << 20;

/// Any error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body to send.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// No bytes.
#[must_use]
pub fn empty_body() -> Body {
    Body::new(Empty::new().map_err(|never| match never {}))
}

/// These bytes, with their length.
#[must_use]
pub fn bytes_body(bytes: impl Into<Bytes>) -> Body {
    Body::new(Full::new(bytes.into()).map_err(|never| match never {}))
}

/// A request with these headers.
///
/// # Panics
/// If a part is not valid HTTP.
#[must_use]
pub fn request(method: &str, uri: impl AsRef<str>, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let builder = Request::builder().method(method).uri(uri.as_ref());
    headers
        .iter()
        .fold(builder, |builder, (name, value)| builder.header(*name, *value))
        .body(body)
        .expect("a valid request")
}

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// All of the body.
    pub body: Bytes,
    /// What followed the body.
    pub trailers: Option<HeaderMap>,
}

/// The contract's words and their status (section 3), written down once more.
const WORDS: [(&str, u16); 10] = [
    ("reference-invalid", 400),
    ("wrong-tenant", 403),
    ("object-gone", 410),
    ("too-large", 413),
    ("bad-request", 400),
    ("busy", 429),
    ("draining", 503),
    ("producer-unreachable", 503),
    ("transfer-broken", 502),
    ("timeout", 504),
];

impl Answer {
    /// A header's text; empty if it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The word of a problem document, whose whole form is checked.
    ///
    /// # Panics
    /// If it is not one as the contract describes it.
    #[must_use]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let document = self.json();
        let kind = document["type"].as_str().unwrap_or_default();
        let word = kind
            .strip_prefix("urn:xdt:error:")
            .expect("the contract's type")
            .to_owned();
        let status = WORDS
            .iter()
            .find(|(known, _)| *known == word)
            .expect("a word of the contract")
            .1;
        assert_eq!(self.status, status, "{word}");
        assert_eq!(document["status"], status);
        assert_eq!(self.header("xdt-error"), word);
        assert!(document["title"].is_string() && document["detail"].is_string());
        assert!(
            !self.text().contains("127."),
            "no error shows an address: {}",
            self.text()
        );
        let retry = self.headers.get("retry-after").is_some();
        assert_eq!(retry, word == "busy", "Retry-After belongs to busy alone");
        word
    }
}

/// A body that ended early.
#[derive(Debug)]
pub struct Broken {
    /// Bytes that had come.
    pub received: u64,
}

/// Reads all of a response.
///
/// # Errors
/// [`Broken`].
pub async fn collect(response: Response<Incoming>) -> Result<Answer, Broken> {
    let (parts, mut body) = response.into_parts();
    let (mut bytes, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        let received = bytes.len() as u64;
        match frame.map_err(|_| Broken { received })?.into_data() {
            Ok(data) => {
                bytes.extend_from_slice(&data);
                assert!(bytes.len() <= MAX_ANSWER, "an endless answer");
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: bytes.into(),
        trailers,
    })
}

/// A complete answer of which only the digest was kept.
#[derive(Debug, Clone)]
pub struct Received {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Bytes of the body.
    pub bytes: u64,
    /// Their digest.
    pub digest: String,
}

/// Reads all of a response, keeping only its digest.
///
/// # Errors
/// [`Broken`].
pub async fn receive(response: Response<Incoming>) -> Result<Received, Broken> {
    let (parts, mut body) = response.into_parts();
    let (mut digest, mut bytes) = (Digest::default(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Broken { received: bytes })?;
        if let Some(data) = frame.data_ref() {
            digest.update(data);
            bytes += data.len() as u64;
        }
    }
    Ok(Received {
        status: parts.status,
        headers: parts.headers,
        bytes,
        digest: digest.finish(),
    })
}

/// A client with a pool of connections, HTTP/1.1.
#[derive(Debug, Clone)]
pub struct Pool(Client<HttpConnector, Body>);

impl Default for Pool {
    fn default() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self(
            Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(MAX_IDLE)
                .build(connector),
        )
    }
}

impl Pool {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// Why there was none, or that it broke off.
    pub async fn try_fetch(&self, request: Request<Body>) -> Result<Answer, BoxError> {
        let answer = async {
            let response = self.0.request(request).await?;
            collect(response).await.map_err(|broken| format!("{broken:?}").into())
        };
        tokio::time::timeout(ANSWER_TIME, answer).await?
    }

    /// Sends a request and reads the whole answer without keeping it.
    ///
    /// # Panics
    /// If there is no complete answer.
    pub async fn receive(&self, request: Request<Body>) -> Received {
        let answer = async {
            let response = self.0.request(request).await.expect("an answer");
            receive(response).await.expect("a complete answer")
        };
        tokio::time::timeout(ANSWER_TIME, answer).await.expect("in time")
    }

    /// As [`Self::try_fetch`].
    ///
    /// # Panics
    /// If there is no complete answer.
    pub async fn fetch(&self, request: Request<Body>) -> Answer {
        self.try_fetch(request).await.expect("a complete answer")
    }
}

/// One HTTP/1.1 connection: sends the request target as it is given, also in absolute form, and `Host` in any case.
pub struct Http1(http1::SendRequest<Body>);

impl Http1 {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens.
    pub async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("somebody listens");
        socket.set_nodelay(true).expect("a TCP socket");
        Self::over(socket).await
    }

    /// Speaks over a connection that is there already.
    ///
    /// # Panics
    /// If the other side does not speak HTTP/1.1.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
        // Ends when the sender is dropped or the peer closes.
        tokio::spawn(connection.with_upgrades());
        Self(sender)
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The connection's.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        self.send_within(ANSWER_TIME, request).await
    }

    /// As [`Self::send`], for answers that take longer.
    ///
    /// # Errors
    /// The connection's, or that `limit` is over.
    pub async fn send_within(
        &mut self,
        limit: Duration,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, BoxError> {
        name_host(&mut request);
        let answer = async {
            self.0.ready().await?;
            self.0.send_request(request).await
        };
        Ok(tokio::time::timeout(limit, answer).await??)
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Panics
    /// If there is no complete answer.
    pub async fn fetch(&mut self, request: Request<Body>) -> Answer {
        self.fetch_within(ANSWER_TIME, request).await
    }

    /// As [`Self::fetch`], for answers that take longer.
    ///
    /// # Panics
    /// If there is no complete answer within `limit`.
    pub async fn fetch_within(&mut self, limit: Duration, mut request: Request<Body>) -> Answer {
        name_host(&mut request);
        let answer = async {
            self.0.ready().await.expect("an open connection");
            let response = self.0.send_request(request).await.expect("an answer");
            collect(response).await.expect("a complete answer")
        };
        tokio::time::timeout(limit, answer).await.expect("in time")
    }
}

/// HTTP/1.1 wants a host header, also beside a target in absolute form.
fn name_host(request: &mut Request<Body>) {
    let named = request.uri().authority().map_or("test", |authority| authority.as_str());
    if let Ok(host) = named.parse() {
        request.headers_mut().entry(http::header::HOST).or_insert(host);
    }
}

/// One HTTP/2 connection, prior knowledge.
#[derive(Clone)]
pub struct Http2(http2::SendRequest<Body>);

impl Http2 {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens, or not in HTTP/2.
    pub async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("somebody listens");
        socket.set_nodelay(true).expect("a TCP socket");
        Self::over(socket).await
    }

    /// Speaks over a connection that is there already.
    ///
    /// # Panics
    /// If the other side does not speak HTTP/2.
    pub async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let handshake = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.expect("HTTP/2");
        // Ends when the senders are dropped or the peer closes.
        tokio::spawn(connection);
        Self(sender)
    }

    /// Whether the other side has closed it or said that it goes away.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// The connection's.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        self.send_within(ANSWER_TIME, request).await
    }

    /// As [`Self::send`], for answers that take longer.
    ///
    /// # Errors
    /// The connection's, or that `limit` is over.
    pub async fn send_within(
        &mut self,
        limit: Duration,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, BoxError> {
        let answer = async {
            self.0.ready().await?;
            self.0.send_request(request).await
        };
        Ok(tokio::time::timeout(limit, answer).await??)
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Panics
    /// If there is no complete answer.
    pub async fn fetch(&mut self, request: Request<Body>) -> Answer {
        let response = self.send(request).await.expect("an answer");
        let answer = tokio::time::timeout(ANSWER_TIME, collect(response)).await;
        answer.expect("in time").expect("a complete answer")
    }
}
