//! One instance, a pod's stand-in: the function's process and its sidecar, from start to end.
//!
//! A task per instance owns both processes ([`run`]); the function's scaler starts it and sends it orders. What can be
//! seen from outside is an [`Instance`].

mod environment;
mod pair;
mod process;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::address::{EGRESS_PORT, Home, LOCAL_PORT, SERVING_PORT};
use crate::admin::Admin;
use crate::error::InstanceFault;
use crate::function::Function;
use crate::run_dir::RunDir;
pub(crate) use environment::Scene;
pub(crate) use pair::{Launches, Pair};
pub(crate) use process::Launch;

/// How long an instance that is to be stopped has to show an idle second; stats are a second old, so three suffice.
const IDLE_DEADLINE: Duration = Duration::from_secs(3);
/// Orders under way to one instance; the scaler sends one, a test's kill another.
pub(crate) const ORDERS: usize = 4;

/// One instance of a function as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its name, as in `SERVING_POD`.
    pub pod: String,
    /// Where it is in its life.
    pub phase: Phase,
    /// The address that stands for the pod's IP.
    pub address: Ipv4Addr,
    /// Where the function listens, on `127.0.0.1`.
    pub user_port: u16,
    /// Process id of the function; none while it does not run.
    pub user_pid: Option<u32>,
    /// Process id of the sidecar; none while it does not run.
    pub sidecar_pid: Option<u32>,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Processes were started; the readiness probe has not passed yet.
    Starting,
    /// Gets requests.
    Ready,
    /// A process ended by itself and is being started again.
    Restarting,
    /// Gets no more requests and will end.
    Draining,
}

impl Instance {
    pub(crate) fn new(pod: String, home: &Home) -> Self {
        let (address, user_port) = (home.address, home.user_port);
        Self {
            pod,
            phase: Phase::Starting,
            address,
            user_port,
            user_pid: None,
            sidecar_pid: None,
        }
    }

    /// The sidecar's port for requests.
    #[must_use]
    pub fn serving(&self) -> SocketAddr {
        (self.address, SERVING_PORT).into()
    }

    /// The sidecar's local API.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        (self.address, LOCAL_PORT).into()
    }

    /// The sidecar's egress proxy.
    #[must_use]
    pub fn egress(&self) -> SocketAddr {
        (self.address, EGRESS_PORT).into()
    }

    /// The function itself.
    #[must_use]
    pub fn user(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.user_port).into()
    }
}

/// What an instance is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// End along Knative's timeline, unless requests are running after all. Routing has stopped already.
    Drain,
    /// End at once.
    Kill,
    /// Lose the sidecar, as if it had crashed.
    KillSidecar,
}

/// What every instance of a function shares.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) function: Arc<Function>,
    pub(crate) admin: Admin,
    pub(crate) run_dir: Arc<RunDir>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) start_timeout: Duration,
    pub(crate) grace: Duration,
}

/// Runs an instance to its end. Its processes are gone when this returns, and killed when it is dropped.
/// # Errors
/// [`InstanceFault`] if it never became ready; later crashes are repaired and logged.
pub(crate) async fn run(
    stage: &Stage,
    home: Home,
    pod: String,
    launches: Launches,
    mut orders: mpsc::Receiver<Order>,
) -> Result<(), InstanceFault> {
    let _membership = Membership {
        function: &stage.function,
        number: home.number,
    };
    let mut pair = Pair::spawn(home, pod, launches)?;
    loop {
        let order = tokio::select! {
            fault = pair.live(stage) => {
                pair.stop(stage.grace).await;
                return Err(fault);
            }
            order = orders.recv() => order,
            () = stage.shutdown.cancelled() => None,
        };
        match order {
            Some(Order::KillSidecar) => pair.kill_sidecar(stage).await,
            Some(Order::Drain) if !is_idle(stage, &pair).await => pair.show(stage, Phase::Ready),
            Some(Order::Drain) => {
                drain(stage, &mut pair).await;
                return Ok(());
            }
            Some(Order::Kill) => {
                pair.stop(Duration::ZERO).await;
                return Ok(());
            }
            None => {
                pair.stop(stage.grace).await;
                return Ok(());
            }
        }
    }
}

/// Takes an instance off the function's roster, however its task ends.
struct Membership<'a> {
    function: &'a Arc<Function>,
    number: u32,
}

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        self.function.remove(self.number);
    }
}

async fn is_idle(stage: &Stage, pair: &Pair) -> bool {
    let deadline = Instant::now() + IDLE_DEADLINE;
    tokio::select! {
        is_idle = stage.admin.idle(pair.address(), deadline) => is_idle,
        () = stage.shutdown.cancelled() => false,
    }
}

/// Drains, or stops at once when the whole cluster does.
async fn drain(stage: &Stage, pair: &mut Pair) {
    tracing::info!("{} is draining", pair.pod());
    let is_drained = tokio::select! {
        () = pair.drain(&stage.admin, stage.function.spec.timeout) => true,
        () = stage.shutdown.cancelled() => false,
    };
    if is_drained {
        tracing::info!("{} has ended", pair.pod());
    } else {
        pair.stop(stage.grace).await;
    }
}
