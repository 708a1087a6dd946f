//! The profiling port (8008): what Go's `net/http/pprof` serves there, as far as this process can say it honestly.
//!
//! Opened only with `runtime.profiling: enabled` (contract of the queue-proxy, section 7.5). It differs from stock's in
//! this: of the profiles there is only the CPU's (the others are about Go's memory, goroutines and scheduler); the
//! profile brings its symbols along, so `symbol` has none to tell; `cmdline` tells the program alone, which in a pod of
//! Knative's is all there is, because flags could hold addresses. Bounds: one profile at a time, `cpu::LONGEST`.

mod cpu;
pub mod proto;

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use crate::{
    body::{Body, empty, full},
    error::plain,
};

/// Where it listens, unless `PROFILING_PORT` says otherwise.
pub const PORT: u16 = 8008;
/// A client has so long to send a request's head.
pub const HEAD_TIME: Duration = Duration::from_secs(15);

const PREFIX: &str = "/debug/pprof/";
const INDEX: &str = "<html>
<head><title>/debug/pprof/</title></head>
<body>
/debug/pprof/
<p>Profiles:</p>
<ul>
<li><a href=\"profile?seconds=30\">profile</a>: CPU profile. The time is set by the seconds parameter; read the file with pprof.</li>
<li><a href=\"cmdline\">cmdline</a>: the program.</li>
<li><a href=\"symbol\">symbol</a>: none, because the profile brings them along.</li>
</ul>
</body>
</html>
";

/// Answers on the profiling port.
#[derive(Clone)]
pub struct Profiling {
    /// Who holds it is measuring.
    turn: Arc<Semaphore>,
}

impl Default for Profiling {
    fn default() -> Self {
        Self {
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Profiling {
    /// Answers one request.
    pub async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        let Some(name) = path.strip_prefix(PREFIX) else {
            return match path.strip_suffix('/').unwrap_or(path) == PREFIX.trim_end_matches('/') {
                true => moved(),
                false => plain(StatusCode::NOT_FOUND, "404 page not found"),
            };
        };
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
            let allow = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allow);
            return response;
        }
        match name {
            "" => told("text/html; charset=utf-8", INDEX),
            "cmdline" => told("text/plain; charset=utf-8", program()),
            "symbol" => told("text/plain; charset=utf-8", "num_symbols: 0\n"),
            "profile" => self.profile(request.uri().query().unwrap_or_default()).await,
            _ => refused(StatusCode::NOT_FOUND, "Unknown profile"),
        }
    }

    async fn profile(&self, query: &str) -> Response<Body> {
        let Some(time) = cpu::time(query) else {
            let most = cpu::LONGEST.as_secs();
            return refused(
                StatusCode::BAD_REQUEST,
                &format!("profile duration exceeds {most} seconds"),
            );
        };
        let Ok(turn) = self.turn.clone().try_acquire_owned() else {
            let busy = "Could not enable CPU profiling: cpu profiling already in use";
            return refused(StatusCode::INTERNAL_SERVER_ERROR, busy);
        };
        tracing::info!(seconds = time.as_secs(), "a CPU profile is being made");
        match cpu::profile(time, turn).await {
            Ok(profile) => {
                let mut response = told("application/octet-stream", profile);
                let name = HeaderValue::from_static("attachment; filename=\"profile\"");
                response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
                response
            }
            Err(error) => {
                tracing::warn!(error = crate::error::chain(&error), "no CPU profile could be made");
                let why = format!("Could not enable CPU profiling: {error}");
                refused(StatusCode::INTERNAL_SERVER_ERROR, &why)
            }
        }
    }
}

fn program() -> String {
    std::env::args().next().unwrap_or_default()
}

fn moved() -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static(PREFIX));
    response
}

fn told(kind: &'static str, body: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut response = Response::new(full(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// As Go's library marks its own refusals.
fn refused(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = plain(status, text);
    response
        .headers_mut()
        .insert("x-go-pprof", HeaderValue::from_static("1"));
    response
}
