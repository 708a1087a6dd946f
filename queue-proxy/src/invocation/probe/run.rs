//! One run of the readiness probe: all containers at once, each in its own mode.
//!
//! Source: Knative `pkg/queue/readiness/probe.go`, Kubernetes' `wait.PollUntilContextTimeout`; contract of the queue-proxy,
//! section 5.3.

use std::{
    sync::atomic::{AtomicI32, Ordering},
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    attempt::{AttemptError, attempt},
    failures::FailureLog,
    spec::{ContainerProbe, Mode, ReadinessProbe},
};

/// Aggressive mode: how often, how long each, how long in all.
const AGGRESSIVE_EVERY: Duration = Duration::from_millis(50);
const AGGRESSIVE_TIMEOUT: Duration = Duration::from_millis(100);
const AGGRESSIVE_BOUND: Duration = Duration::from_secs(10);

/// The containers of the pod.
pub(super) struct Containers {
    containers: Vec<Container>,
    http2_detection: bool,
    log: FailureLog,
}

struct Container {
    probe: ContainerProbe,
    /// Passes in a row in aggressive mode, over all runs; a failure ends them.
    passes: AtomicI32,
}

/// Why a run found a container not ready.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    /// In aggressive mode; the last attempt's error has been told before.
    #[error("context deadline exceeded")]
    Deadline,
}

impl Containers {
    pub(super) fn new(probe: ReadinessProbe, http2_detection: bool) -> Self {
        let containers = probe.probes.into_iter().map(|probe| Container {
            probe,
            passes: AtomicI32::new(0),
        });
        Self {
            containers: containers.collect(),
            http2_detection,
            log: FailureLog::default(),
        }
    }

    /// Whether all are ready; waits for the slowest. Runs never overlap.
    pub(super) async fn are_ready(&self) -> bool {
        let mut runs: FuturesUnordered<_> = self.containers.iter().map(|container| self.run(container)).collect();
        let mut first_error = None;
        while let Some(result) = runs.next().await {
            first_error = first_error.or(result.err());
        }
        match &first_error {
            Some(error) => self.log.tell(&format!("readiness probe failed: {error}")),
            None => self.log.forget(),
        }
        first_error.is_none()
    }

    async fn run(&self, container: &Container) -> Result<(), RunError> {
        match container.probe.mode {
            Mode::Single { timeout } => Ok(self.attempt(container, timeout).await?),
            Mode::Aggressive { success_threshold } => self.run_aggressively(container, success_threshold).await,
        }
    }

    async fn attempt(&self, container: &Container, timeout: Duration) -> Result<(), AttemptError> {
        attempt(&container.probe.kind, self.http2_detection, timeout).await
    }

    /// The first attempt at once, the others on a grid of 50 ms, the last at 10 s: 201 of them if each is quick.
    async fn run_aggressively(&self, container: &Container, success_threshold: i32) -> Result<(), RunError> {
        let started = Instant::now();
        let mut ticks = interval(AGGRESSIVE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut failures, mut last_error) = (0_u32, None);
        loop {
            ticks.tick().await;
            match self.attempt(container, AGGRESSIVE_TIMEOUT).await {
                Ok(()) => {
                    let passes = container.passes.load(Ordering::Relaxed).saturating_add(1);
                    container.passes.store(passes, Ordering::Relaxed);
                    if passes >= success_threshold {
                        return Ok(());
                    }
                }
                Err(error) => {
                    container.passes.store(0, Ordering::Relaxed);
                    failures += 1;
                    last_error = Some(error);
                }
            }
            if started.elapsed() >= AGGRESSIVE_BOUND {
                break;
            }
        }
        if let Some(error) = last_error {
            self.log.tell_aggressive(failures, &error.to_string());
        }
        Err(RunError::Deadline)
    }
}

#[cfg(test)]
mod tests;
