//! The autoscaler's statistics on 9090 (contract of the queue-proxy, section 7.1; checklist 109 to 118).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use xdt_testkit::{
    Builder, Http2, RawConnection, Script, Sidecar, UserContainer, empty_body, eventually, http::request,
};

/// Field numbers of `stat.proto`.
const POD: u8 = 1;
const CONCURRENCY: u8 = 2;
const PROXIED_CONCURRENCY: u8 = 3;
const ARRIVALS: u8 = 4;
const PROXIED_ARRIVALS: u8 = 5;
const UPTIME: u8 = 6;

fn sidecar(user: &UserContainer) -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .user_port(user.port())
}

/// A snapshot, decoded by hand: the pod's name and the doubles by field number.
#[derive(Debug, Clone, PartialEq)]
struct Snapshot {
    pod: String,
    doubles: BTreeMap<u8, f64>,
}

impl Snapshot {
    fn decode(mut bytes: &[u8]) -> Self {
        let (mut pod, mut doubles) = (String::new(), BTreeMap::new());
        while let Some((tag, rest)) = bytes.split_first() {
            match (tag >> 3, tag & 7) {
                (POD, 2) => {
                    // A varint of one or two bytes.
                    let (length, rest) = match rest {
                        [low, high, rest @ ..] if low & 0x80 != 0 => {
                            (usize::from(low & 0x7f) | usize::from(*high) << 7, rest)
                        }
                        [low, rest @ ..] => (usize::from(*low), rest),
                        [] => panic!("a length"),
                    };
                    pod = String::from_utf8(rest[..length].to_vec()).expect("text");
                    bytes = &rest[length..];
                }
                (field @ CONCURRENCY..=UPTIME, 1) => {
                    let value = f64::from_le_bytes(rest[..8].try_into().expect("eight bytes"));
                    assert_eq!(doubles.insert(field, value), None, "field {field} twice");
                    bytes = &rest[8..];
                }
                other => panic!("field and wire type {other:?}"),
            }
        }
        Self { pod, doubles }
    }

    /// Zero is not written.
    fn get(&self, field: u8) -> f64 {
        self.doubles.get(&field).copied().unwrap_or_default()
    }

    fn is_near(&self, field: u8, value: f64) -> bool {
        (self.get(field) - value).abs() < 0.05
    }
}

async fn snapshot(sidecar: &Sidecar) -> Snapshot {
    Snapshot::decode(&sidecar.stats_get("/metrics").await.body)
}

/// Waits for a snapshot that fulfils the condition.
async fn eventually_told(sidecar: &Sidecar, what: &str, fulfils: impl Fn(&Snapshot) -> bool) -> Snapshot {
    eventually(what, async || {
        Some(snapshot(sidecar).await).filter(|snapshot| fulfils(snapshot))
    })
    .await
}

/// Waits for the beginning of a window and returns the snapshot that was published then.
async fn next_window(sidecar: &Sidecar) -> Snapshot {
    let old = snapshot(sidecar).await;
    eventually_told(sidecar, "the next window", |new| *new != old).await
}

/// Sums of the windows after `last`, up to the first that leaves nobody inside once `arrivals` have come. `None` when a
/// window was missed, which happens on a machine that stands still for a second.
async fn sums(sidecar: &Sidecar, mut last: Snapshot, arrivals: f64) -> Option<Snapshot> {
    let mut sums = BTreeMap::new();
    loop {
        let next = next_window(sidecar).await;
        if next.get(UPTIME) - last.get(UPTIME) > 1.5 {
            return None;
        }
        for (field, value) in &next.doubles {
            *sums.entry(*field).or_default() += value;
        }
        let so_far: f64 = sums.get(&ARRIVALS).copied().unwrap_or_default();
        if so_far >= arrivals && next.get(CONCURRENCY) == 0.0 {
            return Some(Snapshot {
                pod: next.pod,
                doubles: sums,
            });
        }
        last = next;
    }
}

