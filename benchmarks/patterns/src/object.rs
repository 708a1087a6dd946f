//! What is sent: seeded bytes that do not compress, or a file of the user's; and the digest that proves it arrived.
//!
//! Generator, for readers in other languages: PCG XSL RR 128/64 (`Pcg64`) with state
//! `seed << 64 | producer << 40 | repetition` and stream `size` (increment `size << 1 | 1`, added to the state and stepped once at the start), its 64-bit outputs
//! written little-endian, the last one cut to fit. So each repetition sends different bytes, and a stale buffer
//! somewhere on the way shows as a wrong digest.

use std::{fs::File, io::Read as _, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use rand_pcg::{Pcg64, rand_core::Rng as _};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::MAX_OBJECT_BYTES;

/// Where an object's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// Made from numbers: the same everywhere, and incompressible.
    Seeded {
        /// Bytes.
        size: u64,
        /// Chooses the run.
        seed: u64,
        /// Chooses the repetition within the run; below 2^40.
        repetition: u64,
        /// Chooses the producer within the repetition, or the object of one producer; below 2^24.
        #[serde(default)]
        producer: u64,
    },
    /// Read from disk by whoever needs it.
    File {
        /// Where the file lies.
        path: PathBuf,
    },
}

/// An object in memory, ready to be sent.
#[derive(Debug, Clone)]
pub struct Payload {
    /// The bytes, in one piece.
    pub bytes: Bytes,
    /// Their digest.
    pub digest: Digest,
}

/// An xxh3-64 hash; in JSON sixteen hexadecimal digits, since not every JSON reader keeps 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Digest(pub u64);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_64(bytes))
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        format!("{:016x}", digest.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Self)
    }
}

impl Source {
    /// Makes or reads the whole object. Blocks.
    ///
    /// # Errors
    /// A file that cannot be read, or an object of no bytes or of more than [`MAX_OBJECT_BYTES`].
    pub fn load(&self) -> Result<Payload> {
        let bytes = match self {
            Self::Seeded {
                size,
                seed,
                repetition,
                producer,
            } => seeded(*size, *seed, producer << 40 | repetition)?,
            Self::File { path } => read(path)?,
        };
        let digest = Digest::of(&bytes);
        Ok(Payload {
            bytes: bytes.into(),
            digest,
        })
    }
}

fn seeded(size: u64, seed: u64, number: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; checked_size(size)?];
    let state = u128::from(seed) << 64 | u128::from(number);
    Pcg64::new(state, u128::from(size)).fill_bytes(&mut bytes);
    Ok(bytes)
}

fn read(path: &PathBuf) -> Result<Vec<u8>> {
    let what = || path.display().to_string();
    let file = File::open(path).with_context(what)?;
    let size = checked_size(file.metadata().with_context(what)?.len()).with_context(what)?;
    let mut bytes = Vec::with_capacity(size + 1);
    // A file that grows meanwhile must not make us read without end.
    file.take(MAX_OBJECT_BYTES).read_to_end(&mut bytes).with_context(what)?;
    Ok(bytes)
}

fn checked_size(size: u64) -> Result<usize> {
    ensure!(size > 0, "an object has at least one byte");
    ensure!(
        size <= MAX_OBJECT_BYTES,
        "an object has at most {MAX_OBJECT_BYTES} bytes, this one has {size}"
    );
    Ok(usize::try_from(size)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(size: u64, seed: u64, repetition: u64) -> Digest {
        Source::Seeded {
            size,
            seed,
            repetition,
            producer: 0,
        }
        .load()
        .unwrap()
        .digest
    }

    #[test]
    fn same_numbers_give_same_bytes() {
        assert_eq!(digest(100_003, 1, 2), digest(100_003, 1, 2));
    }

    #[test]
    fn the_generator_never_changes() {
        let payload = Source::Seeded {
            size: 20,
            seed: 2309,
            repetition: 7,
            producer: 0,
        }
        .load()
        .unwrap();
        // From an implementation of the head of this file in another language.
        assert_eq!(
            payload.bytes,
            [
                0x4e, 0x84, 0xff, 0xdb, 0xe8, 0xd1, 0x97, 0x5b, 0xa8, 0x88, 0x48, 0x5c, 0xe6, 0x24, 0x0f, 0x0f, 0x76,
                0x30, 0x3c, 0xea,
            ][..]
        );
        assert_eq!(String::from(digest(10_240, 2309, 7)), "5c4df77e40937205");
    }

    #[test]
    fn every_number_counts() {
        let all = [
            digest(4096, 1, 1),
            digest(4096, 2, 1),
            digest(4096, 1, 2),
            digest(4097, 1, 1),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn a_file_is_sent_as_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"one two three").unwrap();
        let payload = Source::File {
            path: file.path().to_owned(),
        }
        .load()
        .unwrap();
        assert_eq!(&payload.bytes[..], b"one two three");
        assert_eq!(payload.digest, Digest::of(b"one two three"));
    }

    #[test]
    fn no_bytes_too_many_bytes_and_no_file_are_refused() {
        for size in [0, MAX_OBJECT_BYTES + 1, u64::MAX] {
            assert!(
                Source::Seeded {
                    size,
                    seed: 0,
                    repetition: 0,
                    producer: 0,
                }
                .load()
                .is_err(),
                "{size}"
            );
        }
        let error = Source::File {
            path: "/nowhere/at/all".into(),
        }
        .load()
        .unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/at/all"), "{error:#}");
    }

    #[test]
    fn a_digest_reads_back_from_json() {
        let digest = Digest(0x0123_4567_89ab_cdef);
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(text, "\"0123456789abcdef\"");
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
    }
}
