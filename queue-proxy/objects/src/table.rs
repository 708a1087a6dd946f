//! The objects of one instance, by id: who is held, until when, and which claims are open.
//!
//! Called under the caller's lock by put, serve and the expiry timer; every call is short (a few look-ups; [`Table::expire`]
//! as many as objects are due). The table is as large as the caller lets it grow: reserve the body's bytes in a
//! [`Budget`](crate::Budget) first, and a minimum for small objects, since an entry itself costs memory too.
//! It reads no clock, frees no page by itself (it drops bodies) and never wakes anybody.
//!
//! An object that has ended (deleted, expired, aborted) loses its body at once; while claims on it are open its entry
//! stays, so that they can end properly, and their clones of the body keep its pages.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Instant,
};

use xdt_proto::{ByteCount, ObjectId, Retrievals};

use crate::life::{ClaimError, Life};

/// Objects by id. `B` is the body: cheap to clone; its pages are freed when the last clone drops.
pub struct Table<B> {
    entries: HashMap<ObjectId, Entry<B>>,
    /// Every live object with a time to live, soonest first.
    expiries: BTreeSet<(Instant, ObjectId)>,
    /// Sum of all entries' sizes; wide enough that no sum of sizes overflows.
    bytes: u128,
    /// Serial number of the next claim. At a billion claims a second it lasts for five centuries.
    next_claim: u64,
}

struct Entry<B> {
    life: Life,
    /// `Some` exactly while the object is live.
    body: Option<B>,
    size: ByteCount,
    /// `None` also once the object has ended.
    expires: Option<Instant>,
    /// Serial numbers of the open claims, as many as `life` counts.
    claims: HashSet<u64>,
}

/// One open claim. Opaque, and valid once: after the claim has ended it acts on nothing, even where the same id is in
/// use again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimId {
    object: ObjectId,
    serial: u64,
}

/// A successful claim. Ends with [`Table::confirm`], [`Table::give_back`] or [`Table::lose`]; one that is never ended
/// blocks a retrieval until the object ends, and the object's entry for good.
#[derive(Debug, Clone)]
pub struct Claimed<B> {
    /// Names the claim when it ends.
    pub claim: ClaimId,
    /// The object's body; keeps its pages whatever happens to the object meanwhile.
    pub body: B,
}

/// What the table holds: all its entries, those included that have ended and wait for open claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// Number of objects.
    pub objects: usize,
    /// Sum of their sizes, saturating; a streamed object counts 0.
    pub bytes: ByteCount,
}

/// How the retrievals of an object stand that is leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaving {
    /// Retrievals that are not confirmed: 1 or more.
    pub left: u16,
    /// Of those, claimed now.
    pub claimed: u16,
}

/// The table has an entry of this id already; it is unchanged. Ids are random, so this is a fault of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an object of this id is held already")]
pub struct DuplicateId;

impl<B> Default for Table<B> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            expiries: BTreeSet::new(),
            bytes: 0,
            next_claim: 0,
        }
    }
}

