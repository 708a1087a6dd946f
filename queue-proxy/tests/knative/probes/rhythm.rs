//! When the container is asked, how often, and who shares the result (contract, section 5.3).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{io::AsyncWriteExt as _, sync::Semaphore};
use xdt_testkit::{
    Answer, Http1, Http2, RawConnection, Script, Sidecar, UserContainer, empty_body, eventually, http::request,
    user::ReservedPort,
};

use super::kit::{KUBELET, NOT_READY, RawContainer, answer, head, http, is_ready, probing, sidecar, tcp};

/// Longest that anything takes on a busy machine which should take no time.
const SLACK: Duration = Duration::from_secs(5);

#[tokio::test]
async fn c84_an_absent_container_is_not_ready_after_ten_seconds() {
    let port = ReservedPort::take();
    let sidecar = probing(&tcp(port.port())).allow(NOT_READY).start().await;
    let begun = Instant::now();
    assert!(!is_ready(&sidecar).await);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(10) && took < Duration::from_secs(10) + SLACK,
        "{took:?}"
    );
    sidecar.logged(" times): connect: connection refused").await;
    // At best 201, one each 50 ms; a tenth of that on a machine that has other things to do.
    let log = sidecar.log();
    let (_, tries) = log.split_once("aggressive probe error (failed ").expect("how often");
    let tries: u32 = tries.split(' ').next().expect("a number").parse().expect("a number");
    assert!((20..=202).contains(&tries), "{tries}");
    sidecar
        .logged("readiness probe failed: context deadline exceeded")
        .await;
}

#[tokio::test]
async fn c84_a_container_that_appears_is_ready_at_once() {
    let port = ReservedPort::take();
    let sidecar = probing(&tcp(port.port())).start().await;
    let begun = Instant::now();
    let appears = async {
        tokio::time::sleep(Duration::from_secs(2)).await; // what the clause says, not a wait
        UserContainer::boot(port, Script::Echo)
    };
    let (ready, _user) = tokio::join!(is_ready(&sidecar), appears);
    let took = begun.elapsed();
    assert!(ready);
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(2) + SLACK,
        "{took:?}"
    );
}

#[tokio::test]
async fn c85_single_shot_mode_makes_one_attempt_bounded_by_its_timeout() {
    let absent = ReservedPort::take();
    let refused = probing(&http(absent.port(), "/")).allow(NOT_READY).start().await;
    let begun = Instant::now();
    assert!(!is_ready(&refused).await);
    assert!(begun.elapsed() < SLACK, "refusal ends the only attempt");
    let silent = RawContainer::start(|_, socket| async move {
        let _never_answered = socket;
        std::future::pending::<()>().await;
    })
    .await;
    let sidecar = probing(&http(silent.port(), "/")).allow(NOT_READY).start().await;
    let begun = Instant::now();
    assert!(!is_ready(&sidecar).await);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(1) + SLACK,
        "{took:?}"
    );
    assert_eq!(silent.connections(), 1);
    sidecar.logged("readiness probe failed: no answer within 1s").await;
}

/// Each attempt has 100 ms.
#[tokio::test]
async fn c84_a_silent_container_is_asked_again_and_again() {
    let container = RawContainer::start(|number, mut socket| async move {
        let _request = head(&mut socket).await;
        if number < 3 {
            std::future::pending::<()>().await;
        }
        let _left = socket.write_all(answer(200).as_bytes()).await;
    })
    .await;
    let mut probe = http(container.port(), "/");
    probe["periodSeconds"] = 0.into();
    let sidecar = probing(&probe).start().await;
    let begun = Instant::now();
    assert!(is_ready(&sidecar).await);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(container.connections() >= 4);
}

#[tokio::test]
async fn c87_aggressive_mode_needs_passes_in_a_row_and_keeps_their_run() {
    let container = RawContainer::answering(|number, _| answer(if number == 2 { 503 } else { 200 })).await;
    let probe = json!({"httpGet": {"port": container.port()}, "successThreshold": 3});
    let sidecar = probing(&probe).start().await;
    let begun = Instant::now();
    assert!(is_ready(&sidecar).await);
    assert_eq!(container.connections(), 6, "two passes, a failure, three passes");
    assert!(begun.elapsed() >= Duration::from_millis(249), "50 ms apart");
    assert!(is_ready(&sidecar).await);
    assert_eq!(container.connections(), 7, "one more pass in the same run");
}

#[tokio::test]
async fn c88_concurrent_checks_share_one_probe() {
    let container = Held::start().await;
    let sidecar = probing(&container.probe()).start().await;
    let mut activator = Http2::open(sidecar.serving()).await;
    let checks: Vec<_> = (0..20).map(|_| begin_check(&activator)).collect();
    all_have_arrived(&mut activator, &sidecar).await;
    container.open.add_permits(1);
    for check in checks {
        assert_eq!(check.await.expect("no panic").text(), "queue");
    }
    assert_eq!(container.raw.connections(), 1);
    container.open.add_permits(1);
    assert!(is_ready(&sidecar).await);
    assert_eq!(container.raw.connections(), 2, "the result is not kept");
}

