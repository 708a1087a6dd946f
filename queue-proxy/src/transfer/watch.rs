//! Measures and traces one transfer or put: one [`Observed`] for each, which counts when it is dropped, so that whatever
//! ends a transfer is counted once (contract, section 10). Where telemetry is off it costs a branch.
//!
//! Spans: `xdt.get` from the reference to the last byte, in it `xdt.pull` (asking for the bytes, wherever they are) and
//! `xdt.deliver` (handing them out); `xdt.serve` at a producer, child of the consumer's `xdt.pull`; `xdt.put`. The parent
//! is the current context of OpenTelemetry, which doors and joints set ([`Transfer::traced`]).

use std::{sync::Arc, time::Instant};

use http::HeaderMap;
use opentelemetry::{
    Context, KeyValue,
    trace::{FutureExt as _, Span as _, SpanKind, Status, TraceContextExt as _},
};
use opentelemetry_sdk::trace::Span;
use xdt_proto::{ByteCount, ObjectId};

use super::{
    Transfer,
    put::{Put, PutError},
    tally::{Outcome, Path},
};
use crate::{
    telemetry::{Telemetry, traces::Traces, transfers::Levels},
    trust::Opened,
};

/// Which way an object moves, as this queue-proxy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// To a client of this queue-proxy.
    In,
    /// To a peer.
    Out,
}

impl Direction {
    const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// One transfer: abandoned, unless it was said how it ended.
pub(super) struct Observed {
    transfer: Arc<Transfer>,
    direction: Direction,
    path: Path,
    outcome: Outcome,
    begun: Instant,
    bytes: u64,
    spans: Option<Box<Spans>>,
}

/// Spans of one transfer, ended when they are dropped, innermost first.
struct Spans {
    deliver: Option<Span>,
    pull: Option<Span>,
    whole: Span,
}

impl Observed {
    /// A client of this queue-proxy wants an object.
    pub(super) fn receiving(transfer: Arc<Transfer>, opened: &Opened, path: Path) -> Self {
        let spans = transfer.traces().map(|traces| {
            let mut whole = traces.span("xdt.get", SpanKind::Internal, &Context::current());
            whole.set_attribute(KeyValue::new("object", opened.digest()));
            let pull = traces.span("xdt.pull", SpanKind::Client, &child_of(&whole));
            Box::new(Spans {
                deliver: None,
                pull: Some(pull),
                whole,
            })
        });
        Self::new(transfer, Direction::In, path, spans)
    }

    /// A peer with a valid ticket wants an object; `headers` may bring its span.
    pub(super) fn serving(transfer: Arc<Transfer>, path: Path, object: Option<ObjectId>, headers: &HeaderMap) -> Self {
        let spans = transfer.traces().map(|traces| {
            let mut whole = traces.span("xdt.serve", SpanKind::Server, &traces.parent(headers));
            if let Some(object) = object {
                whole.set_attribute(KeyValue::new("object", transfer.trust.own_digest(object)));
            }
            Box::new(Spans {
                deliver: None,
                pull: None,
                whole,
            })
        });
        Self::new(transfer, Direction::Out, path, spans)
    }

    fn new(transfer: Arc<Transfer>, direction: Direction, path: Path, spans: Option<Box<Spans>>) -> Self {
        Self {
            transfer,
            direction,
            path,
            outcome: Outcome::Abandoned,
            begun: Instant::now(),
            bytes: 0,
            spans,
        }
    }

    /// Awaits `asking` for the bytes with the span of the pull as the current one, so that peers continue it.
    pub(super) async fn pulling<T>(&self, asking: impl Future<Output = T>) -> T {
        match self.spans.as_ref().and_then(|spans| spans.pull.as_ref()) {
            Some(pull) => asking.with_context(child_of(pull)).await,
            None => asking.await,
        }
    }

    /// The path turned out to be another.
    pub(super) fn takes(&mut self, path: Path) {
        self.path = path;
    }

    pub(super) fn path(&self) -> Path {
        self.path
    }

    /// So many more bytes were handed on.
    pub(super) fn moved(&mut self, bytes: usize) {
        if self.bytes == 0
            && bytes > 0
            && let Some(spans) = self.spans.as_mut().filter(|_| self.direction == Direction::In)
            && let Some(traces) = self.transfer.traces()
        {
            spans.deliver = Some(traces.span("xdt.deliver", SpanKind::Internal, &child_of(&spans.whole)));
        }
        self.bytes += bytes as u64;
    }

