//! `xdt-bench cost`: what a queue-proxy costs beside its user container, in CPU, latency, memory and start-up.
//!
//! One or more queue-proxies, each in front of the same small user container, in turn and round after round, so that a
//! noisy machine is noisy for all of them; direct calls between their slices. Whatever follows Knative's environment can
//! be measured (`--binary`).

mod load;
mod queue_proxy;
mod report;
mod scenario;
mod session;
mod summary;
mod table;

pub(crate) mod user_container;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::Serialize;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    machine::Machine,
    sibling::{SIDECAR, sibling},
};
use queue_proxy::QueueProxy;
use scenario::{SCENARIOS, Scenario};
use session::{Session, Settings};
use user_container::UserContainer;

/// Rounds when there is time for them; every round starts each queue-proxy anew.
const MAX_ROUNDS: u32 = 40;
/// Shortest slice worth its connections, and the longest, after which another round tells more.
const MIN_SLICE: Duration = Duration::from_millis(20);
const GOOD_SLICE: Duration = Duration::from_millis(150);

/// What to measure, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A queue-proxy to measure: any program that follows Knative's environment. Several take turns, and are compared
    /// with the first. Without it: the xdt-queue-proxy beside this program.
    #[arg(long, value_name = "PATH")]
    binary: Vec<PathBuf>,
    /// Time budget of all measurements together, in seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Requests at once in the loaded scenarios: so many HTTP/1.1 connections or HTTP/2 streams.
    #[arg(long, default_value_t = 70, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Measures with a key ring, without, or both; a binary that makes no key rings is measured without.
    #[arg(long, value_enum, default_value_t = KeyRing::Both)]
    keyring: KeyRing,
    /// Runs only the scenarios whose names contain this; may be repeated. Their names are in the table.
    #[arg(long, value_name = "TEXT")]
    scenario: Vec<String>,
    /// Writes every slice and the summary to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum KeyRing {
    Both,
    With,
    Without,
}

/// One queue-proxy as it is started.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Target {
    /// Its name in the tables.
    pub(crate) label: String,
    /// The program.
    pub(crate) binary: PathBuf,
    /// Its key ring, if it has one.
    #[serde(skip)]
    pub(crate) keyring: Option<PathBuf>,
}

/// Measures and prints what it found.
///
/// # Errors
/// A binary that does not start or serve, or an answer with other bytes than meant.
pub(crate) async fn run(args: Args) -> Result<()> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let targets = args.targets(&folder)?;
    let scenarios = args.scenarios()?;
    let machine = Machine::read();
    println!("machine: {machine}");
    let plan = Plan::new(Duration::from_secs(args.seconds), targets.len() * scenarios.len());
    println!(
        "{} rounds, slices of {} ms, {} connections; CPU is the queue-proxy's own",
        plan.rounds,
        plan.slice.as_millis(),
        args.connections
    );
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let sessions = tokio::select! {
        sessions = rounds(&args, &targets, &scenarios, plan, folder.path()) => sessions?,
        _ = terminate.recv() => return Err(anyhow!("stopped by a signal")),
        _ = interrupt.recv() => return Err(anyhow!("stopped by a signal")),
    };
    let summary = summary::of(&targets, &scenarios, &sessions);
    report::print(&targets, &summary);
    match &args.json {
        Some(path) => report::write(path, &machine, &targets, &summary, &sessions),
        None => Ok(()),
    }
}

/// Every target once per round, each round beginning with another one.
async fn rounds(
    args: &Args,
    targets: &[Target],
    scenarios: &[Scenario],
    plan: Plan,
    folder: &Path,
) -> Result<Vec<Session>> {
    let user = UserContainer::start().await?;
    let mut sessions = Vec::new();
    for round in 0..plan.rounds {
        for turn in 0..targets.len() {
            let target = (turn + round as usize) % targets.len();
            let settings = Settings {
                target,
                round,
                slice: plan.slice,
                connections: args.connections.into(),
            };
            let proxy = QueueProxy::start(&targets[target], user.port(), folder).await?;
            let session = Session::run(proxy, &user, scenarios, settings).await;
            sessions.push(session.with_context(|| targets[target].label.clone())?);
        }
    }
    Ok(sessions)
}

/// How the time is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    rounds: u32,
    slice: Duration,
}

impl Plan {
    /// Many rounds of good slices; with too little time, one round of short ones.
    fn new(budget: Duration, per_round: usize) -> Self {
        let slices = u32::try_from(per_round * 2).unwrap_or(u32::MAX);
        let good = u32::try_from(budget.as_millis() / (GOOD_SLICE * slices).as_millis().max(1)).unwrap_or(MAX_ROUNDS);
        let rounds = good.clamp(1, MAX_ROUNDS);
        Self {
            rounds,
            slice: (budget / (slices * rounds)).max(MIN_SLICE),
        }
    }
}

impl Args {
    fn targets(&self, folder: &TempDir) -> Result<Vec<Target>> {
        let binaries = match self.binary.as_slice() {
            [] => vec![sibling(SIDECAR)?],
            given => given.to_vec(),
        };
        let mut targets = Vec::new();
        for (number, binary) in binaries.into_iter().enumerate() {
            let binary = std::path::absolute(&binary)?;
            ensure!(binary.is_file(), "--binary {}: there is no such file", binary.display());
            let label = label(&binary, number, self.binary.len());
            let keyring = match self.keyring {
                KeyRing::Without => None,
                KeyRing::Both | KeyRing::With => queue_proxy::make_key_ring(&binary, folder.path(), number)?,
            };
            if self.keyring != KeyRing::With || keyring.is_none() {
                targets.push(Target {
                    label: label.clone(),
                    binary: binary.clone(),
                    keyring: None,
                });
            }
            targets.extend(keyring.is_some().then(|| Target {
                label: format!("{label} + key ring"),
                binary,
                keyring,
            }));
        }
        Ok(targets)
    }

    fn scenarios(&self) -> Result<Vec<Scenario>> {
        let names = |scenario: &Scenario| {
            self.scenario.is_empty() || self.scenario.iter().any(|part| scenario.name.contains(part.as_str()))
        };
        let chosen: Vec<_> = SCENARIOS.into_iter().filter(names).collect();
        ensure!(
            !chosen.is_empty(),
            "--scenario {}: no name contains this; there are {}",
            self.scenario.join(", "),
            SCENARIOS.map(|scenario| scenario.name).join(", ")
        );
        Ok(chosen)
    }
}

/// The file's name; with several binaries also their number, as builds of one program have one name.
fn label(binary: &Path, number: usize, of: usize) -> String {
    let name = binary
        .file_name()
        .map_or_else(Default::default, |name| name.to_string_lossy());
    if of > 1 {
        format!("{}:{name}", number + 1)
    } else {
        name.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_becomes_rounds_and_a_short_run_one_round_of_short_slices() {
        let long = Plan::new(Duration::from_secs(60), 16);
        assert!(long.rounds > 5 && long.slice >= GOOD_SLICE, "{long:?}");
        let short = Plan::new(Duration::from_secs(1), 16);
        assert_eq!(short.rounds, 1);
        assert!(short.slice >= MIN_SLICE && short.slice < GOOD_SLICE, "{short:?}");
        assert_eq!(Plan::new(Duration::from_secs(3600), 8).rounds, MAX_ROUNDS);
    }

    #[test]
    fn several_binaries_are_told_apart_by_number() {
        assert_eq!(label(Path::new("/a/queue"), 0, 1), "queue");
        assert_eq!(label(Path::new("/b/queue"), 1, 2), "2:queue");
    }
}
