//! One run at a time, on its own: whoever asks while it lasts gets its result, whoever gives up does not stop it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// The run that is going on, or the last one. Ends with its owner.
#[derive(Default)]
pub(super) struct SingleFlight {
    running: Mutex<Option<Flight>>,
}

struct Flight {
    result: watch::Receiver<Option<bool>>,
    _task: AbortOnDropHandle<()>,
}

impl Flight {
    fn begin(work: impl Future<Output = bool> + Send + 'static) -> Self {
        let (tell, result) = watch::channel(None);
        let task = tokio::spawn(async move {
            let ready = work.await;
            tell.send_replace(Some(ready));
        });
        Self {
            result,
            _task: AbortOnDropHandle::new(task),
        }
    }

    fn is_running(&self) -> bool {
        self.result.borrow().is_none() && self.result.has_changed().is_ok()
    }
}

impl SingleFlight {
    /// The result of the run that is going on, or of `work` if there is none. Results are never kept.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the run to the others.
    pub(super) async fn join<W: Future<Output = bool> + Send + 'static>(&self, work: impl FnOnce() -> W) -> bool {
        let mut result = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            match running.as_ref().filter(|flight| flight.is_running()) {
                Some(flight) => flight.result.clone(),
                None => running.insert(Flight::begin(work())).result.clone(),
            }
        };
        result
            .wait_for(Option::is_some)
            .await
            .is_ok_and(|ready| *ready == Some(true))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn callers_share_a_run_and_later_ones_start_another() {
        let (flight, runs) = (SingleFlight::default(), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            flight.join(|| {
                let run = runs.fetch_add(1, Ordering::Relaxed);
                async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    run == 0
                }
            })
        };
        assert_eq!(tokio::join!(ask(), ask(), ask()), (true, true, true));
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        assert!(!ask().await, "a result is not kept");
        assert_eq!(runs.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_leaves_does_not_stop_the_run() {
        let flight = SingleFlight::default();
        let work = || async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            true
        };
        let left = tokio::time::timeout(Duration::from_secs(1), flight.join(work)).await;
        assert!(left.is_err());
        assert!(flight.join(|| async { false }).await, "the first run's result");
    }

    #[tokio::test]
    async fn a_run_that_dies_means_not_ready_and_blocks_nobody() {
        let flight = SingleFlight::default();
        assert!(!flight.join(|| async { panic!("as the test wants it") }).await);
        assert!(flight.join(|| async { true }).await);
    }
}
