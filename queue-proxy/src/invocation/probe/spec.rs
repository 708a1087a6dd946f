//! `SERVING_READINESS_PROBE`: what to probe, how, and how often.
//!
//! Source: Kubernetes `core/v1` `Probe`; Knative `pkg/queue/readiness/probe_encoding.go`; contract of the queue-proxy,
//! section 5.3. Read once at start, as Go's decoder reads it: keys without regard to case, unknown keys ignored, `null`
//! leaves the default, numbers are whole and of 32 bits.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use crate::config::go_json::as_go_reads;

/// Bounds a single attempt whose `timeoutSeconds` is absent. Stock waits without end; controllers always send it.
const NO_TIMEOUT: Duration = Duration::from_secs(10);

/// The probes of all containers of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadinessProbe {
    pub(super) probes: Vec<ContainerProbe>,
}

/// The probe of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ContainerProbe {
    pub(super) kind: Kind,
    pub(super) mode: Mode,
}

/// What is asked of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Http(HttpGet),
    Tcp(TcpSocket),
    Grpc(GrpcAction),
    /// The kubelet runs these itself; in their place the controller sends `tcpSocket`.
    Exec,
    /// An empty object, or `null`.
    Absent,
}

/// How often, until what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One attempt for each health check (`periodSeconds` > 0): the kubelet's period is the pace.
    Single { timeout: Duration },
    /// Attempts in quick succession until `success_threshold` passes in a row (`periodSeconds` 0).
    Aggressive { success_threshold: i32 },
}

/// `httpGet`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct HttpGet {
    pub(super) path: String,
    pub(super) port: Port,
    pub(super) host: String,
    pub(super) scheme: String,
    #[serde(rename = "httpheaders", deserialize_with = "objects")]
    pub(super) headers: Vec<Header>,
}

/// One of `httpGet.httpHeaders`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    pub(super) name: String,
    pub(super) value: String,
}

/// `tcpSocket`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct TcpSocket {
    pub(super) port: Port,
    pub(super) host: String,
}

/// `grpc`; the host is always the loopback address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct GrpcAction {
    pub(super) port: i32,
    pub(super) service: String,
}

/// A Kubernetes `IntOrString`. Whether it is a port shows when it is dialled, as in stock.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(super) enum Port {
    Number(i32),
    Text(String),
}

impl Default for Port {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl Port {
    /// The port number, if it is one; names of services are not known here.
    pub(super) fn number(&self) -> Option<u16> {
        let number = match self {
            Self::Number(number) => u16::try_from(*number).ok(),
            Self::Text(text) => text.parse().ok(),
        };
        number.filter(|port| *port > 0)
    }
}

/// The text is not the JSON of a probe, or not in the form that `ENABLE_MULTI_CONTAINER_PROBES` says.
#[derive(Debug, thiserror::Error)]
#[error("not {expected}: {source}")]
pub struct ReadinessProbeError {
    expected: &'static str,
    source: serde_json::Error,
}

impl ReadinessProbe {
    /// Reads the variable: an array of probes, or a single one. `None` when it is empty: the container then always counts
    /// as ready.
    ///
    /// # Errors
    /// [`ReadinessProbeError`].
    pub fn parse(text: &str, array: bool) -> Result<Option<Self>, ReadinessProbeError> {
        if text.is_empty() {
            return Ok(None);
        }
        let expected = if array {
            "an array of Kubernetes probes"
        } else {
            "a Kubernetes probe"
        };
        let probes = if array { several(text) } else { one(text) };
        let probes = probes.map_err(|source| ReadinessProbeError { expected, source })?;
        Ok(Some(Self { probes }))
    }
}

/// A `null`, alone or inside, is a probe of nothing, which fails (stock crashes); an empty array has none, and passes.
fn several(text: &str) -> Result<Vec<ContainerProbe>, serde_json::Error> {
    let values: Option<Vec<Value>> = serde_json::from_str(text)?;
    values
        .unwrap_or_else(|| vec![Value::Null])
        .into_iter()
        .map(container)
        .collect()
}

fn one(text: &str) -> Result<Vec<ContainerProbe>, serde_json::Error> {
    let value: Value = serde_json::from_str(text)?;
    Ok(vec![container(value)?])
}

fn container(value: Value) -> Result<ContainerProbe, serde_json::Error> {
    let raw: Option<RawProbe> = object(as_go_reads(value))?;
    Ok(raw.unwrap_or_default().into())
}

/// A Kubernetes `Probe`, keys in lower case. Those that are not used are typed all the same: Go refuses wrong types.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawProbe {
    #[serde(rename = "httpget", deserialize_with = "optional_object")]
    http_get: Option<HttpGet>,
    #[serde(rename = "tcpsocket", deserialize_with = "optional_object")]
    tcp_socket: Option<TcpSocket>,
    #[serde(deserialize_with = "optional_object")]
    grpc: Option<GrpcAction>,
    #[serde(deserialize_with = "optional_object")]
    exec: Option<RawExec>,
    #[serde(rename = "periodseconds")]
    period_seconds: i32,
    #[serde(rename = "timeoutseconds")]
    timeout_seconds: i32,
    #[serde(rename = "successthreshold")]
    success_threshold: i32,
    #[serde(rename = "initialdelayseconds")]
    _initial_delay_seconds: i32,
    #[serde(rename = "failurethreshold")]
    _failure_threshold: i32,
    #[serde(rename = "terminationgraceperiodseconds")]
    _termination_grace_period_seconds: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawExec {
    #[serde(rename = "command")]
    _command: Vec<Option<String>>,
}

impl From<RawProbe> for ContainerProbe {
    fn from(raw: RawProbe) -> Self {
        let kind = match raw {
            RawProbe {
                http_get: Some(get), ..
            } => Kind::Http(get),
            RawProbe {
                tcp_socket: Some(tcp), ..
            } => Kind::Tcp(tcp),
            RawProbe { grpc: Some(grpc), .. } => Kind::Grpc(grpc),
            RawProbe { exec: Some(_), .. } => Kind::Exec,
            _ => Kind::Absent,
        };
        let mode = match raw.period_seconds {
            0 => Mode::Aggressive {
                success_threshold: raw.success_threshold,
            },
            _ => Mode::Single {
                timeout: match u64::try_from(raw.timeout_seconds) {
                    Ok(seconds @ 1..) => Duration::from_secs(seconds),
                    _ => NO_TIMEOUT,
                },
            },
        };
        Self { kind, mode }
    }
}

/// A struct from an object only: serde would also read it from an array.
fn object<T: for<'de> Deserialize<'de>>(value: Value) -> Result<Option<T>, serde_json::Error> {
    match value {
        Value::Null => Ok(None),
        Value::Object(_) => serde_json::from_value(value).map(Some),
        other => Err(serde_json::Error::custom(format_args!(
            "an object was expected, not {other}"
        ))),
    }
}

fn optional_object<'de, D: Deserializer<'de>, T: for<'t> Deserialize<'t>>(from: D) -> Result<Option<T>, D::Error> {
    object(Value::deserialize(from)?).map_err(D::Error::custom)
}

fn objects<'de, D: Deserializer<'de>, T: for<'t> Deserialize<'t> + Default>(from: D) -> Result<Vec<T>, D::Error> {
    let values = Vec::<Value>::deserialize(from)?.into_iter();
    let read = values.map(|value| object(value).map(Option::unwrap_or_default));
    read.collect::<Result<_, _>>().map_err(D::Error::custom)
}

#[cfg(test)]
mod tests;
