//! The producer function: `POST /run` makes one transfer to a consumer and tells how long it took.
//!
//! The object is made or read before the clock starts and stays in memory until another one is asked for: one object at
//! a time, one transfer at a time. How each backend moves it stands in `producer/transfer.rs`.

mod transfer;

use std::sync::Arc;

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use tokio::sync::Mutex;

use crate::{
    clock::monotonic_ns,
    messages::{Info, Report, Run},
    object::{Payload, Source},
    serve::Failure,
};
use transfer::Connections;

/// What the handlers share: whoever holds it makes the one transfer that runs.
#[derive(Debug, Default)]
struct Producer {
    connections: Connections,
    prepared: Option<(Source, Payload)>,
}

/// The producer's HTTP routes.
pub fn routes() -> Router {
    let producer = Arc::new(Mutex::new(Producer::default()));
    Router::new()
        .route("/run", post(run))
        .route("/info", get(info))
        .with_state(producer)
}

async fn run(State(producer): State<Arc<Mutex<Producer>>>, Json(run): Json<Run>) -> Result<Json<Report>, Failure> {
    let mut producer = producer.lock().await;
    let begun_ns = monotonic_ns();
    let payload = producer.prepare(&run.source).await?;
    producer.connections.open(&run).await?;
    let started_ns = monotonic_ns();
    let outcome = producer.connections.transfer(&run, payload.bytes.clone()).await;
    let returned_ns = monotonic_ns();
    let outcome = outcome.with_context(|| format!("{:?} of {} bytes failed", run.backend, payload.bytes.len()))?;
    Ok(Json(Report {
        size: payload.bytes.len() as u64,
        digest: payload.digest,
        arrival: outcome.arrival,
        reference: outcome.reference,
        prepare_ns: started_ns.saturating_sub(begun_ns),
        started_ns,
        returned_ns,
    }))
}

async fn info() -> Json<Info> {
    Json(Info {
        grpc_address: None,
        sidecar_address: crate::sidecar_address(),
    })
}

impl Producer {
    /// The object that `source` describes: the one in memory, or else a new one in its place.
    async fn prepare(&mut self, source: &Source) -> anyhow::Result<Payload> {
        if let Some((prepared, payload)) = &self.prepared
            && prepared == source
        {
            return Ok(payload.clone());
        }
        self.prepared = None; // frees the old object before the new one takes its memory
        let wanted = source.clone();
        let payload = tokio::task::spawn_blocking(move || wanted.load())
            .await
            .context("the object was not made")??;
        self.prepared = Some((source.clone(), payload.clone()));
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_object_stays_in_memory() {
        let mut producer = Producer::default();
        let source = |repetition| Source::Seeded {
            size: 100,
            seed: 1,
            repetition,
        };
        let first = producer.prepare(&source(1)).await.unwrap();
        let again = producer.prepare(&source(1)).await.unwrap();
        assert_eq!(first.bytes.as_ptr(), again.bytes.as_ptr());
        let other = producer.prepare(&source(2)).await.unwrap();
        assert_ne!(first.digest, other.digest);
    }
}
