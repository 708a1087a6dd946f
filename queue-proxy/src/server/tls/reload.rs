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

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use tempfile::TempDir;

    use super::*;
    use crate::server::tls::settings::{Settings, Texts};

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["data-plane.knative.dev".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn write(folder: &Path, (certificate, key): &(String, String)) {
        fs::write(folder.join("tls.crt"), certificate).expect("a writable folder");
        fs::write(folder.join("tls.key"), key).expect("a writable folder");
    }

    /// What becomes of a pair that is good, broken, and good again; each is there for a reading or two.
    #[tokio::test(start_paused = true)]
    async fn c136_a_good_pair_after_a_broken_one_is_taken_by_itself() {
        let folder = TempDir::new().expect("a folder");
        let (old, new) = (pair(), pair());
        write(folder.path(), &old);
        let settings = Settings::parse(&Texts::default(), folder.path()).expect("the defaults");
        let (tls, hash) = Tls::open(&settings).expect("usable").expect("both files");
        tls.watch(hash);
        let first = tls.config.load_full();
        for broken in [
            (new.0.clone(), old.1.clone()),
            ("no certificate".to_owned(), old.1.clone()),
            old.clone(),
        ] {
            write(folder.path(), &broken);
            tokio::time::sleep(EVERY + Duration::from_secs(1)).await;
            assert!(Arc::ptr_eq(&first, &tls.config.load_full()), "the old one stays");
        }
        write(folder.path(), &new);
        tokio::time::sleep(EVERY + Duration::from_secs(1)).await;
        assert!(!Arc::ptr_eq(&first, &tls.config.load_full()), "the new one is served");
    }
}
