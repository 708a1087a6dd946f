//! The naive budget: a list of everybody who ever asked, in order, and what became of them.

use proptest::{prelude::*, sample::Index};
use xdt_objects::{AskError, Asked, Budget, WaiterId};
use xdt_proto::ByteCount;

/// Small enough that most asks collide.
const LIMIT: u64 = 20;

/// What may happen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Ask(u64),
    /// Any waiter of the whole history: waiting, granted or done.
    Cancel(Index),
    Taken(Index),
    /// The longest-granted waiter takes its bytes, as a healthy caller does.
    TakenFirst,
    /// A permit gives back its bytes, at most this many.
    Release(Index, u64),
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => (0..LIMIT + 3).prop_map(Operation::Ask),
        1 => any::<Index>().prop_map(Operation::Cancel),
        1 => any::<Index>().prop_map(Operation::Taken),
        3 => Just(Operation::TakenFirst),
        5 => (any::<Index>(), 1..=LIMIT).prop_map(|(permit, most)| Operation::Release(permit, most)),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Granted,
    Done,
}

struct Waiter {
    id: WaiterId,
    bytes: u64,
    stage: Stage,
}

/// The real budget and the naive one, side by side.
pub(crate) struct World {
    budget: Budget,
    /// In the order of asking.
    waiters: Vec<Waiter>,
    /// Bytes of each permit, 0 once it is released.
    permits: Vec<u64>,
    /// Everybody granted from the queue so far, in the order of the grants.
    grants: Vec<WaiterId>,
}

impl World {
    pub(crate) fn new() -> Self {
        let budget = Budget::new(ByteCount::new(LIMIT));
        Self {
            budget,
            waiters: Vec::new(),
            permits: Vec::new(),
            grants: Vec::new(),
        }
    }

    pub(crate) fn run(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Ask(bytes) => self.ask(bytes),
            Operation::Cancel(waiter) if !self.waiters.is_empty() => self.cancel(waiter.index(self.waiters.len())),
            Operation::Taken(waiter) if !self.waiters.is_empty() => self.taken(waiter.index(self.waiters.len())),
            Operation::TakenFirst => match self.waiters.iter().position(|waiter| waiter.stage == Stage::Granted) {
                Some(first) => self.taken(first),
                None => Ok(()),
            },
            Operation::Release(permit, most) if !self.permits.is_empty() => {
                self.release(permit.index(self.permits.len()), most)
            }
            Operation::Cancel(_) | Operation::Taken(_) | Operation::Release(..) => Ok(()),
        }
    }

    fn ask(&mut self, bytes: u64) -> Result<(), TestCaseError> {
        let fits = bytes == 0 || (self.waiting() == 0 && self.used() + bytes <= LIMIT);
        match self.budget.ask(ByteCount::new(bytes)) {
            Ok(Asked::Granted) => {
                prop_assert!(fits, "granted out of turn");
                self.permits.push(bytes);
            }
            Ok(Asked::Waiting(id)) => {
                prop_assert!(!fits && bytes <= LIMIT, "waits for nothing");
                prop_assert!(
                    self.waiters.iter().all(|waiter| waiter.id < id),
                    "a waiter id came twice"
                );
                self.waiters.push(Waiter {
                    id,
                    bytes,
                    stage: Stage::Waiting,
                });
            }
            Err(AskError::TooLarge { asked, limit }) => {
                prop_assert_eq!((asked.get(), limit.get()), (bytes, LIMIT));
                prop_assert!(bytes > LIMIT);
            }
            Err(error) => prop_assert!(false, "{error}"),
        }
        Ok(())
    }

    fn cancel(&mut self, at: usize) -> Result<(), TestCaseError> {
        self.waiters[at].stage = Stage::Done;
        let granted = self.budget.cancel(self.waiters[at].id);
        self.grant(&granted)
    }

    fn taken(&mut self, at: usize) -> Result<(), TestCaseError> {
        let waiter = &mut self.waiters[at];
        let due = (waiter.stage == Stage::Granted).then_some(waiter.bytes);
        prop_assert_eq!(self.budget.taken(waiter.id).map(ByteCount::get), due);
        if let Some(bytes) = due {
            waiter.stage = Stage::Done;
            self.permits.push(bytes);
        }
        Ok(())
    }

    fn release(&mut self, at: usize, most: u64) -> Result<(), TestCaseError> {
        let bytes = self.permits[at].min(most);
        self.permits[at] -= bytes;
        let granted = self.budget.release(ByteCount::new(bytes));
        self.grant(&granted)
    }

    /// Grants in the order of asking while the first who waits fits, and compares.
    fn grant(&mut self, granted: &[WaiterId]) -> Result<(), TestCaseError> {
        let mut expected = Vec::new();
        while let Some(head) = self
            .head()
            .filter(|&head| self.used() + self.waiters[head].bytes <= LIMIT)
        {
            self.waiters[head].stage = Stage::Granted;
            expected.push(self.waiters[head].id);
        }
        prop_assert_eq!(granted, expected);
        self.grants.extend(granted);
        Ok(())
    }

    /// What holds after every step.
    pub(crate) fn check(&self) -> Result<(), TestCaseError> {
        let used = self.used();
        prop_assert!(used <= LIMIT);
        let told = (
            self.budget.used().get(),
            self.budget.free().get(),
            self.budget.waiting(),
        );
        prop_assert_eq!(told, (used, LIMIT - used, self.waiting()));
        prop_assert!(
            self.grants.is_sorted_by(|earlier, later| earlier < later),
            "granted out of order"
        );
        let starved = self.head().filter(|&head| self.waiters[head].bytes <= LIMIT - used);
        prop_assert!(starved.is_none(), "the head waits though it fits");
        Ok(())
    }

    /// Everybody who waits gets its turn once the others answer and release; then all bytes are free.
    pub(crate) fn close(&mut self) -> Result<(), TestCaseError> {
        self.take_all()?;
        while let Some(permit) = self.permits.iter().position(|&bytes| bytes > 0) {
            self.release(permit, LIMIT)?;
            self.take_all()?;
        }
        self.check()?;
        prop_assert_eq!((self.budget.used().get(), self.budget.waiting()), (0, 0));
        Ok(())
    }

    fn take_all(&mut self) -> Result<(), TestCaseError> {
        (0..self.waiters.len()).try_for_each(|waiter| self.taken(waiter))
    }

    fn head(&self) -> Option<usize> {
        self.waiters.iter().position(|waiter| waiter.stage == Stage::Waiting)
    }

    fn waiting(&self) -> usize {
        self.waiters
            .iter()
            .filter(|waiter| waiter.stage == Stage::Waiting)
            .count()
    }

    fn used(&self) -> u64 {
        let granted = self.waiters.iter().filter(|waiter| waiter.stage == Stage::Granted);
        self.permits.iter().sum::<u64>() + granted.map(|waiter| waiter.bytes).sum::<u64>()
    }
}
