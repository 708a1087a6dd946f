//! A user container inside the test: does what its script says, counts its calls and records how each went.
//!
//! Serves HTTP/1.1 and HTTP/2 with prior knowledge on `127.0.0.1`, where the sidecar expects the user container.

mod script;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{HeaderMap, Request, Response, Version};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

use crate::{
    http::{Body, BoxError},
    wait::eventually,
};
pub use script::{DRIP, Script};

/// Streams at once on a connection: more than the sidecar takes on one of its own.
const MAX_STREAMS: u32 = 1000;

/// How a request to the user container went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its head has come.
    Begun,
    /// All of its body has come.
    Completed,
    /// Its body broke off.
    Aborted,
}

/// One request as the user container saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Protocol.
    pub version: Version,
    /// Headers.
    pub headers: HeaderMap,
    /// Bytes of the body so far.
    pub bytes: u64,
    /// Digest of those bytes, once complete.
    pub digest: String,
    /// How it went.
    pub outcome: Outcome,
}

impl Seen {
    /// A header's text; empty if it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// Names of its XDT headers.
    #[must_use]
    pub fn xdt_headers(&self) -> Vec<String> {
        let names = self.headers.keys().map(|name| name.as_str().to_owned());
        names.filter(|name| name.starts_with("xdt-")).collect()
    }
}

struct Shared {
    script: Mutex<Script>,
    seen: Mutex<Vec<Seen>>,
    released: Semaphore,
    running: AtomicUsize,
    most_running: AtomicUsize,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn script(&self) -> Script {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A port on which nobody listens yet, and nobody else can.
pub struct ReservedPort {
    socket: Socket,
    port: u16,
}

impl ReservedPort {
    /// Takes a free port of `127.0.0.1`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn take() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .expect("a free port");
        socket.set_nonblocking(true).expect("a socket");
        let address = socket.local_addr().ok().and_then(|address| address.as_socket());
        let port = address.expect("an address").port();
        Self { socket, port }
    }

    /// Takes a port again on which somebody has listened who is gone, or about to go.
    ///
    /// # Panics
    /// If its owner stays, or somebody else has it.
    pub async fn again(port: u16) -> Self {
        let socket = eventually("a port that its owner gives back", async || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            // Connections of the former owner may linger.
            socket.set_reuse_address(true).expect("a socket");
            let bound = socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into());
            bound.is_ok().then_some(socket)
        })
        .await;
        socket.set_nonblocking(true).expect("a socket");
        Self { socket, port }
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn listen(self) -> TcpListener {
        // Not earlier, or others could take the port; for [`Self::again`].
        self.socket.set_reuse_address(true).expect("a socket");
        self.socket.listen(1024).expect("the port is ours");
        TcpListener::from_std(self.socket.into()).expect("a listener")
    }
}

/// The user container; stops when dropped.
pub struct UserContainer {
    port: u16,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Drop for UserContainer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl UserContainer {
    /// Listens on a free port.
    #[must_use]
    pub fn start(script: Script) -> Self {
        Self::boot(ReservedPort::take(), script)
    }

    /// Listens on a port that was reserved before.
    #[must_use]
    pub fn boot(port: ReservedPort, script: Script) -> Self {
        let shared = Arc::new(Shared {
            script: Mutex::new(script),
            seen: Mutex::default(),
            released: Semaphore::new(0),
            running: AtomicUsize::new(0),
            most_running: AtomicUsize::new(0),
        });
        let number = port.port();
        let server = tokio::spawn(serve(port.listen(), shared.clone()));
        Self {
            port: number,
            shared,
            server,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// From now on it does something else.
    pub fn follow(&self, script: Script) {
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }

    /// Requests so far.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.shared.seen().len()
    }

    /// The most requests that ran at once, from the head to the beginning of the answer (to the end of a tunnel).
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        self.shared.most_running.load(Ordering::Acquire)
    }

    /// All requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen().clone()
    }

    /// The only request so far.
    ///
    /// # Panics
    /// If there was none, or more than one.
    #[must_use]
    pub fn only(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "one request was expected");
        seen.remove(0)
    }

    /// Lets `count` requests under [`Script::Hold`] go.
    pub fn release(&self, count: usize) {
        self.shared.released.add_permits(count);
    }

    /// Waits until `count` requests have begun.
    pub async fn called(&self, count: usize) {
        eventually("calls of the user container", async || {
            (self.calls() >= count).then_some(())
        })
        .await;
    }

    /// Waits until request `index` has ended one way or the other.
    pub async fn ended(&self, index: usize) -> Seen {
        eventually("the end of a request to the user container", async || {
            let seen = self.shared.seen().get(index).cloned()?;
            (seen.outcome != Outcome::Begun).then_some(seen)
        })
        .await
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, which ends every connection.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let _delay_is_a_detail = socket.set_nodelay(true);
        connections.spawn(connection(socket, shared.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(socket: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(shared.clone(), request));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(MAX_STREAMS);
    // A broken connection is what some tests are about; the requests tell of it.
    let _ended = builder
        .serve_connection_with_upgrades(TokioIo::new(socket), service)
        .await;
}

async fn answer(shared: Arc<Shared>, mut request: Request<Incoming>) -> Result<Response<Body>, BoxError> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let seen = Seen {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        version: parts.version,
        headers: parts.headers,
        bytes: 0,
        digest: String::new(),
        outcome: Outcome::Begun,
    };
    let index = {
        let mut all = shared.seen();
        all.push(seen);
        all.len() - 1
    };
    let running = shared.running.fetch_add(1, Ordering::AcqRel) + 1;
    shared.most_running.fetch_max(running, Ordering::AcqRel);
    let record = Record { shared, index };
    let script = record.shared.script();
    script.run(record, upgrade, body).await
}

/// Keeps the record of one request; an unfinished one was aborted.
struct Record {
    shared: Arc<Shared>,
    index: usize,
}

impl Record {
    fn change<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.shared.seen()[self.index])
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, Ordering::AcqRel);
        self.change(|seen| {
            if seen.outcome == Outcome::Begun {
                seen.outcome = Outcome::Aborted;
            }
        });
    }
}
