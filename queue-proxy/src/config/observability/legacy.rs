//! What controllers of 1.16 to 1.18 send in place of `OBSERVABILITY_CONFIG` (contract of the queue-proxy, 1.2).
//!
//! Read only where `OBSERVABILITY_CONFIG` is not set: a controller of 1.19 or later sends it always, so whoever meets
//! one of these variables without it meets an old controller. Source: `pkg/queue/sharedmain/main.go`, release 1.18.

use super::{MetricsProtocol, Observability, Profiling, RequestMetrics, Runtime, Tracing, TracingProtocol};
use crate::config::parse::{Faults, Raw};

/// The variables in today's form, with a sentence for the log on each wish that cannot be granted.
///
/// `None` when a value does not parse; `faults` then tells which.
pub(in crate::config) fn read(raw: &Raw, faults: &mut Faults, notices: &mut Vec<String>) -> Option<Observability> {
    let request_log = faults.go_bool(raw, "SERVING_ENABLE_REQUEST_LOG");
    let probe_request_log = faults.go_bool(raw, "SERVING_ENABLE_PROBE_REQUEST_LOG");
    let profiling = faults.go_bool(raw, "ENABLE_PROFILING");
    let request_metrics = request_metrics(raw, faults, notices);
    let tracing = tracing(raw, faults, notices);
    Some(Observability {
        tracing: tracing?,
        request_metrics: request_metrics?,
        runtime: Runtime {
            profiling: if profiling? {
                Profiling::Enabled
            } else {
                Profiling::Disabled
            },
            ..Runtime::default()
        },
        request_log: request_log?,
        // Set to nothing it turns the log off.
        request_log_template: raw.get("SERVING_REQUEST_LOG_TEMPLATE").map(str::to_owned),
        probe_request_log: probe_request_log?,
    })
}

fn request_metrics(raw: &Raw, faults: &mut Faults, notices: &mut Vec<String>) -> Option<RequestMetrics> {
    let period = faults.optional_seconds(raw, "SERVING_REQUEST_METRICS_REPORTING_PERIOD_SECONDS")?;
    let text = |name| raw.get(name).unwrap_or_default().to_owned();
    let protocol = match text("SERVING_REQUEST_METRICS_BACKEND").as_str() {
        "" | "none" => MetricsProtocol::None,
        "prometheus" => MetricsProtocol::LegacyPrometheus,
        "opencensus" => {
            notices.push(
                "SERVING_REQUEST_METRICS_BACKEND is opencensus, an agent that nobody maintains any more; \
                 its metrics are served on port 9091 instead"
                    .to_owned(),
            );
            MetricsProtocol::LegacyPrometheus
        }
        _ => {
            notices.push(
                "SERVING_REQUEST_METRICS_BACKEND is none of prometheus, opencensus and none; \
                 request metrics are not published"
                    .to_owned(),
            );
            MetricsProtocol::None
        }
    };
    Some(RequestMetrics {
        protocol,
        endpoint: String::new(),
        export_interval: u64::try_from(period.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX),
    })
}

fn tracing(raw: &Raw, faults: &mut Faults, notices: &mut Vec<String>) -> Option<Tracing> {
    let debug = faults.go_bool(raw, "TRACING_CONFIG_DEBUG");
    let rate = faults.go_float(raw, "TRACING_CONFIG_SAMPLE_RATE");
    let protocol = match raw.get("TRACING_CONFIG_BACKEND").unwrap_or_default() {
        "" | "none" => TracingProtocol::None,
        "zipkin" => TracingProtocol::Zipkin,
        _ => {
            notices.push("TRACING_CONFIG_BACKEND is neither zipkin nor none; requests are not traced".to_owned());
            TracingProtocol::None
        }
    };
    Some(Tracing {
        protocol,
        endpoint: raw.get("TRACING_CONFIG_ZIPKIN_ENDPOINT").unwrap_or_default().to_owned(),
        sampling_rate: rate?,
        debug: debug?,
    })
}
