//! What the server itself answers, refuses and bounds (contract of the queue-proxy, section 2.8; clauses 49, 50, 56 and
//! 57 of its checklist; those that take minutes are unit tests with a clock of their own, in `server/protocol/tests.rs`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Response;
use hyper_util::{rt::TokioExecutor, server::conn::auto};
use xdt_testkit::{
    Builder, Http2, Pair, Script, Service, Sidecar, UserContainer, empty_body, http::request, wait::SOON,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).without_ring()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c49_an_http10_request_is_answered_in_its_version_and_the_connection_closed() {
    let pair = Pair::start(sidecar()).await;
    for (answer, body) in [
        ("content-length: 3\r\n\r\nyes", "yes"),
        ("transfer-encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n", "yes"),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{answer}");
        let (head, got) = pair.exchange("GET /x HTTP/1.0\r\n\r\n", answer).await;
        assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "{head}");
        assert!(
            head.contains(&format!("host: 127.0.0.1:{}\r\n", pair.container.port())),
            "{head}"
        );
        let (head, rest) = got.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert_eq!(rest, body);
    }
    let (head, _) = pair.exchange("GET / HTTP/1.0\r\nhost: mine\r\n\r\n", OK).await;
    assert!(head.contains("host: mine\r\n"), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c50_requests_without_one_usable_host_are_400() {
    let pair = Pair::start(sidecar()).await;
    for (lines, text) in [
        ("", "400 Bad Request: missing required Host header"),
        ("host: a\r\nhost: a\r\n", "400 Bad Request"),
        ("host: a/b\r\n", "400 Bad Request: malformed Host header"),
        ("host: a\r\nno colon\r\n", "400 Bad Request"),
        ("host: a\r\nbad name: x\r\n", "400 Bad Request"),
    ] {
        let mut client = pair.client().await;
        client.send(format!("GET / HTTP/1.1\r\n{lines}\r\n")).await;
        let answer = String::from_utf8(client.rest().await.bytes).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let head = head.to_lowercase();
        assert!(head.starts_with("http/1.1 400 bad request"), "{head}");
        assert!(head.contains("content-type: text/plain; charset=utf-8") && head.contains("connection: close"));
        assert_eq!(body, text);
    }
    assert!(pair.container.is_left_alone(Duration::from_millis(20)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c50_heads_up_to_a_mebibyte_pass_and_larger_ones_are_431() {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_headers(2000).max_buf_size(2 << 20);
    builder.http2().max_header_list_size(2 << 20);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let user = Service::with(builder, move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok(Response::new(empty_body())) }
    });
    let sidecar = sidecar().user_port(user.port()).start().await;
    let get = |bytes: usize, line: &str| {
        let mut text = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n".to_owned();
        while text.len() < bytes {
            text.push_str(line);
        }
        text + "\r\n"
    };
    let long = format!("x-long: {}\r\n", "y".repeat(900 * 1024));
    let kilobyte = format!("x-many: {}\r\n", "y".repeat(1014));
    for (request, status) in [
        (get(900 * 1024, &long), "200 OK"),
        (get(900 * 1024, &kilobyte), "200 OK"),
        (get(1 << 10, "x-short: 1\r\n"), "200 OK"),
        (get(1_100_000, &kilobyte), "431 Request Header Fields Too Large"),
        (get(2 << 20, &long), "431 Request Header Fields Too Large"),
    ] {
        let mut client = xdt_testkit::RawConnection::open(sidecar.serving()).await;
        client.send(request).await;
        let head = client.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{head}");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    let mut client = Http2::open(sidecar.serving()).await;
    let url = format!("http://{}/", sidecar.serving());
    // With its answer come the settings: a client that does not know them may send small frames only, and too many.
    assert_eq!(client.fetch(request("GET", &url, &[], empty_body())).await.status, 200);
    for (size, status) in [(900 * 1024, 200), (1_060_000, 431)] {
        let value = "y".repeat(size);
        let answer = client
            .fetch(request("GET", &url, &[("x-long", &value)], empty_body()))
            .await;
        assert_eq!(answer.status, status, "{size}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c20_c52_heads_of_answers_up_to_ten_mebibytes_pass_and_larger_ones_are_502() {
    const MIB: usize = 1 << 20;
    let pair = Pair::start(sidecar().allow("error reverse proxying request; ")).await;
    let head = |size: usize| {
        let mut head = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n".to_owned();
        while head.len() + 2 < size {
            let value = MIB.min(size - head.len() - 2).saturating_sub("x-long: \r\n".len());
            head.push_str(&format!("x-long: {}\r\n", "y".repeat(value)));
        }
        head + "\r\n"
    };
    for size in [420_000, MIB, 10 * MIB - 4096] {
        let (_, got) = pair.exchange("GET / HTTP/1.0\r\n\r\n", head(size) + "yes").await;
        assert!(got.starts_with("HTTP/1.0 200 OK\r\n"), "{size}: {}", got.len());
        assert!(
            got.len() > size - 100 && got.ends_with("\r\n\r\nyes"),
            "{size}: {}",
            got.len()
        );
    }
    let mut client = pair.client().await;
    client.send("GET / HTTP/1.0\r\n\r\n").await;
    let mut user = pair.container.accept().await;
    user.head().await;
    // The sidecar closes in the middle of it.
    let sending = async { tokio::time::timeout(SOON, user.send_what_goes(head(11 * MIB))).await };
    let (sent, head) = tokio::join!(sending, client.head());
    assert!(head.starts_with("HTTP/1.0 502 Bad Gateway\r\n"), "{head}");
    assert!(sent.is_ok(), "closed, not left to wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn general_options_are_answered_by_the_proxy() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    client.send("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = client.head().await;
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("content-length: 0\r\n"),
        "{head}"
    );
    assert!(pair.container.is_left_alone(Duration::from_millis(20)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expectations_that_nobody_can_meet_are_417() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nexpect: a-miracle\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 417 Expectation Failed\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let mut client = xdt_testkit::RawConnection::open(sidecar.serving()).await;
    let requests: String = (0..5)
        .map(|turn| format!("GET /{turn} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .collect();
    client.send(requests).await;
    for turn in 0..5 {
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
        client.until(format!("\"target\":\"/{turn}\"}}")).await;
    }
}
