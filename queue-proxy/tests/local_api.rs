//! The local HTTP API, row by row (contract, section 3). Error words: `error_words.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use xdt_testkit::{Answer, Builder, Payload, Sidecar, bytes_body, eventually, log::METADATA_MARK};

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

async fn pair() -> (Sidecar, Sidecar) {
    tokio::join!(sidecar().start(), sidecar().start())
}

/// The word of a refusal whose detail names what was wrong.
fn refused_for(answer: &Answer, name: &str) -> String {
    let detail = answer.json()["detail"].as_str().unwrap().to_ascii_lowercase();
    assert!(detail.contains(name), "{detail:?} names {name}");
    answer.problem()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn put_answers_with_a_reference_that_fits_a_header() {
    let producer = sidecar().start().await;
    let put = producer
        .try_put(&[("xdt-retrievals", "3")], bytes_body("seven b"))
        .await;
    assert_eq!(
        (put.status.as_u16(), put.header("content-type")),
        (201, "application/json")
    );
    let reference = put.header("xdt-reference");
    let document = put.json();
    assert_eq!(document.as_object().unwrap().len(), 3);
    assert_eq!(document["reference"], reference);
    assert_eq!((&document["size"], &document["retrievals"]), (&7.into(), &3.into()));
    assert!(reference.starts_with("xdt1.") && reference.len() <= 256, "{reference}");
    assert!(
        reference
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    );
    let other = producer
        .try_put(&[("xdt-retrievals", "3")], bytes_body("seven b"))
        .await;
    let shared = other.header("xdt-reference").bytes().zip(reference.bytes());
    let differing = shared.filter(|(one, two)| one != two).count();
    assert!(
        differing > 100,
        "equal objects have references that share only the key id"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_type_and_metadata_are_kept_on_both_paths() {
    let (producer, consumer) = pair().await;
    let mark = format!("{METADATA_MARK} one; two");
    let headers = [
        ("content-type", "text/x-test; charset=utf-8"),
        ("xdt-meta-owner", mark.as_str()),
        ("xdt-meta-list", "a"),
        ("xdt-meta-list", "b"),
        ("x-other", "not kept"),
        ("xdt-retrievals", "2"),
    ];
    let put = producer.try_put(&headers, bytes_body("bytes")).await;
    for reader in [&producer, &consumer] {
        for method in ["HEAD", "GET"] {
            let answer = reader.object(method, put.header("xdt-reference"), &[]).await;
            assert_eq!(answer.header("content-type"), "text/x-test; charset=utf-8");
            assert_eq!(answer.header("xdt-meta-owner"), mark);
            let list: Vec<_> = answer.headers.get_all("xdt-meta-list").iter().collect();
            assert_eq!(list, ["a", "b"]);
            assert_eq!((answer.header("x-other"), answer.header("content-length")), ("", "5"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_is_accepted_up_to_eight_kibibytes_in_all() {
    let (producer, consumer) = pair().await;
    let (half, more) = ("v".repeat(4096 - 32), "v".repeat(4096));
    let headers = [("xdt-meta-a", half.as_str()), ("xdt-meta-b", half.as_str())];
    let put = producer.try_put(&headers, bytes_body("x")).await;
    let answer = consumer.get(put.header("xdt-reference")).await;
    assert_eq!(
        (answer.header("xdt-meta-a"), answer.header("xdt-meta-b")),
        (half.as_str(), half.as_str())
    );
    let headers = [("xdt-meta-a", more.as_str()), ("xdt-meta-b", more.as_str())];
    let refused = producer.try_put(&headers, bytes_body("x")).await;
    assert_eq!(refused_for(&refused, "xdt-meta-"), "bad-request");
    let name = format!("xdt-meta-{}", "n".repeat(5000));
    let refused = producer.try_put(&[(&name, &half)], bytes_body("x")).await;
    assert_eq!(refused_for(&refused, "xdt-meta-"), "bad-request", "names count too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retrievals_are_a_number_from_one_to_65535() {
    let producer = sidecar().start().await;
    for text in ["1", "65535"] {
        let put = producer.try_put(&[("xdt-retrievals", text)], bytes_body("x")).await;
        assert_eq!(put.json()["retrievals"].to_string(), text);
    }
    for text in ["0", "65536", "abc", "-1", "1.5", "", "1,2", "99999999999999999999"] {
        let refused = producer.try_put(&[("xdt-retrievals", text)], bytes_body("x")).await;
        assert_eq!(refused_for(&refused, "xdt-retrievals"), "bad-request", "{text:?}");
    }
    let twice = [("xdt-retrievals", "1"), ("xdt-retrievals", "2")];
    let refused = producer.try_put(&twice, bytes_body("x")).await;
    assert_eq!(refused_for(&refused, "xdt-retrievals"), "bad-request");
    assert_eq!(producer.status().await.held(), 2, "nothing that was refused is held");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_to_live_parses_and_never_means_for_ever_unless_the_sidecar_does() {
    let (usual, for_ever) = tokio::join!(sidecar().start(), sidecar().env("XDT_OBJECT_TTL", "0").start());
    for text in ["30s", "500ms", "2m", "1h", "9999h"] {
        let put = usual.try_put(&[("xdt-ttl", text)], bytes_body("x")).await;
        assert_eq!(put.status, 201, "{text}");
    }
    for text in ["", "soon", "-1s", "10y", "1s 2s"] {
        let refused = usual.try_put(&[("xdt-ttl", text)], bytes_body("x")).await;
        assert_eq!(refused_for(&refused, "xdt-ttl"), "bad-request", "{text:?}");
    }
    let refused = usual.try_put(&[("xdt-ttl", "0")], bytes_body("x")).await;
    assert_eq!(refused_for(&refused, "xdt-ttl"), "bad-request");
    let put = for_ever.try_put(&[("xdt-ttl", "0")], bytes_body("kept")).await;
    assert_eq!(usual.get(put.header("xdt-reference")).await.text(), "kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn get_has_a_strong_entity_tag_that_stands_for_the_object_and_not_its_content() {
    let (producer, consumer) = pair().await;
    let (one, two) = (producer.put_for("equal", 3).await, producer.put_for("equal", 3).await);
    let mut tags = Vec::new();
    for reference in [&one, &two] {
        let answer = consumer.get(reference).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, "equal".to_owned()));
        assert_eq!(answer.header("content-type"), "application/octet-stream");
        let tag = answer.header("etag").to_owned();
        assert!(tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
        assert_eq!(producer.get(reference).await.header("etag"), tag);
        assert_eq!(consumer.object("HEAD", reference, &[]).await.header("etag"), tag);
        tags.push(tag);
    }
    assert_ne!(tags[0], tags[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_a_part_and_no_retrieval() {
    let (producer, consumer) = pair().await;
    let bytes = Payload::new(1, 200_000).bytes();
    let reference = producer.put(bytes.clone()).await;
    for reader in [&consumer, &producer] {
        for (range, start, end) in [
            ("bytes=0-0", 0, 0),
            ("bytes=0-99", 0, 99),
            ("bytes=65535-131072", 65_535, 131_072),
            ("bytes=199999-", 199_999, 199_999),
            ("bytes=-10", 199_990, 199_999),
            ("bytes=100-999999", 100, 199_999),
            ("bytes=0-", 0, 199_999),
        ] {
            let answer = reader.object("GET", &reference, &[("range", range)]).await;
            assert_eq!(answer.status, 206, "{range}: {answer:?}");
            assert_eq!(answer.body, bytes.slice(start..=end), "{range}");
            assert_eq!(answer.header("content-range"), format!("bytes {start}-{end}/200000"));
            assert_eq!(answer.header("content-length"), (end - start + 1).to_string());
            assert_eq!(answer.header("content-type"), "application/octet-stream");
        }
        for range in ["bytes=200000-", "bytes=200000-200001"] {
            let answer = reader.object("GET", &reference, &[("range", range)]).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("content-range")),
                (416, "bytes */200000")
            );
        }
    }
    assert_eq!(
        consumer.get(&reference).await.body,
        bytes,
        "the one retrieval is still there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anything_but_one_range_is_a_bad_request_and_uses_nothing() {
    let (producer, consumer) = pair().await;
    let reference = producer.put("0123456789").await;
    for reader in [&consumer, &producer] {
        for range in [
            "bytes=0-1,3-4",
            "bytes=0-1, 5-",
            "lines=0-1",
            "bytes=b-a",
            "bytes=5-2",
            "bytes",
            "0-9",
        ] {
            for last in ["false", "true"] {
                let headers = [("range", range), ("xdt-final", last)];
                let answer = reader.object("GET", &reference, &headers).await;
                assert_eq!(refused_for(&answer, "range"), "bad-request", "{range}");
            }
        }
        let twice = [("range", "bytes=0-1"), ("range", "bytes=2-3")];
        assert_eq!(reader.object("GET", &reference, &twice).await.problem(), "bad-request");
        let odd = [("range", "bytes=0-1"), ("xdt-final", "maybe")];
        assert_eq!(
            refused_for(&reader.object("GET", &reference, &odd).await, "xdt-final"),
            "bad-request"
        );
    }
    assert_eq!(consumer.get(&reference).await.text(), "0123456789");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_final_range_is_a_retrieval() {
    let (producer, consumer) = pair().await;
    for reader in [&consumer, &producer] {
        let reference = producer.put("0123456789").await;
        let part = reader.object("GET", &reference, &[("range", "bytes=0-4")]).await;
        assert_eq!(part.text(), "01234");
        let headers = [("range", "bytes=5-9"), ("xdt-final", "true")];
        assert_eq!(reader.object("GET", &reference, &headers).await.text(), "56789");
        producer.emptied().await;
        assert_eq!(reader.get(&reference).await.problem(), "object-gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn head_tells_the_same_and_uses_nothing() {
    let (producer, consumer) = pair().await;
    let reference = producer.put("0123456789").await;
    for reader in [&consumer, &producer, &consumer] {
        let answer = reader.object("HEAD", &reference, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-length")), (200, "10"));
        assert!(answer.body.is_empty());
    }
    let (mut head, mut get) = (
        consumer.object("HEAD", &reference, &[]).await.headers,
        consumer.get(&reference).await.headers,
    );
    for headers in [&mut head, &mut get] {
        headers.remove("date");
    }
    assert_eq!(head, get);
    let gone = consumer.object("HEAD", &reference, &[]).await;
    assert_eq!((gone.status.as_u16(), gone.header("xdt-error")), (410, "object-gone"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delete_frees_an_object_from_any_instance_once() {
    let (producer, consumer) = pair().await;
    for deleter in [&producer, &consumer] {
        let reference = producer.put_for(Payload::new(1, 100_000).bytes(), 9).await;
        assert_eq!(producer.status().await.bytes(), 100_000);
        let answer = deleter.object("DELETE", &reference, &[]).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
        assert_eq!(producer.status().await.held(), 0);
        for asked in [&producer, &consumer] {
            assert_eq!(asked.object("DELETE", &reference, &[]).await.problem(), "object-gone");
            assert_eq!(asked.get(&reference).await.problem(), "object-gone");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_counts_and_tells_nothing_else() {
    let (producer, consumer) = pair().await;
    let fresh = producer.status().await.0;
    assert_eq!(
        fresh,
        serde_json::json!({
            "objects": { "held": 0, "bytes": 0, "bytes_limit": 256 << 20 },
            "pool": { "used": 0, "limit": 32 << 20 },
            "transfers": [],
            "peers": 0,
        })
    );
    let (one, two) = (producer.put("12345").await, producer.put("1234567").await);
    assert_eq!(
        (producer.status().await.held(), producer.status().await.bytes()),
        (2, 12)
    );
    assert_eq!(consumer.get(&one).await.text(), "12345");
    assert_eq!(producer.get(&two).await.text(), "1234567");
    assert_eq!(consumer.get(&one).await.problem(), "object-gone");
    let (own, pulled) = (producer.status().await.0, consumer.status().await.0);
    let row = |path, outcome| serde_json::json!({ "path": path, "outcome": outcome, "count": 1 });
    assert_eq!(own["transfers"], serde_json::json!([row("instance", "ok")]));
    let expected = serde_json::json!([row("stream", "ok"), row("stream", "object-gone")]);
    assert_eq!((&pulled["transfers"], &pulled["peers"]), (&expected, &1.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_waits_for_memory() {
    let producer = sidecar().env("XDT_OBJECT_MEMORY", "1MiB").start().await;
    let payload = Payload::new(1, 700_000);
    for body in [bytes_body(payload.bytes()), payload.chunked()] {
        let first = producer.put(payload.bytes()).await;
        let waiting = producer.try_put(&[], body);
        let freeing = async {
            // Reading frees only after the second put is in the queue, or before: both are right.
            eventually("the first object is gone", async || {
                (producer.get(&first).await.status == 200).then_some(())
            })
            .await;
        };
        let (second, ()) = tokio::join!(waiting, freeing);
        assert_eq!(second.status, 201, "{second:?}");
        assert_eq!(producer.get(second.header("xdt-reference")).await.body, payload.bytes());
    }
    producer.emptied().await;
}
