//! The cache baseline: Debian's `redis-server`, without persistence (contract, section E).

use std::{ffi::OsString, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{install, process::Server};

/// As stated in the contract: nothing goes to disk, answers are not cut off, one thread like one node of a cache service.
const SETTINGS: [&str; 8] = [
    "--save",
    "",
    "--appendonly",
    "no",
    "--io-threads",
    "1",
    "--client-output-buffer-limit",
    "normal 0 0 0",
];

pub(super) async fn server(tools: &Path) -> Result<(Server, String, String)> {
    let program = install::redis(tools).await?;
    let version = install::output(program.command().arg("--version")).context("redis-server does not run")?;
    let server = Server::start(|address| {
        let mut command = program.command();
        command.args([
            "--bind",
            &address.ip().to_string(),
            "--port",
            &address.port().to_string(),
        ]);
        command.args(SETTINGS);
        command
    });
    let settings = "--save '' --appendonly no --io-threads 1 --client-output-buffer-limit 'normal 0 0 0'";
    Ok((server.await?, version, settings.to_owned()))
}

/// A program, and where its libraries are if not where the system has them.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) path: OsString,
    pub(super) libraries: Option<OsString>,
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}
