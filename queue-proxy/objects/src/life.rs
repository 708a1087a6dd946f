//! The life of one object: the state it is in, and how its retrievals stand.
//!
//! ```text
//! Filling ──▶ Ready ──▶ Spent | Expired | Deleted | Spilled
//!    │          ╎
//!    ▼          ▼  (a streamed object whose claim was lost)
//!    Aborted ◀╌╌╯
//! ```
//!
//! Expiry, deletion and the last confirmation also end an object that is still Filling. The last five states are final:
//! an ended object takes no new claim, but claims that are open then may still end either way.
//!
//! Moved by [`Table`](crate::Table) only. Bounded by the object's number of retrievals: at every moment
//! `confirmed + claimed <= allowed`. It knows no id, no body and no time.

use xdt_proto::{ErrorWord, Retrievals};

/// Where an object is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The producer is still writing it; it may be claimed meanwhile (cut-through).
    Filling,
    /// Complete.
    Ready,
    /// Ended: all its retrievals are confirmed.
    Spent,
    /// Ended: its time to live is over.
    Expired,
    /// Ended: somebody of the tenant, or its producer, deleted it.
    Deleted,
    /// Ended: a copy in the spill store has taken its place.
    Spilled,
    /// Ended: the producer gave up, or a claim died that had freed chunks already.
    Aborted,
}

/// Why an object cannot be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The object is unknown, or it has ended: spent, expired, deleted or aborted.
    #[error("the object is gone")]
    Gone,
    /// Every retrieval that is not confirmed yet is claimed; a claim that is given back makes room.
    #[error("all retrievals left are claimed: {claimed} claimed now, {allowed} allowed in all")]
    Busy {
        /// Claims open now: 1 to `allowed`.
        claimed: u16,
        /// Retrievals allowed in the object's whole life.
        allowed: u16,
    },
}

impl ClaimError {
    /// The contract's error word (section 3).
    #[must_use]
    pub const fn kind(self) -> ErrorWord {
        match self {
            Self::Gone => ErrorWord::ObjectGone,
            Self::Busy { .. } => ErrorWord::Busy,
        }
    }

    /// Whether the same claim may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        self.kind().is_retryable()
    }
}

/// State and counts of one object. Made and moved by [`Table`](crate::Table), read by everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    state: State,
    allowed: Retrievals,
    confirmed: u16,
    claimed: u16,
    /// Its chunks are freed as they are dispatched, so that a claim that was lost cannot be repeated.
    streamed: bool,
    /// A copy is about to take its place: no new claims meanwhile.
    leaving: bool,
}

impl Life {
    /// A complete object that may be retrieved `allowed` times.
    pub(crate) const fn ready(allowed: Retrievals) -> Self {
        Self {
            state: State::Ready,
            allowed,
            confirmed: 0,
            claimed: 0,
            streamed: false,
            leaving: false,
        }
    }

    /// An object that streams through: being filled, one retrieval.
    pub(crate) const fn filling() -> Self {
        Self {
            state: State::Filling,
            allowed: Retrievals::ONE,
            confirmed: 0,
            claimed: 0,
            streamed: true,
            leaving: false,
        }
    }

    /// The state now.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// How often the object may be retrieved in all.
    #[must_use]
    pub const fn allowed(&self) -> Retrievals {
        self.allowed
    }

    /// Retrievals done: 0 to `allowed`.
    #[must_use]
    pub const fn confirmed(&self) -> u16 {
        self.confirmed
    }

    /// Claims open now: 0 to `allowed - confirmed`.
    #[must_use]
    pub const fn claimed(&self) -> u16 {
        self.claimed
    }

