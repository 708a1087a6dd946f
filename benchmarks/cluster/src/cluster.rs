//! A running cluster: started as a whole or not at all, looked at, stopped with nothing left.
//!
//! Used by the binary, by tests and by benchmarks. Owns every task and, through them, every process; dropping it kills
//! what [`Cluster::stop`] would have stopped in good order.

mod start;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::endpoints::Endpoints;
use crate::error::{OrderError, StartError, UnknownFunction, WaitError};
use crate::function::Function;
use crate::instance::{Instance, Order};
use crate::run_dir::{RunDir, replace};
use crate::spec::Spec;

/// How long a kill may take to show; the system needs milliseconds.
const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How a cluster is run, as opposed to what it runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// The sidecar binary. Default: `xdt-queue-proxy` next to this executable, then in `PATH`.
    pub sidecar: Option<PathBuf>,
    /// Where logs, key ring and `endpoints.json` go. Default: a temporary folder, removed by a clean stop unless
    /// something crashed.
    pub run_dir: Option<PathBuf>,
    /// How long an instance may take to become ready. Default 30 s.
    pub start_timeout: Duration,
    /// How long processes have between SIGTERM and SIGKILL when the cluster stops. Default 2 s.
    pub grace: Duration,
    /// Told how far the start has come. Default: nobody.
    pub progress: Option<watch::Sender<Progress>>,
}

impl Default for Options {
    fn default() -> Self {
        let (start_timeout, grace) = (Duration::from_secs(30), Duration::from_secs(2));
        Self {
            sidecar: None,
            run_dir: None,
            start_timeout,
            grace,
            progress: None,
        }
    }
}

/// How far a start has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Instances that are ready.
    pub ready: usize,
    /// Instances that must be ready.
    pub wanted: usize,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// What the cluster's tasks look at.
#[derive(Debug)]
struct Shared {
    namespace: String,
    ingress: SocketAddr,
    functions: BTreeMap<String, Arc<Function>>,
    run_dir: Arc<RunDir>,
    changed: watch::Sender<u64>,
    shutdown: CancellationToken,
}

impl Cluster {
    /// Starts a cluster; returns when every function has its minimum of ready instances.
    /// # Errors
    /// [`StartError`]; everything that had been started is gone again.
    /// # Cancel safety
    /// Dropping the future kills what had been started.
    pub async fn start(spec: Spec, options: Options) -> Result<Self, StartError> {
        Self::start_unless(spec, options, std::future::pending()).await
    }

    /// The same, given up in good order when `cancelled` comes first.
    /// # Errors
    /// [`StartError`]; [`StartError::Cancelled`] in that case.
    /// # Cancel safety
    /// Dropping the future kills what had been started.
    pub async fn start_unless(
        spec: Spec,
        options: Options,
        cancelled: impl Future<Output = ()>,
    ) -> Result<Self, StartError> {
        start::start(spec, options, cancelled).await
    }

    /// Where the ingress listens.
    #[must_use]
    pub fn ingress(&self) -> SocketAddr {
        self.shared.ingress
    }

