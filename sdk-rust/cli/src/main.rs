//! The command `xdt`: objects and calls from a shell, and key rings.
//!
//! For people and scripts beside a sidecar, which it finds as the SDK does. Payload is streamed; nothing is held in
//! memory. What was asked for goes to standard output, everything else to standard error; bars only to a terminal.

mod arguments;
mod keys;
mod output;
mod progress;
mod transfer;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use arguments::{Arguments, Task};
use output::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json, arguments.quiet);
    let done = match arguments.task {
        Task::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "xdt", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Task::Keys { task } => keys::run(task, &output).map(|()| ExitCode::SUCCESS),
        task => transfer::run(task, arguments.timeout, &output),
    };
    done.unwrap_or_else(|error| output.failed(&error))
}
