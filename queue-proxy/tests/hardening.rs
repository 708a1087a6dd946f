//! What attackers found once, and must not find again: bounds that metadata walked around, calls that were abandoned,
//! control messages that broke off.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use xdt_testkit::{
    Builder, Payload, RawConnection, Script, Sidecar, UserContainer, bytes_body, empty_body, eventually, http::request,
};

const MIB: u64 = 1 << 20;

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

/// A sidecar with little memory that does not wait for more.
fn small() -> Builder {
    sidecar()
        .env("XDT_OBJECT_MEMORY", "4MiB")
        .env("XDT_BUFFER_WAIT", "100ms")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_objects_and_metadata_count_against_the_memory_bound() {
    let plain = small().start().await;
    let mut held = 0;
    while plain.try_put(&[], empty_body()).await.status == 201 {
        held += 1;
        assert!(
            held <= 4096,
            "4 MiB hold at most 4096 objects of a kibibyte's bookkeeping"
        );
    }
    assert!(held >= 2048, "only {held} empty objects fitted");
    let annotated = small().start().await;
    let meta = "m".repeat(7_000);
    let mut held = 0;
    while annotated
        .try_put(&[("xdt-meta-note", &meta)], empty_body())
        .await
        .status
        == 201
    {
        held += 1;
        assert!(held <= 600, "each takes 8 KiB with its metadata");
    }
    assert!(annotated.rss_bytes() < 32 * MIB);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_content_type_that_no_peer_would_take_is_refused_at_the_put() {
    let sidecar = sidecar().start().await;
    let long = "x".repeat(1025);
    let refused = sidecar.try_put(&[("content-type", &long)], bytes_body("data")).await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (400, "bad-request")
    );
    assert!(refused.text().contains("Content-Type"), "{}", refused.text());
    let longest = "x".repeat(1024);
    assert_eq!(
        sidecar
            .try_put(&[("content-type", &longest)], bytes_body("data"))
            .await
            .status,
        201
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_unknown_length_over_the_whole_bound_is_too_large_not_busy() {
    let sidecar = small().start().await;
    let refused = sidecar.try_put(&[], Payload::new(1, 5 * MIB).chunked()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.problem().as_str()),
        (413, "too-large")
    );
    sidecar.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_its_client_abandons_frees_its_object_and_buffer() {
    // A callee that reads and never answers.
    let callee = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = callee.local_addr().unwrap();
    let caller = sidecar().env("XDT_EGRESS_HOSTS", "127.0.0.1").start().await;
    let mut client = RawConnection::open(caller.egress()).await;
    let head = format!("POST http://{address}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n");
    client.send(head).await;
    client.send(vec![7; 300_000]).await;
    let (mut called, _) = callee.accept().await.unwrap();
    let mut start = [0; 4];
    called.read_exact(&mut start).await.unwrap();
    assert_eq!((&start, caller.status().await.held()), (b"POST", 1));
    drop(client);
    caller.emptied().await;
    eventually("a free buffer", async || {
        (caller.status().await.pool_used() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_message_whose_body_breaks_off_runs_no_user_code_and_uses_no_retrieval() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let reference = sidecar.put(vec![1; 500_000]).await;
    let head =
        format!("POST /x HTTP/1.1\r\nHost: h\r\nXdt-Reference: {reference}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut garbage = RawConnection::open(sidecar.serving()).await;
    garbage.send(format!("{head}zzzz\r\n")).await;
    let refused = garbage.head().await;
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    let mut leaving = RawConnection::open(sidecar.serving()).await;
    leaving.send(&head).await;
    drop(leaving);
    let answer = sidecar.get(&reference).await;
    assert_eq!((answer.status.as_u16(), user.calls()), (200, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn underscores_do_not_carry_xdt_headers_past_the_proxy() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar().user_port(user.port()).start().await;
    let headers = [("xdt_reference", "xdt1.AAAA"), ("xdt_foo", "1")];
    sidecar.invoke("/", &headers, empty_body()).await;
    assert_eq!(
        (user.only().header("xdt_reference"), user.only().header("xdt_foo")),
        ("", "")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_drain_grace_drops_what_is_left_before_the_quiet_period_ends() {
    let sidecar = sidecar()
        .env("XDT_DRAIN_GRACE", "200ms")
        .allow("objects were dropped at shutdown")
        .start()
        .await;
    let reference = sidecar.put("left behind").await;
    sidecar.terminate();
    eventually("the end of the grace", async || {
        (sidecar.object("HEAD", &reference, &[]).await.status == 410).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_consumer_gives_its_claim_back_within_the_pull_timeout() {
    let timeouts = |builder: Builder| builder.env("XDT_PULL_TIMEOUT", "1s");
    let producer = timeouts(sidecar()).start().await;
    let (consumer, other) = tokio::join!(timeouts(sidecar()).start(), timeouts(sidecar()).start());
    let payload = Payload::new(3, 64 * MIB);
    let reference = producer.put(payload.bytes()).await;
    let (mut client, head) = RawConnection::get(&consumer, &reference).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    client.take(1000).await;
    consumer.pause();
    eventually("the claim's return", async || {
        let url = other.object_url(&reference);
        let answer = other.client().receive(request("GET", url, &[], empty_body())).await;
        (answer.status == 200).then_some(())
    })
    .await;
    consumer.resume();
}

/// A user container that answers every request with an event and then says nothing more.
async fn one_event_then_silence() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let _read = socket.read(&mut request).await;
            let answer =
                "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nevent\r\n";
            socket.write_all(answer.as_bytes()).await.unwrap();
            open.push(socket);
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_pauses_is_passed_on_although_its_caller_accepts_references() {
    let function = sidecar().user_port(one_event_then_silence().await).start().await;
    let caller = sidecar()
        .env("XDT_EGRESS_HOSTS", &function.serving().ip().to_string())
        .start()
        .await;
    let mut client = RawConnection::open(caller.egress()).await;
    client
        .send(format!(
            "GET http://{}/ HTTP/1.1\r\nHost: x\r\n\r\n",
            function.serving()
        ))
        .await;
    let head = client.head().await.to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 200") && !head.contains("xdt-reference"),
        "{head}"
    );
    client.take("5\r\nevent\r\n".len()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_revision_timeout_ends_what_nobody_reads_or_fetches() {
    let user = UserContainer::start(Script::Answer(200, vec![], Payload::new(5, 64 * MIB)));
    let sidecar = sidecar()
        .user_port(user.port())
        .env("CONTAINER_CONCURRENCY", "1")
        .env("REVISION_TIMEOUT_SECONDS", "1")
        .allow("Request timeout")
        .start()
        .await;
    for accept in ["", "Xdt-Accept: reference\r\n"] {
        let mut client = RawConnection::open(sidecar.serving()).await;
        client.send(format!("GET / HTTP/1.1\r\nHost: x\r\n{accept}\r\n")).await;
        client.head().await;
        user.follow(Script::Echo);
        eventually("the slot's return", async || {
            (sidecar.invoke("/", &[], empty_body()).await.status == 200).then_some(())
        })
        .await;
        user.follow(Script::Answer(200, vec![], Payload::new(5, 64 * MIB)));
    }
}
