//! One rule of the table per test; whole histories run in `tests/model.rs`.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::life::State;

const A: ObjectId = ObjectId::from_bytes([1; 16]);
const B: ObjectId = ObjectId::from_bytes([2; 16]);
const TTL: Duration = Duration::from_secs(30);

/// A table that holds `A` with ten bytes for `retrievals` retrievals, its body, and the moment it began.
fn table_of_one(retrievals: u16, ttl: Option<Duration>) -> (Table<Arc<str>>, Arc<str>, Instant) {
    let (mut table, body, start) = (Table::new(), Arc::from("ten bytes!"), Instant::now());
    let retrievals = Retrievals::new(retrievals).expect("at least one");
    let held = table.hold(
        A,
        retrievals,
        ByteCount::new(10),
        ttl.map(|ttl| start + ttl),
        Arc::clone(&body),
    );
    assert_eq!(held, Ok(()));
    (table, body, start)
}

fn claim(table: &mut Table<Arc<str>>, now: Instant) -> ClaimId {
    table.claim(A, now).expect("a retrieval is left").claim
}

#[test]
fn get_after_last_retrieval_is_gone() {
    let (mut table, body, now) = table_of_one(1, None);
    let claimed = table.claim(A, now).expect("held");
    assert!(Arc::ptr_eq(&claimed.body, &body));
    assert!(table.confirm(claimed.claim));
    assert_eq!(table.claim(A, now).map(|_| ()), Err(ClaimError::Gone));
    assert_eq!(table.held(), Held::default());
    drop(claimed.body);
    assert_eq!(Arc::strong_count(&body), 1, "the table keeps nothing");
}

#[test]
fn a_second_claim_on_the_last_retrieval_is_busy_until_it_is_given_back() {
    let (mut table, _, now) = table_of_one(1, None);
    let first = claim(&mut table, now);
    assert_eq!(
        table.claim(A, now).map(|_| ()),
        Err(ClaimError::Busy { claimed: 1, allowed: 1 })
    );
    assert!(table.give_back(first));
    claim(&mut table, now);
}

#[test]
fn a_claim_ends_once() {
    let (mut table, _, now) = table_of_one(3, None);
    let first = claim(&mut table, now);
    assert!(table.confirm(first));
    claim(&mut table, now);
    assert!(!table.confirm(first) && !table.give_back(first) && !table.lose(first));
    let life = table.life(A).expect("retrievals are left");
    assert_eq!((life.confirmed(), life.claimed()), (1, 1));
}

#[test]
fn a_stale_claim_does_not_act_on_a_later_object_of_the_same_id() {
    let (mut table, body, now) = table_of_one(1, None);
    let stale = claim(&mut table, now);
    assert!(table.confirm(stale));
    assert_eq!(table.hold(A, Retrievals::ONE, ByteCount::ZERO, None, body), Ok(()));
    claim(&mut table, now);
    assert!(!table.confirm(stale) && !table.give_back(stale));
}

#[test]
fn an_id_is_held_once() {
    let (mut table, body, now) = table_of_one(1, None);
    assert_eq!(table.stream(A, None, Arc::from("other")), Err(DuplicateId));
    assert!(table.peek(A, now).is_some_and(|peeked| Arc::ptr_eq(&peeked, &body)));
    assert_eq!(
        table.held(),
        Held {
            objects: 1,
            bytes: ByteCount::new(10)
        }
    );
}

#[test]
fn an_object_is_gone_at_its_expiry_before_it_is_collected() {
    let (mut table, body, start) = table_of_one(1, Some(TTL));
    let (before, due) = (start + TTL - Duration::from_nanos(1), start + TTL);
    assert!(table.peek(A, before).is_some());
    assert_eq!(table.expire(before), 0);
    assert!(table.peek(A, due).is_none());
    assert_eq!(table.claim(A, due).map(|_| ()), Err(ClaimError::Gone));
    assert!(!table.delete(A, due));
    assert_eq!(table.next_expiry(), Some(due));
    assert_eq!((table.expire(due), table.next_expiry()), (1, None));
    assert_eq!((table.held(), Arc::strong_count(&body)), (Held::default(), 1));
}

#[test]
fn an_object_that_ends_under_a_claim_stays_until_the_claim_ends() {
    for by_expiry in [false, true] {
        let (mut table, body, start) = table_of_one(2, Some(TTL));
        let claimed = table.claim(A, start).expect("held");
        let ended = if by_expiry {
            table.expire(start + TTL) == 1
        } else {
            table.delete(A, start)
        };
        assert!(ended);
        assert_eq!(Arc::strong_count(&body), 2, "ours and the claim's, not the table's");
        assert_eq!(table.claim(A, start).map(|_| ()), Err(ClaimError::Gone));
        assert!(!table.delete(A, start));
        assert_eq!((table.held().objects, table.next_expiry()), (1, None));
        assert!(table.confirm(claimed.claim));
        assert_eq!(table.held(), Held::default());
    }
}

#[test]
fn a_streamed_object_can_be_claimed_before_it_is_filled() {
    let (mut table, now) = (Table::<Arc<str>>::new(), Instant::now());
    assert_eq!(table.stream(A, None, Arc::from("ring")), Ok(()));
    assert_eq!(
        table.held(),
        Held {
            objects: 1,
            bytes: ByteCount::ZERO
        }
    );
    let first = claim(&mut table, now);
    assert!(table.filled(A));
    assert_eq!(table.life(A).map(Life::state), Some(State::Ready));
    assert!(table.confirm(first));
    assert!(!table.filled(A) && !table.filled(B));
}

#[test]
fn a_lost_claim_ends_a_streamed_object_and_returns_one_on_a_put_object() {
    let (mut put, _, now) = table_of_one(1, None);
    let lost = claim(&mut put, now);
    assert!(put.lose(lost));
    claim(&mut put, now);

    let mut streamed = Table::<Arc<str>>::new();
    assert_eq!(streamed.stream(A, None, Arc::from("ring")), Ok(()));
    let lost = claim(&mut streamed, now);
    assert!(streamed.lose(lost));
    assert_eq!(streamed.claim(A, now).map(|_| ()), Err(ClaimError::Gone));
    assert!(!streamed.filled(A) && !streamed.abort(A));
}

#[test]
fn an_aborted_object_is_dropped_once_no_claim_is_open() {
    let (mut table, now) = (Table::<Arc<str>>::new(), Instant::now());
    assert_eq!(table.stream(A, Some(now + TTL), Arc::from("ring")), Ok(()));
    let first = claim(&mut table, now);
    assert!(table.abort(A));
    assert_eq!((table.held().objects, table.next_expiry()), (1, None));
    assert!(table.peek(A, now).is_none());
    assert!(!table.confirm(first), "nobody has all bytes of it");
    assert_eq!(table.held(), Held::default());
}

#[test]
fn sizes_saturate_when_told_and_not_when_counted() {
    let (mut table, body, now) = table_of_one(1, None);
    assert_eq!(
        table.hold(B, Retrievals::ONE, ByteCount::new(u64::MAX), None, body),
        Ok(())
    );
    assert_eq!(table.held().bytes, ByteCount::new(u64::MAX));
    assert!(table.delete(B, now));
    assert_eq!(table.held().bytes, ByteCount::new(10));
    assert!(table.ids().eq([A]));
}
