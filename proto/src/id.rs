//! The random key of one object.

use std::fmt;

/// Names one object inside one producer instance: 128 random bits, never shown to user code.
///
/// Contract, section 6 (at least 96 bits).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId([u8; 16]);

impl ObjectId {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// Wraps 16 bytes that come from a cryptographic random source or from an opened reference.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes, for sealing.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// Prints the first two bytes only: enough to tell objects apart in a log, too little to name one.
impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_two_bytes_only() {
        let text = format!("{:?}", ObjectId::from_bytes([0xab; 16]));
        assert_eq!(text, "ObjectId(abab…)");
    }
}
