//! Spans as JSON lines in the shape of Go's stdout exporter, for looking at them without a collector.

use std::{
    fmt,
    io::{self, Write},
    time::SystemTime,
};

use opentelemetry::{
    Key, KeyValue, Value,
    trace::{SpanContext, SpanId, SpanKind, Status},
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{SpanData, SpanExporter},
};
use serde_json::json;

/// Writes each span as a line.
pub(super) struct Stdout<W> {
    open: fn() -> W,
    resource: Vec<serde_json::Value>,
}

impl<W> fmt::Debug for Stdout<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdout")
    }
}

impl<W> Stdout<W> {
    pub(super) fn new(open: fn() -> W) -> Self {
        Self {
            open,
            resource: Vec::new(),
        }
    }
}

impl<W: Write + 'static> SpanExporter for Stdout<W> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let lines: String = batch
            .iter()
            .map(|span| format!("{}\n", line(span, &self.resource)))
            .collect();
        // In one piece: other lines go to the same place.
        let mut out = (self.open)();
        let written: io::Result<()> = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.iter().map(|(key, value)| attribute(key, value)).collect();
    }
}

fn line(span: &SpanData, resource: &[serde_json::Value]) -> serde_json::Value {
    let parent = SpanContext::new(
        span.span_context.trace_id(),
        span.parent_span_id,
        span.span_context.trace_flags(),
        span.parent_span_is_remote,
        span.span_context.trace_state().clone(),
    );
    let parent = if span.parent_span_id == SpanId::INVALID {
        SpanContext::NONE
    } else {
        parent
    };
    let scope = json!({
        "Name": span.instrumentation_scope.name(),
        "Version": span.instrumentation_scope.version().unwrap_or_default(),
        "SchemaURL": span.instrumentation_scope.schema_url().unwrap_or_default(),
        "Attributes": null,
    });
    let (code, description) = match &span.status {
        Status::Unset => ("Unset", ""),
        Status::Ok => ("Ok", ""),
        Status::Error { description } => ("Error", description.as_ref()),
    };
    let attributes: Vec<_> = span
        .attributes
        .iter()
        .map(|KeyValue { key, value, .. }| attribute(key, value))
        .collect();
    json!({
        "Name": span.name,
        "SpanContext": context(&span.span_context),
        "Parent": context(&parent),
        "SpanKind": kind(&span.span_kind),
        "StartTime": time(span.start_time),
        "EndTime": time(span.end_time),
        "Attributes": attributes,
        "Events": null,
        "Links": null,
        "Status": {"Code": code, "Description": description},
        "DroppedAttributes": span.dropped_attributes_count,
        "DroppedEvents": 0,
        "DroppedLinks": 0,
        "ChildSpanCount": 0,
        "Resource": resource,
        "InstrumentationScope": scope,
        "InstrumentationLibrary": scope,
    })
}

fn context(span: &SpanContext) -> serde_json::Value {
    json!({
        "TraceID": span.trace_id().to_string(),
        "SpanID": span.span_id().to_string(),
        "TraceFlags": format!("{:02x}", span.trace_flags().to_u8()),
        "TraceState": span.trace_state().header(),
        "Remote": span.is_remote(),
    })
}

/// Go's numbers: 0 is not used.
fn kind(kind: &SpanKind) -> u8 {
    match kind {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn time(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time).to_string()
}

fn attribute(key: &Key, value: &Value) -> serde_json::Value {
    let value = match value {
        Value::Bool(value) => json!({"Type": "BOOL", "Value": value}),
        Value::I64(value) => json!({"Type": "INT64", "Value": value}),
        Value::F64(value) => json!({"Type": "FLOAT64", "Value": value}),
        other => json!({"Type": "STRING", "Value": other.as_str()}),
    };
    json!({"Key": key.as_str(), "Value": value})
}
