//! The life of a spilled copy: an object that outlived its producer and lies in an object store, where any consumer of
//! the tenant may retrieve it.
//!
//! Nobody owns the store, so the state is a value that consumers replace: each reads the newest one, changes it here, and
//! writes it as the next, which succeeds for one writer only. Whoever comes second reads again. Every change is
//! idempotent, because a writer may not learn that it succeeded.
//!
//! A retrieval is claimed for a time: a consumer that vanished must not block it for good. Until somebody else needs
//! the retrieval, a claim that has run out may still be confirmed.

use crate::life::ClaimError;

/// Names one retrieval: 128 random bits.
pub type LeaseId = [u8; 16];

/// How many confirmed claims are remembered, so that a confirmation can be repeated. A consumer repeats its own at
/// once, so few others come between.
const REMEMBERED: usize = 8;

/// An open claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Whose it is.
    pub id: LeaseId,
    /// Seconds since 1970 after which another consumer may take its place.
    pub until: u64,
}

/// State of one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Retrievals that are not confirmed.
    left: u16,
    deleted: bool,
    leases: Vec<Lease>,
    confirmed: Vec<LeaseId>,
}

impl Copy {
    /// A fresh copy with so many retrievals left.
    #[must_use]
    pub const fn new(left: u16) -> Self {
        Self {
            left,
            deleted: false,
            leases: Vec::new(),
            confirmed: Vec::new(),
        }
    }

    /// As it was written by another. `None` if no history leads there.
    #[must_use]
    pub fn restored(left: u16, deleted: bool, leases: Vec<Lease>, confirmed: Vec<LeaseId>) -> Option<Self> {
        let possible = leases.len() <= usize::from(left) && confirmed.len() <= REMEMBERED;
        possible.then_some(Self {
            left,
            deleted,
            leases,
            confirmed,
        })
    }

    /// Retrievals that are not confirmed.
    #[must_use]
    pub const fn left(&self) -> u16 {
        self.left
    }

    /// Somebody of the tenant deleted it.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Open claims.
    #[must_use]
    pub fn leases(&self) -> &[Lease] {
        &self.leases
    }

    /// The newest confirmed claims, oldest first.
    #[must_use]
    pub fn confirmed(&self) -> &[LeaseId] {
        &self.confirmed
    }

    /// Whether nobody can retrieve it any more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.deleted || self.left == 0
    }

    /// Opens a claim that lasts until `lease.until`. Repeated, it changes nothing.
    ///
    /// # Errors
    /// [`ClaimError::Gone`] after the last retrieval or a deletion; [`ClaimError::Busy`] while all retrievals left are
    /// claimed by others whose time is not over at `now` (seconds since 1970).
    pub fn claim(&mut self, lease: Lease, now: u64) -> Result<(), ClaimError> {
        if self.is_over() {
            return Err(ClaimError::Gone);
        }
        if self.leases.iter().any(|open| open.id == lease.id) {
            return Ok(());
        }
        if self.leases.len() >= usize::from(self.left) {
            let run_out = self.leases.iter().position(|open| open.until <= now);
            let Some(run_out) = run_out else {
                let claimed = self.left;
                return Err(ClaimError::Busy {
                    claimed,
                    allowed: claimed,
                });
            };
            self.leases.remove(run_out);
        }
        self.leases.push(lease);
        Ok(())
    }

    /// Ends a claim as a retrieval. False if the claim is not open: then nothing was counted, unless it was by this very
    /// claim before.
    pub fn confirm(&mut self, id: LeaseId) -> bool {
        if self.confirmed.contains(&id) {
            return true;
        }
        if self.deleted || !self.give_back(id) {
            return false;
        }
        // An open claim means that a retrieval is left.
        self.left = self.left.saturating_sub(1);
        if self.confirmed.len() == REMEMBERED {
            self.confirmed.remove(0);
        }
        self.confirmed.push(id);
        true
    }

    /// Ends a claim without a retrieval. False if it was not open.
    pub fn give_back(&mut self, id: LeaseId) -> bool {
        let open = self.leases.iter().position(|open| open.id == id);
        open.map(|at| self.leases.remove(at)).is_some()
    }

    /// Ends the copy. False if it was over already.
    pub fn delete(&mut self) -> bool {
        let live = !self.is_over();
        self.deleted = true;
        live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: u8, until: u64) -> Lease {
        Lease { id: [id; 16], until }
    }

    #[test]
    fn claims_and_confirmations_never_exceed_what_is_left() {
        let mut copy = Copy::new(2);
        assert_eq!(copy.claim(lease(1, 10), 0), Ok(()));
        assert_eq!(copy.claim(lease(2, 10), 0), Ok(()));
        assert_eq!(
            copy.claim(lease(3, 10), 9),
            Err(ClaimError::Busy { claimed: 2, allowed: 2 })
        );
        assert!(copy.confirm([1; 16]));
        assert!(copy.confirm([1; 16]), "repeated");
        assert_eq!((copy.left(), copy.is_over()), (1, false));
        assert!(copy.confirm([2; 16]));
        assert!(copy.is_over());
        assert_eq!(copy.claim(lease(4, 10), 0), Err(ClaimError::Gone));
    }

    #[test]
    fn a_claim_that_ran_out_makes_way_only_when_somebody_needs_its_place() {
        let mut copy = Copy::new(1);
        assert_eq!(copy.claim(lease(1, 10), 0), Ok(()));
        let mut late = copy.clone();
        assert!(late.confirm([1; 16]), "late, but nobody else came");
        assert_eq!(copy.claim(lease(2, 20), 10), Ok(()));
        assert!(!copy.confirm([1; 16]), "its place was taken");
        assert!(copy.confirm([2; 16]));
    }

    #[test]
    fn what_is_repeated_changes_nothing() {
        let mut copy = Copy::new(3);
        assert_eq!(copy.claim(lease(1, 10), 0), Ok(()));
        let once = copy.clone();
        assert_eq!(copy.claim(lease(1, 10), 0), Ok(()));
        assert_eq!(copy, once);
        assert!(copy.give_back([1; 16]) && !copy.give_back([1; 16]));
        assert!(!copy.confirm([1; 16]));
        assert!(copy.delete() && !copy.delete());
        assert!(copy.is_over() && !copy.confirm([2; 16]));
    }

    #[test]
    fn impossible_states_are_not_restored() {
        assert!(Copy::restored(1, false, vec![lease(1, 0), lease(2, 0)], Vec::new()).is_none());
        assert!(Copy::restored(1, false, Vec::new(), vec![[0; 16]; REMEMBERED + 1]).is_none());
        let copy = Copy::restored(2, false, vec![lease(1, 0)], vec![[7; 16]]).expect("possible");
        assert_eq!((copy.left(), copy.leases().len(), copy.confirmed().len()), (2, 1, 1));
    }
}
