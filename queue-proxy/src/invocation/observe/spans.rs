//! The spans of one request: server → `kn.queueproxy.proxy` → `kn.queueproxy.wait` → client (contract of the
//! queue-proxy, section 9), with the names and attributes of Go's otelhttp; those of ochttp where the controller is
//! older than 1.19.

use std::time::SystemTime;

use http::{HeaderMap, Request, header, request};
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use percent_encoding::percent_decode_str;

use crate::{
    net::Peer,
    telemetry::{
        Labels,
        traces::{Traces, text},
    },
};

/// Spans that have begun and not ended.
#[derive(Default)]
pub(super) struct Spans {
    server: Option<Span>,
    proxy: Option<Span>,
    wait: Option<Span>,
    client: Option<Span>,
    /// Parent of the next one.
    parent: Option<SpanContext>,
    legacy: bool,
}

impl Spans {
    /// The server's span, child of the one that came with the request.
    pub(super) fn begin<B>(traces: &Traces, request: &Request<B>, labels: &Labels, peer: Peer) -> Self {
        let parent = traces.propagation.extract(request.headers());
        let path = || text(&percent_decode_str(request.uri().path()).collect::<Vec<u8>>());
        let legacy = traces.is_legacy();
        let builder = if legacy {
            SpanBuilder::from_name(path())
        } else {
            SpanBuilder::from_name(labels.method.unwrap_or("HTTP"))
        };
        let mut span = start(&traces.http, builder, SpanKind::Server, &parent);
        if span.is_recording() {
            if legacy {
                span.set_attributes(legacy_attributes(request, path()));
            } else {
                span.set_attributes(server_attributes(request, labels, peer, path()));
            }
        }
        Self {
            parent: Some(span.span_context().clone()),
            server: Some(span),
            legacy,
            ..Self::default()
        }
    }

    /// The request is taken in hand, and waits where there is a queue.
    pub(super) fn queueing(&mut self, traces: &Traces, waits: bool) {
        let names = match self.legacy {
            true => ("queue_proxy", "queue_wait"),
            false => ("kn.queueproxy.proxy", "kn.queueproxy.wait"),
        };
        self.proxy = self.child(&traces.knative, SpanBuilder::from_name(names.0), SpanKind::Internal);
        if waits {
            self.wait = self.child(&traces.knative, SpanBuilder::from_name(names.1), SpanKind::Internal);
        }
    }

    /// That of the innermost span, for work that belongs to the request.
    pub(super) fn context(&self) -> Option<Context> {
        Some(Context::new().with_remote_span_context(self.parent.clone()?))
    }

    /// The wait is over.
    pub(super) fn admitted(&mut self) {
        self.wait = None; // ended by its drop
    }

    /// The client's span, which the headers carry on.
    pub(super) fn calling(&mut self, traces: &Traces, head: &mut request::Parts, labels: &Labels, port: u16) {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let builder = if self.legacy {
            SpanBuilder::from_name(text(head.uri.path().as_bytes()))
        } else {
            SpanBuilder::from_name(format!("HTTP {}", labels.method.unwrap_or("HTTP")))
        };
        let url = format!("http://127.0.0.1:{port}{path}");
        let Some(mut span) = self.child(&traces.http, builder, SpanKind::Client) else {
            return;
        };
        if span.is_recording() && self.legacy {
            span.set_attribute(KeyValue::new("http.method", labels.method()));
            span.set_attribute(KeyValue::new("http.url", text(url.as_bytes())));
        } else if span.is_recording() {
            let mut attributes = method(labels, &head.method);
            attributes.push(KeyValue::new("url.full", text(url.as_bytes())));
            attributes.push(KeyValue::new("server.address", "127.0.0.1"));
            if port != 80 {
                attributes.push(KeyValue::new("server.port", i64::from(port)));
            }
            attributes.extend(agent(&head.headers));
            attributes.push(KeyValue::new("network.protocol.version", labels.version));
            span.set_attributes(attributes);
        }
        traces.propagation.inject(span.span_context(), &mut head.headers);
        self.client = Some(span);
    }

    /// The user container has answered; the client's span ends with the answer's body.
    pub(super) fn called(&mut self, result: Result<u16, &'static str>) {
        let Some(span) = self.client.as_mut() else { return };
        match result {
            Ok(status) => {
                span.set_attribute(KeyValue::new(status_key(self.legacy), i64::from(status)));
                if status >= 400 {
                    span.set_attribute(KeyValue::new("error.type", status.to_string()));
                    span.set_status(Status::error(""));
                }
            }
            Err(kind) => {
                span.set_attribute(KeyValue::new("error.type", kind));
                span.set_status(Status::error("the user container gave no answer"));
                self.client = None; // ended by its drop
            }
        }
    }

