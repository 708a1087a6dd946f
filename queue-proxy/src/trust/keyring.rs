//! The key ring: parsing, one derived key per purpose, and the file that `keyring new|add` writes.
//!
//! Contract, section 6. Secrets are zeroed when dropped and never printed.

use std::{
    collections::HashSet,
    fmt,
    io::Write as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use xaes_256_gcm::{
    Nonce, Xaes256Gcm,
    aead::{Aead as _, Key as AeadKey, KeyInit as _, Payload},
};
use zeroize::{Zeroize as _, Zeroizing};

use super::random;

/// Most keys in one ring: opening a reference looks its key up by id, so this only bounds the file.
const MAX_KEYS: usize = 64;
/// Largest key ring file, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// Bytes of a nonce.
pub(super) const NONCE_LEN: usize = 24;

/// Names one key: 1 to 16 characters of `[A-Za-z0-9-]`. Not secret.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct KeyId(String);

impl KeyId {
    /// Checks the form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=16).contains(&text.len());
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (fits && plain).then(|| Self(text.to_owned()))
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a derived key is used for: one key, one purpose.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Reference,
    Ticket,
    Answer,
    Copy,
}

/// One key of the ring, as its four derived keys.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: KeyId,
    reference: Xaes256Gcm,
    ticket: Xaes256Gcm,
    answer: Xaes256Gcm,
    copy: Xaes256Gcm,
}

impl Key {
    fn derive(id: KeyId, secret: &[u8; 32]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, secret);
        Self {
            id,
            reference: derived(&hkdf, b"xdt reference v1"),
            ticket: derived(&hkdf, b"xdt ticket v1"),
            answer: derived(&hkdf, b"xdt answer v1"),
            copy: derived(&hkdf, b"xdt spilled copy v1"),
        }
    }

    fn cipher(&self, purpose: Purpose) -> &Xaes256Gcm {
        match purpose {
            Purpose::Reference => &self.reference,
            Purpose::Ticket => &self.ticket,
            Purpose::Answer => &self.answer,
            Purpose::Copy => &self.copy,
        }
    }

    /// Nonce, then ciphertext and tag.
    pub(super) fn seal(&self, purpose: Purpose, aad: &[u8], msg: &[u8]) -> Result<Vec<u8>, getrandom::Error> {
        let nonce: [u8; NONCE_LEN] = random()?;
        let mut sealed = nonce.to_vec();
        #[allow(clippy::expect_used)]
        let text = self
            .cipher(purpose)
            .encrypt(&Nonce::from(nonce), Payload { msg, aad })
            .expect("AES-GCM only fails above 64 GiB, and no message here is over a few MiB");
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// The message, if `sealed` was made by [`Self::seal`] with the same key, purpose and `aad`.
    pub(super) fn open(&self, purpose: Purpose, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, msg) = sealed.split_first_chunk::<NONCE_LEN>()?;
        self.cipher(purpose)
            .decrypt(&Nonce::from(*nonce), Payload { msg, aad })
            .ok()
    }
}

fn derived(hkdf: &Hkdf<Sha256>, label: &[u8]) -> Xaes256Gcm {
    let mut bytes = Zeroizing::new([0; 32]);
    #[allow(clippy::expect_used)]
    hkdf.expand(label, bytes.as_mut())
        .expect("HKDF-SHA256 gives up to 8160 bytes");
    Xaes256Gcm::new(&AeadKey::<Xaes256Gcm>::from(*bytes))
}

/// The keys that open, and the one that seals.
#[derive(Clone)]
pub struct KeyRing {
    keys: Vec<Key>,
    primary: usize,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| key.id.as_str()))
            .finish()
    }
}

impl KeyRing {
    /// Reads the JSON form.
    ///
    /// # Errors
    /// [`KeyRingError`] names what is wrong without showing a secret.
    pub fn parse(json: &[u8]) -> Result<Self, KeyRingError> {
        RingDocument::parse(json)?.derive()
    }

    pub(super) fn primary(&self) -> &Key {
        &self.keys[self.primary]
    }

    pub(super) fn find(&self, id: &KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == *id)
    }

    /// How many keys it lists.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a ring is never empty
    pub fn len(&self) -> usize {
        self.keys.len()
    }
}

