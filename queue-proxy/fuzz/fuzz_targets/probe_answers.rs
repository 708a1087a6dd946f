//! What a container answers to a readiness probe: any `Location` leads to a URL that can be asked for, or nowhere; any
//! gRPC health answer gets a verdict, and only a whole one that says SERVING passes.
#![no_main]

use http::{HeaderMap, HeaderValue, StatusCode, header};
use libfuzzer_sys::fuzz_target;
use xdt_queue_proxy::invocation::probe::{grpc, target::Target};

#[derive(Debug, arbitrary::Arbitrary)]
struct Answer {
    location: String,
    body: Vec<u8>,
    status: u16,
    grpc_status: Option<Vec<u8>>,
    trailers: bool,
}

fuzz_target!(|answer: Answer| {
    let Ok(base) = Target::of_probe("HTTP", "127.0.0.1", 8080, "/a/b?c") else { return };
    if let Ok(target) = base.redirected(&answer.location) {
        assert!(!target.host.is_empty() && target.path.as_str().starts_with('/'));
        assert_eq!(base.redirected(&target.to_text()), Ok(target));
    }
    let Ok(status) = StatusCode::from_u16(answer.status) else { return };
    let mut head = HeaderMap::new();
    head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut trailers = HeaderMap::new();
    if let Some(value) = answer.grpc_status.and_then(|value| HeaderValue::from_bytes(&value).ok()) {
        trailers.insert("grpc-status", value);
    }
    if grpc::verdict(status, &head, &answer.body, answer.trailers.then_some(&trailers)).is_ok() {
        assert!(status == StatusCode::OK && answer.trailers && answer.body.len() >= 7);
    }
});
