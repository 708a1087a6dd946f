//! Upgraded connections, as bytes on both sides (contract of the queue-proxy, section 2.4; clauses 40 to 42 of its
//! checklist).

use std::time::Duration;

use xdt_testkit::{Builder, Pair, RawConnection, Sidecar};

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

fn asking(kind: &str) -> String {
    format!(
        "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: {kind}\r\nsec-websocket-key: k\r\n\r\n"
    )
}

fn switching(kind: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {kind}\r\nsec-websocket-accept: s\r\n\r\n"
    )
}

/// Both ends of a tunnel of this kind.
async fn tunnel(pair: &Pair, kind: &str) -> (RawConnection, RawConnection) {
    let mut client = pair.client().await;
    client.send(asking(kind)).await;
    let mut user = pair.container.accept().await;
    let asked = user.head().await;
    assert!(asked.contains("connection: Upgrade\r\n"), "{asked}");
    assert!(asked.contains(&format!("upgrade: {kind}\r\n")), "{asked}");
    assert!(asked.contains("sec-websocket-key: k\r\n") && asked.contains("x-forwarded-for: "));
    // The first bytes of the new protocol may come along.
    user.send(switching(kind) + "hello").await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("connection: Upgrade\r\n") && head.contains(&format!("upgrade: {kind}\r\n")));
    assert!(
        head.contains("sec-websocket-accept: s\r\n"),
        "the container's own headers: {head}"
    );
    assert!(
        !head.contains("content-length") && !head.contains("transfer-encoding"),
        "{head}"
    );
    client.until("hello").await;
    (client, user)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c40_a_websocket_carries_bytes_both_ways_and_ends_from_either_side() {
    let pair = Pair::start(sidecar()).await;
    for client_closes in [true, false] {
        let (mut client, mut user) = tunnel(&pair, "websocket").await;
        for turn in 0..3 {
            let (there, back) = (format!("there {turn}"), format!("HTTP/1.1 400 and back {turn}\r\n"));
            client.send(&there).await;
            assert_eq!(user.until(&there).await, there.as_bytes());
            user.send(&back).await;
            assert_eq!(client.until(&back).await, back.as_bytes());
        }
        let other = if client_closes {
            drop(client);
            user
        } else {
            drop(user);
            client
        };
        assert_eq!(other.rest().await.bytes, b"");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c40_the_end_of_one_direction_leaves_the_other_open() {
    let pair = Pair::start(sidecar()).await;
    let (mut client, mut user) = tunnel(&pair, "websocket").await;
    client.send("last").await;
    client.finish_sending().await;
    user.until("last").await;
    user.send("answer").await;
    client.until("answer").await;
    assert_eq!(user.rest_after_finishing().await.bytes, b"");
    assert_eq!(client.rest().await.bytes, b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c40_a_reset_on_either_side_ends_both() {
    let pair = Pair::start(sidecar()).await;
    for client_resets in [true, false] {
        let (client, user) = tunnel(&pair, "websocket").await;
        let other = if client_resets {
            client.reset();
            user
        } else {
            user.reset();
            client
        };
        assert_eq!(other.rest().await.bytes, b"");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c41_other_protocols_work_as_well() {
    let pair = Pair::start(sidecar()).await;
    let (mut client, mut user) = tunnel(&pair, "my-own/2").await;
    client.send([0, 255, 13, 10]).await;
    assert_eq!(user.until([13, 10]).await, [0, 255, 13, 10]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c41_an_upgrade_may_be_declined() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    for _ in 0..2 {
        client.send(asking("websocket")).await;
        let mut user = pair.container.accept().await;
        user.head().await;
        user.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
            .await;
        assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
        client.until("no").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c41_an_upgrade_to_http2_is_served_as_http1() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    client
        .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n")
        .await;
    let mut user = pair.container.accept().await;
    let head = user.head().await;
    assert!(!head.contains("upgrade") && !head.contains("http2-settings"), "{head}");
    user.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    assert!(client.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c42_a_switch_that_was_not_asked_for_is_502() {
    let pair = Pair::start(sidecar().allow("error reverse proxying request")).await;
    let plain = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned();
    for (asked, switched) in [
        (plain, "websocket"),
        (asking("websocket"), "other"),
        (asking("websocket"), ""),
    ] {
        let mut client = pair.client().await;
        client.send(&asked).await;
        let mut user = pair.container.accept().await;
        user.head().await;
        user.send(switching(switched)).await;
        assert!(
            client.head().await.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
            "{asked}"
        );
        assert_eq!(user.rest().await.bytes, b"", "the connection is of no use");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrades_take_turns_with_ordinary_requests() {
    let pair = Pair::start(sidecar()).await;
    let mut client = pair.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut user = pair.container.accept().await;
    user.head().await;
    user.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    client.head().await;
    client.send(asking("websocket")).await;
    user.head().await;
    user.send(switching("websocket")).await;
    assert!(client.head().await.starts_with("HTTP/1.1 101 "));
    client.send("x").await;
    user.until("x").await;
    assert!(client.is_silent(Duration::from_millis(20)).await);
}
