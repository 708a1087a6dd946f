//! Accepting connections and serving HTTP on them, until told to stop.

use std::{convert::Infallible, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::{
    connections::{Connections, Seat},
    protocol::{self, SEND_AHEAD, Terms},
    tls::{
        Secured, Tls,
        handshakes::{self, Handshakes},
    },
};
use crate::{
    body::Body,
    invocation::Invocation,
    mutual::Mutual,
    net::{Peer, tune},
    transfer::serve::AnswerBody,
};

/// A peer has so long to send its first request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest read of the user container's own ways in: stays in the cache between the socket and the copy into a block, and
/// is small because every connection keeps up to two of them, also while it waits for memory.
const LOCAL_READ: usize = 64 * 1024;
/// Pulls at once on one peer connection.
const MAX_PULLS: u32 = 1024;
/// Peer connections at once; more are closed at once.
const MAX_PEER_CONNECTIONS: usize = 4096;
/// A silent peer connection is asked for a sign of life this often, or earlier where `XDT_PULL_TIMEOUT`, which bounds
/// the answer, is short.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// Pause after a failed accept: descriptors have run out, and accepting at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A connection that was accepted just before the end has so long to bring its first request (stock: 5 s).
pub(super) const NEW_CONNECTION_WAIT: Duration = Duration::from_secs(5);

pub(super) type Answer<B> = Pin<Box<dyn Future<Output = Response<B>> + Send>>;
pub(super) type Handler<B> = Arc<dyn Fn(Request<Incoming>, Peer) -> Answer<B> + Send + Sync>;

/// What is served on a listener.
#[derive(Clone)]
pub(super) enum Front {
    /// HTTP/1.1 and h2c on one port.
    Auto(Handler<Body>),
    /// The same for the user container's own ways in.
    Local(Handler<Body>, Duration),
    /// As [`Self::Auto`], behind TLS.
    Tls(Handler<Body>, Arc<Tls>),
    /// HTTP/1.1 only.
    Http1(Handler<Body>, Terms),
    /// HTTP/2 only: the data plane.
    Data(Handler<AnswerBody>, DataTerms),
}

/// What holds for connections of the data port.
#[derive(Clone)]
pub(super) struct DataTerms {
    places: Arc<Semaphore>,
    silence: Duration,
    mutual: Option<Arc<Mutual>>,
    handshakes: Handshakes,
}

impl Front {
    pub(super) fn invocation(invocation: Arc<Invocation>) -> Self {
        Self::Auto(Arc::new(move |request, peer| {
            Box::pin(invocation.clone().answer(request, peer))
        }))
    }

    pub(super) fn tls(invocation: Arc<Invocation>, tls: Arc<Tls>) -> Self {
        match Self::invocation(invocation) {
            Self::Auto(handler) => Self::Tls(handler, tls),
            other => other,
        }
    }

    /// A client that reads nothing of what is written to it for `patience` loses its connection.
    pub(super) fn local<F>(patience: Duration, answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::Local(Arc::new(move |request, _| Box::pin(answer(request))), patience)
    }

    pub(super) fn http1<F>(answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::Http1(Arc::new(move |request, _| Box::pin(answer(request))), Terms::HTTP1)
    }

    /// As the same with `head_time` for each head.
    pub(super) fn within(self, head_time: Duration) -> Self {
        match self {
            Self::Http1(handler, terms) => Self::Http1(handler, Terms { head_time, ..terms }),
            other => other,
        }
    }

    /// `silence` bounds how long a peer may take to shake hands, and to answer a sign of life.
    pub(super) fn data<F>(
        silence: Duration,
        mutual: Option<Arc<Mutual>>,
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response<AnswerBody>> + Send + 'static,
    {
        let handler: Handler<AnswerBody> = Arc::new(move |request, _| Box::pin(answer(request)));
        let terms = DataTerms {
            places: Arc::new(Semaphore::new(MAX_PEER_CONNECTIONS)),
            silence,
            mutual,
            handshakes: Handshakes::new(handshakes::MOST),
        };
        Self::Data(handler, terms)
    }

    async fn serve(self, socket: TcpStream, address: SocketAddr, stop: CancellationToken, seat: Seat) {
        let peer = Peer { address, tls: false };
        match self {
            Self::Auto(handler) => protocol::serve(Terms::BOTH, handler, socket, peer, stop, seat).await,
            Self::Tls(handler, tls) => {
                let Some(Secured { stream, h2 }) = tls.accept(socket, &stop).await else {
                    return;
                };
                let terms = if h2 { Terms::HTTP2 } else { Terms::BOTH };
                let peer = Peer { tls: true, ..peer };
                protocol::serve(terms, handler, stream, peer, stop, seat).await;
            }
            Self::Local(handler, patience) => {
                // A socket that takes no such option has a client that reads, or a system that ends it in its own time.
                let _bounded = socket2::SockRef::from(&socket).set_tcp_user_timeout(Some(patience));
                let terms = Terms {
                    strict: false,
                    read: LOCAL_READ,
                    ..Terms::BOTH
                };
                protocol::serve(terms, handler, socket, peer, stop, seat).await;
            }
            Self::Http1(handler, terms) => protocol::serve(terms, handler, socket, peer, stop, seat).await,
            Self::Data(handler, terms) => {
                let Ok(_place) = terms.places.clone().try_acquire_owned() else {
                    tracing::warn!(most = MAX_PEER_CONNECTIONS, "too many peer connections; one was closed");
                    return;
                };
                match &terms.mutual {
                    None => serve_data(handler, terms.silence, socket, peer, stop, seat).await,
                    Some(mutual) => {
                        if let Some(stream) = terms.shaken(mutual, socket).await {
                            let peer = Peer { tls: true, ..peer };
                            serve_data(handler, terms.silence, stream, peer, stop, seat).await;
                        }
                    }
                }
            }
        }
    }
}

impl DataTerms {
    /// Shakes hands with a peer; `None` if it is none of ours, or too slow.
    async fn shaken(&self, mutual: &Mutual, socket: TcpStream) -> Option<TlsStream<TcpStream>> {
        let shaking = tokio::time::timeout(self.silence, mutual.accept(socket));
        match self.handshakes.bounded(shaking).await? {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(error = %error.kind(), "a peer was refused: it has no certificate for this data port");
                None
            }
            Err(_) => None,
        }
    }
}

/// A bound listener.
pub(super) struct Listener {
    listener: TcpListener,
}

impl Listener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener }
    }

    /// Accepts until `stop`; each connection is a task that has a seat among `connections`.
    ///
    /// # Errors
    /// Why nothing can be accepted any more.
    pub(super) async fn run(self, front: Front, stop: CancellationToken, connections: Connections) -> io::Result<()> {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return Ok(()),
            };
            // The socket does not listen any more; other errors concern one connection, or pass.
            if let Err(error) = &accepted
                && error.kind() == io::ErrorKind::InvalidInput
            {
                return accepted.map(drop);
            }
            match accepted.and_then(|(socket, peer)| tune(&socket).map(|()| (socket, peer))) {
                Ok((socket, peer)) => {
                    tokio::spawn(front.clone().serve(socket, peer, stop.clone(), connections.seat()));
                }
                Err(error) => {
                    tracing::debug!(error = %error.kind(), "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Resolves when no first request of a peer has come in time; never otherwise.
async fn no_request(seat: &Seat) {
    tokio::time::sleep(HEADER_TIMEOUT).await;
    if seat.has_served() {
        std::future::pending::<()>().await;
    }
}

/// Awaits the end of a connection that was told to end. One on which no request has come yet is not waited for longer
/// than stock waits for it.
pub(super) async fn ended<T>(connection: impl Future<Output = T>, seat: &Seat) -> Option<T> {
    if seat.has_served() {
        return Some(connection.await);
    }
    tokio::time::timeout(NEW_CONNECTION_WAIT, connection).await.ok()
}

async fn serve_data(
    handler: Handler<AnswerBody>,
    silence: Duration,
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    stop: CancellationToken,
    seat: Seat,
) {
    let noticed = seat.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        noticed.request(request.version());
        let answer = handler(request, peer);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_PULLS)
        .max_header_list_size(16 * 1024)
        .max_send_buf_size(SEND_AHEAD)
        .keep_alive_interval(PING_EVERY.min(silence).max(PING_AT_MOST_EVERY))
        .keep_alive_timeout(silence.max(PING_AT_MOST_EVERY));
    let connection = builder.serve_connection(TokioIo::new(socket), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = no_request(&seat) => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            ended(connection, &seat).await
        }
    };
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "a peer's connection ended with an error");
    }
}
