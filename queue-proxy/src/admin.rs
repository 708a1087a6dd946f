//! The admin path: the drain hook on 8022 and the autoscaler's statistics on 9090.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::{
    body::{Body, empty, full},
    drain::Drain,
    error::plain,
    invocation::stats::Stats,
};

/// Answers on 8022.
pub async fn admin(drain: Arc<Drain>, request: Request<Incoming>) -> Response<Body> {
    if request.uri().path() != "/wait-for-drain" {
        return not_found();
    }
    tracing::info!("Attached drain handler from user-container");
    drain.hook().await;
    Response::new(empty())
}

/// Answers on 9090. The autoscaler compares the content type as a whole.
pub async fn stats(stats: Arc<Stats>, request: Request<Incoming>) -> Response<Body> {
    if request.uri().path() != "/metrics" {
        return not_found();
    }
    let mut response = Response::new(full(stats.published()));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/protobuf"));
    response
}

fn not_found() -> Response<Body> {
    plain(StatusCode::NOT_FOUND, "404 page not found")
}
