//! Invocation by reference at the consumer: the user container sees the original request, the caller gets large
//! answers by reference, and without a key ring nothing of it exists (contract, section 4).

#![allow(clippy::unwrap_used, clippy::expect_used)]

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{HeaderMap, Version};
use xdt_testkit::{
    Builder, Digest, Http2, Payload, RawConnection, Script, Sidecar, UserContainer, bytes_body, empty_body, eventually,
    http::{collect, request},
    user::ReservedPort,
};

fn sidecar() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
}

/// A user container behind its sidecar, and a producer.
async fn trio(script: Script) -> (UserContainer, Sidecar, Sidecar) {
    let user = UserContainer::start(script);
    let (consumer, producer) = tokio::join!(sidecar().user_port(user.port()).start(), sidecar().start());
    (user, consumer, producer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_user_container_sees_the_request_as_if_the_body_had_travelled_inline() {
    let (user, consumer, producer) = trio(Script::Echo).await;
    let payload = Payload::new(1, 300_000);
    let url = format!("http://{}/a/path?with=query&and=%20more", consumer.serving());
    let plain = [
        ("host", "function.example"),
        ("content-type", "image/jpeg"),
        ("x-custom", "kept"),
        ("cookie", "a=b"),
        ("accept", "text/plain"),
        ("accept", "text/html"),
    ];
    let inline = request("PUT", &url, &plain, bytes_body(payload.bytes()));
    assert_eq!(consumer.client().fetch(inline).await.status, 200);
    let reference = producer.put(payload.bytes()).await;
    let xdt = [
        ("xdt-reference", reference.as_str()),
        ("xdt-accept", "reference"),
        ("xdt-later", "unknown"),
    ];
    let by_reference = request("PUT", &url, &[&plain[..], &xdt[..]].concat(), empty_body());
    let answer = consumer.client().fetch(by_reference).await;
    assert_eq!(answer.json()["digest"], payload.digest());
    let [inline, by_reference] = <[_; 2]>::try_from(user.seen()).unwrap();
    assert_eq!(by_reference.method, "PUT");
    assert_eq!(by_reference.target, "/a/path?with=query&and=%20more");
    assert_eq!(by_reference.header("content-length"), "300000");
    let all = |headers: &HeaderMap| {
        let mut all: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value:?}"))
            .collect();
        all.sort();
        all
    };
    assert_eq!(all(&by_reference.headers), all(&inline.headers));
    assert_eq!((by_reference.digest, by_reference.bytes), (inline.digest, inline.bytes));
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_size_is_delivered_with_its_length_in_both_streaming_modes() {
    let user = UserContainer::start(Script::Echo);
    let store = sidecar()
        .env("XDT_STREAMING", "store-and-forward")
        .user_port(user.port())
        .start()
        .await;
    let (cut_through, producer) = tokio::join!(sidecar().user_port(user.port()).start(), sidecar().start());
    for (seed, size) in (0..).zip([0, 1, 65_535, 65_536, 65_537, 1_000_003, 10 << 20]) {
        let payload = Payload::new(seed, size);
        for consumer in [&cut_through, &store] {
            let reference = producer.put(payload.bytes()).await;
            let answer = consumer
                .invoke("/", &[("xdt-reference", &reference)], empty_body())
                .await;
            assert_eq!(answer.json()["digest"], payload.digest(), "{size} bytes");
            assert_eq!(user.seen().last().unwrap().header("content-length"), size.to_string());
        }
    }
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_objects_content_type_goes_before_the_messages() {
    let (user, consumer, producer) = trio(Script::Echo).await;
    for (object, message, seen) in [
        (Some("text/object"), Some("text/message"), "text/object"),
        (Some("text/object"), None, "text/object"),
        (None, Some("text/message"), "text/message"),
        (None, None, ""),
    ] {
        let kind: Vec<_> = object.map(|kind| ("content-type", kind)).into_iter().collect();
        let put = producer.try_put(&kind, bytes_body("x")).await;
        let mut headers = vec![("xdt-reference", put.header("xdt-reference"))];
        headers.extend(message.map(|kind| ("content-type", kind)));
        assert_eq!(consumer.invoke("/", &headers, empty_body()).await.status, 200);
        assert_eq!(user.seen().last().unwrap().header("content-type"), seen);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xdt_headers_are_removed_also_without_a_reference() {
    let (user, consumer, _) = trio(Script::Echo).await;
    let headers = [
        ("xdt-accept", "reference"),
        ("xdt-meta-a", "b"),
        ("xdt-x", "c"),
        ("xdtx", "kept"),
    ];
    let answer = consumer.invoke("/", &headers, bytes_body("inline")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["bytes"].as_u64()),
        (200, Some(6))
    );
    assert_eq!(
        (user.only().xdt_headers(), user.only().header("xdtx")),
        (vec![], "kept")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_beside_a_reference_or_two_references_are_a_bad_request_and_use_nothing() {
    let (user, consumer, producer) = trio(Script::Echo).await;
    let (one, two) = (producer.put("one").await, producer.put("two").await);
    let (both, single) = (format!("{one},{two}"), [("xdt-reference", one.as_str())]);
    for body in [bytes_body("a body"), Payload::new(1, 100_000).chunked()] {
        assert_eq!(consumer.invoke("/", &single, body).await.problem(), "bad-request");
    }
    let twice = [("xdt-reference", one.as_str()), ("xdt-reference", two.as_str())];
    let listed = [("xdt-reference", both.as_str())];
    assert_eq!(
        consumer.invoke("/", &twice, empty_body()).await.problem(),
        "bad-request"
    );
    assert_eq!(
        consumer.invoke("/", &listed, empty_body()).await.problem(),
        "bad-request"
    );
    assert_eq!(user.calls(), 0);
    let chunked_but_empty = Payload::new(1, 0).chunked();
    assert_eq!(
        consumer.invoke("/", &single, chunked_but_empty).await.json()["bytes"],
        3
    );
    assert_eq!(consumer.get(&two).await.text(), "two");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_request_by_reference_keeps_protocol_and_trailers() {
    let (user, consumer, producer) = trio(Script::Grpc).await;
    let mut client = Http2::open(consumer.serving()).await;
    let payload = Payload::new(1, 3_000_000);
    let reference = producer.put(payload.bytes()).await;
    let headers = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("xdt-reference", reference.as_str()),
    ];
    let call = request(
        "POST",
        "http://function.example/pkg.Service/Method",
        &headers,
        empty_body(),
    );
    let answer = client.fetch(call).await;
    assert_eq!(
        (answer.status.as_u16(), Digest::of(&answer.body)),
        (200, payload.digest())
    );
    let trailers = answer.trailers.unwrap();
    assert_eq!([&trailers["grpc-status"], &trailers["x-bytes"]], ["0", "3000000"]);
    let seen = user.only();
    assert_eq!(
        (seen.version, seen.target.as_str()),
        (Version::HTTP_2, "/pkg.Service/Method")
    );
    assert_eq!(
        (seen.header("content-type"), seen.header("te")),
        ("application/grpc", "trailers")
    );
    assert_eq!((seen.xdt_headers(), seen.digest), (vec![], payload.digest()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grpc_answer_by_reference_leaves_its_trailers_on_the_control_path() {
    let (_user, consumer, caller) = trio(Script::Grpc).await;
    let mut client = Http2::open(consumer.serving()).await;
    let payload = Payload::new(1, 3_000_000);
    let headers = [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("xdt-accept", "reference"),
    ];
    let call = request("POST", "http://f.example/p.S/M", &headers, bytes_body(payload.bytes()));
    let response = client.send(call).await.unwrap();
    let reference = response.headers()["xdt-reference"].to_str().unwrap().to_owned();
    let (object, control) = tokio::join!(caller.get(&reference), collect(response));
    let control = control.unwrap();
    assert_eq!((Digest::of(&object.body), control.body.len()), (payload.digest(), 0));
    assert_eq!(control.trailers.unwrap()["x-bytes"], "3000000");
    consumer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_goes_by_reference_with_status_and_headers_kept() {
    let (user, consumer, caller) = trio(Script::Echo).await;
    let payload = Payload::new(1, 2_000_000);
    let headers = vec![
        ("content-type", "text/large"),
        ("x-custom", "kept"),
        ("set-cookie", "a=b"),
    ];
    user.follow(Script::Answer(203, headers, payload.clone()));
    let accept = [("xdt-accept", "reference")];
    let answer = consumer.invoke("/", &accept, empty_body()).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (203, 0));
    assert_eq!(
        (answer.header("x-custom"), answer.header("set-cookie")),
        ("kept", "a=b")
    );
    assert_eq!(answer.header("content-type"), "text/large");
    assert_eq!(answer.header("xdt-object-size"), "2000000");
    let object = caller.get(answer.header("xdt-reference")).await;
    assert_eq!(
        (Digest::of(&object.body), object.header("content-length")),
        (payload.digest(), "2000000")
    );
    assert_eq!(object.header("content-type"), "text/large");
    assert_eq!(
        caller.get(answer.header("xdt-reference")).await.problem(),
        "object-gone"
    );

    user.follow(Script::AnswerChunked(payload.clone()));
    let answer = consumer.invoke("/", &accept, empty_body()).await;
    assert_eq!((answer.body.len(), answer.header("xdt-object-size")), (0, ""));
    let object = caller.get(answer.header("xdt-reference")).await;
    assert_eq!(
        (Digest::of(&object.body), object.header("content-length")),
        (payload.digest(), "")
    );
    consumer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_answers_are_never_touched() {
    let (user, consumer, producer) = trio(Script::Echo).await;
    let (small, large) = (Payload::new(1, 65_536), Payload::new(2, 65_537));
    let accept = [("xdt-accept", "reference")];
    for (script, headers, payload) in [
        (Script::Answer(200, vec![], small.clone()), &accept[..], &small),
        (Script::AnswerChunked(small.clone()), &accept[..], &small),
        (Script::Answer(200, vec![], large.clone()), &[][..], &large),
        (Script::AnswerChunked(large.clone()), &[][..], &large),
        (
            Script::Answer(200, vec![], large.clone()),
            &[("xdt-accept", "no")][..],
            &large,
        ),
    ] {
        user.follow(script);
        let answer = consumer.invoke("/", headers, empty_body()).await;
        assert_eq!(Digest::of(&answer.body), payload.digest());
        assert_eq!(
            (answer.header("xdt-reference"), answer.header("xdt-object-size")),
            ("", "")
        );
    }
    let own: &'static str = producer.put("the function's own").await.leak();
    user.follow(Script::Answer(200, vec![("xdt-reference", own)], large.clone()));
    for headers in [&accept[..], &[][..]] {
        let answer = consumer.invoke("/", headers, empty_body()).await;
        assert_eq!(answer.header("xdt-reference"), own);
        assert_eq!(Digest::of(&answer.body), large.digest());
    }
    user.follow(Script::Status(204));
    assert_eq!(consumer.invoke("/", &accept, empty_body()).await.status, 204);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_a_broken_object() {
    let user = UserContainer::start(Script::Echo);
    let consumer = sidecar().allow("the response broke off").user_port(user.port());
    let (consumer, caller) = tokio::join!(consumer.start(), sidecar().start());
    // More than a buffer holds, so that it cannot break before it is pulled.
    user.follow(Script::BreakOff(Payload::new(1, 8 << 20)));
    let answer = consumer.invoke("/", &[("xdt-accept", "reference")], empty_body()).await;
    let reference = answer.header("xdt-reference");
    let get = request("GET", caller.object_url(reference), &[], empty_body());
    match caller.client().try_fetch(get).await {
        Ok(early) => assert_eq!(early.problem(), "transfer-broken"),
        Err(_broken_body) => caller.counted("transfer-broken", 1).await,
    }
    consumer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_by_reference_waits_for_a_booting_user_container() {
    let booting = ReservedPort::take();
    let (consumer, producer) = tokio::join!(
        sidecar().user_port(booting.port()).allow("reverse proxying").start(),
        sidecar().start()
    );
    assert_eq!(
        consumer.invoke("/", &[], bytes_body("inline")).await.status,
        502,
        "as stock"
    );
    let payload = Payload::new(1, 5 << 20);
    let reference = producer.put(payload.bytes()).await;
    let headers = [("xdt-reference", reference.as_str())];
    let call = consumer.invoke("/", &headers, empty_body());
    let boot = async {
        eventually("the pull begins before the user container listens", async || {
            (consumer.status().await.0["peers"] == 1).then_some(())
        })
        .await;
        UserContainer::boot(booting, Script::Echo)
    };
    let (answer, user) = tokio::join!(call, boot);
    assert_eq!(answer.json()["digest"], payload.digest());
    assert_eq!(user.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_breaker_holds_eleven_requests_and_refuses_the_twelfth() {
    let user = UserContainer::start(Script::Hold);
    let limited = sidecar().env("CONTAINER_CONCURRENCY", "1").user_port(user.port());
    let (consumer, producer) = tokio::join!(limited.start(), sidecar().start());
    let reference = producer.put_for(Payload::new(1, 1_000_000).bytes(), 12).await;
    let headers = [("xdt-reference", reference.as_str())];
    let mut calls: FuturesUnordered<_> = (0..12).map(|_| consumer.invoke("/", &headers, empty_body())).collect();
    let refused = calls.next().await.unwrap();
    assert_eq!(
        (refused.status.as_u16(), refused.text().as_str()),
        (503, "pending request queue full\n")
    );
    user.called(1).await;
    assert_eq!(user.calls(), 1, "one runs, ten wait");
    user.release(11);
    while let Some(answer) = calls.next().await {
        assert_eq!(answer.json()["bytes"], 1_000_000);
    }
    assert_eq!(user.calls(), 11);
    assert_eq!(
        producer.status().await.held(),
        1,
        "the refused request used no retrieval"
    );
    assert_eq!(consumer.get(&reference).await.status, 200);
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_ring_xdt_does_not_exist() {
    let user = UserContainer::start(Script::Echo);
    let plain = sidecar().without_ring().user_port(user.port()).start().await;
    for port in [plain.data(), plain.local(), plain.egress()] {
        assert!(
            tokio::net::TcpStream::connect(port).await.is_err(),
            "no XDT port is open"
        );
    }
    let headers = [
        ("xdt-reference", "anything"),
        ("xdt-accept", "reference"),
        ("xdt-x", "y"),
    ];
    assert_eq!(consumer_answer(&plain, &headers).await, 6);
    let seen = user.only();
    assert_eq!(seen.xdt_headers().len(), 3, "they are strangers like others");
    user.follow(Script::Answer(200, vec![], Payload::new(1, 1_000_000)));
    let answer = plain.invoke("/", &headers, empty_body()).await;
    assert_eq!((answer.body.len(), answer.header("xdt-reference")), (1_000_000, ""));
    assert!(plain.log().contains("XDT is off"));
    let mut raw = RawConnection::open(plain.serving()).await;
    raw.send("GET / HTTP/1.1\r\nhost: f\r\nk-network-probe: probe\r\nk-network-hash: h\r\n\r\n")
        .await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200"));
}

async fn consumer_answer(consumer: &Sidecar, headers: &[(&str, &str)]) -> u64 {
    let answer = consumer.invoke("/", headers, bytes_body("inline")).await;
    answer.json()["bytes"].as_u64().unwrap()
}
