//! The subcommands that measure: each makes a plan, and all of them run it the same way.
//!
//! A run has a folder. Ctrl-C keeps the cells that are done; the same command with `--out` of that folder goes on.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::signal::unix::{SignalKind, signal};
use xdt_patterns::messages::{Backend, Pattern, Variant};

use crate::{
    cell::Cell,
    column::{Column, Standard},
    machine::Machine,
    measure,
    object::{self, Object, Size},
    plan::{self, DEGREES, Repetitions, Study},
    report,
    results::{LAYOUT, Results, Run},
    schedule::Budget,
    sibling::{FUNCTIONS, SIDECAR, sibling},
    stores::{self, Stores},
    table,
};

/// What every run can be told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Common {
    /// Backends to measure, side by side; all that this machine has, unless said.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    backends: Vec<Standard>,
    /// Repetitions of every cell that count, instead of those of the contract.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    repetitions: Option<u64>,
    /// Repetitions before them that do not.
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=1000))]
    warm_ups: Option<u64>,
    /// Time budget in seconds; repetitions shrink to fit.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
    /// Chooses the bytes and the order of the backends.
    #[arg(long, default_value_t = 2309)]
    seed: u64,
    /// Result folder; one that is there is taken up. Default: a new one in `target/bench/`.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// The short look: one-to-one, every backend that the machine has, under three minutes.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Files and directories to send, instead of seeded objects of 10 KB to 100 MB.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    input: Vec<PathBuf>,
    /// Seeded objects to send, as labels of binary sizes: 10KB is 10·2^10 bytes.
    #[arg(long, value_delimiter = ',', value_name = "SIZE")]
    sizes: Vec<Size>,
    #[command(flatten)]
    common: Common,
}

/// One pattern.
#[derive(Debug, clap::Args)]
pub(crate) struct OnePattern {
    /// Objects, as labels of binary sizes: 10KB is 10·2^10 bytes.
    #[arg(long, value_delimiter = ',', value_name = "SIZE")]
    sizes: Vec<Size>,
    /// Numbers of producers or consumers; one-to-one has only 1.
    #[arg(long, value_delimiter = ',', value_name = "N", value_parser = degree)]
    degrees: Vec<usize>,
    /// One-to-one and scatter: put, pass the reference, get, instead of invoke.
    #[arg(long)]
    put_get: bool,
    #[command(flatten)]
    common: Common,
}

/// All patterns.
#[derive(Debug, clap::Args)]
pub(crate) struct Sweep {
    /// Which plan.
    #[arg(long, value_enum, default_value_t = Profile::Quick)]
    profile: Profile,
    #[command(flatten)]
    common: Common,
}

/// A sensitivity study.
#[derive(Debug, clap::Args)]
pub(crate) struct Sensitivity {
    /// Which study.
    study: Study,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Profile {
    /// Two sizes, two degrees, ten repetitions.
    Quick,
    /// The published figures: about an hour.
    Published,
}

fn degree(text: &str) -> Result<usize, String> {
    let number = text.parse::<usize>().ok().filter(|degree| (1..=64).contains(degree));
    number.ok_or_else(|| "a degree is a whole number from 1 to 64".to_owned())
}

impl Demo {
    /// Runs it and prints what it found.
    ///
    /// # Errors
    /// A bad input, functions that do not start, or a cell that is not valid.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut objects = object::files(&self.input)?;
        objects.extend(self.sizes.iter().cloned().map(Object::seeded));
        if objects.is_empty() {
            objects.extend(Size::usual().map(Object::seeded));
        }
        self.common.seconds.get_or_insert(150);
        let repetitions = Repetitions {
            measured: Some(self.common.repetitions.unwrap_or(100)),
            warm_up: Some(self.common.warm_ups.unwrap_or(3)),
        };
        let plan = |columns: &[Column]| {
            Ok(plan::sweep(
                Pattern::OneToOne,
                Variant::Invoke,
                &objects,
                &[1],
                columns,
                repetitions,
            ))
        };
        // The control server takes minutes to compile: a demo does without.
        let all = Standard::ALL
            .into_iter()
            .filter(|standard| *standard != Standard::S3Control)
            .collect();
        self.common.run("demo", all, plan).await
    }
}

