//! Byte permits: how much is free, who asked for how much, who waits first.
//!
//! Called under the caller's lock by everything that is about to hold bytes. The caller makes a permit of every grant,
//! sends it along with the bytes, and calls [`Budget::release`] when it drops; it also wakes waiters and watches their
//! deadlines. Bounded by `limit` bytes and [`MAX_WAITERS`] waiters.
//!
//! Strictly first in, first out: a large ask at the head holds back small ones behind it, so that it is never starved.
//! Nothing here waits, wakes or knows time.

use std::collections::BTreeMap;

use xdt_proto::{ByteCount, ErrorWord};

/// Most waiters of one budget, so that a flood of asks costs a few MiB at worst and then gets a clear answer. Far above
/// what a healthy instance has: every waiter is a request, and requests are bounded by connections and their streams.
pub const MAX_WAITERS: usize = 65_536;

/// One pool of bytes and the queue before it.
///
/// A waiter is in the queue, then granted, then done: granted bytes count as used from the moment of the grant, and
/// belong to the waiter until it takes them ([`Budget::taken`]) or gives up ([`Budget::cancel`]).
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    /// Bytes of permits and of granted waiters; never above `limit`.
    used: u64,
    /// Bytes asked by those who wait, in the order of asking.
    queue: BTreeMap<WaiterId, u64>,
    /// Bytes of waiters that were granted and have not answered yet.
    granted: BTreeMap<WaiterId, u64>,
    next_waiter: u64,
}

/// One place in the queue. Opaque, never used twice by the same budget; smaller is earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId(u64);

/// The answer to an ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "granted bytes are lost unless they are released, a waiter blocks the queue unless it is cancelled"]
pub enum Asked {
    /// The bytes are the caller's, who must release them.
    Granted,
    /// The caller waits until [`Budget::release`] or [`Budget::cancel`] returns this waiter.
    Waiting(WaiterId),
}

/// Why an ask can neither be granted nor wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// More than the whole budget: waiting would not help.
    #[error("{asked} asked of a budget of {limit}")]
    TooLarge {
        /// Bytes asked.
        asked: ByteCount,
        /// Bytes of the budget.
        limit: ByteCount,
    },
    /// [`MAX_WAITERS`] wait already, those included that were granted and have not answered yet.
    #[error("the queue for memory is full: {waiting} wait")]
    QueueFull {
        /// Waiters now.
        waiting: usize,
    },
}

impl AskError {
    /// The contract's error word (section 3).
    #[must_use]
    pub const fn kind(self) -> ErrorWord {
        match self {
            Self::TooLarge { .. } => ErrorWord::TooLarge,
            Self::QueueFull { .. } => ErrorWord::Busy,
        }
    }

    /// Whether the same ask may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        self.kind().is_retryable()
    }
}

impl Budget {
    /// A budget of `limit` bytes, all of them free.
    #[must_use]
    pub fn new(limit: ByteCount) -> Self {
        Self {
            limit: limit.get(),
            used: 0,
            queue: BTreeMap::new(),
            granted: BTreeMap::new(),
            next_waiter: 0,
        }
    }

    /// Bytes in all.
    #[must_use]
    pub fn limit(&self) -> ByteCount {
        ByteCount::new(self.limit)
    }

    /// Bytes that nobody uses: `limit - used`. Those at the head of the queue have the first right to them.
    #[must_use]
    pub fn free(&self) -> ByteCount {
        ByteCount::new(self.free_bytes())
    }

    /// Bytes of permits and of granted waiters: 0 to `limit`.
    #[must_use]
    pub fn used(&self) -> ByteCount {
        ByteCount::new(self.used)
    }

