//! Joint to XDT on the way out: a large response becomes a reference for a caller that accepts one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body as HttpBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::{sync::oneshot, time::Instant};
use xdt_proto::{ByteCount, headers};

use crate::{
    body::{Body, BoxError, COLLECT_PAUSE, empty},
    error::{Problem, plain},
    transfer::{
        Transfer,
        description::Description,
        put::{OfferError, OfferWriter, PutError, PutTerms},
    },
};

/// Keeps a response body larger than `limit` as an object and answers with its reference; passes every other response
/// on untouched, also when no buffer is free or the instance is draining.
pub async fn offer<B>(transfer: &Arc<Transfer>, response: Response<B>, limit: u64, deadline: Instant) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    if !may_be_offered(&response) || transfer.is_draining() {
        return response.map(Body::new);
    }
    let (parts, body) = response.into_parts();
    let announced = body.size_hint().exact();
    let (start, body) = match announced {
        Some(size) if size <= limit => return Response::from_parts(parts, Body::new(body)),
        Some(_) => (Vec::new(), body),
        None => match Start::read(body, limit).await {
            Start::Small(frames) => return Response::from_parts(parts, replay(frames)),
            Start::Slow(frames, body) => {
                let start = StreamBody::new(stream::iter(frames.into_iter().map(Ok)));
                return Response::from_parts(parts, start.into_body_then(body));
            }
            Start::Broken(error) => return broken(error.as_ref()),
            Start::Large(frames, body) => (frames, body),
        },
    };
    let rest = Body::new(StreamBody::new(stream::iter(start.into_iter().map(Ok))).into_body_then(body));
    by_reference(transfer, Response::from_parts(parts, rest), announced, deadline).await
}

fn may_be_offered<B: HttpBody>(response: &Response<B>) -> bool {
    let status = response.status();
    let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let own = response.headers().contains_key(headers::REFERENCE);
    let events = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    !bodiless && !own && !events && !response.body().is_end_stream()
}

/// The beginning of a body of unknown length.
enum Start<B> {
    /// All of it.
    Small(Vec<Frame<Bytes>>),
    /// It broke off before it was known to be large; nothing has been promised to the caller yet.
    Broken(BoxError),
    /// It pauses: a conversation, which must not wait for more.
    Slow(Vec<Frame<Bytes>>, B),
    /// More than the limit, or the first part of it.
    Large(Vec<Frame<Bytes>>, B),
}

impl<B: HttpBody<Data = Bytes, Error = BoxError> + Unpin> Start<B> {
    async fn read(mut body: B, limit: u64) -> Self {
        let (mut frames, mut length) = (Vec::new(), 0);
        loop {
            let Ok(frame) = tokio::time::timeout(COLLECT_PAUSE, body.frame()).await else {
                return Self::Slow(frames, body);
            };
            match frame {
                Some(Ok(frame)) => {
                    length += frame.data_ref().map_or(0, |data| data.len() as u64);
                    frames.push(frame);
                    if length > limit {
                        return Self::Large(frames, body);
                    }
                }
                Some(Err(error)) => return Self::Broken(error),
                None => return Self::Small(frames),
            }
        }
    }
}

fn replay(frames: Vec<Frame<Bytes>>) -> Body {
    Body::new(StreamBody::new(stream::iter(frames.into_iter().map(Ok))))
}

/// The user container gave up while its answer was being held back.
fn broken(error: &(dyn std::error::Error + Send + Sync)) -> Response<Body> {
    tracing::debug!(%error, "a response broke off before it was passed on");
    plain(StatusCode::BAD_GATEWAY, "the user container's answer broke off")
}

/// One body after another.
trait Then {
    fn into_body_then<B>(self, next: B) -> Body
    where
        B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static;
}

