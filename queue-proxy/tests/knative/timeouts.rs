//! The three timeouts (contract of the queue-proxy, section 4; checklist 68 to 75, quirks 2, 3 and 15).

use std::time::{Duration, Instant};

use xdt_testkit::{
    Answer, Builder, DRIP, Http1, Http2, Outcome, Payload, RawConnection, Script, Sidecar, UserContainer, bytes_body,
    empty_body,
    http::{collect, request},
    raw,
};

const SECOND: Duration = Duration::from_secs(1);
/// What a loaded machine may add.
const SLACK: Duration = Duration::from_secs(10);

fn sidecar(user: &UserContainer) -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .user_port(user.port())
}

/// In seconds; 0 = off.
fn limits(user: &UserContainer, revision: u64, response_start: u64, idle: u64) -> Builder {
    sidecar(user)
        .env("REVISION_TIMEOUT_SECONDS", &revision.to_string())
        .env("REVISION_RESPONSE_START_TIMEOUT_SECONDS", &response_start.to_string())
        .env("REVISION_IDLE_TIMEOUT_SECONDS", &idle.to_string())
}

fn assert_timed_out(answer: &Answer) {
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (504, "request timeout")
    );
    assert_eq!(answer.header("content-length"), "15");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
}

fn assert_took(begun: Instant, least: Duration) {
    let took = begun.elapsed();
    assert!((least..least + SLACK).contains(&took), "{took:?} instead of {least:?}");
}

