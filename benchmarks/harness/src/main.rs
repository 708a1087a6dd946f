//! Measures XDT beside what it replaces, on one machine, with real sidecars.
//!
//! Subcommands: `demo`, the five-minute look that `make demo` gives; `cost`, what the sidecar itself takes for ordinary
//! requests; `bars`, what the local paths promise. Neither measures what it does not also verify.

mod bars;
mod cost;
mod demo;
mod driver;
mod machine;
mod object;
mod progress;
mod sample;
mod statistics;
mod table;
mod text;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Benchmarks of XDT against inline bodies and plain gRPC.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Two functions, two sidecars, real objects through every backend, one table; under three minutes.
    Demo(demo::Args),
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
        Command::Demo(args) => demo::run(args).await,
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
