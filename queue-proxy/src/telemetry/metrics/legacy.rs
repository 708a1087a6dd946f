//! Request metrics under the names of releases up to 1.18 (contract of the queue-proxy, section 7.3), for controllers
//! of those releases. Their Go memory statistics (`revision_go_*`) have no meaning here and are left out.

use std::time::Duration;

use opentelemetry::{
    KeyValue,
    metrics::{Counter, Gauge, Histogram, MeterProvider as _},
};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use crate::{
    config::Knative,
    telemetry::{labels::RouteTag, resource::CONTAINER},
};

/// What the exporter puts before each name.
pub(in crate::telemetry) const NAMESPACE: &str = "revision";
/// Bounds of latencies in milliseconds.
const MILLISECONDS: [f64; 26] = [
    5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 150.0, 200.0, 250.0, 300.0, 350.0, 400.0, 450.0, 500.0, 600.0, 700.0,
    800.0, 900.0, 1000.0, 2000.0, 5000.0, 10_000.0, 20_000.0, 50_000.0, 100_000.0,
];

/// The instruments.
pub(in crate::telemetry) struct Legacy {
    requests: Counter<u64>,
    latencies: Histogram<f64>,
    app_requests: Counter<u64>,
    app_latencies: Histogram<f64>,
    queue_depth: Gauge<i64>,
    labels: Vec<KeyValue>,
}

impl Legacy {
    pub(in crate::telemetry) fn new(provider: &SdkMeterProvider, knative: &Knative) -> Self {
        let meter = provider.meter("knative.dev/serving");
        let histogram = |name, description| {
            let histogram = meter.f64_histogram(name).with_description(description);
            histogram.with_boundaries(MILLISECONDS.to_vec()).build()
        };
        let service = if knative.service.is_empty() {
            "unknown"
        } else {
            &knative.service
        };
        let labels = [
            ("namespace_name", knative.namespace.as_str()),
            ("service_name", service),
            ("configuration_name", &knative.configuration),
            ("revision_name", &knative.revision),
            ("pod_name", &knative.pod),
            ("container_name", CONTAINER),
        ];
        Self {
            requests: meter
                .u64_counter("request_count")
                .with_description("The number of requests that are routed to queue-proxy")
                .build(),
            latencies: histogram("request_latencies", "The response time in millisecond"),
            app_requests: meter
                .u64_counter("app_request_count")
                .with_description("The number of requests that are routed to user-container")
                .build(),
            app_latencies: histogram("app_request_latencies", "The response time in millisecond"),
            queue_depth: meter
                .i64_gauge("queue_depth")
                .with_description("The current number of items in the serving and waiting queue, or not reported if unlimited concurrency.")
                .build(),
            labels: labels.map(|(key, value)| KeyValue::new(key, value.to_owned())).into(),
        }
    }

    pub(in crate::telemetry) fn queued(&self, depth: usize) {
        self.queue_depth
            .record(i64::try_from(depth).unwrap_or(i64::MAX), &self.labels);
    }

    pub(in crate::telemetry) fn invoked(&self, status: u16, took: Duration) {
        let labels = self.answered(status);
        self.app_requests.add(1, &labels);
        self.app_latencies.record(took.as_secs_f64() * 1000.0, &labels);
    }

    pub(in crate::telemetry) fn served(&self, tag: &RouteTag, status: u16, took: Duration) {
        let mut labels = self.answered(status);
        labels.push(KeyValue::new("route_tag", tag.legacy_text().to_owned()));
        self.requests.add(1, &labels);
        self.latencies.record(took.as_secs_f64() * 1000.0, &labels);
    }

    fn answered(&self, status: u16) -> Vec<KeyValue> {
        let mut labels = Vec::with_capacity(self.labels.len() + 3);
        labels.extend_from_slice(&self.labels);
        labels.push(KeyValue::new("response_code", i64::from(status)));
        labels.push(KeyValue::new("response_code_class", format!("{}xx", status / 100)));
        labels
    }
}
