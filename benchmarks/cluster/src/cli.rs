//! The command line of `xdt-cluster`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use xdt_cluster::{DurationError, Options, parse_duration};

/// Functions behind real XDT sidecars on one machine: a stand-in for Knative, for development, tests and benchmarks.
#[derive(Debug, Parser)]
#[command(name = "xdt-cluster", version)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the cluster that FILE describes, until Ctrl-C or until COMMAND ends.
    Run(Run),
    /// Only check FILE: all faults are told, with their lines.
    Check {
        /// The cluster file (YAML).
        file: PathBuf,
    },
}

impl Verb {
    /// The cluster file, which either verb has.
    pub(crate) fn file(&self) -> &Path {
        match self {
            Self::Run(run) => &run.file,
            Self::Check { file } => file,
        }
    }
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The cluster file (YAML).
    file: PathBuf,
    /// The sidecar binary [default: `xdt-queue-proxy` next to this program, then in PATH].
    #[arg(long, value_name = "PATH")]
    sidecar: Option<PathBuf>,
    /// Folder for logs, key ring and endpoints.json [default: a temporary one, removed by a clean stop unless something
    /// crashed].
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// How long an instance may take to become ready.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    start_timeout: Duration,
    /// How long processes have between SIGTERM and SIGKILL at the end.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) grace: Duration,
    /// Run this when all is ready, with XDT_CLUSTER_ENDPOINTS and XDT_CLUSTER_INGRESS set; then stop, and exit as it did.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

fn duration(text: &str) -> Result<Duration, DurationError> {
    parse_duration(text)
}

impl Run {
    /// The library's options.
    pub(crate) fn options(&self) -> Options {
        Options {
            sidecar: self.sidecar.clone(),
            run_dir: self.run_dir.clone(),
            start_timeout: self.start_timeout,
            grace: self.grace,
            progress: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_is_the_command() {
        let words = [
            "xdt-cluster",
            "run",
            "f.yaml",
            "--grace",
            "100ms",
            "--",
            "bench",
            "--run-dir",
            "x",
        ];
        let Verb::Run(run) = Arguments::parse_from(words).verb else {
            panic!("not run")
        };
        assert_eq!(run.command, ["bench", "--run-dir", "x"]);
        assert_eq!((run.grace, run.run_dir), (Duration::from_millis(100), None));
    }
}
