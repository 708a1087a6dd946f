//! An HTTP/2 server without a key ring at a producer's address: keeps what it is told, and lies.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use crate::http::{Body, BoxError, empty_body};

/// What it answers to every call.
#[derive(Debug, Clone)]
pub enum Lie {
    /// This HTTP status and nothing more.
    Status(u16),
    /// These bytes as the body, then trailers with this gRPC status.
    Bytes(Bytes, u16),
}

/// One call that it got: path, and the first bytes of its body.
pub type Told = (String, Bytes);

/// The impostor; stops when dropped.
pub struct Impostor {
    address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
    server: JoinHandle<()>,
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Impostor {
    /// Listens on a free port of `127.0.0.1`.
    ///
    /// # Panics
    /// If there is none.
    pub async fn start(lie: Lie) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let told = Arc::<Mutex<Vec<Told>>>::default();
        let server = tokio::spawn(serve(listener, lie, told.clone()));
        Self { address, told, server }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was told so far.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        lock(&self.told).clone()
    }
}

fn lock(told: &Mutex<Vec<Told>>) -> MutexGuard<'_, Vec<Told>> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, lie: Lie, told: Arc<Mutex<Vec<Told>>>) {
    // Dropped with this task, which ends every connection.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let (lie, told) = (lie.clone(), told.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| answer(lie.clone(), told.clone(), request));
            let builder = http2::Builder::new(TokioExecutor::new());
            let _ended = builder.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(
    lie: Lie,
    told: Arc<Mutex<Vec<Told>>>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, BoxError> {
    // The request side of a pull stays open, so only its beginning is awaited.
    let first = match request.body_mut().frame().await {
        Some(frame) => frame?.into_data().unwrap_or_default(),
        None => Bytes::new(),
    };
    lock(&told).push((request.uri().path().to_owned(), first));
    match lie {
        Lie::Status(status) => Ok(Response::builder().status(status).body(empty_body())?),
        Lie::Bytes(bytes, status) => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from(status));
            let frames = [Ok::<_, BoxError>(Frame::data(bytes)), Ok(Frame::trailers(trailers))];
            let body = Body::new(StreamBody::new(stream::iter(frames)));
            Ok(Response::builder()
                .header("content-type", "application/grpc")
                .body(body)?)
        }
    }
}
