//! One child process and everything it starts: a process group with its output in a log file.
//!
//! The group stands for the container: when its first process ends, the rest is killed, and dropping a [`Process`] kills
//! them all. A process that leaves the group by itself (a daemon) is out of reach.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

use crate::logs;

/// The variables that every process inherits from the cluster; nothing else is.
const INHERITED: [&str; 4] = ["PATH", "HOME", "RUST_LOG", "RUST_BACKTRACE"];

/// How to start a process, once or again.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) folder: PathBuf,
    pub(crate) log: PathBuf,
}

/// A running process group.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    group: Option<Pid>,
}

impl Process {
    /// Starts it.
    pub(crate) fn spawn(launch: &Launch) -> io::Result<Self> {
        let log = logs::open(&launch.log)?;
        let inherited = INHERITED
            .iter()
            .filter_map(|&name| Some((name, std::env::var_os(name)?)));
        let child = Command::new(&launch.program)
            .args(&launch.arguments)
            .env_clear()
            .envs(inherited)
            .envs(launch.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&launch.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    /// The process id, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends `signal` to the whole group; nothing happens if it has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // The only failure is a group that is gone, which is what every sender of a signal here wants.
            let _gone = kill_process_group(group, signal);
        }
    }

    /// Waits for the first process to end, then kills what it left behind. Ends at once if that has happened before.
    /// # Cancel safety
    /// Safe: asking again gives the same answer.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let status = self.child.wait().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the system does not tell how a process ended");
            ExitStatus::default()
        });
        self.signal(Signal::KILL);
        self.group = None;
        status
    }

    /// Waits for the end until `deadline`, then kills.
    pub(crate) async fn ended_by(&mut self, deadline: Instant) {
        if timeout_at(deadline, self.ended()).await.is_err() {
            self.kill().await;
        }
    }

    /// Kills the group and waits for its end.
    pub(crate) async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
