//! All of it together: sidecars, the network between them, the store beside them, and what goes wrong.

use std::collections::{BTreeMap, HashMap, HashSet};

use xdt_objects::Copy;
use xdt_proto::ObjectId;

use super::{
    consumer::{End, Next, Phase, Request},
    network::{Agenda, Random},
    producer::{Answer, Left, Producer, PullId},
};

const PRODUCERS: usize = 6;
const CONSUMERS: u64 = 24;
const OBJECTS: u64 = 8;
const REQUESTS: u64 = 60;
/// Milliseconds.
const SPAN: u64 = 60_000;
const TIMEOUT: u64 = 3_000;
const LEASE: u64 = 9_000;
const GRACE: u64 = 8_000;

/// What may go wrong, in percent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Faults {
    lost: u64,
    doubled: u64,
    crashes: bool,
}

impl Faults {
    pub(crate) const ALL: Self = Self {
        lost: 8,
        doubled: 8,
        crashes: true,
    };
    pub(crate) const NO_CRASHES: Self = Self {
        crashes: false,
        ..Self::ALL
    };
}

/// What happens at one moment.
#[derive(Debug, Clone, Copy)]
enum Event {
    Begin(u64, usize),
    Pull(PullId, u64),
    Confirm(PullId),
    Answer(PullId, Answer),
    /// The consumer's patience is over; whether it could connect at all.
    Timeout(PullId, bool),
    /// The producer's patience is over.
    GiveUp(PullId),
    Read(PullId),
    Write(PullId, usize, u64),
    Crash(usize),
    Vanish(u64),
    Drain(usize),
    Depart(usize, ObjectId, u64),
    Commit(usize, ObjectId, u16, bool),
    Cut(usize, u64),
    Heal(usize, u64),
    Delete(u64),
    Tick,
}

struct Object {
    id: ObjectId,
    producer: usize,
    instance: u64,
    allowed: u16,
    delivered: u16,
    deleted: bool,
    ttl: bool,
}

/// What came of a history.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) delivered: u64,
    pub(crate) from_copies: u64,
    pub(crate) failed: u64,
}

pub(crate) struct Cluster {
    random: Random,
    faults: Faults,
    agenda: Agenda<Event>,
    producers: Vec<Producer>,
    leaving: HashSet<usize>,
    objects: Vec<Object>,
    requests: HashMap<PullId, (Request, u64)>,
    /// States of copies, of which the last counts, as the store has them.
    store: BTreeMap<[u8; 16], Vec<Copy>>,
    /// States that requests have computed and not written yet.
    drafts: HashMap<PullId, (usize, Copy)>,
    /// Links that are cut: producer and consumer.
    cut: HashSet<(usize, u64)>,
    vanished: HashSet<u64>,
    ends: HashMap<PullId, End>,
    next: PullId,
    calm: bool,
}

impl Cluster {
    pub(crate) fn new(seed: u64, faults: Faults) -> Self {
        let mut cluster = Self {
            random: Random::new(seed),
            faults,
            agenda: Agenda::new(),
            producers: (0..PRODUCERS).map(|_| Producer::new(0)).collect(),
            leaving: HashSet::new(),
            objects: Vec::new(),
            requests: HashMap::new(),
            store: BTreeMap::new(),
            drafts: HashMap::new(),
            cut: HashSet::new(),
            vanished: HashSet::new(),
            ends: HashMap::new(),
            next: 0,
            calm: false,
        };
        cluster.plan_history();
        cluster
    }

