//! Memory for payload: byte permits in order under a deadline, and recycled blocks of touched pages.
//!
//! `objects::Budget` decides who may have how much; this file adds waiting, and the blocks themselves. A permit
//! travels with the memory it stands for and returns when that is dropped.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use xdt_objects::{AskError, Asked, Budget, WaiterId};
use xdt_proto::ByteCount;

/// Bytes of a recycled block. Large enough that a 100 MB object is 400 slices, small enough to be touched quickly.
pub const BLOCK: usize = 256 * 1024;
/// How long free blocks stay touched for the next object after the last use of the pool. Granted bytes and free blocks
/// together never exceed the pool's limit.
const IDLE_AFTER: Duration = Duration::from_secs(10);

/// Freed memory up to about twice this stays with the process, with its pages touched: as much as a few pulls have on its
/// way at once.
const KEPT: usize = 4 * 1024 * 1024;

/// Has the allocator keep what transfers free and ask for again at once. As it comes, glibc gives such blocks back to the
/// system, and each next one faults in fresh pages: 6,000 faults and a fifth of the CPU time of a pull of 100 MB.
///
/// Freeing one large block (which is never touched) raises both of glibc's thresholds (mallopt(3), `M_MMAP_THRESHOLD`);
/// other allocators do as they always do. To be called once, at start.
pub fn keep_touched_pages() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(KEPT)));
}

/// Why memory was not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// More than the pool ever has.
    #[error("{asked} bytes are more than the memory bound of {limit} bytes", asked = asked.get(), limit = limit.get())]
    TooLarge {
        /// What was asked for.
        asked: ByteCount,
        /// What there is in all.
        limit: ByteCount,
    },
    /// Nothing came free before the deadline, or too many were waiting already.
    #[error("no buffer of {asked} bytes came free in time", asked = asked.get())]
    Busy {
        /// What was asked for.
        asked: ByteCount,
    },
}

/// A bounded amount of payload memory.
pub struct Pool {
    ledger: Mutex<Ledger>,
    blocks: Mutex<Vec<Vec<u8>>>,
    returned: Notify,
}

struct Ledger {
    budget: Budget,
    wakers: HashMap<WaiterId, oneshot::Sender<()>>,
}

impl Pool {
    /// A pool of `limit` bytes. Nothing is allocated before it is used.
    #[must_use]
    pub fn new(limit: ByteCount) -> Arc<Self> {
        let ledger = Ledger {
            budget: Budget::new(limit),
            wakers: HashMap::new(),
        };
        Arc::new(Self {
            ledger: Mutex::new(ledger),
            blocks: Mutex::default(),
            returned: Notify::new(),
        })
    }

    /// Bytes granted at this moment.
    pub fn used(&self) -> ByteCount {
        self.ledger().budget.used()
    }

    /// Most bytes granted at any moment.
    pub fn limit(&self) -> ByteCount {
        self.ledger().budget.limit()
    }

    /// Waits, in order of asking, for `bytes`.
    ///
    /// # Errors
    /// [`ReserveError`]; nothing is kept then.
    /// # Cancel safety
    /// Dropping the future gives up the place in the queue.
    pub async fn reserve(self: &Arc<Self>, bytes: ByteCount, deadline: Instant) -> Result<Permit, ReserveError> {
        let Some(place) = self.ask(bytes)? else {
            return Ok(Permit {
                pool: self.clone(),
                bytes: bytes.get(),
            });
        };
        place.granted(bytes, deadline).await
    }