    /// The names of the functions, in alphabetical order.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.shared.functions.keys().map(String::as_str)
    }

    /// The URL of a function, such as `http://consumer.default.localhost:8080`. Where the system does not resolve
    /// `*.localhost`, connect to [`Cluster::ingress`] and send this host.
    /// # Errors
    /// [`UnknownFunction`].
    pub fn url(&self, function: &str) -> Result<String, UnknownFunction> {
        self.shared
            .function(function)
            .map(|function| self.shared.url(&function.spec.name))
    }

    /// The instances of a function, oldest first, in whatever phase.
    /// # Errors
    /// [`UnknownFunction`].
    pub fn instances(&self, function: &str) -> Result<Vec<Instance>, UnknownFunction> {
        self.shared.function(function).map(|function| function.instances())
    }

    /// Waits until the instances of a function are as wanted.
    /// # Errors
    /// [`WaitError`] at the end of `patience`.
    /// # Cancel safety
    /// Safe.
    pub async fn wait_for(
        &self,
        function: &str,
        patience: Duration,
        are_as_wanted: impl Fn(&[Instance]) -> bool,
    ) -> Result<Vec<Instance>, WaitError> {
        let function = self.shared.function(function)?;
        let mut changes = self.shared.changed.subscribe();
        let deadline = Instant::now() + patience;
        loop {
            changes.mark_unchanged();
            let instances = function.instances();
            if are_as_wanted(&instances) {
                return Ok(instances);
            }
            if !matches!(timeout_at(deadline, changes.changed()).await, Ok(Ok(()))) {
                return Err(WaitError::Late {
                    waited: patience,
                    instances,
                });
            }
        }
    }

    /// Kills an instance: both processes, at once. Another takes its place if the function needs it.
    /// # Errors
    /// [`OrderError`].
    /// # Cancel safety
    /// Safe: the kill goes on.
    pub async fn kill(&self, pod: &str) -> Result<(), OrderError> {
        self.order(pod, Order::Kill, |instance| instance.is_none()).await
    }

    /// Kills an instance's sidecar, as a crash would; it is started again at the same address after 100 ms or more.
    /// # Errors
    /// [`OrderError`].
    /// # Cancel safety
    /// Safe: the kill goes on.
    pub async fn kill_sidecar(&self, pod: &str) -> Result<(), OrderError> {
        let before = self.shared.find(pod).and_then(|(_, instance)| instance.sidecar_pid);
        let is_another = |instance: Option<&Instance>| instance.is_none_or(|now| now.sidecar_pid != before);
        self.order(pod, Order::KillSidecar, is_another).await
    }

    async fn order(
        &self,
        pod: &str,
        order: Order,
        is_done: impl Fn(Option<&Instance>) -> bool,
    ) -> Result<(), OrderError> {
        let unknown = || OrderError::Unknown { pod: pod.to_owned() };
        let (function, _) = self.shared.find(pod).ok_or_else(unknown)?;
        if !function.order(pod, order) {
            return Err(unknown());
        }
        let is_gone = |all: &[Instance]| is_done(all.iter().find(|instance| instance.pod == pod));
        match self.wait_for(&function.spec.name, KILL_DEADLINE, is_gone).await {
            Ok(_) => Ok(()),
            Err(_) => Err(OrderError::Late {
                pod: pod.to_owned(),
                waited: KILL_DEADLINE,
            }),
        }
    }

    /// The folder with logs, key ring and `endpoints.json`.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        self.shared.run_dir.path()
    }

    /// The file that lists all addresses; always complete, rewritten when instances change.
    #[must_use]
    pub fn endpoints(&self) -> PathBuf {
        self.shared.run_dir.endpoints()
    }

    /// Keeps a temporary run folder when the cluster stops.
    pub fn keep_run_dir(&self) {
        self.shared.run_dir.keep();
    }

    /// Stops everything: SIGTERM to all, SIGKILL after the grace. Nothing is left running when this returns.
    /// # Cancel safety
    /// Dropping the future kills what still runs.
    pub async fn stop(mut self) {
        self.shared.shutdown.cancel();
        while let Some(end) = self.tasks.join_next().await {
            if let Err(error) = end {
                tracing::error!(%error, "a task of the cluster died");
            }
        }
        self.shared.run_dir.close();
    }
}

impl Shared {
    fn function(&self, name: &str) -> Result<&Arc<Function>, UnknownFunction> {
        self.functions.get(name).ok_or_else(|| UnknownFunction {
            name: name.to_owned(),
            known: self.functions.keys().cloned().collect(),
        })
    }

    fn find(&self, pod: &str) -> Option<(&Arc<Function>, Instance)> {
        self.functions.values().find_map(|function| {
            let instance = function.instances().into_iter().find(|instance| instance.pod == pod)?;
            Some((function, instance))
        })
    }

    fn host(&self, function: &str) -> String {
        format!("{function}.{}.localhost", self.namespace)
    }

    fn url(&self, function: &str) -> String {
        format!("http://{}:{}", self.host(function), self.ingress.port())
    }

    fn write_endpoints(&self) -> Result<(), StartError> {
        let functions = self.functions.iter();
        let functions = functions.map(|(name, function)| (name.clone(), self.url(name), function.instances()));
        let path = self.run_dir.endpoints();
        let written = serde_json::to_vec_pretty(&Endpoints::new(self.ingress, functions))
            .map_err(std::io::Error::from)
            .and_then(|json| replace(&path, &json));
        written.map_err(|source| StartError::RunDir { path, source })
    }
}
