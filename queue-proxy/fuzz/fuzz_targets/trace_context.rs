//! Any headers of a request: its labels are bounded, and a context that was understood goes on as the same trace.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry::trace::TraceContextExt as _;
use xdt_queue_proxy::telemetry::{Labels, Propagation};

const NAMES: [&str; 8] = [
    "traceparent",
    "tracestate",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "host",
    "knative-serving-tag",
    "knative-serving-default-route",
];

fuzz_target!(|input: ([Vec<u8>; 8], bool)| {
    let (values, tls) = input;
    let mut request = http::Request::new(());
    for (name, value) in NAMES.iter().zip(values) {
        if let Ok(value) = http::HeaderValue::from_bytes(&value) {
            request.headers_mut().insert(*name, value);
        }
    }
    let labels = Labels::of(&request, tls);
    assert!(labels.host.len() <= 253 && labels.tag.text().len() <= 63);
    for propagation in [Propagation::W3c, Propagation::Legacy] {
        let context = propagation.extract(request.headers());
        let span = context.span().span_context().clone();
        if span.is_valid() {
            let mut headers = http::HeaderMap::new();
            propagation.inject(&span, &mut headers);
            let again = propagation.extract(&headers);
            assert_eq!(again.span().span_context().trace_id(), span.trace_id());
            assert_eq!(again.span().span_context().span_id(), span.span_id());
        }
    }
});
