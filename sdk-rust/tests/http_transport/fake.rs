//! A sidecar for one test: holds objects as the contract says, and fails on request.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};
use xdt::{Client, ErrorWord, Reference};

pub(crate) type FakeBody = UnsyncBoxBody<Bytes, io::Error>;

/// How the delivery of an object goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// As it should.
    None,
    /// A problem instead of the object.
    Word(ErrorWord),
    /// `length` is announced (chunked if `None`), the bytes are sent, then the connection dies.
    Break { length: Option<u64> },
    /// The bytes are sent, then nothing more; twice their number is announced.
    Silence,
    /// The body ends with its connection only.
    Unframed,
}

#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    /// The headers of the put.
    pub(crate) headers: HeaderMap,
    fault: Fault,
}

#[derive(Default)]
pub(crate) struct Shared {
    objects: Mutex<HashMap<String, Held>>,
    made: AtomicU64,
}

impl Shared {
    pub(crate) fn hold(&self, bytes: impl Into<Bytes>, headers: HeaderMap, fault: Fault) -> Reference {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let reference = Reference::from_sealed(&number.to_be_bytes()).expect("short");
        let held = Held {
            bytes: bytes.into(),
            headers,
            fault,
        };
        self.objects.lock().unwrap().insert(reference.to_string(), held);
        reference
    }
}

/// A sidecar's local API and egress proxy, each on its own port; gone when dropped.
pub(crate) struct FakeSidecar {
    shared: Arc<Shared>,
    local: Server,
    egress: Server,
}

impl FakeSidecar {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let objects = shared.clone();
        let local = Server::start(move |request| local_api(objects.clone(), request)).await;
        Self {
            shared,
            local,
            egress: Server::start(echo).await,
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with_timeout(Duration::from_secs(30))
    }

    pub(crate) fn client_with_timeout(&self, limit: Duration) -> Client {
        let builder = Client::builder()
            .local_address(self.local.address)
            .egress_address(self.egress.address);
        builder.timeout(limit).build().expect("valid settings")
    }

    pub(crate) fn hold(&self, bytes: impl Into<Bytes>, fault: Fault) -> Reference {
        self.shared.hold(bytes, HeaderMap::new(), fault)
    }

    pub(crate) fn hold_with(&self, bytes: impl Into<Bytes>, headers: &[(&'static str, &str)]) -> Reference {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        self.shared.hold(bytes, headers, Fault::None)
    }

    pub(crate) fn held(&self, reference: &Reference) -> Held {
        self.shared.objects.lock().unwrap()[reference.as_str()].clone()
    }

    pub(crate) fn objects(&self) -> usize {
        self.shared.objects.lock().unwrap().len()
    }

    pub(crate) fn local_connections(&self) -> usize {
        self.local.connections.load(Ordering::Relaxed)
    }
}

/// A server on a loopback port; its tasks end with it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = io::Result<Response<FakeBody>>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut tasks = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer.clone()));
                tasks.spawn(async { drop(connection.await) });
            }
        });
        Self {
            address,
            connections,
            _tasks: tasks,
        }
    }
}

async fn local_api(shared: Arc<Shared>, request: Request<Incoming>) -> io::Result<Response<FakeBody>> {
    let path = request.uri().path().to_owned();
    let reference = path.strip_prefix("/xdt/v1/objects/");
    match (request.method(), reference, path.as_str()) {
        (&Method::POST, _, "/xdt/v1/objects") => put(&shared, request).await,
        (&Method::GET, Some(reference), _) => Ok(get(&shared, reference, request.headers())),
        (&Method::DELETE, Some(reference), _) => Ok(delete(&shared, reference)),
        (&Method::GET, _, "/xdt/v1/status") => {
            let json = r#"{"objects":{"held":1,"bytes":2,"bytes_limit":3},"pool":{"used":4,"limit":5},
                "transfers":[{"path":"node","outcome":"ok","count":6}],"peers":7,"later":"field"}"#;
            Ok(Response::new(full(json)))
        }
        _ => Ok(problem(ErrorWord::BadRequest)),
    }
}

