//! Spilled copies (contract, section 9): references outlive their producers, with every promise that was made for them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use futures_util::future::join_all;
use tempfile::TempDir;
use xdt_testkit::{
    Bucket, Builder, Digest, Exposition, Payload, RawConnection, Sidecar, bytes_body, empty_body, eventually,
    http::request,
};

/// Logged by a producer that has spilled.
const SPILLED: &str = "objects were spilled at shutdown";
const MIB: u64 = 1 << 20;

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy")).env("XDT_DRAIN_GRACE", "1s")
}

fn behind(folder: &TempDir) -> Builder {
    sidecar().env("XDT_SPILL_URL", &format!("file://{}", folder.path().display()))
}

/// SIGTERM, and the objects are in the store.
async fn leaves(producer: &Sidecar) {
    producer.terminate();
    producer.logged(SPILLED).await;
}

/// Every file below.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| {
            if entry.path().is_dir() {
                files(&entry.path())
            } else {
                vec![entry.path()]
            }
        })
        .collect()
}

/// Everything that one reference promises, from a producer that is still leaving and from one that is gone.
async fn keeps_every_promise(producer: Sidecar, consumer: &Sidecar) -> Vec<String> {
    let large = Payload::new(1, 20 * MIB);
    let headers = [
        ("content-type", "image/x-spilled"),
        ("xdt-meta-note", "METADATA-MARK-1"),
        ("xdt-retrievals", "3"),
    ];
    let put = producer.try_put(&headers, bytes_body(large.bytes())).await;
    let reference = put.header("xdt-reference").to_owned();
    let (empty, deleted) = (producer.put("").await, producer.put("deleted").await);
    assert_eq!(
        consumer.receive(&reference).await.digest,
        large.digest(),
        "one of three"
    );
    let tag = consumer.object("HEAD", &reference, &[]).await.header("etag").to_owned();
    leaves(&producer).await;
    assert_eq!(
        consumer.receive(&reference).await.digest,
        large.digest(),
        "two of three"
    );
    drop(producer);
    let head = consumer.object("HEAD", &reference, &[]).await;
    let told = ["content-length", "content-type", "xdt-meta-note", "etag"].map(|name| head.header(name).to_owned());
    assert_eq!(
        told,
        [&(20 * MIB).to_string(), "image/x-spilled", "METADATA-MARK-1", &tag]
    );
    let across = consumer
        .object("GET", &reference, &[("range", "bytes=1048570-2097160")])
        .await;
    assert_eq!(
        (across.status.as_u16(), across.body),
        (206, large.bytes().slice(1_048_570..=2_097_160))
    );
    let outside = consumer
        .object("GET", &reference, &[("range", "bytes=99999999-")])
        .await;
    assert_eq!(outside.status, 416);
    assert_eq!(consumer.get(&empty).await.body, "");
    assert_eq!(consumer.object("DELETE", &deleted, &[]).await.status, 204);
    assert_eq!(consumer.object("DELETE", &deleted, &[]).await.problem(), "object-gone");
    assert_eq!(
        consumer.receive(&reference).await.digest,
        large.digest(),
        "three of three"
    );
    for reference in [&reference, &empty, &deleted] {
        assert_eq!(consumer.get(reference).await.problem(), "object-gone");
        assert_eq!(consumer.object("HEAD", reference, &[]).await.status, 410);
    }
    let rows = consumer.status().await.0["transfers"].clone();
    let spilled = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["path"] == "spill" && row["outcome"] == "ok");
    assert_eq!(spilled.unwrap()["count"], 4, "two whole, a part, an empty one: {rows}");
    vec![reference, empty, deleted]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_outlives_its_producer_in_a_folder() {
    let folder = TempDir::new().unwrap();
    let (producer, consumer) = tokio::join!(behind(&folder).start(), behind(&folder).start());
    keeps_every_promise(producer, &consumer).await;
    assert_eq!(
        files(folder.path()),
        [""; 0].map(PathBuf::from),
        "nothing is left after the last retrieval"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_outlives_its_producer_in_s3() {
    let bucket = Bucket::start().await;
    let start = || bucket.behind(sidecar(), "some/prefix").start();
    let (producer, consumer) = tokio::join!(start(), start());
    keeps_every_promise(producer, &consumer).await;
    assert!(bucket.objects().is_empty(), "{:?}", bucket.objects().keys());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_learns_nothing_and_what_it_changes_is_noticed() {
    let folder = TempDir::new().unwrap();
    let producer = behind(&folder).start().await;
    let consumer = behind(&folder).allow("was not what it should be").start().await;
    let marked = format!("PLAIN-PAYLOAD{}", "x".repeat(3_000_000));
    let headers = [("content-type", "image/x-plain"), ("xdt-meta-plain", "METADATA-MARK-2")];
    let mut references = Vec::new();
    for _ in 0..3 {
        let put = producer.try_put(&headers, bytes_body(marked.clone())).await;
        references.push(put.header("xdt-reference").to_owned());
    }
    leaves(&producer).await;
    let all = files(folder.path());
    assert_eq!(all.len(), 9, "head, data and state of each: {all:?}");
    for file in &all {
        let bytes = fs::read(file).unwrap();
        for plain in ["PLAIN-PAYLOAD", "image/x-plain", "METADATA-MARK"] {
            assert!(
                !bytes.windows(plain.len()).any(|part| part == plain.as_bytes()),
                "{plain} in {file:?}"
            );
        }
    }
    let data: Vec<_> = all.iter().filter(|file| file.ends_with("data")).collect();
    let (first, second) = (fs::read(data[0]).unwrap(), fs::read(data[1]).unwrap());
    let mut flipped = first.clone();
    flipped[2_500_000] ^= 1;
    fs::write(data[0], flipped).unwrap(); // a bit
    fs::write(data[1], &first).unwrap(); // another object's bytes
    let mut third = fs::read(data[2]).unwrap();
    third.truncate(1_048_616); // the first of its chunks
    fs::write(data[2], third).unwrap();
    let mut broken = 0;
    for reference in &references {
        let mut client = RawConnection::open(consumer.local()).await;
        client
            .send(format!(
                "GET /xdt/v1/objects/{reference} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            ))
            .await;
        let answer = client.rest().await;
        let whole = answer.bytes.windows(marked.len()).any(|part| part == marked.as_bytes());
        assert!(!whole, "what was changed never arrives as if it were right");
        broken += 1;
    }
    assert_eq!(broken, 3);
    drop(producer);
    fs::write(data[0], first).unwrap();
    fs::write(data[1], second).unwrap();
    let fine = join_all(references.iter().map(|reference| consumer.get(reference))).await;
    let fine = fine.iter().filter(|answer| answer.body == marked).count();
    assert_eq!(fine, 2, "no retrieval was used up by what broke");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_together_retrieve_a_copy_as_often_as_was_allowed() {
    let folder = TempDir::new().unwrap();
    let (producer, first, second) = tokio::join!(
        behind(&folder).start(),
        behind(&folder).start(),
        behind(&folder).start()
    );
    let payload = Payload::new(3, 2_500_000);
    let reference = producer.put_for(payload.bytes(), 4).await;
    leaves(&producer).await;
    drop(producer);
    let (client, _) = RawConnection::get(&first, &reference).await;
    drop(client);
    first.counted("abandoned", 1).await;
    let consumers = (0..12).map(|turn| [&first, &second][turn % 2]);
    let mut got = 0;
    eventually("all retrievals but no more", async || {
        for answer in join_all(consumers.clone().map(|consumer| consumer.get(&reference))).await {
            match answer.status.as_u16() {
                200 => {
                    assert_eq!(Digest::of(&answer.body), payload.digest());
                    got += 1;
                }
                429 => assert_eq!(answer.problem(), "busy"),
                410 => assert!(got > 0 || answer.problem() == "object-gone"),
                other => panic!("{other}: {}", answer.text()),
            }
        }
        (second.get(&reference).await.status == 410).then_some(())
    })
    .await;
    assert_eq!(got, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_to_live_goes_on_in_the_store() {
    let folder = TempDir::new().unwrap();
    let (producer, consumer) = tokio::join!(behind(&folder).start(), behind(&folder).start());
    let put = producer.try_put(&[("xdt-ttl", "4s")], bytes_body("short-lived")).await;
    let reference = put.header("xdt-reference").to_owned();
    leaves(&producer).await;
    assert_eq!(consumer.object("HEAD", &reference, &[]).await.status, 200);
    eventually("the end of its time", async || {
        (consumer.object("HEAD", &reference, &[]).await.status == 410).then_some(())
    })
    .await;
    assert_eq!(consumer.get(&reference).await.problem(), "object-gone");
    assert!(files(folder.path()).is_empty(), "whoever finds it late deletes it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_outlasts_the_grace_is_cut_and_may_be_repeated_from_the_copy() {
    let folder = TempDir::new().unwrap();
    let (producer, consumer) = tokio::join!(behind(&folder).start(), behind(&folder).start());
    let payload = Payload::new(4, 64 * MIB);
    let reference = producer.put(payload.bytes()).await;
    let (slow, _) = RawConnection::get(&consumer, &reference).await;
    leaves(&producer).await;
    assert_eq!(
        producer.status().await.held(),
        1,
        "its bytes stay while they are being read"
    );
    drop(producer);
    let truncated = slow.rest().await;
    assert!((truncated.bytes.len() as u64) < 64 * MIB);
    assert_eq!(consumer.receive(&reference).await.digest, payload.digest());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_spilled_is_served_to_the_end_told_and_counted() {
    let bucket = Bucket::start().await;
    bucket.refuse(true);
    let producer = bucket
        .behind(sidecar(), "")
        .env("XDT_DRAIN_GRACE", "6s")
        .env(
            "OBSERVABILITY_CONFIG",
            r#"{"requestMetrics":{"protocol":"prometheus"}}"#,
        )
        .allow("objects cannot be spilled")
        .allow("objects were dropped at shutdown")
        .start()
        .await;
    let consumer = sidecar().start().await;
    let (kept, _lost) = (producer.put("kept").await, producer.put("lost").await);
    producer.terminate();
    producer.logged("objects cannot be spilled").await;
    assert_eq!(consumer.get(&kept).await.text(), "kept");
    producer.logged("objects were dropped at shutdown").await;
    let url = format!("http://{}/metrics", producer.metrics());
    let page = producer.client().fetch(request("GET", url, &[], empty_body())).await;
    let page = Exposition::parse(&page.text());
    let lost = page
        .named("xdt_spill_count_total")
        .find(|sample| sample.label("outcome") == "dropped");
    assert_eq!(lost.unwrap().value, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_vanished_without_a_copy_is_gone_for_those_who_could_know() {
    let folder = TempDir::new().unwrap();
    let (producer, knowing, other) = tokio::join!(behind(&folder).start(), behind(&folder).start(), sidecar().start());
    let reference = producer.put("lost").await;
    drop(producer);
    assert_eq!(knowing.get(&reference).await.problem(), "object-gone");
    assert_eq!(knowing.object("DELETE", &reference, &[]).await.problem(), "object-gone");
    assert_eq!(other.get(&reference).await.problem(), "producer-unreachable");
}