/// Why a key ring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The file could not be read.
    #[error("cannot read the key ring file")]
    Read(#[source] std::io::Error),
    /// The file could not be written.
    #[error("cannot write the key ring file")]
    Write(#[source] std::io::Error),
    /// Larger than any ring.
    #[error("the key ring file is larger than {MAX_FILE} bytes")]
    TooLong,
    /// Not JSON of the right shape; the position is told, the text is not.
    #[error(
        "the key ring is not of the form {{\"primary\":ID,\"keys\":[{{\"id\":ID,\"secret\":BASE64}}]}} \
         (line {line}, column {column})"
    )]
    Shape {
        /// Line of the first fault, from 1.
        line: usize,
        /// Column of the first fault.
        column: usize,
    },
    /// A bad key id.
    #[error("key {position} has an id that is not 1 to 16 characters of [A-Za-z0-9-]")]
    KeyId {
        /// Place in the list, from 1.
        position: usize,
    },
    /// A bad secret.
    #[error("the secret of key {id} is not the base64 form of 32 bytes")]
    Secret {
        /// The key.
        id: String,
    },
    /// Two keys with one id.
    #[error("key id {id} stands twice in the key ring")]
    Duplicate {
        /// The key.
        id: String,
    },
    /// No keys, or too many.
    #[error("the key ring has {count} keys; 1 to {MAX_KEYS} are accepted")]
    Count {
        /// Keys in the file.
        count: usize,
    },
    /// The primary is not listed.
    #[error("the primary key is not in the list of keys")]
    Primary,
    /// No such key.
    #[error("the key ring has no key {id}")]
    Unknown {
        /// The key asked for.
        id: String,
    },
    /// The key to be taken out is the one that seals.
    #[error("key {id} is the primary; make another key the primary first")]
    RetiresPrimary {
        /// The key.
        id: String,
    },
    /// No random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RingDocument {
    primary: String,
    keys: Vec<KeyDocument>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyDocument {
    id: String,
    secret: String,
}

impl Drop for KeyDocument {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl RingDocument {
    fn parse(json: &[u8]) -> Result<Self, KeyRingError> {
        // The error's own text could quote a secret, so only its position is kept.
        serde_json::from_slice(json).map_err(|e| KeyRingError::Shape {
            line: e.line(),
            column: e.column(),
        })
    }

    fn derive(&self) -> Result<KeyRing, KeyRingError> {
        if !(1..=MAX_KEYS).contains(&self.keys.len()) {
            return Err(KeyRingError::Count { count: self.keys.len() });
        }
        let mut seen = HashSet::new();
        let mut keys = Vec::with_capacity(self.keys.len());
        for (index, key) in self.keys.iter().enumerate() {
            let id = KeyId::parse(&key.id).ok_or(KeyRingError::KeyId { position: index + 1 })?;
            if !seen.insert(id.clone()) {
                return Err(KeyRingError::Duplicate { id: key.id.clone() });
            }
            let bytes = Zeroizing::new(STANDARD.decode(&key.secret).unwrap_or_default());
            let secret =
                <&[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| KeyRingError::Secret { id: key.id.clone() })?;
            keys.push(Key::derive(id, secret));
        }
        let primary = keys
            .iter()
            .position(|key| key.id.as_str() == self.primary)
            .ok_or(KeyRingError::Primary)?;
        Ok(KeyRing { keys, primary })
    }

    fn place(&self, id: &KeyId) -> Result<usize, KeyRingError> {
        let place = self.keys.iter().position(|key| key.id == id.as_str());
        place.ok_or_else(|| KeyRingError::Unknown {
            id: id.as_str().to_owned(),
        })
    }

    fn add_random(&mut self, id: &KeyId) -> Result<(), KeyRingError> {
        let secret = Zeroizing::new(random::<32>().map_err(|_| KeyRingError::NoRandomness)?);
        self.keys.push(KeyDocument {
            id: id.as_str().to_owned(),
            secret: STANDARD.encode(secret.as_ref()),
        });
        Ok(())
    }
}

/// A key ring on disk.
#[derive(Debug, Clone)]
pub struct KeyRingFile {
    path: PathBuf,
}

impl KeyRingFile {
    /// The file at `path`; nothing is read yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and checks it.
    ///
    /// # Errors
    /// [`KeyRingError`].
    pub fn load(&self) -> Result<KeyRing, KeyRingError> {
        KeyRing::parse(&self.read()?)
    }

    /// As [`Self::load`], with a digest that tells whether the file has changed.
    ///
    /// # Errors
    /// [`KeyRingError`].
    pub fn load_with_digest(&self) -> Result<(KeyRing, [u8; 32]), KeyRingError> {
        let json = self.read()?;
        Ok((KeyRing::parse(&json)?, Sha256::digest(&json).into()))
    }