async fn put(shared: &Shared, request: Request<Incoming>) -> io::Result<Response<FakeBody>> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let reference = shared.hold(bytes, parts.headers, Fault::None);
    let answer = Response::builder()
        .status(201)
        .header("xdt-reference", reference.as_str());
    Ok(answer.body(full(format!(r#"{{"reference":"{reference}"}}"#))).unwrap())
}

fn get(shared: &Shared, reference: &str, headers: &HeaderMap) -> Response<FakeBody> {
    let Some(held) = shared.objects.lock().unwrap().get(reference).cloned() else {
        return problem(ErrorWord::ObjectGone);
    };
    let mut answer = Response::builder().header("content-type", "application/octet-stream");
    let names = held
        .headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("xdt-meta-") || *name == "content-type");
    for (name, value) in names {
        answer.headers_mut().unwrap().insert(name, value.clone());
    }
    let first = stream::iter([Ok(Frame::data(held.bytes.clone()))]);
    let body = match held.fault {
        Fault::Word(word) => return problem(word),
        Fault::None => match headers.get("range") {
            Some(range) => {
                return part(
                    answer,
                    range.to_str().unwrap(),
                    headers.contains_key("xdt-final"),
                    &held.bytes,
                );
            }
            None => full(held.bytes),
        },
        Fault::Break { length } => {
            if let Some(length) = length {
                answer = answer.header("content-length", length);
            }
            StreamBody::new(first.chain(stream::once(cut()))).boxed_unsync()
        }
        Fault::Silence => {
            answer = answer.header("content-length", held.bytes.len() * 2);
            StreamBody::new(first.chain(stream::pending())).boxed_unsync()
        }
        Fault::Unframed => {
            answer = answer.version(http::Version::HTTP_10);
            StreamBody::new(first).boxed_unsync()
        }
    };
    answer.body(body).unwrap()
}

/// Gives the server a turn to send what it has, then fails.
async fn cut() -> io::Result<Frame<Bytes>> {
    tokio::task::yield_now().await;
    Err(io::Error::other("cut"))
}

fn part(answer: http::response::Builder, range: &str, counted: bool, bytes: &Bytes) -> Response<FakeBody> {
    let (start, last) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .expect("one range");
    let start: usize = start.parse().expect("a first byte");
    if start >= bytes.len() {
        return Response::builder().status(416).body(full("")).unwrap();
    }
    let end = last
        .parse()
        .map_or(bytes.len(), |last: usize| bytes.len().min(last + 1));
    let answer = answer.status(206).header("xdt-meta-counted", counted.to_string());
    answer.body(full(bytes.slice(start..end))).unwrap()
}

fn delete(shared: &Shared, reference: &str) -> Response<FakeBody> {
    match shared.objects.lock().unwrap().remove(reference) {
        Some(_) => Response::builder().status(204).body(full("")).unwrap(),
        None => problem(ErrorWord::ObjectGone),
    }
}

/// Answers with the request's body, its target and the names of its `Xdt-*` headers. A query of `word=<word>` gives that
/// problem, one of `status=<code>` that status.
pub(crate) async fn echo(request: Request<Incoming>) -> io::Result<Response<FakeBody>> {
    let query = request.uri().query().unwrap_or_default();
    if let Some(word) = query.strip_prefix("word=") {
        return Ok(problem(word.parse().expect("a word of the contract")));
    }
    let status: u16 = query
        .strip_prefix("status=")
        .map_or(200, |code| code.parse().expect("a status"));
    let xdt: Vec<_> = request
        .headers()
        .keys()
        .map(http::HeaderName::as_str)
        .filter(|n| n.starts_with("xdt-"))
        .collect();
    let mut answer = Response::builder()
        .status(status)
        .header("x-method", request.method().as_str())
        .header("x-target", request.uri().to_string())
        .header("x-xdt", xdt.join(","));
    for name in ["content-type", "content-length", "x-sent", "host"] {
        if let Some(value) = request.headers().get(name) {
            answer = answer.header(format!("x-{name}"), value);
        }
    }
    let bytes = request
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    Ok(answer.header("content-type", "text/echo").body(full(bytes)).unwrap())
}

pub(crate) fn problem(word: ErrorWord) -> Response<FakeBody> {
    let json = format!(r#"{{"type":"urn:xdt:error:{word}","title":"{word}","detail":"because of {word}"}}"#);
    let mut answer = Response::builder()
        .status(word.status())
        .header("xdt-error", word.as_str());
    if word == ErrorWord::Busy {
        answer = answer.header("retry-after", "7");
    }
    answer
        .header("content-type", "application/problem+json")
        .body(full(json))
        .unwrap()
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> FakeBody {
    Full::new(bytes.into())
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

pub(crate) fn empty() -> FakeBody {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// An address that refuses connections: bound once, and free again.
pub(crate) async fn refusing_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound")
}
