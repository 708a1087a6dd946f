//! How exchanges end that do not end the usual way, and that everyone who counts them is told the truth.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::{rt::TokioExecutor, server::conn::auto};
use tokio::sync::mpsc;
use xdt_testkit::{Body, Builder, Http1, Http2, Pair, Service, Sidecar, empty_body, eventually, http::request, within};

/// Logged for each answer that the user container did not give.
const NO_ANSWER: &str = "error reverse proxying request";
/// Status and size of each request.
const STATUS_AND_SIZE: &str =
    r#"{"enableRequestLog": true, "requestLogTemplate": "{{.Response.Code}} {{.Response.Size}}"}"#;
/// Long enough to notice what should not come.
const PAUSE: Duration = Duration::from_millis(300);

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).without_ring()
}

async fn logged(sidecar: &Sidecar, line: &str) {
    eventually(line, async || {
        sidecar.stdout().lines().any(|told| told == line).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_whose_request_stalls_holds_nothing_beyond_the_timeout() {
    let builder = sidecar()
        .env("REVISION_TIMEOUT_SECONDS", "1")
        .allow("Request timeout: 1s");
    let pair = Pair::start(builder).await;
    let mut client = pair.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\nhalf of it")
        .await;
    let mut user = pair.container.accept().await;
    user.head().await;
    user.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert!(client.head().await.starts_with("HTTP/1.1 504"));
    client.until("request timeout").await;
    user.closed().await;
    client.send("ten more..GET /next HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut user = pair.container.accept().await;
    assert!(user.head().await.starts_with("GET /next HTTP/1.1\r\n"));
    user.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_the_proxy_answers_itself_has_its_status_and_no_body() {
    let sidecar = sidecar()
        .env("OBSERVABILITY_CONFIG", STATUS_AND_SIZE)
        .allow(NO_ANSWER)
        .start()
        .await;
    let url = format!("http://{}/", sidecar.serving());
    let mut http2 = Http2::open(sidecar.serving()).await;
    let mut http1 = Http1::open(sidecar.serving()).await;
    let head = |uri: &str| request("HEAD", uri, &[("host", "a")], empty_body());
    for answer in [
        http2.fetch(request("HEAD", url, &[], empty_body())).await,
        http1.fetch(head("/")).await,
    ] {
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(answer.body.is_empty());
        assert!(answer.header("content-length").parse::<u64>().unwrap() > 0);
    }
    eventually("both lines", async || {
        let told = sidecar.stdout();
        let lines: Vec<_> = told.lines().map(|line| line.starts_with("502 ")).collect();
        (lines == [true, true]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_trailers_is_a_whole_one() {
    let pair = Pair::start(sidecar().env("OBSERVABILITY_CONFIG", STATUS_AND_SIZE)).await;
    let mut client = pair.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut user = pair.container.accept().await;
    user.head().await;
    user.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n2\r\nok\r\n0\r\nx: 1\r\n\r\n")
        .await;
    client.until("0\r\nx: 1\r\n\r\n").await;
    logged(&pair.sidecar, "200 2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_does_not_speak_http2_is_asked_once() {
    let user = Service::with(auto::Builder::new(TokioExecutor::new()).http1_only(), async |_| {
        Ok(Response::new(empty_body()))
    });
    let sidecar = sidecar().allow(NO_ANSWER).user_port(user.port()).start().await;
    let before = user.connections();
    let mut client = Http2::open(sidecar.serving()).await;
    let url = format!("http://{}/", sidecar.serving());
    let answer = client.fetch(request("GET", url, &[], empty_body())).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(user.connections() - before, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_upload_ends_with_its_answer() {
    let (ended, mut told) = mpsc::channel(1);
    let user = Service::with(
        auto::Builder::new(TokioExecutor::new()).http2_only(),
        move |request: http::Request<hyper::body::Incoming>| {
            let ended = ended.clone();
            async move {
                tokio::spawn(async move {
                    let mut body = request.into_body();
                    while let Some(Ok(_)) = body.frame().await {}
                    ended.send(()).await.unwrap();
                });
                Ok(Response::new(empty_body()))
            }
        },
    );
    let sidecar = sidecar().user_port(user.port()).start().await;
    let mut client = Http2::open(sidecar.serving()).await;
    let (_goes_on, mut pieces) = mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::poll_fn(move |cx| {
        let piece = pieces.poll_recv(cx);
        piece.map(|piece| piece.map(|piece| Ok::<_, Infallible>(Frame::data(piece))))
    });
    let body = Body::new(StreamBody::new(frames).map_err(|never| match never {}));
    let url = format!("http://{}/", sidecar.serving());
    let answer = client.fetch(request("POST", url, &[], body)).await;
    assert_eq!(answer.status, StatusCode::OK);
    within("the end of the upload", told.recv()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_announced_on_several_lines_all_arrive() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nhost: a\r\ntrailer: x-a\r\ntrailer: x-b\r\ntransfer-encoding: chunked\r\n\r\n\
             1\r\nz\r\n0\r\nx-a: 1\r\nx-b: 2\r\n\r\n",
        )
        .await;
    let mut user = pair.container.accept().await;
    user.head().await;
    let rest = user.until("\r\n\r\n").await;
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("x-a: 1\r\n") && rest.contains("x-b: 2\r\n"), "{rest}");
    user.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.head().await;
    assert!(client.is_silent(PAUSE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_http10_leaves_no_connection_behind() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut user = pair.container.accept().await;
    user.head().await;
    user.send("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok")
        .await;
    client.until("ok").await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        .await;
    let mut user = pair.container.accept().await;
    assert!(user.head().await.starts_with("POST / HTTP/1.1\r\n"));
    user.until("3\r\nabc\r\n0\r\n\r\n").await;
    user.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn informational_answers_without_end_are_no_answer() {
    let pair = Pair::start(sidecar().allow(NO_ANSWER)).await;
    let mut client = pair.client().await;
    client.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n").await;
    let mut user = pair.container.accept().await;
    user.head().await;
    user.send("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1001)).await;
    assert!(client.head().await.contains(" 502 "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_neither_frame_nor_route() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    client
        .send(
            "POST / HTTP/1.1\r\nhost: a\r\ntrailer: x-a, xdt-reference, content-length\r\ntransfer-encoding: chunked\r\n\r\n\
             1\r\nz\r\n0\r\nxdt-reference: 1\r\ncontent-length: 5\r\nx-a: 1\r\n\r\n",
        )
        .await;
    let mut user = pair.container.accept().await;
    user.head().await;
    user.until("1\r\nz\r\n0\r\nx-a: 1\r\n\r\n").await;
    user.send(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nz\r\n0\r\ncontent-length: 7\r\nx-b: 1\r\nconnection: x\r\n\r\n",
    )
    .await;
    client.until("1\r\nz\r\n0\r\nx-b: 1\r\n\r\n").await;
}
