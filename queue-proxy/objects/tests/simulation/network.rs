//! What lies between sidecars: messages that take a random time, get lost and come twice; links that are cut for a while.

use std::{cmp::Reverse, collections::BinaryHeap};

/// A small generator (SplitMix64): the same seed gives the same history on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// True so often in a hundred.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// Events in the order of their time; those of the same time in the order in which they were planned.
pub(crate) struct Agenda<E> {
    now: u64,
    planned: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: std::collections::HashMap<u64, E>,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            planned: 0,
            queue: BinaryHeap::new(),
            events: std::collections::HashMap::new(),
        }
    }

    /// Milliseconds since the beginning.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    pub(crate) fn plan(&mut self, after: u64, event: E) {
        self.planned += 1;
        self.queue.push(Reverse((self.now + after, self.planned)));
        self.events.insert(self.planned, event);
    }

    pub(crate) fn next(&mut self) -> Option<E> {
        let Reverse((at, number)) = self.queue.pop()?;
        self.now = at;
        self.events.remove(&number)
    }
}
