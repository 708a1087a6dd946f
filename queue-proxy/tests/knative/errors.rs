//! User containers that fail, and requests that no container gets (contract of the queue-proxy, sections 2.6 and 2.7;
//! clauses 48 and 51 to 55 of its checklist).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use http::Response;
use http_body_util::StreamBody;
use hyper::body::Frame;
use socket2::{Domain, Socket, Type};
use tokio::sync::Semaphore;
use xdt_testkit::{
    Body, Builder, Http1, Http2, Pair, RawConnection, Script, Service, Sidecar, UserContainer, empty_body, eventually,
    http::{collect, request},
    user::ReservedPort,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// One that may report failures of the user container.
fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .allow("error reverse proxying request; ")
}

/// A complete 502 in the stock proxy's form.
fn assert_bad_gateway(head: &str) {
    assert!(head.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain; charset=utf-8\r\n"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff\r\n"), "{head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c48_connect_is_refused_in_both_protocols() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    client
        .send("CONNECT b:443 HTTP/1.1\r\nhost: b:443\r\nconnection: close\r\n\r\n")
        .await;
    assert_bad_gateway(&client.head().await);
    assert_eq!(client.rest().await.bytes, b"client sent unsupported CONNECT request\n");
    let mut client = Http2::open(pair.sidecar.serving()).await;
    let answer = client.fetch(request("CONNECT", "b:443", &[], empty_body())).await;
    assert_eq!(answer.status, 502);
    assert!(pair.container.is_left_alone(Duration::from_millis(20)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c51_a_container_that_does_not_listen_is_502_at_once() {
    let sidecar = sidecar().start().await;
    let mut client = Http1::open(sidecar.serving()).await;
    // The fastest of some: a busy machine slows single ones down.
    let mut fastest = Duration::MAX;
    for _ in 0..5 {
        let begun = Instant::now();
        let answer = client.fetch(request("GET", "/", &[("host", "a")], empty_body())).await;
        fastest = fastest.min(begun.elapsed());
        assert_eq!(answer.status, 502);
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.text(), "the user container does not accept connections\n");
    }
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
    sidecar.logged_times("error reverse proxying request; ", 5).await;
    assert_eq!(
        sidecar.log().matches("sockets: used ").count(),
        5,
        "one line each, with what the kernel tells"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c52_a_container_without_an_answer_is_502() {
    let pair = Pair::start(sidecar()).await;
    for answer in [
        "",
        "HTTP/1.1 200",
        "garbage\r\n\r\n",
        "HTTP/1.1 20x OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut client = pair.client().await;
        client.send(GET).await;
        let mut user = pair.container.accept().await;
        user.head().await;
        user.send(answer).await;
        drop(user);
        assert_bad_gateway(&client.head().await);
    }
    let mut client = pair.client().await;
    client.send(GET).await;
    let mut user = pair.container.accept().await;
    user.head().await;
    user.reset();
    assert_bad_gateway(&client.head().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c53_a_container_that_dies_in_mid_body_breaks_the_response_visibly() {
    let pair = Pair::start(sidecar()).await;
    for (head, reset) in [
        ("transfer-encoding: chunked\r\n\r\n4\r\nsome\r\n", false),
        ("transfer-encoding: chunked\r\n\r\n4\r\nsome\r\n", true),
        ("content-length: 9\r\n\r\nsome", false),
        ("content-length: 9\r\n\r\nsome", true),
    ] {
        let mut client = pair.client().await;
        client.send(GET).await;
        let mut user = pair.container.accept().await;
        user.head().await;
        user.send(format!("HTTP/1.1 200 OK\r\n{head}")).await;
        client.head().await;
        client.until("some").await;
        if reset {
            user.reset();
        } else {
            drop(user);
        }
        let rest = client.rest().await;
        assert!(
            !rest.ends_chunked_cleanly(),
            "{:?}",
            String::from_utf8_lossy(&rest.bytes)
        );
        assert!(rest.bytes == b"" || rest.bytes == b"\r\n", "{rest:?}");
    }
    pair.sidecar.logged_times("broke off", 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c53_an_http2_stream_is_reset_when_its_container_dies() {
    let seen = Arc::new(Semaphore::new(0));
    let gate = seen.clone();
    let user = Service::start(move |_| {
        let gate = gate.clone();
        let frames = stream::once(async { Ok(Frame::data("some".into())) });
        // Breaks off once the client has seen the beginning.
        let frames = frames.chain(stream::once(async move {
            gate.acquire().await?.forget();
            Err("broken off as scripted".into())
        }));
        async { Ok(Response::new(Body::new(StreamBody::new(Box::pin(frames))))) }
    });
    let sidecar = sidecar().user_port(user.port()).start().await;
    let mut client = Http2::open(sidecar.serving()).await;
    let url = format!("http://{}/", sidecar.serving());
    for _ in 0..2 {
        let response = client.send(request("GET", &url, &[], empty_body())).await;
        let response = response.expect("only the stream before was broken");
        assert_eq!(response.status(), 200);
        seen.add_permits(1);
        assert_eq!(collect(response).await.expect_err("no clean end").received, 4);
    }
}

/// A connection that the sidecar keeps idle, and its client.
async fn kept_alive(pair: &Pair) -> (RawConnection, RawConnection) {
    let mut client = pair.client().await;
    client.send(GET).await;
    let mut user = pair.container.accept().await;
    user.head().await;
    user.send(OK).await;
    client.head().await;
    (client, user)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c54_a_request_that_dies_with_an_idle_connection_is_sent_again() {
    let pair = Pair::start(sidecar()).await;
    for (method, reset) in [("GET", false), ("GET", true), ("HEAD", false), ("OPTIONS", true)] {
        let (mut client, mut user) = kept_alive(&pair).await;
        client.send(GET.replace("GET", method)).await;
        // It came, and nothing comes back.
        assert!(user.head().await.starts_with(method));
        if reset {
            user.reset();
        } else {
            drop(user);
        }
        let mut user = pair.container.accept().await;
        assert!(user.head().await.starts_with(method));
        user.send(OK).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"), "{method}");
    }
}

/// The whole scene: the container ends, and another process listens in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c54_a_container_that_restarts_between_two_requests_is_found_again() {
    let first = UserContainer::start(Script::Status(201));
    let port = first.port();
    let sidecar = sidecar().user_port(port).start().await;
    let mut client = Http1::open(sidecar.serving()).await;
    let call = || request("GET", "/", &[("host", "a")], empty_body());
    let mut running = first;
    for status in [202, 203, 204] {
        assert!(client.fetch(call()).await.status.is_success());
        drop(running);
        running = UserContainer::boot(ReservedPort::again(port).await, Script::Status(status));
        // On the same connection, and at once: the sidecar may not have noticed yet.
        assert_eq!(client.fetch(call()).await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c54_what_may_have_had_an_effect_is_not_sent_again() {
    let pair = Pair::start(sidecar()).await;
    for (request, answer) in [
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx", ""),
        ("DELETE / HTTP/1.1\r\nhost: a\r\n\r\n", ""),
        (GET, "HTTP/1.1 200"),
    ] {
        let (mut client, mut user) = kept_alive(&pair).await;
        client.send(request).await;
        user.head().await;
        user.send(answer).await;
        drop(user);
        assert_bad_gateway(&client.head().await);
        assert!(pair.container.is_left_alone(Duration::from_millis(20)).await);
    }
    let (mut client, mut user) = kept_alive(&pair).await;
    client
        .send("DELETE / HTTP/1.1\r\nhost: a\r\nidempotency-key: k\r\n\r\n")
        .await;
    user.head().await;
    drop(user);
    pair.container.accept().await.head().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c55_a_post_after_the_container_closed_its_idle_connection_succeeds() {
    let pair = Pair::start(sidecar()).await;
    for reset in [false, true] {
        let (mut client, user) = kept_alive(&pair).await;
        if reset {
            user.reset();
        } else {
            // Gone once the sidecar has closed its side as well.
            assert_eq!(user.rest_after_finishing().await.bytes, b"");
        }
        client
            .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
            .await;
        let mut user = pair.container.accept().await;
        user.until("body").await;
        user.send(OK).await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    }
}

/// A listener whose queue is full: the kernel drops what else wants to connect.
fn busy_listener() -> (Socket, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener
        .bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        if socket.connect_timeout(&address, Duration::from_millis(200)).is_err() {
            return (listener, waiting);
        }
        waiting.push(socket);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dial_that_times_out_is_tried_again() {
    let (listener, waiting) = busy_listener();
    let port = listener.local_addr().unwrap().as_socket().unwrap().port();
    let sidecar = sidecar().user_port(port).start().await;
    let mut client = RawConnection::open(sidecar.serving()).await;
    client.send(GET).await;
    // Longer than several dials; a proxy that gave up would have answered.
    assert!(client.is_silent(Duration::from_secs(1)).await);
    drop(waiting);
    listener.set_nonblocking(true).unwrap();
    let mut user = eventually("a dial that comes through", async || {
        let (socket, _) = listener.accept().ok()?;
        socket.set_nonblocking(true).unwrap();
        let mut connection = RawConnection::accepted(tokio::net::TcpStream::from_std(socket.into()).unwrap());
        // Those that only filled the queue have ended.
        (!connection.is_over().await).then_some(connection)
    })
    .await;
    user.head().await;
    user.send(OK).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
}
