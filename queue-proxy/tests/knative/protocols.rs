//! HTTP/1.1 and HTTP/2 side by side: versions, pools, streaming, cancellation (contract of the queue-proxy, sections
//! 2.4, 2.5 and 2.7; clauses 30 and 32 to 39 of its checklist).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{Response, StatusCode, Version};
use hyper_util::{rt::TokioExecutor, server::conn::auto};
use tokio::sync::Semaphore;
use xdt_testkit::{
    Builder, Http1, Http2, Outcome, Pair, RawConnection, RawContainer, Script, Service, Sidecar, UserContainer,
    bytes_body, empty_body, eventually, http::request,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).without_ring()
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c30_sequential_requests_share_one_connection() {
    let user = Service::start(async |_| Ok(Response::new(bytes_body("x"))));
    let sidecar = sidecar().user_port(user.port()).start().await;
    for connection in 0..3 {
        let mut client = Http1::open(sidecar.serving()).await;
        for _ in 0..5 {
            let sent = request("POST", "/", &[("host", "a")], bytes_body("some"));
            assert_eq!(client.fetch(sent).await.text(), "x", "connection {connection}");
        }
    }
    assert_eq!(user.connections(), 1);
    let mut clients = [
        Http2::open(sidecar.serving()).await,
        Http2::open(sidecar.serving()).await,
    ];
    for client in &mut clients {
        client
            .fetch(request("GET", url(sidecar.serving()), &[], empty_body()))
            .await;
    }
    assert_eq!(user.connections(), 2, "streams share one as well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c32_chunks_go_on_one_by_one() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    client.send(GET).await;
    let mut user = pair.container.accept().await;
    user.head().await;
    user.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
    assert!(
        client.head().await.contains("transfer-encoding: chunked"),
        "the head does not wait for a chunk"
    );
    for chunk in ["5\r\nfirst\r\n", "6\r\nsecond\r\n", "0\r\n\r\n"] {
        user.send(chunk).await;
        assert_eq!(
            client.until(chunk).await,
            chunk.as_bytes(),
            "nothing waits for the next"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c33_c34_announced_lengths_hold_nothing_back() {
    let pair = Pair::start(sidecar()).await;
    for kind in ["text/event-stream", "text/plain"] {
        let mut client = pair.client().await;
        client.send(GET).await;
        let mut user = pair.container.accept().await;
        user.head().await;
        user.send(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: 18\r\n\r\n"
        ))
        .await;
        assert!(client.head().await.contains("content-length: 18\r\n"));
        for event in ["data: a\n\n", "data: b\n\n"] {
            user.send(event).await;
            assert_eq!(client.until("\n\n").await, event.as_bytes());
        }
        drop(user); // so that the next request has a connection of its own
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c35_both_ports_speak_both_protocols_and_the_container_sees_the_clients() {
    for port in [8012, 8013] {
        let user = UserContainer::start(Script::Echo);
        let sidecar = sidecar()
            .env("QUEUE_SERVING_PORT", &port.to_string())
            .user_port(user.port())
            .start()
            .await;
        let address = SocketAddr::new(sidecar.serving().ip(), port);
        let sent = request("POST", "/", &[("host", "a")], bytes_body("one"));
        assert_eq!(Http1::open(address).await.fetch(sent).await.status, StatusCode::OK);
        let sent = request("POST", url(address), &[], bytes_body("two"));
        let answer = Http2::open(address).await.fetch(sent).await;
        assert_eq!(answer.json()["bytes"], 3);
        let versions: Vec<_> = user.seen().iter().map(|seen| seen.version).collect();
        assert_eq!(versions, [Version::HTTP_11, Version::HTTP_2]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c37_two_hundred_streams_of_one_connection_are_served_at_once() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let client = Http2::open(sidecar.serving()).await;
    let address = url(sidecar.serving());
    let streams = (0..200).map(|_| {
        let (mut client, address) = (client.clone(), &address);
        async move { client.fetch(request("GET", address, &[], empty_body())).await.status }
    });
    let all = streams.collect::<FuturesUnordered<_>>().collect::<Vec<_>>();
    let held = async {
        user.called(200).await;
        user.release(200);
    };
    let (statuses, ()) = tokio::join!(all, held);
    assert!(statuses.iter().all(|status| *status == StatusCode::OK));
    assert_eq!(statuses.len(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c37_more_streams_than_the_container_takes_get_another_connection() {
    let (running, released) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(8);
    let (begun, end) = (running.clone(), released.clone());
    let user = Service::with(builder, move |request| {
        let (begun, end) = (begun.clone(), end.clone());
        async move {
            if request.uri().path() == "/held" {
                begun.add_permits(1);
                end.acquire().await?.forget();
            }
            Ok(Response::new(empty_body()))
        }
    });
    let sidecar = sidecar().user_port(user.port()).start().await;
    let mut client = Http2::open(sidecar.serving()).await;
    // The first connection's limit is known afterwards.
    client
        .fetch(request("GET", url(sidecar.serving()), &[], empty_body()))
        .await;
    client
        .fetch(request("GET", url(sidecar.serving()), &[], empty_body()))
        .await;
    let held = format!("{}held", url(sidecar.serving()));
    let streams = (0..20).map(|_| {
        let (mut client, held) = (client.clone(), &held);
        async move { client.fetch(request("GET", held, &[], empty_body())).await.status }
    });
    let all = streams.collect::<FuturesUnordered<_>>().collect::<Vec<_>>();
    let at_once = async {
        let all_of_them = tokio::time::timeout(Duration::from_secs(20), running.acquire_many(20));
        all_of_them.await.expect("none waits for another").unwrap().forget();
        released.add_permits(20);
    };
    let (statuses, ()) = tokio::join!(all, at_once);
    assert!(statuses.iter().all(|status| *status == StatusCode::OK));
    assert!((2..=20).contains(&user.connections()), "{}", user.connections());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c38_an_http1_container_gives_http2_clients_502() {
    let builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    let user = Service::with(builder, async |_| Ok(Response::new(empty_body())));
    let sidecar = sidecar()
        .allow("error reverse proxying request")
        .user_port(user.port())
        .start()
        .await;
    let mut client = Http2::open(sidecar.serving()).await;
    for _ in 0..2 {
        let answer = client
            .fetch(request("GET", url(sidecar.serving()), &[], empty_body()))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c38_an_http2_container_gives_http1_clients_502() {
    let builder = auto::Builder::new(TokioExecutor::new()).http2_only();
    let user = Service::with(builder, async |_| Ok(Response::new(empty_body())));
    let sidecar = sidecar()
        .allow("error reverse proxying request")
        .user_port(user.port())
        .start()
        .await;
    let mut client = Http1::open(sidecar.serving()).await;
    let answer = client.fetch(request("GET", "/", &[("host", "a")], empty_body())).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_a_reset_stream_is_reset_at_the_container_and_the_others_run_on() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let mut client = Http2::open(sidecar.serving()).await;
    let mut other = client.clone();
    let address = url(sidecar.serving());
    let running = tokio::spawn(async move { other.fetch(request("GET", &address, &[], empty_body())).await.status });
    user.called(1).await;
    let address = url(sidecar.serving());
    let reset = tokio::spawn(async move { client.send(request("GET", &address, &[], empty_body())).await.map(drop) });
    user.called(2).await;
    reset.abort();
    assert_eq!(user.ended(1).await.outcome, Outcome::Aborted);
    user.release(1);
    assert_eq!(running.await.unwrap(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c39_a_disconnected_http1_client_closes_the_connection_to_the_container() {
    let pair = Pair::start(sidecar()).await;
    // Before the answer, and in the middle of it.
    for answer in ["", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"] {
        let mut client = pair.client().await;
        client.send(GET).await;
        let mut user = pair.container.accept().await;
        user.head().await;
        user.send(answer).await;
        if !answer.is_empty() {
            client.until("1\r\na\r\n").await;
        }
        drop(client);
        assert_eq!(user.rest().await.bytes, b"", "nothing more comes, but the end");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_kept_as_many_as_may_run_at_once() {
    let user = RawContainer::start();
    let sidecar = sidecar()
        .env("CONTAINER_CONCURRENCY", "2")
        .user_port(user.port())
        .start()
        .await;
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = RawConnection::open(sidecar.serving()).await;
        client.send(GET).await;
        let mut connection = user.accept().await;
        connection.head().await;
        clients.push((client, connection));
    }
    for (client, connection) in &mut clients {
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        client.head().await;
    }
    // Both are reused, none is dialled.
    for (client, _) in &mut clients {
        client.send(GET).await;
    }
    for (_, connection) in &mut clients {
        assert!(connection.head().await.starts_with("GET / HTTP/1.1\r\n"));
    }
    assert!(user.is_left_alone(Duration::from_millis(50)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_without_length_flow_both_ways_over_http2() {
    let user = UserContainer::start(Script::Grpc);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let mut client = Http2::open(sidecar.serving()).await;
    let payload = xdt_testkit::Payload::new(7, 3_000_000);
    let answer = client
        .fetch(request("POST", url(sidecar.serving()), &[], payload.chunked()))
        .await;
    assert_eq!(answer.body, payload.bytes());
    assert!(answer.headers.get("content-length").is_none());
    eventually("the end of the upload", async || {
        (user.seen().first()?.outcome == Outcome::Completed).then_some(())
    })
    .await;
}
