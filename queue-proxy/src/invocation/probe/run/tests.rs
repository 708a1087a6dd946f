//! The rhythm of both modes. Time is paused where nothing has to come over a socket.

use tokio::net::TcpListener;

use super::*;

fn containers(text: &str) -> Containers {
    let probe = ReadinessProbe::parse(text, text.starts_with('[')).expect("valid");
    Containers::new(probe.expect("not empty"), false)
}

/// An exec probe fails at once, without a socket.
const FAILING: &str = r#"{"exec":{}}"#;

#[tokio::test(start_paused = true)]
async fn aggressive_mode_attempts_two_hundred_and_one_times_in_ten_seconds() {
    let containers = containers(FAILING);
    let started = Instant::now();
    assert!(!containers.are_ready().await);
    assert_eq!(started.elapsed().as_secs(), 10);
    let log = &containers.log;
    // Each failed run tells of both: the attempts and the run.
    assert!(
        log.is_told("exec probe not supported") && log.is_told("readiness probe failed: context deadline exceeded")
    );
}

#[tokio::test(start_paused = true)]
async fn attempts_lie_on_a_grid_of_fifty_milliseconds() {
    let mut ticks = interval(AGGRESSIVE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let started = Instant::now();
    let mut begun = Vec::new();
    for length in [0, 10, 100, 60, 0] {
        ticks.tick().await;
        begun.push(started.elapsed().as_millis());
        tokio::time::sleep(Duration::from_millis(length)).await;
    }
    // As Go's ticker: one tick waits while an attempt lasts, the others are lost.
    assert_eq!(begun, [0, 50, 100, 200, 260]);
}

#[tokio::test(start_paused = true)]
async fn single_shot_mode_attempts_once() {
    let containers = containers(r#"{"exec":{},"periodSeconds":1}"#);
    let started = Instant::now();
    assert!(!containers.are_ready().await);
    assert_eq!(started.elapsed().as_secs(), 0);
    assert!(
        containers
            .log
            .is_told("readiness probe failed: exec probe not supported")
    );
}

#[tokio::test(start_paused = true)]
async fn the_answer_comes_when_the_slowest_ends() {
    let containers = containers(&format!(r#"[{FAILING},{{"exec":{{}},"periodSeconds":1}}]"#));
    let started = Instant::now();
    assert!(!containers.are_ready().await);
    assert_eq!(started.elapsed().as_secs(), 10);
    let first = "readiness probe failed: exec probe not supported";
    assert!(containers.log.is_told(first), "the first error is told");
}

#[tokio::test]
async fn no_containers_are_ready() {
    assert!(containers("[]").are_ready().await);
}

#[tokio::test]
async fn the_run_of_passes_is_kept_until_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let containers = containers(&format!(r#"{{"tcpSocket":{{"port":{port}}},"successThreshold":3}}"#));
    let started = Instant::now();
    assert!(containers.are_ready().await);
    assert!(
        started.elapsed() >= Duration::from_millis(99),
        "three passes, 50 ms apart"
    );
    let passes = || containers.containers[0].passes.load(Ordering::Relaxed);
    assert_eq!(passes(), 3);
    assert!(containers.are_ready().await);
    assert_eq!(passes(), 4, "the first attempt of the second run suffices");
    drop(listener);
    // Given up before the ten seconds are over: one failure is enough.
    let _given_up = tokio::time::timeout(Duration::from_millis(20), containers.are_ready()).await;
    assert_eq!(passes(), 0);
}
