//! The breaker against a naive model, and under many threads.

use std::{collections::VecDeque, pin::Pin, sync::atomic::AtomicBool};

use futures_util::{FutureExt as _, task::noop_waker_ref};
use proptest::prelude::*;

use super::*;

#[test]
fn the_twelfth_request_is_refused_at_once() {
    let breaker = Breaker::new(1);
    let mut rest = Vec::new();
    let executing = breaker.enter().now_or_never().expect("free").expect("free");
    for _ in 0..10 {
        let mut request = Box::pin(breaker.enter());
        assert!(request.as_mut().now_or_never().is_none(), "held");
        rest.push(request);
    }
    assert_eq!(
        breaker.enter().now_or_never().map(|entered| entered.is_err()),
        Some(true)
    );
    drop(rest.pop());
    drop(executing);
    assert!(
        rest[0].as_mut().now_or_never().is_some_and(|entered| entered.is_ok()),
        "the first waiter goes"
    );
}

#[test]
fn absurd_concurrencies_do_not_overflow() {
    let breaker = Breaker::new(usize::MAX);
    assert!(breaker.enter().now_or_never().is_some_and(|entered| entered.is_ok()));
    assert_eq!(breaker.in_flight(), 0, "dropped at once");
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Arrive,
    /// The waiter so far back in the queue leaves, if there is any.
    Leave(usize),
    /// The executing request with this number (of those there are) ends.
    Finish(usize),
}

type Waiting<'b> = Pin<Box<dyn Future<Output = Result<Slot, QueueFull>> + 'b>>;

/// A waiting request, whose turn may have come.
fn poll(waiting: &mut Waiting<'_>) -> Option<Slot> {
    let mut context = std::task::Context::from_waker(noop_waker_ref());
    match waiting.as_mut().poll(&mut context) {
        std::task::Poll::Ready(entered) => Some(entered.expect("it has its place in the queue")),
        std::task::Poll::Pending => None,
    }
}

proptest! {
    /// Executing and waiting requests are at each moment those of the model: as many execute as may, the others wait in
    /// the order in which they came, and who finds all places taken is refused.
    #[test]
    fn the_breaker_counts_as_the_model_does(
        concurrency in 1..4_usize,
        ops in prop::collection::vec(
            prop_oneof![
                4 => Just(Op::Arrive),
                1 => any::<usize>().prop_map(Op::Leave),
                2 => any::<usize>().prop_map(Op::Finish),
            ],
            0..300,
        ),
    ) {
        let breaker = Breaker::new(concurrency);
        let mut executing: Vec<Slot> = Vec::new();
        let mut queue: VecDeque<Waiting<'_>> = VecDeque::new();
        for op in ops {
            let inside = executing.len() + queue.len();
            match op {
                Op::Arrive => {
                    let mut request: Waiting<'_> = Box::pin(breaker.enter());
                    let mut context = std::task::Context::from_waker(noop_waker_ref());
                    match request.as_mut().poll(&mut context) {
                        std::task::Poll::Ready(Ok(slot)) => {
                            prop_assert!(executing.len() < concurrency && queue.is_empty());
                            executing.push(slot);
                        }
                        std::task::Poll::Ready(Err(QueueFull)) => prop_assert_eq!(inside, 11 * concurrency),
                        std::task::Poll::Pending => {
                            prop_assert!(executing.len() == concurrency && inside < 11 * concurrency);
                            queue.push_back(request);
                        }
                    }
                }
                Op::Leave(which) => {
                    if !queue.is_empty() {
                        drop(queue.remove(which % queue.len()));
                    }
                }
                Op::Finish(which) => {
                    if !executing.is_empty() {
                        drop(executing.swap_remove(which % executing.len()));
                    }
                }
            }
            // Exactly those whose turn has come go on, from the front.
            while executing.len() < concurrency
                && let Some(mut first) = queue.pop_front()
            {
                let slot = poll(&mut first);
                prop_assert!(slot.is_some(), "there is a place, and it is the first in the queue");
                executing.extend(slot);
            }
            for waiting in &mut queue {
                prop_assert!(poll(waiting).is_none(), "all places are taken");
            }
            prop_assert_eq!(breaker.in_flight(), executing.len() + queue.len());
        }
        drop((executing, queue));
        prop_assert_eq!(breaker.in_flight(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_never_execute_more_than_may() {
    const CONCURRENCY: usize = 3;
    let breaker = Arc::new(Breaker::new(CONCURRENCY));
    let executing = Arc::new(AtomicUsize::new(0));
    let exceeded = Arc::new(AtomicBool::new(false));
    let workers = (0..8_u32).map(|worker| {
        let (breaker, executing, exceeded) = (breaker.clone(), executing.clone(), exceeded.clone());
        tokio::spawn(async move {
            for turn in 0..2_000_u32 {
                // Some leave the queue before their turn.
                let patience = std::time::Duration::from_micros(if (turn + worker) % 7 == 0 { 1 } else { 10_000_000 });
                let Ok(slot) = tokio::time::timeout(patience, breaker.enter()).await else {
                    continue;
                };
                let slot = slot.expect("33 places for 8");
                if executing.fetch_add(1, Ordering::SeqCst) >= CONCURRENCY {
                    exceeded.store(true, Ordering::SeqCst);
                }
                tokio::task::yield_now().await;
                executing.fetch_sub(1, Ordering::SeqCst);
                drop(slot);
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("no panic");
    }
    assert!(!exceeded.load(Ordering::SeqCst));
    assert_eq!(
        (breaker.in_flight(), breaker.executing.available_permits()),
        (0, CONCURRENCY)
    );
}
