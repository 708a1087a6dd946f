//! `grpc`: `grpc.health.v1.Health/Check` in the clear on the loopback address; `SERVING` passes.
//!
//! Source: Knative `pkg/queue/health/probe.go`, the gRPC health checking protocol. One small message each way, framed by
//! hand: no gRPC library is needed for that. The container's answer is bounded in size here, in time by the caller.

use std::{net::Ipv4Addr, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message as _;
use tokio_util::task::AbortOnDropHandle;

use super::{
    dial::{self, DialError},
    http_get::USER_AGENT,
    spec::{GrpcAction, Port},
};

/// Largest answer taken: the message has one number.
const MAX_ANSWER: usize = 4 * 1024;
/// Most bytes that one answer takes off its connection, frames of all kinds included.
const MAX_BYTES: u64 = 256 * 1024;
/// Largest head and trailers of an answer.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// Before each message: a flag for compression, and its length.
const PREFIX: usize = 5;
const OK: &[u8] = b"0";
const UNIMPLEMENTED: &[u8] = b"12";
const SERVING: i32 = 1;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Why a gRPC probe failed.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// No connection.
    #[error("failed to connect service: {0}")]
    Dial(#[from] DialError),
    /// The connection ended, or is not HTTP/2.
    #[error("health rpc probe failed: no valid answer")]
    NoAnswer,
    /// A status other than OK.
    #[error("health rpc probe failed")]
    Status,
    /// The container has no health service.
    #[error("this server does not implement the grpc health protocol (grpc.health.v1.Health)")]
    Unimplemented,
    /// It has one, and says no.
    #[error("service unhealthy (responded with {:?})", name(*.0))]
    Unhealthy(i32),
}

impl From<hyper::Error> for GrpcError {
    fn from(error: hyper::Error) -> Self {
        tracing::debug!(%error, "a gRPC probe got no answer");
        Self::NoAnswer
    }
}

/// Names of the protocol's enum.
fn name(status: i32) -> &'static str {
    match status {
        0 => "UNKNOWN",
        SERVING => "SERVING",
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "an unknown status",
    }
}

/// Asks once; `timeout`, which the caller enforces, is also told to the container.
pub(super) async fn probe(action: &GrpcAction, timeout: Duration) -> Result<(), GrpcError> {
    let port = Port::Number(action.port).number().ok_or(DialError::Port)?;
    let socket = dial::connect("", Some(port)).await?;
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEADER_LIST)
        .handshake(TokioIo::new(dial::bounded(socket, MAX_BYTES)));
    let (mut sender, connection) = handshake.await?;
    let _closed_at_the_end = AbortOnDropHandle::new(tokio::spawn(connection));
    let response = sender.send_request(request(action, port, timeout)?).await;
    let (head, mut body) = response?.into_parts();
    let (mut message, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        match frame?.into_data() {
            Ok(data) if message.len() + data.len() > MAX_ANSWER => return Err(GrpcError::NoAnswer),
            Ok(data) => message.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    verdict(head.status, &head.headers, &message, trailers.as_ref())
}

fn request(action: &GrpcAction, port: u16, timeout: Duration) -> Result<Request<Full<Bytes>>, GrpcError> {
    let message = HealthCheckRequest {
        service: action.service.clone(),
    };
    let length = u32::try_from(message.encoded_len()).map_err(|_| GrpcError::NoAnswer)?;
    let mut framed = BytesMut::with_capacity(PREFIX + message.encoded_len());
    framed.put_u8(0);
    framed.put_u32(length);
    message.encode(&mut framed).map_err(|_| GrpcError::NoAnswer)?;
    Request::builder()
        .method(Method::POST)
        .uri(format!(
            "http://{}:{port}/grpc.health.v1.Health/Check",
            Ipv4Addr::LOCALHOST
        ))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::TE, "trailers")
        .header("grpc-timeout", grpc_timeout(timeout))
        .body(Full::new(framed.freeze()))
        .map_err(|_| GrpcError::NoAnswer)
}

/// At most eight digits and a unit.
fn grpc_timeout(timeout: Duration) -> String {
    match timeout.as_millis() {
        milliseconds @ ..=99_999_999 => format!("{milliseconds}m"),
        _ => format!("{}S", timeout.as_secs().min(99_999_999)),
    }
}

