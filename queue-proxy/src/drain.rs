//! The drain timeline of Knative: not ready → wait for routing to notice → finish → close.
//!
//! Source: `knative.dev/pkg/network/handlers/drain.go`; contract of the queue-proxy, section 6.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
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
    /// A user container's preStop hook runs; SIGTERM may follow up to this moment.
    Hooked(Instant),
    /// SIGTERM came.
    Draining,
    /// The quiet period is over.
    Drained,
}

/// Where this instance is on its way out.
pub struct Drain {
    phase: watch::Sender<Phase>,
    /// Whether the phase is any but the first: all that a request asks.
    leaving: AtomicBool,
    started: Instant,
    /// Milliseconds from `started` to the last request, or to the beginning of the drain.
    last_request: AtomicU64,
}

impl Drain {
    /// Serving.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let phase = watch::Sender::new(Phase::Serving);
        Arc::new(Self {
            phase,
            leaving: AtomicBool::new(false),
            started: Instant::now(),
            last_request: AtomicU64::new(0),
        })
    }

    /// Whether health checks and ingress probes must fail.
    #[must_use]
    pub fn is_failing_probes(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// A request other than a probe came: the quiet period starts anew.
    pub fn touch(&self) {
        if self.is_failing_probes() {
            self.last_request.fetch_max(self.elapsed(), Ordering::AcqRel);
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// After SIGTERM: fails probes from now on, and resolves when the quiet period is over. Joins the drain of a hook
    /// that came just before.
    pub fn quiet(&self) -> impl Future<Output = ()> + '_ {
        self.phase.send_modify(|phase| {
            if *phase == Phase::Serving {
                self.begin();
            }
            *phase = Phase::Draining;
        });
        self.end_of_quiet()
    }

    async fn end_of_quiet(&self) {
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
    ///
    /// # Cancel safety
    /// A caller that leaves changes nothing: a drain that no SIGTERM confirms is undone all the same.
    pub async fn hook(self: Arc<Self>) {
        let mut phase = self.phase.subscribe();
        let until = Instant::now() + RESTART_WINDOW;
        self.phase.send_if_modified(|phase| match phase {
            Phase::Serving => {
                self.begin();
                *phase = Phase::Hooked(until);
                true
            }
            Phase::Hooked(window) => {
                *window = until;
                true
            }
            Phase::Draining | Phase::Drained => false,
        });
        let drain = self.clone();
        let undo = async move {
            tokio::time::sleep_until(until).await;
            drain.undo(until);
        };
        let terminated = phase.wait_for(|phase| matches!(phase, Phase::Draining | Phase::Drained));
        tokio::select! {
            biased;
            _ = terminated => {}
            // In a task of its own, which ends after a second whatever becomes of the caller.
            _ = tokio::spawn(undo) => return,
        }
        let _drained = phase.wait_for(|phase| *phase == Phase::Drained).await;
    }

    fn begin(&self) {
        self.last_request.store(self.elapsed(), Ordering::Release);
        self.leaving.store(true, Ordering::Release);
    }

    /// Ends the window of the hooks, unless a later hook has prolonged it or SIGTERM has come.
    fn undo(&self, until: Instant) {
        self.phase.send_if_modified(|phase| {
            let over = *phase == Phase::Hooked(until);
            if over {
                *phase = Phase::Serving;
                self.leaving.store(false, Ordering::Release);
            }
            over
        });
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
        drain.quiet().await;
        hook.await.expect("no panic");
        assert_eq!(drain.started.elapsed().as_secs(), 30);
        drain.clone().hook().await;
        assert_eq!(
            drain.started.elapsed().as_secs(),
            30,
            "a hook after the drain returns at once"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_hook_whose_caller_leaves_is_undone_all_the_same() {
        let drain = Drain::new();
        let left = tokio::time::timeout(Duration::from_millis(200), drain.clone().hook()).await;
        assert!(left.is_err() && drain.is_failing_probes());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!drain.is_failing_probes());
    }

    #[tokio::test(start_paused = true)]
    async fn each_hook_has_its_own_second() {
        let drain = Drain::new();
        let begun = Instant::now();
        let first = tokio::spawn(drain.clone().hook());
        tokio::time::sleep(Duration::from_millis(500)).await;
        let second = tokio::spawn(drain.clone().hook());
        first.await.expect("no panic");
        assert_eq!((begun.elapsed().as_millis(), drain.is_failing_probes()), (1000, true));
        second.await.expect("no panic");
        assert_eq!((begun.elapsed().as_millis(), drain.is_failing_probes()), (1500, false));
    }

    #[tokio::test(start_paused = true)]
    async fn sigterm_joins_the_drain_of_a_hook_and_does_not_begin_anew() {
        let drain = Drain::new();
        let hook = tokio::spawn(drain.clone().hook());
        tokio::time::sleep(Duration::from_millis(900)).await;
        drain.quiet().await;
        hook.await.expect("no panic");
        assert_eq!(drain.started.elapsed().as_secs(), 30);
        assert_eq!(drain.started.elapsed().subsec_millis(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn sigterm_after_the_window_begins_a_drain_of_its_own() {
        let drain = Drain::new();
        drain.clone().hook().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        drain.quiet().await;
        assert_eq!(begun.elapsed().as_secs(), 30);
        assert!(drain.is_failing_probes());
    }
}