impl OnePattern {
    /// Runs it and prints what it found.
    ///
    /// # Errors
    /// As [`Demo::run`].
    pub(crate) async fn run(self, pattern: Pattern) -> Result<()> {
        let mut objects: Vec<_> = self.sizes.iter().cloned().map(Object::seeded).collect();
        if objects.is_empty() {
            let most = if pattern == Pattern::OneToOne {
                100 << 20
            } else {
                10 << 20
            };
            objects.extend(Size::usual().map(Object::seeded).filter(|object| object.size <= most));
        }
        let degrees = match (pattern, &self.degrees[..]) {
            (Pattern::OneToOne, [] | [1]) => vec![1],
            (Pattern::OneToOne, _) => bail!("one-to-one has one producer and one consumer: the degree is 1"),
            (_, []) => DEGREES.to_vec(),
            (_, degrees) => degrees.to_vec(),
        };
        let has_both = matches!(pattern, Pattern::OneToOne | Pattern::Scatter);
        if self.put_get && !has_both {
            bail!("gather and broadcast always put and get");
        }
        let variant = if self.put_get {
            Variant::PutGet
        } else {
            plan::variant_of(pattern)
        };
        let repetitions = self.common.repetitions();
        let plan = |columns: &[Column]| Ok(plan::sweep(pattern, variant, &objects, &degrees, columns, repetitions));
        let profile = crate::column::pattern_name(pattern, variant);
        self.common.run(profile, Standard::ALL.to_vec(), plan).await
    }
}

impl Sweep {
    /// Runs it and prints what it found.
    ///
    /// # Errors
    /// As [`Demo::run`].
    pub(crate) async fn run(self) -> Result<()> {
        let repetitions = self.common.repetitions();
        match self.profile {
            Profile::Quick => {
                let plan = |columns: &[Column]| Ok(plan::quick(columns, repetitions));
                self.common.run("quick", Standard::ALL.to_vec(), plan).await
            }
            Profile::Published => {
                let plan = |columns: &[Column]| Ok(plan::published(columns, repetitions));
                self.common.run("published", Standard::ALL.to_vec(), plan).await
            }
        }
    }
}

impl Sensitivity {
    /// Runs it and prints what it found.
    ///
    /// # Errors
    /// As [`Demo::run`].
    pub(crate) async fn run(self) -> Result<()> {
        let repetitions = self.common.repetitions();
        let node_dir = tempfile::Builder::new()
            .prefix("xdt-node-")
            .tempdir()
            .context("no folder for the node path")?;
        let node_path = node_dir.path().to_str().context("a folder that is not UTF-8")?;
        let plan = |_: &[Column]| self.study.cells(repetitions, node_path);
        self.common.run(self.study.experiment(), Vec::new(), plan).await
    }
}

impl Common {
    const fn repetitions(&self) -> Repetitions {
        Repetitions {
            measured: self.repetitions,
            warm_up: self.warm_ups,
        }
    }

    /// Starts the stores, makes the plan for the columns that this machine has, measures it, writes the report.
    async fn run(
        &self,
        profile: &str,
        all: Vec<Standard>,
        plan: impl FnOnce(&[Column]) -> Result<Vec<Cell>>,
    ) -> Result<()> {
        let budget = self.seconds.map(|seconds| Budget::new(Duration::from_secs(seconds)));
        let mut wanted = if self.backends.is_empty() {
            all
        } else {
            self.backends.clone()
        };
        wanted.sort();
        wanted.dedup();
        let columns: Vec<_> = wanted.iter().map(|standard| standard.column()).collect();
        let backends: Vec<Backend> = columns.iter().map(|column| column.backend).collect();
        let machine = Machine::read();
        println!("machine: {machine}");
        let stores = Stores::start(&backends, &stores::tools()?).await;
        for left_out in stores.left_out() {
            eprintln!("{} is left out: {}", left_out.column, left_out.reason);
        }
        let columns: Vec<_> = columns
            .into_iter()
            .filter(|column| stores.serves(column.backend))
            .collect();
        let plan = plan(&columns)?;
        let started = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let run_id = format!("{}-{profile}", started.replace([':', '-'], "").trim_end_matches('Z'));
        let folder = match &self.out {
            Some(folder) => folder.clone(),
            None => default_folder(&run_id)?,
        };
        let run = self.facts(profile, run_id, started, machine, &stores, &plan);
        let mut results = Results::open(&folder, run)?;
        let outcome = measure_until_signal(&plan, &mut results, &stores, budget).await;
        results.run.ended = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let finished = results.finished();
        results.run.complete = plan.iter().all(|cell| finished.contains(&cell.id()));
        results.save()?;
        println!("{}", table::of(&results));
        let page = report::write(&results)?;
        println!("results: {}\nreport:  {}", results.folder().display(), page.display());
        outcome?;
        verdict(&results)
    }

