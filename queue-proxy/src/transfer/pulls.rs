//! Retrievals in progress at the producer, by the name that a pull keeps across its breaks.
//!
//! A pull that goes on over another connection takes its open claim along, so that nobody gets in between and the broken
//! call can no longer confirm; and a confirmation whose acknowledgement was lost is not counted twice. Bounds: one
//! entry for each running pull; [`REMEMBERED`] confirmations, each for [`MEMORY`].

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use xdt_proto::ObjectId;

use super::{Claim, Transfer};

/// Confirmations remembered; the oldest are forgotten first.
const REMEMBERED: usize = 16 * 1024;
/// For how long: a consumer asks again at once, and for `XDT_PULL_TIMEOUT` (30 s) at most.
const MEMORY: Duration = Duration::from_secs(60);

/// A pull's own name, random, and the object it is about.
pub(super) type PullName = ([u8; 16], ObjectId);

/// All named pulls of this producer.
#[derive(Default)]
pub(super) struct Pulls {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<PullName, Open>,
    confirmed: HashSet<PullName>,
    order: VecDeque<(Instant, PullName)>,
    next: u64,
}

struct Open {
    /// Tells the call that has the claim now from those that had it before.
    call: u64,
    claim: Claim,
}

impl State {
    fn close(&mut self, name: &PullName, call: u64) -> Option<Claim> {
        if self.open.get(name)?.call != call {
            return None;
        }
        self.open.remove(name).map(|open| open.claim)
    }

    fn remember(&mut self, name: PullName, now: Instant) {
        while self.order.len() >= REMEMBERED || self.order.front().is_some_and(|(since, _)| now - *since > MEMORY) {
            let Some((_, oldest)) = self.order.pop_front() else {
                break;
            };
            self.confirmed.remove(&oldest);
        }
        if self.confirmed.insert(name) {
            self.order.push_back((now, name));
        }
    }
}

impl Pulls {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the pull of this name has been confirmed already.
    pub(super) fn is_confirmed(&self, name: &PullName) -> bool {
        self.state().confirmed.contains(name)
    }

    fn take_over(&self, name: &PullName) -> Option<u64> {
        let mut state = self.state();
        state.next += 1;
        let call = state.next;
        state.open.get_mut(name).map(|open| {
            open.call = call;
            call
        })
    }

    fn open(&self, name: PullName, claim: Claim) -> u64 {
        let mut state = self.state();
        state.next += 1;
        let call = state.next;
        let before = state.open.insert(name, Open { call, claim });
        drop(state);
        drop(before); // outside the lock: it gives its claim back
        call
    }

    fn close(&self, name: &PullName, call: u64) -> Option<Claim> {
        self.state().close(name, call)
    }

    /// Confirms under the lock, so that whoever asks again finds either an open claim or what became of it.
    fn confirm(&self, name: &PullName, call: u64) -> bool {
        let mut state = self.state();
        let counted = state.close(name, call).is_some_and(Claim::confirm);
        if counted {
            state.remember(*name, Instant::now());
        }
        counted
    }
}

/// What a reading has of its retrieval.
pub(super) enum Hold {
    /// The claim itself.
    Own(Claim),
    /// The claim of a named pull, for as long as no later call takes it over.
    Named(Named),
}

/// The part of one call in a named pull. Dropping it gives the claim back, unless a later call has it.
pub(super) struct Named {
    transfer: Arc<Transfer>,
    name: PullName,
    call: u64,
}

impl Drop for Named {
    fn drop(&mut self) {
        drop(self.transfer.pulls.close(&self.name, self.call));
    }
}

impl Hold {
    /// Keeps `claim` under `name`.
    pub(super) fn named(transfer: &Arc<Transfer>, name: PullName, claim: Claim) -> Self {
        let call = transfer.pulls.open(name, claim);
        Self::of_call(transfer, name, call)
    }

    /// The claim that an earlier call of the pull has left open, if any.
    pub(super) fn taken_over(transfer: &Arc<Transfer>, name: PullName) -> Option<Self> {
        let call = transfer.pulls.take_over(&name)?;
        Some(Self::of_call(transfer, name, call))
    }

    fn of_call(transfer: &Arc<Transfer>, name: PullName, call: u64) -> Self {
        Self::Named(Named {
            transfer: transfer.clone(),
            name,
            call,
        })
    }

    /// The claim, out of the hold; `None` if a later call has it.
    pub(super) fn into_claim(self) -> Option<Claim> {
        match self {
            Self::Own(claim) => Some(claim),
            Self::Named(named) => named.transfer.pulls.close(&named.name, named.call),
        }
    }

    /// Counts the retrieval; `false` if a later call has the claim, or a spilled copy has the retrieval.
    pub(super) fn confirm(self) -> bool {
        match self {
            Self::Own(claim) => claim.confirm(),
            Self::Named(named) => named.transfer.pulls.confirm(&named.name, named.call),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u8) -> PullName {
        ([number; 16], ObjectId::from_bytes([7; 16]))
    }

    #[test]
    fn confirmations_are_forgotten_in_order_when_they_are_old_or_many() {
        let (mut state, now) = (State::default(), Instant::now());
        state.remember(name(1), now);
        state.remember(name(1), now);
        state.remember(name(2), now + MEMORY);
        assert_eq!(state.order.len(), 2);
        state.remember(name(3), now + MEMORY + Duration::from_secs(1));
        assert!(!state.confirmed.contains(&name(1)));
        assert!(state.confirmed.contains(&name(2)) && state.confirmed.contains(&name(3)));
        for number in 0..2 * REMEMBERED as u64 {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            state.remember((id, name(1).1), now + MEMORY);
        }
        assert_eq!((state.confirmed.len(), state.order.len()), (REMEMBERED, REMEMBERED));
    }
}
