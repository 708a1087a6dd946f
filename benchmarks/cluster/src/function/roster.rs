//! Who is there, who gets the next request, and how many are needed. Pure state: no process, no clock, no waiting.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::ingress::Link;
use crate::instance::{Instance, Order, Phase};
use crate::spec::FunctionSpec;

/// Requests at once in one instance that call for another when the function itself sets no limit: Knative's default
/// target.
const SOFT_LIMIT: usize = 100;

/// The instances of one function.
#[derive(Debug)]
pub(crate) struct Roster {
    members: Vec<Member>,
    min: usize,
    max: usize,
    /// Requests in one instance that call for another.
    limit: usize,
    /// Whether the limit is hard: requests above it wait while the function can grow.
    is_hard: bool,
    picks: u64,
    /// Most requests at once since [`Roster::take_peak`].
    peak: usize,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) number: u32,
    pub(crate) instance: Instance,
    pub(crate) link: Arc<Link>,
    pub(crate) orders: mpsc::Sender<Order>,
    in_flight: usize,
    last_pick: u64,
}

impl Member {
    pub(crate) fn new(number: u32, instance: Instance, orders: mpsc::Sender<Order>) -> Self {
        let link = Arc::new(Link::new(instance.serving()));
        Self {
            number,
            instance,
            link,
            orders,
            in_flight: 0,
            last_pick: 0,
        }
    }
}

