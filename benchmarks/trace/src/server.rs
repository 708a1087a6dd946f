//! The collector's HTTP routes.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST /api/v2/spans` | Zipkin v2 JSON: `202` |
//! | `POST /v1/traces` | OTLP, protobuf or JSON by content type: `200` |
//! | `GET /api/v2/trace/{id}`, `/api/v2/traces?limit=` | Zipkin's form |
//! | `GET /trace/{id}` | the waterfall |
//! | `GET /counts` | received, stored, malformed |

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;

use crate::{otlp, span::Span, store::Store, waterfall};

/// Largest request: exporters send some hundred spans at once.
const MAX_REQUEST_BYTES: usize = 32 << 20;
/// Traces in one answer, unless the request says otherwise: as Zipkin.
const DEFAULT_LIMIT: usize = 10;
/// And at most.
const MAX_LIMIT: usize = 1000;

/// The routes; spans go to `store`.
pub fn routes(store: Arc<Store>) -> Router {
    Router::new()
        .route("/api/v2/spans", post(zipkin))
        .route("/v1/traces", post(otlp_traces))
        .route("/api/v2/trace/{id}", get(trace))
        .route("/api/v2/traces", get(traces))
        .route("/trace/{id}", get(page))
        .route(
            "/counts",
            get(async |State(store): State<Arc<Store>>| Json(store.counts())),
        )
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES))
        .with_state(store)
}

async fn zipkin(State(store): State<Arc<Store>>, body: Bytes) -> Response {
    let spans = serde_json::from_slice::<Vec<Span>>(&body).map_err(Into::into);
    stored(&store, spans, StatusCode::ACCEPTED.into_response())
}

async fn otlp_traces(State(store): State<Arc<Store>>, headers: HeaderMap, body: Bytes) -> Response {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if content_type.starts_with("application/json") {
        return stored(
            &store,
            otlp::from_json(&body),
            Json(serde_json::json!({})).into_response(),
        );
    }
    // An answer of no bytes is an `ExportTraceServiceResponse` without partial failures.
    let answer = ([(header::CONTENT_TYPE, "application/x-protobuf")], Bytes::new()).into_response();
    stored(&store, otlp::from_protobuf(&body), answer)
}

fn stored(store: &Store, spans: anyhow::Result<Vec<Span>>, answer: Response) -> Response {
    match spans {
        Ok(spans) => match store.add(spans) {
            Ok(()) => answer,
            Err(error) => (StatusCode::INSUFFICIENT_STORAGE, format!("{error:#}\n")).into_response(),
        },
        Err(error) => {
            store.malformed();
            (StatusCode::BAD_REQUEST, format!("{error:#}\n")).into_response()
        }
    }
}

async fn trace(State(store): State<Arc<Store>>, Path(id): Path<String>) -> Response {
    match store.trace(&id) {
        Some(spans) => Json(spans).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[derive(Debug, Deserialize)]
struct Wanted {
    limit: Option<usize>,
}

async fn traces(State(store): State<Arc<Store>>, Query(wanted): Query<Wanted>) -> Json<Vec<Vec<Span>>> {
    Json(store.newest(wanted.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT)))
}

async fn page(State(store): State<Arc<Store>>, Path(id): Path<String>) -> Response {
    let page = store.trace(&id).map(|spans| waterfall::page(&spans));
    match page {
        Some(Ok(page)) => Html(page).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
