//! Carries OTLP and Zipkin messages to a collector over the proxy's own HTTP client: as the body of a POST, or as a
//! unary gRPC call, framed here so that no second HTTP/2 stack comes along.
//!
//! The exporters run on threads of the SDK's; requests run on the proxy's runtime. Bounds: one request at a time for
//! each exporter (the SDK's rule), [`Carrier::timeout`] for each, [`MAX_ANSWER`] for what is read of an answer.

mod secure;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

use crate::config::telemetry::{Collector, Framing};
pub(super) use secure::{SecureError, certificates, wrong};

/// Most bytes read of a collector's answer.
const MAX_ANSWER: usize = 1 << 20;
/// Idle connections to the collector are closed after this.
const IDLE: Duration = Duration::from_secs(90);
/// A gRPC message's flag and length.
const PREFIX: usize = 5;

/// Carries what one exporter sends.
#[derive(Debug)]
pub(super) struct Carrier {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    framing: Framing,
    timeout: Duration,
    runtime: Handle,
    /// What is carried, for the log.
    signal: &'static str,
    failing: AtomicBool,
}

impl Carrier {
    /// Must be called on the runtime that shall run the requests.
    ///
    /// # Errors
    /// [`SecureError`].
    pub(super) fn new(signal: &'static str, collector: &Collector) -> Result<Self, SecureError> {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(1)
            .http2_only(collector.framing == Framing::Grpc)
            .build(secure::connector(collector)?);
        Ok(Self {
            client,
            framing: collector.framing,
            timeout: collector.timeout,
            runtime: Handle::current(),
            signal,
            failing: AtomicBool::new(false),
        })
    }

    /// One line when deliveries begin to fail, one when they go on.
    fn note(&self, failed: bool) {
        if failed != self.failing.swap(failed, Ordering::Relaxed) {
            let signal = self.signal;
            if failed {
                tracing::warn!(signal, "telemetry is not delivered: the collector does not take it");
            } else {
                tracing::info!(signal, "telemetry is delivered again");
            }
        }
    }
}

#[async_trait]
impl HttpClient for Carrier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = match self.framing {
            Framing::Grpc => framed(request, self.timeout),
            Framing::Http => request,
        };
        let sent = self.client.request(request.map(Full::new));
        let timeout = self.timeout;
        let exchange = async move {
            tokio::time::timeout(timeout, async {
                let (head, body) = sent.await?.into_parts();
                let body = Limited::new(body, MAX_ANSWER).collect().await?;
                let trailers = body.trailers().cloned();
                Ok::<_, HttpError>((Response::from_parts(head, body.to_bytes()), trailers))
            })
            .await
        };
        let answer: Result<_, HttpError> = match self.runtime.spawn(exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(late)) => Err(late.into()),
            Err(runtime_is_gone) => Err(runtime_is_gone.into()),
        };
        let answer = answer.map(|(response, trailers)| match self.framing {
            Framing::Grpc => unframed(response, trailers.as_ref()),
            Framing::Http => response,
        });
        if let Err(error) = &answer {
            tracing::debug!(error, signal = self.signal, "telemetry was not delivered");
        }
        self.note(!answer.as_ref().is_ok_and(|response| response.status().is_success()));
        answer
    }
}

/// The same message as a unary gRPC call.
fn framed(request: Request<Bytes>, timeout: Duration) -> Request<Bytes> {
    let (mut head, message) = request.into_parts();
    head.headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    // Milliseconds, of at most eight digits.
    let milliseconds = timeout.as_millis().min(99_999_999);
    if let Ok(value) = HeaderValue::from_str(&format!("{milliseconds}m")) {
        head.headers.insert("grpc-timeout", value);
    }
    let mut body = BytesMut::with_capacity(PREFIX + message.len());
    body.put_u8(0);
    // The exporter sends no message above 64 MiB.
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.put(message);
    Request::from_parts(head, body.freeze())
}

/// A unary answer as if it had been that of a POST: the exporter's rules for trying again apply to its status.
fn unframed(mut response: Response<Bytes>, trailers: Option<&HeaderMap>) -> Response<Bytes> {
    if !response.status().is_success() {
        return response;
    }
    let code = |map: &HeaderMap| map.get("grpc-status")?.to_str().ok()?.parse::<u32>().ok();
    let code = trailers.and_then(code).or_else(|| code(response.headers()));
    *response.status_mut() = match code {
        Some(0) => StatusCode::OK,
        // Cancelled, deadline exceeded, resource exhausted, aborted, out of range, unavailable, data loss: try again.
        Some(1 | 4 | 8 | 10 | 11 | 14 | 15) => StatusCode::SERVICE_UNAVAILABLE,
        Some(_) => StatusCode::BAD_REQUEST,
        None => StatusCode::BAD_GATEWAY,
    };
    let body = response.body_mut();
    body.advance(PREFIX.min(body.len()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_becomes_a_unary_call() {
        let request = Request::post("http://c/x").header("content-type", "application/x-protobuf");
        let request = request.body(Bytes::from_static(b"abc")).expect("a request");
        let framed = framed(request, Duration::from_secs(10));
        assert_eq!(framed.body().as_ref(), b"\0\0\0\0\x03abc");
        assert_eq!(framed.headers()["content-type"], "application/grpc");
        assert_eq!(framed.headers()["te"], "trailers");
        assert_eq!(framed.headers()["grpc-timeout"], "10000m");
    }

    #[test]
    fn a_unary_answer_becomes_a_status() {
        let answer = |code: &str| {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", code.parse().expect("a value"));
            let response = unframed(Response::new(Bytes::from_static(b"\0\0\0\0\x02ok")), Some(&trailers));
            (response.status().as_u16(), response.into_body())
        };
        assert_eq!(answer("0"), (200, Bytes::from_static(b"ok")));
        assert_eq!(answer("14").0, 503);
        assert_eq!(answer("12").0, 400);
        assert_eq!(answer("x").0, 502);
        let empty = unframed(Response::new(Bytes::new()), None);
        assert_eq!(empty.status(), 502);
    }
}
