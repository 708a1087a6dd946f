//! A node that several sidecars share: its directory (`XDT_NODE_DIR`) and its name.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// One node; its directory goes when it is dropped.
#[derive(Debug)]
pub struct Node {
    folder: TempDir,
    name: String,
}

impl Node {
    /// An empty node of this name.
    ///
    /// # Panics
    /// If no folder can be made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            folder: TempDir::new().expect("a temporary folder"),
            name: name.to_owned(),
        }
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `XDT_NODE_NAME`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What lies in its directory: a socket for each sidecar.
    ///
    /// # Panics
    /// If the directory has gone.
    #[must_use]
    pub fn sockets(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path()).expect("the node's directory");
        entries.map(|entry| entry.expect("readable").path()).collect()
    }
}