    fn plan_history(&mut self) {
        for number in 0..OBJECTS {
            let producer = self.pick(PRODUCERS);
            let id = ObjectId::from_bytes(u128::from(number + 1).to_be_bytes());
            let allowed = u16::try_from(1 + self.random.below(4)).expect("small");
            let ttl = self.random.percent(20).then_some(SPAN / 2);
            self.producers[producer].put(id, allowed, ttl, 0);
            self.objects.push(Object {
                id,
                producer,
                instance: 0,
                allowed,
                delivered: 0,
                deleted: false,
                ttl: ttl.is_some(),
            });
        }
        for _ in 0..REQUESTS {
            let (at, consumer, object) = (self.random.below(SPAN), self.random.below(CONSUMERS), self.pick(8));
            self.agenda.plan(at, Event::Begin(consumer, object));
        }
        for producer in 0..PRODUCERS {
            let at = self.random.below(SPAN);
            match self.random.below(4) {
                0 if self.faults.crashes => self.agenda.plan(at, Event::Crash(producer)),
                1 | 2 => self.agenda.plan(at, Event::Drain(producer)),
                _ => {}
            }
            for _ in 0..4 {
                let (at, consumer) = (self.random.below(SPAN), self.random.below(CONSUMERS));
                self.agenda.plan(at, Event::Cut(producer, consumer));
            }
        }
        for _ in 0..2 {
            let at = self.random.below(SPAN);
            if self.faults.crashes {
                let consumer = self.random.below(CONSUMERS);
                self.agenda.plan(at, Event::Vanish(consumer));
            }
        }
        if self.random.percent(30) {
            let (at, object) = (self.random.below(SPAN), self.random.below(OBJECTS));
            self.agenda.plan(at, Event::Delete(object));
        }
        for tick in 1..=SPAN / 500 {
            self.agenda.plan(tick * 500, Event::Tick);
        }
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.random.below(count as u64)).expect("small")
    }

    pub(crate) fn run(&mut self) {
        while let Some(event) = self.agenda.next() {
            self.happen(event);
            for producer in &self.producers {
                producer.check();
            }
            for object in &self.objects {
                let (delivered, allowed) = (object.delivered, object.allowed);
                assert!(delivered <= allowed, "delivered {delivered} times instead of {allowed}");
            }
        }
    }

    /// Nothing goes wrong any more: whoever still can retrieves what is left.
    pub(crate) fn settle(&mut self) -> Sum {
        self.calm = true;
        self.cut.clear();
        for round in 0..5 {
            for object in 0..self.objects.len() {
                let consumer = CONSUMERS + round; // one that nothing has happened to
                self.agenda.plan(LEASE, Event::Begin(consumer, object));
            }
            self.run();
        }
        let over = self.requests.values().all(|(request, _)| request.phase == Phase::Over);
        assert!(over, "a request never ended");
        let mut sum = Sum::default();
        for end in self.ends.values() {
            match end {
                End::Delivered { from_copy } => {
                    sum.delivered += 1;
                    sum.from_copies += u64::from(*from_copy);
                }
                End::Failed(word) => {
                    let known = ["object-gone", "busy", "timeout", "transfer-broken", "abandoned"];
                    assert!(known.contains(word), "{word}");
                    sum.failed += 1;
                }
            }
        }
        sum
    }

    /// Every object that was neither deleted nor due has no retrieval left anywhere.
    pub(crate) fn all_used(&self, seed: u64) {
        for object in self.objects.iter().filter(|object| !object.deleted && !object.ttl) {
            let held = self.producers[object.producer].ids().contains(&object.id);
            let copied = self.store.get(object.id.as_bytes()).and_then(|states| states.last());
            let left = copied.is_some_and(|copy| !copy.is_over());
            assert!(!held && !left, "seed {seed}: a retrieval got stuck");
        }
    }

    /// Sends something over a link: late, perhaps never, perhaps twice. The store is on nobody's link.
    fn send(&mut self, link: Option<(usize, u64)>, event: Event) {
        let is_cut = link.is_some_and(|link| self.cut.contains(&link));
        if is_cut || (!self.calm && self.random.percent(self.faults.lost)) {
            return;
        }
        let slowest = if self.random.percent(5) { 2_000 } else { 50 };
        let delay = 1 + self.random.below(slowest);
        self.agenda.plan(delay, event);
        if !self.calm && self.random.percent(self.faults.doubled) {
            let delay = 1 + self.random.below(2_000);
            self.agenda.plan(delay, event);
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.agenda.now();
        match event {
            Event::Begin(consumer, object) => self.begin(consumer, object),
            Event::Pull(id, instance) => self.pull(id, instance, now),
            Event::Confirm(id) => {
                let Some(producer) = self.producer_of(id) else { return };
                let answer = self.producers[producer].confirm(id);
                self.answer(id, answer);
            }
            Event::Answer(id, answer) => {
                let next = self.with(id, |request| request.answered(answer));
                self.go_on(id, next);
            }
            Event::Timeout(id, connected) => {
                let next = self.with(id, |request| request.timed_out(connected));
                self.go_on(id, next);
            }
            Event::GiveUp(id) => {
                if let Some(producer) = self.producer_of(id) {
                    self.producers[producer].give_up(id);
                }
            }
            Event::Read(id) => self.read(id, now),
            Event::Write(id, index, attempt) => self.write(id, index, attempt),
            Event::Crash(producer) => {
                if !self.leaving.contains(&producer) {
                    self.producers[producer].restart();
                }
            }
            Event::Vanish(consumer) => {
                self.vanished.insert(consumer);
                let own = self
                    .requests
                    .iter()
                    .filter(|(_, (_, of))| *of == consumer)
                    .map(|(id, _)| *id);
                for id in own.collect::<Vec<_>>() {
                    self.with(id, |request| {
                        request.phase = Phase::Over;
                        Next::Wait
                    });
                }
            }
            Event::Drain(producer) => {
                self.leaving.insert(producer);
                for id in self.producers[producer].ids() {
                    let delay = self.random.below(GRACE);
                    self.agenda.plan(delay, Event::Depart(producer, id, now + GRACE));
                }
            }
            Event::Depart(producer, id, cut) => self.depart(producer, id, cut, now),
            Event::Commit(producer, id, left, was_cut) => self.commit(producer, id, left, was_cut),
            Event::Cut(producer, consumer) => {
                self.cut.insert((producer, consumer));
                let heals = self.random.below(10_000);
                self.agenda.plan(heals, Event::Heal(producer, consumer));
            }
            Event::Heal(producer, consumer) => {
                self.cut.remove(&(producer, consumer));
            }
            Event::Delete(object) => self.delete(object, now),
            Event::Tick => self.producers.iter_mut().for_each(|producer| producer.expire(now)),
        }
    }

    fn with(&mut self, id: PullId, act: impl FnOnce(&mut Request) -> Next) -> Next {
        match self.requests.get_mut(&id) {
            Some((request, _)) if request.phase != Phase::Over => act(request),
            _ => Next::Wait,
        }
    }

    fn producer_of(&self, id: PullId) -> Option<usize> {
        let producer = self.requests.get(&id)?.0.producer;
        self.producers[producer].up.then_some(producer)
    }

    fn link(&self, id: PullId) -> (usize, u64) {
        let (request, consumer) = &self.requests[&id];
        (request.producer, *consumer)
    }

    fn begin(&mut self, consumer: u64, object: usize) {
        if self.vanished.contains(&consumer) {
            return;
        }
        self.next += 1;
        let id = self.next;
        let Object {
            id: object,
            producer,
            instance,
            ..
        } = self.objects[object];
        let request = Request {
            id,
            object,
            producer,
            phase: Phase::Pulling,
        };
        self.requests.insert(id, (request, consumer));
        let connected = !self.cut.contains(&(producer, consumer)) && self.producers[producer].up;
        self.send(Some((producer, consumer)), Event::Pull(id, instance));
        self.agenda.plan(TIMEOUT, Event::Timeout(id, connected));
    }

    fn pull(&mut self, id: PullId, instance: u64, now: u64) {
        let Some(producer) = self.producer_of(id) else { return };
        let object = self.requests[&id].0.object;
        if let Some(answer) = self.producers[producer].pull(id, instance, object, now) {
            self.answer(id, answer);
            self.agenda.plan(TIMEOUT * 3, Event::GiveUp(id));
        }
    }

    fn answer(&mut self, id: PullId, answer: Answer) {
        let link = self.link(id);
        self.send(Some(link), Event::Answer(id, answer));
    }

    fn go_on(&mut self, id: PullId, next: Next) {
        match next {
            Next::Wait => {}
            Next::Confirm => {
                let link = self.link(id);
                self.send(Some(link), Event::Confirm(id));
                self.agenda.plan(TIMEOUT, Event::Timeout(id, true));
            }
            Next::ReadCopy => {
                // A user container that takes its time outlasts its own claim now and then.
                let slowest = if self.random.percent(15) { LEASE * 2 } else { 100 };
                let delay = self.random.below(slowest);
                self.agenda.plan(delay, Event::Read(id));
            }
            Next::End(end) => self.end(id, end),
        }
    }

    fn end(&mut self, id: PullId, end: End) {
        let Some((request, _)) = self.requests.get_mut(&id) else {
            return;
        };
        request.phase = Phase::Over;
        let object = request.object;
        assert_eq!(self.ends.insert(id, end), None, "a request ended twice");
        if let End::Delivered { .. } = end {
            let object = self.objects.iter_mut().find(|held| held.id == object).expect("known");
            object.delivered += 1;
        }
    }

    /// Reads the newest state of a copy and plans to write the next one.
    fn read(&mut self, id: PullId, now: u64) {
        let Some((request, _)) = self
            .requests
            .get(&id)
            .filter(|(request, _)| request.phase != Phase::Over)
        else {
            return;
        };
        let Some(states) = self.store.get(request.object.as_bytes()) else {
            return self.end(id, End::Failed("object-gone"));
        };
        let mut copy = states.last().expect("one at least").clone();
        let before = copy.clone();
        match request.change(&mut copy, now, LEASE) {
            Err(end) => self.end(id, end),
            Ok(()) if copy == before => self.written(id),
            Ok(()) => {
                let index = states.len();
                self.drafts.insert(id, (index, copy));
                let delay = self.random.below(100);
                self.agenda.plan(delay, Event::Write(id, index, 0));
            }
        }
    }

    /// Writes the next state, if nobody was faster. The answer may get lost: then it is written again.
    fn write(&mut self, id: PullId, index: usize, attempt: u64) {
        let Some((request, _)) = self.requests.get(&id) else {
            return;
        };
        let Some((_, copy)) = self.drafts.get(&id).filter(|(drafted, _)| *drafted == index).cloned() else {
            return;
        };
        let states = self.store.get_mut(request.object.as_bytes()).expect("it was read");
        let first = states.len() == index;
        if first {
            states.push(copy);
        }
        let unheard = !self.calm && attempt < 3 && self.random.percent(self.faults.lost * 2);
        let delay = 1 + self.random.below(500);
        if unheard {
            self.agenda.plan(delay, Event::Write(id, index, attempt + 1));
        } else {
            self.drafts.remove(&id);
            if first {
                self.written(id);
            } else {
                self.agenda.plan(delay, Event::Read(id));
            }
        }
    }

    fn written(&mut self, id: PullId) {
        let leaves = !self.calm && self.random.percent(10);
        let next = self.with(id, |request| request.changed(leaves));
        self.go_on(id, next);
    }

    fn depart(&mut self, producer: usize, id: ObjectId, cut: u64, now: u64) {
        let (left, was_cut) = match self.producers[producer].leave(id, now, now >= cut) {
            Left::Gone => return,
            Left::Claimed => return self.agenda.plan(200, Event::Depart(producer, id, cut)),
            Left::Free(left) => (left, false),
            Left::Cut(left) => (left, true),
        };
        let delay = 1 + self.random.below(300);
        self.agenda.plan(delay, Event::Commit(producer, id, left, was_cut));
    }

    fn commit(&mut self, producer: usize, id: ObjectId, left: u16, was_cut: bool) {
        self.store.insert(*id.as_bytes(), vec![Copy::new(left)]);
        if !was_cut && !self.producers[producer].spill(id) {
            self.store.remove(id.as_bytes()); // deleted or due meanwhile
        }
    }

    fn delete(&mut self, object: u64, now: u64) {
        let object = &mut self.objects[usize::try_from(object).expect("small")];
        object.deleted = true;
        if !self.producers[object.producer].delete(object.id, now)
            && let Some(states) = self.store.get_mut(object.id.as_bytes())
        {
            let mut copy = states.last().expect("one at least").clone();
            if copy.delete() {
                states.push(copy);
            }
        }
    }
}
