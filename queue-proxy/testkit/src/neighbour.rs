//! A well-behaved client beside an attacker: asks on and on, and must be served all the while.

use std::{net::SocketAddr, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle, time::Instant};

use crate::{
    http::{Http1, Http2, empty_body, request},
    wait::within,
};

/// What it asks for.
pub const PATH: &str = "/well-behaved";
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(20);

/// A client that asks until it is stopped: over one connection kept alive, over a new one each time, and over HTTP/2.
pub struct Neighbour {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Served>,
}

/// How it went.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    /// Answers.
    pub count: usize,
    /// The longest wait for one.
    pub slowest: Duration,
}

impl Neighbour {
    /// Starts asking the serving port.
    #[must_use]
    pub fn of(serving: SocketAddr) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(ask(serving, stopped));
        Self { stop, task }
    }

    /// Stops asking.
    ///
    /// # Panics
    /// If it was not served throughout.
    pub async fn served(self) -> Served {
        // Fails only when it has panicked, which the next line tells.
        let _asked = self.stop.send(());
        let served = self.task.await.expect("served throughout");
        assert!(served.count >= 3, "too short to say anything");
        served
    }
}

async fn ask(serving: SocketAddr, mut stopped: oneshot::Receiver<()>) -> Served {
    let call = || request("GET", PATH, &[("host", "x")], empty_body());
    let mut kept = Http1::open(serving).await;
    let mut multiplexed = Http2::open(serving).await;
    let mut served = Served {
        count: 0,
        slowest: Duration::ZERO,
    };
    while served.count < 3 || stopped.try_recv().is_err() {
        let begun = Instant::now();
        let answer = within("an answer for a well-behaved client", async {
            match served.count % 3 {
                0 => kept.fetch(call()).await,
                1 => Http1::open(serving).await.fetch(call()).await,
                _ => {
                    let url = format!("http://{serving}{PATH}");
                    multiplexed.fetch(request("GET", url, &[], empty_body())).await
                }
            }
        })
        .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        served.slowest = served.slowest.max(begun.elapsed());
        served.count += 1;
        tokio::time::sleep(PAUSE).await;
    }
    served
}
