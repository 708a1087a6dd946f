//! Measures XDT beside what it replaces, on one machine, with real sidecars.
//!
//! One subcommand so far: `demo`, the five-minute look that `make demo` gives. It never measures what it does not also
//! verify: every object's digest is compared with the bytes that were meant.

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
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Demo(args) => demo::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xdt-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
