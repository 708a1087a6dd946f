//! Hostile HTTP/2, frame by frame: each attack is cut within a bound, a well-behaved client is served all the while, and
//! memory stays bounded. Conformance, which answers most of what else a peer can send, is in `http2_frames.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use xdt_testkit::{
    Builder, Frame, Neighbour, Payload, RawHttp2, Script, Sidecar, UserContainer,
    frames::{code, fields, flag, kind, literals},
    wait::eventually_within,
};

const MIB: u64 = 1 << 20;
/// `SETTINGS_INITIAL_WINDOW_SIZE`.
const INITIAL_WINDOW: u16 = 4;

fn builder() -> Builder {
    Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .allow("error reverse proxying request")
        // The library's word when it cuts a connection.
        .allow("streams reached limit")
}

/// A sidecar in front of a user container that follows `script`, but for the well-behaved.
async fn attacked(script: Script) -> (UserContainer, Sidecar, Neighbour) {
    let user = UserContainer::start(Script::SpareNeighbours(Box::new(script)));
    let sidecar = builder().user_port(user.port()).start().await;
    let neighbour = Neighbour::of(sidecar.serving());
    (user, sidecar, neighbour)
}

/// What holds for every attack: the well-behaved were served, and memory never grew beyond `most`.
async fn withstood(sidecar: &Sidecar, neighbour: Neighbour, most: u64) {
    let rss = sidecar.peak_rss_bytes();
    let served = neighbour.served().await;
    println!("{} KiB, {served:?}", rss >> 10);
    assert!(rss < most, "{rss} bytes");
}

/// Sends what `frames` makes of each number until the sidecar takes no more; returns how many it took.
async fn flood(attacker: &mut RawHttp2, count: u32, frames: impl Fn(u32) -> Vec<Frame>) -> u32 {
    const BATCH: u32 = 100;
    for from in (0..count).step_by(BATCH as usize) {
        let batch: Vec<u8> = (from..(from + BATCH).min(count))
            .flat_map(&frames)
            .flat_map(|frame| frame.bytes())
            .collect();
        if attacker.heard().closed || !attacker.send(&batch).await {
            return from;
        }
    }
    count
}

fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// CVE-2023-44487.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset_is_cut() {
    let (user, sidecar, neighbour) = attacked(Script::Hold).await;
    let mut attacker = RawHttp2::open(sidecar.serving(), &[]).await;
    let taken = flood(&mut attacker, 200_000, |number| {
        vec![Frame::get(stream(number), "/reset"), Frame::reset(stream(number), 8)]
    })
    .await;
    let heard = attacker.closed("the end of the attack").await;
    assert_eq!(heard.goaway, Some(code::ENHANCE_YOUR_CALM), "after {taken}");
    assert!(taken < 100_000, "{taken} taken");
    let begun = user.seen().iter().filter(|seen| seen.target == "/reset").count();
    println!("{taken} taken, {begun} reached the user container");
    withstood(&sidecar, neighbour, 64 * MIB).await;
}

/// CVE-2025-8671: the peer makes us reset the streams.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_you_reset_is_cut() {
    let (_user, sidecar, neighbour) = attacked(Script::Hold).await;
    type Trick = fn(u32) -> Frame;
    let tricks: [(&str, Trick); 3] = [
        ("a window update of nothing", |stream| Frame::window_update(stream, 0)),
        ("data behind the end", |stream| Frame::new(kind::DATA, 0, stream, *b"x")),
        ("an overflowing window", |stream| {
            Frame::window_update(stream, (1 << 31) - 1)
        }),
    ];
    for (what, trick) in tricks {
        let mut attacker = RawHttp2::open(sidecar.serving(), &[]).await;
        let taken = flood(&mut attacker, 100_000, |number| {
            vec![Frame::get(stream(number), "/made"), trick(stream(number))]
        })
        .await;
        let heard = attacker.closed(what).await;
        println!("{what}: {taken} taken, {:?}", heard.goaway);
        assert!(heard.goaway.is_some_and(|code| code != code::NO_ERROR), "{what}");
        assert!(heard.resets.len() <= 2048, "{what}: {} streams", heard.resets.len());
    }
    withstood(&sidecar, neighbour, 64 * MIB).await;
}

