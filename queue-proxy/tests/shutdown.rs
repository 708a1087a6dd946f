//! The way out: probes fail at once, held objects go on being served, and the end comes when all is quiet (contract,
//! section 9; contract of the queue-proxy, section 6).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use xdt_testkit::{
    Answer, Builder, Digest, Http1, Payload, RawConnection, Script, Sidecar, UserContainer, bytes_body, empty_body,
    eventually, http::request, within,
};

/// Longer than the quiet period of 30 s and what follows it.
const LEAVING: Duration = Duration::from_secs(60);
/// Logged when objects are left at the end.
const DROPPED: &str = "objects were dropped at shutdown";

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

async fn probe(sidecar: &Sidecar, kind: &str) -> Answer {
    let headers: &[(&str, &str)] = match kind {
        "ingress" => &[("k-network-probe", "probe"), ("k-network-hash", "h")],
        _ => &[("user-agent", "kube-probe/1.33"), ("k-network-probe", "queue")],
    };
    let url = format!("http://{}/", sidecar.serving());
    sidecar.client().fetch(request("GET", url, headers, empty_body())).await
}

async fn hook(sidecar: &Sidecar) -> Answer {
    let url = format!("http://{}/wait-for-drain", sidecar.admin());
    sidecar.client().fetch(request("GET", url, &[], empty_body())).await
}

/// SIGTERM, and then the probes fail.
async fn terminated(sidecar: &Sidecar) {
    sidecar.terminate();
    within("failing probes", async {
        while probe(sidecar, "queue").await.status != 503 {}
    })
    .await;
}

/// The whole timeline once, because its quiet period takes 30 s: objects leave on every way meanwhile, but for one that
/// nobody fetches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_objects_are_served_until_all_are_gone_or_the_grace_is_over() {
    let user = UserContainer::start(Script::Echo);
    let (mut producer, consumer) = tokio::join!(sidecar().user_port(user.port()).start(), sidecar().start());
    let large = Payload::new(1, 64 << 20);
    let running = producer.put(large.bytes()).await;
    let (waiting, own) = (producer.put("waiting").await, producer.put("own").await);
    let last = producer.put("last").await;
    let (client, _) = RawConnection::get(&consumer, &running).await;
    assert_eq!(
        (
            probe(&producer, "queue").await.text().as_str(),
            probe(&producer, "ingress").await.status.as_u16()
        ),
        ("queue", 200)
    );
    let mut lonely = sidecar().env("XDT_DRAIN_GRACE", "31s").allow(DROPPED).start().await;
    let _never_fetched = lonely.put("lonely").await;
    let begun = Instant::now();
    lonely.terminate();
    terminated(&producer).await;
    assert_eq!(probe(&producer, "ingress").await.status, 503);
    assert_eq!(producer.try_put(&[], bytes_body("new")).await.problem(), "draining");
    let hooked = async {
        let answer = hook(&producer).await;
        (answer.status.as_u16(), begun.elapsed())
    };
    let traffic = async {
        assert_eq!(
            producer.invoke("/", &[], bytes_body("late")).await.status,
            200,
            "user traffic goes on"
        );
        assert_eq!(
            producer
                .invoke("/", &[("xdt-reference", &own)], empty_body())
                .await
                .status,
            200
        );
        assert_eq!(consumer.get(&waiting).await.text(), "waiting");
        let rest = client.rest_of(64 << 20).await;
        assert_eq!(Digest::of(&rest), large.digest(), "the running pull completes");
    };
    let (hooked, ()) = tokio::join!(hooked, traffic);
    assert_eq!(hooked.0, 200, "the hook returns when the quiet period is over");
    assert!(hooked.1 >= Duration::from_secs(30), "{hooked:?}");
    eventually("the serving port closes", async || {
        tokio::net::TcpStream::connect(producer.serving())
            .await
            .is_err()
            .then_some(())
    })
    .await;
    assert!(producer.is_running(), "one object is still held");
    assert_eq!(
        consumer.get(&last).await.text(),
        "last",
        "the data port stays open for it"
    );
    let status = producer.wait_exit(LEAVING).await;
    assert_eq!(status.code(), Some(0));
    assert!(producer.log().contains("Shutdown complete"));
    assert_eq!(lonely.wait_exit(LEAVING).await.code(), Some(0));
    assert!(lonely.log().contains(DROPPED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_process_at_once() {
    let mut producer = sidecar().start().await;
    let _held = producer.put("held").await;
    terminated(&producer).await;
    producer.terminate();
    let begun = Instant::now();
    let status = producer.wait_exit(Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_without_sigterm_returns_after_a_second_and_changes_nothing() {
    let producer = sidecar().start().await;
    let begun = Instant::now();
    let hooked = hook(&producer);
    let meanwhile = async {
        within("failing probes", async {
            while probe(&producer, "queue").await.status != 503 {}
        })
        .await;
        assert_eq!(producer.try_put(&[], bytes_body("still taken")).await.status, 201);
    };
    let (hooked, ()) = tokio::join!(hooked, meanwhile);
    assert_eq!(hooked.status, 200);
    assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&begun.elapsed()));
    assert_eq!(probe(&producer, "queue").await.status, 200);
    let other = format!("http://{}/other", producer.admin());
    assert_eq!(
        producer
            .client()
            .fetch(request("GET", other, &[], empty_body()))
            .await
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_draining_calls_and_answers_pass_inline() {
    let user = UserContainer::start(Script::Echo);
    let function = sidecar().user_port(user.port()).start().await;
    let hosts = function.serving().ip().to_string();
    let caller = sidecar().env("XDT_EGRESS_HOSTS", &hosts).start().await;
    let payload = Payload::new(1, 2_000_000);
    terminated(&caller).await;
    terminated(&function).await;
    let mut proxy = Http1::open(caller.egress()).await;
    let url = format!("http://{}/", function.serving());
    for body in [bytes_body(payload.bytes()), payload.chunked()] {
        let answer = proxy.fetch(request("POST", &url, &[("host", "f")], body)).await;
        assert_eq!(answer.json()["digest"], payload.digest());
    }
    user.follow(Script::Answer(200, vec![], payload.clone()));
    let answer = proxy.fetch(request("GET", &url, &[("host", "f")], empty_body())).await;
    assert_eq!(Digest::of(&answer.body), payload.digest());
    let accept = [("xdt-accept", "reference")];
    let answer = function.invoke("/", &accept, empty_body()).await;
    assert_eq!((answer.header("xdt-reference"), answer.body.len()), ("", 2_000_000));
    for sidecar in [&caller, &function] {
        assert_eq!(sidecar.status().await.0["transfers"], serde_json::json!([]));
    }
}
