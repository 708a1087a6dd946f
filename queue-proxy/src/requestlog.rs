//! The request log: a line on stdout for each request, made by a template of the operator's (contract of the
//! queue-proxy, section 8; Knative `pkg/http/request_log.go`).
//!
//! One [`Entry`] follows each request and is kept by whatever keeps the request alive: its handler, its response's body,
//! its tunnel. The last one to let go writes the line, so that each request has exactly one, whatever ended it. Where the
//! log is off an entry is an empty `Option`.

pub mod data;
mod lines;

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{Method, Request, Response, StatusCode};
use http_body::Body as HttpBody;
use xdt_gotemplate::{Template, Value};

use crate::{
    body::Body,
    config::Knative,
    invocation::{headers, watch::Watched},
    net::Peer,
};
use data::{Answer, Head, Input, Revision};
use lines::Lines;

/// Knative's template since 1.21.
pub const DEFAULT_TEMPLATE: &str = concat!(
    r#"{"httpRequest": {"requestMethod": "{{.Request.Method}}", "requestUrl": "{{js .Request.RequestURI}}", "#,
    r#""requestSize": "{{.Request.ContentLength}}", "status": {{.Response.Code}}, "#,
    r#""responseSize": "{{.Response.Size}}", "userAgent": "{{js .Request.UserAgent}}", "#,
    r#""remoteIp": "{{js .Request.RemoteAddr}}", "serverIp": "{{.Revision.PodIP}}", "#,
    r#""referer": "{{js .Request.Referer}}", "latency": "{{.Response.Latency}}s", "#,
    r#""protocol": "{{.Request.Proto}}"}, "traceId": "{{.TraceID}}"}"#
);
/// Knative's name for the template, which its text may define itself.
const NAME: &str = "requestLog";
/// What the answer of a request counts as to which nothing was written, or whose connection was upgraded.
const UNWRITTEN: u16 = 200;

thread_local! {
    /// Each line is made here, one at a time.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
/// What a line's buffer may keep for the next one.
const KEEP: usize = 64 * 1024;

/// The log, shared by all requests.
pub struct RequestLog {
    template: Template,
    probes: bool,
    revision: Revision,
    lines: Lines,
}

impl RequestLog {
    /// The log as configured; `None` where it is off, or cannot be had, which is logged.
    #[must_use]
    pub fn of(knative: &Knative) -> Option<Arc<Self>> {
        let settings = &knative.observability;
        let text = settings.request_log_template.as_deref().unwrap_or(DEFAULT_TEMPLATE);
        if !settings.request_log || text.is_empty() {
            return None;
        }
        let ended = if text.ends_with('\n') { "" } else { "\n" };
        let why = match Template::parse(NAME, &format!("{text}{ended}")) {
            Ok(template) => match Lines::start() {
                Ok(lines) => {
                    return Some(Arc::new(Self {
                        template,
                        probes: settings.probe_request_log,
                        revision: Revision::of(knative),
                        lines,
                    }));
                }
                Err(error) => error.to_string(),
            },
            Err(error) => format!("template: {NAME}:{}: {}", error.line, error.what),
        };
        tracing::error!(
            error = why,
            "Error setting up request logger. Request logs will be unavailable."
        );
        None
    }

    /// Waits until every line is out, but no longer than `limit`.
    pub fn flush(&self, limit: Duration) {
        self.lines.flush(limit);
    }

    fn write(&self, input: Input<'_>) {
        LINE.with_borrow_mut(|line| {
            line.clear();
            let data = Value::Struct(Rc::new(input));
            if self.template.execute(&data, line).is_err() {
                line.clear();
                line.extend_from_slice(input.fallback().as_bytes());
            }
            self.lines.push(line);
            line.shrink_to(KEEP);
        });
    }
}

/// One request's line, not written yet. Clones keep it open.
#[derive(Clone)]
pub struct Entry(Option<Arc<Exchange>>);

/// A request, and what is known of its answer.
struct Exchange {
    log: Arc<RequestLog>,
    begun: Instant,
    head: Head,
    /// Beyond the probes' answers, where the proxy begins to change headers.
    passed_on: AtomicBool,
    code: AtomicU16,
    size: AtomicU64,
}

impl Entry {
    /// Begins the line of a request that has just come; probes have one only where they are asked for.
    pub fn begin<B: HttpBody>(log: Option<&Arc<RequestLog>>, request: &Request<B>, peer: Peer) -> Self {
        let log = log.filter(|log| log.probes || !headers::is_probe(request.headers()));
        Self(log.map(|log| {
            Arc::new(Exchange {
                log: log.clone(),
                begun: Instant::now(),
                head: Head::of(request, peer),
                passed_on: AtomicBool::new(false),
                code: AtomicU16::new(UNWRITTEN),
                size: AtomicU64::new(0),
            })
        }))
    }

    /// The request is not one that the proxy answers itself.
    pub fn passed_on(&self) {
        if let Some(exchange) = &self.0 {
            exchange.passed_on.store(true, Ordering::Relaxed);
        }
    }

    /// This is the answer; its end is the request's, unless it begins a tunnel, which keeps a clone.
    pub fn answered(self, response: Response<Body>) -> Response<Body> {
        let Some(exchange) = self.0 else {
            return response;
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        exchange.code.store(response.status().as_u16(), Ordering::Relaxed);
        if exchange.head.method == Method::HEAD {
            // Nobody reads the body, whose size counts all the same.
            let size = response.body().size_hint().exact().unwrap_or(0);
            exchange.size.store(size, Ordering::Relaxed);
            return response.map(|body| Body::new(Watched::new(body, move |_| drop(exchange))));
        }
        response.map(|body| {
            Body::new(Watched::new(body, move |end| {
                if end.aborted {
                    let failed = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
                    exchange.code.store(failed, Ordering::Relaxed);
                } else {
                    exchange.size.store(end.bytes, Ordering::Relaxed);
                }
            }))
        })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let answer = Answer {
            code: self.code.load(Ordering::Relaxed),
            size: self.size.load(Ordering::Relaxed),
            latency: self.begun.elapsed(),
        };
        self.head.finish(self.passed_on.load(Ordering::Relaxed));
        self.log.write(Input {
            head: &self.head,
            answer,
            revision: &self.log.revision,
        });
    }
}

#[cfg(test)]
mod tests;
