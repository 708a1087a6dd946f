//! Keeps as many instances of one function as its load needs. One task per function; it alone starts and stops them.
//!
//! Plays the autoscaler: more at once when requests wait or instances are full, fewer when the surplus has lasted for
//! `scale-down-after`. Bounded by max-instances plus [`MAX_DRAINING`]; a start that fails is tried again after a pause.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::Member;
use crate::address::{AddressBlock, Home};
use crate::error::{InstanceFault, Role};
use crate::instance::{self, Instance, Launch, Launches, ORDERS, Scene, Stage};
use crate::spec::Spec;
use crate::stats::Surplus;
use crate::sync::locked;

/// How often load is looked at for scaling down; the sidecars' stats change as often.
const LOOK: Duration = Duration::from_secs(1);
/// Instances of one function that drain at once: a drain takes 30 s and more, and nothing here may pile up.
const MAX_DRAINING: usize = 10;
/// First and longest pause after a start that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What a scaler needs to know to start an instance.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) spec: Arc<Spec>,
    pub(crate) block: Arc<AddressBlock>,
    pub(crate) program: PathBuf,
    pub(crate) sidecar: PathBuf,
    pub(crate) ingress: std::net::SocketAddr,
    /// Sets this cluster's pods apart from those of others on the machine.
    pub(crate) tag: String,
}

/// The task's state.
#[derive(Debug)]
pub(crate) struct Scaler {
    stage: Arc<Stage>,
    plan: Plan,
    instances: JoinSet<Result<(), InstanceFault>>,
    surplus: Surplus,
    failures: u32,
    not_before: Instant,
    /// Taken while the cluster starts: there a fault ends the start.
    faults: mpsc::Sender<InstanceFault>,
}

impl Scaler {
    pub(crate) fn new(stage: Stage, plan: Plan, faults: mpsc::Sender<InstanceFault>) -> Self {
        let now = Instant::now();
        let surplus = Surplus::new(stage.function.spec.scale_down_after, now);
        let instances = JoinSet::new();
        Self {
            stage: Arc::new(stage),
            plan,
            instances,
            surplus,
            failures: 0,
            not_before: now,
            faults,
        }
    }

    /// Runs until shutdown; all instances are gone when it returns, and killed when it is dropped.
    pub(crate) async fn run(mut self) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stage = Arc::clone(&self.stage);
        loop {
            let is_short = self.start_missing();
            tokio::select! {
                () = stage.shutdown.cancelled() => break,
                () = stage.function.wake.notified() => {}
                Some(end) = self.instances.join_next() => self.ended(end),
                _ = looks.tick() => self.stop_surplus(),
                () = sleep_until(self.not_before), if is_short => {}
            }
        }
        while let Some(end) = self.instances.join_next().await {
            self.ended(end);
        }
    }

    /// Starts what is missing; true if it must be tried again later.
    fn start_missing(&mut self) -> bool {
        let function = &self.stage.function;
        let missing = {
            let mut board = locked(&function.board);
            let waiting = board.waiting.len();
            board.roster.needed(waiting).saturating_sub(board.roster.alive())
        };
        if missing > 0 && Instant::now() < self.not_before {
            return true;
        }
        for _ in 0..missing {
            if let Err(fault) = self.start_one() {
                self.failed(fault);
                return true;
            }
        }
        false
    }

    fn start_one(&mut self) -> Result<(), InstanceFault> {
        let (name, tag) = (&self.stage.function.spec.name, &self.plan.tag);
        let pod_name = |number| format!("{name}-00001-{tag}-{number}");
        let home = self.plan.block.next_home(pod_name)?;
        let pod = pod_name(home.number);
        let launches = self.launches(&pod, &home);
        let (orders, receiver) = mpsc::channel(ORDERS);
        self.stage
            .function
            .add(Member::new(home.number, Instance::new(pod.clone(), &home), orders));
        let stage = Arc::clone(&self.stage);
        self.instances
            .spawn(async move { instance::run(&stage, home, pod, launches, receiver).await });
        Ok(())
    }

    fn launches(&self, pod: &str, home: &Home) -> Launches {
        let (spec, function) = (&self.plan.spec, &self.stage.function.spec);
        let keyring = self.stage.run_dir.keyring();
        let node = spec.same_node.then(|| self.stage.run_dir.node());
        let scene = Scene {
            spec,
            function,
            pod,
            home,
            ingress: self.plan.ingress,
            keyring: &keyring,
            node: node.as_deref(),
        };
        let user = Launch {
            program: self.plan.program.clone(),
            arguments: function.command.iter().skip(1).cloned().collect(),
            variables: scene.of_function(),
            folder: spec.folder.clone(),
            log: self.stage.run_dir.log(pod, Role::User),
        };
        let sidecar = Launch {
            program: self.plan.sidecar.clone(),
            arguments: Vec::new(),
            variables: scene.of_sidecar(),
            folder: spec.folder.clone(),
            log: self.stage.run_dir.log(pod, Role::Sidecar),
        };
        Launches { user, sidecar }
    }

    fn ended(&mut self, end: Result<Result<(), InstanceFault>, JoinError>) {
        match end {
            Ok(Ok(())) => {}
            Ok(Err(fault)) => self.failed(fault),
            Err(error) => tracing::error!(%error, "an instance's task died"),
        }
    }

    fn failed(&mut self, fault: InstanceFault) {
        let text = fault.to_string().lines().next().unwrap_or_default().to_owned();
        let last = locked(&self.stage.function.board).last_fault.replace(text);
        // An instance that became ready has cleared the last fault.
        self.failures = if last.is_none() {
            0
        } else {
            self.failures.saturating_add(1)
        };
        let pause = PAUSES.0.saturating_mul(1 << self.failures.min(16)).min(PAUSES.1);
        self.not_before = Instant::now() + pause;
        self.stage.run_dir.keep();
        // Nobody listens once the cluster runs; then the log is the place to tell.
        if let Err(unheard) = self.faults.try_send(fault) {
            let fault = match unheard {
                mpsc::error::TrySendError::Full(fault) | mpsc::error::TrySendError::Closed(fault) => fault,
            };
            tracing::warn!("{fault}; next try in {pause:?}");
        }
    }

    fn stop_surplus(&mut self) {
        let mut board = locked(&self.stage.function.board);
        let (needed, ready) = (board.roster.take_peak(), board.roster.ready());
        let surplus = self.surplus.look(needed, ready, Instant::now());
        for _ in 0..surplus {
            if board.roster.draining() >= MAX_DRAINING || !board.roster.drain_one() {
                break;
            }
        }
        drop(board);
        if surplus > 0 {
            self.stage.function.changed();
        }
    }
}
