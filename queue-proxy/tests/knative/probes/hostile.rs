//! Containers that mean harm: whatever they answer, the sidecar says "not ready" (or "ready", where stock does) in time,
//! stays small, and goes on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::kit::{NOT_READY, RawContainer, answer, head, http, is_ready, probing};

/// Far more than a probe takes, far less than the attacks send.
const MUCH_MEMORY: u64 = 64 << 20;
/// The probes' own limit is one second.
const IN_TIME: Duration = Duration::from_secs(8);

fn grpc(port: u16) -> Value {
    json!({"grpc": {"port": port}, "periodSeconds": 1, "timeoutSeconds": 1})
}

/// Asks a few times; returns whether it was ready each time.
async fn asked(container: &RawContainer, probe: &Value) -> bool {
    let mut sidecar = probing(probe).allow(NOT_READY).start().await;
    let mut ready = 0;
    for _ in 0..3 {
        let begun = Instant::now();
        ready += usize::from(is_ready(&sidecar).await);
        assert!(begun.elapsed() < IN_TIME, "{:?}", begun.elapsed());
    }
    assert!(ready == 0 || ready == 3, "{ready} of 3");
    assert!(sidecar.is_running() && container.connections() >= 3);
    assert!(sidecar.rss_bytes() < MUCH_MEMORY, "{} bytes", sidecar.rss_bytes());
    ready == 3
}

/// Sends `begin`, then `more` until the prober leaves.
async fn pour(socket: &mut TcpStream, begin: &[u8], more: &[u8]) {
    let mut written = socket.write_all(begin).await;
    while written.is_ok() {
        written = socket.write_all(more).await;
    }
}

async fn pouring(begin: &'static [u8], more: &'static [u8]) -> RawContainer {
    RawContainer::start(move |_, mut socket| async move {
        let _request = head(&mut socket).await;
        pour(&mut socket, begin, more).await;
    })
    .await
}

#[tokio::test]
async fn endless_headers_are_not_ready() {
    let long = pouring(b"HTTP/1.1 200 OK\r\nX: ", &[b'a'; 65536]).await;
    assert!(!asked(&long, &http(long.port(), "/")).await);
    let many = pouring(
        b"HTTP/1.1 200 OK\r\n",
        b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
    )
    .await;
    assert!(!asked(&many, &http(many.port(), "/")).await);
    let interim = pouring(b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").await;
    assert!(!asked(&interim, &http(interim.port(), "/")).await);
}

#[tokio::test]
async fn an_endless_body_after_200_is_ready_and_not_read() {
    let container = pouring(b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n", &[0; 65536]).await;
    assert!(asked(&container, &http(container.port(), "/")).await);
    let slow = RawContainer::start(|_, mut socket| async move {
        let _request = head(&mut socket).await;
        let _left = socket
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        std::future::pending::<()>().await;
    })
    .await;
    assert!(asked(&slow, &http(slow.port(), "/")).await);
}

#[tokio::test]
async fn a_redirect_loop_ends_after_ten_requests() {
    let container = RawContainer::answering(|_, _| "HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n".to_owned()).await;
    let sidecar = probing(&http(container.port(), "/"))
        .allow("stopped after 10 redirects")
        .start()
        .await;
    assert!(!is_ready(&sidecar).await);
    assert_eq!(container.connections(), 10);
    sidecar.logged("stopped after 10 redirects").await;
}

#[tokio::test]
async fn nine_redirects_are_followed() {
    let container = RawContainer::answering(|number, _| match number {
        9 => answer(200),
        _ => format!("HTTP/1.1 302 Found\r\nLocation: /{number}\r\n\r\n"),
    })
    .await;
    let sidecar = probing(&http(container.port(), "/")).start().await;
    assert!(is_ready(&sidecar).await);
    assert_eq!(container.connections(), 10);
}

#[tokio::test]
async fn redirects_to_nowhere_are_not_ready() {
    for location in [
        "ftp://h/",
        "http://[::1",
        "http://h:99999/",
        "//",
        "http:///x",
        "\u{ff}\u{fe}",
        "/%zz",
    ] {
        let text = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
        let container = RawContainer::answering(move |_, _| text.clone()).await;
        assert!(!asked(&container, &http(container.port(), "/")).await, "{location}");
    }
}

#[tokio::test]
async fn garbage_is_not_ready() {
    for garbage in [
        &b""[..],
        b"\0\0\0",
        b"HTTP/1.1 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.0\r\n",
    ] {
        let container = RawContainer::start(move |_, mut socket| async move {
            let _left = socket.write_all(garbage).await;
            let _request = head(&mut socket).await;
        })
        .await;
        assert!(!asked(&container, &http(container.port(), "/")).await, "{garbage:?}");
        assert!(!asked(&container, &grpc(container.port())).await, "{garbage:?}");
    }
}

#[tokio::test]
async fn the_http2_preface_answered_in_http1_is_not_ready() {
    let container = RawContainer::with_status(200).await;
    assert!(!asked(&container, &grpc(container.port())).await);
}

#[tokio::test]
async fn http2_that_pours_frames_is_not_ready() {
    // SETTINGS, then endless CONTINUATION of a HEADERS frame for stream 1, or endless PING.
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const HEADERS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
    const CONTINUATION: &[u8] = &[0, 0, 4, 9, 0, 0, 0, 0, 1, 0x40, 1, b'a', 0];
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    for (begin, more) in [(HEADERS, CONTINUATION), (SETTINGS, PING)] {
        let container = pouring(begin, more).await;
        assert!(!asked(&container, &grpc(container.port())).await);
    }
}
