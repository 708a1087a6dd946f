//! Bytes for objects: made from a seed, of any size without holding them, and recognisable in a log.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use xxhash_rust::xxh3::Xxh3;

use crate::http::Body;

/// Begins every payload and stands in it again and again; no log may show it.
pub const MARK: &str = "PAYLOAD-MARK";
/// Bytes of one generated piece.
const PIECE: usize = 64 * 1024;
/// Pieces begin at so many different places of the base, so that swapped or repeated pieces change the digest.
const SHIFTS: usize = 4099;

/// An object's bytes, known by seed and size.
#[derive(Debug, Clone)]
pub struct Payload {
    base: Bytes,
    size: u64,
}

impl Payload {
    /// `size` bytes; another seed gives other bytes.
    #[must_use]
    pub fn new(seed: u64, size: u64) -> Self {
        let mut state = seed;
        let mut base = Vec::with_capacity(PIECE + SHIFTS);
        while base.len() < PIECE + SHIFTS {
            base.extend_from_slice(MARK.as_bytes());
            for _ in 0..8 {
                base.extend_from_slice(format!("{:016x}", split_mix(&mut state)).as_bytes());
            }
        }
        base.truncate(PIECE + SHIFTS);
        Self {
            base: base.into(),
            size,
        }
    }

    /// Bytes in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The pieces in order; nothing is copied.
    pub fn pieces(&self) -> impl Iterator<Item = Bytes> + Send + use<> {
        let (base, size) = (self.base.clone(), self.size);
        let count = size.div_ceil(PIECE as u64);
        (0..count).map(move |index| {
            let shift = usize::try_from(index % SHIFTS as u64).unwrap_or(0);
            let left = size - index * PIECE as u64;
            let length = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
            base.slice(shift..shift + length)
        })
    }

    /// All of it in memory.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let mut all = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0));
        self.pieces().for_each(|piece| all.extend_from_slice(&piece));
        all.into()
    }

    /// What [`Digest`] says of all of it.
    #[must_use]
    pub fn digest(&self) -> String {
        let mut digest = Digest::default();
        self.pieces().for_each(|piece| digest.update(&piece));
        digest.finish()
    }

    /// A body of unknown length, made piece by piece: chunked on HTTP/1.1.
    #[must_use]
    pub fn chunked(&self) -> Body {
        let frames = self.pieces().map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        Body::new(StreamBody::new(stream::iter(frames)).map_err(|never| match never {}))
    }
}

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// A digest of bytes as they come; another sum than the sidecar's own.
#[derive(Clone, Default)]
pub struct Digest(Xxh3);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> String {
        let mut digest = Self::default();
        digest.update(bytes);
        digest.finish()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// 32 hexadecimal digits.
    #[must_use]
    pub fn finish(&self) -> String {
        format!("{:032x}", self.0.digest128())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_size_and_are_all_different() {
        for size in [0, 1, PIECE as u64, PIECE as u64 + 1, 1_000_003] {
            let payload = Payload::new(1, size);
            assert_eq!(payload.bytes().len() as u64, size);
            assert_eq!(Digest::of(&payload.bytes()), payload.digest());
        }
        let pieces: Vec<_> = Payload::new(1, 4 * PIECE as u64).pieces().collect();
        assert!(pieces.windows(2).all(|pair| pair[0] != pair[1]));
        assert_ne!(Payload::new(1, 100).digest(), Payload::new(2, 100).digest());
    }
}
