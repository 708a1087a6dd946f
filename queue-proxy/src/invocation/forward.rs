//! Forwards a request to the user container in the protocol version it came in: HTTP/1.1, or HTTP/2 with prior
//! knowledge. Bodies stream in both directions.

use std::time::Duration;

use http::{Request, Response, Uri, Version, uri::PathAndQuery};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo, TokioTimer},
};

use super::connect::UserConnector;
use crate::{
    body::Body,
    net::{CONNECTION_WINDOW, MAX_HEADERS},
};

/// Idle HTTP/1.1 connections are closed after this (stock: 90 s).
const IDLE: Duration = Duration::from_secs(90);
/// Idle connections kept where concurrency is unbounded (stock: 1000).
const MAX_IDLE: usize = 1000;
/// Windows and frames of HTTP/2 to the user container (stock's server side: 1 MiB).
const WINDOW: u32 = 1 << 20;

/// Why the user container gave no answer. Short plain text, without an address.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// It does not listen.
    #[error("the user container does not accept connections")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It closed, reset, or answered garbage.
    #[error("the user container closed the connection or sent no valid answer")]
    NoAnswer(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Talks to the user container.
pub struct Forwarder {
    http1: Client<UserConnector, Body>,
    /// For requests whose body is an object: they wait for the user container to boot.
    patient: Client<UserConnector, Body>,
    http2: Http2,
    authority: String,
}

impl Forwarder {
    /// For the user container on `port`; `concurrency` bounds idle connections, 0 = the default.
    #[must_use]
    pub fn new(port: u16, concurrency: usize, patience: Duration) -> Self {
        let idle = if concurrency == 0 { MAX_IDLE } else { concurrency };
        let client = |patience| {
            Client::builder(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(idle)
                .http1_max_headers(MAX_HEADERS)
                .set_host(false)
                .build(UserConnector { port, patience })
        };
        Self {
            http1: client(None),
            patient: client(Some(patience)),
            http2: Http2 {
                port,
                patience,
                connection: tokio::sync::Mutex::default(),
            },
            authority: format!("127.0.0.1:{port}"),
        }
    }

    /// Sends `request` on and waits for the head of the answer.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub async fn forward(&self, mut request: Request<Body>, patient: bool) -> Result<Response<Incoming>, ForwardError> {
        if request.version() == Version::HTTP_2 {
            return self.http2.send(request, patient).await;
        }
        *request.version_mut() = Version::HTTP_11;
        if !request.headers().contains_key(http::header::HOST)
            && let Ok(host) = self.authority.parse()
        {
            request.headers_mut().insert(http::header::HOST, host);
        }
        *request.uri_mut() = self.origin(request.uri());
        let client = if patient { &self.patient } else { &self.http1 };
        client.request(request).await.map_err(|error| {
            if error.is_connect() {
                ForwardError::Refused(error.into())
            } else {
                ForwardError::NoAnswer(error.into())
            }
        })
    }

    /// The same path and query at the user container: one pool for all hosts.
    fn origin(&self, uri: &Uri) -> Uri {
        let path = uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        let origin = Uri::builder()
            .scheme("http")
            .authority(self.authority.as_str())
            .path_and_query(path);
        origin.build().unwrap_or_default()
    }
}

/// One HTTP/2 connection to the user container, dialled again when it is closed.
struct Http2 {
    port: u16,
    patience: Duration,
    connection: tokio::sync::Mutex<Option<http2::SendRequest<Body>>>,
}

impl Http2 {
    async fn send(&self, mut request: Request<Body>, patient: bool) -> Result<Response<Incoming>, ForwardError> {
        let mut sender = self.connected(patient).await?;
        with_authority(&mut request);
        sender
            .send_request(request)
            .await
            .map_err(|error| ForwardError::NoAnswer(error.into()))
    }

    async fn connected(&self, patient: bool) -> Result<http2::SendRequest<Body>, ForwardError> {
        let mut connection = self.connection.lock().await;
        if let Some(sender) = connection.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let connector = UserConnector {
            port: self.port,
            patience: patient.then_some(self.patience),
        };
        let socket = connector
            .connect()
            .await
            .map_err(|error| ForwardError::Refused(error.into()))?;
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(256 * 1024)
            .handshake(TokioIo::new(socket));
        let (sender, driver) = handshake.await.map_err(|error| ForwardError::NoAnswer(error.into()))?;
        // Ends by itself when the last sender is dropped or the user container closes.
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "the HTTP/2 connection to the user container ended");
            }
        });
        *connection = Some(sender.clone());
        Ok(sender)
    }
}

/// HTTP/2 takes the authority from the URI: the request's own, or the restored `Host`.
fn with_authority(request: &mut Request<Body>) {
    let Some(host) = request.headers_mut().remove(http::header::HOST) else {
        return;
    };
    let path = request
        .uri()
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    if let Ok(uri) = Uri::builder()
        .scheme("http")
        .authority(host.as_bytes())
        .path_and_query(path)
        .build()
    {
        *request.uri_mut() = uri;
    }
}
