//! What a user container does with a request.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    upgrade::OnUpgrade,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::time::Instant;

use super::{Outcome, Record};
use crate::{
    http::{Body, BoxError, bytes_body},
    payload::{Digest, Payload},
};

/// What to do.
#[derive(Debug, Clone)]
pub enum Script {
    /// Reads all and answers with JSON: method, target, bytes, digest.
    Echo,
    /// As [`Self::Echo`], reading no more than so many bytes a second.
    ReadSlowly(u64),
    /// Takes the head and reads nothing until released; then as [`Self::Echo`].
    Hold,
    /// Reads all and answers with these bytes, their length announced.
    Answer(u16, Vec<(&'static str, &'static str)>, Payload),
    /// As [`Self::Answer`], chunked.
    AnswerChunked(Payload),
    /// Reads all, begins to answer chunked with these bytes and breaks off.
    BreakOff(Payload),
    /// Reads all and sends the body back, then trailers `grpc-status: 0` and `x-bytes`.
    Grpc,
    /// Reads all and answers with this status, without a body.
    Status(u16),
    /// Reads all and answers at once with a head and the first of so many pieces ([`DRIP`]); each other one follows
    /// after so long. The length is announced where that is `true`.
    Drip(usize, Duration, bool),
    /// Switches to whatever protocol was asked for and sends every byte back.
    Tunnel,
    /// As the other one, but requests for [`crate::neighbour::PATH`] are always answered as by [`Self::Echo`].
    SpareNeighbours(Box<Script>),
}

/// One piece of [`Script::Drip`].
pub const DRIP: &str = "drip";

impl Script {
    pub(super) async fn run(
        self,
        record: Record,
        upgrade: OnUpgrade,
        body: Incoming,
    ) -> Result<Response<Body>, BoxError> {
        match self {
            Self::Echo => {
                read(&record, body, None, false).await?;
                Ok(told(&record))
            }
            Self::ReadSlowly(rate) => {
                read(&record, body, Some(rate), false).await?;
                Ok(told(&record))
            }
            Self::Hold => {
                record.shared.released.acquire().await?.forget();
                read(&record, body, None, false).await?;
                Ok(told(&record))
            }
            Self::Answer(status, headers, payload) => {
                read(&record, body, None, false).await?;
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                Ok(response.body(bytes_body(payload.bytes()))?)
            }
            Self::AnswerChunked(payload) => {
                read(&record, body, None, false).await?;
                Ok(Response::new(payload.chunked()))
            }
            Self::BreakOff(payload) => {
                read(&record, body, None, false).await?;
                let pieces = stream::iter(payload.pieces().map(|piece| Ok(Frame::data(piece))));
                let broken = stream::iter([Err(BoxError::from("broken off as scripted"))]);
                Ok(Response::new(Body::new(StreamBody::new(pieces.chain(broken)))))
            }
            Self::Grpc => {
                let bytes = read(&record, body, None, true).await?;
                Ok(grpc(bytes))
            }
            Self::Drip(pieces, pause, announced) => {
                read(&record, body, None, false).await?;
                drip(pieces, pause, announced)
            }
            Self::Tunnel => tunnel(record, upgrade),
            Self::SpareNeighbours(script) => {
                let spared = record.change(|seen| seen.target == crate::neighbour::PATH);
                let script = if spared { Self::Echo } else { *script };
                Box::pin(script.run(record, upgrade, body)).await
            }
            Self::Status(status) => {
                read(&record, body, None, false).await?;
                Ok(Response::builder().status(status).body(crate::http::empty_body())?)
            }
        }
    }
}

/// Reads the whole body into the record, at no more than `rate` bytes a second; returns the bytes where wanted.
async fn read(record: &Record, mut body: Incoming, rate: Option<u64>, keep: bool) -> Result<Bytes, BoxError> {
    let (started, mut digest, mut kept, mut total) = (Instant::now(), Digest::default(), Vec::new(), 0_u64);
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                record.change(|seen| seen.outcome = Outcome::Aborted);
                return Err(error.into());
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        digest.update(&data);
        total += data.len() as u64;
        if keep {
            kept.extend_from_slice(&data);
        }
        record.change(|seen| seen.bytes = total);
        if let Some(rate) = rate {
            // The pace is the script, not a wait for something to happen.
            let due = Duration::from_micros(total.saturating_mul(1_000_000) / rate.max(1));
            tokio::time::sleep_until(started + due).await;
        }
    }
    record.change(|seen| {
        seen.digest = digest.finish();
        seen.outcome = Outcome::Completed;
    });
    Ok(kept.into())
}

fn drip(pieces: usize, pause: Duration, announced: bool) -> Result<Response<Body>, BoxError> {
    let frames = stream::unfold(0, move |sent| async move {
        if sent > 0 && sent < pieces {
            tokio::time::sleep(pause).await; // the pace is the script
        }
        let frame = Ok(Frame::data(Bytes::from_static(DRIP.as_bytes())));
        (sent < pieces).then_some((frame, sent + 1))
    });
    let mut response = Response::builder();
    if announced {
        response = response.header(http::header::CONTENT_LENGTH, pieces * DRIP.len());
    }
    Ok(response.body(Body::new(StreamBody::new(Box::pin(frames))))?)
}

/// The record ends with the tunnel, as complete when the client closed it in order.
fn tunnel(record: Record, upgrade: OnUpgrade) -> Result<Response<Body>, BoxError> {
    let kind = record.change(|seen| seen.headers.get(http::header::UPGRADE).cloned());
    tokio::spawn(async move {
        let Ok(client) = upgrade.await else { return };
        let (mut from, mut to) = tokio::io::split(TokioIo::new(client));
        if let Ok(bytes) = tokio::io::copy(&mut from, &mut to).await {
            record.change(|seen| (seen.bytes, seen.outcome) = (bytes, Outcome::Completed));
        }
    });
    Ok(Response::builder()
        .status(101)
        .header(http::header::CONNECTION, "Upgrade")
        .header(http::header::UPGRADE, kind.ok_or("no upgrade was asked for")?)
        .body(crate::http::empty_body())?)
}

fn told(record: &Record) -> Response<Body> {
    let document = record.change(|seen| {
        json!({
            "method": seen.method,
            "target": seen.target,
            "bytes": seen.bytes,
            "digest": seen.digest,
        })
    });
    let mut response = Response::new(bytes_body(document.to_string()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

fn grpc(bytes: Bytes) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-bytes", HeaderValue::from(bytes.len()));
    let frames = [Ok::<_, BoxError>(Frame::data(bytes)), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(Body::new(StreamBody::new(stream::iter(frames))));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}
