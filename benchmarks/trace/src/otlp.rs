//! OTLP to Zipkin's form, as OpenTelemetry's specification maps it (`trace/sdk_exporters/zipkin.md`).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span as OtlpSpan, span::SpanKind, status::StatusCode},
};
use prost::Message as _;

use crate::span::{Endpoint, Span};

/// Reads a request in protobuf.
///
/// # Errors
/// If it is none.
pub fn from_protobuf(body: &[u8]) -> Result<Vec<Span>> {
    let request = ExportTraceServiceRequest::decode(body).context("no OTLP request")?;
    Ok(spans(request))
}

/// Reads a request in OTLP's JSON.
///
/// # Errors
/// If it is none.
pub fn from_json(body: &[u8]) -> Result<Vec<Span>> {
    // A list would be read as the request's fields in order.
    let is_object = body.trim_ascii_start().starts_with(b"{");
    ensure!(is_object, "no OTLP request in JSON: it is no object");
    let request = serde_json::from_slice(body).context("no OTLP request in JSON")?;
    Ok(spans(request))
}

fn spans(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let attributes = resource
            .resource
            .map(|resource| resource.attributes)
            .unwrap_or_default();
        let service = attributes.iter().find(|one| one.key == "service.name").map(text);
        for scope in resource.scope_spans {
            spans.extend(scope.spans.into_iter().map(|span| converted(span, service.clone())));
        }
    }
    spans
}

fn converted(span: OtlpSpan, service: Option<String>) -> Span {
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    let kind = match span.kind() {
        SpanKind::Client => Some("CLIENT"),
        SpanKind::Server => Some("SERVER"),
        SpanKind::Producer => Some("PRODUCER"),
        SpanKind::Consumer => Some("CONSUMER"),
        SpanKind::Internal | SpanKind::Unspecified => None,
    };
    let mut tags: BTreeMap<_, _> = span.attributes.iter().map(|one| (one.key.clone(), text(one))).collect();
    if let Some(status) = span.status.filter(|status| status.code() == StatusCode::Error) {
        tags.insert("error".to_owned(), status.message);
    }
    Span {
        trace_id: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent_id: (!span.parent_span_id.is_empty()).then(|| hex(&span.parent_span_id)),
        name: span.name,
        kind: kind.map(str::to_owned),
        timestamp: start / 1000,
        duration: end.saturating_sub(start) / 1000,
        local_endpoint: service.map(|service_name| Endpoint { service_name }),
        tags,
        start_ns: Some(start),
        end_ns: Some(end),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text(attribute: &KeyValue) -> String {
    match attribute.value.as_ref().and_then(|AnyValue { value }| value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"p"}}]},
        "scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174",
        "parentSpanId":"eee19b7ec3c1b173","name":"xdt.pull","kind":3,"startTimeUnixNano":"1544712660000000123",
        "endTimeUnixNano":"1544712661000000456","attributes":[{"key":"size","value":{"intValue":"7"}}],
        "status":{"code":2,"message":"gone"}}]}]}]}"#;

    #[test]
    fn the_json_of_the_specification_is_read() {
        let spans = from_json(JSON.as_bytes()).unwrap();
        let span = &spans[0];
        assert_eq!(
            (span.trace_id.as_str(), span.id.as_str()),
            ("5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174")
        );
        assert_eq!(span.parent_id.as_deref(), Some("eee19b7ec3c1b173"));
        assert_eq!((span.kind.as_deref(), span.service()), (Some("CLIENT"), "p"));
        assert_eq!((span.timestamp, span.duration), (1_544_712_660_000_000, 1_000_000));
        assert_eq!(span.end_ns() - span.start_ns(), 1_000_000_333);
        assert_eq!((span.tags["size"].as_str(), span.tags["error"].as_str()), ("7", "gone"));
        assert!(span.is_well_formed());
    }

    #[test]
    fn protobuf_says_the_same_as_json() {
        let request: ExportTraceServiceRequest = serde_json::from_str(JSON).unwrap();
        assert_eq!(
            from_protobuf(&request.encode_to_vec()).unwrap(),
            from_json(JSON.as_bytes()).unwrap()
        );
    }

    #[test]
    fn anything_else_is_an_error() {
        assert!(from_json(b"[]").is_err() && from_protobuf(b"\xff\xff").is_err());
    }
}