    /// Waiters in the queue, without those that were granted.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Asks for `bytes`: granted at once if nobody waits and enough is free, else queued behind all others. Zero bytes
    /// are always granted at once.
    ///
    /// # Errors
    /// [`AskError::TooLarge`] above the limit; [`AskError::QueueFull`] if the ask would have to wait and cannot.
    pub fn ask(&mut self, bytes: ByteCount) -> Result<Asked, AskError> {
        let asked = bytes.get();
        if asked > self.limit {
            return Err(AskError::TooLarge {
                asked: bytes,
                limit: self.limit(),
            });
        }
        if asked == 0 || (self.queue.is_empty() && asked <= self.free_bytes()) {
            self.used += asked;
            return Ok(Asked::Granted);
        }
        let waiting = self.queue.len() + self.granted.len();
        if waiting >= MAX_WAITERS {
            return Err(AskError::QueueFull { waiting });
        }
        let waiter = WaiterId(self.next_waiter);
        self.next_waiter += 1;
        self.queue.insert(waiter, asked);
        Ok(Asked::Waiting(waiter))
    }

    /// A waiter gives up (deadline, dropped). If it was granted in the meantime its bytes are free again; one that has
    /// taken its bytes, or is unknown, changes nothing.
    ///
    /// Returns the waiters that are granted by this, in order; see [`Self::release`].
    #[must_use = "the waiters returned were granted and must be told"]
    pub fn cancel(&mut self, waiter: WaiterId) -> Vec<WaiterId> {
        self.queue.remove(&waiter);
        let bytes = self.granted.remove(&waiter).unwrap_or(0);
        self.release(ByteCount::new(bytes))
    }

    /// Bytes of a permit come back, all or a part.
    ///
    /// Returns the waiters that are granted by this, in order. Each must answer with [`Self::taken`] or [`Self::cancel`];
    /// until then its bytes are in use.
    ///
    /// # Panics
    /// In debug builds, if more comes back than is used; otherwise all counts as free then.
    #[must_use = "the waiters returned were granted and must be told"]
    pub fn release(&mut self, bytes: ByteCount) -> Vec<WaiterId> {
        debug_assert!(bytes.get() <= self.used, "{bytes} released of {} used", self.used());
        self.used = self.used.saturating_sub(bytes.get());
        let mut granted = Vec::new();
        while let Some((&waiter, &asked)) = self.queue.first_key_value()
            && asked <= self.free_bytes()
        {
            self.queue.pop_first();
            self.used += asked;
            self.granted.insert(waiter, asked);
            granted.push(waiter);
        }
        granted
    }

    /// A granted waiter takes its bytes, which the caller must release. `None` if it was not granted, or has answered
    /// before.
    pub fn taken(&mut self, waiter: WaiterId) -> Option<ByteCount> {
        self.granted.remove(&waiter).map(ByteCount::new)
    }

    fn free_bytes(&self) -> u64 {
        self.limit - self.used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: u64) -> ByteCount {
        ByteCount::new(bytes)
    }

    /// A budget of 100 bytes, all of them granted.
    fn full() -> Budget {
        let mut budget = Budget::new(bytes(100));
        assert_eq!(budget.ask(bytes(100)), Ok(Asked::Granted));
        budget
    }

    fn wait(budget: &mut Budget, asked: u64) -> WaiterId {
        match budget.ask(bytes(asked)) {
            Ok(Asked::Waiting(waiter)) => waiter,
            other => panic!("{other:?} instead of waiting"),
        }
    }

    #[test]
    fn what_is_free_is_granted_at_once() {
        let mut budget = Budget::new(bytes(100));
        assert_eq!(budget.ask(bytes(60)), Ok(Asked::Granted));
        assert_eq!(
            (budget.used(), budget.free(), budget.limit()),
            (bytes(60), bytes(40), bytes(100))
        );
        assert_eq!(budget.ask(bytes(40)), Ok(Asked::Granted));
        assert_eq!(budget.free(), ByteCount::ZERO);
    }

