//! One function: its instances, and the requests that wait for one.
//!
//! The ingress calls [`Function::lease`]; each lease is one request at one instance until it is dropped. The scaler
//! (`function/scaler.rs`) starts and stops instances. One lock guards both lists; nothing is awaited under it.

mod roster;
mod scaler;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::ingress::Link;
use crate::instance::{Instance, Order, Phase};
use crate::spec::FunctionSpec;
use crate::sync::locked;
pub(crate) use roster::Member;
use roster::Roster;
pub(crate) use scaler::{Plan, Scaler};

/// Requests that wait for an instance of one function; more are refused. A tenth of the activator's 10,000: each holds a
/// connection of ours, and a terminal's usual limit is 1,024 descriptors.
pub(crate) const MAX_WAITING: usize = 1_000;

/// One function of a running cluster.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) spec: FunctionSpec,
    board: Mutex<Board>,
    /// Rings when more instances may be needed.
    wake: Notify,
    /// Counts changes of the instances of all functions.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Board {
    roster: Roster,
    /// In order of arrival; at most [`MAX_WAITING`].
    waiting: VecDeque<oneshot::Sender<Lease>>,
    last_fault: Option<String>,
}

/// Why a request got no instance.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoInstance {
    /// Too many wait already.
    Full,
    /// The function's timeout passed; the last reason why no instance started, if one did not.
    Late { fault: Option<String> },
}

impl Function {
    pub(crate) fn new(spec: FunctionSpec, changed: watch::Sender<u64>) -> Arc<Self> {
        let board = Board {
            roster: Roster::new(&spec),
            waiting: VecDeque::new(),
            last_fault: None,
        };
        Arc::new(Self {
            spec,
            board: Mutex::new(board),
            wake: Notify::new(),
            changed,
        })
    }

    /// A place for one request at the best instance; waits in order of arrival while there is none.
    /// # Cancel safety
    /// Safe: a place that nobody takes is given back.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, NoInstance> {
        let granted = {
            let mut board = locked(&self.board);
            if let Some(lease) = self.begin(&mut board) {
                return Ok(lease);
            }
            board.drop_gone();
            if board.waiting.len() >= MAX_WAITING {
                return Err(NoInstance::Full);
            }
            let (grant, granted) = oneshot::channel();
            board.waiting.push_back(grant);
            self.ask_for_more(&mut board);
            granted
        };
        match timeout_at(Instant::now() + self.spec.timeout, granted).await {
            Ok(Ok(lease)) => Ok(lease),
            _ => Err(NoInstance::Late {
                fault: locked(&self.board).last_fault.clone(),
            }),
        }
    }

    /// Begins a request at once, unless others wait already or nobody can take it.
    fn begin(self: &Arc<Self>, board: &mut Board) -> Option<Lease> {
        let is_first = board.waiting.is_empty();
        let (number, link) = is_first.then(|| board.roster.begin()).flatten()?;
        self.ask_for_more(board);
        Some(Lease {
            function: Arc::clone(self),
            number,
            link,
        })
    }

    fn ask_for_more(&self, board: &mut Board) {
        if board.roster.needed(board.waiting.len()) > board.roster.alive() {
            self.wake.notify_one();
        }
    }

    /// Changes the board, then gives free places to those who wait.
    fn update<T>(self: &Arc<Self>, change: impl FnOnce(&mut Board) -> T) -> T {
        let mut grants = Vec::new();
        let result = {
            let mut board = locked(&self.board);
            let result = change(&mut board);
            board.drop_gone();
            while !board.waiting.is_empty() {
                let Some((number, link)) = board.roster.begin() else {
                    break;
                };
                let lease = Lease {
                    function: Arc::clone(self),
                    number,
                    link,
                };
                grants.extend(board.waiting.pop_front().map(|grant| (grant, lease)));
            }
            result
        };
        for (grant, lease) in grants {
            // Whoever gave up in this very moment does not take it; then the lease is dropped and goes to the next.
            drop(grant.send(lease));
        }
        result
    }

    fn changed(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// Puts a new instance on the roster.
    pub(crate) fn add(self: &Arc<Self>, member: Member) {
        self.update(|board| board.roster.add(member));
        self.changed();
    }

    /// Takes an instance off the roster.
    pub(crate) fn remove(self: &Arc<Self>, number: u32) {
        self.update(|board| board.roster.remove(number));
        self.wake.notify_one();
        self.changed();
    }

    /// Sets what an instance is doing, and its process ids.
    pub(crate) fn show(self: &Arc<Self>, number: u32, phase: Phase, user: Option<u32>, sidecar: Option<u32>) {
        self.update(|board| {
            if phase == Phase::Ready {
                board.last_fault = None;
            }
            if let Some(member) = board.roster.member_mut(number) {
                let instance = &mut member.instance;
                (instance.phase, instance.user_pid, instance.sidecar_pid) = (phase, user, sidecar);
            }
        });
        self.changed();
    }

    /// All instances as they are now, oldest first.
    pub(crate) fn instances(&self) -> Vec<Instance> {
        locked(&self.board)
            .roster
            .members()
            .iter()
            .map(|member| member.instance.clone())
            .collect()
    }

    /// Sends an order to the instance called `pod`; false if it is not here or does not listen.
    pub(crate) fn order(&self, pod: &str, order: Order) -> bool {
        let board = locked(&self.board);
        let mut members = board.roster.members().iter();
        members
            .find(|member| member.instance.pod == pod)
            .is_some_and(|member| member.orders.try_send(order).is_ok())
    }
}

impl Board {
    /// Forgets requests whose client is gone.
    fn drop_gone(&mut self) {
        self.waiting.retain(|grant| !grant.is_closed());
    }
}

/// One request at one instance; ends when dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    function: Arc<Function>,
    number: u32,
    link: Arc<Link>,
}

impl Lease {
    /// The way to the instance's sidecar.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.function.update(|board| board.roster.end(self.number));
    }
}

#[cfg(test)]
mod tests;
