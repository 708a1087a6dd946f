//! The consumer function: takes an object, tells when it was there and what it hashes to.
//!
//! | request | the object comes |
//! | --- | --- |
//! | `POST /invoke` | as the body: sent inline, or put there by the sidecar (transparent delivery; no SDK involved) |
//! | `POST /get` | by the SDK's `get`, from the reference in the JSON body |
//! | gRPC `Vanilla/Send` | in chunks, on a port of its own that `GET /info` tells |
//!
//! Holds one object per request, of at most [`crate::MAX_OBJECT_BYTES`]; how many requests run is the sidecar's business.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::{Request, State},
    routing::{get, post},
};
use tokio::sync::OnceCell;
use xdt::ByteCount;

use crate::{
    MAX_OBJECT_BYTES,
    arrival::{Arrived, receive},
    http::CALL_TIMEOUT,
    messages::{Arrival, Get, Info},
    serve::Failure,
};

/// What the handlers share.
#[derive(Debug)]
struct Consumer {
    grpc_address: SocketAddr,
    /// Made at the first `get`: without a sidecar the other ways still work.
    client: OnceCell<xdt::Client>,
}

/// The consumer's HTTP routes.
pub fn routes(grpc_address: SocketAddr) -> Router {
    let consumer = Arc::new(Consumer {
        grpc_address,
        client: OnceCell::new(),
    });
    Router::new()
        .route("/invoke", post(invoke))
        .route("/get", post(get_object))
        .route("/info", get(info))
        .with_state(consumer)
}

async fn invoke(request: Request) -> Result<Json<Arrival>, Failure> {
    let arrived = receive(request.into_body()).await?;
    Ok(Json(arrived.digest().await?))
}

async fn get_object(State(consumer): State<Arc<Consumer>>, Json(get): Json<Get>) -> Result<Json<Arrival>, Failure> {
    let reference = get.reference.parse().context("no reference")?;
    let client = consumer.client.get_or_try_init(async || connect()).await?;
    let object = client.get(&reference).await.context("get failed")?;
    Ok(Json(Arrived::contiguous(object).digest().await?))
}

fn connect() -> xdt::Result<xdt::Client> {
    xdt::Client::builder()
        .memory_limit(ByteCount::new(MAX_OBJECT_BYTES))
        .timeout(CALL_TIMEOUT)
        .build()
}

async fn info(State(consumer): State<Arc<Consumer>>) -> Json<Info> {
    Json(Info {
        grpc_address: Some(consumer.grpc_address),
        sidecar_address: crate::sidecar_address(),
    })
}