async fn get(sidecar: &Sidecar, headers: &[(&str, &str)]) {
    assert_eq!(sidecar.probe(headers).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c109_the_scrape_is_a_stat_with_the_pods_name_and_the_exact_content_type() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(&user).env("SERVING_POD", "pod-abc").start().await;
    for method in ["GET", "POST", "PUT"] {
        let url = format!("http://{}/metrics", sidecar.stats());
        let accept = [("accept", "text/plain")];
        let answer = sidecar
            .client()
            .fetch(request(method, url, &accept, empty_body()))
            .await;
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(answer.header("content-type"), "application/protobuf");
        assert_eq!(Snapshot::decode(&answer.body).pod, "pod-abc");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c110_the_longest_pod_name_leaves_the_body_within_336_bytes() {
    let user = UserContainer::start(Script::Hold);
    let name = "p".repeat(253);
    let sidecar = sidecar(&user).env("SERVING_POD", &name).start().await;
    let proxied = ["k-proxy-request: activator"];
    let _held = RawConnection::request(sidecar.serving(), "GET", "/", &proxied).await;
    eventually("all fields in use", async || {
        let body = sidecar.stats_get("/metrics").await.body;
        let told = Snapshot::decode(&body);
        assert!(told.pod == name && body.len() <= 336, "{}", body.len());
        (told.doubles.len() == 5).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c111_one_request_held_open_is_a_concurrency_of_one() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(&user).start().await;
    let _held = RawConnection::request(sidecar.serving(), "GET", "/", &[]).await;
    let told = eventually_told(&sidecar, "a full window", |told| told.is_near(CONCURRENCY, 1.0)).await;
    assert!(told.get(PROXIED_CONCURRENCY) == 0.0);
    let next = next_window(&sidecar).await;
    assert!(
        (next.get(CONCURRENCY) - 1.0).abs() < 1e-9 && next.get(ARRIVALS) == 0.0,
        "{next:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c111_concurrency_is_the_time_that_requests_took() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(&user).start().await;
    eventually("two requests of half a second", async || {
        let before = next_window(&sidecar).await;
        let requests = async {
            let (begun, calls) = (Instant::now(), user.calls());
            let two = async { tokio::join!(get(&sidecar, &[]), get(&sidecar, &[])) };
            let holding = async {
                user.called(calls + 2).await;
                let from = Instant::now();
                tokio::time::sleep(Duration::from_millis(500)).await;
                let certainly = from.elapsed();
                user.release(2);
                certainly
            };
            let (_, certainly) = tokio::join!(two, holding);
            (certainly.as_secs_f64() * 2.0, begun.elapsed().as_secs_f64() * 2.0)
        };
        let ((certainly, at_most), told) = tokio::join!(requests, sums(&sidecar, before, 2.0));
        let told = told?;
        assert!((told.get(ARRIVALS) - 2.0).abs() < 1e-9, "{told:?}");
        // A window may be a little longer or shorter than a second on a busy machine.
        let seconds = told.get(CONCURRENCY);
        assert!(
            (certainly * 0.8..at_most * 1.25).contains(&seconds),
            "{certainly} <= {seconds} <= {at_most}"
        );
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c112_what_came_through_the_activator_is_told_apart() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(&user).start().await;
    let lines = [
        "k-proxy-request: activator",
        "k-proxy-request: Activator",
        "x-other: activator",
    ];
    eventually("three requests in windows that were all seen", async || {
        let before = next_window(&sidecar).await;
        let requests = async {
            let mut held = Vec::new();
            for line in lines {
                held.push(RawConnection::request(sidecar.serving(), "GET", "/", &[line]).await);
            }
            let both = |told: &Snapshot| told.is_near(CONCURRENCY, 3.0) && told.is_near(PROXIED_CONCURRENCY, 1.0);
            eventually_told(&sidecar, "three, one of them through the activator", both).await;
        };
        let ((), told) = tokio::join!(requests, sums(&sidecar, before, 3.0));
        let told = told?;
        assert_eq!((told.get(ARRIVALS), told.get(PROXIED_ARRIVALS)), (3.0, 1.0));
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c113_fifty_requests_in_one_window_are_told_as_fifty_and_then_as_none() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(&user).start().await;
    eventually("fifty requests within one window", async || {
        next_window(&sidecar).await;
        join_all((0..50).map(|_| get(&sidecar, &[]))).await;
        let told = next_window(&sidecar).await;
        // A busy machine may need more than a window for them.
        if told.get(ARRIVALS) < 50.0 {
            return None;
        }
        assert!((told.get(ARRIVALS) - 50.0).abs() < 1e-9, "{told:?}");
        let idle = next_window(&sidecar).await;
        assert!(idle.get(ARRIVALS) == 0.0 && idle.get(CONCURRENCY) == 0.0, "{idle:?}");
        Some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c114_requests_that_wait_in_the_breaker_count() {
    let user = UserContainer::start(Script::Hold);
    let sidecar = sidecar(&user).env("CONTAINER_CONCURRENCY", "1").start().await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(RawConnection::request(sidecar.serving(), "GET", "/", &[]).await);
    }
    eventually_told(&sidecar, "five at once", |told| told.is_near(CONCURRENCY, 5.0)).await;
    assert_eq!(user.calls(), 1);
    drop(held);
    eventually_told(&sidecar, "none at once", |told| told.get(CONCURRENCY) == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c115_two_scrapes_within_a_window_are_the_same_bytes() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(&user).start().await;
    eventually("three scrapes within a window", async || {
        let before = next_window(&sidecar).await;
        let one = sidecar.stats_get("/metrics").await.body;
        get(&sidecar, &[]).await;
        let two = sidecar.stats_get("/metrics").await.body;
        let told = Snapshot::decode(&two);
        // The same uptime is the same window.
        let same = told.get(UPTIME).to_bits() == before.get(UPTIME).to_bits();
        same.then(|| assert_eq!(one, two))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c116_uptime_grows_by_a_second_a_second() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(&user).start().await;
    let (mut first, begun) = (next_window(&sidecar).await, Instant::now());
    let from = first.get(UPTIME);
    for _ in 0..3 {
        let next = next_window(&sidecar).await;
        assert!(next.get(UPTIME) > first.get(UPTIME));
        first = next;
    }
    let (told, passed) = (first.get(UPTIME) - from, begun.elapsed().as_secs_f64());
    assert!((told - passed).abs() < 1.0 && told > 2.5, "{told} of {passed}");
    // Field 7, the timestamp, would have failed the decoder.
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c117_other_paths_are_not_found() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(&user).start().await;
    for path in ["/", "/metrics/", "/stats", "/wait-for-drain"] {
        let answer = sidecar.stats_get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (404, "404 page not found\n"),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c118_a_websocket_counts_while_it_is_open() {
    let user = UserContainer::start(Script::Tunnel);
    let sidecar = sidecar(&user).start().await;
    let upgrade = ["connection: Upgrade", "upgrade: websocket"];
    let mut tunnel = RawConnection::request(sidecar.serving(), "GET", "/", &upgrade).await;
    assert!(tunnel.head().await.starts_with("HTTP/1.1 101"));
    eventually_told(&sidecar, "one at once", |told| told.is_near(CONCURRENCY, 1.0)).await;
    tunnel.send("still open").await;
    assert_eq!(tunnel.next(10).await, b"still open");
    drop(tunnel);
    eventually_told(&sidecar, "none at once", |told| told.get(CONCURRENCY) == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c95_and_section_7_what_is_counted_and_what_is_not() {
    let user = UserContainer::start(Script::Echo);
    let sidecar = sidecar(&user)
        .env("CONTAINER_CONCURRENCY", "1")
        .env("REVISION_TIMEOUT_SECONDS", "2")
        .allow("Request timeout: 2s")
        .start()
        .await;
    next_window(&sidecar).await;
    for _ in 0..5 {
        assert_eq!(sidecar.kubelet_probe().await.status, 200);
        assert_eq!(sidecar.ingress_probe().await.status, 200);
        get(&sidecar, &[("k-kubelet-probe", "x")]).await;
    }
    let mut arrivals = 0.0;
    for _ in 0..2 {
        arrivals += next_window(&sidecar).await.get(ARRIVALS);
    }
    assert!(arrivals == 0.0, "{arrivals} probes were counted");
    // Of these some are refused and some time out; all count, over either protocol.
    user.follow(Script::Hold);
    let mut client = Http2::open(sidecar.serving()).await;
    let url = format!("http://{}/", sidecar.serving());
    eventually("thirteen requests in windows that were all seen", async || {
        let before = next_window(&sidecar).await;
        let (over_http2, over_http1, told) = tokio::join!(
            client.fetch(request("GET", &url, &[], empty_body())),
            join_all((0..12).map(async |_| sidecar.probe(&[]).await.status.as_u16())),
            sums(&sidecar, before, 13.0)
        );
        assert!([503, 504].contains(&over_http2.status.as_u16()));
        assert!(over_http1.contains(&504) && over_http1.iter().all(|status| [503, 504].contains(status)));
        assert_eq!(told?.get(ARRIVALS), 13.0);
        Some(())
    })
    .await;
}
