//! The driver function: orchestrates gather, scatter and broadcast (thesis, 6.5.4), as a workflow's first function does.
//!
//! A gather calls all producers at once and then one consumer with what they answered; scatter and broadcast call one
//! producer, which does the rest. One run at a time.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use bytes::{Bytes, BytesMut};
use tokio::{sync::Mutex, task::JoinSet};

use crate::{
    consumer::LENGTHS_HEADER,
    http::HttpClient,
    messages::{Ask, Backend, Fetch, Info, Offer, Pattern, Receipt, Report, Run},
    producer::STARTED_HEADER,
    serve::Failure,
};

/// What the handlers share: whoever holds it makes the one run at a time.
type Driver = Arc<Mutex<HttpClient>>;

/// The driver's HTTP routes.
pub fn routes() -> Router {
    Router::new()
        .route("/run", post(run))
        .route("/info", get(info))
        .with_state(Driver::default())
}

async fn run(State(driver): State<Driver>, Json(run): Json<Run>) -> Result<Json<Report>, Failure> {
    let http = driver.lock().await;
    let report = match (run.pattern, run.backend) {
        (Pattern::Gather, Backend::Inline) => gather_inline(&http, &run).await?,
        (Pattern::Gather, _) => gather(&http, &run).await?,
        _ => http.post_json(&url(&run.producer_url, "run"), &run).await?,
    };
    Ok(Json(report))
}

async fn info() -> Json<Info> {
    Json(Info {
        grpc_address: None,
        tcp_address: None,
        sidecar_address: crate::sidecar_address(),
    })
}

/// The producers put; the consumer gets all.
async fn gather(http: &HttpClient, run: &Run) -> Result<Report> {
    let mut asked = JoinSet::new();
    for _ in 0..run.degree {
        let (http, url, ask) = (http.clone(), url(&run.producer_url, "offer"), ask(run));
        asked.spawn(async move { http.post_json::<Offer>(&url, &ask).await });
    }
    let offers: Vec<Offer> = asked.join_all().await.into_iter().collect::<Result<_>>()?;
    let handles: Vec<_> = offers.iter().map(|offer| offer.handle.clone()).collect();
    let fetch = Fetch {
        backend: run.backend,
        handles: handles.clone(),
    };
    let receipts = http.post_json(&url(&run.consumer_url, "fetch"), &fetch).await?;
    let is_xdt = run.backend == Backend::Xdt;
    Ok(Report {
        started_ns: offers.iter().map(|offer| offer.started_ns).min().unwrap_or_default(),
        put_ns: offers.iter().map(|offer| offer.put_ns).max().unwrap_or_default(),
        receipts,
        reference: handles.first().filter(|_| is_xdt).cloned(),
        keys: if is_xdt { Vec::new() } else { handles },
    })
}

/// The producers answer with their objects; the consumer gets them in one body.
async fn gather_inline(http: &HttpClient, run: &Run) -> Result<Report> {
    let mut asked = JoinSet::new();
    for _ in 0..run.degree {
        let (http, url, ask) = (http.clone(), url(&run.producer_url, "offer"), ask(run));
        asked.spawn(async move {
            let (headers, body) = http.post_for_bytes(&url, &ask).await?;
            let started = headers.get(STARTED_HEADER).context("an offer without its time")?;
            Ok::<_, anyhow::Error>((started.to_str()?.parse::<u64>()?, body))
        });
    }
    let offers: Vec<(u64, Bytes)> = asked.join_all().await.into_iter().collect::<Result<_>>()?;
    let lengths: Vec<_> = offers.iter().map(|(_, body)| body.len().to_string()).collect();
    let mut whole = BytesMut::with_capacity(offers.iter().map(|(_, body)| body.len()).sum());
    offers.iter().for_each(|(_, body)| whole.extend_from_slice(body));
    let take = url(&run.consumer_url, "take");
    let receipt: Receipt = http
        .post_with(&take, (LENGTHS_HEADER, &lengths.join(",")), whole.freeze())
        .await?;
    Ok(Report {
        started_ns: offers
            .iter()
            .map(|(started_ns, _)| *started_ns)
            .min()
            .unwrap_or_default(),
        receipts: vec![receipt],
        ..Report::default()
    })
}

fn ask(run: &Run) -> Ask {
    Ask {
        backend: run.backend,
        key: run.key.clone(),
    }
}

fn url(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim_end_matches('/'))
}
