//! The breaker (contract of the queue-proxy, section 3; checklist 58 to 67).

use std::time::{Duration, Instant};

use futures_util::future::{join_all, select_all};
use xdt_testkit::{
    Answer, Builder, Certificate, Frame, Http1, Http2, Mount, Outcome, Payload, RawConnection, RawHttp2, Script,
    Sidecar, TlsClient, UserContainer, bytes_body, empty_body, eventually, frames::code, http::request, raw,
    user::ReservedPort,
};

const FULL: &str = "pending request queue full\n";

fn sidecar(user: u16, concurrency: usize) -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .user_port(user)
        .env("CONTAINER_CONCURRENCY", &concurrency.to_string())
}

async fn get(sidecar: &Sidecar, headers: &[(&str, &str)]) -> Answer {
    sidecar.probe(headers).await
}

/// Sends one request more than the breaker holds, asserts that exactly one is refused, at once and in Knative's words,
/// and returns the others, which wait for their answers.
async fn fill(sidecar: &Sidecar, concurrency: usize) -> Vec<RawConnection> {
    top_up(sidecar, Vec::new(), 11 * concurrency + 1).await
}

/// As [`fill`], beside requests that are held already.
async fn top_up(sidecar: &Sidecar, mut held: Vec<RawConnection>, more: usize) -> Vec<RawConnection> {
    for _ in 0..more {
        let target = format!("/{}", held.len());
        held.push(RawConnection::request(sidecar.serving(), "GET", &target, &[]).await);
    }
    let heads = held.iter_mut().map(|connection| Box::pin(connection.head()));
    let (head, refused, _) = select_all(heads).await;
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    let mut refused = held.remove(refused);
    assert_eq!(String::from_utf8_lossy(&refused.next(FULL.len()).await), FULL);
    held
}

