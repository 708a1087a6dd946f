//! What accompanies a message: trailers, informational answers, consent to a body, and answers that overtake their
//! requests (contract of the queue-proxy, section 2.4; clauses 43 to 47 of its checklist).

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use xdt_testkit::{
    Body, Builder, Http2, Pair, RawContainer, RawHttp2, Script, Service, Sidecar, UserContainer, bytes_body,
    empty_body,
    frames::{self, flag, kind},
    http::request,
    wait::within,
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// Long enough to notice what should not come yet.
const PAUSE: Duration = Duration::from_millis(300);

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

fn upload(length: usize, lines: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n{lines}\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_http1_response_trailers_arrive_announced_or_not() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    for (announced, trailers) in [
        ("trailer: x-sum\r\n", "x-sum: 1\r\n"),
        ("", "x-sum: 2\r\nx-more: 3\r\nx-sum: 4\r\n"),
        ("trailer: x-sum\r\n", "x-other: 5\r\n"),
    ] {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut user = pair.container.accept().await;
        user.head().await;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\n{announced}transfer-encoding: chunked\r\n\r\n5\r\n0\r\n\r\n\r\n0\r\n{trailers}\r\n"
        );
        user.send(answer).await;
        assert_eq!(
            client.head().await.contains("trailer: x-sum\r\n"),
            !announced.is_empty()
        );
        let end = format!("5\r\n0\r\n\r\n\r\n0\r\n{trailers}\r\n");
        let sorted = |text: &[u8]| {
            let mut lines: Vec<_> = String::from_utf8_lossy(text).lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let got = client.until("\r\n0\r\nx-").await;
        let rest = client.until("\r\n\r\n").await;
        assert_eq!(sorted(&[got, rest].concat()), sorted(end.as_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c43_http2_response_trailers_arrive() {
    let user = UserContainer::start(Script::Grpc);
    let sidecar = sidecar().without_ring().user_port(user.port()).start().await;
    let mut client = Http2::open(sidecar.serving()).await;
    let url = format!("http://{}/", sidecar.serving());
    let answer = client.fetch(request("POST", url, &[], bytes_body("four"))).await;
    let trailers = answer.trailers.unwrap();
    assert_eq!(
        (&trailers["grpc-status"], &trailers["x-bytes"]),
        (&"0".parse().unwrap(), &"4".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c44_request_trailers_arrive_with_their_values() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ntrailer: X-Sum\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n")
        .await;
    let mut user = pair.container.accept().await;
    assert!(user.head().await.to_lowercase().contains("trailer: x-sum\r\n"));
    user.until("3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n").await;
    user.send(OK).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c44_http2_request_trailers_arrive_with_their_values() {
    let user = Service::start(async |request| {
        let collected = request.into_body().collect().await?;
        let sum = collected.trailers().and_then(|trailers| trailers.get("x-sum").cloned());
        Ok(Response::new(bytes_body(
            sum.map_or(String::new(), |sum| sum.to_str().unwrap().to_owned()),
        )))
    });
    let sidecar = sidecar().without_ring().user_port(user.port()).start().await;
    let mut client = Http2::open(sidecar.serving()).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    let frames = [Ok(Frame::data("abc".into())), Ok(Frame::trailers(trailers))];
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    let url = format!("http://{}/", sidecar.serving());
    assert_eq!(client.fetch(request("POST", url, &[], body)).await.text(), "7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_the_body_follows_the_containers_consent() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    for _ in 0..2 {
        client
            .send(upload(4, "expect: 100-continue\r\nconnection: keep-alive\r\n"))
            .await;
        let mut user = pair.container.accept().await;
        assert!(user.head().await.contains("expect: 100-continue\r\n"));
        assert!(client.is_silent(PAUSE).await, "the container has not consented");
        user.send("HTTP/1.1 100 Continue\r\n\r\n").await;
        assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        client.send("body").await;
        user.until("body").await;
        user.send("HTTP/1.1 201 Created\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            .await;
        assert!(
            client.head().await.starts_with("HTTP/1.1 201 Created\r\n"),
            "one 100 and no other"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_a_container_that_does_not_consent_gets_the_body_after_a_second() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    let begun = Instant::now();
    client.send(upload(4, "expect: 100-continue\r\n")).await;
    let mut user = pair.container.accept().await;
    user.head().await;
    assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    client.send("body").await;
    user.until("body").await;
    user.send(OK).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_a_container_that_refuses_never_gets_the_body() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    client.send(upload(4, "expect: 100-continue\r\n")).await;
    let mut user = pair.container.accept().await;
    user.head().await;
    user.send("HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 413 Request Entity Too Large\r\n"), "{head}");
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert_eq!(client.rest().await.bytes, b"no");
    assert_eq!(user.rest().await.bytes, b"", "no byte of the body");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c46_informational_answers_are_relayed_and_the_final_status_is_kept() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    for status in ["404 Not Found", "418 I'm a teapot"] {
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut user = pair.container.accept().await;
        user.head().await;
        user.send("HTTP/1.1 103 Hints\r\nlink: </a>\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n")
            .await;
        let hints = client.head().await;
        assert_eq!(
            hints, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
            "before the final answer"
        );
        user.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n")
            .await;
        assert_eq!(client.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(client.head().await, "HTTP/1.1 102 Processing\r\n\r\n");
        user.send(format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 2\r\n\r\nxy"
        ))
        .await;
        assert!(client.head().await.starts_with(&format!("HTTP/1.1 {status}\r\n")));
        client.until("xy").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c46_an_http10_client_gets_the_final_answer_alone() {
    let pair = Pair::start(sidecar()).await;
    let hinted = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    let (_, got) = pair.exchange("GET / HTTP/1.0\r\n\r\n", hinted).await;
    assert!(got.starts_with("HTTP/1.0 404 Not Found\r\n"), "{got}");
}

/// hyper hands on no informational answer of HTTP/2, so that none is relayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c46_over_http2_the_final_answer_comes_with_its_own_status() {
    let container = RawContainer::start();
    let sidecar = sidecar().without_ring().user_port(container.port()).start().await;
    let mut client = Http2::open(sidecar.serving()).await;
    let url = format!("http://{}/", sidecar.serving());
    let call = client.fetch(request("GET", url, &[], empty_body()));
    let answers = async {
        let mut user = container.accept().await;
        user.until(frames::PREFACE).await;
        user.send(frames::Frame::new(kind::SETTINGS, 0, 0, []).bytes()).await;
        let stream = loop {
            let head = user.next(9).await;
            user.next(usize::from(head[1]) << 8 | usize::from(head[2])).await;
            if head[3] == kind::HEADERS {
                break u32::from_be_bytes(head[5..].try_into().unwrap());
            }
        };
        let hints = frames::literals(&[(":status", "103"), ("link", "</a>")]);
        let last = frames::literals(&[(":status", "418"), ("x-last", "1")]);
        user.send(frames::Frame::new(kind::HEADERS, flag::END_HEADERS, stream, hints).bytes())
            .await;
        let flags = flag::END_HEADERS | flag::END_STREAM;
        user.send(frames::Frame::new(kind::HEADERS, flags, stream, last).bytes())
            .await;
        user
    };
    let (answer, _user) = tokio::join!(call, answers);
    assert_eq!((answer.status.as_u16(), answer.header("x-last")), (418, "1"));
    assert_eq!(answer.header("link"), "", "the hints are no part of it");
}

/// hyper sends no informational answer of HTTP/2: whoever waits for consent waits as long as it chooses, and is heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c45_over_http2_the_body_arrives_without_consent_and_the_question_ends_here() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar().without_ring().user_port(user.port()).start().await;
    let mut client = RawHttp2::open(sidecar.serving(), &[]).await;
    let head = frames::fields("POST", "/", &[("expect", "100-continue")]);
    client
        .frame(&frames::Frame::new(kind::HEADERS, flag::END_HEADERS, 1, head))
        .await;
    user.called(1).await;
    assert_eq!(user.only().header("expect"), "");
    assert!(client.heard().headers.is_empty(), "no 100");
    client
        .frame(&frames::Frame::new(kind::DATA, flag::END_STREAM, 1, *b"body"))
        .await;
    let heard = client.until("the answer", |heard| heard.ended.contains(&1)).await;
    assert!(heard.is_ok(1));
    assert_eq!(user.ended(0).await.bytes, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c47_without_full_duplex_the_answer_waits_for_the_rest_of_the_request() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    for _ in 0..2 {
        client.send(upload(8, "") + "half").await;
        let mut user = pair.container.accept().await;
        user.head().await;
        user.until("half").await;
        user.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
            .await;
        assert!(client.is_silent(PAUSE).await, "half of the request is missing");
        client.send("full").await;
        let head = client.head().await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\n") && !head.contains("close"),
            "{head}"
        );
        client.until("ok").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c47_with_full_duplex_both_directions_flow_at_once() {
    let pair = Pair::start(sidecar().env("ENABLE_HTTP_FULL_DUPLEX", "true")).await;
    let mut client = pair.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let mut user = pair.container.accept().await;
    user.head().await;
    user.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    for piece in ["3\r\none\r\n", "3\r\ntwo\r\n", "0\r\n\r\n"] {
        client.send(piece).await;
        user.until(piece).await;
        user.send(piece).await;
        client.until(piece).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c47_http2_is_always_full_duplex() {
    let user = Service::start(async |request| Ok(Response::new(Body::new(request.into_body().map_err(Into::into)))));
    let sidecar = sidecar().without_ring().user_port(user.port()).start().await;
    let (sender, frames) = tokio::sync::mpsc::channel(1);
    let frames = futures_util::stream::unfold(frames, async |mut frames| {
        let frame = frames.recv().await?;
        Some((Ok(Frame::data(frame)), frames))
    });
    let url = format!("http://{}/", sidecar.serving());
    let mut client = Http2::open(sidecar.serving()).await;
    let sent = request("POST", url, &[], Body::new(StreamBody::new(Box::pin(frames))));
    let mut body = client.send(sent).await.unwrap().into_body();
    for piece in ["one", "two", "three"] {
        sender.send(piece.into()).await.unwrap();
        let frame = within("an echo", body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c47_too_much_of_a_request_closes_the_connection_after_the_answer() {
    let pair = Pair::start(sidecar()).await;
    let chunk = format!("{:x}\r\n{}\r\n", 64 * 1024, "x".repeat(64 * 1024));
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n";
    for (request, rest) in [(upload(1 << 20, "") + "some", 0), (chunked.to_owned(), 6)] {
        let mut client = pair.client().await;
        client.send(request).await;
        let mut user = pair.container.accept().await;
        user.head().await;
        user.until("some").await;
        user.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok")
            .await;
        client.send(chunk.repeat(rest)).await;
        let head = client.head().await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("connection: close\r\n"),
            "{head}"
        );
        client.until("ok").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_overtakes_its_request_leaves_the_connection_usable() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    client.send(upload(8, "") + "half").await;
    let mut user = pair.container.accept().await;
    user.head().await;
    user.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    client.send("full").await;
    client.head().await;
    client.until("ok").await;
    // What was read ahead still reaches the container, which then gets the next request.
    user.until("halffull").await;
    within("the same connection again", async {
        loop {
            client.send("GET /next HTTP/1.1\r\nhost: a\r\n\r\n").await;
            tokio::select! {
                head = user.head() => break assert!(head.starts_with("GET /next HTTP/1.1\r\n")),
                // The container may see the last byte before the sidecar has put the connection back.
                mut other = pair.container.accept() => {
                    other.head().await;
                    other.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
                    client.head().await;
                }
            }
        }
    })
    .await;
}
