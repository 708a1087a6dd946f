//! The drain timeline of Knative: not ready → wait for routing to notice → finish → close.
//!
//! Source: `knative.dev/pkg/network/handlers/drain.go`; contract of the queue-proxy, section 6.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// The proxy stops serving when no request has come for so long after SIGTERM.
pub const QUIET_PERIOD: Duration = Duration::from_secs(30);
/// A hook without SIGTERM within this time is a user container's restart, not the pod's end.
const RESTART_WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serving,
    /// A user container's preStop hook runs; SIGTERM may follow.
    Hooked,
    /// SIGTERM came.
    Draining,
    /// The quiet period is over.
    Drained,
}

/// Where this instance is on its way out.
pub struct Drain {
    phase: watch::Sender<Phase>,
    started: Instant,
    /// Milliseconds from `started` to the last request.
    last_request: AtomicU64,
}

impl Drain {
    /// Serving.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let phase = watch::Sender::new(Phase::Serving);
        Arc::new(Self {
            phase,
            started: Instant::now(),
            last_request: AtomicU64::new(0),
        })
    }

    /// Whether health checks and ingress probes must fail.
    #[must_use]
    pub fn is_failing_probes(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }

    /// A request other than a probe came: the quiet period starts anew.
    pub fn touch(&self) {
        if *self.phase.borrow() == Phase::Draining {
            self.last_request.store(self.elapsed(), Ordering::Release);
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// After SIGTERM: fails probes, and resolves when the quiet period is over.
    pub async fn quiet(&self) {
        self.last_request.store(self.elapsed(), Ordering::Release);
        self.phase.send_replace(Phase::Draining);
        loop {
            let last = Duration::from_millis(self.last_request.load(Ordering::Acquire));
            let due = self.started + last + QUIET_PERIOD;
            if Instant::now() >= due {
                break;
            }
            tokio::time::sleep_until(due).await;
        }
        self.phase.send_replace(Phase::Drained);
    }

    /// The preStop hook of a user container: returns when the drain is over, or after a second if there is none.
    pub async fn hook(&self) {
        let mut phase = self.phase.subscribe();
        self.phase.send_if_modified(|phase| {
            let serving = *phase == Phase::Serving;
            if serving {
                *phase = Phase::Hooked;
            }
            serving
        });
        let terminated = phase.wait_for(|phase| matches!(phase, Phase::Draining | Phase::Drained));
        let in_time = tokio::time::timeout(RESTART_WINDOW, terminated).await.is_ok();
        if !in_time {
            let undone = self.phase.send_if_modified(|phase| {
                let hooked = *phase == Phase::Hooked;
                if hooked {
                    *phase = Phase::Serving;
                }
                hooked
            });
            if undone || *self.phase.borrow() == Phase::Serving {
                return;
            }
        }
        let _drained = phase.wait_for(|phase| *phase == Phase::Drained).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_traffic_the_drain_takes_thirty_seconds() {
        let drain = Drain::new();
        let begun = Instant::now();
        drain.quiet().await;
        assert_eq!(begun.elapsed().as_secs(), 30);
        assert!(drain.is_failing_probes());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_moves_the_end() {
        let drain = Drain::new();
        let quiet = tokio::spawn({
            let drain = drain.clone();
            async move {
                let begun = Instant::now();
                drain.quiet().await;
                begun.elapsed().as_secs()
            }
        });
        tokio::time::sleep(Duration::from_secs(20)).await;
        drain.touch();
        assert_eq!(quiet.await.expect("no panic"), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_without_sigterm_returns_after_a_second_and_undoes_itself() {
        let drain = Drain::new();
        let begun = Instant::now();
        let hook = tokio::spawn({
            let drain = drain.clone();
            async move { drain.hook().await }
        });
        tokio::task::yield_now().await;
        assert!(drain.is_failing_probes());
        hook.await.expect("no panic");
        assert_eq!(begun.elapsed().as_secs(), 1);
        assert!(!drain.is_failing_probes());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_waits_for_the_end_of_the_drain() {
        let drain = Drain::new();
        let hook = tokio::spawn({
            let drain = drain.clone();
            async move { drain.hook().await }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        let begun = Instant::now();
        drain.quiet().await;
        hook.await.expect("no panic");
        assert_eq!(begun.elapsed().as_secs(), 30);
        drain.hook().await;
        assert_eq!(begun.elapsed().as_secs(), 30, "a hook after the drain returns at once");
    }
}
