//! What templates see: `.Request`, `.Response`, `.Revision`, `.TraceID`, with Go's names and types. Looked up when a
//! template asks.

mod cookies;
mod escape;
mod header;
mod request;
mod url;

use std::{rc::Rc, time::Duration};

use http::HeaderMap;
use xdt_gotemplate::{Struct, Value};

use crate::config::Knative;
pub use request::Head;
use url::Url;

/// The whole of a line's data.
#[derive(Clone, Copy)]
pub struct Input<'v> {
    /// `.Request`
    pub head: &'v Head,
    /// `.Response`
    pub answer: Answer,
    /// `.Revision`
    pub revision: &'v Revision,
}

/// `.Response`
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// Its status.
    pub code: u16,
    /// Bytes of its body.
    pub size: u64,
    /// From the request's head to the answer's end.
    pub latency: Duration,
}

/// `.Revision`
#[derive(Debug, Clone, Default)]
pub struct Revision {
    /// `SERVING_REVISION`
    pub name: String,
    /// `SERVING_NAMESPACE`
    pub namespace: String,
    /// `SERVING_SERVICE`
    pub service: String,
    /// `SERVING_CONFIGURATION`
    pub configuration: String,
    /// `SERVING_POD`
    pub pod: String,
    /// `SERVING_POD_IP`
    pub pod_ip: String,
}

impl Revision {
    pub(super) fn of(knative: &Knative) -> Self {
        Self {
            name: knative.revision.clone(),
            namespace: knative.namespace.clone(),
            service: knative.service.clone(),
            configuration: knative.configuration.clone(),
            pod: knative.pod.clone(),
            pod_ip: knative.pod_ip_text.clone(),
        }
    }
}

impl Input<'_> {
    /// What is written where the template fails.
    #[must_use]
    pub fn fallback(&self) -> String {
        let url = Url::of(&self.head.method, &self.head.uri, self.head.version).to_string();
        let number = Value::Float(self.answer.latency.as_secs_f64());
        let latency = xdt_gotemplate::print(&number);
        let (method, code) = (&self.head.method, self.answer.code);
        format!(
            "Invalid request log template: method: {method}, response code: {code}, latency: {latency}, url: {url}\n"
        )
    }
}

/// The trace that a request came with, unvalidated.
fn trace_id(headers: &HeaderMap) -> &[u8] {
    let first = |name| headers.get(name).map_or(&b""[..], |value| value.as_bytes());
    let parent = first("traceparent");
    match parent.split(|byte| *byte == b'-').nth(1) {
        Some(id) => id,
        None => first("x-b3-traceid"),
    }
}

impl<'v> Struct<'v> for Input<'v> {
    fn type_name(&self) -> &'static str {
        "http.RequestLogTemplateInput"
    }

    fn names(&self) -> &'static [&'static str] {
        &["Request", "Response", "Revision", "TraceID"]
    }

    fn field(&self, name: &str) -> Option<Value<'v>> {
        Some(match name {
            "Request" => Value::Struct(Rc::new(request::View(self.head))),
            "Response" => Value::Struct(Rc::new(self.answer)),
            "Revision" => Value::Struct(Rc::new(self.revision)),
            "TraceID" => Value::Text(trace_id(&self.head.headers).into()),
            _ => return None,
        })
    }
}

impl<'v> Struct<'v> for Answer {
    fn type_name(&self) -> &'static str {
        "http.RequestLogResponse"
    }

    fn names(&self) -> &'static [&'static str] {
        &["Code", "Size", "Latency"]
    }

    fn field(&self, name: &str) -> Option<Value<'v>> {
        Some(match name {
            "Code" => Value::Int(self.code.into()),
            "Size" => Value::Int(i64::try_from(self.size).unwrap_or(i64::MAX)),
            "Latency" => Value::Float(self.latency.as_secs_f64()),
            _ => return None,
        })
    }
}

impl<'v> Struct<'v> for &'v Revision {
    fn type_name(&self) -> &'static str {
        "http.RequestLogRevision"
    }

    fn names(&self) -> &'static [&'static str] {
        &["Name", "Namespace", "Service", "Configuration", "PodName", "PodIP"]
    }

    fn field(&self, name: &str) -> Option<Value<'v>> {
        let text = match name {
            "Name" => &self.name,
            "Namespace" => &self.namespace,
            "Service" => &self.service,
            "Configuration" => &self.configuration,
            "PodName" => &self.pod,
            "PodIP" => &self.pod_ip,
            _ => return None,
        };
        Some(Value::text(text))
    }
}
