//! `xdt-bench demo`: starts two functions behind real sidecars, sends real objects by every backend, prints one table.
//!
//! Ends within its time budget plus a few seconds, fails on the first error and on any wrong digest, and stops all that
//! it started, also on SIGINT and SIGTERM.

pub(crate) mod deployment;
mod measure;
mod report;
mod schedule;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    machine::Machine,
    object::{self, Object, Size},
};
use deployment::Deployment;
use measure::{Measured, Settings};
use schedule::Budget;

/// What to send, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and directories to send. Without them and without --sizes: the sidecar's own binary and seeded objects of
    /// 10 KB, 100 KB, 1 MB, 10 MB and 100 MB.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    input: Vec<PathBuf>,
    /// Seeded objects to send, as labels of binary sizes: 10KB is 10·2^10 bytes.
    #[arg(long, value_delimiter = ',', value_name = "SIZE")]
    sizes: Vec<Size>,
    /// Time budget in seconds, the start of the functions included; repetitions shrink to fit.
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Repetitions of every object, instead of 200 (up to 100 KB) down to 8 (100 MB).
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    repetitions: Option<u64>,
    /// Chooses the seeded bytes and the order of the backends.
    #[arg(long, default_value_t = 2309)]
    seed: u64,
    /// Writes every sample and the summary to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the demo and prints what it found.
///
/// # Errors
/// A bad input, a cluster that does not start, a failed transfer, a wrong digest, or objects left behind.
pub(crate) async fn run(args: Args) -> Result<()> {
    let budget = Budget::new(Duration::from_secs(args.seconds));
    let objects = args.objects()?;
    let machine = Machine::read();
    println!("machine: {machine}");
    let measured = within_cluster(&args, &objects, budget).await?;
    report::print(&objects, &measured);
    if let Some(path) = &args.json {
        report::write(path, &machine, &args, &objects, &measured)?;
    }
    verdict(&measured)
}

async fn within_cluster(args: &Args, objects: &[Object], budget: Budget) -> Result<Measured> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot watch for SIGHUP")?;
    let mut stop = async || {
        tokio::select! {
            _ = hang_up.recv() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let settings = Settings {
        seed: args.seed,
        repetitions: args.repetitions,
    };
    let deployment = Deployment::start(stop()).await?;
    let outcome = tokio::select! {
        outcome = measure::all(&deployment, objects, &settings, budget) => {
            if !outcome.as_ref().is_ok_and(|measured| verdict(measured).is_ok()) {
                deployment.keep_logs();
            }
            outcome
        }
        () = stop() => Err(anyhow!("stopped by a signal")),
    };
    deployment.stop().await;
    outcome
}

fn verdict(measured: &Measured) -> Result<()> {
    let wrong = measured.samples.iter().filter(|sample| !sample.intact).count();
    if wrong > 0 {
        bail!(
            "{wrong} of {} transfers arrived with a wrong length or digest",
            measured.samples.len()
        );
    }
    if measured.left.held > 0 {
        bail!("the sidecars still hold {} objects", measured.left.held);
    }
    Ok(())
}

impl Args {
    fn objects(&self) -> Result<Vec<Object>> {
        let mut objects = object::files(&self.input)?;
        objects.extend(self.sizes.iter().cloned().map(Object::seeded));
        if objects.is_empty() {
            objects = object::files(&[deployment::sibling(deployment::SIDECAR)?])?;
            objects.extend(Size::usual().map(Object::seeded));
        }
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use measure::Left;
    use xdt_patterns::messages::Backend;

    fn measured(intact: [bool; 2], held: u64) -> Measured {
        let sample = |intact| Sample {
            object: 0,
            backend: Backend::Inline,
            repetition: 0,
            warm_up: true,
            transfer_ns: 1,
            e2e_ns: 1,
            path: "inline".into(),
            intact,
        };
        let left = Left { held, bytes: held };
        Measured {
            samples: intact.map(sample).into(),
            reference: None,
            left,
        }
    }

    #[test]
    fn one_wrong_digest_fails_the_run_even_in_a_warm_up() {
        assert!(verdict(&measured([true, true], 0)).is_ok());
        let error = verdict(&measured([true, false], 0)).unwrap_err().to_string();
        assert!(error.starts_with("1 of 2 transfers"), "{error}");
    }

    #[test]
    fn objects_left_behind_fail_the_run() {
        let error = verdict(&measured([true, true], 3)).unwrap_err().to_string();
        assert!(error.contains("3 objects"), "{error}");
    }
}
