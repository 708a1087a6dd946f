//! The naive table: a list of every object that ever was, searched from end to end, and a list of every claim.
//!
//! Bodies are `Arc`s, so their strong counts tell who keeps them: one for the table while the object is live, one for
//! each open claim, none for anybody else.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use proptest::{prelude::*, sample::Index};
use xdt_objects::{ClaimError, ClaimId, DuplicateId, Held, Leaving, State, Table};
use xdt_proto::{ByteCount, ObjectId, Retrievals};

/// What may happen. Few ids, small numbers and short times, so that histories collide.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Hold {
        id: u8,
        retrievals: u16,
        size: u64,
        ttl: Option<u64>,
    },
    Stream {
        id: u8,
        ttl: Option<u64>,
    },
    Filled(u8),
    Abort(u8),
    Claim(u8),
    /// Any claim of the whole history, so most are stale.
    End(Index, End),
    /// The newest claim.
    EndLast(End),
    Leave(u8),
    Stay(u8),
    Spill(u8),
    Delete(u8),
    Expire,
    Wait(u64),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Confirm,
    GiveBack,
    Lose,
}

const IDS: u8 = 4;

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let id = 0..IDS;
    let ttl = || prop::option::of(0..12_u64);
    let end = || prop_oneof![3 => Just(End::Confirm), 2 => Just(End::GiveBack), 1 => Just(End::Lose)];
    prop_oneof![
        4 => (id.clone(), 1..4_u16, 0..100_u64, ttl())
            .prop_map(|(id, retrievals, size, ttl)| Operation::Hold { id, retrievals, size, ttl }),
        3 => (id.clone(), ttl()).prop_map(|(id, ttl)| Operation::Stream { id, ttl }),
        2 => id.clone().prop_map(Operation::Filled),
        1 => id.clone().prop_map(Operation::Abort),
        8 => id.clone().prop_map(Operation::Claim),
        5 => (any::<Index>(), end()).prop_map(|(claim, end)| Operation::End(claim, end)),
        3 => end().prop_map(Operation::EndLast),
        1 => id.clone().prop_map(Operation::Leave),
        1 => id.clone().prop_map(Operation::Stay),
        1 => id.clone().prop_map(Operation::Spill),
        1 => id.prop_map(Operation::Delete),
        1 => Just(Operation::Expire),
        2 => (0..6_u64).prop_map(Operation::Wait),
    ]
}

struct Object {
    id: ObjectId,
    state: State,
    allowed: u16,
    confirmed: u16,
    claimed: u16,
    streamed: bool,
    leaving: bool,
    size: u64,
    expires: Option<Instant>,
    body: Weak<()>,
}

impl Object {
    fn is_live(&self) -> bool {
        self.state == State::Filling || self.state == State::Ready
    }

    fn is_in_table(&self) -> bool {
        self.is_live() || self.claimed > 0
    }

    fn is_gone(&self, now: Instant) -> bool {
        !self.is_live() || self.expires.is_some_and(|at| at <= now)
    }
}

struct Claim {
    id: ClaimId,
    object: usize,
    /// `Some` while the claim is open.
    body: Option<Arc<()>>,
}