    #[test]
    fn a_large_ask_at_the_head_holds_back_small_ones() {
        let mut budget = full();
        let (large, small) = (wait(&mut budget, 80), wait(&mut budget, 1));
        assert_eq!(budget.release(bytes(79)), []);
        assert_eq!(budget.waiting(), 2);
        wait(&mut budget, 5);
        assert_eq!(budget.release(bytes(2)), [large, small]);
        assert_eq!((budget.used(), budget.waiting()), (bytes(100), 1));
    }

    #[test]
    fn granted_bytes_are_taken_once() {
        let mut budget = full();
        let waiter = wait(&mut budget, 30);
        assert_eq!(budget.taken(waiter), None, "not granted yet");
        assert_eq!(budget.release(bytes(50)), [waiter]);
        assert_eq!(budget.taken(waiter), Some(bytes(30)));
        assert_eq!(budget.taken(waiter), None);
        assert_eq!(budget.cancel(waiter), []);
        assert_eq!(budget.used(), bytes(80));
    }

    #[test]
    fn a_waiter_that_gives_up_lets_those_behind_it_go() {
        let mut budget = full();
        let (head, second, third) = (wait(&mut budget, 90), wait(&mut budget, 20), wait(&mut budget, 20));
        assert_eq!(budget.release(bytes(40)), []);
        assert_eq!(budget.cancel(head), [second, third]);
        assert_eq!(budget.cancel(head), []);
    }

    #[test]
    fn a_granted_waiter_that_gives_up_returns_its_bytes() {
        let mut budget = full();
        let (first, second) = (wait(&mut budget, 50), wait(&mut budget, 50));
        assert_eq!(budget.release(bytes(50)), [first]);
        assert_eq!(budget.cancel(first), [second]);
        assert_eq!((budget.taken(first), budget.taken(second)), (None, Some(bytes(50))));
    }

    #[test]
    fn zero_bytes_are_granted_even_while_others_wait() {
        let mut budget = full();
        wait(&mut budget, 1);
        assert_eq!(budget.ask(ByteCount::ZERO), Ok(Asked::Granted));
        assert_eq!(Budget::new(ByteCount::ZERO).ask(ByteCount::ZERO), Ok(Asked::Granted));
    }

    #[test]
    fn more_than_the_limit_is_refused_at_once() {
        let refused = Budget::new(bytes(100)).ask(bytes(101));
        let error = AskError::TooLarge {
            asked: bytes(101),
            limit: bytes(100),
        };
        assert_eq!(refused, Err(error));
        assert_eq!((error.kind(), error.is_retryable()), (ErrorWord::TooLarge, false));
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut budget = full();
        let first = wait(&mut budget, 1);
        for _ in 1..MAX_WAITERS {
            wait(&mut budget, 1);
        }
        let error = AskError::QueueFull { waiting: MAX_WAITERS };
        assert_eq!(budget.ask(bytes(1)), Err(error));
        assert_eq!((error.kind(), error.is_retryable()), (ErrorWord::Busy, true));
        assert_eq!(budget.release(bytes(1)), [first]);
        assert_eq!(
            budget.ask(bytes(1)),
            Err(error),
            "a granted waiter keeps its place until it answers"
        );
        assert_eq!(budget.taken(first), Some(bytes(1)));
        wait(&mut budget, 1);
    }

    #[test]
    fn the_largest_budget_does_not_overflow() {
        let mut budget = Budget::new(bytes(u64::MAX));
        assert_eq!(budget.ask(bytes(u64::MAX)), Ok(Asked::Granted));
        let waiter = wait(&mut budget, u64::MAX);
        assert_eq!(budget.release(bytes(u64::MAX)), [waiter]);
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "2 released of 1 used"))]
    fn releasing_too_much_is_a_fault_and_saturates() {
        let mut budget = Budget::new(bytes(100));
        assert_eq!(budget.ask(bytes(1)), Ok(Asked::Granted));
        assert_eq!(budget.release(bytes(2)), []);
        assert_eq!(budget.used(), ByteCount::ZERO);
    }
}
