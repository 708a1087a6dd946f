//! The producer function: sends what it was told to prepare.
//!
//! `POST /prepare` (the harness's, untimed) makes the objects; `POST /run` sends them to one consumer or many, and
//! `POST /offer` puts the one object of a gather and says where. Objects stay in memory until others are asked for.
//! How each backend moves a single object stands in `producer/send.rs`.

mod send;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderName, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::{
    clock::monotonic_ns,
    messages::{Ask, Backend, Info, Offer, Pattern, Prepare, Prepared, Receipt, Report, Run, Variant},
    object::{Payload, Source},
    serve::Failure,
};
use send::Links;

/// Header of an inline offer: when the producer's part began.
pub const STARTED_HEADER: HeaderName = HeaderName::from_static("bench-started");

/// What the handlers share.
#[derive(Debug, Default)]
struct Producer {
    links: Links,
    ready: Mutex<Ready>,
}

/// The objects in memory.
#[derive(Debug, Default)]
struct Ready {
    index: usize,
    objects: Vec<(Source, Payload)>,
}

/// The producer's HTTP routes.
pub fn routes() -> Router {
    Router::new()
        .route("/prepare", post(prepare))
        .route("/run", post(run))
        .route("/offer", post(offer))
        .route("/info", get(info))
        .with_state(Arc::new(Producer::default()))
}

async fn prepare(
    State(producer): State<Arc<Producer>>,
    Json(wanted): Json<Prepare>,
) -> Result<Json<Vec<Prepared>>, Failure> {
    let before = std::mem::take(&mut producer.locked().objects);
    let make = move || before.make(wanted.objects);
    let objects = tokio::task::spawn_blocking(make)
        .await
        .context("the objects were not made")??;
    let prepared = objects.iter().map(|(_, payload)| Prepared {
        length: payload.bytes.len() as u64,
        digest: payload.digest,
    });
    let prepared = prepared.collect();
    *producer.locked() = Ready {
        index: wanted.index,
        objects,
    };
    Ok(Json(prepared))
}

async fn run(State(producer): State<Arc<Producer>>, Json(run): Json<Run>) -> Result<Json<Report>, Failure> {
    let objects = producer.objects();
    producer.links.open(&run).await?;
    let report = match run.pattern {
        Pattern::Broadcast => Producer::broadcast(&producer, Arc::new(run), objects).await?,
        _ => Producer::scatter(&producer, Arc::new(run), objects).await?,
    };
    Ok(Json(report))
}

async fn offer(State(producer): State<Arc<Producer>>, Json(ask): Json<Ask>) -> Result<Response, Failure> {
    let index = producer.locked().index;
    let object = producer.objects().into_iter().next().context("nothing was prepared")?;
    let started_ns = monotonic_ns();
    if ask.backend == Backend::Inline {
        let started = [(STARTED_HEADER, started_ns.to_string())];
        return Ok((StatusCode::OK, started, object).into_response());
    }
    let key = format!("{}-{index}", ask.key);
    let handle = producer.links.put(ask.backend, &key, object, 1).await?;
    let put_ns = monotonic_ns().saturating_sub(started_ns);
    let offer = Offer {
        started_ns,
        put_ns,
        handle,
    };
    Ok(Json(offer).into_response())
}

async fn info() -> Json<Info> {
    Json(Info {
        grpc_address: None,
        tcp_address: None,
        sidecar_address: crate::sidecar_address(),
    })
}

impl Producer {
    fn locked(&self) -> std::sync::MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn objects(&self) -> Vec<Bytes> {
        let ready = self.locked();
        ready.objects.iter().map(|(_, payload)| payload.bytes.clone()).collect()
    }

    /// A different object to each of `degree` consumers, all at once. One-to-one is the degree 1.
    async fn scatter(producer: &Arc<Self>, run: Arc<Run>, objects: Vec<Bytes>) -> Result<Report> {
        ensure!(
            objects.len() == run.degree,
            "{} objects were prepared for {} consumers",
            objects.len(),
            run.degree
        );
        let started_ns = monotonic_ns();
        let mut sends = JoinSet::new();
        for (number, object) in objects.into_iter().enumerate() {
            let (producer, run) = (Arc::clone(producer), Arc::clone(&run));
            sends.spawn(async move { producer.send(&run, number, object).await });
        }
        let sent: Vec<Sent> = sends.join_all().await.into_iter().collect::<Result<_>>()?;
        let mut report = Report {
            started_ns,
            ..Report::default()
        };
        for one in sent {
            report.put_ns = report.put_ns.max(one.put_ns);
            report.receipts.extend(one.receipts);
            report.note(run.backend, one.handle);
        }
        Ok(report)
    }

