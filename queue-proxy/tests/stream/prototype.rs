//! The six faults of the paper's public prototype, one test each (architecture, section 5).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use xdt_testkit::{Cut, Link, Payload, RawConnection, Script, UserContainer, empty_body, payload::MARK};

use super::{producer_behind_a_link, sidecar};

const MIB: u64 = 1 << 20;

/// There: `counter|ip:port` in clear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reference_shows_neither_address_nor_count() {
    let producer = sidecar().start().await;
    let (first, second) = (producer.put("same").await, producer.put("same").await);
    let address = producer.data();
    for reference in [&first, &second] {
        let sealed = URL_SAFE_NO_PAD
            .decode(reference.strip_prefix("xdt1.").unwrap())
            .unwrap();
        for shown in [
            address.to_string(),
            address.ip().to_string(),
            address.port().to_string(),
        ] {
            let part = sealed.windows(shown.len()).any(|window| window == shown.as_bytes());
            assert!(!part && !reference.contains(&shown));
        }
    }
    let common = first
        .bytes()
        .zip(second.bytes())
        .take_while(|(one, other)| one == other);
    assert!(common.count() < 24, "beyond prefix and key id nothing is alike");
}

/// There: the proxy dialled whatever a header named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_in_a_header_is_never_dialled() {
    let trap = Link::start().await;
    let user = UserContainer::start(Script::Echo);
    let consumer = sidecar().user_port(user.port()).start().await;
    let plain = format!("1|{}", trap.address());
    let dressed = format!("xdt1.{}", URL_SAFE_NO_PAD.encode(&plain));
    for reference in [&plain, &dressed] {
        let headers = [("xdt-reference", reference.as_str())];
        let answer = consumer.invoke("/", &headers, empty_body()).await;
        assert_eq!(answer.problem(), "reference-invalid");
    }
    assert_eq!((trap.connections(), user.calls()), (0, 0));
}

/// There: a key that nobody held returned an empty object.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_is_gone_is_an_error_and_never_empty() {
    let user = UserContainer::start(Script::Echo);
    let producer = sidecar().start().await;
    let consumer = sidecar().user_port(user.port()).start().await;
    let reference = producer.put("once").await;
    assert_eq!(consumer.get(&reference).await.text(), "once");
    for reader in [&consumer, &producer] {
        assert_eq!(reader.get(&reference).await.problem(), "object-gone");
    }
    let headers = [("xdt-reference", reference.as_str())];
    assert_eq!(
        consumer.invoke("/", &headers, empty_body()).await.problem(),
        "object-gone"
    );
    assert_eq!(user.calls(), 0);
}

/// There: objects were deleted before they had been delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_held_until_somebody_has_all_of_it() {
    let (producer, consumer) = tokio::join!(sidecar().start(), sidecar().start());
    let payload = Payload::new(1, 32 * MIB);
    let reference = producer.put(payload.bytes()).await;
    let (mut client, _) = RawConnection::get(&consumer, &reference).await;
    client.take(1 << 20).await;
    assert_eq!(producer.status().await.held(), 1, "most of it is still on its way");
    drop(client);
    consumer.counted("abandoned", 1).await;
    assert_eq!(producer.status().await.held(), 1);
    let got = xdt_testkit::eventually("the retrieval's return", async || {
        let got = consumer.receive(&reference).await;
        (got.status != 429).then_some(got)
    });
    assert_eq!(got.await.digest, payload.digest());
    producer.emptied().await;
}

/// There: a failed pull was tried again without end or pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_fails_comes_to_an_end() {
    let (producer, link) = producer_behind_a_link().await;
    let consumer = sidecar().start().await;
    let reference = producer.put(Payload::new(1, MIB).bytes()).await;
    for _ in 0..100 {
        link.cut_after(0, Cut::Close);
    }
    assert_eq!(consumer.get(&reference).await.problem(), "producer-unreachable");
    assert!(link.connections() <= 20, "{} attempts", link.connections());
    let after = link.connections();
    for _ in 0..20 {
        consumer.status().await;
    }
    assert_eq!(link.connections(), after, "nobody goes on trying");
}

/// There: payload was logged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_payload_stands_in_the_most_talkative_log() {
    let link = Link::start().await;
    let talkative = || sidecar().env("SERVING_LOGGING_LEVEL", "debug");
    let user = UserContainer::start(Script::Echo);
    let producer = talkative().behind(&link).start().await;
    link.lead_to(producer.data());
    let consumer = talkative().user_port(user.port()).start().await;
    let payload = Payload::new(1, 4 * MIB);
    let reference = producer.put_for(payload.bytes(), 3).await;
    link.cut_after(MIB, Cut::Close);
    assert_eq!(consumer.receive(&reference).await.digest, payload.digest());
    let headers = [("xdt-reference", reference.as_str())];
    assert_eq!(consumer.invoke("/", &headers, empty_body()).await.status, 200);
    let (client, _) = RawConnection::get(&consumer, &reference).await;
    drop(client);
    for sidecar in [&producer, &consumer] {
        assert!(sidecar.log().contains("\"DEBUG\""), "it is talkative");
        assert!(!sidecar.log().contains(MARK) && !sidecar.stdout().contains(MARK));
        assert!(!sidecar.log().contains(&reference));
    }
}
