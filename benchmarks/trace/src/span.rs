//! A span in Zipkin's v2 form (<https://zipkin.io/zipkin-api/>), which is also how it is kept and given out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One timed step of one service. Times are microseconds; unknown fields of a sender are not kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    /// 16 or 32 lower-case hexadecimal digits.
    pub trace_id: String,
    /// 16 of them.
    pub id: String,
    /// The step that this is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// What is done.
    #[serde(default)]
    pub name: String,
    /// `CLIENT`, `SERVER`, `PRODUCER` or `CONSUMER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Since the epoch, in microseconds.
    #[serde(default)]
    pub timestamp: u64,
    /// In microseconds.
    #[serde(default)]
    pub duration: u64,
    /// Who does it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_endpoint: Option<Endpoint>,
    /// What else is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Exact start in nanoseconds, where the sender had it (OTLP); for breakdowns, not part of Zipkin's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_ns: Option<u64>,
    /// Exact end, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ns: Option<u64>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Its name.
    #[serde(default)]
    pub service_name: String,
}

impl Span {
    /// Whether the ids are such, so that they can be looked up and linked.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        let is_hex = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        let is_id = |text: &str| text.len() == 16 && is_hex(text);
        matches!(self.trace_id.len(), 16 | 32)
            && is_hex(&self.trace_id)
            && is_id(&self.id)
            && self.parent_id.as_deref().is_none_or(is_id)
    }

    /// Start in nanoseconds since the epoch.
    #[must_use]
    pub fn start_ns(&self) -> u64 {
        self.start_ns.unwrap_or_else(|| self.timestamp.saturating_mul(1000))
    }

    /// End in nanoseconds since the epoch; never before the start.
    #[must_use]
    pub fn end_ns(&self) -> u64 {
        let exact = self.end_ns.filter(|_| self.start_ns.is_some());
        let rounded = || self.timestamp.saturating_add(self.duration).saturating_mul(1000);
        exact.unwrap_or_else(rounded).max(self.start_ns())
    }

    /// Name of the service, or nothing.
    #[must_use]
    pub fn service(&self) -> &str {
        self.local_endpoint
            .as_ref()
            .map_or("", |endpoint| &endpoint.service_name)
    }
}
