//! What happens when somebody dies in the middle: bodies never end cleanly, claims come back, user code never runs in
//! vain (contract, sections 3, 4 and 9).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use xdt_testkit::{
    Builder, Http1, Outcome, Payload, RawConnection, Script, Sidecar, UserContainer, empty_body, eventually,
    http::request, user::ReservedPort,
};

/// More than windows and socket buffers hold, so that a pull whose client does not read stands still.
const LARGE: u64 = 64 << 20;

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

/// A get whose client has read the head and a little of the body, and reads no more.
async fn get_standing_still(consumer: &Sidecar, reference: &str) -> (RawConnection, String) {
    let (mut client, head) = RawConnection::get(consumer, reference).await;
    client.take(100_000).await;
    (client, head)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_producer_leaves_a_body_shorter_than_announced() {
    let (mut producer, consumer) = (sidecar().start().await, sidecar().start().await);
    let reference = producer.put(Payload::new(1, LARGE).bytes()).await;
    let (client, head) = get_standing_still(&consumer, &reference).await;
    assert!(head.contains(&format!("content-length: {LARGE}")), "{head}");
    producer.kill();
    let rest = client.rest().await;
    assert!((rest.bytes.len() as u64) < LARGE, "the end cannot have come");
    consumer.counted("transfer-broken", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_producer_leaves_a_chunked_body_without_its_last_chunk() {
    let callee = UserContainer::start(Script::Hold);
    let mut producer = sidecar().env("XDT_EGRESS_HOSTS", "127.0.0.1").start().await;
    let consumer = sidecar().start().await;
    let mut egress = Http1::open(producer.egress()).await;
    let url = format!("http://{}/", callee.address());
    let call = tokio::spawn(async move {
        let headers = [("host", "callee")];
        egress
            .send(request("POST", url, &headers, Payload::new(2, LARGE).chunked()))
            .await
            .map(drop)
    });
    callee.called(1).await;
    let reference = callee.only().header("xdt-reference").to_owned();
    let (client, head) = get_standing_still(&consumer, &reference).await;
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    producer.kill();
    let rest = client.rest().await;
    assert!(!rest.ends_chunked_cleanly());
    consumer.counted("transfer-broken", 1).await;
    assert!(call.await.unwrap().is_err(), "the caller's proxy is dead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_consumer_gives_its_claim_back_and_another_gets_the_object() {
    let (producer, other) = (sidecar().start().await, sidecar().start().await);
    let mut consumer = sidecar().start().await;
    let payload = Payload::new(3, LARGE);
    let reference = producer.put(payload.bytes()).await;
    let (_client, _) = get_standing_still(&consumer, &reference).await;
    assert_eq!(other.get(&reference).await.problem(), "busy");
    consumer.kill();
    let answer = eventually("the claim comes back", async || {
        let answer = other.get(&reference).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(xdt_testkit::Digest::of(&answer.body), payload.digest());
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_away_gives_its_claim_back_on_every_path() {
    let (producer, consumer) = (sidecar().start().await, sidecar().start().await);
    for reader in [&producer, &consumer] {
        let reference = producer.put(Payload::new(4, LARGE).bytes()).await;
        let (client, _) = get_standing_still(reader, &reference).await;
        assert_eq!(consumer.get(&reference).await.problem(), "busy");
        drop(client);
        eventually("the claim comes back", async || {
            (consumer.get(&reference).await.status == 200).then_some(())
        })
        .await;
        reader.counted("abandoned", 1).await;
        producer.emptied().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_restarted_on_the_same_address_has_no_old_objects() {
    let (producer, consumer) = (sidecar().start().await, sidecar().start().await);
    let old = producer.put_for("old", 9).await;
    assert_eq!(consumer.get(&old).await.text(), "old");
    let producer = producer.restart_on_same_address().await;
    for asked in [&consumer, &producer] {
        assert_eq!(asked.get(&old).await.problem(), "object-gone");
        assert_eq!(asked.object("DELETE", &old, &[]).await.problem(), "object-gone");
        assert_eq!(asked.object("HEAD", &old, &[]).await.status, 410);
    }
    let new = producer.put("new").await;
    assert_eq!(consumer.get(&new).await.text(), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_code_never_runs_when_the_pull_fails() {
    let user = UserContainer::start(Script::Echo);
    let consumer = sidecar().user_port(user.port()).start().await;
    let stranger = sidecar().tenant("another").start().await;
    let mut producer = sidecar().start().await;
    let foreign = stranger.put("foreign").await;
    let gone = producer.put("gone").await;
    assert_eq!(producer.object("DELETE", &gone, &[]).await.status, 204);
    let unreachable = producer.put("unreachable").await;
    producer.kill();
    let forged = format!("{}{}", &foreign[..foreign.len() - 4], "AAAA");
    for (reference, word) in [
        (foreign, "wrong-tenant"),
        (unreachable, "producer-unreachable"),
        (forged, "reference-invalid"),
        ("nonsense".to_owned(), "reference-invalid"),
    ] {
        let answer = consumer
            .invoke("/", &[("xdt-reference", &reference)], empty_body())
            .await;
        assert_eq!(answer.problem(), word);
    }
    let producer = producer.restart_on_same_address().await;
    let answer = consumer.invoke("/", &[("xdt-reference", &gone)], empty_body()).await;
    assert_eq!(answer.problem(), "object-gone");
    assert_eq!(user.calls(), 0);
    drop(producer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_breaks_after_the_body_began_aborts_the_user_containers_request() {
    let user = UserContainer::start(Script::ReadSlowly(1 << 20));
    let consumer = sidecar().user_port(user.port()).start().await;
    let mut producer = sidecar().start().await;
    let reference = producer.put(Payload::new(5, LARGE).bytes()).await;
    let call = async {
        let headers = [("xdt-reference", reference.as_str())];
        consumer.invoke("/work", &headers, empty_body()).await
    };
    let killing = async {
        user.called(1).await;
        eventually("the body has begun", async || (user.only().bytes > 0).then_some(())).await;
        producer.kill();
    };
    let (answer, ()) = tokio::join!(call, killing);
    assert_eq!(answer.problem(), "transfer-broken");
    let seen = user.ended(0).await;
    assert_eq!(seen.outcome, Outcome::Aborted);
    assert!(seen.bytes < LARGE);
    assert_eq!(
        user.calls(),
        1,
        "user code is never called twice for one control message"
    );
    consumer.counted("transfer-broken", 1).await;
}

/// "… a request that ends before the user container was called, gives its claim back" (contract, section 1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_leaves_before_the_user_container_was_called_gives_the_claim_back() {
    let booting = ReservedPort::take();
    let (producer, other) = (sidecar().start().await, sidecar().start().await);
    for mode in ["cut-through", "store-and-forward"] {
        let builder = sidecar().user_port(booting.port()).env("XDT_STREAMING", mode);
        let consumer = builder.start().await;
        for size in [1_000, 64 << 10, 1 << 20, LARGE] {
            let reference = producer.put(Payload::new(6, size).bytes()).await;
            let mut caller = RawConnection::open(consumer.serving()).await;
            caller
                .send(format!(
                    "POST / HTTP/1.1\r\nhost: f\r\nxdt-reference: {reference}\r\n\r\n"
                ))
                .await;
            // The pull goes out before these do; none of them claims anything.
            for _ in 0..20 {
                let _gone_if_confirmed_too_early = consumer.object("HEAD", &reference, &[]).await;
            }
            drop(caller);
            let answer = eventually("the claim comes back", async || {
                let answer = other.get(&reference).await;
                (answer.status != 429).then_some(answer)
            })
            .await;
            assert_eq!(answer.status, 200, "{mode}, {size} bytes: {answer:?}");
        }
    }
}