impl Roster {
    pub(crate) fn new(spec: &FunctionSpec) -> Self {
        let hard = usize::try_from(spec.container_concurrency)
            .ok()
            .filter(|&limit| limit > 0);
        Self {
            members: Vec::new(),
            min: spec.min_instances,
            max: spec.max_instances,
            limit: hard.unwrap_or(SOFT_LIMIT),
            is_hard: hard.is_some(),
            picks: 0,
            peak: 0,
        }
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(crate) fn add(&mut self, member: Member) {
        self.members.push(member);
    }

    pub(crate) fn remove(&mut self, number: u32) {
        self.members.retain(|member| member.number != number);
    }

    pub(crate) fn member_mut(&mut self, number: u32) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.number == number)
    }

    /// Begins a request at the least loaded ready instance, and among equals at the one that has waited longest.
    ///
    /// None if nobody is ready; also if all are at a hard limit and another instance is or can be on its way. Otherwise a
    /// request above the limit goes to the sidecar's own queue, as in Knative without an activator on the path.
    pub(crate) fn begin(&mut self) -> Option<(u32, Arc<Link>)> {
        let can_grow = self.alive() < self.max || self.alive() > self.ready();
        let best = self
            .members
            .iter_mut()
            .filter(|member| member.instance.phase == Phase::Ready);
        let best = best.min_by_key(|member| (member.in_flight, member.last_pick))?;
        if self.is_hard && best.in_flight >= self.limit && can_grow {
            return None;
        }
        self.picks += 1;
        (best.in_flight, best.last_pick) = (best.in_flight + 1, self.picks);
        Some((best.number, Arc::clone(&best.link)))
    }

    /// Ends a request; the instance may be gone by now.
    pub(crate) fn end(&mut self, number: u32) {
        if let Some(member) = self.member_mut(number) {
            member.in_flight = member.in_flight.saturating_sub(1);
        }
    }

    /// How many instances `waiting` requests and those in flight need, within min and max. Remembers the peak.
    pub(crate) fn needed(&mut self, waiting: usize) -> usize {
        let load = waiting + self.members.iter().map(|member| member.in_flight).sum::<usize>();
        self.peak = self.peak.max(load);
        self.instances_for(load)
    }

    /// How many instances the highest load since the last call needed.
    pub(crate) fn take_peak(&mut self) -> usize {
        let peak = std::mem::take(&mut self.peak);
        self.instances_for(peak)
    }

    fn instances_for(&self, load: usize) -> usize {
        load.div_ceil(self.limit).clamp(self.min, self.max)
    }

    /// Instances that are or will be ready.
    pub(crate) fn alive(&self) -> usize {
        self.members
            .iter()
            .filter(|member| member.instance.phase != Phase::Draining)
            .count()
    }

    /// Instances that get requests.
    pub(crate) fn ready(&self) -> usize {
        self.count(Phase::Ready)
    }

    /// Instances on their way out.
    pub(crate) fn draining(&self) -> usize {
        self.count(Phase::Draining)
    }

    fn count(&self, phase: Phase) -> usize {
        self.members
            .iter()
            .filter(|member| member.instance.phase == phase)
            .count()
    }

    /// Takes the ready instance without requests that was picked longest ago out of routing, and orders its drain.
    pub(crate) fn drain_one(&mut self) -> bool {
        let idle = self
            .members
            .iter_mut()
            .filter(|member| member.instance.phase == Phase::Ready && member.in_flight == 0);
        let Some(member) = idle.min_by_key(|member| member.last_pick) else {
            return false;
        };
        let is_sent = member.orders.try_send(Order::Drain).is_ok();
        if is_sent {
            member.instance.phase = Phase::Draining;
        }
        is_sent
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn roster(min: usize, max: usize, concurrency: u32, ready: u32) -> (Roster, Vec<mpsc::Receiver<Order>>) {
        let spec = FunctionSpec::new("f", ["f"])
            .instances(min, max)
            .container_concurrency(concurrency);
        let mut roster = Roster::new(&spec);
        let receivers = (1..=ready)
            .map(|number| join(&mut roster, number, Phase::Ready))
            .collect();
        (roster, receivers)
    }

    fn join(roster: &mut Roster, number: u32, phase: Phase) -> mpsc::Receiver<Order> {
        let (orders, receiver) = mpsc::channel(1);
        let address = Ipv4Addr::LOCALHOST;
        let instance = Instance {
            pod: format!("f-{number}"),
            phase,
            address,
            user_port: 1,
            user_pid: None,
            sidecar_pid: None,
        };
        roster.add(Member::new(number, instance, orders));
        receiver
    }

    fn begin(roster: &mut Roster) -> Option<u32> {
        roster.begin().map(|(number, _)| number)
    }

    #[test]
    fn the_least_loaded_is_picked_and_equals_take_turns() {
        let (mut roster, _receivers) = roster(3, 3, 0, 3);
        let picked: Vec<_> = (0..6).filter_map(|_| begin(&mut roster)).collect();
        assert_eq!(picked, [1, 2, 3, 1, 2, 3]);
        roster.end(2);
        assert_eq!(begin(&mut roster), Some(2));
    }

    #[test]
    fn only_ready_instances_get_requests() {
        let (mut roster, _receivers) = roster(0, 3, 0, 0);
        let _starting = join(&mut roster, 1, Phase::Starting);
        let _draining = join(&mut roster, 2, Phase::Draining);
        assert_eq!(begin(&mut roster), None);
        assert_eq!((roster.alive(), roster.ready()), (1, 0));
    }

    #[test]
    fn at_a_hard_limit_requests_wait_only_while_the_function_can_grow() {
        let (mut small, _receivers) = roster(1, 2, 1, 1);
        assert_eq!(begin(&mut small), Some(1));
        assert_eq!(begin(&mut small), None, "a second instance could come");
        let _second = join(&mut small, 2, Phase::Ready);
        assert_eq!(begin(&mut small), Some(2));
        assert_eq!(begin(&mut small), Some(1), "now the sidecar's queue takes it");
    }

    #[test]
    fn load_beyond_the_limit_needs_more_instances() {
        let (mut roster, _receivers) = roster(1, 4, 2, 1);
        assert_eq!(roster.needed(0), 1);
        assert_eq!((roster.needed(2), roster.needed(3), roster.needed(100)), (1, 2, 4));
        assert_eq!(roster.take_peak(), 4);
        assert_eq!(roster.take_peak(), 1);
        let (mut soft, _receivers) = self::roster(0, 4, 0, 0);
        assert_eq!(
            (soft.needed(0), soft.needed(1), soft.needed(100), soft.needed(101)),
            (0, 1, 1, 2)
        );
    }

    #[test]
    fn an_instance_with_requests_is_not_drained() {
        let (mut roster, mut receivers) = roster(0, 2, 0, 2);
        assert_eq!(begin(&mut roster), Some(1));
        assert!(roster.drain_one());
        assert_eq!(receivers[1].try_recv(), Ok(Order::Drain));
        assert!(!roster.drain_one());
        roster.end(1);
        assert!(roster.drain_one());
        assert_eq!((roster.ready(), roster.draining()), (0, 2));
    }
}