    fn facts(
        &self,
        profile: &str,
        run_id: String,
        started: String,
        machine: Machine,
        stores: &Stores,
        plan: &[Cell],
    ) -> Run {
        let columns = plan.iter().flat_map(|cell| &cell.columns);
        let sidecars = columns.filter_map(|column| Some((column.id.clone(), column.sidecar.clone()?)));
        let version = |name: &str| {
            let path = sibling(name).ok()?;
            let output = Command::new(path).arg("--version").output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            Some((name.to_owned(), text)).filter(|(_, text)| !text.is_empty())
        };
        Run {
            layout: LAYOUT,
            run_id,
            profile: profile.to_owned(),
            command: command(),
            seed: self.seed,
            commit: commit(),
            versions: [SIDECAR, FUNCTIONS]
                .into_iter()
                .filter_map(version)
                .chain([("xdt-bench".to_owned(), env!("CARGO_PKG_VERSION").to_owned())])
                .collect(),
            machine,
            load_average: std::fs::read_to_string("/proc/loadavg")
                .map(|text| text.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
                .unwrap_or_default(),
            stores: stores.about(),
            left_out: stores.left_out().to_vec(),
            sidecars: sidecars.collect(),
            started,
            ended: String::new(),
            complete: false,
            overhead: None,
            calibrations: Vec::new(),
            drifted: Vec::new(),
            cells: Vec::new(),
        }
    }
}

/// The command line without the folder that the program lies in.
pub(crate) fn command() -> Vec<String> {
    let mut command: Vec<String> = std::env::args().collect();
    if let Some(program) = command.first_mut() {
        let name = Path::new(&*program)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        *program = name.unwrap_or_default();
    }
    command
}

/// The commit of the checkout in which the program is run.
pub(crate) fn commit() -> String {
    let described = Command::new("git")
        .args(["describe", "--always", "--abbrev=12", "--exclude=*", "--dirty"])
        .output();
    let text = described.ok().filter(|output| output.status.success());
    let text = text.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| "unknown".to_owned())
}

/// A new folder beside the build.
pub(crate) fn default_folder(run_id: &str) -> Result<PathBuf> {
    let tools = stores::tools()?;
    Ok(tools.with_file_name("bench").join(run_id))
}

async fn measure_until_signal(
    plan: &[Cell],
    results: &mut Results,
    stores: &Stores,
    budget: Option<Budget>,
) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
    let folder = results.folder().to_owned();
    tokio::select! {
        outcome = measure::all(plan, results, stores, budget) => outcome,
        _ = hang_up.recv() => Err(stopped(&folder)),
        _ = terminate.recv() => Err(stopped(&folder)),
        _ = interrupt.recv() => Err(stopped(&folder)),
    }
}

fn stopped(folder: &Path) -> anyhow::Error {
    anyhow!(
        "stopped by a signal; finished cells are kept, and the same command with --out {} goes on",
        folder.display()
    )
}

/// A run with a cell that does not count has failed, however fast.
fn verdict(results: &Results) -> Result<()> {
    let invalid = results.run.cells.iter().filter_map(|facts| {
        let reason = facts.invalid.as_ref()?;
        Some(format!("{} by {}: {reason}", facts.cell, facts.backend))
    });
    let invalid: Vec<_> = invalid.collect();
    if invalid.is_empty() {
        return Ok(());
    }
    bail!("{} cells are not valid:\n{}", invalid.len(), invalid.join("\n"))
}