    /// Makes a ring with one random key in a new file that only its owner may read.
    ///
    /// # Errors
    /// [`KeyRingError::Write`], also if the file exists: a ring is never overwritten.
    pub fn create(&self, id: Option<KeyId>) -> Result<KeyId, KeyRingError> {
        let id = id.unwrap_or_else(|| month_id(&HashSet::new()));
        let mut document = RingDocument {
            primary: id.as_str().to_owned(),
            keys: Vec::new(),
        };
        document.add_random(&id)?;
        let file = self.write_beside(&document)?;
        file.persist_noclobber(&self.path)
            .map_err(|e| KeyRingError::Write(e.error))?;
        Ok(id)
    }

    /// Adds a random key. It opens at once; it seals only if `make_primary`, which is safe as soon as every queue-proxy
    /// of the trust domain has read the file.
    ///
    /// # Errors
    /// [`KeyRingError`]; the file is then unchanged.
    pub fn add(&self, id: Option<KeyId>, make_primary: bool) -> Result<KeyId, KeyRingError> {
        let mut document = RingDocument::parse(&self.read()?)?;
        let taken: HashSet<String> = document.keys.iter().map(|key| key.id.clone()).collect();
        let id = id.unwrap_or_else(|| month_id(&taken));
        document.add_random(&id)?;
        if make_primary {
            id.as_str().clone_into(&mut document.primary);
        }
        self.replace(&document)?; // refuses duplicates and too many keys before anything is written
        Ok(id)
    }

    /// Makes a listed key the one that seals.
    ///
    /// # Errors
    /// [`KeyRingError`]; the file is then unchanged.
    pub fn promote(&self, id: &KeyId) -> Result<(), KeyRingError> {
        let mut document = RingDocument::parse(&self.read()?)?;
        document.place(id)?;
        id.as_str().clone_into(&mut document.primary);
        self.replace(&document)
    }

    /// Takes a key out: what was sealed with it opens no more. The primary key stays.
    ///
    /// # Errors
    /// [`KeyRingError`]; the file is then unchanged.
    pub fn retire(&self, id: &KeyId) -> Result<(), KeyRingError> {
        let mut document = RingDocument::parse(&self.read()?)?;
        let place = document.place(id)?;
        if document.primary == id.as_str() {
            return Err(KeyRingError::RetiresPrimary { id: document.primary });
        }
        document.keys.remove(place);
        self.replace(&document)
    }

    /// The ids of its keys in their order, each with whether it is the primary.
    ///
    /// # Errors
    /// [`KeyRingError`].
    pub fn list(&self) -> Result<Vec<(KeyId, bool)>, KeyRingError> {
        let ring = self.load()?;
        let ids = ring.keys.iter().enumerate();
        Ok(ids
            .map(|(place, key)| (key.id.clone(), place == ring.primary))
            .collect())
    }

    /// Writes a ring over this file, in one step, unless it could not be used.
    fn replace(&self, document: &RingDocument) -> Result<(), KeyRingError> {
        document.derive()?;
        self.write_beside(document)?
            .persist(&self.path)
            .map_err(|e| KeyRingError::Write(e.error))?;
        Ok(())
    }

    fn read(&self) -> Result<Zeroizing<Vec<u8>>, KeyRingError> {
        let length = std::fs::metadata(&self.path).map_err(KeyRingError::Read)?.len();
        if length > MAX_FILE {
            return Err(KeyRingError::TooLong);
        }
        std::fs::read(&self.path)
            .map(Zeroizing::new)
            .map_err(KeyRingError::Read)
    }

    /// A complete file with mode 0600 in the same folder, ready to take the ring's name in one step.
    fn write_beside(&self, document: &RingDocument) -> Result<tempfile::NamedTempFile, KeyRingError> {
        let folder = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(KeyRingError::Write)?;
        let json = Zeroizing::new(serde_json::to_vec_pretty(document).unwrap_or_default());
        file.write_all(&json)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(KeyRingError::Write)?;
        Ok(file)
    }
}

/// `2026-11`, or `2026-11-2` where that is taken.
fn month_id(taken: &HashSet<String>) -> KeyId {
    let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let month = &today[..7];
    let mut names = std::iter::once(month.to_owned()).chain((2..).map(|n| format!("{month}-{n}")));
    KeyId(names.find(|name| !taken.contains(name)).unwrap_or_default())
}

#[cfg(test)]
mod tests;
