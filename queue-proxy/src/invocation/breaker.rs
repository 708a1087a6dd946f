//! The breaker: at most `CONTAINER_CONCURRENCY` requests at once in the user container, ten times as many waiting.
//!
//! Source: Knative `pkg/queue/breaker.go`; contract of the queue-proxy, section 3. Waiting is first in, first out.
//! A request that finds a free place takes two atomic operations; giving it back takes one more and the short lock of
//! the semaphore's queue.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Waiting requests per executing one.
const QUEUE_DEPTH_FACTOR: usize = 10;

/// Bounds executing and waiting requests.
pub struct Breaker {
    executing: Arc<Semaphore>,
    inflight: Arc<AtomicUsize>,
    most: usize,
}

/// Executing and waiting places are all taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("pending request queue full")]
pub struct QueueFull;

/// One request's place; dropping it lets the next one go.
pub struct Slot {
    _executing: OwnedSemaphorePermit,
    _inflight: Inflight,
}

struct Inflight(Arc<AtomicUsize>);

impl Drop for Inflight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Breaker {
    /// `concurrency` executing, ten times as many waiting.
    #[must_use]
    pub fn new(concurrency: usize) -> Self {
        let concurrency = concurrency.min(Semaphore::MAX_PERMITS / (QUEUE_DEPTH_FACTOR + 1));
        Self {
            executing: Arc::new(Semaphore::new(concurrency)),
            inflight: Arc::default(),
            most: concurrency * (QUEUE_DEPTH_FACTOR + 1),
        }
    }

    /// Requests that execute or wait now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inflight.load(Ordering::Acquire)
    }

    async fn enter(&self) -> Result<Slot, QueueFull> {
        let entered = self
            .inflight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |inflight| {
                (inflight < self.most).then_some(inflight + 1)
            });
        entered.map_err(|_| QueueFull)?;
        let inflight = Inflight(self.inflight.clone());
        // The semaphore is never closed.
        let executing = self.executing.clone().acquire_owned().await.map_err(|_| QueueFull)?;
        Ok(Slot {
            _executing: executing,
            _inflight: inflight,
        })
    }
}

/// A place in the user container; at once where there is no breaker.
///
/// # Errors
/// [`QueueFull`].
/// # Cancel safety
/// Dropping the future leaves the queue.
pub async fn slot(breaker: Option<&Breaker>) -> Result<Option<Slot>, QueueFull> {
    match breaker {
        Some(breaker) => breaker.enter().await.map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
