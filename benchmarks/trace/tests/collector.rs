//! The collector on a real socket: what exporters send, and what a Zipkin UI reads.
#![allow(clippy::unwrap_used, clippy::expect_used)] // the helpers are test code too

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use xdt_trace::{Store, server, store};

struct Collector {
    address: SocketAddr,
    store: Arc<Store>,
    folder: tempfile::TempDir,
}

impl Collector {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&folder.path().join("spans.ndjson")).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = server::routes(Arc::clone(&store));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, store, folder }
    }

    /// Status and body of one request.
    async fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: c\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }
}

const ZIPKIN: &str = r#"[
  {"traceId":"000000000000000a","id":"0000000000000001","name":"root","timestamp":1000,"duration":100,"localEndpoint":{"serviceName":"client"}},
  {"traceId":"000000000000000a","id":"0000000000000002","parentId":"0000000000000001","name":"xdt.pull","kind":"CLIENT","timestamp":1010,"duration":80,"tags":{"size":"7"}}
]"#;

#[tokio::test]
async fn zipkin_spans_are_stored_counted_and_given_back() {
    let collector = Collector::start().await;
    assert_eq!(
        collector
            .send("POST", "/api/v2/spans", "application/json", ZIPKIN)
            .await
            .0,
        202
    );
    let (status, body) = collector
        .send("GET", "/api/v2/trace/000000000000000a", "text/plain", "")
        .await;
    let spans: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, spans.as_array().unwrap().len()), (200, 2));
    assert_eq!(
        (&spans[1]["name"], &spans[1]["tags"]["size"]),
        (&"xdt.pull".into(), &"7".into())
    );
    let (_, body) = collector.send("GET", "/api/v2/traces?limit=5", "text/plain", "").await;
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&body)
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let (status, page) = collector.send("GET", "/trace/000000000000000a", "text/plain", "").await;
    assert!(
        status == 200 && page.contains("xdt.pull") && page.contains("class=\"path\""),
        "{page}"
    );
    let file = store::read(&collector.folder.path().join("spans.ndjson")).unwrap();
    assert_eq!(file.len(), 2);
    assert_eq!(collector.send("GET", "/api/v2/trace/0b", "text/plain", "").await.0, 404);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_counted() {
    let collector = Collector::start().await;
    assert_eq!(
        collector.send("POST", "/api/v2/spans", "application/json", "{").await.0,
        400
    );
    assert_eq!(
        collector.send("POST", "/v1/traces", "application/json", "[]").await.0,
        400
    );
    assert_eq!(
        collector
            .send("POST", "/v1/traces", "application/x-protobuf", "\u{7f}\u{7f}")
            .await
            .0,
        400
    );
    let bad_id = r#"[{"traceId":"xyz","id":"1","name":"n"}]"#;
    assert_eq!(
        collector
            .send("POST", "/api/v2/spans", "application/json", bad_id)
            .await
            .0,
        202
    );
    let counts = collector.store.counts();
    assert_eq!((counts.received, counts.stored, counts.malformed), (4, 0, 4));
}

#[tokio::test]
async fn otlp_json_becomes_the_same_kind_of_trace() {
    let collector = Collector::start().await;
    let body = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0000000000000000000000000000000b",
        "spanId":"0000000000000001","name":"xdt.put","startTimeUnixNano":"1000","endTimeUnixNano":"9000"}]}]}]}"#;
    let (status, answer) = collector.send("POST", "/v1/traces", "application/json", body).await;
    assert_eq!((status, answer.as_str()), (200, "{}"));
    let trace = collector.store.trace("0000000000000000000000000000000b").unwrap();
    assert_eq!(
        (trace[0].name.as_str(), trace[0].end_ns() - trace[0].start_ns()),
        ("xdt.put", 8000)
    );
}