/// CVE-2024-27316 and its kin: a header block that never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn continuation_floods_are_cut() {
    let (user, sidecar, neighbour) = attacked(Script::Echo).await;
    let long = literals(&[("x-a", &"a".repeat(16_000))]);
    let short = literals(&[("x-a", "a")]);
    for (what, block, count) in [
        ("long", long, 20_000),
        ("short", short, 2_000_000),
        ("empty", vec![], 2_000_000),
    ] {
        let mut attacker = RawHttp2::open(sidecar.serving(), &[]).await;
        attacker
            .frame(&Frame::new(
                kind::HEADERS,
                flag::END_STREAM,
                1,
                fields("GET", "/flood", &[]),
            ))
            .await;
        let taken = flood(&mut attacker, count, |_| {
            vec![Frame::new(kind::CONTINUATION, 0, 1, block.clone())]
        })
        .await;
        let heard = attacker.closed(what).await;
        println!("{what}: {taken} taken, {:?}", heard.goaway);
        assert!(taken < count, "{what}: all were taken");
    }
    assert!(user.seen().iter().all(|seen| seen.target != "/flood"));
    withstood(&sidecar, neighbour, 64 * MIB).await;
}

/// A few bytes on the wire that stand for a mebibyte of headers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_bombs_are_refused() {
    let (user, sidecar, neighbour) = attacked(Script::Hold).await;
    let mut attacker = RawHttp2::open(sidecar.serving(), &[]).await;
    // The first request puts a large field into the table; the others refer to it a thousand times (index 62).
    let value = "v".repeat(3900);
    let mut remembered = literals(&[("x-a", &value)]);
    remembered[0] = 0x40;
    let first = [fields("GET", "/bomb", &[]), remembered].concat();
    let flags = flag::END_STREAM | flag::END_HEADERS;
    attacker.frame(&Frame::new(kind::HEADERS, flags, 1, first)).await;
    let references = [fields("GET", "/bomb", &[]), vec![0x80 | 62; 4000]].concat();
    let taken = flood(&mut attacker, 2000, |number| {
        vec![Frame::new(kind::HEADERS, flags, stream(number + 1), references.clone())]
    })
    .await;
    let heard = attacker
        .until("refusals", |heard| {
            heard.closed || heard.resets.len() + heard.headers.len() > 100
        })
        .await;
    println!(
        "{taken} taken, {} refused, {:?}",
        heard.resets.len() + heard.headers.len(),
        heard.goaway
    );
    let bombs = user.seen().iter().filter(|seen| seen.target == "/bomb").count();
    assert!(bombs <= 1, "only the first has a legal size, {bombs} got through");
    withstood(&sidecar, neighbour, 64 * MIB).await;
}

/// Answers to settings and pings pile up where they are not read: reading stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_settings_and_pings_wait_in_the_socket() {
    let (_user, sidecar, neighbour) = attacked(Script::Echo).await;
    let kinds: [(&str, Frame); 4] = [
        ("settings", Frame::setting(INITIAL_WINDOW, 65_535)),
        ("empty settings", Frame::new(kind::SETTINGS, 0, 0, [])),
        ("pings", Frame::new(kind::PING, 0, 0, [7; 8])),
        ("priorities", Frame::new(kind::PRIORITY, 0, 1, [0, 0, 0, 0, 16])),
    ];
    for (what, frame) in &kinds {
        let mut deaf = RawHttp2::open_deaf(sidecar.serving(), &[]).await;
        let bytes = frame.bytes().repeat(10_000);
        let all = async {
            for _ in 0..200 {
                if !deaf.send(&bytes).await {
                    return;
                }
            }
        };
        // Blocked, cut, or all read and none answered: whichever, it takes no memory.
        let done = tokio::time::timeout(Duration::from_secs(5), all).await.is_ok();
        println!("{what}: {} KiB, done {done}", sidecar.rss_bytes() >> 10);
        assert!(sidecar.rss_bytes() < 64 * MIB, "{what}");
    }
    let mut listening = RawHttp2::open(sidecar.serving(), &[]).await;
    for (_, frame) in &kinds {
        listening.send(&frame.bytes().repeat(50_000)).await;
    }
    listening
        .until("answers", |heard| {
            heard.closed || heard.pongs + heard.settings_acks >= 1000
        })
        .await;
    withstood(&sidecar, neighbour, 64 * MIB).await;
}

