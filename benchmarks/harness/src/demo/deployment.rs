//! One producer and one consumer, each behind a real sidecar, on free loopback addresses of this machine.
//!
//! The programs are those beside this executable: the same build as everything else. The sidecars run with their
//! defaults, as a user would have them.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use xdt_cluster::{Cluster, FunctionSpec, Options, Spec};

/// File name of the sidecar, and its package.
pub(crate) const SIDECAR: &str = "xdt-queue-proxy";
/// File name of the functions, and their package.
const FUNCTIONS: &str = "xdt-patterns";

/// How long the functions and sidecars may take to stop: several times the cluster's own grace.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// The running functions; dropping them kills them.
#[derive(Debug)]
pub(crate) struct Deployment(Cluster);

impl Deployment {
    /// Starts both functions and waits until they are ready.
    ///
    /// # Errors
    /// A program that is missing or does not start; or `cancelled` came first. Nothing runs on then.
    pub(crate) async fn start(cancelled: impl Future<Output = ()>) -> Result<Self> {
        let functions = sibling(FUNCTIONS)?
            .to_str()
            .context("the path of the functions is not UTF-8")?
            .to_owned();
        let role = |role: &str| FunctionSpec::new(role, [functions.as_str(), role]).container_concurrency(1);
        let spec = Spec::default().function(role("producer")).function(role("consumer"));
        let options = Options {
            sidecar: Some(sibling(SIDECAR)?),
            ..Options::default()
        };
        let cluster = Cluster::start_unless(spec, options, cancelled)
            .await
            .context("the functions do not start")?;
        Ok(Self(cluster))
    }

    /// The URL of a function, through the ingress.
    ///
    /// # Errors
    /// For any other name than `producer` and `consumer`.
    pub(crate) fn url(&self, function: &str) -> Result<String> {
        Ok(self.0.url(function)?)
    }

    /// Keeps the logs of functions and sidecars, and says where.
    pub(crate) fn keep_logs(&self) {
        self.0.keep_run_dir();
        eprintln!("logs of functions and sidecars: {}", self.0.run_dir().display());
    }

    /// Stops everything; what does not end in time is killed.
    pub(crate) async fn stop(self) {
        if tokio::time::timeout(STOP_DEADLINE, self.0.stop()).await.is_err() {
            eprintln!("the functions and sidecars did not stop in time and were killed");
        }
    }
}

/// A program of this build: the file `name` beside this executable.
///
/// # Errors
/// If it is not there.
pub(crate) fn sibling(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("where is this executable?")?;
    let path = own.with_file_name(name);
    ensure!(
        path.is_file(),
        "{} does not exist; build it first: cargo build -p {name}",
        path.display()
    );
    Ok(path)
}