/// What a complete answer means: exactly one message with status OK in the trailers, or in the head of an answer without
/// any body. Public for the fuzz target: these are bytes from a peer.
///
/// # Errors
/// [`GrpcError`], for everything but `SERVING`.
pub fn verdict(
    status: http::StatusCode,
    head: &HeaderMap,
    body: &[u8],
    trailers: Option<&HeaderMap>,
) -> Result<(), GrpcError> {
    // As gRPC maps HTTP: an HTTP server that knows no such path implements no such service.
    if status == http::StatusCode::NOT_FOUND {
        return Err(GrpcError::Unimplemented);
    }
    let content_type = head.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if status != http::StatusCode::OK || !content_type.is_some_and(|text| text.starts_with(b"application/grpc")) {
        return Err(GrpcError::NoAnswer);
    }
    match trailers.unwrap_or(head).get("grpc-status").map(HeaderValue::as_bytes) {
        Some(OK) => {}
        Some(UNIMPLEMENTED) => return Err(GrpcError::Unimplemented),
        Some(_) => return Err(GrpcError::Status),
        None => return Err(GrpcError::NoAnswer),
    }
    let Some((&[compressed, a, b, c, d], message)) = body.split_first_chunk::<PREFIX>() else {
        return Err(GrpcError::NoAnswer);
    };
    if compressed != 0 || u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return Err(GrpcError::NoAnswer);
    }
    match HealthCheckResponse::decode(message) {
        Ok(HealthCheckResponse { status: SERVING }) => Ok(()),
        Ok(HealthCheckResponse { status }) => Err(GrpcError::Unhealthy(status)),
        Err(_) => Err(GrpcError::NoAnswer),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let value = value.parse().expect("a header value");
            (http::HeaderName::from_static(name), value)
        });
        pairs.collect()
    }

    const GRPC: (&str, &str) = ("content-type", "application/grpc+proto");

    #[test]
    fn only_one_serving_message_with_status_ok_passes() {
        let head = headers(&[GRPC]);
        let told = |body: &[u8], status: &str| {
            let trailers = headers(&[("grpc-status", status)]);
            verdict(StatusCode::OK, &head, body, Some(&trailers)).map_err(|error| error.to_string())
        };
        let serving = [0, 0, 0, 0, 2, 8, 1];
        assert_eq!(told(&serving, "0"), Ok(()));
        assert_eq!(
            told(&[0, 0, 0, 0, 2, 8, 2], "0"),
            Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned())
        );
        assert!(told(&[0, 0, 0, 0, 0], "0").is_err_and(|text| text.contains("UNKNOWN")));
        assert!(told(&serving, "12").is_err_and(|text| text.contains("does not implement")));
        assert!(told(&serving, "5").is_err());
        for broken in [
            &b""[..],
            &serving[..6],
            &[1, 0, 0, 0, 2, 8, 1],
            &serving.repeat(2),
            &[0; 3],
        ] {
            assert!(told(broken, "0").is_err(), "{broken:?}");
        }
        let ok = headers(&[("grpc-status", "0")]);
        assert!(verdict(StatusCode::OK, &head, &serving, None).is_err(), "no status");
        assert!(
            verdict(StatusCode::OK, &headers(&[]), &serving, Some(&ok)).is_err(),
            "no gRPC"
        );
        assert!(verdict(StatusCode::BAD_GATEWAY, &head, &serving, Some(&ok)).is_err());
        let only = headers(&[GRPC, ("grpc-status", "12")]);
        let error = verdict(StatusCode::OK, &only, b"", None).expect_err("trailers only");
        assert!(matches!(error, GrpcError::Unimplemented));
    }

    #[test]
    fn timeouts_fit_into_eight_digits() {
        assert_eq!(grpc_timeout(Duration::from_millis(100)), "100m");
        assert_eq!(grpc_timeout(Duration::from_secs(i32::MAX as u64)), "99999999S");
    }

    proptest! {
        #[test]
        fn any_bytes_get_a_verdict(body in proptest::collection::vec(any::<u8>(), 0..32)) {
            let (head, ok) = (headers(&[GRPC]), headers(&[("grpc-status", "0")]));
            let passed = verdict(StatusCode::OK, &head, &body, Some(&ok)).is_ok();
            prop_assert!(!passed || body.len() >= PREFIX + 2);
        }
    }
}