/// Bodies of one byte a frame, and of none: what the bookkeeping costs must not outgrow what the window allows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tiny_data_frames_are_cut() {
    let (_user, sidecar, neighbour) = attacked(Script::Hold).await;
    let padded = || [vec![254], vec![b'x'], vec![0; 254]].concat();
    for (what, flags, payload) in [
        ("one byte", 0, b"x".to_vec()),
        ("nothing", 0, vec![]),
        ("one byte of 256", flag::PADDED, padded()),
        ("padding alone", flag::PADDED, vec![0]),
    ] {
        let mut attacker = RawHttp2::open(sidecar.serving(), &[]).await;
        attacker.frame(&Frame::post(1, "/tiny")).await;
        let count = 1_000_000;
        let taken = flood(&mut attacker, count, |_| {
            vec![Frame::new(kind::DATA, flags, 1, payload.clone())]
        })
        .await;
        let heard = attacker
            .until(what, |heard| {
                heard.closed || heard.goaway.is_some() || heard.resets.contains_key(&1)
            })
            .await;
        println!(
            "{what}: {taken} taken, {:?} {:?}, {} KiB",
            heard.goaway,
            heard.resets,
            sidecar.rss_bytes() >> 10
        );
        assert!(sidecar.rss_bytes() < 128 * MIB, "{what}");
    }
    withstood(&sidecar, neighbour, 128 * MIB).await;
}

/// Clients that give no window get no memory either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_a_window_stay_in_the_user_container() {
    const CONNECTIONS: u32 = 2;
    const STREAMS: u32 = 90;
    let (user, sidecar, neighbour) = attacked(Script::AnswerChunked(Payload::new(1, 64 * MIB))).await;
    let mut attackers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut attacker = RawHttp2::open(sidecar.serving(), &[(INITIAL_WINDOW, 0)]).await;
        for number in 0..STREAMS {
            attacker.frame(&Frame::get(stream(number), "/windowless")).await;
        }
        attackers.push(attacker);
    }
    for attacker in &attackers {
        let heads = |heard: &xdt_testkit::Heard| heard.headers.len() >= STREAMS as usize;
        let heard = attacker.until("the heads of all answers", heads).await;
        assert!(heard.data.is_empty(), "nobody gave a window");
    }
    assert!(user.calls() >= 180);
    // What the user container may send ahead on each stream.
    withstood(&sidecar, neighbour, 192 * MIB).await;
    drop(attackers);
}

/// Streams beyond the limit are refused one by one, not queued.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_beyond_the_limit_are_refused() {
    let (user, sidecar, neighbour) = attacked(Script::Hold).await;
    let mut attacker = RawHttp2::open(sidecar.serving(), &[]).await;
    let taken = flood(&mut attacker, 400, |number| vec![Frame::get(stream(number), "/many")]).await;
    assert_eq!(taken, 400);
    let heard = attacker
        .until("refusals", |heard| heard.closed || heard.resets.len() >= 150)
        .await;
    assert!(
        heard.resets.values().all(|code| *code == code::REFUSED_STREAM),
        "{:?}",
        heard.resets
    );
    assert_eq!(heard.resets.len(), 150);
    let many = || user.seen().iter().filter(|seen| seen.target == "/many").count();
    eventually_within(Duration::from_secs(20), "the others", async || {
        (many() == 250).then_some(())
    })
    .await;
    withstood(&sidecar, neighbour, 64 * MIB).await;
}
