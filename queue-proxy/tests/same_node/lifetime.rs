//! Retrievals, claims and ends of life are the same as over the network (contract, sections 1 and 9).

use xdt_testkit::{Node, Payload, RawConnection, Sidecar, eventually};

use crate::kit::{MIB, sdk, sidecar, strict_pair};

/// More than socket buffers hold, so that a delivery whose client does not read stands still.
const LARGE: u64 = 32 * MIB;
const ALL: usize = 32 << 20;

async fn standing_still(consumer: &Sidecar, reference: &str) -> RawConnection {
    let (mut client, _) = RawConnection::get(consumer, reference).await;
    client.take(100_000).await;
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn n_retrievals_are_n_and_one_that_is_given_up_is_none() {
    let (_node, producer, consumer) = strict_pair().await;
    let payload = Payload::new(1, LARGE);
    let reference = producer.put_for(payload.bytes(), 2).await;
    let first = standing_still(&consumer, &reference).await;
    let second = standing_still(&consumer, &reference).await;
    let third = consumer.get(&reference).await;
    assert_eq!(third.header("xdt-error"), "busy", "both are claimed, none is confirmed");
    drop(first);
    consumer.counted("abandoned", 1).await;
    let again = eventually("the claim comes back", async || {
        let answer = consumer.get(&reference).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(again.body.len() as u64, LARGE);
    assert_eq!(second.rest_of(ALL).await.len(), ALL);
    assert_eq!(consumer.get(&reference).await.header("xdt-error"), "object-gone");
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_consumer_gives_its_claim_back() {
    let (_node, producer, mut consumer) = strict_pair().await;
    let reference = producer.put(Payload::new(2, LARGE).bytes()).await;
    let _client = standing_still(&consumer, &reference).await;
    assert_eq!(producer.get(&reference).await.header("xdt-error"), "busy");
    consumer.kill();
    eventually("the claim comes back", async || {
        (producer.get(&reference).await.status == 200).then_some(())
    })
    .await;
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_producer_leaves_a_body_shorter_than_announced() {
    let (_node, mut producer, consumer) = strict_pair().await;
    let reference = producer.put(Payload::new(3, LARGE).bytes()).await;
    let client = standing_still(&consumer, &reference).await;
    producer.kill();
    let rest = client.rest().await;
    assert!(rest.bytes.len() < ALL, "nobody has counted the retrieval");
    consumer.counted("transfer-broken", 1).await;
    let restarted = producer.restart_on_same_address().await;
    let answer = consumer.get(&reference).await;
    assert_eq!(
        answer.header("xdt-error"),
        "producer-unreachable",
        "only the network knows who is there now"
    );
    drop(restarted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_producer_says_gone_over_the_network() {
    let node = Node::new("n");
    let on = || sidecar().on(&node);
    let (producer, consumer) = tokio::join!(on().start(), on().start());
    let reference = producer.put(Payload::new(4, 100_000).bytes()).await;
    let producer = producer.restart_on_same_address().await;
    assert_eq!(consumer.get(&reference).await.header("xdt-error"), "object-gone");
    assert_eq!(node.sockets().len(), 2, "what the first run left was swept out");
    drop(producer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_and_expired_objects_end_when_their_last_reader_has() {
    let (_node, producer, consumer) = strict_pair().await;
    let payload = Payload::new(5, LARGE);
    for case in ["deleted", "expired"] {
        let put = sdk(&producer).put(payload.bytes());
        let put = if case == "expired" {
            put.ttl(std::time::Duration::from_millis(1500))
        } else {
            put
        };
        let reference = put.await.unwrap();
        let client = standing_still(&consumer, reference.as_str()).await;
        if case == "deleted" {
            sdk(&consumer).delete(&reference).await.unwrap();
        }
        eventually("nobody new may have it", async || {
            (consumer.get(reference.as_str()).await.header("xdt-error") == "object-gone").then_some(())
        })
        .await;
        assert_eq!(client.rest_of(ALL).await.len(), ALL, "{case}: who reads reads on");
    }
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tenant_is_refused_before_anybody_is_asked() {
    let node = Node::new("n");
    let (producer, stranger) = tokio::join!(
        sidecar().on(&node).start(),
        sidecar().on(&node).tenant("stranger").start()
    );
    let reference = producer.put("secret").await;
    assert_eq!(stranger.get(&reference).await.header("xdt-error"), "wrong-tenant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_consumers_at_once_each_get_all_of_it() {
    let (_node, producer, consumer) = strict_pair().await;
    let payload = Payload::new(6, 3 * MIB);
    let reference = sdk(&producer).put(payload.bytes()).retrievals(64).await.unwrap();
    let getting = sdk(&consumer);
    let gets = (0..64).map(|_| getting.get(&reference).into_future());
    for object in futures_util::future::join_all(gets).await {
        assert!(object.unwrap()[..] == payload.bytes()[..]);
    }
    assert_eq!(consumer.status().await.by("node", "ok"), 64);
    assert_eq!((producer.copied(), consumer.copied()), (Some(0), Some(0)));
    producer.emptied().await;
}
