//! The binary `xdt-queue-proxy`: parse, log, run, exit code.

use std::process::ExitCode;

use xdt_queue_proxy::{
    config::{
        Config, Raw,
        cli::{self, Task},
    },
    server,
};

fn main() -> ExitCode {
    match cli::task(&cli::command().get_matches()) {
        Task::Serve(flags) => match Config::parse(&Raw::new(environment(), flags)) {
            Ok(config) => server::run(config),
            Err(faults) => failed(&faults),
        },
        Task::KeyringNew(file, id) => told(file.create(id).map(|id| format!("key ring with key {}", id.as_str()))),
        Task::KeyringAdd(file, id, primary) => {
            told(file.add(id, primary).map(|id| format!("added key {}", id.as_str())))
        }
        Task::ConfigReference => {
            print!("{}", cli::reference());
            ExitCode::SUCCESS
        }
    }
}

/// The environment; what is no text is no setting of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn told(result: Result<String, impl std::error::Error>) -> ExitCode {
    match result {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&chain(&error)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn failed(why: &impl std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}
