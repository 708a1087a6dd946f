//! The instruments of request metrics: exact names, units, bounds and attributes of Knative (contract of the
//! queue-proxy, section 7.2). Those of releases up to 1.18 are in [`legacy`].
//!
//! Clients choose the host and the route tag, so they could make series without end: each instrument keeps at most
//! [`MAX_SERIES`] of them, and counts the rest under `otel.metric.overflow`.

pub(super) mod legacy;

use std::time::Duration;

use opentelemetry::{
    InstrumentationScope, KeyValue,
    metrics::{Gauge, Histogram, Meter, MeterProvider as _},
};
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};

use super::{KNATIVE_SCOPE, OTELHTTP_SCOPE, labels::Labels};

/// Attribute sets of one instrument; one more counts all others.
pub(super) const MAX_SERIES: usize = 2000;
/// Bounds of durations in seconds.
const SECONDS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];
/// Bounds of sizes in bytes.
const BYTES: [f64; 15] = [
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0, 7500.0, 10_000.0,
];

/// Bounds the series of an instrument.
pub(super) fn bounded(_: &Instrument) -> Option<Stream> {
    Stream::builder().with_cardinality_limit(MAX_SERIES).build().ok()
}

/// The instruments.
pub(super) struct Metrics {
    invocation: Histogram<f64>,
    queue_depth: Gauge<i64>,
    server_duration: Histogram<f64>,
    server_request: Histogram<u64>,
    server_response: Histogram<u64>,
    client_duration: Histogram<f64>,
    client_request: Histogram<u64>,
    user_port: u16,
}

/// How a request was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answered {
    pub status: u16,
    pub took: Duration,
    /// Bytes of its body that were read.
    pub read: u64,
    /// Bytes of the response's body that went out.
    pub sent: u64,
}

impl Metrics {
    pub(super) fn new(provider: &SdkMeterProvider, user_port: u16) -> Self {
        let meter = |name: &'static str| {
            let scope = InstrumentationScope::builder(name).with_version("").with_schema_url("");
            provider.meter_with_scope(scope.build())
        };
        let (knative, http) = (meter(KNATIVE_SCOPE), meter(OTELHTTP_SCOPE));
        Self {
            invocation: seconds(
                &knative,
                "kn.serving.invocation.duration",
                "The duration of task execution.",
            ),
            queue_depth: knative
                .i64_gauge("kn.serving.queue.depth")
                .with_unit("{request}")
                .with_description("Number of current items in the queue proxy queue.")
                .build(),
            server_duration: seconds(
                &http,
                "http.server.request.duration",
                "Duration of HTTP server requests.",
            ),
            server_request: bytes(
                &http,
                "http.server.request.body.size",
                "Size of HTTP server request bodies.",
            ),
            server_response: bytes(
                &http,
                "http.server.response.body.size",
                "Size of HTTP server response bodies.",
            ),
            client_duration: seconds(
                &http,
                "http.client.request.duration",
                "Duration of HTTP client requests.",
            ),
            client_request: bytes(
                &http,
                "http.client.request.body.size",
                "Size of HTTP client request bodies.",
            ),
            user_port,
        }
    }

    /// So many requests execute or wait.
    pub(super) fn queued(&self, depth: usize) {
        self.queue_depth.record(i64::try_from(depth).unwrap_or(i64::MAX), &[]);
    }

    /// The user container was done with a request after so long.
    pub(super) fn invoked(&self, status: u16, took: Duration) {
        let attributes = [KeyValue::new("http.response.status_code", i64::from(status))];
        self.invocation.record(took.as_secs_f64(), &attributes);
    }

    /// A request has been answered.
    pub(super) fn served(&self, labels: &Labels, answered: Answered) {
        let mut attributes = Vec::with_capacity(8);
        attributes.push(KeyValue::new("http.request.method", labels.method()));
        attributes.push(KeyValue::new("http.response.status_code", i64::from(answered.status)));
        attributes.push(KeyValue::new("kn.route.tag", labels.tag.text().to_owned()));
        attributes.push(KeyValue::new("network.protocol.name", "http"));
        attributes.push(KeyValue::new("network.protocol.version", labels.version));
        attributes.push(KeyValue::new("server.address", labels.host.clone()));
        if let Some(port) = labels.port {
            attributes.push(KeyValue::new("server.port", i64::from(port)));
        }
        attributes.push(KeyValue::new("url.scheme", labels.scheme));
        self.server_duration.record(answered.took.as_secs_f64(), &attributes);
        self.server_request.record(answered.read, &attributes);
        self.server_response.record(answered.sent, &attributes);
    }

    /// The user container answered with a status, or there was an error of this type. Probes have no route tag.
    pub(super) fn called(
        &self,
        labels: &Labels,
        probe: bool,
        result: Result<u16, &'static str>,
        took: Duration,
        read: u64,
    ) {
        let mut attributes = Vec::with_capacity(8);
        attributes.push(KeyValue::new("http.request.method", labels.method()));
        match result {
            Ok(status) => attributes.push(KeyValue::new("http.response.status_code", i64::from(status))),
            Err(kind) => attributes.push(KeyValue::new("error.type", kind)),
        }
        if !probe {
            attributes.push(KeyValue::new("kn.route.tag", labels.tag.text().to_owned()));
        }
        attributes.push(KeyValue::new("network.protocol.name", "http"));
        attributes.push(KeyValue::new("network.protocol.version", labels.version));
        attributes.push(KeyValue::new("server.address", "127.0.0.1"));
        if self.user_port != 80 {
            attributes.push(KeyValue::new("server.port", i64::from(self.user_port)));
        }
        attributes.push(KeyValue::new("url.scheme", "http"));
        self.client_duration.record(took.as_secs_f64(), &attributes);
        self.client_request.record(read, &attributes);
    }
}

fn seconds(meter: &Meter, name: &'static str, description: &'static str) -> Histogram<f64> {
    let histogram = meter.f64_histogram(name).with_unit("s").with_description(description);
    histogram.with_boundaries(SECONDS.to_vec()).build()
}

fn bytes(meter: &Meter, name: &'static str, description: &'static str) -> Histogram<u64> {
    let histogram = meter.u64_histogram(name).with_unit("By").with_description(description);
    histogram.with_boundaries(BYTES.to_vec()).build()
}