fn get(sidecar: &Sidecar) -> http::Request<xdt_testkit::Body> {
    request("GET", format!("http://{}/", sidecar.serving()), &[], empty_body())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c68_a_silent_container_gets_504_after_the_revision_timeout() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = limits(&user, 1, 0, 0).allow("Request timeout: 1s").start().await;
    let begun = Instant::now();
    assert_timed_out(&sidecar.probe(&[]).await);
    assert_took(begun, SECOND);
    assert_eq!(user.ended(0).await.outcome, Outcome::Aborted, "the container sees it");
    sidecar.logged_times("\"message\":\"Request timeout: 1s\"", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c69_the_same_over_http2() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = limits(&user, 1, 0, 0).allow("Request timeout: 1s").start().await;
    let mut client = Http2::open(sidecar.serving()).await;
    let begun = Instant::now();
    assert_timed_out(&client.fetch(get(&sidecar)).await);
    assert_took(begun, SECOND);
    assert_eq!(user.ended(0).await.outcome, Outcome::Aborted);
    user.follow(Script::Echo);
    assert_eq!(client.fetch(get(&sidecar)).await.status, 200, "the connection lives on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c69_the_response_start_timeout_ends_queued_requests_too() {
    let user = UserContainer::start(Script::Drip(1000, SECOND / 5, false));
    let sidecar = limits(&user, 60, 1, 0)
        .env("CONTAINER_CONCURRENCY", "1")
        .allow("Response start timeout: 1s")
        .start()
        .await;
    let mut running = RawConnection::request(sidecar.serving(), "GET", "/", &[]).await;
    running.head().await;
    let begun = Instant::now();
    assert_timed_out(&sidecar.probe(&[]).await);
    assert_took(begun, SECOND);
    assert_eq!(user.calls(), 1, "it never left the queue");
    drop(running);
    user.follow(Script::Echo);
    assert_eq!(sidecar.probe(&[]).await.status, 200, "its place is free");
}

/// All come at once, so that the first is cut when the time of those behind it is over too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c69_the_revision_timeout_ends_queued_requests_too() {
    const PLACES: usize = 11;
    let user = UserContainer::start(Script::Hold);
    let sidecar = limits(&user, 2, 0, 0)
        .env("CONTAINER_CONCURRENCY", "1")
        .allow("Request timeout: 2s")
        .start()
        .await;
    let client = Http2::open(sidecar.serving()).await;
    let begun = Instant::now();
    let calls = (0..PLACES).map(|_| {
        let mut client = client.clone();
        let call = get(&sidecar);
        async move { client.fetch(call).await }
    });
    let answers = futures_util::future::join_all(calls).await;
    assert_took(begun, 2 * SECOND);
    answers.iter().for_each(assert_timed_out);
    assert!(user.calls() < PLACES, "some never left the queue: {}", user.calls());
    user.follow(Script::Echo);
    assert_eq!(sidecar.probe(&[]).await.status, 200, "their places are free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c70_the_response_start_timeout_ends_the_silent_and_spares_the_started() {
    let user = UserContainer::start(Script::Drip(8, SECOND / 4, false));
    let sidecar = limits(&user, 60, 1, 0)
        .allow("Response start timeout: 1s")
        .start()
        .await;
    let begun = Instant::now();
    let answer = sidecar.probe(&[]).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, DRIP.repeat(8)));
    assert!(begun.elapsed() > SECOND);
    user.follow(Script::Hold);
    let begun = Instant::now();
    assert_timed_out(&sidecar.probe(&[]).await);
    assert_took(begun, SECOND);
    assert_eq!(user.ended(1).await.outcome, Outcome::Aborted);
    sidecar
        .logged_times("\"message\":\"Response start timeout: 1s\"", 1)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c71_the_idle_timeout_ends_pauses_that_are_too_long_and_silence() {
    let user = UserContainer::start(Script::Drip(10, SECOND / 5 * 2, false));
    let sidecar = limits(&user, 60, 0, 2).allow("Idle timeout: 2s").start().await;
    let paused = async {
        let begun = Instant::now();
        let answer = sidecar.probe(&[]).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, DRIP.repeat(10)));
        assert!(begun.elapsed() > 2 * SECOND, "longer than the timeout in all");
    };
    paused.await;
    // Only three times the timeout: a timer that runs late, or not at all, lets the second piece through.
    user.follow(Script::Drip(2, 6 * SECOND, false));
    let stuck = async {
        let mut client = Http1::open(sidecar.serving()).await;
        let begun = Instant::now();
        let answer = client.send(get(&sidecar)).await.expect("a head");
        let broken = collect(answer).await.expect_err("one pause is too long");
        assert_eq!(broken.received, DRIP.len() as u64);
        assert_took(begun, 2 * SECOND);
    };
    stuck.await;
    user.follow(Script::Hold);
    let begun = Instant::now();
    assert_timed_out(&sidecar.probe(&[]).await);
    assert_took(begun, 2 * SECOND);
    sidecar.logged_times("\"message\":\"Idle timeout: 2s\"", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c71_a_request_body_is_no_write_to_the_client() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = limits(&user, 60, 0, 1).allow("Idle timeout: 1s").start().await;
    let mut client = RawConnection::request(sidecar.serving(), "POST", "/", &["content-length: 1000"]).await;
    let begun = Instant::now();
    let feeding = async {
        loop {
            client.send("x").await;
            tokio::time::sleep(SECOND / 10).await;
            if begun.elapsed() > SECOND * 3 / 2 {
                break;
            }
        }
    };
    feeding.await;
    assert!(client.head().await.starts_with("HTTP/1.1 504"));
    assert_eq!(user.ended(0).await.outcome, Outcome::Aborted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c72_a_response_that_outlasts_the_revision_timeout_is_ended() {
    let user = UserContainer::start(Script::Drip(10_000, SECOND / 10, false));
    let sidecar = limits(&user, 2, 0, 0).allow("Request timeout: 2s").start().await;
    let mut over_http2 = Http2::open(sidecar.serving()).await;
    let mut over_http1 = Http1::open(sidecar.serving()).await;
    let begun = Instant::now();
    let (one, two) = tokio::join!(over_http1.send(get(&sidecar)), over_http2.send(get(&sidecar)));
    let (one, two) = tokio::join!(collect(one.expect("a head")), collect(two.expect("a head")));
    assert_took(begun, 2 * SECOND);
    for broken in [one, two] {
        assert!(broken.expect_err("cut").received > 0);
    }
    sidecar.logged_times("\"message\":\"Request timeout: 2s\"", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c72_also_when_the_client_reads_nothing() {
    let user = UserContainer::start(Script::Answer(200, vec![], Payload::new(1, 64 << 20)));
    let sidecar = limits(&user, 2, 0, 0)
        .env("CONTAINER_CONCURRENCY", "1")
        .allow("Request timeout: 2s")
        .start()
        .await;
    let mut stuck = RawConnection::request(sidecar.serving(), "GET", "/", &[]).await;
    stuck.head().await;
    user.follow(Script::Echo);
    let begun = Instant::now();
    // Queued: its turn comes when the timeout has freed the place, for which this client does nothing.
    assert_eq!(sidecar.probe(&[]).await.status, 200);
    assert!(begun.elapsed() < SLACK);
    sidecar.logged("\"message\":\"Request timeout: 2s\"").await;
    let rest = stuck.rest().await;
    assert!(rest.bytes.len() < 64 << 20, "the body ends short");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c73_a_cut_response_is_visibly_broken() {
    let user = UserContainer::start(Script::Drip(10_000, SECOND / 10, false));
    let sidecar = limits(&user, 1, 0, 0).allow("Request timeout: 1s").start().await;
    let mut chunked = RawConnection::request(sidecar.serving(), "GET", "/", &[]).await;
    assert!(
        chunked
            .head()
            .await
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
    );
    let rest = chunked.rest().await;
    assert!(!rest.ends_chunked_cleanly(), "no last chunk");
    let text = String::from_utf8_lossy(&rest.bytes);
    assert!(text.contains(DRIP) && !text.contains("request timeout"), "{text}");

    user.follow(Script::Drip(10_000, SECOND / 10, true));
    let mut announced = RawConnection::request(sidecar.serving(), "GET", "/", &[]).await;
    assert!(
        announced
            .head()
            .await
            .to_ascii_lowercase()
            .contains("content-length: 40000")
    );
    let rest = announced.rest().await.bytes;
    assert!(!rest.is_empty() && rest.len() < 40_000 && rest.len() % DRIP.len() == 0);

    let mut client = Http2::open(sidecar.serving()).await;
    let answer = client.send(get(&sidecar)).await.expect("a head");
    assert!(collect(answer).await.is_err(), "the stream is reset");
    user.follow(Script::Echo);
    assert_eq!(
        client.fetch(get(&sidecar)).await.status,
        200,
        "and the connection lives on"
    );
}

async fn tunnel(sidecar: &Sidecar) -> RawConnection {
    let upgrade = ["connection: Upgrade", "upgrade: websocket"];
    let mut tunnel = RawConnection::request(sidecar.serving(), "GET", "/", &upgrade).await;
    assert!(tunnel.head().await.starts_with("HTTP/1.1 101"));
    tunnel
}

/// Sends a byte and awaits its echo, until `end`.
async fn chat(tunnel: &mut RawConnection, end: Instant) {
    while Instant::now() < end {
        tunnel.send("x").await;
        assert_eq!(tunnel.next(1).await, b"x");
        tokio::time::sleep(SECOND / 10).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c74_a_busy_websocket_outlives_response_start_and_idle_until_the_revision_timeout() {
    let user = UserContainer::start(Script::Tunnel);
    let sidecar = limits(&user, 5, 1, 2).allow("Request timeout: 5s").start().await;
    let begun = Instant::now();
    let mut tunnel = tunnel(&sidecar).await;
    chat(&mut tunnel, begun + 4 * SECOND).await;
    let rest = tunnel.rest().await;
    assert!(
        rest.closed && rest.bytes.is_empty(),
        "closed in order, without a close frame"
    );
    // Idle since four seconds, so the revision timeout comes first.
    assert_took(begun, 5 * SECOND);
    sidecar.logged("\"message\":\"Request timeout: 5s\"").await;
    assert_ne!(user.ended(0).await.outcome, Outcome::Begun);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c74_a_silent_websocket_is_idle() {
    let user = UserContainer::start(Script::Tunnel);
    let sidecar = limits(&user, 60, 1, 2).allow("Idle timeout: 2s").start().await;
    let mut tunnel = tunnel(&sidecar).await;
    chat(&mut tunnel, Instant::now() + SECOND).await;
    let silent = Instant::now();
    tunnel.send("last").await;
    assert_eq!(tunnel.next(4).await, b"last");
    let rest = tunnel.rest().await;
    assert!(rest.closed, "closed in order");
    assert_took(silent, 2 * SECOND);
    sidecar.logged("\"message\":\"Idle timeout: 2s\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c75_after_a_504_the_connection_serves_the_next_request() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = limits(&user, 1, 0, 0).allow("Request timeout: 1s").start().await;
    let mut client = Http1::open(sidecar.serving()).await;
    assert_timed_out(&client.fetch(get(&sidecar)).await);
    user.follow(Script::Echo);
    assert_eq!(client.fetch(get(&sidecar)).await.status, 200);
    user.follow(Script::Hold);
    let post = request(
        "POST",
        format!("http://{}/", sidecar.serving()),
        &[],
        bytes_body(vec![0; 1 << 20]),
    );
    assert_timed_out(&client.fetch(post).await);
    user.follow(Script::Echo);
    assert_eq!(client.fetch(get(&sidecar)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c75_also_when_the_request_was_still_being_sent() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = limits(&user, 1, 0, 0).allow("Request timeout: 1s").start().await;
    let mut client = RawConnection::request(sidecar.serving(), "POST", "/", &["content-length: 200000"]).await;
    client.send(vec![b'x'; 100_000]).await;
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 504"), "{head}");
    assert_eq!(client.next(15).await, b"request timeout");
    user.follow(Script::Echo);
    client.send(vec![b'x'; 100_000]).await;
    client.send(raw::head("GET", "/next", &[])).await;
    assert!(client.head().await.starts_with("HTTP/1.1 200"));
    assert_eq!(user.seen()[1].target, "/next");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c75_no_body_is_asked_for_that_nobody_wants() {
    let user = UserContainer::start(Script::Drip(1000, SECOND / 5, false));
    let sidecar = limits(&user, 60, 1, 0)
        .env("CONTAINER_CONCURRENCY", "1")
        .allow("Response start timeout: 1s")
        .start()
        .await;
    let mut running = RawConnection::request(sidecar.serving(), "GET", "/", &[]).await;
    running.head().await;
    // Queued, so nobody has asked for its body, and timed out there.
    let lines = ["content-length: 1000", "expect: 100-continue"];
    let mut waiting = RawConnection::request(sidecar.serving(), "POST", "/", &lines).await;
    let head = waiting.head().await;
    assert!(head.starts_with("HTTP/1.1 504"), "no 100 before it: {head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q15_a_revision_timeout_of_zero_fails_every_request_at_once() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = limits(&user, 0, 0, 0).allow("Request timeout: 0s").start().await;
    let mut client = Http1::open(sidecar.serving()).await;
    for _ in 0..3 {
        assert_timed_out(&client.fetch(get(&sidecar)).await);
    }
    assert_eq!(user.calls(), 0);
    assert_eq!(sidecar.kubelet_probe().await.status, 200, "probes are answered");
}
