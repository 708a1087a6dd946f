//! What a consumer has received and nobody has checked yet.
//!
//! Objects stay here until the harness asks for their digests, so that hashing and freeing fall outside every timed
//! region. Bounded by [`MAX_OBJECT_BYTES`] in sum.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;

use crate::{
    MAX_OBJECT_BYTES,
    arrival::Arrived,
    messages::{Receipt, Verified},
    object::Digest,
};

/// The objects of one consumer instance.
#[derive(Debug, Default)]
pub struct Shelf(Mutex<Vec<Piece>>);

/// One arrival, and where it has to be cut if several objects came in one body.
#[derive(Debug)]
struct Piece {
    object: Bytes,
    cuts: Vec<u64>,
}

impl Shelf {
    /// Keeps an object until [`Self::verify`].
    ///
    /// # Errors
    /// If more lies here than the bound allows: then nobody has verified for too long.
    pub fn keep(&self, arrived: Arrived, get_ns: u64) -> Result<Receipt> {
        self.keep_cut(arrived, get_ns, Vec::new())
    }

    /// Keeps a body in which objects of these lengths lie one behind the other; none: one object.
    ///
    /// # Errors
    /// As [`Self::keep`].
    pub fn keep_cut(&self, arrived: Arrived, get_ns: u64, cuts: Vec<u64>) -> Result<Receipt> {
        let (object, arrived_ns) = arrived.into_parts();
        let length = object.len() as u64;
        let mut pieces = self.locked();
        let held: u64 = pieces.iter().map(|piece| piece.object.len() as u64).sum();
        ensure!(
            held.saturating_add(length) <= MAX_OBJECT_BYTES,
            "{held} bytes wait for verification, and at most {MAX_OBJECT_BYTES} may"
        );
        pieces.push(Piece { object, cuts });
        Ok(Receipt {
            length,
            arrived_ns,
            get_ns,
        })
    }

    /// Hashes everything and frees it, off the threads that serve requests.
    ///
    /// # Errors
    /// If a body is not as long as the objects in it.
    pub async fn verify(&self) -> Result<Vec<Verified>> {
        let pieces = std::mem::take(&mut *self.locked());
        let hash = move || pieces.iter().map(Piece::verify).collect::<Result<Vec<_>>>();
        let verified = tokio::task::spawn_blocking(hash)
            .await
            .context("the digests were not computed")??;
        Ok(verified.into_iter().flatten().collect())
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Piece>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Piece {
    fn verify(&self) -> Result<Vec<Verified>> {
        let length = self.object.len() as u64;
        let whole = [length];
        let cuts = if self.cuts.is_empty() { &whole[..] } else { &self.cuts };
        ensure!(
            cuts.iter().sum::<u64>() == length,
            "a body of {length} bytes holds objects of {cuts:?}"
        );
        let mut rest = &self.object[..];
        let mut verified = Vec::with_capacity(cuts.len());
        for &length in cuts {
            let (object, after) = rest.split_at(usize::try_from(length)?);
            verified.push(Verified {
                length,
                digest: Digest::of(object),
            });
            rest = after;
        }
        Ok(verified)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn objects_are_verified_once_and_then_gone() {
        let shelf = Shelf::default();
        let receipt = shelf.keep(Arrived::contiguous(Bytes::from_static(b"abc")), 9).unwrap();
        assert_eq!((receipt.length, receipt.get_ns), (3, 9));
        let expected = |bytes: &[u8]| Verified {
            length: bytes.len() as u64,
            digest: Digest::of(bytes),
        };
        assert_eq!(shelf.verify().await.unwrap(), [expected(b"abc")]);
        assert!(shelf.verify().await.unwrap().is_empty());
        let body = Arrived::contiguous(Bytes::from_static(b"aabbb"));
        shelf.keep_cut(body, 0, vec![2, 3]).unwrap();
        assert_eq!(shelf.verify().await.unwrap(), [expected(b"aa"), expected(b"bbb")]);
    }

    #[tokio::test]
    async fn a_body_that_does_not_hold_its_objects_is_an_error() {
        let shelf = Shelf::default();
        shelf
            .keep_cut(Arrived::contiguous(Bytes::from_static(b"aab")), 0, vec![2, 3])
            .unwrap();
        assert!(shelf.verify().await.is_err());
    }
}
