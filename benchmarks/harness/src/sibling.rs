//! The programs of this build, which lie in the folder of `xdt-bench` itself.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, ensure};

/// File name of the sidecar, and its package.
pub(crate) const SIDECAR: &str = "xdt-queue-proxy";
/// File name of the functions, and their package.
pub(crate) const FUNCTIONS: &str = "xdt-patterns";

/// The program `name` beside this executable.
///
/// # Errors
/// If it is not there.
pub(crate) fn sibling(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("where is this executable?")?;
    let path = own.with_file_name(name);
    ensure!(
        path.is_file(),
        "{} does not exist; build it first: cargo build -p {name}",
        path.display()
    );
    Ok(path)
}