    /// Whether the object is Filling or Ready, that is, has not ended.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.state, State::Filling | State::Ready)
    }

    /// Whether the object has ended and no claim is open: nothing can happen to it any more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        !self.is_live() && self.claimed == 0
    }

    /// Opens a claim.
    ///
    /// # Errors
    /// [`ClaimError::Gone`] after the end; [`ClaimError::Busy`] while all retrievals left are claimed, or the object is
    /// leaving.
    pub(crate) fn claim(&mut self) -> Result<(), ClaimError> {
        if !self.is_live() {
            return Err(ClaimError::Gone);
        }
        let (claimed, allowed) = (self.claimed, self.allowed.get());
        // A live object has confirmed < allowed, so the difference never wraps.
        if self.leaving || claimed >= allowed - self.confirmed {
            return Err(ClaimError::Busy { claimed, allowed });
        }
        self.claimed += 1;
        Ok(())
    }

    /// Ends a claim as a retrieval; the last one ends the object. Returns whether a retrieval was counted: not without an
    /// open claim, not for an aborted object, of which nobody can hold all bytes, and not for a spilled one, whose copy
    /// has the retrieval now; that only ends the claim.
    pub(crate) fn confirm(&mut self) -> bool {
        if !self.give_back() || matches!(self.state, State::Aborted | State::Spilled) {
            return false;
        }
        self.confirmed += 1;
        if self.confirmed == self.allowed.get() {
            self.end(State::Spent);
        }
        true
    }

    /// Ends a claim without a retrieval. False if none was open.
    pub(crate) fn give_back(&mut self) -> bool {
        let open = self.claimed > 0;
        self.claimed = self.claimed.saturating_sub(1);
        open
    }

    /// Ends a claim whose bytes are partly freed: aborts a streamed object, is [`Self::give_back`] for any other.
    pub(crate) fn lose(&mut self) -> bool {
        let open = self.give_back();
        if open && self.streamed {
            self.end(State::Aborted);
        }
        open
    }

    /// Filling → Ready. False in any other state.
    pub(crate) fn fill(&mut self) -> bool {
        let filling = self.state == State::Filling;
        if filling {
            self.state = State::Ready;
        }
        filling
    }

    /// Filling → Aborted. False in any other state.
    pub(crate) fn abort(&mut self) -> bool {
        self.state == State::Filling && self.end(State::Aborted)
    }

    /// No new claims from now on, until [`Self::stay`]. False for an object that cannot be spilled: it has ended, or its
    /// chunks are freed as they leave.
    pub(crate) fn leave(&mut self) -> bool {
        let may = self.state == State::Ready && !self.streamed;
        self.leaving |= may;
        may
    }

    /// It does not leave after all.
    pub(crate) fn stay(&mut self) -> bool {
        std::mem::take(&mut self.leaving)
    }

    /// Leaving → Spilled. False in any other state.
    pub(crate) fn spill(&mut self) -> bool {
        self.leaving && self.end(State::Spilled)
    }

    /// Ends a live object as deleted. False if it has ended already.
    pub(crate) fn delete(&mut self) -> bool {
        self.end(State::Deleted)
    }

    /// Ends a live object as expired. False if it has ended already.
    pub(crate) fn expire(&mut self) -> bool {
        self.end(State::Expired)
    }

    /// The first end counts; later ones change nothing.
    fn end(&mut self, state: State) -> bool {
        let live = self.is_live();
        if live {
            self.state = state;
        }
        live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(allowed: u16) -> Life {
        Life::ready(Retrievals::new(allowed).expect("at least one"))
    }

    #[test]
    fn the_last_confirmation_spends_the_object() {
        let mut life = ready(2);
        for confirmed in 1..=2 {
            assert_eq!(life.claim(), Ok(()));
            assert!(life.confirm());
            assert_eq!(life.confirmed(), confirmed);
        }
        assert_eq!(life.state(), State::Spent);
        assert!(life.is_over());
        assert_eq!(life.claim(), Err(ClaimError::Gone));
    }

    #[test]
    fn no_more_claims_than_retrievals_left() {
        let mut life = ready(3);
        assert_eq!(life.claim(), Ok(()));
        assert!(life.confirm());
        assert_eq!((life.claim(), life.claim()), (Ok(()), Ok(())));
        assert_eq!(life.claim(), Err(ClaimError::Busy { claimed: 2, allowed: 3 }));
        assert!(life.give_back());
        assert_eq!(life.claim(), Ok(()));
    }

    #[test]
    fn the_largest_number_of_retrievals_can_be_claimed_and_confirmed() {
        let mut life = ready(u16::MAX);
        for _ in 0..u16::MAX {
            assert_eq!(life.claim(), Ok(()));
        }
        assert_eq!(
            life.claim(),
            Err(ClaimError::Busy {
                claimed: u16::MAX,
                allowed: u16::MAX
            })
        );
        for _ in 0..u16::MAX {
            assert!(life.confirm());
        }
        assert_eq!((life.state(), life.confirmed()), (State::Spent, u16::MAX));
    }

    #[test]
    fn nothing_ends_without_an_open_claim() {
        let mut life = ready(1);
        assert!(!life.confirm());
        assert!(!life.give_back());
        assert!(!life.lose());
        assert_eq!(life, ready(1));
    }

    #[test]
    fn a_lost_claim_aborts_streamed_objects_only() {
        let mut put = ready(1);
        assert_eq!(put.claim(), Ok(()));
        assert!(put.lose());
        assert_eq!(put, ready(1));

        for filled in [false, true] {
            let mut streamed = Life::filling();
            assert_eq!(streamed.claim(), Ok(()));
            assert_eq!(filled && streamed.fill(), filled);
            assert!(streamed.lose());
            assert_eq!(streamed.state(), State::Aborted);
        }
    }

    #[test]
    fn an_aborted_object_counts_no_retrieval() {
        let mut life = Life::filling();
        assert_eq!(life.claim(), Ok(()));
        assert!(life.abort());
        assert!(!life.is_over(), "a claim is open");
        assert!(!life.confirm());
        assert_eq!((life.confirmed(), life.claimed()), (0, 0));
        assert!(life.is_over());
    }

    #[test]
    fn the_first_end_is_final() {
        let mut life = ready(1);
        assert_eq!(life.claim(), Ok(()));
        assert!(life.delete());
        assert!(!life.expire() && !life.delete() && !life.abort() && !life.fill());
        assert!(life.confirm(), "the pull that was running may complete");
        assert_eq!((life.state(), life.confirmed()), (State::Deleted, 1));
    }

    #[test]
    fn only_a_filling_object_is_filled_or_aborted() {
        let mut life = Life::filling();
        assert!(life.fill());
        assert!(!life.fill() && !life.abort());
        assert_eq!(life.state(), State::Ready);
    }

    #[test]
    fn a_leaving_object_takes_no_claim_and_a_spilled_one_counts_none() {
        let mut life = ready(2);
        assert_eq!(life.claim(), Ok(()));
        assert!(!life.spill(), "not before it leaves");
        assert!(life.leave());
        assert_eq!(life.claim(), Err(ClaimError::Busy { claimed: 1, allowed: 2 }));
        assert!(life.stay() && !life.stay());
        assert_eq!(life.claim(), Ok(()));
        assert!(life.leave() && life.confirm(), "open claims go on");
        assert!(life.spill());
        assert!(!life.confirm(), "the copy has this retrieval now");
        assert_eq!((life.state(), life.confirmed()), (State::Spilled, 1));
        assert!(life.is_over());
        let mut streamed = Life::filling();
        assert!(streamed.fill() && !streamed.leave());
    }

    #[test]
    fn claim_errors_have_the_contract_word() {
        let busy = ClaimError::Busy { claimed: 1, allowed: 1 };
        assert_eq!(
            (ClaimError::Gone.kind(), ClaimError::Gone.is_retryable()),
            (ErrorWord::ObjectGone, false)
        );
        assert_eq!((busy.kind(), busy.is_retryable()), (ErrorWord::Busy, true));
    }
}
