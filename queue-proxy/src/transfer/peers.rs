//! Connections to other queue-proxies: one per peer, dialled once however many ask, closed when idle, bounded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Notify,
    time::Instant,
};

use super::Settings;
use crate::{
    body::BoxError,
    mutual::Mutual,
    net::{CONNECTION_WINDOW, tune},
    trust::TargetAddress,
};

/// Most peers connected at once; beyond it the longest idle one is closed first.
const MAX_PEERS: usize = 1024;
/// A connection without pulls for this long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// How often a silent connection with running pulls is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(10);
/// Bytes that a producer may send before the consumer's reader has taken any: bounds what one pull holds here.
pub(super) const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// Largest DATA frame taken: fewer, larger frames are what makes HTTP/2 fast (architecture, section 3).
pub(super) const MAX_FRAME: u32 = 512 * 1024;

/// The body of a call: one or two small messages.
pub(super) type CallBody = UnsyncBoxBody<Bytes, BoxError>;

/// The current connection to a peer, and the how manieth it is.
#[derive(Default)]
struct Dialled {
    generation: u64,
    sender: Option<http2::SendRequest<CallBody>>,
}

/// Why no connection came about, without the address.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Refused, unroutable, reset, or no such name.
    #[error("the connection failed ({0})")]
    Failed(std::io::ErrorKind),
    /// `XDT_PULL_TIMEOUT` passed.
    #[error("the connection took too long")]
    TooLong,
    /// One of the two did not take the other's certificate, or the peer does not speak TLS.
    #[error("the TLS handshake failed ({0})")]
    Tls(std::io::ErrorKind),
    /// Connected, but it does not speak HTTP/2.
    #[error("the peer does not speak the protocol")]
    Protocol,
}

struct Peer {
    connection: tokio::sync::Mutex<Dialled>,
    used: Mutex<Instant>,
}

impl Peer {
    fn last_used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// All connections of this queue-proxy to its peers.
pub struct Peers {
    peers: Mutex<HashMap<TargetAddress, Arc<Peer>>>,
    dial_timeout: Duration,
    /// TLS on every connection, where it is configured.
    mutual: Option<Arc<Mutual>>,
    first: Notify,
}

/// One connection, for one call.
pub(super) struct Connection {
    sender: http2::SendRequest<CallBody>,
    /// It was open before: the peer may have restarted since.
    pub(super) reused: bool,
    /// Tells this connection from an earlier or later one to the same peer.
    pub(super) generation: u64,
    _in_use: Arc<Peer>,
}

impl Connection {
    /// Sends one call and waits for the head of its answer.
    pub(super) async fn call(&mut self, request: Request<CallBody>) -> hyper::Result<Response<Incoming>> {
        self.sender.send_request(request).await
    }
}

impl Peers {
    pub(super) fn new(settings: &Settings, mutual: Option<Arc<Mutual>>) -> Self {
        Self {
            peers: Mutex::default(),
            dial_timeout: settings.pull_timeout,
            mutual,
            first: Notify::new(),
        }
    }

    /// Peers connected now.
    pub(super) fn connected(&self) -> usize {
        self.peers().len()
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<TargetAddress, Arc<Peer>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A live connection to `address`, other than the one of generation `dead`, dialled if there is none; callers at the
    /// same time share one dial.
    pub(super) async fn connect(&self, address: &TargetAddress, dead: Option<u64>) -> Result<Connection, DialError> {
        let peer = self.peer(address);
        let dialled = tokio::time::timeout(self.dial_timeout, self.dialled(&peer, address, dead)).await;
        let result = dialled.unwrap_or(Err(DialError::TooLong));
        if result.is_err() {
            self.forget_if_unconnected(address, &peer);
        }
        let (sender, generation, reused) = result?;
        Ok(Connection {
            sender,
            reused,
            generation,
            _in_use: peer,
        })
    }

    fn peer(&self, address: &TargetAddress) -> Arc<Peer> {
        let mut peers = self.peers();
        if peers.len() >= MAX_PEERS && !peers.contains_key(address) {
            let idle = peers.iter().filter(|(_, peer)| Arc::strong_count(peer) == 1);
            let longest = idle
                .min_by_key(|(_, peer)| peer.last_used())
                .map(|(address, _)| address.clone());
            if let Some(longest) = longest {
                peers.remove(&longest);
            }
        }
        let fresh = || Peer {
            connection: tokio::sync::Mutex::default(),
            used: Mutex::new(Instant::now()),
        };
        let peer = peers
            .entry(address.clone())
            .or_insert_with(|| Arc::new(fresh()))
            .clone();
        drop(peers);
        peer.touch();
        self.first.notify_one();
        peer
    }

    async fn dialled(
        &self,
        peer: &Peer,
        address: &TargetAddress,
        dead: Option<u64>,
    ) -> Result<(http2::SendRequest<CallBody>, u64, bool), DialError> {
        let mut connection = peer.connection.lock().await;
        let generation = connection.generation;
        let live = connection.sender.as_ref().filter(|sender| !sender.is_closed());
        if let Some(sender) = live.filter(|_| dead != Some(generation)) {
            return Ok((sender.clone(), generation, true));
        }
        let sender = self.dial(address).await?;
        *connection = Dialled {
            generation: generation + 1,
            sender: Some(sender.clone()),
        };
        Ok((sender, generation + 1, false))
    }

    async fn dial(&self, address: &TargetAddress) -> Result<http2::SendRequest<CallBody>, DialError> {
        let failed = |error: std::io::Error| DialError::Failed(error.kind());
        let socket = TcpStream::connect(address.as_str()).await.map_err(failed)?;
        tune(&socket).map_err(failed)?;
        let Some(mutual) = &self.mutual else {
            return self.begin(socket).await;
        };
        let secured = mutual.connect(socket).await.map_err(|error| {
            // Told without the error's text, which may name the peer.
            let kind = error.kind();
            tracing::warn!(error = %kind, "a producer showed no certificate that could be accepted, or took none from here");
            DialError::Tls(kind)
        })?;
        self.begin(secured).await
    }

    /// Begins HTTP/2 on a fresh connection.
    async fn begin(
        &self,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<http2::SendRequest<CallBody>, DialError> {
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .max_header_list_size(16 * 1024)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(self.dial_timeout)
            .handshake(TokioIo::new(socket));
        let (sender, connection) = handshake.await.map_err(|_| DialError::Protocol)?;
        // Ends by itself when the last sender is dropped or the peer goes away.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a peer connection ended");
            }
        });
        Ok(sender)
    }

    fn forget_if_unconnected(&self, address: &TargetAddress, peer: &Arc<Peer>) {
        let unconnected = peer
            .connection
            .try_lock()
            .is_ok_and(|held| held.sender.as_ref().is_none_or(http2::SendRequest::is_closed));
        if unconnected {
            self.peers().remove(address);
        }
    }

    /// Closes connections that nobody has used for a while. Sleeps without waking while there are none.
    pub(super) async fn close_idle(&self) {
        loop {
            if self.peers().is_empty() {
                self.first.notified().await;
            }
            tokio::time::sleep(IDLE / 2).await;
            self.peers()
                .retain(|_, peer| Arc::strong_count(peer) > 1 || peer.last_used().elapsed() < IDLE);
        }
    }
}
