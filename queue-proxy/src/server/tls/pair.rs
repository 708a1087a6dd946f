//! The mounted pair: certificate and key as Knative mounts them, read, checked and compared by hash.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _},
    sign::CertifiedKey,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Names of both files in their folder (`knative.dev/networking pkg/certificates`).
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// Largest file that is read: a Kubernetes Secret holds no more.
const MAX_FILE: u64 = 1 << 20;

/// Why there is no usable pair.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// Whether a file exists cannot be told.
    #[error("Failed to verify the file path {path:?}")]
    Stat {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("failed to load certificate or key file in {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than `MAX_FILE`.
    #[error("certificate or key file in {path:?} is larger than {MAX_FILE} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not PEM, or nothing in it.
    #[error("failed to parse certificate: {what}")]
    Pem {
        /// What was looked for.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// Not a certificate and its key.
    #[error("failed to parse certificate")]
    Mismatch(#[from] rustls::Error),
}

/// The texts of both files.
pub struct Pair {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

/// What two readings are compared by.
pub(super) type Hash = [[u8; 32]; 2];

impl Pair {
    /// Whether `folder` has both files. One alone, or none, means that TLS is off.
    ///
    /// # Errors
    /// [`PairError::Stat`] where that cannot be told.
    pub(super) fn exists(folder: &Path) -> Result<bool, PairError> {
        for name in [CERTIFICATE, KEY] {
            let path = folder.join(name);
            match fs::metadata(&path) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(source) => return Err(PairError::Stat { path, source }),
            }
        }
        Ok(true)
    }

    /// Reads both files.
    pub(super) fn read(folder: &Path) -> Result<Self, PairError> {
        Ok(Self {
            certificate: read(folder.join(CERTIFICATE))?,
            key: Zeroizing::new(read(folder.join(KEY))?),
        })
    }

    /// From texts: for tests and fuzzing.
    #[must_use]
    pub fn new(certificate: &[u8], key: &[u8]) -> Self {
        Self {
            certificate: certificate.to_vec(),
            key: Zeroizing::new(key.to_vec()),
        }
    }

    pub(super) fn hash(&self) -> Hash {
        [
            Sha256::digest(&self.certificate).into(),
            Sha256::digest(&*self.key).into(),
        ]
    }

    /// The chain and its key, which belong together.
    ///
    /// # Errors
    /// [`PairError::Pem`], [`PairError::Mismatch`].
    pub fn certified(&self, provider: &CryptoProvider) -> Result<CertifiedKey, PairError> {
        let wrong = |what| move |source| PairError::Pem { what, source };
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(wrong("no certificates in PEM form"))?;
        if chain.is_empty() {
            return Err(wrong("no certificates in PEM form")(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(wrong("no private key in PEM form"))?;
        Ok(CertifiedKey::from_der(chain, key, provider)?)
    }
}

fn read(path: PathBuf) -> Result<Vec<u8>, PairError> {
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    match read {
        Ok(count) if count as u64 > MAX_FILE => Err(PairError::TooLarge { path }),
        Ok(_) => Ok(bytes),
        Err(source) => Err(PairError::Read { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::default_provider;

    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["data-plane.knative.dev".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_is_taken_and_what_does_not_belong_together_is_not() {
        let ((certificate, key), (_, other)) = (pair(), pair());
        let provider = default_provider();
        let certified = |certificate: &str, key: &str| {
            Pair::new(certificate.as_bytes(), key.as_bytes())
                .certified(&provider)
                .map(|certified| certified.cert.len())
        };
        assert_eq!(certified(&certificate, &key).expect("a pair"), 1);
        assert_eq!(
            certified(&format!("{certificate}{certificate}"), &key).expect("a chain"),
            2
        );
        let broken = certificate.replacen('M', "%", 1);
        for (certificate, key) in [
            (certificate.as_str(), other.as_str()),
            ("", &key),
            (&certificate, ""),
            (&key, &certificate),
            (&broken, &key),
        ] {
            assert!(certified(certificate, key).is_err());
        }
    }

    #[test]
    fn one_file_alone_is_no_pair_and_an_unknown_state_is_an_error() {
        let folder = tempfile::TempDir::new().expect("a folder");
        let at = |name| folder.path().join(name);
        assert!(!Pair::exists(folder.path()).expect("it can be told"));
        fs::write(at(CERTIFICATE), "").expect("writable");
        assert!(!Pair::exists(folder.path()).expect("it can be told"));
        fs::write(at(KEY), "").expect("writable");
        assert!(Pair::exists(folder.path()).expect("it can be told"));
        assert!(
            matches!(Pair::exists(&at(KEY)), Err(PairError::Stat { .. })),
            "a file is no folder"
        );
        fs::write(at(KEY), vec![b'x'; usize::try_from(MAX_FILE).expect("small") + 1]).expect("writable");
        assert!(matches!(Pair::read(folder.path()), Err(PairError::TooLarge { .. })));
    }
}
