//! OTLP messages in a form that tests can compare.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    metrics::v1::{metric::Data, number_data_point},
    resource::v1::Resource,
    trace::v1::status::StatusCode,
};
use prost::Message as _;

type Attributes = BTreeMap<String, String>;

/// One span.
#[derive(Debug, Clone)]
pub struct Span {
    /// Name.
    pub name: String,
    /// 1 internal, 2 server, 3 client.
    pub kind: i32,
    /// Trace id in hexadecimal.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// That of its parent; empty for a root.
    pub parent: String,
    /// `tracestate`.
    pub state: String,
    /// Attributes, as text.
    pub attributes: Attributes,
    /// Name of the scope.
    pub scope: String,
    /// Whether its status is an error.
    pub error: bool,
    /// Attributes of the resource.
    pub resource: Attributes,
    /// Begin and end in nanoseconds since 1970.
    pub time: (u64, u64),
}

/// One metric of one export.
#[derive(Debug, Clone)]
pub struct Metric {
    /// Name.
    pub name: String,
    /// Unit.
    pub unit: String,
    /// Name of the scope.
    pub scope: String,
    /// Attributes of the resource.
    pub resource: Attributes,
    /// URL of the resource's schema.
    pub schema: String,
    /// Its series.
    pub points: Vec<Point>,
}

/// One series.
#[derive(Debug, Clone)]
pub struct Point {
    /// Attributes, as text.
    pub attributes: Attributes,
    /// Measurements of a histogram.
    pub count: u64,
    /// Their sum, or the value of a gauge.
    pub value: f64,
    /// Bounds of a histogram.
    pub bounds: Vec<f64>,
}

/// Where the message of a unary call begins.
pub(super) fn grpc_prefix(body: &[u8]) -> usize {
    let length = body
        .get(1..5)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_be_bytes);
    let length = length.expect("a gRPC message") as usize;
    assert_eq!((body[0], body.len()), (0, length + 5), "one uncompressed message");
    5
}

pub(super) fn spans(message: &[u8]) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(message).expect("a trace export");
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = resource(of_resource.resource);
        for of_scope in of_resource.scope_spans {
            let scope = of_scope.scope.map(|scope| scope.name).unwrap_or_default();
            spans.extend(of_scope.spans.into_iter().map(|span| {
                Span {
                    error: span
                        .status
                        .as_ref()
                        .is_some_and(|status| status.code() == StatusCode::Error),
                    name: span.name,
                    kind: span.kind,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    state: span.trace_state,
                    attributes: attributes(span.attributes),
                    scope: scope.clone(),
                    resource: resource.clone(),
                    time: (span.start_time_unix_nano, span.end_time_unix_nano),
                }
            }));
        }
    }
    spans
}

pub(super) fn metrics(message: &[u8]) -> Vec<Metric> {
    let request = ExportMetricsServiceRequest::decode(message).expect("a metrics export");
    let mut metrics = Vec::new();
    for of_resource in request.resource_metrics {
        let resource = resource(of_resource.resource);
        for of_scope in of_resource.scope_metrics {
            let scope = of_scope.scope.map(|scope| scope.name).unwrap_or_default();
            metrics.extend(of_scope.metrics.into_iter().map(|metric| Metric {
                points: points(metric.data.expect("data")),
                name: metric.name,
                unit: metric.unit,
                scope: scope.clone(),
                resource: resource.clone(),
                schema: of_resource.schema_url.clone(),
            }));
        }
    }
    metrics
}

fn points(data: Data) -> Vec<Point> {
    match data {
        Data::Histogram(histogram) => {
            let points = histogram.data_points.into_iter();
            let point = |point: opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint| Point {
                attributes: attributes(point.attributes),
                count: point.count,
                value: point.sum.unwrap_or_default(),
                bounds: point.explicit_bounds,
            };
            points.map(point).collect()
        }
        Data::Gauge(gauge) => numbers(gauge.data_points),
        Data::Sum(sum) => numbers(sum.data_points),
        other => panic!("unexpected kind of metric: {other:?}"),
    }
}

fn numbers(points: Vec<opentelemetry_proto::tonic::metrics::v1::NumberDataPoint>) -> Vec<Point> {
    let points = points.into_iter().map(|point| Point {
        attributes: attributes(point.attributes),
        count: 1,
        value: match point.value {
            Some(number_data_point::Value::AsInt(value)) => value.to_string().parse().unwrap_or_default(),
            Some(number_data_point::Value::AsDouble(value)) => value,
            None => 0.0,
        },
        bounds: Vec::new(),
    });
    points.collect()
}

fn resource(resource: Option<Resource>) -> Attributes {
    attributes(resource.map(|resource| resource.attributes).unwrap_or_default())
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    pairs.into_iter().map(|pair| (pair.key, text(pair.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
