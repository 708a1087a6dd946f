//! The ingress: one port, HTTP/1.1 and h2c, to the functions' sidecars.
//!
//! Called by clients and by functions alike. A request is `Ingress::answer` read from top to bottom. Bodies stream both
//! ways, paced by the slower side; connections are bounded by [`MAX_CONNECTIONS`], waiting requests by the function.
//! It never retries, never buffers a body and knows nothing of XDT.

mod body;
mod headers;
mod link;
mod upgrade;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::function::{Function, MAX_WAITING, NoInstance};
use body::Leased;
pub(crate) use link::Link;
use link::{CONNECTION_WINDOW, FRAME_BYTES, STREAM_WINDOW};

/// Connections accepted at once; more wait in the listener's queue. Four times what may wait for one function.
const MAX_CONNECTIONS: usize = 4 * MAX_WAITING;
/// Longest time to send a request's head, as at the sidecar.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after a failed accept, so that a lack of descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Streams at once on one h2c connection: as many as may wait for one function.
const MAX_STREAMS: u32 = 1_000;

/// An answer: a sidecar's, streamed, or a text of our own.
type Answer = Response<Either<Leased, Full<Bytes>>>;

/// What the connections share.
#[derive(Debug)]
pub(crate) struct Ingress {
    /// By host name, such as `consumer.default.localhost`.
    pub(crate) functions: BTreeMap<String, Arc<Function>>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Ingress {
    /// Accepts connections until shutdown, then waits until all have ended.
    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let next = async {
                let slot = Arc::clone(&slots)
                    .acquire_owned()
                    .await
                    .map_err(std::io::Error::other)?;
                listener.accept().await.map(|(socket, peer)| (slot, socket, peer))
            };
            let (slot, socket, peer) = match self.shutdown.run_until_cancelled(next).await {
                None => break,
                Some(Ok(accepted)) => accepted,
                Some(Err(error)) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    self.breathe().await;
                    continue;
                }
            };
            let ingress = Arc::clone(&self);
            self.tasks.spawn(async move {
                ingress.serve(socket, peer).await;
                drop(slot);
            });
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// After a refused accept: no descriptor is free, and none will be at once.
    async fn breathe(&self) {
        self.shutdown
            .run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE))
            .await;
    }

    async fn serve(self: Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let mut server = auto::Builder::new(TokioExecutor::new());
        server
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT);
        server
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_frame_size(FRAME_BYTES);
        server
            .http2()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let service = service_fn(|request| {
            let ingress = Arc::clone(&self);
            async move { Ok::<_, std::convert::Infallible>(ingress.answer(request, peer).await) }
        });
        let connection = server.serve_connection_with_upgrades(TokioIo::new(socket), service);
        tokio::select! {
            end = connection => if let Err(error) = end {
                tracing::debug!(%error, "a client's connection broke");
            },
            () = self.shutdown.cancelled() => {}
        }
    }

    /// One request: find the function, wait for an instance, pass both bodies on.
    async fn answer(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let Some(authority) = headers::authority(&request) else {
            return text(StatusCode::BAD_REQUEST, "the request names no host".into());
        };
        let Some(function) = self.functions.get(&headers::host_name(&authority)) else {
            return text(StatusCode::NOT_FOUND, self.unknown(&authority));
        };
        let lease = match function.lease().await {
            Ok(lease) => lease,
            Err(refusal) => return refused(function, refusal),
        };
        let upgrade = upgrade::wanted(&mut request);
        headers::forward(&mut request, &authority, peer.ip());
        let mut response = match lease.link().send(request, &authority).await {
            Ok(response) => response,
            Err(error) => return text(StatusCode::BAD_GATEWAY, format!("the sidecar gave no answer: {error}")),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upstream = hyper::upgrade::on(&mut response);
            self.tasks
                .spawn(upgrade::pipe(upgrade, upstream, lease, self.shutdown.clone()));
            return response.map(|_| Either::Right(Full::default()));
        }
        headers::strip_hop_by_hop(response.headers_mut());
        response.map(|body| Either::Left(Leased::new(body, lease)))
    }

    fn unknown(&self, authority: &http::uri::Authority) -> String {
        let known: Vec<_> = self.functions.keys().map(String::as_str).collect();
        format!(
            "no function has the host {}; known are {}",
            authority.host(),
            known.join(", ")
        )
    }
}

fn refused(function: &Function, refusal: NoInstance) -> Answer {
    let name = &function.spec.name;
    match refusal {
        NoInstance::Full => text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{MAX_WAITING} requests wait for an instance of {name} already"),
        ),
        NoInstance::Late { fault } => {
            let why = fault.map(|fault| format!(": {fault}")).unwrap_or_default();
            let waited = function.spec.timeout.as_secs();
            text(
                StatusCode::GATEWAY_TIMEOUT,
                format!("no instance of {name} was free within {waited} s{why}"),
            )
        }
    }
}

fn text(status: StatusCode, message: String) -> Answer {
    let mut answer = Response::new(Either::Right(Full::from(message + "\n")));
    *answer.status_mut() = status;
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}
