//! HTTP/2 with prior knowledge to the user container: streams share a connection up to the user container's own limit,
//! then there is another (contract of the queue-proxy, section 2.7).
//!
//! hyper alone would queue requests beyond that limit silently. Dials are single: whoever needs a connection at the same
//! time waits for the same one, and gets the same error. No lock is held meanwhile.

use std::{
    future::{Future as _, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::{FutureExt as _, future::Shared};
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use super::{
    ForwardError, UserConnector,
    socket::{Traffic, UserSocket},
};
use crate::{
    body::{Body, BoxError},
    invocation::connect::DialError,
    net::CONNECTION_WINDOW,
};

/// Windows and frames of HTTP/2 to the user container (stock's server side: 1 MiB).
const WINDOW: u32 = 1 << 20;
const MAX_FRAME: u32 = 256 * 1024;
/// Largest head of an answer (Go: 10 MiB).
const MAX_HEADER_LIST: u32 = 10 << 20;
/// Streams of a connection until the user container has said how many it takes (Go's transport has 100; this number is
/// one that nobody says).
const FIRST_STREAMS: usize = 101;
/// How long a new connection waits for that word, which comes first of all; without it, streams beyond the limit are
/// refused by the user container.
const SETTINGS_TIME: Duration = Duration::from_millis(100);
/// Connections tried for one request.
const TRIES: usize = 4;

type Dialled = Result<Arc<Connection>, Arc<ForwardError>>;
type Dialling = Shared<Pin<Box<dyn Future<Output = Dialled> + Send>>>;

/// HTTP/2 to the user container.
pub(super) struct Http2 {
    dial: UserConnector,
    /// For requests whose body is an object.
    patiently: UserConnector,
    pool: Mutex<Pool>,
}

#[derive(Default)]
struct Pool {
    connections: Vec<Arc<Connection>>,
    /// Under way, ordinary and patient.
    dialling: [Option<Dialling>; 2],
}

struct Connection {
    sender: SendRequest<Body>,
    streams: AtomicUsize,
    /// As many as the user container takes.
    most: Arc<AtomicUsize>,
}

/// One stream's place on its connection, until dropped.
pub(super) struct Stream(Arc<Connection>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    fn stream(self: &Arc<Self>) -> Option<Stream> {
        let most = self.most.load(Ordering::Relaxed);
        let free = |streams| (streams < most).then_some(streams + 1);
        let taken = self.streams.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free);
        taken.is_ok().then(|| Stream(self.clone()))
    }
}

impl Http2 {
    pub(super) fn new(dial: UserConnector, patiently: UserConnector) -> Self {
        Self {
            dial,
            patiently,
            pool: Mutex::default(),
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request and waits for the head of its answer. The stream's place is to be held until the body is over.
    ///
    /// # Cancel safety
    /// Dropping the future resets the stream.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
        patient: bool,
    ) -> Result<(Response<Incoming>, Stream), ForwardError> {
        let mut tries = 0;
        loop {
            let stream = self.stream(patient).await?;
            let mut sender = stream.0.sender.clone();
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, stream)),
                Err(error) => error,
            };
            tries += 1;
            request = match error.take_message() {
                // The connection closed before the request's turn came.
                Some(unsent) if tries < TRIES => unsent,
                _ => return Err(ForwardError::NoAnswer(error.into_error().into())),
            };
        }
    }

    async fn stream(&self, patient: bool) -> Result<Stream, ForwardError> {
        loop {
            let dialling = match self.free_or_dialling(patient) {
                Ok(stream) => return Ok(stream),
                Err(dialling) => dialling,
            };
            let dialled = dialling.clone().await;
            let mut pool = self.pool();
            let slot = &mut pool.dialling[usize::from(patient)];
            // The first to notice enters the connection for all.
            if slot.as_ref().is_some_and(|current| current.ptr_eq(&dialling)) {
                *slot = None;
                pool.connections.extend(dialled.as_ref().ok().cloned());
            }
            drop(pool);
            match dialled {
                Err(error) => return Err(repeated(&error)),
                Ok(connection) if connection.sender.is_closed() => return Err(ForwardError::NoAnswer(closed())),
                Ok(_) => {}
            }
        }
    }

    fn free_or_dialling(&self, patient: bool) -> Result<Stream, Dialling> {
        let mut pool = self.pool();
        pool.connections.retain(|connection| !connection.sender.is_closed());
        if let Some(stream) = pool.connections.iter().find_map(Connection::stream) {
            return Ok(stream);
        }
        let dial = if patient { self.patiently } else { self.dial };
        let dialling = pool.dialling[usize::from(patient)].get_or_insert_with(|| connect(dial).boxed().shared());
        Err(dialling.clone())
    }
}

async fn connect(dial: UserConnector) -> Dialled {
    let traffic = Arc::new(Traffic::default());
    let socket = dial.connect().await.map_err(|error| Arc::new(error.into()))?;
    let socket = UserSocket::new(socket, traffic.clone());
    let handshake = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(FIRST_STREAMS)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(MAX_HEADER_LIST)
        .handshake(TokioIo::new(socket));
    let handshake = handshake
        .await
        .map_err(|error| Arc::new(ForwardError::NoAnswer(error.into())));
    let (sender, mut driven) = handshake?;
    let settled = async {
        let mut first = pin!(traffic.first());
        poll_fn(|cx| {
            if let Poll::Ready(ended) = Pin::new(&mut driven).poll(cx) {
                return Poll::Ready(Err(ended.err().map_or_else(closed, Into::into)));
            }
            if driven.current_max_send_streams() != FIRST_STREAMS {
                return Poll::Ready(Ok(()));
            }
            if traffic.has_come() || first.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref(); // the task that has read them is about to act on them
            }
            Poll::Pending
        })
        .await
    };
    // Late only where the user container says nothing, which the first request then finds out.
    if let Ok(Err(error)) = tokio::time::timeout(SETTINGS_TIME, settled).await {
        return Err(Arc::new(ForwardError::NoAnswer(error)));
    }
    let most = Arc::new(AtomicUsize::new(driven.current_max_send_streams().max(1)));
    let told = most.clone();
    // Ends by itself when the last sender is dropped or the user container closes.
    tokio::spawn(async move {
        let mut driven = pin!(driven);
        let ended = poll_fn(|cx| {
            let polled = driven.as_mut().poll(cx);
            told.store(driven.current_max_send_streams().max(1), Ordering::Relaxed);
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "the HTTP/2 connection to the user container ended");
        }
    });
    Ok(Arc::new(Connection {
        sender,
        streams: AtomicUsize::new(0),
        most,
    }))
}

/// Why a connection that ended without an error gives no answer.
fn closed() -> BoxError {
    std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()
}

/// The same error for each who waited.
fn repeated(error: &ForwardError) -> ForwardError {
    match error {
        ForwardError::Dial(DialError::TimedOut(after)) => DialError::TimedOut(*after).into(),
        ForwardError::Dial(DialError::Refused(error)) => DialError::Refused(error.kind().into()).into(),
        ForwardError::NoAnswer(error) => ForwardError::NoAnswer(error.to_string().into()),
        ForwardError::Upgrade(mismatch) => ForwardError::Upgrade(*mismatch),
        ForwardError::Connect => ForwardError::Connect,
    }
}
