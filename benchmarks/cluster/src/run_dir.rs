//! The run folder: key ring, logs and `endpoints.json` of one cluster.
//!
//! A folder that the caller named stays. A temporary one is removed by a clean stop, unless something crashed. The key
//! ring goes in either case.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::error::{Role, StartError};

/// One cluster's folder.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    is_temporary: bool,
    is_kept: AtomicBool,
}

impl RunDir {
    /// Opens `asked`, or makes a temporary folder named after `tag`; both are readable by this user only when made here.
    pub(crate) fn create(asked: Option<&Path>, tag: &str) -> Result<Self, StartError> {
        let is_temporary = asked.is_none();
        let path = asked.map_or_else(
            || std::env::temp_dir().join(format!("xdt-cluster-{tag}")),
            Path::to_owned,
        );
        let made = DirBuilder::new().mode(0o700).recursive(!is_temporary).create(&path);
        let path = made
            .and_then(|()| std::path::absolute(&path))
            .map_err(|source| StartError::RunDir {
                path: path.clone(),
                source,
            })?;
        Ok(Self {
            path,
            is_temporary,
            is_kept: AtomicBool::new(false),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the sidecars find their keys.
    pub(crate) fn keyring(&self) -> PathBuf {
        self.path.join("cluster-keyring.json")
    }

    /// Where sidecars of one node find each other.
    pub(crate) fn node(&self) -> PathBuf {
        self.path.join("node")
    }

    /// Makes [`Self::node`], for this user only.
    pub(crate) fn make_node(&self) -> Result<(), StartError> {
        let path = self.node();
        let made = DirBuilder::new().mode(0o700).recursive(true).create(&path);
        made.map_err(|source| StartError::RunDir { path, source })
    }

    /// Where callers find the cluster's addresses.
    pub(crate) fn endpoints(&self) -> PathBuf {
        self.path.join("endpoints.json")
    }

    /// The log of one process.
    pub(crate) fn log(&self, pod: &str, role: Role) -> PathBuf {
        self.path.join(match role {
            Role::User => format!("{pod}.user.log"),
            Role::Sidecar => format!("{pod}.sidecar.log"),
        })
    }

    /// Writes a fresh key ring that only this user can read.
    pub(crate) fn write_keyring(&self) -> Result<(), StartError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(StartError::Random)?;
        let key = json!({"id": "cluster", "secret": STANDARD.encode(secret)});
        let ring = json!({"primary": "cluster", "keys": [key]}).to_string();
        let path = self.keyring();
        replace(&path, ring.as_bytes()).map_err(|source| StartError::RunDir { path, source })
    }

    /// Keeps a temporary folder: something in it is worth reading.
    pub(crate) fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// Ends the folder after a clean stop. What cannot be removed stays; the processes are gone already.
    pub(crate) fn close(&self) {
        let gone = match self.is_temporary && !self.is_kept.load(Ordering::Relaxed) {
            true => std::fs::remove_dir_all(&self.path),
            false => std::fs::remove_file(self.keyring()),
        };
        if let Err(error) = gone {
            tracing::debug!(%error, "the run folder was not cleaned up");
        }
    }
}

/// Replaces the content of `path` in one step, so that no reader sees half of it. Mode 0600.
pub(crate) fn replace(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    let mut file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(content)?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_ring_holds_32_random_bytes_for_this_user_only() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::create(Some(folder.path()), "t").unwrap();
        run_dir.write_keyring().unwrap();
        let path = run_dir.keyring();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let ring: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(ring["primary"], ring["keys"][0]["id"]);
        let secret = STANDARD.decode(ring["keys"][0]["secret"].as_str().unwrap()).unwrap();
        assert_eq!(secret.len(), 32);
        run_dir.close();
        assert!(!path.exists() && folder.path().exists());
    }

    #[test]
    fn a_temporary_folder_goes_unless_kept() {
        let tag = format!("test-{}", std::process::id());
        let run_dir = RunDir::create(None, &tag).unwrap();
        run_dir.keep();
        run_dir.close();
        assert!(run_dir.path().exists());
        run_dir.is_kept.store(false, Ordering::Relaxed);
        run_dir.close();
        assert!(!run_dir.path().exists());
    }
}
