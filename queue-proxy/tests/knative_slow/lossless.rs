//! No request is lost and none is doubled while the sidecar is told to leave (contract of the queue-proxy, section 6;
//! checklist 98 and 108; what the activator and Envoy rely on when a pod goes).
//!
//! The clients behave as those do: they keep connections, open a new one when they were told that the old one ends
//! (`Connection: close`, GOAWAY), and never send a request twice.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::StatusCode;
use tokio::task::JoinSet;
use xdt_testkit::{Http1, Http2, Outcome, Script, Sidecar, UserContainer, bytes_body, http::request};

/// Requests in all, and at once.
const REQUESTS: usize = 10_000;
const AT_ONCE: usize = 200;
/// Streams on one HTTP/2 connection; no more than the sidecar allows.
const STREAMS: usize = 50;

/// What the clients have done so far.
#[derive(Default)]
struct Progress {
    next: AtomicUsize,
    answered: AtomicUsize,
    connections: AtomicUsize,
}

impl Progress {
    /// The next request's number, while there is one.
    fn next(&self) -> Option<usize> {
        Some(self.next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < REQUESTS)
    }
}

fn post(sidecar: &Sidecar, number: usize) -> http::Request<xdt_testkit::Body> {
    let url = format!("http://{}/{number}", sidecar.serving());
    request("POST", url, &[], bytes_body(number.to_string()))
}

/// Sends requests one after the other until all are sent.
async fn over_http1(sidecar: Arc<Sidecar>, progress: Arc<Progress>) {
    let mut connection = None;
    while let Some(number) = progress.next() {
        let mut client = match connection.take() {
            Some(client) => client,
            None => {
                progress.connections.fetch_add(1, Ordering::Relaxed);
                Http1::open(sidecar.serving()).await
            }
        };
        let answer = client.fetch(post(&sidecar, number)).await;
        assert_answer(&answer, number);
        progress.answered.fetch_add(1, Ordering::Relaxed);
        if answer.header("connection") != "close" {
            connection = Some(client);
        }
    }
}

/// As [`over_http1`], as one of many on the connection; takes a new one when the old one is closed.
async fn over_http2(sidecar: Arc<Sidecar>, progress: Arc<Progress>, shared: Arc<tokio::sync::Mutex<Http2>>) {
    while let Some(number) = progress.next() {
        let mut client = {
            let mut shared = shared.lock().await;
            if shared.is_closed() {
                progress.connections.fetch_add(1, Ordering::Relaxed);
                *shared = Http2::open(sidecar.serving()).await;
            }
            shared.clone()
        };
        let answer = client.fetch(post(&sidecar, number)).await;
        assert_answer(&answer, number);
        progress.answered.fetch_add(1, Ordering::Relaxed);
    }
}

fn assert_answer(answer: &xdt_testkit::Answer, number: usize) {
    assert_eq!(answer.status, StatusCode::OK, "request {number}");
    let told = answer.json();
    assert_eq!(told["target"], format!("/{number}"));
    assert_eq!(told["bytes"], number.to_string().len(), "request {number}");
}

/// SIGTERM when half of the answers are there; then all of them, and each request once in the container.
async fn terminated_in_the_middle(
    sidecar: &Sidecar,
    user: &UserContainer,
    progress: &Progress,
    mut workers: JoinSet<()>,
) {
    while progress.answered.load(Ordering::Relaxed) < REQUESTS / 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        while let Some(ended) = workers.try_join_next() {
            ended.expect("every request is answered");
        }
    }
    sidecar.terminate();
    let probed = async {
        while sidecar.kubelet_probe().await.status != 503 {}
        progress.answered.load(Ordering::Relaxed)
    };
    let rest = async {
        while let Some(ended) = workers.join_next().await {
            ended.expect("every request is answered");
        }
    };
    let (at_notice, ()) = tokio::join!(probed, rest);
    assert!(
        at_notice < REQUESTS,
        "some requests came after the probes had begun to fail"
    );
    assert_eq!(progress.answered.load(Ordering::Relaxed), REQUESTS);
    let mut times: HashMap<String, usize> = HashMap::new();
    for seen in user.seen() {
        assert_eq!(seen.outcome, Outcome::Completed);
        *times.entry(seen.target).or_default() += 1;
    }
    assert_eq!(times.len(), REQUESTS, "every request has reached the container");
    assert!(times.values().all(|count| *count == 1), "and none twice");
}

async fn started() -> (UserContainer, Arc<Sidecar>, Arc<Progress>) {
    let user = UserContainer::start(Script::Echo);
    let sidecar = Sidecar::builder(env!("CARGO_BIN_EXE_xdt-queue-proxy"))
        .without_ring()
        .user_port(user.port())
        // 20 in the container and at most 180 behind them: the queue is part of what must not lose any.
        .env("CONTAINER_CONCURRENCY", "20")
        .start()
        .await;
    (user, Arc::new(sidecar), Arc::default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c108_ten_thousand_http1_requests_survive_sigterm_each_exactly_once() {
    let (user, sidecar, progress) = started().await;
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        workers.spawn(over_http1(sidecar.clone(), progress.clone()));
    }
    terminated_in_the_middle(&sidecar, &user, &progress, workers).await;
    assert_eq!(
        progress.connections.load(Ordering::Relaxed),
        AT_ONCE,
        "connections are kept"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c108_ten_thousand_http2_requests_survive_sigterm_each_exactly_once() {
    let (user, sidecar, progress) = started().await;
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE / STREAMS {
        let shared = Arc::new(tokio::sync::Mutex::new(Http2::open(sidecar.serving()).await));
        for _ in 0..STREAMS {
            workers.spawn(over_http2(sidecar.clone(), progress.clone(), shared.clone()));
        }
    }
    terminated_in_the_middle(&sidecar, &user, &progress, workers).await;
    assert_eq!(progress.connections.load(Ordering::Relaxed), 0, "connections are kept");
}
