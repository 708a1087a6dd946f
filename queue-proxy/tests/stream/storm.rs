//! More than fits, and everything at once: what does not fit waits in order or is `busy`, and when it is over nothing is
//! left behind. `make soak SOAK_MINUTES=60` goes on for as long as it is told.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use xdt_testkit::{
    Cut, Http1, Link, Payload, Pool, RawConnection, Script, Sidecar, UserContainer, bytes_body, empty_body, eventually,
    http::{collect, request},
    wait::eventually_within,
};

use super::sidecar;

const MIB: u64 = 1 << 20;
/// Transfers at once.
const AT_ONCE: usize = 16;
/// Connections kept open for a while, of which another round may need more: one for each transfer at once.
const IDLE: usize = AT_ONCE;
/// What a sidecar may take beyond its memory bound.
const SLACK: u64 = 16 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_storm_of_ten_times_the_bound_is_held_or_busy_and_memory_stays_in_bounds() {
    const BOUND: u64 = 32 * MIB;
    let builder = sidecar()
        .env("XDT_OBJECT_MEMORY", "32MiB")
        .env("XDT_BUFFER_WAIT", "300ms");
    let sidecar = builder.start().await;
    let before = sidecar.rss_bytes();
    let bytes = Payload::new(1, MIB).bytes();
    let puts = (0..320).map(|_| async { sidecar.try_put(&[], bytes_body(bytes.clone())).await });
    let answers: Vec<_> = stream::iter(puts).buffer_unordered(64).collect().await;
    let (held, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    for answer in refused {
        assert_eq!(answer.problem(), "busy", "Retry-After comes with it");
    }
    assert_eq!(sidecar.status().await.held(), held.len() as u64);
    assert!(
        (28..=32).contains(&held.len()),
        "{} objects of a mebibyte are held",
        held.len()
    );
    let grown = sidecar.peak_rss_bytes() - before;
    assert!(grown <= BOUND + SLACK, "{} MiB more", grown / MIB);
    for answer in held {
        let deleted = sidecar.object("DELETE", answer.header("xdt-reference"), &[]).await;
        assert_eq!(deleted.status, 204);
    }
    sidecar.emptied().await;
}

/// Two sidecars with a link between them that breaks now and then, and a function behind the second.
struct World {
    producer: Sidecar,
    consumer: Sidecar,
    link: Link,
    user: UserContainer,
}

impl World {
    async fn new() -> Self {
        let link = Link::start().await;
        let user = UserContainer::start(Script::Echo);
        let timeouts = || sidecar().env("XDT_BUFFER_WAIT", "2s").env("XDT_OBJECT_MEMORY", "16MiB");
        let consumer = timeouts().user_port(user.port()).start().await;
        let hosts = consumer.serving().ip().to_string();
        let producer = timeouts().behind(&link).env("XDT_EGRESS_HOSTS", &hosts).start().await;
        link.lead_to(producer.data());
        Self {
            producer,
            consumer,
            link,
            user,
        }
    }

    /// One transfer of some kind, ended one way or the other. Every byte that arrives in full is right.
    async fn transfer(&self, seed: u64, client: &Pool) {
        let mut random = Pcg64::seed_from_u64(seed);
        let payload = Payload::new(seed, random.random_range(0..2 * MIB));
        let kind = random.random_range(0..6);
        if kind == 0 {
            let url = format!("http://{}/", self.consumer.serving());
            let mut proxy = Http1::open(self.producer.egress()).await;
            let call = request("POST", url, &[("host", "callee")], bytes_body(payload.bytes()));
            if let Ok(response) = proxy.send(call).await
                && let Ok(answer) = collect(response).await
                && answer.status == 200
            {
                assert_eq!(answer.json()["digest"], payload.digest(), "seed {seed}");
            }
            return;
        }
        let put = request(
            "POST",
            self.producer.object_url(""),
            &[("xdt-ttl", "5s")],
            bytes_body(payload.bytes()),
        );
        let put = client.try_fetch(put).await.unwrap();
        if put.status != 201 {
            assert_eq!(put.problem(), "busy");
            return;
        }
        let reference = put.header("xdt-reference").to_owned();
        let url = self.consumer.object_url(&reference);
        match kind {
            1 => {
                let _gone_by_then = client.try_fetch(request("DELETE", url, &[], empty_body())).await;
            }
            2 => {
                let range = [("range", "bytes=0-99"), ("xdt-final", "true")];
                let _broken_perhaps = client.try_fetch(request("GET", url, &range, empty_body())).await;
            }
            3 => {
                // Leaves in the middle.
                let mut leaving = RawConnection::open(self.consumer.local()).await;
                leaving
                    .send(format!("GET /xdt/v1/objects/{reference} HTTP/1.1\r\nhost: x\r\n\r\n"))
                    .await;
                leaving.next(1).await;
            }
            _ => {
                let got = client.try_fetch(request("GET", url, &[], empty_body())).await;
                if let Ok(got) = got
                    && got.status == 200
                {
                    assert_eq!(xdt_testkit::Digest::of(&got.body), payload.digest(), "seed {seed}");
                }
            }
        }
        if seed.is_multiple_of(16) {
            self.link.cut_now();
            self.link.cut_after(random.random_range(1..4 * MIB), Cut::Reset);
        }
    }

    /// Many transfers at once; their clients are gone afterwards.
    async fn round(&self, seeds: std::ops::Range<u64>) {
        let client = Pool::default();
        stream::iter(seeds)
            .for_each_concurrent(AT_ONCE, |seed| self.transfer(seed, &client))
            .await;
    }

    /// Waits until nothing is held, and says how many descriptors are open then: that many, or fewer.
    async fn settled(&self, most: usize) -> usize {
        for sidecar in [&self.producer, &self.consumer] {
            sidecar.emptied().await;
        }
        eventually_within(Duration::from_secs(30), "the end of connections", async || {
            let open = self.producer.descriptors() + self.consumer.descriptors();
            (open <= most).then_some(open)
        })
        .await
    }

    fn rss(&self) -> u64 {
        self.producer.rss_bytes() + self.consumer.rss_bytes()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_transfers_of_every_kind_over_a_link_that_breaks_leave_nothing_behind() {
    let world = World::new().await;
    world.round(0..80).await;
    let open = world.settled(usize::MAX).await;
    world.round(80..240).await;
    world.settled(open + IDLE).await;
    assert!(world.user.calls() > 0 && world.link.connections() > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "as long as SOAK_MINUTES says: run by make soak"]
async fn memory_descriptors_and_held_bytes_return_to_the_start_after_hours() {
    let minutes: u64 = std::env::var("SOAK_MINUTES").map_or(1, |text| text.parse().expect("SOAK_MINUTES is a number"));
    let end = Instant::now() + Duration::from_secs(60 * minutes);
    let world = World::new().await;
    world.round(0..400).await;
    let (open, memory) = (world.settled(usize::MAX).await, world.rss());
    let mut seed = 400;
    while Instant::now() < end {
        world.round(seed..seed + 400).await;
        seed += 400;
        let now = world.settled(open + IDLE).await;
        println!("{seed} transfers, {} MiB, {now} descriptors", world.rss() / MIB);
    }
    eventually("idle memory goes back", async || {
        (world.rss() <= memory + 2 * SLACK).then_some(())
    })
    .await;
}
