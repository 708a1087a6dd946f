//! Reads the pair anew each minute, as stock does: the kubelet replaces a mounted secret by swapping a symbolic link.

use std::{sync::Arc, time::Duration};

use super::{
    Tls, TlsError,
    pair::{Hash, Pair},
};
use crate::error::chain;

/// Time between two readings.
const EVERY: Duration = Duration::from_secs(60);
/// Keeps `tls` at the mounted pair. While that cannot be used the old one stays, and every reading says so.
pub(super) async fn follow(tls: Arc<Tls>, mut hash: Hash) {
    loop {
        tokio::time::sleep(EVERY).await;
        match look(&tls, hash) {
            Ok(fresh) if fresh == hash => {}
            Ok(fresh) => {
                hash = fresh;
                tracing::info!("Certificate and/or key have changed on disk and were reloaded.");
            }
            Err(error) => tracing::error!(
                error = chain(&error),
                "the new certificate cannot be used; the old one stays"
            ),
        }
    }
}

/// Takes what has changed into use; returns the hash of what is there now. Looks twice before it calls a pair broken:
/// the link may have been swapped between its two files.
fn look(tls: &Tls, hash: Hash) -> Result<Hash, TlsError> {
    look_once(tls, hash).or_else(|_| look_once(tls, hash))
}

fn look_once(tls: &Tls, hash: Hash) -> Result<Hash, TlsError> {
    let pair = Pair::read(&tls.settings.folder)?;
    let fresh = pair.hash();
    if fresh != hash {
        tls.replace(&pair)?;
    }
    Ok(fresh)
}
