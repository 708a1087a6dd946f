//! What is measured and traced, and where it goes: `OBSERVABILITY_CONFIG` and the variables that beat it, checked.

mod scraped;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http::Uri;

use super::{
    Ambient,
    observability::{MetricsProtocol, Observability, Tracing, TracingProtocol},
};

pub use scraped::{Clients, Offer, ScrapeTls, Scraped};

/// Port of request metrics for Prometheus.
pub const METRICS_PORT: u16 = 9091;
/// An export is given up after this (the default of OTLP exporters).
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// All of it; everything `None` is the default.
#[derive(Debug, Clone, Default)]
pub struct Telemetry {
    /// Metrics of requests.
    pub metrics: Option<Metrics>,
    /// Spans of requests.
    pub traces: Option<Traces>,
    /// What the libraries read of the environment.
    pub ambient: Ambient,
}

/// How metrics are published.
#[derive(Debug, Clone, PartialEq)]
pub enum Metrics {
    /// On a port of ours.
    Scraped(Scraped),
    /// To a collector, every so often.
    Pushed(Collector, Duration),
}

/// How spans are published, and which.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// Where they go.
    pub to: TracesTo,
    /// Which traces are recorded.
    pub sampling: Sampling,
}

/// Where spans go.
#[derive(Debug, Clone, PartialEq)]
pub enum TracesTo {
    /// OTLP.
    Collector(Collector),
    /// JSON lines.
    Stdout,
    /// Zipkin v2 JSON, under the names of releases up to 1.18.
    Zipkin(Collector),
}

/// Which traces are recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// All, whatever the caller decided.
    Always,
    /// None, whatever the caller decided.
    Never,
    /// This part, whatever the caller decided.
    Ratio(f64),
    /// As the caller decided; this part of traces that begin here.
    AsParent(f64),
}

/// A collector of telemetry.
#[derive(Debug, Clone, PartialEq)]
pub struct Collector {
    /// `http` or `https`, host, port and path.
    pub endpoint: Uri,
    /// How messages are framed.
    pub framing: Framing,
    /// Bounds one export.
    pub timeout: Duration,
    /// For `https`.
    pub tls: TlsFiles,
}

/// Files in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Whom to trust; `None` = whom the system trusts.
    pub trusted: Option<PathBuf>,
    /// Certificate and key to show.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// How OTLP messages are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A unary gRPC call.
    Grpc,
    /// The body of a POST.
    Http,
}

/// A setting of telemetry that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {value:?} cannot be used; accepted is {accepted}")]
pub struct TelemetryError {
    /// The variable it stands in.
    pub variable: String,
    key: String,
    value: String,
    accepted: &'static str,
}

/// One kind of telemetry, with what its variables and paths are called.
#[derive(Clone, Copy)]
struct Signal {
    key: &'static str,
    word: &'static str,
    path: &'static str,
    service: &'static str,
}

const METRICS: Signal = Signal {
    key: "requestMetrics.endpoint",
    word: "METRICS",
    path: "/v1/metrics",
    service: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
};
const TRACES: Signal = Signal {
    key: "tracing.endpoint",
    word: "TRACES",
    path: "/v1/traces",
    service: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
};

impl Telemetry {
    /// Checks what is asked for.
    ///
    /// # Errors
    /// [`TelemetryError`] on the first value that cannot be used.
    pub fn parse(observability: &Observability, ambient: Ambient) -> Result<Self, TelemetryError> {
        Ok(Self {
            metrics: metrics(observability, &ambient)?,
            traces: traces(&observability.tracing, &ambient)?,
            ambient,
        })
    }
}

fn metrics(observability: &Observability, ambient: &Ambient) -> Result<Option<Metrics>, TelemetryError> {
    let config = &observability.request_metrics;
    let framing = match config.protocol {
        MetricsProtocol::None => return Ok(None),
        MetricsProtocol::Prometheus => {
            return Ok(Some(Metrics::Scraped(Scraped::parse(&config.endpoint, ambient)?)));
        }
        MetricsProtocol::LegacyPrometheus => {
            return Ok(Some(Metrics::Scraped(Scraped::legacy())));
        }
        MetricsProtocol::Grpc => Framing::Grpc,
        MetricsProtocol::HttpProtobuf => Framing::Http,
    };
    let period = match number(ambient, "OTEL_METRIC_EXPORT_INTERVAL", "milliseconds above 0")? {
        Some(0) | None => config.period(),
        Some(milliseconds) => Duration::from_millis(milliseconds),
    };
    Ok(Some(Metrics::Pushed(
        collector(METRICS, framing, &config.endpoint, ambient)?,
        period,
    )))
}

fn traces(config: &Tracing, ambient: &Ambient) -> Result<Option<Traces>, TelemetryError> {
    let to = match config.protocol {
        TracingProtocol::None => return Ok(None),
        TracingProtocol::Stdout => TracesTo::Stdout,
        TracingProtocol::Grpc => TracesTo::Collector(collector(TRACES, Framing::Grpc, &config.endpoint, ambient)?),
        TracingProtocol::HttpProtobuf => {
            TracesTo::Collector(collector(TRACES, Framing::Http, &config.endpoint, ambient)?)
        }
        TracingProtocol::Zipkin => {
            let refuse = |_| TelemetryError {
                variable: "TRACING_CONFIG_ZIPKIN_ENDPOINT".to_owned(),
                key: "TRACING_CONFIG_ZIPKIN_ENDPOINT".to_owned(),
                value: config.endpoint.clone(),
                accepted: "a URL that begins with http:// or https://",
            };
            let endpoint = absolute(&config.endpoint).ok_or(()).map_err(refuse)?;
            let sampling = if config.debug {
                Sampling::Always
            } else {
                Sampling::Ratio(config.sampling_rate)
            };
            let server = Collector {
                endpoint,
                framing: Framing::Http,
                timeout: EXPORT_TIMEOUT,
                tls: TlsFiles::default(),
            };
            return Ok(Some(Traces {
                to: TracesTo::Zipkin(server),
                sampling,
            }));
        }
    };
    let sampling = match ambient.get("OTEL_TRACES_SAMPLER") {
        Some(name) => named_sampling(name, ambient)?,
        None => sampling(config, ambient),
    };
    Ok(Some(Traces { to, sampling }))
}

