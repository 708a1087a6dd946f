//! A container that speaks HTTP/2 with prior knowledge and nothing else, with a gRPC health service.

use std::{
    convert::Infallible,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, task::JoinHandle};

/// How it answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Health {
    /// With this `HealthCheckResponse.ServingStatus`.
    Status(u8),
    /// As gRPC servers without a health service do: no body, status 12.
    Unimplemented,
    /// As HTTP servers do.
    NotFound,
    /// `SERVING`, but the answer never ends.
    NeverEnding,
    /// A body without end, as fast as it is taken.
    TooLong,
    /// 200, without a body.
    Http,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) target: String,
    /// `HealthCheckRequest.service`.
    pub(crate) service: String,
    headers: HeaderMap,
}

impl Call {
    /// A header's text; empty if it is absent.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }
}

/// The container; stops when dropped.
pub(crate) struct Http2Only {
    port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
    server: JoinHandle<()>,
}

impl Drop for Http2Only {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Http2Only {
    pub(crate) fn start(health: Health) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("bound").port();
        let listener = TcpListener::from_std(listener).expect("a listener");
        let calls = Arc::new(Mutex::new(Vec::new()));
        let kept = calls.clone();
        let server = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let kept = kept.clone();
                let service = service_fn(move |request| respond(health, kept.clone(), request));
                let connection =
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service);
                connections.spawn(connection);
            }
        });
        Self { port, calls, server }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn respond(
    health: Health,
    calls: Arc<Mutex<Vec<Call>>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let message = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    calls.lock().unwrap().push(Call {
        target: parts.uri.path().to_owned(),
        // Prefix of five bytes, then field 1 with its length; an empty name is left out.
        service: String::from_utf8_lossy(message.get(7..).unwrap_or_default()).into_owned(),
        headers: parts.headers,
    });
    let trailers = |status| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        trailers
    };
    let status = |status| Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]));
    let body = |frames: Vec<Frame<Bytes>>| Body::new(StreamBody::new(stream::iter(frames.into_iter().map(Ok))));
    let response = match health {
        Health::Status(number) => Response::new(body(vec![status(number), Frame::trailers(trailers("0"))])),
        Health::NeverEnding => {
            let frames = stream::iter([Ok(status(1))]).chain(stream::pending());
            Response::new(Body::new(StreamBody::new(frames)))
        }
        Health::TooLong => {
            let page = Bytes::from(vec![0; 4096]);
            let frames = stream::repeat_with(move || Ok(Frame::data(page.clone())));
            Response::new(Body::new(StreamBody::new(frames)))
        }
        Health::Unimplemented => {
            let mut response = Response::new(body(Vec::new()));
            response.headers_mut().extend(trailers("12"));
            response
        }
        Health::NotFound => Response::builder()
            .status(404)
            .body(body(Vec::new()))
            .expect("a response"),
        Health::Http => return Ok(Response::new(body(Vec::new()))),
    };
    let (mut parts, body) = response.into_parts();
    let kind = HeaderValue::from_static("application/grpc");
    parts.headers.insert(http::header::CONTENT_TYPE, kind);
    Ok(Response::from_parts(parts, body))
}
