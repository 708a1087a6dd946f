//! A producer: its table, the pulls that it answers, and its way out.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use xdt_objects::{ClaimError, ClaimId, Table};
use xdt_proto::{ByteCount, ObjectId, Retrievals};

/// Names one pull.
pub(crate) type PullId = u64;

/// What a producer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Data,
    Refused(&'static str),
    Confirmed,
    Aborted,
}

/// One run of one producer.
pub(crate) struct Producer {
    pub(crate) up: bool,
    pub(crate) instance: u64,
    began: Instant,
    table: Table<Arc<()>>,
    /// Claims and bodies of running pulls.
    pulls: HashMap<PullId, (ClaimId, Arc<()>)>,
    confirmed: HashSet<PullId>,
    /// Tickets that were used.
    seen: HashSet<PullId>,
    bodies: HashMap<ObjectId, Weak<()>>,
}

impl Producer {
    pub(crate) fn new(instance: u64) -> Self {
        Self {
            up: true,
            instance,
            began: Instant::now(),
            table: Table::new(),
            pulls: HashMap::new(),
            confirmed: HashSet::new(),
            seen: HashSet::new(),
            bodies: HashMap::new(),
        }
    }

    /// Killed and started again on the same address: it remembers nothing.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.instance + 1);
    }

    fn at(&self, now: u64) -> Instant {
        self.began + Duration::from_millis(now)
    }

    pub(crate) fn put(&mut self, id: ObjectId, retrievals: u16, ttl: Option<u64>, now: u64) {
        let body = Arc::new(());
        self.bodies.insert(id, Arc::downgrade(&body));
        let expires = ttl.map(|ttl| self.at(now + ttl));
        let retrievals = Retrievals::new(retrievals).expect("at least one");
        let held = self.table.hold(id, retrievals, ByteCount::new(1), expires, body);
        held.expect("ids are fresh");
    }

    pub(crate) fn pull(&mut self, pull: PullId, instance: u64, id: ObjectId, now: u64) -> Option<Answer> {
        if !self.seen.insert(pull) {
            return None; // a ticket is accepted once: the connection that brought it again is closed
        }
        if instance != self.instance {
            return Some(Answer::Refused("object-gone"));
        }
        Some(match self.table.claim(id, self.at(now)) {
            Ok(claimed) => {
                self.pulls.insert(pull, (claimed.claim, claimed.body));
                Answer::Data
            }
            Err(ClaimError::Gone) => Answer::Refused("object-gone"),
            Err(ClaimError::Busy { .. }) => Answer::Refused("busy"),
        })
    }

    pub(crate) fn confirm(&mut self, pull: PullId) -> Answer {
        if self.confirmed.contains(&pull) {
            return Answer::Confirmed;
        }
        let Some((claim, body)) = self.pulls.remove(&pull) else {
            return Answer::Aborted;
        };
        assert!(Arc::strong_count(&body) >= 1);
        if self.table.confirm(claim) {
            self.confirmed.insert(pull);
            Answer::Confirmed
        } else {
            Answer::Aborted
        }
    }

    /// The consumer was silent for too long, or its connection broke.
    pub(crate) fn give_up(&mut self, pull: PullId) {
        if let Some((claim, _)) = self.pulls.remove(&pull) {
            self.table.give_back(claim);
        }
    }

    pub(crate) fn expire(&mut self, now: u64) {
        self.table.expire(self.at(now));
    }

    pub(crate) fn delete(&mut self, id: ObjectId, now: u64) -> bool {
        self.table.delete(id, self.at(now))
    }

    /// Retrievals left of an object that nobody may claim any more; `None` while claims are open.
    pub(crate) fn leave(&mut self, id: ObjectId, now: u64, cut: bool) -> Left {
        match self.table.leave(id, self.at(now)) {
            None => Left::Gone,
            Some(leaving) if leaving.claimed == 0 => Left::Free(leaving.left),
            Some(leaving) if cut => {
                assert!(self.table.spill(id));
                Left::Cut(leaving.left)
            }
            Some(_) => Left::Claimed,
        }
    }

    pub(crate) fn spill(&mut self, id: ObjectId) -> bool {
        self.table.spill(id)
    }

    pub(crate) fn ids(&self) -> Vec<ObjectId> {
        let mut ids: Vec<_> = self.table.ids().collect();
        ids.sort_unstable_by_key(|id| *id.as_bytes());
        ids
    }

    /// Claims and confirmations stay within what is allowed, and whoever has a claim has the bytes.
    pub(crate) fn check(&self) {
        for id in self.table.ids() {
            let life = self.table.life(id).expect("listed");
            assert!(life.claimed() + life.confirmed() <= life.allowed().get());
            if life.is_live() || life.claimed() > 0 {
                assert!(self.bodies[&id].strong_count() > 0, "freed under a claim");
            }
        }
    }
}

/// How an object stands that is to leave.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Left {
    Gone,
    Claimed,
    Free(u16),
    Cut(u16),
}