    fn ask(self: &Arc<Self>, bytes: ByteCount) -> Result<Option<Place>, ReserveError> {
        let mut ledger = self.ledger();
        match ledger.budget.ask(bytes) {
            Ok(Asked::Granted) => Ok(None),
            Ok(Asked::Waiting(waiter)) => {
                let (wake, woken) = oneshot::channel();
                ledger.wakers.insert(waiter, wake);
                Ok(Some(Place {
                    pool: self.clone(),
                    waiter,
                    woken: Some(woken),
                }))
            }
            Err(AskError::TooLarge { asked, limit }) => Err(ReserveError::TooLarge { asked, limit }),
            Err(AskError::QueueFull { .. }) => Err(ReserveError::Busy { asked: bytes }),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, bytes: u64) {
        let mut ledger = self.ledger();
        let granted = ledger.budget.release(ByteCount::new(bytes));
        ledger.wake(granted);
    }

    /// An empty vector with room for `capacity` bytes; a recycled one where that is a whole block.
    pub(super) fn block(&self, capacity: usize) -> Vec<u8> {
        let spare = self.spare_blocks();
        let mut free = self.free();
        let recycled = if capacity == BLOCK { free.pop() } else { None };
        let keep = free.len().min(spare);
        let surplus = free.split_off(keep);
        drop(free);
        drop(surplus); // given back to the system, outside the lock
        recycled.unwrap_or_else(|| Vec::with_capacity(capacity))
    }

    /// How many free blocks fit beside what is granted.
    fn spare_blocks(&self) -> usize {
        self.ledger().budget.free().as_usize() / BLOCK
    }

    fn recycle(&self, mut block: Vec<u8>) {
        if block.capacity() != BLOCK {
            return;
        }
        // A cleared vector has no bytes to read: its next user sees only what that user wrote.
        block.clear();
        let spare = self.spare_blocks();
        let mut free = self.free();
        if free.len() <= spare {
            free.push(block);
            drop(free);
            self.returned.notify_one();
        }
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives free blocks back to the system once the pool has been idle for a while. Never returns; sleeps without waking
    /// while there is nothing to give back.
    pub(super) async fn trim(&self) {
        loop {
            self.returned.notified().await;
            while tokio::time::timeout(IDLE_AFTER, self.returned.notified()).await.is_ok() {}
            let freed = std::mem::take(&mut *self.free());
            drop(freed);
        }
    }
}

impl Ledger {
    fn wake(&mut self, granted: Vec<WaiterId>) {
        for waiter in granted {
            if let Some(wake) = self.wakers.remove(&waiter) {
                // A receiver that is gone cancels its place in `Drop`, which passes the grant on.
                let _gone = wake.send(());
            }
        }
    }
}

/// A place in the queue; leaving it without a grant lets the next ones move up.
struct Place {
    pool: Arc<Pool>,
    waiter: WaiterId,
    woken: Option<oneshot::Receiver<()>>,
}

impl Place {
    async fn granted(mut self, bytes: ByteCount, deadline: Instant) -> Result<Permit, ReserveError> {
        let busy = ReserveError::Busy { asked: bytes };
        let woken = self.woken.take().ok_or(busy)?;
        // Also after a deadline the grant may just have come: `taken` decides.
        let _woken_or_late = tokio::time::timeout_at(deadline, woken).await;
        let taken = self.pool.ledger().budget.taken(self.waiter);
        match taken {
            Some(bytes) => Ok(Permit {
                pool: self.pool.clone(),
                bytes: bytes.get(),
            }),
            None => Err(busy),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut ledger = self.pool.ledger();
        ledger.wakers.remove(&self.waiter);
        let granted = ledger.budget.cancel(self.waiter);
        ledger.wake(granted);
    }
}

/// Bytes that somebody holds; dropping it gives them back.
pub struct Permit {
    pool: Arc<Pool>,
    bytes: u64,
}

impl Permit {
    /// Takes `bytes` out of this permit into one of its own.
    ///
    /// # Panics
    /// Never: asking for more than there is gives what there is.
    #[must_use]
    pub(super) fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self {
            pool: self.pool.clone(),
            bytes,
        }
    }

    /// Joins another permit of the same pool to this one.
    pub(super) fn absorb(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.pool, &other.pool));
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Bytes held.
    #[must_use]
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.pool.release(self.bytes);
        }
    }
}

/// A filled block with its permit; both return when the last slice is dropped.
struct FilledBlock {
    bytes: Vec<u8>,
    permit: Permit,
}

impl AsRef<[u8]> for FilledBlock {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for FilledBlock {
    fn drop(&mut self) {
        // Before the permit returns, which counts the same bytes as granted.
        self.permit.pool.recycle(std::mem::take(&mut self.bytes));
    }
}

/// Shares `block` as slices that hold `permit` until the last of them is dropped.
pub(super) fn freeze(block: Vec<u8>, permit: Permit) -> Bytes {
    Bytes::from_owner(FilledBlock { bytes: block, permit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_pool_is_busy_after_the_deadline_and_forgets_the_waiter() {
        let pool = Pool::new(ByteCount::kib(1));
        let all = pool.reserve(ByteCount::kib(1), soon()).await.expect("free");
        let late = pool.reserve(ByteCount::new(1), soon()).await.err();
        assert_eq!(
            late,
            Some(ReserveError::Busy {
                asked: ByteCount::new(1)
            })
        );
        drop(all);
        assert_eq!(pool.used(), ByteCount::ZERO);
    }

    #[tokio::test]
    async fn a_waiter_gets_what_another_gives_back() {
        let pool = Pool::new(ByteCount::kib(1));
        let all = pool.reserve(ByteCount::kib(1), soon()).await.expect("free");
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move {
                pool.reserve(ByteCount::new(10), soon())
                    .await
                    .map(|permit| permit.bytes())
            }
        });
        while pool.ledger().budget.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        drop(all);
        assert_eq!(waiting.await.expect("no panic"), Ok(10));
        assert_eq!(pool.used(), ByteCount::ZERO);
    }

    #[tokio::test]
    async fn a_dropped_waiter_lets_the_next_one_through() {
        let pool = Pool::new(ByteCount::new(10));
        let held = pool.reserve(ByteCount::new(5), soon()).await.expect("free");
        let large = Box::pin(pool.reserve(ByteCount::new(10), soon()));
        let mut large = tokio_test_poll(large).await;
        let small = tokio::spawn({
            let pool = pool.clone();
            async move { pool.reserve(ByteCount::new(5), soon()).await.is_ok() }
        });
        while pool.ledger().budget.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        large.take();
        assert!(small.await.expect("no panic"));
        drop(held);
        assert_eq!(pool.used(), ByteCount::ZERO);
    }

    /// Polls a future once, so that it stands in the queue.
    async fn tokio_test_poll<F: Future + Unpin>(mut future: F) -> Option<F> {
        futures_util::future::poll_fn(|cx| {
            assert!(std::pin::Pin::new(&mut future).poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        Some(future)
    }

    #[tokio::test]
    async fn blocks_are_recycled_without_their_bytes() {
        let pool = Pool::new(ByteCount::mib(1));
        let mut permit = pool.reserve(ByteCount::from(BLOCK), soon()).await.expect("free");
        let mut block = pool.block(BLOCK);
        block.resize(BLOCK, 7);
        let pages = block.as_ptr();
        let bytes = freeze(block, permit.split(BLOCK as u64));
        let slice = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(pool.used(), ByteCount::from(BLOCK), "a slice keeps the block");
        drop(slice);
        assert_eq!(pool.used(), ByteCount::ZERO);
        let again = pool.block(BLOCK);
        assert_eq!((again.as_ptr(), again.len()), (pages, 0));
    }
}
