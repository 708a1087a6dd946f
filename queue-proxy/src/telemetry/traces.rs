//! Spans of requests: which tracers there are, which traces are recorded, where they go (contract of the queue-proxy,
//! section 9). How spans follow a request is in `invocation/observe.rs`.
//!
//! Bounds: 2048 ended spans wait for the exporter and more are dropped (the SDK's rule, as in Go); a span holds at
//! most [`MAX_TEXT`] bytes of what a client chose in one attribute.

pub(crate) mod propagation;
mod stdout;
mod zipkin;

use std::{
    io,
    time::{Duration, SystemTime},
};

use http::HeaderMap;
use opentelemetry::{
    Context,
    trace::{SpanBuilder, SpanKind, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span},
};

use super::{KNATIVE_SCOPE, OTELHTTP_SCOPE, TelemetryStartError, XDT_SCOPE, labels::cut, push::Carrier};
use crate::config::{
    Knative,
    telemetry::{Sampling, Traces as Plan, TracesTo},
};
use propagation::Propagation;

/// Longest text of a client's in a span: a header may be a mebibyte, and 2048 spans may wait.
const MAX_TEXT: usize = 4096;
/// How batches leave, as in Go.
const BATCH_DELAY: Duration = Duration::from_secs(5);
const BATCH: usize = 512;
const QUEUE: usize = 2048;

/// The tracers, and how contexts travel.
pub(crate) struct Traces {
    pub(crate) http: SdkTracer,
    pub(crate) knative: SdkTracer,
    xdt: SdkTracer,
    pub(crate) propagation: Propagation,
    pub(super) provider: SdkTracerProvider,
}

impl Traces {
    /// Must be called on the runtime that shall run the exporter's requests.
    pub(super) fn start(plan: &Plan, knative: &Knative, resource: Resource) -> Result<Self, TelemetryStartError> {
        let builder = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(sampler(plan.sampling));
        let config = BatchConfigBuilder::default()
            .with_scheduled_delay(BATCH_DELAY)
            .with_max_export_batch_size(BATCH)
            .with_max_queue_size(QUEUE)
            .build();
        let processor = match &plan.to {
            TracesTo::Collector(collector) => {
                let carrier = Carrier::new("traces", collector)?;
                let exporter = SpanExporter::builder()
                    .with_http()
                    .with_http_client(carrier)
                    .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
                    .with_endpoint(collector.endpoint.to_string())
                    .with_timeout(collector.timeout)
                    .build()?;
                BatchSpanProcessor::builder(exporter).with_batch_config(config).build()
            }
            TracesTo::Stdout => BatchSpanProcessor::builder(stdout::Stdout::new(io::stdout))
                .with_batch_config(config)
                .build(),
            TracesTo::Zipkin(collector) => {
                let carrier = Carrier::new("traces", collector)?;
                let exporter = zipkin::Zipkin::new(carrier, collector.endpoint.clone(), knative);
                BatchSpanProcessor::builder(exporter).with_batch_config(config).build()
            }
        };
        let provider = builder.with_span_processor(processor).build();
        Ok(Self {
            http: provider.tracer(OTELHTTP_SCOPE),
            knative: provider.tracer(KNATIVE_SCOPE),
            xdt: provider.tracer(XDT_SCOPE),
            propagation: match plan.to {
                TracesTo::Zipkin(_) => Propagation::Legacy,
                _ => Propagation::W3c,
            },
            provider,
        })
    }

    /// A span of the XDT path.
    pub(crate) fn span(&self, name: &'static str, kind: SpanKind, parent: &Context) -> Span {
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        self.xdt
            .build_with_context(builder.with_start_time(SystemTime::now()), parent)
    }

    /// The caller's span, where one came with the headers.
    pub(crate) fn parent(&self, headers: &HeaderMap) -> Context {
        self.propagation.extract(headers)
    }

    /// Whether spans have the names and attributes of releases up to 1.18.
    pub(crate) fn is_legacy(&self) -> bool {
        self.propagation == Propagation::Legacy
    }
}

/// A text of a client's, as spans hold it.
pub(crate) fn text(bytes: &[u8]) -> String {
    cut(&String::from_utf8_lossy(bytes), MAX_TEXT).to_owned()
}

fn sampler(sampling: Sampling) -> Sampler {
    match sampling {
        Sampling::Always => Sampler::AlwaysOn,
        Sampling::Never => Sampler::AlwaysOff,
        Sampling::Ratio(ratio) => Sampler::TraceIdRatioBased(ratio),
        Sampling::AsParent(ratio) => Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))),
    }
}