#[tokio::test]
async fn c89_a_prober_that_leaves_does_not_stop_the_probe() {
    let container = Held::start().await;
    let sidecar = probing(&container.probe()).start().await;
    let mut leaving = RawConnection::open(sidecar.serving()).await;
    leaving
        .send("GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: kube-probe/1\r\nK-Network-Probe: queue\r\n\r\n")
        .await;
    eventually("the probe", async || (container.raw.connections() > 0).then_some(())).await;
    drop(leaving);
    let mut activator = Http2::open(sidecar.serving()).await;
    let later = begin_check(&activator);
    all_have_arrived(&mut activator, &sidecar).await;
    container.open.add_permits(1);
    assert_eq!(later.await.expect("no panic").text(), "queue");
    assert_eq!(container.raw.connections(), 1);
}

/// A container whose answers need a permit each.
struct Held {
    open: Arc<Semaphore>,
    raw: RawContainer,
}

impl Held {
    async fn start() -> Self {
        let open = Arc::new(Semaphore::new(0));
        let gate = open.clone();
        let raw = RawContainer::start(move |_, mut socket| {
            let gate = gate.clone();
            async move {
                let _request = head(&mut socket).await;
                gate.acquire().await.expect("open").forget();
                let _left = socket.write_all(answer(200).as_bytes()).await;
            }
        });
        Self { open, raw: raw.await }
    }

    fn probe(&self) -> serde_json::Value {
        let mut probe = http(self.raw.port(), "/");
        probe["timeoutSeconds"] = 60.into();
        probe
    }
}

fn begin_check(activator: &Http2) -> tokio::task::JoinHandle<Answer> {
    let mut activator = activator.clone();
    tokio::spawn(async move {
        activator
            .fetch(request("GET", "http://a/", &KUBELET, empty_body()))
            .await
    })
}

/// Requests of one connection are taken in order: when a later one is answered, the checks before it are waiting.
async fn all_have_arrived(activator: &mut Http2, sidecar: &Sidecar) {
    let headers = [("k-network-probe", "probe"), ("k-network-hash", "h")];
    for _ in 0..3 {
        tokio::task::yield_now().await;
        let ingress = request("GET", format!("http://{}/", sidecar.serving()), &headers, empty_body());
        assert_eq!(activator.fetch(ingress).await.status, 200);
    }
}

#[tokio::test]
async fn c90_probes_dial_anew_and_the_probers_connection_lives_on() {
    let container = RawContainer::with_status(200).await;
    let sidecar = probing(&http(container.port(), "/")).start().await;
    let headers = [KUBELET[0], KUBELET[1], ("host", "a")];
    let mut prober = Http1::open(sidecar.serving()).await;
    for connections in 1..=3 {
        let answer = prober.fetch(request("GET", "/", &headers, empty_body())).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "queue"));
        assert_eq!(answer.header("connection"), "");
        assert_eq!(container.connections(), connections);
    }
    for head in container.heads() {
        assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    }
    let user = UserContainer::start(Script::Echo);
    let sidecar = probing(&tcp(user.port())).user_port(user.port()).start().await;
    let mut activator = Http1::open(sidecar.serving()).await;
    activator
        .fetch(request("GET", "/healthz", &headers, empty_body()))
        .await;
    let first = activator.fetch(request("GET", "/first", &[("host", "a")], empty_body()));
    assert_eq!(
        first.await.status,
        200,
        "the activator's first request comes on the same connection"
    );
}

#[tokio::test]
async fn c92_all_containers_of_an_array_must_pass() {
    let (first, second) = (RawContainer::with_status(200).await, UserContainer::start(Script::Echo));
    let started = |probes: serde_json::Value| {
        sidecar()
            .env("SERVING_READINESS_PROBE", &probes.to_string())
            .env("ENABLE_MULTI_CONTAINER_PROBES", "true")
            .allow(NOT_READY)
            .start()
    };
    let both = started(json!([http(first.port(), "/"), tcp(second.port())])).await;
    assert!(is_ready(&both).await);
    let broken = RawContainer::with_status(500).await;
    let one_fails = started(json!([
        http(first.port(), "/"),
        http(broken.port(), "/"),
        tcp(second.port())
    ]))
    .await;
    assert!(!is_ready(&one_fails).await);
    assert_eq!((first.connections(), broken.connections()), (2, 1), "all are asked");
    let none = started(json!([])).await;
    assert!(is_ready(&none).await, "there is nobody to wait for");
}

#[tokio::test]
async fn c92_containers_are_probed_at_the_same_time() {
    let slow = || {
        RawContainer::start(|_, mut socket| async move {
            let _request = head(&mut socket).await;
            tokio::time::sleep(Duration::from_secs(2)).await; // how slow it is
            let _left = socket.write_all(answer(200).as_bytes()).await;
        })
    };
    let containers = futures_util::future::join_all((0..4).map(|_| slow())).await;
    let probes = containers.iter().map(|container| {
        let mut probe = http(container.port(), "/");
        probe["timeoutSeconds"] = 60.into();
        probe
    });
    let sidecar = sidecar()
        .env(
            "SERVING_READINESS_PROBE",
            &probes.collect::<serde_json::Value>().to_string(),
        )
        .env("ENABLE_MULTI_CONTAINER_PROBES", "true")
        .start()
        .await;
    let begun = Instant::now();
    assert!(is_ready(&sidecar).await);
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(7),
        "{took:?}"
    );
}
