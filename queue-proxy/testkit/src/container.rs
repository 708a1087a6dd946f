//! User containers for protocol tests: [`RawContainer`], whose every byte the test writes itself, and [`Service`], which
//! answers with the test's own function over HTTP/1.1 and HTTP/2.

use std::{
    net::Ipv4Addr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{
    http::{Body, BoxError},
    raw::RawConnection,
    sidecar::{Builder, Sidecar},
    user::ReservedPort,
    wait::within,
};

/// Accepts connections for the test to read and write.
pub struct RawContainer {
    listener: TcpListener,
    port: u16,
}

impl RawContainer {
    /// Listens on a free port.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn start() -> Self {
        let port = ReservedPort::take();
        let number = port.port();
        Self {
            listener: port.listen(),
            port: number,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next connection.
    ///
    /// # Panics
    /// If none comes.
    pub async fn accept(&self) -> RawConnection {
        let (socket, _) = within("a connection to the user container", self.listener.accept())
            .await
            .expect("a listener");
        RawConnection::accepted(socket)
    }

    /// Whether no connection waits to be accepted.
    pub async fn is_left_alone(&self, during: std::time::Duration) -> bool {
        tokio::time::timeout(during, self.listener.accept()).await.is_err()
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;
type Handler = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

/// Answers requests with a function; stops when dropped.
pub struct Service {
    port: u16,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Service {
    /// Listens on a free port, for HTTP/1.1 and HTTP/2.
    #[must_use]
    pub fn start<F>(answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
    {
        Self::with(auto::Builder::new(TokioExecutor::new()), answer)
    }

    /// As [`Self::start`], for one version or with limits of its own.
    #[must_use]
    pub fn with<F>(
        builder: auto::Builder<TokioExecutor>,
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Response<Body>, BoxError>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| Box::pin(answer(request)));
        let port = ReservedPort::take();
        let (number, connections) = (port.port(), Arc::<AtomicUsize>::default());
        let server = tokio::spawn(serve(builder, port.listen(), handler, connections.clone()));
        Self {
            port: number,
            connections,
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
    pub fn address(&self) -> std::net::SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(
    builder: auto::Builder<TokioExecutor>,
    listener: TcpListener,
    handler: Handler,
    connections: Arc<AtomicUsize>,
) {
    // Dropped with this task, which ends every connection.
    let mut tasks = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::Relaxed);
        let _delay_is_a_detail = socket.set_nodelay(true);
        let (builder, handler) = (builder.clone(), handler.clone());
        tasks.spawn(connection(builder, socket, handler));
        while tasks.try_join_next().is_some() {}
    }
}

async fn connection(builder: auto::Builder<TokioExecutor>, socket: TcpStream, handler: Handler) {
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { answer.await.map_err(std::io::Error::other) }
    });
    // A broken connection is what some tests are about.
    let _ended = builder.serve_connection(TokioIo::new(socket), service).await;
}

/// A sidecar in front of a [`RawContainer`]: both ends of an exchange in the test's hands.
pub struct Pair {
    /// What the sidecar forwards to.
    pub container: RawContainer,
    /// What the client talks to.
    pub sidecar: Sidecar,
}

impl Pair {
    /// Starts both; plain Knative.
    pub async fn start(builder: Builder) -> Self {
        let container = RawContainer::start();
        let sidecar = builder.without_ring().user_port(container.port()).start().await;
        Self { container, sidecar }
    }

    /// A new connection to the sidecar.
    pub async fn client(&self) -> RawConnection {
        RawConnection::open(self.sidecar.serving()).await
    }

    /// Sends a request without a body on a new connection and answers it; returns what the user container got (the
    /// head) and what the client got (all). The client's connection ends, because it says so or the user container did.
    pub async fn exchange(&self, request: impl AsRef<[u8]>, answer: impl AsRef<[u8]>) -> (String, String) {
        let mut client = self.client().await;
        client.send(request).await;
        let mut user = self.container.accept().await;
        let head = user.head().await;
        user.send(answer).await;
        drop(user);
        let got = client.rest().await;
        (head, String::from_utf8_lossy(&got.bytes).into_owned())
    }
}
