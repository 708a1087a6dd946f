//! Spans as Zipkin v2 JSON over HTTP, for controllers up to 1.18 (`TRACING_CONFIG_BACKEND=zipkin`). Of our own, because
//! the OpenTelemetry project has given up its Zipkin exporter. Source: zipkin.io, `zipkin2-api.yaml`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Uri, header};
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_http::HttpClient as _;
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use serde_json::{Map, Value, json};

use super::Carrier;
use crate::config::Knative;

/// Posts spans to a Zipkin server.
#[derive(Debug)]
pub(super) struct Zipkin {
    carrier: Carrier,
    endpoint: Uri,
    /// This side of every span.
    local: Value,
}

impl Zipkin {
    pub(super) fn new(carrier: Carrier, endpoint: Uri, knative: &Knative) -> Self {
        let mut local = json!({"serviceName": knative.pod.to_lowercase()});
        if let Some(ip) = knative.pod_ip {
            local[if ip.is_ipv4() { "ipv4" } else { "ipv6" }] = ip.to_string().into();
        }
        Self {
            carrier,
            endpoint,
            local,
        }
    }

    fn span(&self, span: &SpanData) -> Value {
        let mut tags: Map<String, Value> = span
            .attributes
            .iter()
            .map(|pair| (pair.key.to_string(), pair.value.to_string().into()))
            .collect();
        if let Status::Error { description } = &span.status {
            tags.insert("error".to_owned(), description.as_ref().into());
        }
        let mut zipkin = json!({
            "traceId": span.span_context.trace_id().to_string(),
            "id": span.span_context.span_id().to_string(),
            "name": span.name,
            "timestamp": microseconds(since(span.start_time, UNIX_EPOCH)),
            // Zipkin knows no duration of nothing.
            "duration": microseconds(since(span.end_time, span.start_time)).max(1),
            "localEndpoint": self.local,
            "tags": tags,
        });
        if span.parent_span_id != SpanId::INVALID {
            zipkin["parentId"] = span.parent_span_id.to_string().into();
        }
        match span.span_kind {
            SpanKind::Server => zipkin["kind"] = "SERVER".into(),
            SpanKind::Client => zipkin["kind"] = "CLIENT".into(),
            _ => {}
        }
        zipkin
    }
}

impl SpanExporter for Zipkin {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans: Vec<Value> = batch.iter().map(|span| self.span(span)).collect();
        let request = Request::post(self.endpoint.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(Value::Array(spans).to_string()));
        let request = request.map_err(|error| OTelSdkError::InternalFailure(error.to_string()))?;
        match self.carrier.send_bytes(request).await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(OTelSdkError::InternalFailure(response.status().to_string())),
            Err(error) => Err(OTelSdkError::InternalFailure(error.to_string())),
        }
    }
}

fn since(later: SystemTime, earlier: SystemTime) -> Duration {
    later.duration_since(earlier).unwrap_or_default()
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
