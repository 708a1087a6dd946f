//! `OBSERVABILITY_CONFIG`: the controller's config-observability as JSON, read over the defaults (contract of the
//! queue-proxy, section 7.4). Controllers of 1.16 to 1.18 send single variables in its place ([`legacy`]).

pub mod legacy;

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::go_json::as_go_reads;

/// What is measured, traced and logged of requests.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Observability {
    /// Spans.
    pub tracing: Tracing,
    /// Metrics of requests.
    #[serde(rename = "requestmetrics")]
    pub request_metrics: RequestMetrics,
    /// The process itself.
    pub runtime: Runtime,
    /// A line for each request?
    #[serde(rename = "enablerequestlog")]
    pub request_log: bool,
    /// Its template; `None` = Knative's default.
    #[serde(rename = "requestlogtemplate")]
    pub request_log_template: Option<String>,
    /// Also for probes?
    #[serde(rename = "enableproberequestlog")]
    pub probe_request_log: bool,
}

/// `tracing.*`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Tracing {
    /// Where spans go.
    pub protocol: TracingProtocol,
    /// URL of the collector.
    pub endpoint: String,
    /// 0 to 1.
    #[serde(rename = "samplingrate")]
    pub sampling_rate: f64,
    /// Zipkin only: every request is sampled, whatever the rate.
    #[serde(skip)]
    pub debug: bool,
}

/// Where spans go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum TracingProtocol {
    /// Nowhere.
    #[default]
    #[serde(rename = "none", alias = "")]
    None,
    /// OTLP over gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP over HTTP.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// JSON on stdout.
    #[serde(rename = "stdout")]
    Stdout,
    /// Zipkin v2 JSON with B3 propagation: asked for by [`legacy`] variables only.
    #[serde(skip)]
    Zipkin,
}

/// `requestMetrics.*`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RequestMetrics {
    /// How they are published.
    pub protocol: MetricsProtocol,
    /// URL of the collector, or `host:port` to listen on.
    pub endpoint: String,
    /// Push period in nanoseconds; 0 = 60 s.
    #[serde(rename = "exportinterval", deserialize_with = "nanoseconds")]
    pub export_interval: u64,
}

/// How metrics are published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum MetricsProtocol {
    /// Not at all.
    #[default]
    #[serde(rename = "none", alias = "")]
    None,
    /// Scraped from a port of ours.
    #[serde(rename = "prometheus")]
    Prometheus,
    /// OTLP over gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// OTLP over HTTP.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// Scraped, under the names of releases up to 1.18 (`revision_request_count`, section 7.3): [`legacy`] only.
    #[serde(skip)]
    LegacyPrometheus,
}

/// `runtime.*`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct Runtime {
    /// Whether the profiling port is open.
    pub profiling: Profiling,
    /// Refresh of the metrics of Go's runtime, in nanoseconds. Checked only: there is no such runtime here, and what is told
    /// of the process is read for each scrape.
    #[serde(rename = "exportinterval", deserialize_with = "nanoseconds")]
    pub export_interval: u64,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            profiling: Profiling::default(),
            export_interval: 15_000_000_000,
        }
    }
}

/// Whether the profiling port is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profiling {
    /// Closed.
    #[default]
    Disabled,
    /// Open on 8008.
    Enabled,
}

impl RequestMetrics {
    /// The push period.
    #[must_use]
    pub fn period(&self) -> Duration {
        match self.export_interval {
            0 => Duration::from_secs(60),
            nanoseconds => Duration::from_nanos(nanoseconds),
        }
    }
}

impl Observability {
    /// Reads the variable; empty = everything off.
    ///
    /// # Errors
    /// That of the JSON, or an unknown protocol.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        // Through a map, because a struct would also be read from an array.
        let object: Option<serde_json::Map<String, Value>> = serde_json::from_str(text)?;
        serde_json::from_value(as_go_reads(object.unwrap_or_default().into()))
    }
}

/// A Go duration: whole nanoseconds, of which less than none is none.
fn nanoseconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    i64::deserialize(deserializer).map(|nanoseconds| u64::try_from(nanoseconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_match_without_regard_to_case_and_unknown_ones_are_ignored() {
        let text = r#"{"Tracing":{"protocol":"grpc","samplingRate":0.5},"requestmetrics":{"PROTOCOL":"prometheus"},
            "metrics":{"protocol":"x"},"EnableVarLogCollection":true,"runtime":{"profiling":"enabled"}}"#;
        let config = Observability::parse(text).expect("valid");
        assert_eq!(config.tracing.protocol, TracingProtocol::Grpc);
        assert_eq!(config.request_metrics.protocol, MetricsProtocol::Prometheus);
        assert_eq!(config.request_metrics.period(), Duration::from_secs(60));
        assert_eq!(config.runtime.profiling, Profiling::Enabled);
        assert_eq!(config.runtime.export_interval, 15_000_000_000);
    }

    #[test]
    fn null_leaves_the_default() {
        for text in [
            "null",
            "{}",
            r#"{"tracing":null,"runtime":{"exportInterval":null},"requestLogTemplate":null}"#,
        ] {
            assert_eq!(Observability::parse(text).expect("valid"), Observability::default());
        }
        let negative = Observability::parse(r#"{"requestMetrics":{"exportInterval":-5}}"#).expect("valid");
        assert_eq!(negative.request_metrics.period(), Duration::from_secs(60));
    }

    #[test]
    fn an_unknown_protocol_is_refused() {
        for text in [
            r#"{"tracing":{"protocol":"zipkin"}}"#,
            r#"{"tracing":{"protocol":"Zipkin"}}"#,
            r#"{"requestMetrics":{"protocol":"LegacyPrometheus"}}"#,
            r#"{"requestMetrics":{"exportInterval":"60s"}}"#,
            "[]",
            "{",
            r#"{"runtime":{"profiling":"maybe"}}"#,
        ] {
            assert!(Observability::parse(text).is_err(), "{text}");
        }
    }
}