impl<B: Clone> Table<B> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Holds a complete object (put): Ready at once, for `retrievals` retrievals, until `expires` (`None`: no limit).
    ///
    /// # Errors
    /// [`DuplicateId`]; then `body` is dropped.
    pub fn hold(
        &mut self,
        id: ObjectId,
        retrievals: Retrievals,
        size: ByteCount,
        expires: Option<Instant>,
        body: B,
    ) -> Result<(), DuplicateId> {
        self.insert(id, Life::ready(retrievals), size, expires, body)
    }

    /// Enters an object that is still being filled and may be claimed meanwhile (invoke, cut-through).
    ///
    /// It has one retrieval, counts 0 bytes, and is Filling until [`Self::filled`] or [`Self::abort`]. If it ends before
    /// (retrieved, deleted, expired, lost), both answer false, which tells the producer that nobody needs the rest.
    ///
    /// # Errors
    /// [`DuplicateId`]; then `body` is dropped.
    pub fn stream(&mut self, id: ObjectId, expires: Option<Instant>, body: B) -> Result<(), DuplicateId> {
        self.insert(id, Life::filling(), ByteCount::ZERO, expires, body)
    }

    fn insert(
        &mut self,
        id: ObjectId,
        life: Life,
        size: ByteCount,
        expires: Option<Instant>,
        body: B,
    ) -> Result<(), DuplicateId> {
        if self.entries.contains_key(&id) {
            return Err(DuplicateId);
        }
        self.bytes += u128::from(size.get());
        self.expiries.extend(expires.map(|at| (at, id)));
        self.entries.insert(
            id,
            Entry {
                life,
                body: Some(body),
                size,
                expires,
                claims: HashSet::new(),
            },
        );
        Ok(())
    }

    /// The producer has written all of a streamed object: Filling → Ready. False if the object is not Filling.
    pub fn filled(&mut self, id: ObjectId) -> bool {
        self.change(id, |entry| entry.life.fill())
    }

    /// The producer gave up: Filling → Aborted. False if the object is not Filling.
    ///
    /// The body leaves the table at once, the entry when no claim is open.
    pub fn abort(&mut self, id: ObjectId) -> bool {
        self.change(id, |entry| entry.life.abort())
    }

    /// Opens one retrieval of an object.
    ///
    /// # Errors
    /// [`ClaimError::Gone`] if the object is unknown or has ended, also if it is due at `now` and not yet collected by
    /// [`Self::expire`]; [`ClaimError::Busy`] while claims are open on all retrievals left.
    pub fn claim(&mut self, id: ObjectId, now: Instant) -> Result<Claimed<B>, ClaimError> {
        let entry = self.entries.get_mut(&id).ok_or(ClaimError::Gone)?;
        let body = entry.body_at(now).cloned().ok_or(ClaimError::Gone)?;
        entry.life.claim()?;
        let claim = ClaimId {
            object: id,
            serial: self.next_claim,
        };
        self.next_claim += 1;
        entry.claims.insert(claim.serial);
        Ok(Claimed { claim, body })
    }

    /// The body of an object that is live and not due at `now`, whether complete or still filling; counts no retrieval
    /// (HEAD, range reads).
    #[must_use]
    pub fn peek(&self, id: ObjectId, now: Instant) -> Option<B> {
        self.entries.get(&id)?.body_at(now).cloned()
    }

    /// State and counts of an object that is still in the table.
    #[must_use]
    pub fn life(&self, id: ObjectId) -> Option<&Life> {
        self.entries.get(&id).map(|entry| &entry.life)
    }

    /// Ends a claim: the consumer has received and verified everything. After the last retrieval the object is Spent and
    /// leaves the table.
    ///
    /// Returns whether a retrieval was counted. False for a claim that has ended before, and for one on an aborted object:
    /// that claim has ended then, too.
    pub fn confirm(&mut self, claim: ClaimId) -> bool {
        self.end_claim(claim, Life::confirm)
    }

    /// Ends a claim whose pull died; the retrieval is free again. False if the claim has ended before.
    pub fn give_back(&mut self, claim: ClaimId) -> bool {
        self.end_claim(claim, Life::give_back)
    }

    /// Ends a claim whose pull died after chunks had been dispatched. False if the claim has ended before.
    ///
    /// Those chunks of a streamed object are freed, so nobody can retrieve it again: it is Aborted. An object that was
    /// put has all its chunks still: there this is [`Self::give_back`].
    pub fn lose(&mut self, claim: ClaimId) -> bool {
        self.end_claim(claim, Life::lose)
    }

    /// Lets nobody claim an object any more while a copy is made to take its place; claims that are open go on. Asked
    /// again, it tells how they stand now. `None` if the object is gone, or none that can be spilled.
    pub fn leave(&mut self, id: ObjectId, now: Instant) -> Option<Leaving> {
        let entry = self.entries.get_mut(&id).filter(|entry| !entry.is_due(now))?;
        let life = &mut entry.life;
        life.leave().then(|| Leaving {
            left: life.allowed().get() - life.confirmed(),
            claimed: life.claimed(),
        })
    }

    /// Undoes [`Self::leave`]. False if the object is not leaving.
    pub fn stay(&mut self, id: ObjectId) -> bool {
        self.change(id, |entry| entry.life.stay())
    }

    /// Ends an object whose copy takes its place. Claims that are open will not be counted when they are confirmed. False
    /// if it is not leaving, or gone.
    ///
    /// The body leaves the table at once, the entry when no claim is open.
    pub fn spill(&mut self, id: ObjectId) -> bool {
        self.change(id, |entry| entry.life.spill())
    }

    /// When an object's time to live is over; `None` if it has no limit, or has ended.
    #[must_use]
    pub fn expires(&self, id: ObjectId) -> Option<Instant> {
        self.entries.get(&id)?.expires
    }

    /// Ends an object. False if it is gone already, also if it is only due at `now`.
    ///
    /// The body leaves the table at once, the entry when no claim is open.
    pub fn delete(&mut self, id: ObjectId, now: Instant) -> bool {
        self.change(id, |entry| !entry.is_due(now) && entry.life.delete())
    }

    /// Ends all objects whose time to live is over (`expires <= now`) and returns how many they were.
    ///
    /// The bodies leave the table at once, each entry when no claim on it is open.
    pub fn expire(&mut self, now: Instant) -> usize {
        let mut expired = 0;
        while let Some(&(at, id)) = self.expiries.first()
            && at <= now
        {
            self.expiries.pop_first();
            expired += usize::from(self.change(id, |entry| entry.life.expire()));
        }
        expired
    }

    /// When the next live object is due; call [`Self::expire`] then. `None` if none has a time to live.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|&(at, _)| at)
    }

    /// How many objects and bytes are in the table.
    #[must_use]
    pub fn held(&self) -> Held {
        let bytes = u64::try_from(self.bytes).unwrap_or(u64::MAX);
        Held {
            objects: self.entries.len(),
            bytes: ByteCount::new(bytes),
        }
    }

    /// The ids of all entries that [`Self::held`] counts, in no order.
    pub fn ids(&self) -> impl Iterator<Item = ObjectId> {
        self.entries.keys().copied()
    }

    /// Ends an open claim by `end`; a claim that has ended before changes nothing.
    fn end_claim(&mut self, claim: ClaimId, end: impl FnOnce(&mut Life) -> bool) -> bool {
        self.change(claim.object, |entry| {
            entry.claims.remove(&claim.serial) && end(&mut entry.life)
        })
    }

    /// Applies `change` to an entry and drops what its life then has no use for. False for an unknown id.
    fn change(&mut self, id: ObjectId, change: impl FnOnce(&mut Entry<B>) -> bool) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return false;
        };
        let changed = change(entry);
        if !entry.life.is_live() {
            entry.body = None;
            if let Some(at) = entry.expires.take() {
                self.expiries.remove(&(at, id));
            }
        }
        if entry.life.is_over() {
            self.bytes -= u128::from(entry.size.get());
            self.entries.remove(&id);
        }
        changed
    }
}

impl<B> Entry<B> {
    fn is_due(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// The body, if the object is live and not due.
    fn body_at(&self, now: Instant) -> Option<&B> {
        self.body.as_ref().filter(|_| !self.is_due(now))
    }
}

#[cfg(test)]
mod tests;
