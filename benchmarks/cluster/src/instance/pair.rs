//! An instance's two processes: started, watched, started again, drained, stopped.
//!
//! Plays the kubelet: a process that ends by itself is started again in place, after a pause that grows to ten seconds;
//! address, port and pod name stay. Every wait is bounded or ends with a process.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout_at};

use super::process::{Launch, Process};
use super::{Phase, Stage};
use crate::address::Home;
use crate::admin::{Admin, AdminError};
use crate::error::{InstanceFault, Role};
use crate::logs;

/// First pause before a process is started again; doubles with each crash.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause. The kubelet goes to five minutes; nobody waits that long at a terminal.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// After so long without a crash the pauses begin anew.
const STABLE: Duration = Duration::from_secs(30);

/// How to start the two.
#[derive(Debug)]
pub(crate) struct Launches {
    pub(crate) user: Launch,
    pub(crate) sidecar: Launch,
}

/// The two, running or being repaired. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Pair {
    pod: String,
    launches: Launches,
    user: Process,
    sidecar: Process,
    step: Step,
    crashes: u32,
    ready_since: Instant,
    /// Last, so that the address is given back after the processes are gone.
    home: Home,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Starting,
    Up,
    Down,
}

impl Pair {
    /// Starts both, as a kubelet does.
    pub(crate) fn spawn(home: Home, pod: String, launches: Launches) -> Result<Self, InstanceFault> {
        let user = spawn(&pod, Role::User, &launches.user)?;
        let sidecar = spawn(&pod, Role::Sidecar, &launches.sidecar)?;
        let (step, ready_since) = (Step::Starting, Instant::now());
        Ok(Self {
            pod,
            launches,
            user,
            sidecar,
            step,
            crashes: 0,
            ready_since,
            home,
        })
    }

    pub(crate) fn pod(&self) -> &str {
        &self.pod
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        self.home.address
    }

    /// Brings the instance up and keeps it up. Ends only with the fault that kept it from becoming ready the first time.
    /// # Cancel safety
    /// Safe: called again, it goes on from where it was.
    pub(crate) async fn live(&mut self, stage: &Stage) -> InstanceFault {
        loop {
            match self.step {
                Step::Starting => {
                    let begun = Instant::now();
                    self.show(stage, Phase::Starting);
                    if let Err(fault) = self.until_ready(stage).await {
                        return fault;
                    }
                    tracing::info!("{} is ready after {:.1?}", self.pod, begun.elapsed());
                    self.up(stage);
                }
                Step::Up => {
                    let (role, status) = self.until_ended().await;
                    self.down(stage, role, status);
                }
                Step::Down => self.revive(stage).await,
            }
        }
    }

    /// Tells the roster the phase and the process ids.
    pub(crate) fn show(&self, stage: &Stage, phase: Phase) {
        stage
            .function
            .show(self.home.number, phase, self.user.id(), self.sidecar.id());
    }

    async fn until_ready(&mut self, stage: &Stage) -> Result<(), InstanceFault> {
        let deadline = Instant::now() + stage.start_timeout;
        let (role, status) = tokio::select! {
            biased;
            status = self.user.ended() => (Role::User, status),
            status = self.sidecar.ended() => (Role::Sidecar, status),
            ready = stage.admin.ready(self.home.address, deadline) => {
                return ready.map_err(|last| self.never_ready(stage.start_timeout, &last));
            }
        };
        let (pod, log) = (self.pod.clone(), logs::tail(&self.launch(role).log));
        Err(InstanceFault::Crashed { pod, role, status, log })
    }

    async fn until_ended(&mut self) -> (Role, ExitStatus) {
        tokio::select! {
            status = self.user.ended() => (Role::User, status),
            status = self.sidecar.ended() => (Role::Sidecar, status),
        }
    }

    fn up(&mut self, stage: &Stage) {
        (self.step, self.ready_since) = (Step::Up, Instant::now());
        self.show(stage, Phase::Ready);
    }

