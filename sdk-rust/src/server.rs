//! The consumer's side: a tower layer after which handlers see ordinary requests.
//!
//! For servers on axum, or on hyper and tower. A request whose body was left with the producer (header
//! `Xdt-Reference`, *reference delivery* of the contract's section 4) gets it back before the handler runs; any other
//! passes untouched. Bodies are streamed: the layer holds one chunk per request.

mod body;

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
};
use tower_layer::Layer;
use tower_service::Service;
use xdt_proto::{Reference, headers};

use crate::{Client, Error, ErrorKind, Reader, Result};
use body::problem;
pub use body::{Body, BoxError};

/// What objects without a content type are delivered as; it says nothing, so the message's own type goes before it.
const NO_CONTENT_TYPE: &str = "application/octet-stream";

/// Turns control messages back into ordinary requests.
///
/// The inner service receives the original method, path and headers, the object's content type where it has one, the
/// object's bytes as a streamed body, `Content-Length` where the size is known, and none of the `Xdt-*` headers. If
/// the object cannot be had, the inner service is not called and the answer is `application/problem+json` with the
/// error word. If the transfer breaks later, the body ends with an error, never cleanly.
///
/// ```no_run
/// use axum::{Router, routing::post};
///
/// # fn example() -> xdt::Result<()> {
/// let client = xdt::Client::connect()?;
/// let app: Router = Router::new()
///     .route("/", post(|body: axum::body::Bytes| async move { format!("{} bytes\n", body.len()) }))
///     .layer(xdt::server::XdtLayer::new(client));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct XdtLayer {
    client: Client,
}

impl XdtLayer {
    /// A layer that gets objects through `client`, within its timeout.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }
}

impl<S> Layer<S> for XdtLayer {
    type Service = XdtService<S>;

    fn layer(&self, inner: S) -> XdtService<S> {
        XdtService {
            client: self.client.clone(),
            inner,
        }
    }
}

/// What [`XdtLayer`] makes of a service.
#[derive(Debug, Clone)]
pub struct XdtService<S> {
    client: Client,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for XdtService<S>
where
    S: Service<Request<Body>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    R: http_body::Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, std::result::Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::result::Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that was polled ready is the one to call; the clone takes its place.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        if !request.headers().contains_key(headers::REFERENCE) {
            let answer = inner.call(request.map(Body::new));
            return Box::pin(async { Ok(answer.await?.map(Body::new)) });
        }
        let client = self.client.clone();
        Box::pin(async move {
            match deliver(&client, request).await {
                Ok(request) => Ok(inner.call(request).await?.map(Body::new)),
                Err(error) => Ok(problem(&error)),
            }
        })
    }
}

/// The original request in place of the control message.
async fn deliver<B: http_body::Body>(client: &Client, message: Request<B>) -> Result<Request<Body>> {
    let reference = only_reference(message.headers())?;
    if !message.body().is_end_stream() {
        return Err(Error::new(
            ErrorKind::BadRequest,
            "a request has a body or a reference, not both",
        ));
    }
    let reader = client.open(&reference).await?;
    let (mut parts, _) = message.into_parts();
    original_headers(&mut parts.headers, &reader);
    Ok(Request::from_parts(parts, Body::from_reader(reader)))
}

fn only_reference(message: &HeaderMap) -> Result<Reference> {
    let mut values = message.get_all(headers::REFERENCE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Error::new(ErrorKind::BadRequest, "a request has at most one reference"));
    };
    Ok(value.to_str().unwrap_or_default().parse()?)
}

fn original_headers(message: &mut HeaderMap, object: &Reader) {
    let xdt: Vec<_> = message
        .keys()
        .filter(|name| name.as_str().starts_with(headers::PREFIX))
        .cloned()
        .collect();
    for name in xdt {
        message.remove(name);
    }
    message.remove(TRANSFER_ENCODING);
    message.remove(CONTENT_LENGTH);
    if let Some(size) = object.size() {
        message.insert(CONTENT_LENGTH, HeaderValue::from(size));
    }
    let content_type = object
        .content_type()
        .filter(|text| *text != NO_CONTENT_TYPE || !message.contains_key(CONTENT_TYPE));
    if let Some(value) = content_type.and_then(|text| HeaderValue::from_str(text).ok()) {
        message.insert(CONTENT_TYPE, value);
    }
}
