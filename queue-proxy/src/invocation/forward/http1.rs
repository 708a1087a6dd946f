//! HTTP/1.1 to the user container: a pool of idle connections, and what may be sent twice.
//!
//! Contract of the queue-proxy, section 2.7. An own pool, because the rules of retrying need to know whether a connection
//! was used before, whether anything was written to it, and whether anything came back.

mod idle;

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Method, Request, Response, Version};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;

use super::{
    ForwardError, Relay, UserConnector,
    socket::{Traffic, UserSocket},
};
use crate::{
    body::{Body, empty},
    net::MAX_HEADERS,
};
use idle::Idle;

/// Idle connections tried before a new one is dialled: after a restart of the user container all of them are dead.
const MAX_REUSED: usize = 4;
/// Largest head of an answer (Go: 10 MiB). It is also the bound for what hyper reads at once and for what waits to be
/// written; those two are kept small by [`UserSocket`] and by the pieces of bodies.
const MAX_HEAD: usize = 10 << 20;

/// HTTP/1.1 to the user container.
pub(super) struct Http1 {
    dial: UserConnector,
    /// For requests whose body is an object.
    patiently: UserConnector,
    idle: Arc<Idle>,
}

/// A connection, and the right to send the next request on it.
struct Connection {
    sender: SendRequest<Body>,
    shared: Arc<Shared>,
}

/// What a connection's user and its driver know of each other.
struct Shared {
    traffic: Arc<Traffic>,
    /// Given back, but still in the middle of an answer: the driver parks it.
    returned: Mutex<Option<SendRequest<Body>>>,
}

impl Shared {
    fn returned(&self) -> MutexGuard<'_, Option<SendRequest<Body>>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Http1 {
    pub(super) fn new(dial: UserConnector, patiently: UserConnector, most_idle: usize) -> Self {
        Self {
            dial,
            patiently,
            idle: Idle::new(most_idle),
        }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        relay: &Relay,
        patient: bool,
    ) -> Result<Response<Incoming>, ForwardError> {
        for _ in 0..MAX_REUSED {
            let Some(mut connection) = self.idle.take() else { break };
            connection.shared.traffic.begin();
            let again = replica(&request);
            relay.attach(&mut request, &connection.shared.traffic);
            let mut error = match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(self.given_back(connection, response)),
                Err(error) => error,
            };
            request = match (error.take_message(), again) {
                // It died before the request's turn came.
                (Some(unsent), _) => unsent,
                (None, Some(again)) if may_repeat(&again, &connection.shared.traffic) => again,
                _ => return Err(ForwardError::NoAnswer(error.into_error().into())),
            };
        }
        let mut connection = self.dial(patient).await?;
        relay.attach(&mut request, &connection.shared.traffic);
        match connection.sender.send_request(request).await {
            Ok(response) => Ok(self.given_back(connection, response)),
            Err(error) => Err(ForwardError::NoAnswer(error.into())),
        }
    }

    /// The connection is free for others as soon as the answer was read to its end. Not behind an answer of HTTP/1.0:
    /// hyper would speak that from then on, in which no chunks can be sent.
    fn given_back(&self, connection: Connection, response: Response<Incoming>) -> Response<Incoming> {
        if response.version() != Version::HTTP_11 {
            return response;
        }
        let mut returned = connection.shared.returned();
        if connection.sender.is_ready() {
            drop(returned);
            self.idle.park(connection);
        } else {
            *returned = Some(connection.sender);
        }
        response
    }

    async fn dial(&self, patient: bool) -> Result<Connection, ForwardError> {
        let dial = if patient { self.patiently } else { self.dial };
        let traffic = Arc::new(Traffic::default());
        let socket = UserSocket::new(dial.connect().await?, traffic.clone());
        let handshake = http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(TokioIo::new(socket))
            .await;
        let (sender, driven) = handshake.map_err(|error| ForwardError::NoAnswer(error.into()))?;
        let shared = Arc::new(Shared {
            traffic,
            returned: Mutex::default(),
        });
        let (idle, driver) = (self.idle.clone(), shared.clone());
        // Ends when the user container closes or the last sender is gone.
        tokio::spawn(async move {
            let mut driven = pin!(driven.with_upgrades());
            let ended = poll_fn(|cx| {
                let polled = driven.as_mut().poll(cx);
                let ready = driver
                    .returned()
                    .take_if(|sender| polled.is_pending() && sender.is_ready());
                if let Some(sender) = ready {
                    let shared = driver.clone();
                    idle.park(Connection { sender, shared });
                }
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "a connection to the user container ended with an error");
            }
            *driver.returned() = None;
        });
        Ok(Connection { sender, shared })
    }
}

/// A second copy of a request without a body, in case that the first is lost on a connection that was about to close.
fn replica(request: &Request<Body>) -> Option<Request<Body>> {
    if !request.body().is_end_stream() {
        return None;
    }
    let mut again = Request::new(empty());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.version_mut() = request.version();
    *again.headers_mut() = request.headers().clone();
    Some(again)
}

/// Whether a request that was lost on a used connection may be sent once more: nothing came back, and either nothing
/// went out or twice does no harm.
fn may_repeat(request: &Request<Body>, traffic: &Traffic) -> bool {
    let harmless = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(request.method())
        || ["idempotency-key", "x-idempotency-key"]
            .iter()
            .any(|name| request.headers().contains_key(*name));
    !traffic.has_come() && (harmless || !traffic.has_gone())
}
