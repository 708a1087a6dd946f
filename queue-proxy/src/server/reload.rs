//! Watches files that may change while the process runs, and takes what they hold into use without a restart: the key
//! ring, and the certificates of the data port.
//!
//! Folders are watched, not files: the kubelet replaces a mounted secret by swapping a symbolic link beside it.

use std::{path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::{
    error::chain,
    mutual::Mutual,
    trust::{KeyRing, KeyRingFile},
};

/// Changes come in bursts (create, write, rename); one reload follows when they have settled.
const SETTLE: Duration = Duration::from_millis(50);
/// Where the system cannot watch files, and as a safety net where it can, they are looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Starts watching `file`; `ring` follows it.
pub(super) fn watch(file: KeyRingFile, ring: Arc<ArcSwap<KeyRing>>) {
    let changes = Changes::of(&[file.path()], "the key ring file");
    tokio::spawn(follow(file, ring, changes));
}

/// Starts watching the files of `mutual`, which follows them.
pub(super) fn watch_certificates(mutual: Arc<Mutual>) {
    let changes = Changes::of(&mutual.files(), "the certificates of the data port");
    tokio::spawn(follow_certificates(mutual, changes));
}

/// Notices of changes in the folders of some files.
struct Changes {
    notices: mpsc::Receiver<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl Changes {
    /// `what` is told where the system cannot watch.
    fn of(files: &[&Path], what: &str) -> Self {
        // One slot: a reload reads all files, so more pending notices say nothing new.
        let (notice, notices) = mpsc::channel(1);
        let on_event = move |_event| {
            let _already_noticed = notice.try_send(());
        };
        let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
            for file in files {
                watcher.watch(folder(file), RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "{what} cannot be watched; it is read again every minute");
        }
        Self {
            notices,
            _watcher: watcher.ok(),
        }
    }

    /// Resolves when it is time to look again.
    async fn next(&mut self) {
        match tokio::time::timeout(LOOK_AGAIN, self.notices.recv()).await {
            Ok(Some(())) => tokio::time::sleep(SETTLE).await,
            Ok(None) => tokio::time::sleep(LOOK_AGAIN).await, // nothing watches
            Err(_) => {}
        }
    }
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

async fn follow(file: KeyRingFile, ring: Arc<ArcSwap<KeyRing>>, mut changes: Changes) {
    // Read once more at once: the file may have changed between its first reading and the start of the watch.
    let (mut last, mut told) = (None, String::new());
    loop {
        let fresh = file.load_with_digest();
        match fresh {
            Ok((_, digest)) if last == Some(digest) => told.clear(),
            Ok((keys, digest)) => {
                told.clear();
                if last.replace(digest).is_some() {
                    tracing::info!(keys = keys.len(), "the key ring was reloaded");
                }
                ring.store(Arc::new(keys));
            }
            Err(error) if told == error.to_string() => {}
            Err(error) => {
                told = error.to_string();
                tracing::error!(error = told, "the new key ring cannot be used; the old one stays");
            }
        }
        changes.next().await;
    }
}

async fn follow_certificates(mutual: Arc<Mutual>, mut changes: Changes) {
    let mut told = String::new();
    loop {
        match mutual.reload() {
            Ok(true) => {
                told.clear();
                tracing::info!("the certificates of the data port were reloaded");
            }
            Ok(false) => told.clear(),
            Err(error) if told == chain(&error) => {}
            Err(error) => {
                told = chain(&error);
                tracing::error!(
                    error = told,
                    "the new certificates of the data port cannot be used; the old ones stay"
                );
            }
        }
        changes.next().await;
    }
}