    fn down(&mut self, stage: &Stage, role: Role, status: ExitStatus) {
        self.step = Step::Down;
        self.show(stage, Phase::Restarting);
        stage.run_dir.keep();
        if self.ready_since.elapsed() > STABLE {
            self.crashes = 0;
        }
        let log = self.launch(role).log.display();
        tracing::warn!(
            "{}: the {role} ended ({status}) and is started again in {:?}; see {log}",
            self.pod,
            self.pause()
        );
    }

    fn pause(&self) -> Duration {
        FIRST_PAUSE.saturating_mul(1 << self.crashes.min(16)).min(LONGEST_PAUSE)
    }

    /// One try to bring the instance up again.
    async fn revive(&mut self, stage: &Stage) {
        sleep(self.pause()).await;
        self.crashes = self.crashes.saturating_add(1);
        let outcome = match self.spawn_missing() {
            Ok(()) => {
                self.show(stage, Phase::Restarting);
                self.until_ready(stage).await
            }
            Err(fault) => Err(fault),
        };
        match outcome {
            Ok(()) => {
                tracing::info!("{} is ready again", self.pod);
                self.up(stage);
            }
            Err(fault) => {
                tracing::warn!("{fault}; next try in {:?}", self.pause());
                if matches!(fault, InstanceFault::NeverReady { .. }) {
                    self.user.kill().await;
                }
                self.show(stage, Phase::Restarting);
            }
        }
    }

    fn spawn_missing(&mut self) -> Result<(), InstanceFault> {
        if self.user.id().is_none() {
            self.user = spawn(&self.pod, Role::User, &self.launches.user)?;
        }
        if self.sidecar.id().is_none() {
            self.sidecar = spawn(&self.pod, Role::Sidecar, &self.launches.sidecar)?;
        }
        Ok(())
    }

    /// Ends the sidecar as a crash would.
    pub(crate) async fn kill_sidecar(&mut self, stage: &Stage) {
        self.sidecar.kill().await;
        let phase = if self.step == Step::Starting {
            Phase::Starting
        } else {
            Phase::Restarting
        };
        self.show(stage, phase);
    }

    /// Knative's timeline: SIGTERM to the sidecar; when its drain is over, SIGTERM to the function, which still serves
    /// what is in flight; after `grace` from the beginning SIGKILL. Contract `queue-proxy.md`, section 6.
    pub(crate) async fn drain(&mut self, admin: &Admin, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.sidecar.signal(Signal::TERM);
        if timeout_at(deadline, self.until_drained(admin)).await.is_err() {
            tracing::warn!("{}: the drain was not over within {grace:?}", self.pod);
        }
        self.user.signal(Signal::TERM);
        tokio::join!(self.user.ended_by(deadline), self.sidecar.ended_by(deadline));
    }

    async fn until_drained(&mut self, admin: &Admin) {
        tokio::select! {
            answer = admin.drained(self.home.address) => match answer {
                Ok(()) => return,
                Err(error) => tracing::debug!(%error, "{}: waiting for the sidecar's end instead", self.pod),
            },
            _ = self.sidecar.ended() => return,
        }
        self.sidecar.ended().await;
    }

    /// SIGTERM to both at once, SIGKILL after `grace`.
    pub(crate) async fn stop(&mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.user.signal(Signal::TERM);
        self.sidecar.signal(Signal::TERM);
        tokio::join!(self.user.ended_by(deadline), self.sidecar.ended_by(deadline));
    }

    fn never_ready(&self, after: Duration, last: &AdminError) -> InstanceFault {
        InstanceFault::NeverReady {
            pod: self.pod.clone(),
            after,
            last: last.to_string(),
            user: Box::new(logs::tail(&self.launches.user.log)),
            sidecar: Box::new(logs::tail(&self.launches.sidecar.log)),
        }
    }

    fn launch(&self, role: Role) -> &Launch {
        match role {
            Role::User => &self.launches.user,
            Role::Sidecar => &self.launches.sidecar,
        }
    }
}

fn spawn(pod: &str, role: Role, launch: &Launch) -> Result<Process, InstanceFault> {
    let program: PathBuf = launch.program.clone();
    Process::spawn(launch).map_err(|source| InstanceFault::Spawn {
        pod: pod.to_owned(),
        role,
        program,
        source,
    })
}
