//! How a trace's context comes with a request and goes on to the user container: W3C headers, and for controllers up
//! to 1.18 B3 headers as well. `baggage` passes as it came.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::TextMapPropagator as _,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");

/// Which headers carry a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// `traceparent`, `tracestate`.
    W3c,
    /// Reads `traceparent`, else B3; writes both.
    Legacy,
}

impl Propagation {
    /// The caller's span, where one came with the request.
    #[must_use]
    pub fn extract(self, headers: &HeaderMap) -> Context {
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        if self == Self::Legacy
            && !context.span().span_context().is_valid()
            && let Some(span) = b3(headers)
        {
            return context.with_remote_span_context(span);
        }
        context
    }

    /// Makes `span` the one that the user container continues.
    pub fn inject(self, span: &SpanContext, headers: &mut HeaderMap) {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
        let context = Context::new().with_remote_span_context(span.clone());
        TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(headers));
        if headers.get(TRACESTATE).is_some_and(HeaderValue::is_empty) {
            headers.remove(TRACESTATE);
        }
        if self == Self::Legacy {
            headers.remove(B3_PARENT);
            let mut set = |name, value: String| HeaderValue::try_from(value).map(|value| headers.insert(name, value));
            // Hexadecimal digits are a header's value.
            let _set = set(B3_TRACE, span.trace_id().to_string());
            let _set = set(B3_SPAN, span.span_id().to_string());
            let _set = set(B3_SAMPLED, u8::from(span.is_sampled()).to_string());
        }
    }
}

/// B3's headers, one for each part. Trace ids may be short.
fn b3(headers: &HeaderMap) -> Option<SpanContext> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let hexadecimal = |text: &&str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let trace = text(B3_TRACE)
        .filter(hexadecimal)
        .filter(|text| matches!(text.len(), 16 | 32))?;
    let span = text(B3_SPAN).filter(hexadecimal).filter(|text| text.len() == 16)?;
    let sampled = matches!(text(B3_SAMPLED), Some("1" | "true"));
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        if sampled {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::default()
        },
        true,
        TraceState::NONE,
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")))
            .collect()
    }

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_context_goes_in_and_out() {
        let parent = format!("00-{TRACE}-{SPAN}-01");
        let mut map = headers(&[("traceparent", &parent), ("tracestate", "a=1"), ("baggage", "b=2")]);
        let context = Propagation::W3c.extract(&map);
        let span = context.span().span_context().clone();
        assert!(span.is_valid() && span.is_sampled() && span.is_remote());
        map.clear();
        Propagation::W3c.inject(&span, &mut map);
        assert_eq!(map["traceparent"], parent);
        assert_eq!(map["tracestate"], "a=1");
        assert!(!map.contains_key("x-b3-traceid"));
    }

    #[test]
    fn the_state_of_a_broken_context_does_not_go_on() {
        let mut map = headers(&[("traceparent", "00-zz-1"), ("tracestate", "a=1")]);
        let context = Propagation::W3c.extract(&map);
        assert!(!context.span().span_context().is_valid());
        let (trace, span) = (TraceId::from(7_u128), SpanId::from(9_u64));
        let own = SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE);
        Propagation::W3c.inject(&own, &mut map);
        assert!(!map.contains_key("tracestate"));
        assert_eq!(map["traceparent"], format!("00-{trace}-{span}-01"));
    }

    #[test]
    fn legacy_reads_b3_where_there_is_no_traceparent_and_writes_both() {
        let mut map = headers(&[
            ("x-b3-traceid", "8448eb211c80319c"),
            ("x-b3-spanid", SPAN),
            ("x-b3-sampled", "1"),
            ("x-b3-parentspanid", SPAN),
        ]);
        assert!(!Propagation::W3c.extract(&map).span().span_context().is_valid());
        let span = Propagation::Legacy.extract(&map).span().span_context().clone();
        assert_eq!(span.trace_id().to_string(), "00000000000000008448eb211c80319c");
        assert!(span.is_sampled());
        Propagation::Legacy.inject(&span, &mut map);
        assert_eq!(map["x-b3-traceid"], "00000000000000008448eb211c80319c");
        assert_eq!(map["x-b3-spanid"], SPAN);
        assert_eq!(map["x-b3-sampled"], "1");
        assert!(!map.contains_key("x-b3-parentspanid"));
        assert!(map.contains_key("traceparent"));
    }

    proptest! {
        #[test]
        fn no_header_breaks_it(
            parent in "[ -~]{0,80}", state in "[ -~]{0,40}", trace in "[ -~]{0,40}", span in "[0-9a-f]{16}"
        ) {
            let map = headers(&[
                ("traceparent", parent.trim()),
                ("tracestate", state.trim()),
                ("x-b3-traceid", trace.trim()),
                ("x-b3-spanid", &span),
            ]);
            let context = Propagation::Legacy.extract(&map);
            let span = context.span().span_context().clone();
            let mut out = HeaderMap::new();
            if span.is_valid() {
                Propagation::Legacy.inject(&span, &mut out);
                let again = Propagation::Legacy.extract(&out);
                prop_assert_eq!(again.span().span_context().trace_id(), span.trace_id());
            }
        }
    }
}
