//! The baseline servers: installed into `target/`, started on free loopback ports, stopped with the run.
//!
//! Each is third-party software as its maintainers ship it. A server that cannot be had here is left out of the run with
//! a line that says why, and its columns are missing from the tables; nothing is put in its place.

mod install;
mod process;
mod redis;
mod s3;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use xdt_patterns::{
    messages::Backend,
    storage::{REDIS_VARIABLE, S3_CONTROL_VARIABLE, S3_VARIABLE},
};

use process::Server;

/// The servers of a run; they end when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    running: Vec<Store>,
    left_out: Vec<LeftOut>,
}

#[derive(Debug)]
struct Store {
    backend: Backend,
    server: Server,
    about: About,
}

/// What a result folder says about a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// Its column.
    pub(crate) column: String,
    /// Name and version as the program tells them.
    pub(crate) version: String,
    /// Arguments that matter.
    pub(crate) settings: String,
}

/// A store that cannot be had on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    /// Its column.
    pub(crate) column: String,
    /// Why.
    pub(crate) reason: String,
}

impl Stores {
    /// Installs and starts those of `wanted` that are stores; `tools` is where installed programs go.
    pub(crate) async fn start(wanted: &[Backend], tools: &Path) -> Self {
        let mut stores = Self::default();
        for &backend in wanted {
            let (column, started) = match backend {
                Backend::S3 => ("s3", s3::memory_server(tools).await),
                Backend::S3Control => ("s3-control", s3::file_server(tools).await),
                Backend::Redis => ("redis", redis::server(tools).await),
                _ => continue,
            };
            match started {
                Ok((server, version, settings)) => stores.running.push(Store {
                    backend,
                    server,
                    about: About {
                        column: column.into(),
                        version,
                        settings,
                    },
                }),
                Err(error) => stores.left_out.push(LeftOut {
                    column: column.into(),
                    reason: format!("{error:#}"),
                }),
            }
        }
        stores
    }

    /// Whether `backend` needs no store or has one here.
    pub(crate) fn serves(&self, backend: Backend) -> bool {
        let is_store = matches!(backend, Backend::S3 | Backend::S3Control | Backend::Redis);
        !is_store || self.running.iter().any(|store| store.backend == backend)
    }

    /// Variables that tell functions where the stores are.
    pub(crate) fn variables(&self) -> Vec<(String, String)> {
        let variable = |store: &Store| {
            let address = store.server.address();
            match store.backend {
                Backend::Redis => (REDIS_VARIABLE.to_owned(), address.to_string()),
                Backend::S3Control => (S3_CONTROL_VARIABLE.to_owned(), format!("http://{address}")),
                _ => (S3_VARIABLE.to_owned(), format!("http://{address}")),
            }
        };
        self.running.iter().map(variable).collect()
    }

    /// Process id of the store behind `backend`.
    pub(crate) fn pid(&self, backend: Backend) -> Option<u32> {
        let store = self.running.iter().find(|store| store.backend == backend)?;
        Some(store.server.pid())
    }

    /// What runs.
    pub(crate) fn about(&self) -> Vec<About> {
        self.running.iter().map(|store| store.about.clone()).collect()
    }

    /// What does not.
    pub(crate) fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }
}

/// Where programs are installed: `baselines/` in the build's target folder.
///
/// # Errors
/// If this executable lies nowhere.
pub(crate) fn tools() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).unwrap_or(Path::new("target"));
    Ok(target.join("baselines"))
}
