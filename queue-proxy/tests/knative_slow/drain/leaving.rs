//! From SIGTERM to the end of the process.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, select_all};
use xdt_testkit::{
    Frame, Http1, Http2, RawConnection, RawHttp2, Script, Sidecar, UserContainer, empty_body, http::request,
};

use super::{LATE, QUIET, assert_shutting_down, before, sidecar, terminate};

const SECOND: Duration = Duration::from_secs(1);

fn get(sidecar: &Sidecar) -> http::Request<xdt_testkit::Body> {
    request("GET", format!("http://{}/", sidecar.serving()), &[], empty_body())
}

/// Waits until the quiet period is over: the listeners are closed.
async fn closed(sidecar: &Sidecar) {
    let closing = async {
        while tokio::net::TcpStream::connect(sidecar.serving()).await.is_ok() {
            tokio::time::sleep(SECOND / 10).await;
        }
    };
    tokio::time::timeout(QUIET + LATE, closing).await.expect("in time");
}

pub(crate) async fn c98_after_sigterm_probes_fail_at_once_and_requests_are_served() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = before(&user).start().await;
    assert_eq!(sidecar.kubelet_probe().await.text(), "queue");
    sidecar.terminate();
    // From the moment at which it says that it was told, no probe succeeds: there is no time in between.
    sidecar
        .logged("Sleeping 30s to allow K8s propagation of non-ready state")
        .await;
    for agent in [
        "kube-probe/1.33",
        "Knative-Activator-Probe",
        "Knative-Autoscaling-Probe",
    ] {
        for value in ["queue", "other"] {
            let answer = sidecar
                .probe(&[("user-agent", agent), ("k-network-probe", value)])
                .await;
            assert_shutting_down(&answer);
        }
    }
    assert_shutting_down(&sidecar.ingress_probe().await);
    assert_eq!(user.calls(), 0);
    for _ in 0..10 {
        assert_eq!(sidecar.probe(&[]).await.status, 200);
        let mut fresh = Http2::open(sidecar.serving()).await;
        assert_eq!(fresh.fetch(get(&sidecar)).await.status, 200, "on new connections too");
    }
}

/// When idle connections are no reason to stay: halfway to the end of the minute that open ones have.
const PROMPT: Duration = Duration::from_secs(45);

