//! The consumer function: takes objects, tells when they were there, keeps them until they are verified.
//!
//! | request | the object comes |
//! | --- | --- |
//! | `POST /take` | as the body: sent inline, or put there by the sidecar (transparent delivery; no SDK involved) |
//! | `POST /fetch` | by the SDK's `get` or from a store, from the references or keys in the JSON body, all at once |
//! | gRPC `Vanilla/Send`, TCP | on ports of their own that `GET /info` tells |
//!
//! `POST /verify` and `POST /gone` are the harness's, outside of what is measured.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    extract::{Request, State},
    http::HeaderMap,
    routing::{get, post},
};
use tokio::{sync::OnceCell, task::JoinSet};

use crate::{
    arrival::{Arrived, receive},
    clock::monotonic_ns,
    messages::{Backend, Fetch, Gone, Info, Receipt, Verified},
    serve::Failure,
    shelf::Shelf,
    storage::Storage,
};

/// Header with the lengths of the objects that lie one behind the other in a body, separated by commas.
pub const LENGTHS_HEADER: &str = "bench-lengths";

/// Where the consumer listens besides HTTP.
#[derive(Debug, Clone, Copy)]
pub struct SidePorts {
    /// gRPC.
    pub grpc: SocketAddr,
    /// TCP.
    pub tcp: SocketAddr,
}

/// What the handlers share.
#[derive(Debug)]
struct Consumer {
    side_ports: SidePorts,
    shelf: Arc<Shelf>,
    storage: Storage,
    /// Made at the first `get`: without a sidecar the other ways still work.
    client: OnceCell<xdt::Client>,
}

/// The consumer's HTTP routes; objects go to `shelf`.
pub fn routes(side_ports: SidePorts, shelf: Arc<Shelf>) -> Router {
    let consumer = Arc::new(Consumer {
        side_ports,
        shelf,
        storage: Storage::default(),
        client: OnceCell::new(),
    });
    Router::new()
        .route("/take", post(take))
        .route("/fetch", post(fetch))
        .route("/verify", post(verify))
        .route("/gone", post(gone))
        .route("/info", get(info))
        .with_state(consumer)
}

async fn take(State(consumer): State<Arc<Consumer>>, request: Request) -> Result<Json<Receipt>, Failure> {
    let cuts = lengths(request.headers())?;
    let arrived = receive(request.into_body()).await?;
    Ok(Json(consumer.shelf.keep_cut(arrived, 0, cuts)?))
}

fn lengths(headers: &HeaderMap) -> Result<Vec<u64>> {
    let Some(value) = headers.get(LENGTHS_HEADER) else {
        return Ok(Vec::new());
    };
    let lengths = value.to_str()?.split(',').map(str::parse);
    lengths.collect::<Result<_, _>>().context("lengths that are no numbers")
}

async fn fetch(State(consumer): State<Arc<Consumer>>, Json(fetch): Json<Fetch>) -> Result<Json<Vec<Receipt>>, Failure> {
    if let [handle] = &fetch.handles[..] {
        return Ok(Json(vec![consumer.one(fetch.backend, handle).await?]));
    }
    let mut gets = JoinSet::new();
    for handle in fetch.handles {
        let consumer = Arc::clone(&consumer);
        gets.spawn(async move { consumer.one(fetch.backend, &handle).await });
    }
    let receipts = gets.join_all().await;
    Ok(Json(receipts.into_iter().collect::<Result<_>>()?))
}

async fn verify(State(consumer): State<Arc<Consumer>>) -> Result<Json<Vec<Verified>>, Failure> {
    Ok(Json(consumer.shelf.verify().await?))
}

async fn gone(State(consumer): State<Arc<Consumer>>, Json(gone): Json<Gone>) -> Result<Json<bool>, Failure> {
    let reference = gone.reference.parse().context("no reference")?;
    let client = consumer.client.get_or_try_init(async || crate::sdk()).await?;
    let outcome = client.get(&reference).await;
    Ok(Json(
        outcome.is_err_and(|error| error.kind() == xdt::ErrorKind::ObjectGone),
    ))
}

async fn info(State(consumer): State<Arc<Consumer>>) -> Json<Info> {
    Json(Info {
        grpc_address: Some(consumer.side_ports.grpc),
        tcp_address: Some(consumer.side_ports.tcp),
        sidecar_address: crate::sidecar_address(),
    })
}

impl Consumer {
    async fn one(&self, backend: Backend, handle: &str) -> Result<Receipt> {
        let begun_ns = monotonic_ns();
        let object = match backend {
            Backend::Xdt => {
                let reference = handle.parse().context("no reference")?;
                let client = self.client.get_or_try_init(async || crate::sdk()).await?;
                client.get(&reference).await.context("get failed")?.into_bytes()
            }
            stored => self.storage.get(stored, handle).await?,
        };
        let arrived = Arrived::contiguous(object);
        let get_ns = monotonic_ns().saturating_sub(begun_ns);
        self.shelf.keep(arrived, get_ns)
    }
}