impl<S> Then for StreamBody<S>
where
    S: futures_util::Stream<Item = Result<Frame<Bytes>, BoxError>> + Send + Unpin + 'static,
{
    fn into_body_then<B>(self, next: B) -> Body
    where
        B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
    {
        let frames = stream::unfold((self, Some(next)), |(mut first, mut next)| async move {
            if let Some(frame) = first.frame().await {
                return Some((frame, (first, next)));
            }
            let frame = next.as_mut()?.frame().await?;
            Some((frame, (first, next)))
        });
        Body::new(StreamBody::new(Box::pin(frames)))
    }
}

async fn by_reference(
    transfer: &Arc<Transfer>,
    response: Response<Body>,
    announced: Option<u64>,
    deadline: Instant,
) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let size = announced.map(ByteCount::new);
    let Ok(description) = Description::from_headers(size, &parts.headers) else {
        return Response::from_parts(parts, body);
    };
    if !transfer.settings().cut_through {
        if is_grpc(&parts.headers) {
            return Response::from_parts(parts, body); // its trailers must follow its messages
        }
        return stored_by_reference(transfer, Response::from_parts(parts, body), description).await;
    }
    let offer = match transfer.offer(description, Duration::ZERO).await {
        Ok(offer) => offer,
        Err(error) => {
            tracing::debug!(%error, "a large response passes inline");
            return Response::from_parts(parts, body);
        }
    };
    let (reference, writer) = offer.split();
    let trailers_follow = is_grpc(&parts.headers);
    refer(&mut parts.headers, reference.as_str(), size);
    let (send_trailers, trailers) = oneshot::channel();
    transfer.spawn(async move {
        // The request's time is over at its deadline, also when nobody fetches the object.
        let passed = tokio::time::timeout_at(deadline, pass(writer, body)).await;
        match passed.unwrap_or(Err(OfferError::ReaderGone)) {
            // Nobody waits for them unless the response is gRPC's.
            Ok(found) => drop(send_trailers.send(found)),
            Err(error) => tracing::debug!(%error, "a response offered by reference ended early"),
        }
    });
    let body = if trailers_follow {
        trailers_only(trailers)
    } else {
        empty()
    };
    Response::from_parts(parts, body)
}

async fn stored_by_reference(
    transfer: &Arc<Transfer>,
    response: Response<Body>,
    description: Description,
) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let terms = PutTerms {
        description,
        retrievals: xdt_proto::Retrievals::ONE,
        ttl: None,
    };
    match transfer.put(body, terms).await {
        Ok(put) => {
            refer(&mut parts.headers, put.reference.as_str(), Some(put.size));
            Response::from_parts(parts, empty())
        }
        Err(PutError::BodyBroken(error)) => broken(error.as_ref()),
        Err(error) => Problem::from(&error).response(),
    }
}

/// Turns the headers into those of an empty answer with a reference.
fn refer(map: &mut HeaderMap, reference: &str, size: Option<ByteCount>) {
    map.remove(header::CONTENT_LENGTH);
    if let Ok(value) = HeaderValue::from_str(reference) {
        map.insert(headers::REFERENCE, value);
    }
    if let Some(size) = size {
        map.insert(headers::OBJECT_SIZE, HeaderValue::from(size.get()));
    }
}

fn is_grpc(map: &HeaderMap) -> bool {
    map.get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Writes the whole body into the object and returns its trailers.
async fn pass(mut writer: OfferWriter, mut body: Body) -> Result<Option<HeaderMap>, OfferError> {
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        match frame.map_err(OfferError::BodyBroken)?.into_data() {
            Ok(data) => writer.write(data).await?,
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    writer.finish().await?;
    Ok(trailers)
}

/// No data, then the trailers of the body that went by reference: they stay on the control path.
fn trailers_only(trailers: oneshot::Receiver<Option<HeaderMap>>) -> Body {
    let frames = stream::unfold(Some(trailers), |trailers| async move {
        match trailers?.await {
            Ok(Some(found)) => Some((Ok(Frame::trailers(found)), None)),
            Ok(None) => None,
            Err(_) => Some((Err(BoxError::from("the response broke off")), None)),
        }
    });
    Body::new(StreamBody::new(Box::pin(frames)))
}