async fn all_answered(held: Vec<RawConnection>) {
    join_all(held.into_iter().map(async |mut connection| {
        let head = connection.head().await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c58_one_request_at_a_time_over_any_mix_of_connections() {
    let user = UserContainer::start(Script::ReadSlowly(20_000));
    let certificate = Certificate::new(&[]);
    let mount = Mount::new(&certificate);
    let sidecar = sidecar(user.port(), 1).certificate(&mount).start().await;
    let url = format!("http://{}/", sidecar.serving());
    let post = || request("POST", &url, &[], bytes_body(vec![0; 100]));
    let tls = TlsClient::new(&[&certificate])
        .alpn(&["h2"])
        .connect(sidecar.tls())
        .await;
    let multiplexed = [Http2::open(sidecar.serving()).await, Http2::over(tls).await];
    let over_http1 = (0..4).map(async |turn| {
        let mut client = if turn % 2 == 0 {
            Http1::open(sidecar.serving()).await
        } else {
            Http1::over(TlsClient::new(&[&certificate]).connect(sidecar.tls()).await).await
        };
        for _ in 0..8 {
            assert_eq!(client.fetch(post()).await.status, 200);
        }
    });
    let over_http2 = (0..6).map(|turn| {
        let mut client = multiplexed[turn % 2].clone();
        async move {
            for _ in 0..8 {
                assert_eq!(client.fetch(post()).await.status, 200);
            }
        }
    });
    tokio::join!(join_all(over_http1), join_all(over_http2));
    assert_eq!((user.calls(), user.most_at_once()), (80, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c59_eleven_are_held_and_the_twelfth_is_refused_at_once() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(user.port(), 1).start().await;
    let held = fill(&sidecar, 1).await;
    user.called(1).await;
    assert_eq!((held.len(), user.calls()), (11, 1));
    let refused = get(&sidecar, &[]).await;
    assert_eq!((refused.status.as_u16(), refused.text().as_str()), (503, FULL));
    assert_eq!(refused.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(refused.header("x-content-type-options"), "nosniff");
    assert_eq!(user.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c60_with_three_at_once_thirty_three_are_held() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(user.port(), 3).start().await;
    let held = fill(&sidecar, 3).await;
    user.called(3).await;
    assert_eq!((held.len(), user.calls()), (33, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c61_without_a_limit_five_hundred_reach_the_container_at_once() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(user.port(), 0).start().await;
    let requests = (0..500).map(|_| RawConnection::request(sidecar.serving(), "GET", "/", &[]));
    let held = join_all(requests).await;
    user.called(500).await;
    assert_eq!(user.most_at_once(), 500);
    user.release(500);
    all_answered(held).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c62_all_who_waited_are_answered_when_the_container_goes_on() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(user.port(), 2).start().await;
    let held = fill(&sidecar, 2).await;
    user.called(2).await;
    user.release(22);
    all_answered(held).await;
    assert_eq!((user.calls(), user.most_at_once()), (22, 2));
}

/// How a client leaves the queue.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    Close,
    HalfClose,
    Reset,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c63_who_leaves_the_queue_frees_the_place_and_never_reaches_the_container() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(user.port(), 1).start().await;
    let (first, mut held) = one_and_a_full_queue(&user, &sidecar).await;
    let mut half_closed = Vec::new();
    for (turn, leaving) in [Leaving::Close, Leaving::HalfClose, Leaving::Reset]
        .into_iter()
        .enumerate()
    {
        // A small body has been read by the time its sender leaves.
        let post = format!("/leaves-{turn}-with-a-body");
        for (method, target, lines) in [
            ("GET", format!("/leaves-{turn}"), &[][..]),
            ("POST", post, &["content-length: 4"][..]),
        ] {
            // Makes room by letting one leave, and fills it with the one that will leave in this turn's way.
            held.pop();
            let mut leaver = enter(&sidecar, method, &target, lines).await;
            if method == "POST" {
                leaver.send("body").await;
            }
            match leaving {
                Leaving::Close => drop(leaver),
                Leaving::HalfClose => {
                    leaver.finish_sending().await;
                    half_closed.push(leaver);
                }
                Leaving::Reset => leaver.reset(),
            }
            held.push(enter(&sidecar, "GET", &format!("/stays-{turn}-{method}"), &[]).await);
            assert_eq!(get(&sidecar, &[]).await.status, 503, "exactly one place became free");
        }
    }
    held.push(first);
    user.release(100);
    all_answered(held).await;
    assert_eq!(user.calls(), 11);
    assert_eq!(user.seen()[0].target, "/first");
    assert!(user.seen().iter().all(|seen| !seen.target.contains("leaves")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c63_a_queued_http2_stream_that_is_reset_frees_the_place_and_never_reaches_the_container() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(user.port(), 1).start().await;
    let (first, mut held) = one_and_a_full_queue(&user, &sidecar).await;
    let mut leavers = Vec::new();
    for stream in [1, 5] {
        held.pop();
        // As often as it is refused: until there is a place in the queue.
        let queued = eventually("a place in the queue", async || {
            // Streams are used once: each try is a pair of a connection and a stream.
            let mut fresh = RawHttp2::open(sidecar.serving(), &[]).await;
            fresh.frame(&Frame::get(stream, "/leaves")).await;
            let until = Instant::now() + Duration::from_millis(200);
            while fresh.heard().headers.is_empty() && Instant::now() < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            fresh.heard().headers.is_empty().then_some(fresh)
        });
        let mut leaver = queued.await;
        assert_eq!(get(&sidecar, &[]).await.status, 503, "the queue is full again");
        leaver.frame(&Frame::reset(stream, code::CANCEL)).await;
        held.push(enter(&sidecar, "GET", "/stays", &[]).await);
        assert_eq!(get(&sidecar, &[]).await.status, 503, "exactly one place became free");
        leavers.push(leaver);
    }
    held.push(first);
    user.release(100);
    all_answered(held).await;
    assert_eq!(user.calls(), 11);
    assert!(user.seen().iter().all(|seen| seen.target != "/leaves"));
    assert!(
        leavers.iter().all(|leaver| !leaver.heard().closed),
        "connections live on"
    );
}

/// A request that the container has, and ten behind it.
async fn one_and_a_full_queue(user: &UserContainer, sidecar: &Sidecar) -> (RawConnection, Vec<RawConnection>) {
    let first = RawConnection::request(sidecar.serving(), "GET", "/first", &[]).await;
    user.called(1).await;
    (first, top_up(sidecar, Vec::new(), 11).await)
}

/// Sends a request as often as it is refused: until there is a place for it in the queue, and it has no answer yet.
async fn enter(sidecar: &Sidecar, method: &str, target: &str, lines: &[&str]) -> RawConnection {
    eventually("a place in the queue", async || {
        let mut connection = RawConnection::request(sidecar.serving(), method, target, lines).await;
        // A refusal comes at once; its absence is no proof, so the caller checks that the queue is full again.
        let refused = tokio::time::timeout(Duration::from_millis(200), connection.head()).await;
        refused.is_err().then_some(connection)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c64_aborted_responses_failures_and_timeouts_free_their_places() {
    let port = ReservedPort::take();
    let sidecar = sidecar(port.port(), 1)
        .env("REVISION_TIMEOUT_SECONDS", "2")
        .allow("error reverse proxying request")
        .allow("Request timeout: 2s")
        .start()
        .await;
    // More than there are places, one after the other.
    for _ in 0..12 {
        assert_eq!(get(&sidecar, &[]).await.status, 502, "nobody listens");
    }
    let user = UserContainer::boot(port, Script::BreakOff(Payload::new(1, 4 << 20)));
    for _ in 0..12 {
        let mut client = Http1::open(sidecar.serving()).await;
        let url = format!("http://{}/", sidecar.serving());
        let answer = client
            .send(request("GET", url, &[], empty_body()))
            .await
            .expect("a head");
        assert_eq!(answer.status(), 200);
        assert!(
            xdt_testkit::http::collect(answer).await.is_err(),
            "broken off by the container"
        );
    }
    user.follow(Script::Drip(1000, Duration::from_millis(100), false));
    for _ in 0..12 {
        let mut client = RawConnection::request(sidecar.serving(), "GET", "/", &[]).await;
        assert!(
            client.head().await.starts_with("HTTP/1.1 200"),
            "broken off by the client"
        );
    }
    user.follow(Script::Hold);
    let timeouts = (0..11).map(|_| get(&sidecar, &[]));
    for answer in join_all(timeouts).await {
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (504, "request timeout")
        );
    }
    user.follow(Script::Echo);
    let answer = eventually("the aborted ones have left", async || {
        Some(get(&sidecar, &[]).await).filter(|answer| answer.status != 503)
    })
    .await;
    assert_eq!(answer.status, 200);
    eventually("all places", async || {
        let all = join_all((0..11).map(|_| get(&sidecar, &[]))).await;
        all.iter().all(|answer| answer.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c65_a_websocket_holds_its_place_until_it_closes() {
    let user = UserContainer::start(Script::Tunnel);
    let sidecar = sidecar(user.port(), 1).start().await;
    let upgrade = ["connection: Upgrade", "upgrade: websocket"];
    let mut tunnel = RawConnection::request(sidecar.serving(), "GET", "/tunnel", &upgrade).await;
    assert!(tunnel.head().await.starts_with("HTTP/1.1 101"));
    user.follow(Script::Echo);
    let waiting = top_up(&sidecar, Vec::new(), 11).await;
    assert_eq!((waiting.len(), user.calls()), (10, 1), "one place is the tunnel's");
    tunnel.send("still open").await;
    assert_eq!(tunnel.next(10).await, b"still open");
    drop(tunnel);
    all_answered(waiting).await;
    assert_eq!((user.calls(), user.most_at_once()), (11, 1));
    assert_eq!(user.ended(0).await.outcome, Outcome::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c66_health_checks_succeed_while_all_places_are_taken() {
    let user = UserContainer::start(Script::Hold);
    let port = user.port();
    let probes = [
        String::new(),
        format!(r#"{{"tcpSocket":{{"host":"127.0.0.1","port":{port}}}}}"#),
        format!(
            r#"{{"httpGet":{{"host":"127.0.0.1","port":{port},"path":"/probed"}},"periodSeconds":1,"timeoutSeconds":10}}"#
        ),
    ];
    for probe in probes {
        user.follow(Script::Hold);
        let before = user.calls();
        let sidecar = sidecar(port, 1).env("SERVING_READINESS_PROBE", &probe).start().await;
        let _held = fill(&sidecar, 1).await;
        user.called(before + 1).await;
        // Those it holds stay held; the probe is answered.
        user.follow(Script::Echo);
        for agent in [
            "kube-probe/1.33",
            "Knative-Activator-Probe",
            "Knative-Autoscaling-Probe",
        ] {
            let answer = get(&sidecar, &[("user-agent", agent), ("k-network-probe", "queue")]).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text().as_str()),
                (200, "queue"),
                "{agent} {probe}"
            );
        }
        assert_eq!(sidecar.ingress_probe().await.status, 200);
        let probed = user
            .seen()
            .iter()
            .skip(before)
            .filter(|seen| seen.target == "/probed")
            .count();
        assert_eq!(probed, if probe.contains("httpGet") { 3 } else { 0 }, "{probe}");
        assert_eq!(user.calls(), before + 1 + probed, "nothing else left the queue");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c67_the_kubelets_own_requests_pass_beside_the_queue_and_look_alikes_do_not() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(user.port(), 1).start().await;
    let _held = fill(&sidecar, 1).await;
    user.called(1).await;
    user.follow(Script::Echo);
    assert_eq!(get(&sidecar, &[("k-kubelet-probe", "x")]).await.status, 200);
    assert_eq!(user.calls(), 2);
    let look_alike = [("user-agent", "Mozilla/5.0"), ("k-network-probe", "queue")];
    for headers in [&look_alike[..], &[("k-kubelet-probe", "")]] {
        assert_eq!(get(&sidecar, headers).await.status, 503);
    }
    assert_eq!(user.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c63_who_leaves_with_another_request_behind_is_let_go_at_its_turn() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(user.port(), 1).start().await;
    let first = RawConnection::request(sidecar.serving(), "GET", "/first", &[]).await;
    user.called(1).await;
    // As stock: what lies behind the request hides the end of the connection until the request is answered.
    let mut leaver = RawConnection::open(sidecar.serving()).await;
    leaver
        .send(raw::head("GET", "/leaver", &[]) + &raw::head("GET", "/behind", &[]))
        .await;
    drop(leaver);
    user.release(100);
    all_answered(vec![first]).await;
    // What the leaver left may have its turn just now.
    eventually("all places, of which none is lost", async || {
        let all = join_all((0..11).map(|_| get(&sidecar, &[]))).await;
        all.iter().all(|answer| answer.status == 200).then_some(())
    })
    .await;
}
