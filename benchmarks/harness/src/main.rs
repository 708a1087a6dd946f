//! Measures XDT beside what it replaces, on one machine, with real sidecars.
//!
//! | subcommand | what |
//! | --- | --- |
//! | `demo` | the short look that `make demo` gives |
//! | `one-to-one`, `gather`, `scatter`, `broadcast` | one pattern, all backends side by side |
//! | `sweep` | all patterns: the quick profile, or the published figures |
//! | `sensitivity` | one setting of the sidecar, varied |
//! | `report`, `table`, `compare` | what a result folder says |
//! | `bars` | what the local paths promise, each against plain gRPC in the same run |
//! | `cost` | what the sidecar itself takes for ordinary requests |
//!
//! Nothing is measured that is not also verified.

mod bars;
mod bench;
mod calibrate;
mod cell;
mod column;
mod compare;
mod cost;
mod fleet;
mod machine;
mod measure;
mod object;
mod plan;
mod price;
mod progress;
mod published;
mod report;
mod results;
mod schedule;
mod sibling;
mod statistics;
mod stores;
mod table;
mod text;
mod usage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xdt_patterns::messages::Pattern;

/// Benchmarks of XDT beside inline bodies, stores, plain gRPC and TCP.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One-to-one by every backend that the machine has, one table, one report; under three minutes.
    Demo(bench::Demo),
    /// One producer, one consumer.
    OneToOne(bench::OnePattern),
    /// Many producers, one consumer.
    Gather(bench::OnePattern),
    /// One producer, a different object for each of many consumers.
    Scatter(bench::OnePattern),
    /// One producer, the same object for each of many consumers.
    Broadcast(bench::OnePattern),
    /// All patterns.
    Sweep(bench::Sweep),
    /// One setting of the sidecar, varied.
    Sensitivity(bench::Sensitivity),
    /// Writes the page of a result folder anew.
    Report(report::Args),
    /// The table of a result folder; with --into it replaces the one in a file.
    Table(table::Args),
    /// Medians of two result folders, side by side.
    Compare(compare::Args),
    /// What a queue-proxy costs: CPU and latency per request, throughput, memory, start-up; several side by side.
    Cost(cost::Args),
    /// What the local paths promise (same node, memory files), each against plain gRPC in the same run.
    Bars(bars::Args),
    /// The receiver that `bars` sends to.
    #[command(hide = true, name = bars::receiver::SUBCOMMAND)]
    BarsReceiver,
    /// The server behind the queue-proxies that `cost` measures.
    #[command(hide = true, name = cost::user_container::SUBCOMMAND)]
    CostUserContainer,
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Demo(demo) => demo.run().await,
        Command::OneToOne(one) => one.run(Pattern::OneToOne).await,
        Command::Gather(one) => one.run(Pattern::Gather).await,
        Command::Scatter(one) => one.run(Pattern::Scatter).await,
        Command::Broadcast(one) => one.run(Pattern::Broadcast).await,
        Command::Sweep(sweep) => sweep.run().await,
        Command::Sensitivity(study) => study.run().await,
        Command::Report(args) => args.run(),
        Command::Table(args) => args.run(),
        Command::Compare(args) => args.run(),
        Command::Cost(args) => cost::run(args).await,
        Command::Bars(args) => bars::run(args).await,
        Command::BarsReceiver => bars::receiver::serve().await,
        Command::CostUserContainer => cost::user_container::serve().await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xdt-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
