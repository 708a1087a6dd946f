//! Watches the key ring's file and takes a new ring into use without a restart.
//!
//! The folder is watched, not the file: the kubelet replaces a mounted secret by swapping a symbolic link beside it.

use std::{path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use crate::trust::{KeyRing, KeyRingFile};

/// Changes come in bursts (create, write, rename); one reload follows when they have settled.
const SETTLE: Duration = Duration::from_millis(50);
/// Where the system cannot watch files, and as a safety net where it can, the file is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Starts watching `file`; `ring` follows it.
pub(super) fn watch(file: KeyRingFile, ring: Arc<ArcSwap<KeyRing>>) {
    // One slot: a reload reads the whole file, so more pending notices say nothing new.
    let (notice, notices) = mpsc::channel(1);
    let on_event = move |_event| {
        let _already_noticed = notice.try_send(());
    };
    let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        watcher.watch(folder(file.path()), RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    if let Err(error) = &watcher {
        tracing::warn!(%error, "the key ring file cannot be watched; it is read again every minute");
    }
    tokio::spawn(async move {
        follow(file, ring, notices).await;
        drop(watcher);
    });
}

fn folder(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

async fn follow(file: KeyRingFile, ring: Arc<ArcSwap<KeyRing>>, mut notices: mpsc::Receiver<()>) {
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
        match tokio::time::timeout(LOOK_AGAIN, notices.recv()).await {
            Ok(Some(())) => tokio::time::sleep(SETTLE).await,
            Ok(None) => tokio::time::sleep(LOOK_AGAIN).await, // nothing watches the file
            Err(_) => {}
        }
    }
}