    pub(super) fn ended(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if self.direction == Direction::In {
            self.transfer.tally.add(self.path, self.outcome);
        }
        let (direction, path, outcome) = (self.direction.as_str(), self.path.as_str(), self.outcome.as_str());
        if let Some(meters) = self
            .transfer
            .telemetry
            .as_ref()
            .and_then(|telemetry| telemetry.transfers())
        {
            meters.ended(direction, path, outcome, self.begun.elapsed(), self.bytes);
        }
        let Some(spans) = &mut self.spans else { return };
        (spans.deliver, spans.pull) = (None, None);
        spans.whole.set_attributes([
            KeyValue::new("direction", direction),
            KeyValue::new("path", path),
            KeyValue::new("outcome", outcome),
            size(self.bytes),
        ]);
        if matches!(self.outcome, Outcome::Failed(_)) {
            spans.whole.set_status(Status::error(outcome));
        }
    }
}

fn size(bytes: u64) -> KeyValue {
    KeyValue::new("size", i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn child_of(span: &Span) -> Context {
    Context::new().with_remote_span_context(span.span_context().clone())
}

impl Transfer {
    fn traces(&self) -> Option<&Traces> {
        self.telemetry.as_ref().and_then(|telemetry| telemetry.traces.as_ref())
    }

    /// Has `telemetry` ask this transfer for its levels as long as it lives.
    pub(super) fn measure(self: &Arc<Self>) {
        let Some(telemetry) = &self.telemetry else { return };
        let transfer = Arc::downgrade(self);
        telemetry.measure(move || Some(transfer.upgrade()?.levels()));
    }

    fn levels(&self) -> Levels {
        let held = self.held();
        let (pool_used, pool_limit) = self.pool_levels();
        Levels {
            pool_used,
            pool_limit,
            objects: held.objects as u64,
            object_bytes: held.bytes.get(),
            object_limit: self.settings.object_memory.get(),
        }
    }

    /// What requests are measured and traced with, where they are.
    #[must_use]
    pub fn telemetry(&self) -> Option<&Arc<Telemetry>> {
        self.telemetry.as_ref()
    }

    /// Awaits `work` as a part of the trace that came with `headers`.
    pub async fn traced<T>(&self, headers: &HeaderMap, work: impl Future<Output = T>) -> T {
        match self.traces() {
            Some(traces) => work.with_context(traces.parent(headers)).await,
            None => work.await,
        }
    }

    /// Has the peer or callee that `headers` go to continue the current trace.
    pub(super) fn inject(&self, headers: &mut HeaderMap) {
        if let Some(traces) = self.traces() {
            let span = Context::current().span().span_context().clone();
            if span.is_valid() {
                traces.propagation.inject(&span, headers);
            }
        }
    }

    /// Begins the span of a call that may go on by reference, child of the one that came with `headers`, which then
    /// carry it on.
    pub(crate) fn invoking(&self, headers: &mut HeaderMap) -> Invoking {
        let span = self.traces().map(|traces| {
            let span = traces.span("xdt.invoke", SpanKind::Client, &traces.parent(headers));
            traces.propagation.inject(span.span_context(), headers);
            span
        });
        Invoking(span)
    }

    /// Awaits a put and traces it.
    pub(super) async fn putting(&self, work: impl Future<Output = Result<Put, PutError>>) -> Result<Put, PutError> {
        let Some(traces) = self.traces() else { return work.await };
        let mut span = traces.span("xdt.put", SpanKind::Internal, &Context::current());
        let result = work.await;
        match &result {
            Ok(put) => self.offered(&mut span, put.reference.as_str(), Some(put.size)),
            Err(error) => {
                let word = error.kind().as_str();
                span.set_attribute(KeyValue::new("outcome", word));
                span.set_status(Status::error(word));
            }
        }
        result
    }

    /// The span of an object that passes through, which ends when nothing more is written to it.
    pub(super) fn offering(&self, reference: &str, size: Option<ByteCount>) -> Option<Span> {
        let mut span = self.traces()?.span("xdt.put", SpanKind::Internal, &Context::current());
        self.offered(&mut span, reference, size);
        Some(span)
    }

    fn offered(&self, span: &mut Span, reference: &str, bytes: Option<ByteCount>) {
        if let Ok(opened) = self.trust.open(reference) {
            span.set_attribute(KeyValue::new("object", opened.digest()));
        }
        span.set_attributes(bytes.map(|bytes| size(bytes.get())));
        span.set_attribute(KeyValue::new("outcome", "ok"));
    }

    /// Counts objects that were left at shutdown.
    pub(super) fn left_over(&self, outcome: &'static str, objects: usize) {
        if let Some(meters) = self.telemetry.as_ref().and_then(|telemetry| telemetry.transfers()) {
            meters.spilled(outcome, objects as u64);
        }
    }

    /// Awaits memory and measures how long that took.
    pub(super) async fn waiting<T>(&self, wait: impl Future<Output = T>) -> T {
        let meters = self.telemetry.as_ref().and_then(|telemetry| telemetry.transfers());
        let Some(meters) = meters else { return wait.await };
        let begun = Instant::now();
        let waited = wait.await;
        meters.waited(begun.elapsed());
        waited
    }
}

/// A call of the user container's while it runs.
pub(crate) struct Invoking(Option<Span>);

impl Invoking {
    /// Awaits `work` as a part of the call.
    pub(crate) async fn within<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(span) => work.with_context(child_of(span)).await,
            None => work.await,
        }
    }

    /// The callee answered with this status; `None`: there was no answer of its own.
    pub(crate) fn ended(&mut self, status: Option<http::StatusCode>) {
        let Some(span) = &mut self.0 else { return };
        match status {
            Some(status) => span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16()))),
            None => span.set_status(Status::error("no answer")),
        }
    }
}
