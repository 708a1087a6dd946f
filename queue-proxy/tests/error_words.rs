//! Every error word of the contract's section 3 that can be provoked from outside, with its form.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use xdt_testkit::{Answer, Builder, Payload, RawConnection, Sidecar, bytes_body, eventually, within};

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

/// Get, head and delete, all refused with the same word.
async fn refused(asked: &Sidecar, reference: &str) -> String {
    let get = asked.get(reference).await;
    let delete = asked.object("DELETE", reference, &[]).await;
    let head = asked.object("HEAD", reference, &[]).await;
    assert_eq!(get.problem(), delete.problem());
    assert_eq!(
        (head.status, head.header("xdt-error")),
        (get.status, get.header("xdt-error"))
    );
    get.problem()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_reference_is_invalid_in_the_same_words_whatever_was_changed() {
    let (producer, consumer) = tokio::join!(sidecar().start(), sidecar().start());
    let reference = producer.put("secret").await;
    let other = producer.put("secret").await;
    let mut wrong: Vec<String> = (0..reference.len())
        .map(|place| {
            let mut bytes = reference.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).unwrap()
        })
        .collect();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = reference.len() - 1;
    let endings = alphabet.chars().filter(|end| !reference.ends_with(*end));
    wrong.extend(endings.map(|end| format!("{}{end}", &reference[..last])));
    wrong.extend((5..last).step_by(17).map(|length| reference[..length].to_owned()));
    wrong.extend(["A", "AA", "AAAA", "=", "."].map(|more| format!("{reference}{more}")));
    wrong.extend(
        (40..last)
            .step_by(31)
            .map(|cut| format!("{}{}", &reference[..cut], &other[cut..])),
    );
    wrong.push(reference.replace("xdt1.", "xdt2."));
    wrong.push(format!("{reference}{}", "A".repeat(300)));
    wrong.push("x".to_owned());
    wrong.push("%00".to_owned());
    let mut texts = BTreeSet::new();
    for text in wrong.iter().filter(|text| **text != reference) {
        for asked in [&consumer, &producer] {
            let answer = asked.get(text).await;
            assert_eq!(answer.problem(), "reference-invalid", "{text}");
            texts.insert(answer.text());
        }
    }
    assert_eq!(texts.len(), 1, "one text for all: {texts:?}");
    assert_eq!(refused(&consumer, &wrong[60]).await, "reference-invalid");
    assert_eq!(consumer.get(&reference).await.text(), "secret", "nothing was used up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_of_another_tenant_is_told_apart_and_uses_nothing() {
    let (ours, theirs) = tokio::join!(sidecar().start(), sidecar().tenant("another").start());
    let reference = theirs.put("theirs").await;
    assert_eq!(refused(&ours, &reference).await, "wrong-tenant");
    assert_eq!(theirs.get(&reference).await.text(), "theirs");
    assert_eq!(ours.status().await.0["peers"], 0, "nobody was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_over_the_largest_size_or_over_all_memory_is_too_large() {
    let (small, little) = tokio::join!(
        sidecar().env("XDT_MAX_OBJECT_SIZE", "1MiB").start(),
        sidecar()
            .env("XDT_OBJECT_MEMORY", "1MiB")
            .env("XDT_BUFFER_WAIT", "2s")
            .start()
    );
    let (most, more) = (Payload::new(1, 1 << 20), Payload::new(1, (1 << 20) + 1));
    for producer in [&small, &little] {
        for body in [bytes_body(more.bytes()), more.chunked()] {
            assert_eq!(producer.try_put(&[], body).await.problem(), "too-large");
        }
        producer.emptied().await;
        for body in [bytes_body(most.bytes()), most.chunked()] {
            let put = producer.try_put(&[], body).await;
            assert_eq!(put.status, 201, "{put:?}");
            assert_eq!(producer.get(put.header("xdt-reference")).await.body, most.bytes());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_finds_no_memory_in_time_is_busy() {
    let builder = sidecar()
        .env("XDT_OBJECT_MEMORY", "1MiB")
        .env("XDT_BUFFER_WAIT", "200ms");
    let producer = builder.start().await;
    let payload = Payload::new(1, 700_000);
    let first = producer.put(payload.bytes()).await;
    for body in [bytes_body(payload.bytes()), payload.chunked()] {
        let answer: Answer = producer.try_put(&[], body).await;
        assert_eq!(answer.problem(), "busy");
        assert!(answer.header("retry-after").parse::<u32>().is_ok());
    }
    assert_eq!(
        producer.status().await.bytes(),
        700_000,
        "what was refused is given back"
    );
    assert_eq!(producer.get(&first).await.body, payload.bytes());
    assert_eq!(producer.try_put(&[], payload.chunked()).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_whose_retrievals_are_all_claimed_is_busy() {
    let (producer, consumer) = tokio::join!(sidecar().start(), sidecar().start());
    for reader in [&producer, &consumer] {
        let reference = producer.put_for(Payload::new(1, 64 << 20).bytes(), 2).await;
        let (_one, _) = RawConnection::get(reader, &reference).await;
        let (_two, _) = RawConnection::get(reader, &reference).await;
        for asked in [&producer, &consumer] {
            let answer = asked.get(&reference).await;
            assert_eq!(answer.problem(), "busy");
            assert_eq!(asked.object("HEAD", &reference, &[]).await.status, 200);
            let part = asked.object("GET", &reference, &[("range", "bytes=0-9")]).await;
            assert_eq!((part.status.as_u16(), part.body.len()), (206, 10));
        }
        assert_eq!(consumer.object("DELETE", &reference, &[]).await.status, 204);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sidecar_that_shuts_down_takes_no_new_objects_and_serves_the_old() {
    let (producer, consumer) = tokio::join!(sidecar().start(), sidecar().start());
    let reference = producer.put("old").await;
    producer.terminate();
    producer.logged("TERM signal").await;
    let body = || bytes_body(Payload::new(1, 1_000_000).bytes());
    within("draining", async {
        while producer.try_put(&[], body()).await.status != 503 {}
    })
    .await;
    assert_eq!(producer.try_put(&[], body()).await.problem(), "draining");
    assert_eq!(consumer.get(&reference).await.text(), "old");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_is_not_there_is_unreachable() {
    let (mut producer, consumer) = tokio::join!(sidecar().start(), sidecar().start());
    let (known, unknown) = (producer.put_for("x", 2).await, sidecar().start().await);
    let never_met = unknown.put("x").await;
    drop(unknown);
    assert_eq!(consumer.get(&known).await.text(), "x");
    producer.kill();
    assert_eq!(refused(&consumer, &known).await, "producer-unreachable");
    assert_eq!(refused(&consumer, &never_met).await, "producer-unreachable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_falls_silent_is_a_timeout() {
    let consumer = sidecar().env("XDT_PULL_TIMEOUT", "400ms").start().await;
    let producer = sidecar().start().await;
    let large = producer.put(Payload::new(1, 64 << 20).bytes()).await;
    let small = producer.put_for("x", 2).await;
    assert_eq!(consumer.get(&small).await.text(), "x");
    let (client, _) = RawConnection::get(&consumer, &large).await;
    producer.pause();
    assert_eq!(consumer.get(&small).await.problem(), "timeout");
    assert_eq!(consumer.object("HEAD", &small, &[]).await.status, 504);
    let rest = client.rest().await;
    assert!(rest.bytes.len() < 64 << 20, "the body breaks off");
    producer.resume();
    let again = eventually("the silent pull's claim comes back", async || {
        let answer = consumer.get(&small).await;
        (answer.status != 429).then_some(answer)
    })
    .await;
    assert_eq!(again.text(), "x", "nothing was used up");
    assert_eq!(producer.object("DELETE", &large, &[]).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_whose_client_leaves_early_keeps_nothing() {
    let producer = sidecar().start().await;
    for head in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let mut client = RawConnection::open(producer.local()).await;
        client
            .send(format!(
                "POST /xdt/v1/objects HTTP/1.1\r\nhost: local\r\n{head}\r\n\r\n"
            ))
            .await;
        client.send("64\r\n").await;
        client.send([b'x'; 100]).await;
        drop(client);
    }
    producer.emptied().await;
    let put = producer.put("still fine").await;
    assert_eq!(producer.get(&put).await.text(), "still fine");
}
