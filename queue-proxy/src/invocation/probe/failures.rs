//! What the log says of containers that are not ready.
//!
//! Stock prints plain text on stderr for every run that fails; here it is a WARNING in the log's own form. A container
//! that takes minutes to start is asked up to five times a second by each activator: the same failure is told again only
//! after a while, with how often it happened.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The same failure is told so often at most.
const TOLD_EVERY: Duration = Duration::from_secs(10);
/// Different failures remembered; more than that begin anew.
const MAX_REMEMBERED: usize = 16;

/// Failures since the containers were last ready.
#[derive(Default)]
pub(super) struct FailureLog {
    /// By its text, without the number of attempts: when it was last told, and how often it happened since.
    told: Mutex<BTreeMap<String, (Instant, u32)>>,
}

impl FailureLog {
    /// A run of aggressive mode that came to its end, in stock's words.
    pub(super) fn tell_aggressive(&self, failures: u32, error: &str) {
        if let Some(times) = self.due(error) {
            tracing::warn!(times, "aggressive probe error (failed {failures} times): {error}");
        }
    }

    /// A run that failed.
    pub(super) fn tell(&self, text: &str) {
        if let Some(times) = self.due(text) {
            tracing::warn!(times, "{text}");
        }
    }

    /// All containers are ready: the next failure is news.
    pub(super) fn forget(&self) {
        self.told().clear();
    }

    /// How often this failure happened since it was told, if it is to be told now.
    fn due(&self, text: &str) -> Option<u32> {
        let mut told = self.told();
        let now = Instant::now();
        if let Some((last, times)) = told.get_mut(text) {
            *times += 1;
            if now.duration_since(*last) < TOLD_EVERY {
                return None;
            }
            *last = now;
            return Some(std::mem::take(times));
        }
        if told.len() >= MAX_REMEMBERED {
            told.clear();
        }
        told.insert(text.to_owned(), (now, 0));
        Some(1)
    }

    #[cfg(test)]
    pub(super) fn is_told(&self, text: &str) -> bool {
        self.told().contains_key(text)
    }

    fn told(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, u32)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_failure_is_told_again_after_a_while() {
        let log = FailureLog::default();
        assert_eq!(log.due("a"), Some(1));
        for _ in 0..5 {
            assert_eq!(log.due("a"), None);
        }
        assert_eq!(log.due("b"), Some(1), "another failure is news");
        tokio::time::advance(TOLD_EVERY).await;
        assert_eq!(log.due("a"), Some(6));
        log.forget();
        assert_eq!(log.due("a"), Some(1), "ready in between");
        for text in 0..100 {
            assert_eq!(log.due(&format!("failure {text}")), Some(1));
            assert!(log.told().len() <= MAX_REMEMBERED);
        }
    }
}
