//! Accepts each ticket once, within its minute, in bounded memory.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use super::ticket::{CLOCK_SKEW_SECONDS, Ticket, TicketError, VALID_SECONDS, unix_seconds};

/// Tickets remembered per generation: about 36 MiB at most, and 23,000 pulls a second before the guard says no.
const MAX_TICKETS: usize = 1 << 21;
/// A generation must outlive every ticket that could still be accepted.
const GENERATION_SECONDS: u64 = VALID_SECONDS + CLOCK_SKEW_SECONDS;

/// Remembers tickets in two generations: the older is dropped whole when the newer has served its time.
#[derive(Default)]
pub(super) struct ReplayGuard {
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    began: u64,
    newer: HashSet<u64>,
    older: HashSet<u64>,
}

impl ReplayGuard {
    /// Accepts a ticket that is of this minute and was never seen.
    pub(super) fn admit(&self, ticket: &Ticket) -> Result<(), TicketError> {
        self.admit_at(ticket, unix_seconds())
    }

    fn admit_at(&self, ticket: &Ticket, now: u64) -> Result<(), TicketError> {
        if ticket.issued + VALID_SECONDS < now || ticket.issued > now + CLOCK_SKEW_SECONDS {
            return Err(TicketError::Stale);
        }
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.turn(now);
        // Half of a random 128-bit name: the sealing key authenticates it, so nobody can aim at a collision.
        let [a, b, c, d, e, f, g, h, ..] = ticket.id;
        let name = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        if generations.older.contains(&name) || generations.newer.contains(&name) {
            return Err(TicketError::Replayed);
        }
        if generations.newer.len() >= MAX_TICKETS {
            return Err(TicketError::Flooded);
        }
        generations.newer.insert(name);
        Ok(())
    }
}

impl Generations {
    fn turn(&mut self, now: u64) {
        let age = now.saturating_sub(self.began);
        if age >= GENERATION_SECONDS {
            self.older = std::mem::take(&mut self.newer);
            if age >= 2 * GENERATION_SECONDS {
                self.older = HashSet::new();
            }
            self.began = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use xdt_proto::ObjectId;

    use super::super::{InstanceId, NameTag, ticket::Verb};
    use super::*;

    fn ticket(serial: u8, issued: u64) -> Ticket {
        Ticket {
            id: [serial; 16],
            issued,
            verb: Verb::Pull,
            instance: InstanceId([0; 16]),
            object: ObjectId::from_bytes([0; 16]),
            tenant: NameTag::of("t"),
        }
    }

    #[test]
    fn a_ticket_is_accepted_once_in_its_whole_life() {
        let guard = ReplayGuard::default();
        let now = 1_000_000;
        assert_eq!(guard.admit_at(&ticket(1, now), now), Ok(()));
        for later in 0..=VALID_SECONDS {
            assert_eq!(
                guard.admit_at(&ticket(1, now), now + later),
                Err(TicketError::Replayed),
                "after {later} s"
            );
        }
        assert_eq!(
            guard.admit_at(&ticket(1, now), now + VALID_SECONDS + 1),
            Err(TicketError::Stale)
        );
    }

    #[test]
    fn a_ticket_from_a_fast_clock_is_remembered_as_long_as_it_lives() {
        let guard = ReplayGuard::default();
        let now = 1_000_000;
        let fast = ticket(1, now + CLOCK_SKEW_SECONDS);
        assert_eq!(guard.admit_at(&fast, now), Ok(()));
        for later in 0..=VALID_SECONDS + CLOCK_SKEW_SECONDS {
            assert_eq!(
                guard.admit_at(&fast, now + later),
                Err(TicketError::Replayed),
                "after {later} s"
            );
        }
    }

    #[test]
    fn tickets_outside_their_minute_are_stale() {
        let guard = ReplayGuard::default();
        let now = 1_000_000;
        assert_eq!(
            guard.admit_at(&ticket(1, now - VALID_SECONDS - 1), now),
            Err(TicketError::Stale)
        );
        assert_eq!(
            guard.admit_at(&ticket(2, now + CLOCK_SKEW_SECONDS + 1), now),
            Err(TicketError::Stale)
        );
        assert_eq!(guard.admit_at(&ticket(3, now - VALID_SECONDS), now), Ok(()));
    }

    #[test]
    fn old_tickets_leave_memory() {
        let guard = ReplayGuard::default();
        let now = 1_000_000;
        for serial in 0..100 {
            guard.admit_at(&ticket(serial, now), now).expect("fresh");
        }
        guard.admit_at(&ticket(200, now + 1000), now + 1000).expect("fresh");
        let generations = guard.generations.lock().expect("no panic");
        assert_eq!((generations.newer.len(), generations.older.len()), (1, 0));
    }
}
