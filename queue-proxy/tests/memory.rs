//! Memory stays bounded however large the object and however slow its reader (contract, sections 2 and 8), and so it does
//! for bodies that are only proxied (contract of the queue-proxy, clause 31 of its checklist).
//!
//! Release builds, because these tests move gigabytes and measure: `make test-slow` runs them, one at a time.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use xdt_testkit::{
    Builder, Http1, Http2, Payload, Script, Sidecar, UserContainer, empty_body, eventually,
    http::{receive, request},
};

/// What a sidecar may occupy while it moves one object.
const MOST_MEMORY: u64 = 64 << 20;
/// How often its memory is looked at.
const SAMPLE_EVERY: Duration = Duration::from_millis(20);
/// Longest time for one object.
const LIMIT: Duration = Duration::from_secs(540);

/// The release build of what is tested, made now if it is not fresh.
fn release_binary() -> PathBuf {
    let debug = Path::new(env!("CARGO_BIN_EXE_xdt-queue-proxy"));
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--release", "-p", "xdt-queue-proxy"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success());
    debug
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("release/xdt-queue-proxy")
}

/// The largest memory that `sidecar` is seen to occupy; never returns, but notes it in `most`.
async fn watch(sidecar: &Sidecar, most: &mut u64) {
    loop {
        *most = sidecar.rss_bytes().max(*most);
        tokio::time::sleep(SAMPLE_EVERY).await;
    }
}

/// Sends `payload` by invoke through two sidecars to a user container that follows `script`.
async fn crosses_in_bounded_memory(payload: &Payload, script: Script, announced: bool) {
    let binary = tokio::task::spawn_blocking(release_binary).await.unwrap();
    let sidecar = || -> Builder { Sidecar::builder(&binary).env("REVISION_TIMEOUT_SECONDS", "600") };
    let user = UserContainer::start(script);
    let function = sidecar().user_port(user.port()).start().await;
    let hosts = function.serving().ip().to_string();
    let caller = sidecar().env("XDT_EGRESS_HOSTS", &hosts).start().await;
    let mut proxy = Http1::open(caller.egress()).await;
    let (url, length) = (format!("http://{}/", function.serving()), payload.size().to_string());
    let mut headers = vec![("host", "function")];
    headers.extend(announced.then_some(("content-length", length.as_str())));
    let call = proxy.fetch_within(LIMIT, request("POST", url, &headers, payload.chunked()));
    let (mut at_caller, mut at_function) = (0, 0);
    let answer = tokio::select! {
        answer = call => answer,
        () = watch(&caller, &mut at_caller) => unreachable!("it never returns"),
        () = watch(&function, &mut at_function) => unreachable!("it never returns"),
    };
    assert_eq!(answer.json()["bytes"], payload.size());
    assert_eq!(answer.json()["digest"], payload.digest());
    assert_eq!(function.status().await.transfers("ok"), 1, "it went by reference");
    caller.emptied().await;
    for (place, most) in [("caller", at_caller), ("function", at_function)] {
        println!("{place}: at most {} MiB", most >> 20);
        assert!(most > 0 && most < MOST_MEMORY, "{place} occupied {most} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: run by make test-slow"]
async fn four_gibibytes_of_announced_length_cross_in_bounded_memory() {
    crosses_in_bounded_memory(&Payload::new(1, 4 << 30), Script::Echo, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: run by make test-slow"]
async fn four_gibibytes_of_unknown_length_cross_in_bounded_memory() {
    crosses_in_bounded_memory(&Payload::new(2, 4 << 30), Script::Echo, false).await;
}

/// 200 MB at 5 MB/s: whoever buffers instead of waiting holds most of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: run by make test-slow"]
async fn a_slow_reader_slows_the_producer_down_and_fills_no_memory() {
    crosses_in_bounded_memory(&Payload::new(3, 200_000_000), Script::ReadSlowly(5_000_000), true).await;
}

/// A gibibyte to the user container and another one back, without a key ring.
async fn is_proxied_in_bounded_memory(http2: bool) {
    let binary = tokio::task::spawn_blocking(release_binary).await.unwrap();
    let payload = Payload::new(4, 1 << 30);
    let user = UserContainer::start(Script::Echo);
    let sidecar = Sidecar::builder(&binary)
        .without_ring()
        .env("REVISION_TIMEOUT_SECONDS", "600")
        .user_port(user.port())
        .start()
        .await;
    let url = format!("http://{}/", sidecar.serving());
    let exchange = async |request| {
        let response = if http2 {
            Http2::open(sidecar.serving()).await.send_within(LIMIT, request).await
        } else {
            Http1::open(sidecar.serving()).await.send_within(LIMIT, request).await
        };
        let received = tokio::time::timeout(LIMIT, receive(response.unwrap())).await;
        received.expect("in time").expect("a complete answer")
    };
    let length = payload.size().to_string();
    for headers in [&[][..], &[("content-length", length.as_str())]] {
        let sent = exchange(request("POST", &url, headers, payload.chunked())).await;
        assert_eq!(sent.status, 200);
    }
    let seen = user.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.digest == payload.digest()));
    user.follow(Script::AnswerChunked(payload.clone()));
    let got = exchange(request("GET", &url, &[], empty_body())).await;
    assert_eq!((got.status.as_u16(), got.bytes), (200, payload.size()));
    assert_eq!(got.digest, payload.digest());
    let most = sidecar.peak_rss_bytes();
    println!("at most {} MiB", most >> 20);
    assert!(most < MOST_MEMORY, "it occupied {most} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: run by make test-slow"]
async fn c31_a_gibibyte_is_proxied_both_ways_in_bounded_memory_over_http1() {
    is_proxied_in_bounded_memory(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: run by make test-slow"]
async fn c31_a_gibibyte_is_proxied_both_ways_in_bounded_memory_over_http2() {
    is_proxied_in_bounded_memory(true).await;
}

/// Uploads that a user container does not read: what has come of them waits in pieces of bounded size.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: run by make test-slow"]
async fn c31_uploads_that_nobody_reads_wait_in_bounded_memory() {
    const UPLOADS: usize = 32;
    let binary = tokio::task::spawn_blocking(release_binary).await.unwrap();
    let user = UserContainer::start(Script::Hold);
    let sidecar = Sidecar::builder(&binary)
        .without_ring()
        .user_port(user.port())
        .start()
        .await;
    let before = sidecar.rss_bytes();
    let payload = Payload::new(5, 64 << 20);
    let uploads = (0..UPLOADS).map(|_| async {
        let mut client = Http1::open(sidecar.serving()).await;
        client
            .send_within(LIMIT, request("POST", "/", &[], payload.chunked()))
            .await
            .unwrap()
            .status()
    });
    let uploads = futures_util::future::join_all(uploads);
    let held = async {
        user.called(UPLOADS).await;
        // Until nothing moves any more.
        let mut last = 0;
        eventually("a standstill", async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = sidecar.rss_bytes();
            let still = now.abs_diff(last) < 1 << 20;
            last = now;
            still.then_some(())
        })
        .await;
        user.release(UPLOADS);
    };
    let (statuses, ()) = tokio::join!(uploads, held);
    assert!(statuses.iter().all(|status| *status == 200));
    let each = sidecar.peak_rss_bytes().saturating_sub(before) / UPLOADS as u64;
    println!("{} KiB for each upload", each >> 10);
    assert!(each < 6 << 20, "{each} bytes for each upload");
}