pub(crate) async fn c99_without_traffic_the_process_ends_after_the_quiet_period() {
    let mut sidecar = sidecar().start().await;
    let _idle = RawConnection::open(sidecar.serving()).await;
    let begun = Instant::now();
    sidecar.terminate();
    assert_eq!(sidecar.wait_exit(QUIET + LATE).await.code(), Some(0));
    assert!((QUIET..PROMPT).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    for line in [
        "Received TERM signal, attempting to gracefully shutdown servers.",
        "Sleeping 30s to allow K8s propagation of non-ready state",
        "Shutdown complete, exiting...",
    ] {
        assert!(sidecar.log().contains(line), "{line}");
    }
}

/// One that had a request each, and one whose peer takes no notice of anything that the server says.
pub(crate) async fn c99_idle_connections_that_were_used_are_no_reason_to_stay() {
    let user = UserContainer::start(Script::Echo);
    let mut sidecar = before(&user).start().await;
    let (mut one, mut two) = (
        Http1::open(sidecar.serving()).await,
        Http2::open(sidecar.serving()).await,
    );
    assert_eq!(one.fetch(get(&sidecar)).await.status, 200);
    assert_eq!(two.fetch(get(&sidecar)).await.status, 200);
    let mut deaf = RawHttp2::open(sidecar.serving(), &[]).await;
    deaf.frame(&Frame::get(1, "/")).await;
    deaf.until("an answer", |heard| heard.is_ok(1) && heard.ended.contains(&1))
        .await;
    let begun = Instant::now();
    sidecar.terminate();
    assert_eq!(sidecar.wait_exit(QUIET + LATE).await.code(), Some(0));
    assert!((QUIET..PROMPT).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(deaf.heard().goaway, Some(0), "it was told");
}

pub(crate) async fn c100_a_request_restarts_the_quiet_period_and_a_probe_does_not() {
    let user = UserContainer::start(Script::Echo);
    let mut sidecar = before(&user).start().await;
    sidecar.terminate();
    tokio::time::sleep(20 * SECOND).await; // the scene's own time line
    let asked = Instant::now();
    assert_eq!(sidecar.probe(&[]).await.status, 200);
    tokio::time::sleep(18 * SECOND).await;
    assert_shutting_down(&sidecar.kubelet_probe().await);
    assert_shutting_down(&sidecar.ingress_probe().await);
    assert_eq!(sidecar.wait_exit(LATE).await.code(), Some(0));
    let took = asked.elapsed();
    assert!((QUIET..QUIET + 18 * SECOND).contains(&took), "{took:?}");
}

/// Begins before SIGTERM and ends after the quiet period.
async fn outlast(user: &UserContainer, sidecar: &Sidecar) {
    user.called(1).await;
    sidecar.terminate();
    closed(sidecar).await;
    tokio::time::sleep(3 * SECOND).await; // the server is shutting down meanwhile, and waits
    user.release(1);
}

pub(crate) async fn c102_a_long_http1_request_is_finished() {
    let user = UserContainer::start(Script::Hold);
    let mut sidecar = before(&user).start().await;
    let mut client = Http1::open(sidecar.serving()).await;
    let fetch = client.fetch_within(QUIET + LATE, get(&sidecar));
    let (answer, ()) = tokio::join!(fetch, outlast(&user, &sidecar));
    assert_eq!(
        (answer.status.as_u16(), answer.json()["method"].as_str()),
        (200, Some("GET"))
    );
    assert_eq!(sidecar.wait_exit(LATE).await.code(), Some(0));
}

pub(crate) async fn c103_a_long_http2_request_is_finished() {
    let user = UserContainer::start(Script::Hold);
    let mut sidecar = before(&user).start().await;
    let mut client = Http2::open(sidecar.serving()).await;
    let (answer, ()) = tokio::join!(client.fetch(get(&sidecar)), outlast(&user, &sidecar));
    assert_eq!(
        (answer.status.as_u16(), answer.json()["method"].as_str()),
        (200, Some("GET"))
    );
    assert_eq!(sidecar.wait_exit(LATE).await.code(), Some(0));
}

pub(crate) async fn c104_a_websocket_works_on_after_the_quiet_period() {
    let user = UserContainer::start(Script::Tunnel);
    let mut sidecar = before(&user).start().await;
    let upgrade = ["connection: Upgrade", "upgrade: websocket"];
    let mut tunnel = RawConnection::request(sidecar.serving(), "GET", "/", &upgrade).await;
    assert!(tunnel.head().await.starts_with("HTTP/1.1 101"));
    sidecar.terminate();
    closed(&sidecar).await;
    for _ in 0..30 {
        tunnel.send("ping").await;
        assert_eq!(tunnel.next(4).await, b"ping");
        tokio::time::sleep(SECOND / 10).await;
    }
    assert!(sidecar.is_running());
    drop(tunnel);
    assert_eq!(sidecar.wait_exit(LATE).await.code(), Some(0));
}

/// What an upgraded connection has after the quiet period.
const LINGER: Duration = Duration::from_secs(60);

pub(crate) async fn c104_a_websocket_left_open_is_cut_after_a_minute() {
    let user = UserContainer::start(Script::Tunnel);
    let mut sidecar = before(&user).start().await;
    let upgrade = ["connection: Upgrade", "upgrade: websocket"];
    let mut tunnel = RawConnection::request(sidecar.serving(), "GET", "/", &upgrade).await;
    assert!(tunnel.head().await.starts_with("HTTP/1.1 101"));
    let begun = Instant::now();
    sidecar.terminate();
    assert_eq!(sidecar.wait_exit(QUIET + LINGER + LATE).await.code(), Some(0));
    assert!(begun.elapsed() >= QUIET + LINGER, "{:?}", begun.elapsed());
    assert!(tunnel.is_over().await);
}

pub(crate) async fn c105_answers_during_server_shutdown_close_their_connection() {
    let user = UserContainer::start(Script::Hold);
    let mut sidecar = before(&user).start().await;
    let mut waiting = RawConnection::request(sidecar.serving(), "GET", "/", &[]).await;
    outlast(&user, &sidecar).await;
    let head = waiting.head().await.to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 200") && head.contains("\r\nconnection: close\r\n"),
        "{head}"
    );
    assert!(waiting.rest().await.closed);
    assert_eq!(sidecar.wait_exit(LATE).await.code(), Some(0));
}

/// The type of a GOAWAY frame (RFC 9113, section 6.8).
const GOAWAY: u8 = 7;

pub(crate) async fn c105_http2_peers_are_told_to_go_away() {
    let mut sidecar = sidecar().start().await;
    let mut peer = RawConnection::open(sidecar.serving()).await.patient(QUIET + LATE);
    // The preface and empty SETTINGS.
    peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    sidecar.terminate();
    let told = async {
        loop {
            let head = peer.next(9).await;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let payload = peer.next(length).await;
            if head[3] == GOAWAY {
                return u32::from_be_bytes(payload[4..8].try_into().expect("an error code"));
            }
        }
    };
    assert_eq!(told.await, 0, "NO_ERROR");
    drop(peer);
    assert_eq!(sidecar.wait_exit(LATE).await.code(), Some(0));
}

pub(crate) async fn c106_statistics_are_answered_during_the_quiet_period() {
    let sidecar = sidecar().start().await;
    terminate(&sidecar).await;
    for _ in 0..10 {
        let answer = sidecar.stats_get("/metrics").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type")),
            (200, "application/protobuf")
        );
        tokio::time::sleep(2 * SECOND).await; // spread over the quiet period
    }
}

