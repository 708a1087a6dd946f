//! Handshakes in progress: bounded in number and in time. When there are too many, the oldest is given up: an honest
//! client is through in milliseconds, so whoever has waited longest is the least likely to be one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;

/// Longest handshake, its first byte included (stock: the header read timeout).
const LONGEST: Duration = Duration::from_secs(60);
/// Most handshakes at once: what they hold stays below some 32 MiB, and no honest burst comes near it.
pub(in crate::server) const MOST: usize = 1024;

/// All handshakes of a port.
#[derive(Clone)]
pub(in crate::server) struct Handshakes {
    running: Arc<Mutex<Running>>,
    most: usize,
}

#[derive(Default)]
struct Running {
    next: u64,
    /// In the order in which they began. Dropping a sender gives its handshake up.
    by_age: BTreeMap<u64, oneshot::Sender<()>>,
}

impl Handshakes {
    pub(in crate::server) fn new(most: usize) -> Self {
        Self {
            running: Arc::default(),
            most,
        }
    }

    /// Awaits `handshake`; `None` when it took too long or had to make way for a younger one.
    pub(in crate::server) async fn bounded<T>(&self, handshake: impl Future<Output = T>) -> Option<T> {
        let (id, given_up) = self.enter();
        let _entry = Entry(self, id);
        tokio::select! {
            done = handshake => Some(done),
            _ = given_up => None,
            () = tokio::time::sleep(LONGEST) => None,
        }
    }

    fn enter(&self) -> (u64, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let mut running = self.lock();
        let id = running.next;
        running.next += 1;
        running.by_age.insert(id, sender);
        if running.by_age.len() > self.most {
            running.by_age.pop_first();
        }
        (id, receiver)
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leaves when dropped.
struct Entry<'h>(&'h Handshakes, u64);

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.0.lock().by_age.remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_way_and_nobody_stays_for_ever() {
        let handshakes = Handshakes::new(2);
        let slow = || {
            let handshakes = handshakes.clone();
            tokio::spawn(async move { handshakes.bounded(pending::<()>()).await })
        };
        let (first, second) = (slow(), slow());
        tokio::task::yield_now().await;
        assert_eq!(handshakes.bounded(ready(3)).await, Some(3));
        assert_eq!(first.await.expect("no panic"), None);
        assert!(!second.is_finished());
        let begun = tokio::time::Instant::now();
        assert_eq!(second.await.expect("no panic"), None);
        assert!(begun.elapsed() <= LONGEST);
        assert!(handshakes.lock().by_age.is_empty());
    }
}