    /// Ends what is still open, innermost first.
    pub(super) fn end(&mut self, status: u16, read: u64, sent: u64) {
        (self.client, self.wait, self.proxy) = (None, None, None); // ended by their drops
        let Some(mut span) = self.server.take() else { return };
        if span.is_recording() {
            let size = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
            if read > 0 && !self.legacy {
                span.set_attribute(KeyValue::new("http.request.body.size", size(read)));
            }
            if sent > 0 && !self.legacy {
                span.set_attribute(KeyValue::new("http.response.body.size", size(sent)));
            }
            span.set_attribute(KeyValue::new(status_key(self.legacy), i64::from(status)));
            if status >= 500 {
                span.set_status(Status::error(""));
            }
        }
        span.end();
    }

    fn child(&mut self, tracer: &SdkTracer, builder: SpanBuilder, kind: SpanKind) -> Option<Span> {
        let parent = Context::new().with_remote_span_context(self.parent.clone()?);
        let span = start(tracer, builder, kind, &parent);
        self.parent = Some(span.span_context().clone());
        Some(span)
    }
}

fn start(tracer: &SdkTracer, builder: SpanBuilder, kind: SpanKind, parent: &Context) -> Span {
    let builder = builder.with_kind(kind).with_start_time(SystemTime::now());
    tracer.build_with_context(builder, parent)
}

fn status_key(legacy: bool) -> &'static str {
    if legacy {
        "http.status_code"
    } else {
        "http.response.status_code"
    }
}

fn server_attributes<B>(request: &Request<B>, labels: &Labels, peer: Peer, path: String) -> Vec<KeyValue> {
    let address = peer.address.ip().to_canonical().to_string();
    let mut attributes = method(labels, request.method());
    attributes.push(KeyValue::new("server.address", labels.host.clone()));
    if let Some(port) = labels.port {
        attributes.push(KeyValue::new("server.port", i64::from(port)));
    }
    attributes.push(KeyValue::new("url.scheme", labels.scheme));
    attributes.push(KeyValue::new("url.path", path));
    attributes.push(KeyValue::new("network.peer.address", address.clone()));
    attributes.push(KeyValue::new("network.peer.port", i64::from(peer.address.port())));
    attributes.extend(agent(request.headers()));
    let forwarded = request.headers().get("x-forwarded-for");
    let first = forwarded.and_then(|value| value.as_bytes().split(|byte| *byte == b',').next());
    let client = first
        .map(|node| text(node.trim_ascii()))
        .filter(|node| !node.is_empty());
    attributes.push(KeyValue::new("client.address", client.unwrap_or(address)));
    attributes.push(KeyValue::new("network.protocol.version", labels.version));
    attributes.push(KeyValue::new("kn.route.tag", labels.tag.text().to_owned()));
    attributes
}

fn legacy_attributes<B>(request: &Request<B>, path: String) -> Vec<KeyValue> {
    let header = |name| request.headers().get(name).map(|value| text(value.as_bytes()));
    let authority = request.uri().authority().map(|host| text(host.as_str().as_bytes()));
    let mut attributes = vec![
        KeyValue::new("http.path", path),
        KeyValue::new("http.method", text(request.method().as_str().as_bytes())),
        KeyValue::new(
            "http.host",
            authority.or_else(|| header(header::HOST)).unwrap_or_default(),
        ),
    ];
    attributes.extend(header(header::USER_AGENT).map(|agent| KeyValue::new("http.user_agent", agent)));
    attributes
}

/// The method, and as it came where that differs.
fn method(labels: &Labels, given: &http::Method) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(16);
    attributes.push(KeyValue::new("http.request.method", labels.method()));
    if given.as_str() != labels.method() {
        let original = text(given.as_str().as_bytes());
        attributes.push(KeyValue::new("http.request.method_original", original));
    }
    attributes
}

fn agent(headers: &HeaderMap) -> Option<KeyValue> {
    let agent = headers.get(header::USER_AGENT).filter(|agent| !agent.is_empty())?;
    Some(KeyValue::new("user_agent.original", text(agent.as_bytes())))
}