pub(crate) async fn c107_a_second_signal_ends_the_process_at_once() {
    for second in [Sidecar::terminate, Sidecar::interrupt] {
        let mut sidecar = sidecar().start().await;
        terminate(&sidecar).await;
        let begun = Instant::now();
        second(&sidecar);
        assert_eq!(sidecar.wait_exit(QUIET / 3).await.code(), Some(1));
        assert!(begun.elapsed() < QUIET / 3);
    }
}

pub(crate) async fn c107_sigint_is_as_sigterm() {
    let mut sidecar = sidecar().start().await;
    let begun = Instant::now();
    sidecar.interrupt();
    super::failing(&sidecar).await;
    assert_eq!(sidecar.wait_exit(QUIET + LATE).await.code(), Some(0));
    assert!(begun.elapsed() >= QUIET);
}

pub(crate) async fn c108_queued_requests_are_served_during_the_drain() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = before(&user).env("CONTAINER_CONCURRENCY", "1").start().await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(RawConnection::request(sidecar.serving(), "GET", "/", &[]).await);
    }
    user.called(1).await;
    terminate(&sidecar).await;
    // Some come while it drains, one more than there are places for.
    for _ in 0..6 {
        clients.push(RawConnection::request(sidecar.serving(), "GET", "/", &[]).await);
    }
    let heads = clients.iter_mut().map(|client| Box::pin(client.head()));
    let (head, refused, _) = select_all(heads).await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    drop(clients.remove(refused));
    user.release(11);
    let heads = join_all(clients.iter_mut().map(RawConnection::head)).await;
    assert!(heads.iter().all(|head| head.starts_with("HTTP/1.1 200")), "{heads:?}");
    assert_eq!((user.calls(), user.most_at_once()), (11, 1));
}
