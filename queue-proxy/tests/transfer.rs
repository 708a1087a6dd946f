//! Objects cross two sidecars byte for byte, as often as allowed, many at once, and leave nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use xdt_testkit::{Builder, Digest, Payload, Sidecar, bytes_body, eventually};

/// Sizes around the unit of streaming, and others that divide into nothing.
const SIZES: [u64; 8] = [
    0,
    1,
    (64 << 10) - 1,
    64 << 10,
    (64 << 10) + 1,
    256 << 10,
    (1 << 20) + 3,
    10 << 20,
];

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

async fn pair() -> (Sidecar, Sidecar) {
    tokio::join!(sidecar().start(), sidecar().start())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_arrives_byte_for_byte_on_both_paths() {
    let (producer, consumer) = pair().await;
    for (seed, size) in (0..).zip(SIZES) {
        let payload = Payload::new(seed, size);
        for reader in [&producer, &consumer] {
            let reference = producer.put(payload.bytes()).await;
            let answer = reader.get(&reference).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-length"), size.to_string());
            assert_eq!(Digest::of(&answer.body), payload.digest(), "{size} bytes");
            assert_eq!(
                reader.get(&reference).await.problem(),
                "object-gone",
                "one retrieval is the default"
            );
        }
    }
    producer.emptied().await;
    let (own, pulled) = (producer.status().await, consumer.status().await);
    assert_eq!((own.transfers("ok"), pulled.transfers("ok")), (8, 8));
    assert_eq!(pulled.0["peers"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunked_bodies_of_unknown_length_arrive_with_their_length() {
    let (producer, consumer) = pair().await;
    for (seed, size) in (10..).zip(SIZES) {
        let payload = Payload::new(seed, size);
        let put = producer.try_put(&[], payload.chunked()).await;
        assert_eq!(put.status, 201, "{put:?}");
        assert_eq!(put.json()["size"], size);
        let answer = consumer.get(put.header("xdt-reference")).await;
        assert_eq!(answer.header("content-length"), size.to_string());
        assert_eq!(Digest::of(&answer.body), payload.digest(), "{size} bytes");
    }
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_gone_after_its_last_retrieval_wherever_it_was_read() {
    let (producer, consumer) = pair().await;
    let reference = producer.put_for("five times", 5).await;
    for reader in [&consumer, &producer, &consumer, &consumer, &producer] {
        assert_eq!(producer.status().await.held(), 1);
        assert_eq!(reader.get(&reference).await.text(), "five times");
    }
    producer.emptied().await;
    for reader in [&consumer, &producer] {
        assert_eq!(reader.get(&reference).await.problem(), "object-gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_transfers_of_ten_megabytes_at_once() {
    let (producer, consumer) = pair().await;
    let payloads: Vec<Payload> = (0..16).map(|seed| Payload::new(seed, 10_000_000)).collect();
    let mut references = Vec::new();
    for payload in &payloads {
        references.push(producer.put_for(payload.bytes(), 4).await);
    }
    assert_eq!(producer.status().await.bytes(), 160_000_000);
    let digests: Vec<String> = payloads.iter().map(Payload::digest).collect();
    let transfers = (0..64).map(|turn| {
        let (consumer, reference, digest) = (&consumer, &references[turn % 16], &digests[turn % 16]);
        async move {
            let received = consumer.receive(reference).await;
            assert_eq!((received.status.as_u16(), received.bytes), (200, 10_000_000));
            assert_eq!(received.digest, *digest);
        }
    });
    stream::iter(transfers)
        .for_each_concurrent(64, |transfer| transfer)
        .await;
    producer.emptied().await;
    assert_eq!(consumer.status().await.transfers("ok"), 64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_objects_of_a_kilobyte() {
    let (producer, consumer) = pair().await;
    let (from, to) = (&producer, &consumer);
    let transfers = (0..5_000).map(|seed| async move {
        let payload = Payload::new(seed, 1_000).bytes();
        let reference = from.put(payload.clone()).await;
        let answer = to.get(&reference).await;
        assert_eq!((answer.status.as_u16(), answer.body), (200, payload));
    });
    stream::iter(transfers)
        .for_each_concurrent(32, |transfer| transfer)
        .await;
    producer.emptied().await;
    assert_eq!(consumer.status().await.transfers("ok"), 5_000);
    assert_eq!(consumer.status().await.0["peers"], 1, "all over one connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_expires_after_its_own_time_and_never_after_the_sidecars() {
    let consumer = sidecar().start().await;
    let usual = sidecar().start().await;
    let short = sidecar().env("XDT_OBJECT_TTL", "300ms").start().await;
    for (producer, ttl) in [(&usual, "300ms"), (&short, "1h")] {
        let put = producer.try_put(&[("xdt-ttl", ttl)], bytes_body("soon gone")).await;
        let reference = put.header("xdt-reference");
        assert_eq!(consumer.object("HEAD", reference, &[]).await.status, 200);
        eventually("the object expires", async || {
            (consumer.object("HEAD", reference, &[]).await.status == 410).then_some(())
        })
        .await;
        assert_eq!(consumer.get(reference).await.problem(), "object-gone");
        producer.emptied().await;
    }
    let kept = usual.put("stays").await;
    assert_eq!(consumer.get(&kept).await.text(), "stays");
}

/// Guards the TCP options and the flushes of the way: a delayed acknowledgement costs 40 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kilobytes_take_less_than_twenty_milliseconds_in_the_median() {
    let (producer, consumer) = pair().await;
    let payload = Payload::new(7, 10_000).bytes();
    let mut times = Vec::new();
    for _ in 0..50 {
        let reference = producer.put(payload.clone()).await;
        let begun = Instant::now();
        let answer = consumer.get(&reference).await;
        times.push(begun.elapsed());
        assert_eq!(answer.body, payload);
    }
    times.sort_unstable();
    assert!(times[25] < Duration::from_millis(20), "{times:?}");
}
