//! What these tests share: sidecars with a readiness probe, health checks, and containers that speak by the byte.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use xdt_testkit::{Answer, Builder, Sidecar, empty_body, http::request};

/// What the kubelet sends.
pub(crate) const KUBELET: [(&str, &str); 2] = [("user-agent", "kube-probe/1.30"), ("k-network-probe", "queue")];
/// Part of every log line about a container that is not ready.
pub(crate) const NOT_READY: &str = "probe";

/// A sidecar without XDT.
pub(crate) fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).without_ring()
}

/// A sidecar with this readiness probe.
pub(crate) fn probing(probe: &Value) -> Builder {
    sidecar().env("SERVING_READINESS_PROBE", &probe.to_string())
}

/// The controller's default probe.
pub(crate) fn tcp(port: u16) -> Value {
    json!({"tcpSocket": {"port": port, "host": "127.0.0.1"}, "successThreshold": 1})
}

/// One attempt of at most a second.
pub(crate) fn http(port: u16, path: &str) -> Value {
    json!({
        "httpGet": {"path": path, "port": port, "host": "127.0.0.1", "scheme": "HTTP"},
        "periodSeconds": 1,
        "timeoutSeconds": 1,
    })
}

/// The kubelet's readiness check.
pub(crate) async fn check(sidecar: &Sidecar) -> Answer {
    ask(sidecar, "GET", "/", &KUBELET).await
}

/// Whether the sidecar says that the container is ready, in stock's exact form.
pub(crate) async fn is_ready(sidecar: &Sidecar) -> bool {
    let answer = check(sidecar).await;
    match answer.status.as_u16() {
        200 => assert_eq!(answer.text(), "queue"),
        503 => assert_eq!(answer.text(), ""),
        other => panic!("{other}: {}", answer.text()),
    }
    answer.status == 200
}

/// A request to the serving port.
pub(crate) async fn ask(sidecar: &Sidecar, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let url = format!("http://{}{path}", sidecar.serving());
    sidecar
        .client()
        .fetch(request(method, url, headers, empty_body()))
        .await
}

/// A container that does with each connection what the test says; stops when dropped.
pub(crate) struct RawContainer {
    port: u16,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

impl Drop for RawContainer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl RawContainer {
    /// `talk` gets each connection and how many came before it.
    pub(crate) async fn start<T: Future<Output = ()> + Send + 'static>(
        talk: impl Fn(usize, TcpStream) -> T + Send + 'static,
    ) -> Self {
        Self::serve(Arc::default(), talk).await
    }

    /// Reads the head of each request and answers what `answer` makes of it and its number; then closes.
    pub(crate) async fn answering(answer: impl Fn(usize, &str) -> String + Send + Sync + 'static) -> Self {
        let (answer, shared) = (Arc::new(answer), Arc::new(Shared::default()));
        let kept = shared.clone();
        Self::serve(shared, move |number, mut socket| {
            let (answer, kept) = (answer.clone(), kept.clone());
            async move {
                let head = head(&mut socket).await;
                kept.heads.lock().unwrap().push(head.clone());
                // A prober that has left is the prober's business.
                let _left = socket.write_all(answer(number, &head).as_bytes()).await;
                let _left = socket.shutdown().await;
            }
        })
        .await
    }

    async fn serve<T: Future<Output = ()> + Send + 'static>(
        shared: Arc<Shared>,
        talk: impl Fn(usize, TcpStream) -> T + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let counted = shared.clone();
        let server = tokio::spawn(async move {
            let mut talks = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                talks.spawn(talk(counted.connections.fetch_add(1, Ordering::AcqRel), socket));
            }
        });
        Self { port, shared, server }
    }

    /// Answers each request with this status.
    pub(crate) async fn with_status(status: u16) -> Self {
        Self::answering(move |_, _| answer(status)).await
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Heads of requests so far, as their bytes came.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }
}

/// An answer without a body.
pub(crate) fn answer(status: u16) -> String {
    format!("HTTP/1.1 {status} Text\r\nContent-Length: 0\r\n\r\n")
}

/// Everything up to an empty line, or the end.
pub(crate) async fn head(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => read.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}