    async fn send(&self, run: &Run, number: usize, object: Bytes) -> Result<Sent> {
        let stored = matches!(run.backend, Backend::S3 | Backend::S3Control | Backend::Redis);
        if stored || (run.backend == Backend::Xdt && run.variant == Variant::PutGet) {
            let begun_ns = monotonic_ns();
            let key = format!("{}-{number}", run.key);
            let handle = self.links.put(run.backend, &key, object, 1).await?;
            let put_ns = monotonic_ns().saturating_sub(begun_ns);
            let receipts = self.links.ask(run, &handle).await?;
            return Ok(Sent {
                put_ns,
                receipts,
                handle: Some(handle),
            });
        }
        Ok(Sent {
            put_ns: 0,
            receipts: vec![self.links.send(run, number, object).await?],
            handle: None,
        })
    }

    /// One put, then the same handle to `degree` consumers at once; without a store, the object itself to each.
    async fn broadcast(producer: &Arc<Self>, run: Arc<Run>, objects: Vec<Bytes>) -> Result<Report> {
        let object = objects.into_iter().next().context("nothing was prepared")?;
        let mut report = Report {
            started_ns: monotonic_ns(),
            ..Report::default()
        };
        let is_direct = matches!(run.backend, Backend::Inline | Backend::GrpcStream | Backend::Tcp);
        let handle = if is_direct {
            None
        } else {
            let retrievals = u16::try_from(run.degree)?;
            let put = producer.links.put(run.backend, &run.key, object.clone(), retrievals);
            let handle = put.await?;
            report.put_ns = monotonic_ns().saturating_sub(report.started_ns);
            Some(handle)
        };
        let mut calls = JoinSet::new();
        for number in 0..run.degree {
            let (producer, run) = (Arc::clone(producer), Arc::clone(&run));
            let (handle, object) = (handle.clone(), object.clone());
            calls.spawn(async move {
                match handle {
                    Some(handle) => producer.links.ask(&run, &handle).await,
                    None => Ok(vec![producer.links.send(&run, number, object).await?]),
                }
            });
        }
        for receipts in calls.join_all().await {
            report.receipts.extend(receipts?);
        }
        report.note(run.backend, handle);
        Ok(report)
    }
}

/// One object that a consumer has acknowledged.
struct Sent {
    put_ns: u64,
    receipts: Vec<Receipt>,
    handle: Option<String>,
}

impl Report {
    /// Notes a reference or a key.
    fn note(&mut self, backend: Backend, handle: Option<String>) {
        match (backend, handle) {
            (Backend::Xdt, handle) => self.reference = handle.or(self.reference.take()),
            (_, handle) => self.keys.extend(handle),
        }
    }
}

/// Makes what is wanted, taking over what is there already.
trait Make {
    fn make(self, wanted: Vec<Source>) -> Result<Vec<(Source, Payload)>>;
}

impl Make for Vec<(Source, Payload)> {
    fn make(self, wanted: Vec<Source>) -> Result<Vec<(Source, Payload)>> {
        // Kept only as a whole: a part would leave old and new objects in memory together.
        let same = self.len() == wanted.len() && self.iter().zip(&wanted).all(|((source, _), other)| source == other);
        if same {
            return Ok(self);
        }
        drop(self);
        let load = |source: Source| Ok((source.clone(), source.load()?));
        wanted.into_iter().map(load).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ready_stays_and_anything_else_is_made_anew() {
        let source = |repetition| Source::Seeded {
            size: 100,
            seed: 1,
            repetition,
            producer: 0,
        };
        let first = Vec::new().make(vec![source(1)]).unwrap();
        let address = first[0].1.bytes.as_ptr();
        let again = first.make(vec![source(1)]).unwrap();
        assert_eq!(again[0].1.bytes.as_ptr(), address);
        let digest = again[0].1.digest;
        let other = again.make(vec![source(2), source(3)]).unwrap();
        assert_eq!(other.len(), 2);
        assert!(other.iter().all(|(_, payload)| payload.digest != digest));
    }
}
