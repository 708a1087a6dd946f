//! What no log may tell (contract, section 3), while everything goes wrong at once and the log is at its most talkative:
//! at info and above no address, port, name of a peer, key, whole reference, ticket, payload or metadata; at debug no
//! secret either.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use xdt_testkit::{
    Authority, Bucket, Builder, Impostor, Lie, Payload, RawConnection, Ring, Sidecar, bytes_body, empty_body,
    http::request,
};

/// In every metadata value, payload, and credential that must not come back.
const MARKS: [&str; 4] = ["METADATA-MARK", "PAYLOAD-MARK", "the-s3-secret", "PRIVATE KEY"];

static STARTED: AtomicU32 = AtomicU32::new(0);

/// A sidecar that tells everything, with a pod and a node of its own.
fn talkative() -> Builder {
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .any_log() // checked here
        .env("SERVING_LOGGING_LEVEL", "debug")
        .env("SERVING_POD", &format!("pod-of-{number}"))
        .env("XDT_NODE_NAME", &format!("node-of-{number}"))
        .env("XDT_PULL_TIMEOUT", "2s")
        .env("XDT_BUFFER_WAIT", "100ms")
        .env("XDT_OBJECT_MEMORY", "4MiB")
        .env("XDT_DRAIN_GRACE", "1s")
}

/// Puts one object with a mark in all that is the user's.
async fn put(sidecar: &Sidecar, bytes: u64) -> String {
    let headers = [("xdt-meta-note", "METADATA-MARK-X"), ("content-type", "image/png")];
    let payload = Payload::new(1, bytes);
    let put = sidecar.try_put(&headers, bytes_body(payload.bytes())).await;
    put.header("xdt-reference").to_owned()
}

/// Everything that a function, a caller or a stranger can get wrong with two sidecars.
async fn mistakes(producer: &Sidecar, consumer: &Sidecar, others: &[&Sidecar], references: &mut Vec<String>) {
    let reference = put(producer, 1 << 20).await;
    let mut tampered = reference.clone().into_bytes();
    tampered[60] ^= 1;
    let tampered = String::from_utf8(tampered).unwrap();
    for other in others {
        other.get(&reference).await;
    }
    consumer.get(&tampered).await;
    consumer.get(&reference).await;
    consumer.get(&reference).await;
    consumer.object("DELETE", &reference, &[]).await;
    consumer
        .invoke("/", &[("xdt-reference", &reference)], empty_body())
        .await;
    consumer
        .invoke("/", &[("xdt-reference", "xdt1.nonsense")], bytes_body("PAYLOAD-MARK"))
        .await;
    producer
        .try_put(
            &[("xdt-meta-x", &"METADATA-MARK".repeat(1000))],
            bytes_body("PAYLOAD-MARK"),
        )
        .await;
    producer.try_put(&[("xdt-ttl", "PAYLOAD-MARK")], bytes_body("x")).await;
    producer.try_put(&[], bytes_body(vec![0; 5 << 20])).await;
    let mut proxy = xdt_testkit::Http1::open(consumer.egress()).await;
    let nobody = format!("http://{}:1/METADATA-MARK", producer.data().ip());
    proxy
        .fetch(request("POST", nobody, &[("host", "x")], bytes_body("PAYLOAD-MARK")))
        .await;
    for port in [producer.data(), producer.serving(), producer.local(), consumer.egress()] {
        let mut stranger = RawConnection::open(port).await;
        stranger.send("PAYLOAD-MARK METADATA-MARK\r\n\r\n").await;
        let _answer = stranger.rest().await;
    }
    references.extend([reference, tampered]);
}

/// The rules, line by line.
fn check(sidecar: &Sidecar, all: &[&Sidecar], references: &[String]) {
    let own = |name: &str| sidecar.log().contains(&format!("\"knative.dev/pod\":\"{name}\""));
    let pods: Vec<String> = (0..STARTED.load(Ordering::Relaxed))
        .map(|number| format!("pod-of-{number}"))
        .collect();
    let secrets: Vec<String> = [1, 2].iter().flat_map(|seed| Ring::new("x", *seed).secrets()).collect();
    let mut lines = 0;
    for line in sidecar.log().lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        lines += 1;
        for secret in secrets.iter().map(String::as_str).chain(MARKS) {
            assert!(!line.contains(secret), "tells a secret or what is the user's: {line}");
        }
        // A ticket or a reference, whole, in any form: nothing so long is told at all.
        for reference in references {
            assert!(
                !line.contains(reference.trim_start_matches("xdt1.")),
                "a whole reference: {line}"
            );
        }
        if entry["severity"] == "DEBUG" {
            continue;
        }
        for other in all {
            for address in [other.data().ip().to_string(), other.data().to_string()] {
                assert!(!line.contains(&address), "an address: {line}");
            }
        }
        for part in ["127.0.0.1", "xdt1.", "node-of-", "the-bucket", "AKIDTEST"] {
            assert!(!line.contains(part), "{part}: {line}");
        }
        for pod in &pods {
            assert!(own(pod) || !line.contains(pod), "the name of a peer: {line}");
        }
        let longest = line
            .split(|c: char| !c.is_ascii_alphanumeric() && !"-_+/".contains(c))
            .map(str::len)
            .max();
        assert!(longest < Some(120), "something sealed: {line}");
    }
    assert!(lines >= 4, "it logs its start at least");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_tells_what_it_must_not_while_everything_goes_wrong() {
    let bucket = Bucket::start().await;
    bucket.refuse(true);
    let impostor = Impostor::start(Lie::Status(200)).await;
    let authority = Authority::new();
    let mount = authority.mount("xdt-queue-proxy");
    let spilling = || {
        bucket
            .behind(talkative(), "p")
            .env("AWS_SECRET_ACCESS_KEY", "the-s3-secret")
    };
    let (producer, consumer, stranger, foreign, secured) = tokio::join!(
        spilling().start(),
        spilling().start(),
        talkative().ring(&Ring::new("x", 2)).start(),
        talkative().tenant("another").start(),
        talkative().mutual_tls(&mount).start(),
    );
    let posing = talkative()
        .env("XDT_ADVERTISE_ADDRESS", &impostor.address().to_string())
        .start()
        .await;
    let mut references = Vec::new();
    mistakes(&producer, &consumer, &[&stranger, &foreign, &secured], &mut references).await;
    let posed = put(&posing, 10).await;
    consumer.get(&posed).await;
    secured.get(&posed).await;
    references.push(posed);
    producer.write_ring("{\"primary\":\"PAYLOAD-MARK\"}");
    producer.logged("the old one stays").await;
    mount.swap(&[
        ("tls.crt", "METADATA-MARK"),
        ("tls.key", "PRIVATE KEY"),
        ("ca.crt", "x"),
    ]);
    secured.logged("the old ones stay").await;
    let left = put(&producer, 2 << 20).await;
    references.push(put(&producer, 1 << 19).await); // never fetched
    let (slow, _) = RawConnection::get(&consumer, &left).await;
    producer.terminate();
    producer.logged("objects cannot be spilled").await;
    producer.logged("objects were dropped at shutdown").await;
    slow.reset();
    consumer.get(&left).await;
    references.push(left);
    assert!(consumer.log().matches("\"DEBUG\"").count() > 5, "the log is talkative");
    let all = [&producer, &consumer, &stranger, &foreign, &secured, &posing];
    for sidecar in all {
        check(sidecar, &all, &references);
    }
}
