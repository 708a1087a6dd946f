//! Memory whose first byte lies at a multiple of 64, so that arrays of any element type and vector instructions can use it
//! in place.
//!
//! Used wherever an object becomes bytes in this process; memory files are aligned to pages already.

use bytes::Bytes;

/// In bytes: a cache line, and the widest vector register.
pub(crate) const ALIGNMENT: usize = 64;

/// Bytes being collected. Grows like a `Vec`, with up to 63 bytes of padding in front.
pub(crate) struct AlignedVec {
    bytes: Vec<u8>,
    padding: usize,
}

impl AlignedVec {
    /// With room for `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity.saturating_add(ALIGNMENT));
        let padding = padding_of(bytes.as_ptr());
        bytes.resize(padding, 0);
        Self { bytes, padding }
    }

    /// Number of bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.padding
    }

    pub(crate) fn extend_from_slice(&mut self, more: &[u8]) {
        self.bytes.extend_from_slice(more);
    }

    /// The bytes; moved once more only if they outgrew their first room.
    pub(crate) fn into_bytes(mut self) -> Bytes {
        if self.len() > 0 && padding_of(self.bytes.as_ptr()) != self.padding {
            self.bytes.reserve(ALIGNMENT);
            let (old, length) = (self.padding, self.len());
            self.padding = padding_of(self.bytes.as_ptr());
            if self.padding > old {
                self.bytes.resize(self.padding + length, 0);
            }
            self.bytes.copy_within(old..old + length, self.padding);
            self.bytes.truncate(self.padding + length);
        }
        Bytes::from(self.bytes).split_off(self.padding)
    }
}

/// `bytes`, copied if they are not aligned.
pub(crate) fn aligned(bytes: Bytes) -> Bytes {
    if bytes.is_empty() || padding_of(bytes.as_ptr()) == 0 {
        return bytes;
    }
    let mut copy = AlignedVec::with_capacity(bytes.len());
    copy.extend_from_slice(&bytes);
    copy.into_bytes()
}

/// Bytes from `start` to the next multiple of [`ALIGNMENT`].
fn padding_of(start: *const u8) -> usize {
    start.addr().wrapping_neg() % ALIGNMENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_collected_is_aligned_and_whole() {
        for capacity in [0, 1, 100, 5000] {
            for length in [0, 1, 63, 64, 65, 4096, 100_000] {
                let source: Vec<u8> = (0..length).map(|index: u32| index.to_le_bytes()[0]).collect();
                let mut collected = AlignedVec::with_capacity(capacity);
                for piece in source.chunks(1000) {
                    collected.extend_from_slice(piece);
                }
                assert_eq!(collected.len(), source.len());
                let bytes = collected.into_bytes();
                assert_eq!(bytes, source);
                assert!(
                    length == 0 || bytes.as_ptr().addr().is_multiple_of(ALIGNMENT),
                    "{capacity} {length}"
                );
            }
        }
    }

    #[test]
    fn only_what_is_not_aligned_is_copied() {
        let whole = aligned(Bytes::from(vec![1; 1000]));
        assert_eq!(aligned(whole.clone()).as_ptr(), whole.as_ptr());
        let part = whole.slice(1..);
        let moved = aligned(part.clone());
        assert_eq!((moved.as_ptr().addr() % ALIGNMENT, &moved), (0, &part));
    }
}
