//! Groups of listeners that stop together, and what shutdown waits for: HTTP/1 connections without limit, multiplexed
//! ones (HTTP/2) for a while.
//!
//! Source: contract of the queue-proxy, section 6: stock waits so because its HTTP server does not know of the HTTP/2
//! connections that it has handed on.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::Version;
use tokio::{sync::SetOnce, time::Instant};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use super::accept::{Front, Listener};

/// One group of listeners that stop together.
#[derive(Default)]
pub(super) struct Group {
    stop: CancellationToken,
    connections: Connections,
    /// Why the first listener that died did.
    died: Arc<SetOnce<io::Error>>,
}

impl Group {
    pub(super) fn start(&self, listener: Listener, front: Front) {
        let (stop, connections) = (self.stop.clone(), self.connections.clone());
        let died = self.died.clone();
        self.connections.sequential.spawn(async move {
            if let Err(error) = listener.run(front, stop, connections).await {
                // Fails for a second one, which changes nothing.
                let _told = died.set(error);
            }
        });
    }

    /// Resolves when a listener can accept nothing any more, without having been told to stop.
    pub(super) async fn died(&self) -> &io::Error {
        self.died.wait().await
    }

    /// One more connection, for tests of those who wait.
    #[cfg(test)]
    pub(super) fn seat(&self) -> Seat {
        self.connections.seat()
    }

    /// Runs something that accepts connections of its own kind until the token is cancelled, each as a task of the tracker.
    pub(super) fn run<F>(&self, accept: impl FnOnce(CancellationToken, TaskTracker) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let accepting = accept(self.stop.clone(), self.connections.sequential.clone());
        self.connections.sequential.spawn(accepting);
    }

    /// Closes listeners and idle connections, tells HTTP/2 peers to go away, and waits for HTTP/1 requests in flight.
    pub(super) async fn finish(&self) {
        self.stop.cancel();
        self.connections.sequential.close();
        self.connections.sequential.wait().await;
    }

    /// Waits for what [`Self::finish`] does not wait for: requests in flight on HTTP/2 connections.
    pub(super) async fn finish_multiplexed(&self) {
        self.connections.multiplexed.close();
        self.connections.multiplexed.wait().await;
    }
}

/// The connections of a group.
#[derive(Clone, Default)]
pub(super) struct Connections {
    sequential: TaskTracker,
    multiplexed: TaskTracker,
}

impl Connections {
    /// Counts one more connection, until the seat and all its clones are dropped.
    pub(super) fn seat(&self) -> Seat {
        Seat(Arc::new(Taken {
            token: Mutex::new(self.sequential.token()),
            served: AtomicBool::new(false),
            multiplexed: AtomicBool::new(false),
            exchanges: AtomicUsize::new(0),
            rested_since: Mutex::new(Instant::now()),
            connections: self.clone(),
        }))
    }
}

/// One connection's place among those that shutdown waits for, and what has come on it so far.
#[derive(Clone)]
pub(super) struct Seat(Arc<Taken>);

struct Taken {
    token: Mutex<TaskTrackerToken>,
    served: AtomicBool,
    multiplexed: AtomicBool,
    /// Requests whose answers are not over.
    exchanges: AtomicUsize,
    /// When the last of them was over.
    rested_since: Mutex<Instant>,
    connections: Connections,
}

/// A request, until it is dropped with the last of its answer.
pub(super) struct Exchange(Seat);

impl Drop for Exchange {
    fn drop(&mut self) {
        let taken = &*self.0.0;
        if taken.exchanges.fetch_sub(1, Ordering::AcqRel) == 1 {
            *taken.rested_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }
}

impl Seat {
    /// A request has come in this version.
    pub(super) fn request(&self, version: Version) {
        let taken = &*self.0;
        if !taken.served.load(Ordering::Relaxed) {
            taken.served.store(true, Ordering::Relaxed);
        }
        if version == Version::HTTP_2 && !taken.multiplexed.swap(true, Ordering::Relaxed) {
            let token = taken.connections.multiplexed.token();
            *taken.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        }
    }

    /// A request begins.
    pub(super) fn exchange(&self) -> Exchange {
        self.0.exchanges.fetch_add(1, Ordering::AcqRel);
        Exchange(self.clone())
    }

    /// For how long no request has been in progress; `None` while one is.
    pub(super) fn rested(&self) -> Option<Duration> {
        let since = *self.0.rested_since.lock().unwrap_or_else(PoisonError::into_inner);
        (self.0.exchanges.load(Ordering::Acquire) == 0).then(|| since.elapsed())
    }

    /// Whether a request has come at all.
    pub(super) fn has_served(&self) -> bool {
        self.0.served.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn http1_is_waited_for_first_and_http2_afterwards() {
        let group = Group::default();
        let (one, two) = (group.connections.seat(), group.connections.seat());
        one.request(Version::HTTP_11);
        two.request(Version::HTTP_2);
        assert!(group.finish().now_or_never().is_none(), "one is in flight");
        drop(one);
        assert!(group.finish().now_or_never().is_some());
        assert!(group.finish_multiplexed().now_or_never().is_none(), "two is in flight");
        assert!(two.has_served());
        drop(two);
        assert!(group.finish_multiplexed().now_or_never().is_some());
    }
}
