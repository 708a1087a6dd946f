//! Joint to XDT on the way in: a reference in the request's headers becomes the request's body.
//!
//! Transparent delivery (contract, section 4): the user container receives the original request with the object's bytes
//! and needs no SDK. If the pull fails before the user container was called, user code never ran.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body as _, Frame};
use xdt_proto::headers;

use crate::{
    body::{Body, DeliveryBody, Fate, ReadOn},
    error::Problem,
    transfer::{
        Stored, Transfer,
        get::{Delivery, GetError},
        source::Span,
    },
};

/// Where the request's body comes from.
pub enum Inbound {
    /// The request itself.
    Inline,
    /// An object.
    Object(Arc<Transfer>, String),
}

/// The body for the user container.
pub enum InboundBody {
    /// The request's own.
    Inline,
    /// An object whose first chunk is here.
    Object(Box<Delivery>),
    /// A whole object (store-and-forward).
    Stored(Box<Stored>),
}

impl Inbound {
    /// Looks at the request; takes nothing from it unless it is wrong.
    ///
    /// # Errors
    /// `bad-request` for two references, or a body beside a reference.
    pub async fn of(transfer: Option<&Arc<Transfer>>, request: &mut Request<ReadOn>) -> Result<Self, Problem> {
        let Some(transfer) = transfer else {
            return Ok(Self::Inline);
        };
        let Some(reference) = reference(request.headers())? else {
            return Ok(Self::Inline);
        };
        if has_bytes(request.body_mut()).await? {
            return Err(Problem::bad_request(
                "a request with Xdt-Reference has no body of its own",
            ));
        }
        Ok(Self::Object(transfer.clone(), reference))
    }

    /// Starts the pull and waits for its first chunk (all of it with store-and-forward).
    ///
    /// # Errors
    /// [`GetError`]; the user container has not been called.
    pub async fn body(self) -> Result<InboundBody, GetError> {
        let Self::Object(transfer, reference) = self else {
            return Ok(InboundBody::Inline);
        };
        // Boxed: most requests bring no object, and need no room for the state of a pull.
        Box::pin(pulled(transfer, reference)).await
    }
}

async fn pulled(transfer: Arc<Transfer>, reference: String) -> Result<InboundBody, GetError> {
    let delivery = transfer.get(&reference, Span::default(), true).await?;
    if transfer.settings().cut_through {
        return Ok(InboundBody::Object(Box::new(delivery)));
    }
    Ok(InboundBody::Stored(Box::new(transfer.store(delivery).await?)))
}

impl InboundBody {
    /// The request for the user container, and, where its body is an object, where to read how that went.
    #[must_use]
    pub fn into_request(self, request: Request<ReadOn>) -> (Request<Body>, Option<Fate>) {
        let (mut parts, own) = request.into_parts();
        match self {
            Self::Inline => (Request::from_parts(parts, Body::new(own)), None),
            Self::Object(delivery) => {
                let description = delivery.description().clone();
                describe(&mut parts.headers, description.content_type, delivery.length());
                let (body, fate) = DeliveryBody::new(*delivery);
                (Request::from_parts(parts, Body::new(body)), Some(fate))
            }
            Self::Stored(stored) => {
                let content_type = stored.last.description().content_type.clone();
                describe(&mut parts.headers, content_type, Some(stored.size()));
                let (body, fate) = replay(*stored);
                (Request::from_parts(parts, body), Some(fate))
            }
        }
    }
}

/// A stored object as a body. Its share of the budget is held until the end.
fn replay(stored: Stored) -> (Body, Fate) {
    let (last, fate) = DeliveryBody::new(stored.last);
    let state = (stored.chunks.into_iter(), last, stored.share);
    let frames = futures_util::stream::unfold(state, |(mut chunks, mut last, share)| async move {
        let frame = match chunks.next() {
            Some(chunk) => Ok(Frame::data(chunk)),
            None => last.frame().await?,
        };
        Some((frame, (chunks, last, share)))
    });
    (Body::new(StreamBody::new(Box::pin(frames))), fate)
}

fn describe(map: &mut HeaderMap, content_type: Option<HeaderValue>, length: Option<u64>) {
    if let Some(content_type) = content_type {
        map.insert(header::CONTENT_TYPE, content_type);
    }
    match length {
        Some(length) => map.insert(header::CONTENT_LENGTH, HeaderValue::from(length)),
        None => map.remove(header::CONTENT_LENGTH),
    };
}

/// The one reference that a request may carry.
fn reference(map: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = map.get_all(headers::REFERENCE).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() || value.as_bytes().contains(&b',') {
        return Err(Problem::bad_request("a request carries at most one Xdt-Reference"));
    }
    // What is no text is no reference either, and is told in the same words.
    Ok(Some(value.to_str().unwrap_or_default().to_owned()))
}

/// Whether the request has a body; waits for its first frame where neither length nor end were announced.
async fn has_bytes(body: &mut ReadOn) -> Result<bool, Problem> {
    if body.is_end_stream() || body.size_hint().exact() == Some(0) {
        return Ok(false);
    }
    if body.size_hint().lower() > 0 {
        return Ok(true);
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::bad_request("the request's body broke off"))?;
        if frame.data_ref().is_some_and(|data| !data.is_empty()) {
            return Ok(true);
        }
    }
    Ok(false)
}
