//! A bucket inside the test: as much of S3 as a client needs that puts (also in parts, also only where nothing is), gets
//! (also ranges), lists and deletes. Maintained servers exist (s3s-fs, MinIO); they cost minutes of compiling or a
//! download, and their conditional puts are not atomic or not there.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Collected};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use crate::{
    http::{Body, bytes_body},
    sidecar::Builder,
};

/// Its name.
const NAME: &str = "the-bucket";
/// Who may use it.
const KEY_ID: &str = "AKIDTEST";

/// An S3 server with one bucket; stops when dropped.
pub struct Bucket {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    refusing: AtomicBool,
    objects: Mutex<BTreeMap<String, Bytes>>,
    uploads: Mutex<BTreeMap<String, BTreeMap<u32, Bytes>>>,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Bucket {
    /// An empty bucket on a free port.
    ///
    /// # Panics
    /// If there is none.
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::<Shared>::default();
        let server = tokio::spawn(serve(listener, shared.clone()));
        Self {
            address,
            shared,
            server,
        }
    }

    /// Spills to this bucket, under `prefix`.
    #[must_use]
    pub fn behind(&self, sidecar: Builder, prefix: &str) -> Builder {
        sidecar
            .env("XDT_SPILL_URL", &format!("s3://{NAME}/{prefix}"))
            .env("AWS_ENDPOINT_URL", &format!("http://{}", self.address))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_ACCESS_KEY_ID", KEY_ID)
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", "eu-test-1")
    }

    /// All objects by their keys.
    #[must_use]
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.shared.objects().clone()
    }

    /// Answers 403 from now on, or works again.
    pub fn refuse(&self, refusing: bool) {
        self.shared.refusing.store(refusing, Ordering::Relaxed);
    }
}

impl Shared {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uploads(&self) -> MutexGuard<'_, BTreeMap<String, BTreeMap<u32, Bytes>>> {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, which ends every connection.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(answer(&shared, request).await) }
            });
            let _ended = http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let header = |name: &str| {
        let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    let credential = format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/");
    if shared.refusing.load(Ordering::Relaxed) || !header("authorization").starts_with(&credential) {
        return status(StatusCode::FORBIDDEN);
    }
    let query = parts.uri.query().unwrap_or_default();
    let asked = |name: &str| {
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .into_iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value.to_owned())
    };
    let path = parts.uri.path().trim_start_matches('/');
    let Some(key) = path
        .strip_prefix(NAME)
        .map(|key| key.trim_start_matches('/').to_owned())
    else {
        return status(StatusCode::NOT_FOUND);
    };
    match (parts.method, asked("uploadId")) {
        (Method::GET, _) if key.is_empty() => list(shared, &asked("prefix").unwrap_or_default()),
        (Method::GET, _) => get(shared, &key, header("range")),
        (Method::PUT, None) => put(shared, key, body, header("if-none-match") == "*"),
        (Method::PUT, Some(upload)) => {
            let number = asked("partNumber").and_then(|number| number.parse().ok()).unwrap_or(0);
            shared.uploads().entry(upload).or_default().insert(number, body);
            tagged()
        }
        (Method::POST, None) => {
            let upload = format!("upload-{}", shared.uploads().len());
            shared.uploads().insert(upload.clone(), BTreeMap::new());
            xml(format!(
                "<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            ))
        }
        (Method::POST, Some(upload)) => {
            let parts = shared.uploads().remove(&upload).unwrap_or_default();
            let whole: Vec<u8> = parts.values().flat_map(|part| part.iter().copied()).collect();
            shared.objects().insert(key, whole.into());
            xml("<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>".to_owned())
        }
        (Method::DELETE, None) => {
            shared.objects().remove(&key);
            status(StatusCode::NO_CONTENT)
        }
        (Method::DELETE, Some(upload)) => {
            shared.uploads().remove(&upload);
            status(StatusCode::NO_CONTENT)
        }
        _ => status(StatusCode::METHOD_NOT_ALLOWED),
    }
}

fn put(shared: &Shared, key: String, body: Bytes, only_where_nothing_is: bool) -> Response<Body> {
    let mut objects = shared.objects();
    if only_where_nothing_is && objects.contains_key(&key) {
        return status(StatusCode::PRECONDITION_FAILED);
    }
    objects.insert(key, body);
    drop(objects);
    tagged()
}

fn get(shared: &Shared, key: &str, range: &str) -> Response<Body> {
    let Some(object) = shared.objects().get(key).cloned() else {
        return status(StatusCode::NOT_FOUND);
    };
    let bounds = range.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let bounds = bounds.and_then(|(first, last)| Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?)));
    let mut response = tagged();
    match bounds {
        Some((first, last)) if first < object.len() => {
            let last = last.min(object.len() - 1);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let value = format!("bytes {first}-{last}/{}", object.len());
            response
                .headers_mut()
                .insert("content-range", value.parse().expect("a value"));
            *response.body_mut() = bytes_body(object.slice(first..=last));
        }
        Some(_) => return status(StatusCode::RANGE_NOT_SATISFIABLE),
        None => *response.body_mut() = bytes_body(object),
    }
    response
}

fn list(shared: &Shared, prefix: &str) -> Response<Body> {
    let prefix = prefix.replace("%2F", "/");
    let mut text = String::from("<ListBucketResult><IsTruncated>false</IsTruncated>");
    for (key, object) in shared.objects().iter().filter(|(key, _)| key.starts_with(&prefix)) {
        let size = object.len();
        // Writing into a String does not fail.
        let _written = write!(
            text,
            "<Contents><Key>{key}</Key><Size>{size}</Size><ETag>\"e\"</ETag>\
             <LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        );
    }
    xml(text + "</ListBucketResult>")
}

fn tagged() -> Response<Body> {
    let mut response = status(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert("etag", "\"e\"".parse().expect("a value"));
    headers.insert(
        "last-modified",
        "Thu, 01 Jan 2026 00:00:00 GMT".parse().expect("a value"),
    );
    response
}

fn xml(text: String) -> Response<Body> {
    Response::new(bytes_body(text))
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(bytes_body(""));
    *response.status_mut() = status;
    response
}
