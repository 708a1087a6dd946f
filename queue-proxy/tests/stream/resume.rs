//! A pull whose connection breaks goes on at the first missing byte, or ends with one error; never with wrong bytes
//! (contract, section 8).

use futures_util::{StreamExt as _, stream};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use xdt_testkit::{Cut, Digest, Http1, Link, Payload, RawConnection, Script, Sidecar, UserContainer, http::request};

use super::{producer_behind_a_link, sidecar};

const MIB: u64 = 1 << 20;

/// Cuts the next connections at offsets that add up to less than `size`; says how many.
fn cut_at_random(link: &Link, random: &mut Pcg64, size: u64) -> usize {
    let cuts = random.random_range(1..=4_usize);
    for _ in 0..cuts {
        let how = if random.random_bool(0.5) {
            Cut::Reset
        } else {
            Cut::Close
        };
        link.cut_after(random.random_range(1..size / 5), how);
    }
    cuts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_that_is_cut_again_and_again_brings_every_byte_once() {
    let (producer, link) = producer_behind_a_link().await;
    for seed in 0..12 {
        let mut random = Pcg64::seed_from_u64(seed);
        let payload = Payload::new(seed, random.random_range(MIB..12 * MIB));
        let reference = producer.put_for(payload.bytes(), 2).await;
        // A new consumer each time: its first connection is the first to be cut.
        let mode = ["cut-through", "store-and-forward"][usize::from(seed % 4 == 3)];
        let consumer = sidecar().env("XDT_STREAMING", mode).start().await;
        let before = link.connections();
        let cuts = cut_at_random(&link, &mut random, payload.size());
        let got = consumer.receive(&reference).await;
        assert_eq!((got.status.as_u16(), got.bytes), (200, payload.size()), "seed {seed}");
        assert_eq!(got.digest, payload.digest(), "seed {seed}");
        assert_eq!(
            (link.cuts_left(), link.connections() - before),
            (0, cuts + 1),
            "seed {seed}"
        );
        assert_eq!(producer.status().await.held(), 1, "one retrieval, however many breaks");
        assert_eq!(consumer.receive(&reference).await.digest, payload.digest());
        producer.emptied().await;
        assert_eq!(consumer.status().await.transfers("ok"), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_is_cut_brings_exactly_the_range() {
    let (producer, link) = producer_behind_a_link().await;
    let payload = Payload::new(1, 8 * MIB);
    let bytes = payload.bytes();
    let reference = producer.put(bytes.clone()).await;
    for seed in 0..6 {
        let mut random = Pcg64::seed_from_u64(seed);
        let start = random.random_range(0..4 * MIB);
        let end = random.random_range(start + MIB..8 * MIB);
        cut_at_random(&link, &mut random, end - start);
        let consumer = sidecar().start().await;
        let range = format!("bytes={start}-{}", end - 1);
        let got = consumer.object("GET", &reference, &[("range", &range)]).await;
        let wanted = &bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
        assert_eq!(got.status, 206, "seed {seed}");
        assert_eq!(Digest::of(&got.body), Digest::of(wanted), "seed {seed}");
        assert_eq!(link.cuts_left(), 0);
    }
    assert_eq!(producer.status().await.held(), 1, "a range is no retrieval");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_the_break_is_verified_too() {
    let (producer, link) = producer_behind_a_link().await;
    let consumer = sidecar().allow("the checksum or length of a pulled object was wrong");
    let consumer = consumer.start().await;
    let payload = Payload::new(1, 4 * MIB);
    let reference = producer.put(payload.bytes()).await;
    link.corrupt(30_001);
    link.slow_down(8 * MIB); // so that the consumer has read the changed byte when the reset comes
    link.cut_after(MIB, Cut::Reset);
    let mut client = RawConnection::open(consumer.local()).await;
    client
        .send(format!(
            "GET /xdt/v1/objects/{reference} HTTP/1.1\r\nhost: local\r\nconnection: close\r\n\r\n"
        ))
        .await;
    let rest = client.rest().await;
    assert!((rest.bytes.len() as u64) < payload.size(), "the last chunk never came");
    consumer.counted("transfer-broken", 1).await;
    assert_eq!(link.connections(), 2, "it did go on");
    assert_eq!(
        consumer.receive(&reference).await.digest,
        payload.digest(),
        "the claim came back"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_breaks_without_ever_bringing_a_byte_is_given_up() {
    let (producer, link) = producer_behind_a_link().await;
    let consumer = sidecar().start().await;
    let reference = producer.put(Payload::new(1, 4 * MIB).bytes()).await;
    for _ in 0..40 {
        link.cut_after(20, Cut::Close);
    }
    assert_eq!(consumer.get(&reference).await.problem(), "producer-unreachable");
    let asked = link.connections();
    assert!((2..=20).contains(&asked), "{asked} attempts");
    let later = loop {
        let later = consumer.receive(&reference).await;
        if later.status != 503 {
            break later;
        }
    };
    assert_eq!((later.status.as_u16(), link.cuts_left()), (200, 0), "it may come back");
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_stops_bringing_bytes_in_the_middle_breaks_the_body() {
    let (producer, link) = producer_behind_a_link().await;
    let consumer = sidecar().start().await;
    let payload = Payload::new(1, 4 * MIB);
    let reference = producer.put(payload.bytes()).await;
    link.slow_down(8 * MIB);
    link.cut_after(MIB, Cut::Close);
    for _ in 0..40 {
        link.cut_after(20, Cut::Close);
    }
    let (client, head) = RawConnection::get(&consumer, &reference).await;
    assert!(head.contains(&format!("content-length: {}", payload.size())));
    let rest = client.rest().await;
    assert!((rest.bytes.len() as u64) < payload.size());
    consumer.counted("transfer-broken", 1).await;
    assert_eq!(producer.status().await.held(), 1, "no retrieval was used");
}

/// Cuts in the last bytes hit the confirmation and its acknowledgement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_around_the_confirmation_counts_the_retrieval_once() {
    let (producer, link) = producer_behind_a_link().await;
    let payload = Payload::new(1, 100_000);
    let whole = {
        let (consumer, before) = (sidecar().start().await, link.passed());
        let reference = producer.put(payload.bytes()).await;
        assert_eq!(consumer.receive(&reference).await.digest, payload.digest());
        producer.emptied().await;
        link.passed() - before
    };
    for back in (0..60).step_by(3) {
        let consumer = sidecar().start().await;
        let reference = producer.put_for(payload.bytes(), 3).await;
        link.cut_after(whole - back, Cut::Close);
        for _ in 0..3 {
            let got = consumer.receive(&reference).await;
            assert_eq!(
                (got.status.as_u16(), got.digest),
                (200, payload.digest()),
                "{back} bytes before the end"
            );
        }
        producer.emptied().await;
    }
}

/// An object that passes through cannot be read a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_invoke_ends_as_broken_and_user_code_runs_once() {
    let link = Link::start().await;
    let user = UserContainer::start(Script::Echo);
    let function = sidecar().user_port(user.port()).start().await;
    let hosts = function.serving().ip().to_string();
    let caller = sidecar().behind(&link).env("XDT_EGRESS_HOSTS", &hosts).start().await;
    link.lead_to(caller.data());
    link.cut_after(2 * MIB, Cut::Reset);
    let mut proxy = Http1::open(caller.egress()).await;
    let url = format!("http://{}/", function.serving());
    let call = request("POST", url, &[("host", "f")], Payload::new(1, 64 * MIB).chunked());
    let answer = proxy.fetch(call).await;
    assert_eq!(answer.problem(), "transfer-broken");
    assert_eq!(user.calls(), 1);
    assert!(user.ended(0).await.bytes < 64 * MIB);
    caller.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_first_pulls_share_one_dial_and_later_ones_its_connection() {
    let (producer, link) = producer_behind_a_link().await;
    let consumer = sidecar().start().await;
    let payload = Payload::new(1, 100_000);
    let reference = producer.put_for(payload.bytes(), 128).await;
    let get = async |consumer: &Sidecar| assert_eq!(consumer.get(&reference).await.status, 200);
    for _ in 0..2 {
        stream::iter(0..64).for_each_concurrent(64, |_| get(&consumer)).await;
    }
    assert_eq!(link.connections(), 1);
    producer.emptied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_pulls_over_one_connection_survive_its_end_together() {
    let (producer, link) = producer_behind_a_link().await;
    let consumer = sidecar().start().await;
    let payload = Payload::new(1, MIB);
    let reference = producer.put_for(payload.bytes(), 32).await;
    link.cut_after(10 * MIB, Cut::Reset);
    let get = async || assert_eq!(consumer.receive(&reference).await.digest, payload.digest());
    stream::iter(0..32).for_each_concurrent(32, |_| get()).await;
    assert_eq!((link.cuts_left(), link.connections()), (0, 2), "one dial for all");
    producer.emptied().await;
}
