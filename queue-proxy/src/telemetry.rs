//! What the process tells about itself and its requests: the log, and metrics and spans where they are configured.

mod labels;
pub mod log;
mod metrics;
mod process;
mod push;
mod resource;
mod scrape;
mod start;
pub(crate) mod traces;
pub(crate) mod transfers;

pub use labels::{Labels, RouteTag};
pub use start::{Telemetry, TelemetryStartError};
pub use traces::propagation::Propagation;

/// Scope of what Knative itself measures and traces.
const KNATIVE_SCOPE: &str = "knative.dev/serving/pkg/queue";
/// Scope of what moves objects.
const XDT_SCOPE: &str = "xdt";
/// Scope of what Go's instrumentation of HTTP measures and traces in the stock proxy.
const OTELHTTP_SCOPE: &str = "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp";
