//! `run FILE -- COMMAND`: a command that lives as long as it likes beside a ready cluster.

use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Command;
use tokio::time::timeout;
use xdt_cluster::Cluster;

use crate::cli::Run;
use crate::signals::Signals;

/// Runs the command with its terminal and environment plus the cluster's addresses; its status becomes ours.
///
/// On a signal the command gets SIGTERM, and SIGKILL after the grace. With a terminal as input it stays in our process group,
/// because it could not read there otherwise; else it has its own, which ends with it.
pub(crate) async fn run(cluster: &Cluster, run: &Run, signals: &mut Signals) -> io::Result<ExitCode> {
    let has_own_group = !io::stdin().is_terminal();
    let mut words = run.command.iter();
    let mut command = Command::new(words.next().map(String::as_str).unwrap_or_default());
    command.args(words).kill_on_drop(true);
    command.env("XDT_CLUSTER_ENDPOINTS", cluster.endpoints());
    command.env("XDT_CLUSTER_INGRESS", cluster.ingress().to_string());
    if has_own_group {
        command.process_group(0);
    }
    let mut child = command.spawn()?;
    let target = Target {
        id: child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw),
        has_own_group,
    };
    let ended = tokio::select! {
        status = child.wait() => Some(status?),
        () = signals.next() => None,
    };
    let status = match ended {
        Some(status) => status,
        None => {
            target.send(Signal::TERM);
            if timeout(run.grace, child.wait()).await.is_err() {
                target.send(Signal::KILL);
            }
            child.wait().await?
        }
    };
    if has_own_group {
        target.send(Signal::KILL);
    }
    if !status.success() {
        cluster.keep_run_dir();
    }
    Ok(exit_code(status))
}

/// Whom the command's signals go to.
struct Target {
    id: Option<Pid>,
    has_own_group: bool,
}

impl Target {
    fn send(&self, signal: Signal) {
        let Some(id) = self.id else { return };
        let sent = if self.has_own_group {
            kill_process_group(id, signal)
        } else {
            kill_process(id, signal)
        };
        // The only failure is a process that is gone already.
        let _gone = sent;
    }
}

/// The command's code, or 128 plus its signal as shells have it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}