/// The environment's argument counts only where it means "always" (as in Knative).
fn sampling(config: &Tracing, ambient: &Ambient) -> Sampling {
    let argument = ambient
        .get("OTEL_TRACES_SAMPLER_ARG")
        .and_then(|text| text.parse().ok());
    let rate = argument
        .filter(|rate: &f64| *rate >= 1.0)
        .unwrap_or(config.sampling_rate);
    match rate {
        _ if config.protocol == TracingProtocol::Stdout => Sampling::Always,
        rate if rate >= 1.0 => Sampling::Always,
        rate if rate > 0.0 => Sampling::AsParent(rate),
        _ => Sampling::Never,
    }
}

/// As the OpenTelemetry specification names them.
fn named_sampling(name: &str, ambient: &Ambient) -> Result<Sampling, TelemetryError> {
    let argument = ambient.get("OTEL_TRACES_SAMPLER_ARG");
    let ratio = argument.and_then(|text| text.parse().ok()).unwrap_or(1.0_f64);
    match name {
        "always_on" => Ok(Sampling::Always),
        "always_off" => Ok(Sampling::Never),
        "traceidratio" => Ok(Sampling::Ratio(ratio)),
        "parentbased_always_on" => Ok(Sampling::AsParent(1.0)),
        "parentbased_always_off" => Ok(Sampling::AsParent(0.0)),
        "parentbased_traceidratio" => Ok(Sampling::AsParent(ratio)),
        _ => Err(wrong(
            ambient,
            "OTEL_TRACES_SAMPLER",
            "always_on, always_off or traceidratio, each also with parentbased_ before it",
        )),
    }
}

fn collector(
    signal: Signal,
    framing: Framing,
    configured: &str,
    ambient: &Ambient,
) -> Result<Collector, TelemetryError> {
    let own = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.word);
    let shared = "OTEL_EXPORTER_OTLP_ENDPOINT";
    // A path that stands for all signals is continued by each.
    let (variable, key, value, continued) = match (ambient.get(&own), ambient.get(shared)) {
        (Some(value), _) => (own.as_str(), own.as_str(), value, false),
        (None, Some(value)) => (shared, shared, value, true),
        (None, None) => ("OBSERVABILITY_CONFIG", signal.key, configured, false),
    };
    let port = if framing == Framing::Grpc { 4317 } else { 4318 };
    let nothing = format!("https://localhost:{port}");
    let given = if value.is_empty() { &nothing } else { value };
    let refuse = || TelemetryError {
        variable: variable.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
        accepted: "a URL that begins with http:// or https://, or name:port for https",
    };
    let base = absolute(given).ok_or_else(refuse)?;
    let path = match (framing, base.path().trim_end_matches('/')) {
        (Framing::Grpc, _) => signal.service.to_owned(),
        (Framing::Http, path) if continued => format!("{path}{}", signal.path),
        (Framing::Http, "") => signal.path.to_owned(),
        (Framing::Http, _) => base.path().to_owned(),
    };
    let mut parts = base.into_parts();
    parts.path_and_query = path.parse().ok();
    let set = |what: &str| {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.word);
        let names = [own, format!("OTEL_EXPORTER_OTLP_{what}")];
        names.into_iter().find(|name| ambient.get(name).is_some())
    };
    let file = |what| set(what).and_then(|name| ambient.get(&name)).map(PathBuf::from);
    let timeout = match set("TIMEOUT") {
        Some(name) => number(ambient, &name, "milliseconds")?,
        None => None,
    };
    Ok(Collector {
        endpoint: Uri::from_parts(parts).map_err(|_| refuse())?,
        framing,
        timeout: timeout.map_or(EXPORT_TIMEOUT, Duration::from_millis),
        tls: TlsFiles {
            trusted: file("CERTIFICATE"),
            client: file("CLIENT_CERTIFICATE").zip(file("CLIENT_KEY")),
        },
    })
}

/// A URL; a bare `name:port` means https, and a bare address is none (as in Go's URLs).
fn absolute(text: &str) -> Option<Uri> {
    let name = |text: &str| {
        text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let url = match text.split_once("://") {
        Some(_) => text.to_owned(),
        None => match text.split_once(':') {
            Some((host, _)) if name(host) && text.parse::<SocketAddr>().is_err() => format!("https://{text}"),
            _ => return None,
        },
    };
    let uri: Uri = url.parse().ok()?;
    (matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty()))
        .then_some(uri)
}

fn number(ambient: &Ambient, name: &str, accepted: &'static str) -> Result<Option<u64>, TelemetryError> {
    let parsed = ambient
        .get(name)
        .map(|value| value.trim().parse().map_err(|_| wrong(ambient, name, accepted)));
    parsed.transpose()
}

fn wrong(ambient: &Ambient, name: &str, accepted: &'static str) -> TelemetryError {
    TelemetryError {
        variable: name.to_owned(),
        key: name.to_owned(),
        value: ambient.get(name).unwrap_or_default().to_owned(),
        accepted,
    }
}

#[cfg(test)]
#[path = "telemetry/tests.rs"]
mod tests;
