//! The binary `xdt-queue-proxy`: parse, log, run, exit code.

use std::process::ExitCode;

use xdt_queue_proxy::{
    config::{
        Config, Raw,
        cli::{self, Task},
    },
    error::chain,
    server,
    telemetry::log,
    transfer::pool::keep_touched_pages,
};

fn main() -> ExitCode {
    match cli::task(&cli::command().get_matches()) {
        Task::Serve(flags) => serve(&Raw::new(environment(), flags)),
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

/// Knative's order: faults of the environment are plain lines; then there is a log, which tells the others.
fn serve(raw: &Raw) -> ExitCode {
    keep_touched_pages();
    let config = Config::parse(raw);
    if let Err(faults) = &config
        && faults.for_the_log().is_empty()
    {
        return failed(faults);
    }
    let text = |name| raw.get(name).unwrap_or_default();
    log::install(&log::Settings {
        config: text("SERVING_LOGGING_CONFIG"),
        level: text("SERVING_LOGGING_LEVEL"),
        namespace: text("SERVING_NAMESPACE"),
        revision: text("SERVING_REVISION"),
        pod: text("SERVING_POD"),
    });
    match config {
        Ok(config) => server::run(config),
        Err(faults) => {
            for content in faults.for_the_log() {
                log::fatal(&content.error, &content.message());
            }
            ExitCode::FAILURE
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

fn failed(why: &impl std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}
