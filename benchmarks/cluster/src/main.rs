//! `xdt-cluster`: functions behind real XDT sidecars on one machine. Reads its arguments, runs, exits.

mod beside;
mod cli;
mod console;
mod signals;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use xdt_cluster::{Spec, StartError};

use cli::{Arguments, Run, Verb};
use console::Console;
use signals::Signals;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let console = Console::open();
    execute(&arguments.verb, &console).unwrap_or_else(|error| {
        console.say(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn execute(verb: &Verb, console: &Console) -> Result<ExitCode> {
    let file = verb.file();
    let spec = Spec::load(file).with_context(|| file.display().to_string())?;
    let Verb::Run(run) = verb else {
        console.say(&format!(
            "{} is fine: {} functions",
            file.display(),
            spec.functions.len()
        ));
        return Ok(ExitCode::SUCCESS);
    };
    tokio::runtime::Runtime::new()
        .context("cannot start the runtime")?
        .block_on(run_cluster(spec, run, console))
}

async fn run_cluster(spec: Spec, run: &Run, console: &Console) -> Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen for signals")?;
    let cluster = match console.start(spec, run, &mut signals).await {
        Ok(cluster) => cluster,
        Err(StartError::Cancelled) => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(error.into()),
    };
    let exit = if run.command.is_empty() {
        signals.next().await;
        Ok(ExitCode::SUCCESS)
    } else {
        beside::run(&cluster, run, &mut signals).await
    };
    console.say("stopping; another Ctrl-C kills at once");
    tokio::select! {
        () = cluster.stop() => {}
        () = signals.next() => {}
    }
    exit.with_context(|| format!("cannot run {}", run.command.join(" ")))
}