/// The real table and the naive one, side by side.
pub(crate) struct World {
    table: Table<Arc<()>>,
    now: Instant,
    objects: Vec<Object>,
    claims: Vec<Claim>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            table: Table::new(),
            now: Instant::now(),
            objects: Vec::new(),
            claims: Vec::new(),
        }
    }

    pub(crate) fn run(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        match operation {
            Operation::Hold {
                id,
                retrievals,
                size,
                ttl,
            } => self.insert(id, Some(retrievals), size, ttl),
            Operation::Stream { id, ttl } => self.insert(id, None, 0, ttl),
            Operation::Filled(id) => {
                let known = self.leave_filling(id, State::Ready);
                prop_assert_eq!(self.table.filled(object_id(id)), known);
                Ok(())
            }
            Operation::Abort(id) => {
                let known = self.leave_filling(id, State::Aborted);
                prop_assert_eq!(self.table.abort(object_id(id)), known);
                Ok(())
            }
            Operation::Claim(id) => self.claim(id),
            Operation::End(claim, end) if !self.claims.is_empty() => self.end(claim.index(self.claims.len()), end),
            Operation::EndLast(end) if !self.claims.is_empty() => self.end(self.claims.len() - 1, end),
            Operation::End(..) | Operation::EndLast(_) => Ok(()),
            Operation::Leave(id) => self.leave(id),
            Operation::Stay(id) => self.stay(id),
            Operation::Spill(id) => self.spill(id),
            Operation::Delete(id) => self.delete(id),
            Operation::Expire => self.expire(),
            Operation::Wait(ticks) => {
                self.now += Duration::from_secs(ticks);
                Ok(())
            }
        }
    }

    fn insert(&mut self, id: u8, put: Option<u16>, size: u64, ttl: Option<u64>) -> Result<(), TestCaseError> {
        let duplicate = self.find(id).is_some();
        let (id, body) = (object_id(id), Arc::new(()));
        let expires = ttl.map(|ticks| self.now + Duration::from_secs(ticks));
        let object = Object {
            id,
            state: if put.is_some() { State::Ready } else { State::Filling },
            allowed: put.unwrap_or(1),
            confirmed: 0,
            claimed: 0,
            streamed: put.is_none(),
            leaving: false,
            size,
            expires,
            body: Arc::downgrade(&body),
        };
        let inserted = match put.and_then(Retrievals::new) {
            Some(retrievals) => self.table.hold(id, retrievals, ByteCount::new(size), expires, body),
            None => self.table.stream(id, expires, body),
        };
        prop_assert_eq!(inserted, if duplicate { Err(DuplicateId) } else { Ok(()) });
        if !duplicate {
            self.objects.push(object);
        }
        Ok(())
    }

    fn leave_filling(&mut self, id: u8, state: State) -> bool {
        let filling = self.find(id).filter(|&at| self.objects[at].state == State::Filling);
        filling.is_some_and(|at| {
            self.objects[at].state = state;
            true
        })
    }

    fn claim(&mut self, id: u8) -> Result<(), TestCaseError> {
        let claimed = self.table.claim(object_id(id), self.now);
        let Some(at) = self.find(id).filter(|&at| !self.objects[at].is_gone(self.now)) else {
            prop_assert_eq!(claimed.map(|_| ()), Err(ClaimError::Gone));
            return Ok(());
        };
        let object = &mut self.objects[at];
        if object.leaving || object.confirmed + object.claimed == object.allowed {
            let busy = ClaimError::Busy {
                claimed: object.claimed,
                allowed: object.allowed,
            };
            prop_assert_eq!(claimed.map(|_| ()), Err(busy));
            return Ok(());
        }
        object.claimed += 1;
        let claimed = claimed.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(
            std::ptr::eq(Arc::as_ptr(&claimed.body), object.body.as_ptr()),
            "the body of another object"
        );
        prop_assert!(
            self.claims.iter().all(|claim| claim.id != claimed.claim),
            "a claim id came twice"
        );
        self.claims.push(Claim {
            id: claimed.claim,
            object: at,
            body: Some(claimed.body),
        });
        Ok(())
    }

    fn end(&mut self, at: usize, end: End) -> Result<(), TestCaseError> {
        let claim = &mut self.claims[at];
        let object = &mut self.objects[claim.object];
        let open = claim.body.is_some();
        let ended = match end {
            End::Confirm => self.table.confirm(claim.id),
            End::GiveBack => self.table.give_back(claim.id),
            End::Lose => self.table.lose(claim.id),
        };
        let uncounted = [State::Aborted, State::Spilled].contains(&object.state);
        let counts = matches!(end, End::Confirm) && !uncounted;
        prop_assert_eq!(ended, open && (counts || !matches!(end, End::Confirm)));
        if !open {
            return Ok(());
        }
        prop_assert!(claim.body.take().is_some_and(|body| Arc::strong_count(&body) >= 1));
        object.claimed -= 1;
        object.confirmed += u16::from(counts);
        if object.is_live() && object.confirmed == object.allowed {
            object.state = State::Spent;
        }
        if object.is_live() && object.streamed && matches!(end, End::Lose) {
            object.state = State::Aborted;
        }
        Ok(())
    }

    fn leave(&mut self, id: u8) -> Result<(), TestCaseError> {
        let held = self.find(id).filter(|&at| {
            let object = &self.objects[at];
            !object.is_gone(self.now) && object.state == State::Ready && !object.streamed
        });
        let known = held.map(|at| {
            let object = &mut self.objects[at];
            object.leaving = true;
            Leaving {
                left: object.allowed - object.confirmed,
                claimed: object.claimed,
            }
        });
        prop_assert_eq!(self.table.leave(object_id(id), self.now), known);
        Ok(())
    }

    fn stay(&mut self, id: u8) -> Result<(), TestCaseError> {
        let held = self.find(id).filter(|&at| self.objects[at].leaving);
        prop_assert_eq!(self.table.stay(object_id(id)), held.is_some());
        if let Some(at) = held {
            self.objects[at].leaving = false;
        }
        Ok(())
    }

    fn spill(&mut self, id: u8) -> Result<(), TestCaseError> {
        let held = self
            .find(id)
            .filter(|&at| self.objects[at].is_live() && self.objects[at].leaving);
        prop_assert_eq!(self.table.spill(object_id(id)), held.is_some());
        if let Some(at) = held {
            self.objects[at].state = State::Spilled;
        }
        Ok(())
    }

    fn delete(&mut self, id: u8) -> Result<(), TestCaseError> {
        let held = self.find(id).filter(|&at| !self.objects[at].is_gone(self.now));
        prop_assert_eq!(self.table.delete(object_id(id), self.now), held.is_some());
        if let Some(at) = held {
            self.objects[at].state = State::Deleted;
        }
        Ok(())
    }

    fn expire(&mut self) -> Result<(), TestCaseError> {
        let due = self
            .objects
            .iter_mut()
            .filter(|object| object.is_live() && object.is_gone(self.now));
        let expired = due.map(|object| object.state = State::Expired).count();
        prop_assert_eq!(self.table.expire(self.now), expired);
        Ok(())
    }

    /// What holds after every step.
    pub(crate) fn check(&self) -> Result<(), TestCaseError> {
        let present: Vec<_> = self.objects.iter().filter(|object| object.is_in_table()).collect();
        let bytes = ByteCount::new(present.iter().map(|object| object.size).sum());
        prop_assert_eq!(
            self.table.held(),
            Held {
                objects: present.len(),
                bytes
            }
        );
        let due = present
            .iter()
            .filter(|object| object.is_live())
            .filter_map(|object| object.expires)
            .min();
        prop_assert_eq!(self.table.next_expiry(), due);
        prop_assert!(self.table.ids().all(|id| present.iter().any(|object| object.id == id)));
        for id in 0..IDS {
            self.check_id(id)?;
        }
        for (at, object) in self.objects.iter().enumerate() {
            prop_assert!(object.confirmed + object.claimed <= object.allowed);
            let open = self
                .claims
                .iter()
                .filter(|claim| claim.object == at && claim.body.is_some())
                .count();
            prop_assert_eq!(open, usize::from(object.claimed));
            // Never freed under a claim, and freed at once when nobody can ask for it any more.
            prop_assert_eq!(object.body.strong_count(), open + usize::from(object.is_live()));
        }
        Ok(())
    }

    fn check_id(&self, id: u8) -> Result<(), TestCaseError> {
        let object = self.find(id).map(|at| &self.objects[at]);
        let body = object
            .filter(|object| !object.is_gone(self.now))
            .map(|object| object.body.as_ptr());
        prop_assert_eq!(
            self.table.peek(object_id(id), self.now).map(|body| Arc::as_ptr(&body)),
            body
        );
        let life = self.table.life(object_id(id));
        prop_assert_eq!(
            life.map(|life| (life.state(), life.allowed().get(), life.confirmed(), life.claimed())),
            object.map(|object| (object.state, object.allowed, object.confirmed, object.claimed))
        );
        Ok(())
    }

    /// Ends every claim and deletes every object: nothing is left, in the table or of any body.
    pub(crate) fn close(&mut self) -> Result<(), TestCaseError> {
        for claim in 0..self.claims.len() {
            self.end(claim, End::GiveBack)?;
        }
        self.expire()?;
        for id in 0..IDS {
            self.delete(id)?;
        }
        self.check()?;
        prop_assert_eq!(self.table.held(), Held::default());
        prop_assert!(self.objects.iter().all(|object| object.body.strong_count() == 0));
        Ok(())
    }

    fn find(&self, id: u8) -> Option<usize> {
        self.objects
            .iter()
            .position(|object| object.id == object_id(id) && object.is_in_table())
    }
}

fn object_id(id: u8) -> ObjectId {
    ObjectId::from_bytes([id; ObjectId::LEN])
}
