//! The consumer's side of a measurement: bytes become one contiguous buffer, and then the clock is read.
//!
//! Every backend passes here, so that "arrived" means the same for all: the object lies complete in the user code's
//! memory and can be read without a further page being fetched. Digests are computed later ([`crate::shelf`]).

use anyhow::{Context as _, Result, ensure};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use crate::{MAX_OBJECT_BYTES, clock::monotonic_ns};

/// Smallest page of the platforms we run on: one read in each makes sure that all of them are mapped.
const PAGE: usize = 4096;

/// A buffer that fills; its size is reserved at once where the length is known.
#[derive(Debug)]
pub struct Assembly {
    bytes: Vec<u8>,
    expected: Option<usize>,
    complete_ns: Option<u64>,
}

impl Assembly {
    /// A buffer for `expected` bytes.
    ///
    /// # Errors
    /// More than [`MAX_OBJECT_BYTES`].
    pub fn new(expected: Option<u64>) -> Result<Self> {
        let expected = expected.map(checked_len).transpose()?;
        Ok(Self {
            bytes: Vec::with_capacity(expected.unwrap_or_default()),
            expected,
            complete_ns: None,
        })
    }

    /// Appends a piece; the piece that completes the object stops the clock.
    ///
    /// # Errors
    /// More bytes than were announced, or than [`MAX_OBJECT_BYTES`].
    pub fn push(&mut self, piece: &[u8]) -> Result<()> {
        let len = self.bytes.len() + piece.len();
        match self.expected {
            Some(expected) => ensure!(len <= expected, "{len} bytes arrived where {expected} were announced"),
            None => drop(checked_len(len as u64)?),
        }
        self.bytes.extend_from_slice(piece);
        if self.expected == Some(len) && self.complete_ns.is_none() {
            self.complete_ns = Some(monotonic_ns());
        }
        Ok(())
    }

    /// Ends the object; without an announced length, this stops the clock.
    ///
    /// # Errors
    /// Fewer bytes than were announced.
    pub fn finish(self) -> Result<Arrived> {
        let at_ns = self.complete_ns.unwrap_or_else(monotonic_ns);
        if let Some(expected) = self.expected {
            ensure!(
                self.bytes.len() == expected,
                "{} of {expected} bytes arrived",
                self.bytes.len()
            );
        }
        Ok(Arrived {
            object: self.bytes.into(),
            at_ns,
        })
    }
}

/// An object that has arrived, and when.
#[derive(Debug)]
pub struct Arrived {
    object: Bytes,
    at_ns: u64,
}

impl Arrived {
    /// Takes an object that is contiguous already, such as a mapped memory file.
    ///
    /// Reads one byte of every page before the clock, so that pages which are only promised count as not yet arrived.
    pub fn contiguous(object: Bytes) -> Self {
        let touched = object.iter().step_by(PAGE).fold(0_u8, |sum, byte| sum ^ byte);
        std::hint::black_box(touched);
        Self {
            object,
            at_ns: monotonic_ns(),
        }
    }

    /// The bytes, and when the last one had arrived.
    pub(crate) fn into_parts(self) -> (Bytes, u64) {
        (self.object, self.at_ns)
    }
}

/// Reads a request's body into one buffer.
///
/// # Errors
/// A body that breaks off, is longer or shorter than announced, or is too large.
pub async fn receive(mut body: Body) -> Result<Arrived> {
    let mut assembly = Assembly::new(body.size_hint().exact())?;
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.context("the body broke off")?.data_ref() {
            assembly.push(data)?;
        }
    }
    assembly.finish()
}

fn checked_len(len: u64) -> Result<usize> {
    ensure!(
        len <= MAX_OBJECT_BYTES,
        "an object has at most {MAX_OBJECT_BYTES} bytes"
    );
    Ok(usize::try_from(len)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_one_object() {
        let before = monotonic_ns();
        let mut assembly = Assembly::new(Some(6)).unwrap();
        for piece in [&b"abc"[..], b"", b"def"] {
            assembly.push(piece).unwrap();
        }
        let (object, at_ns) = assembly.finish().unwrap().into_parts();
        assert_eq!(&object[..], b"abcdef");
        assert!(at_ns >= before);
    }

    #[test]
    fn another_length_than_announced_is_an_error() {
        let mut assembly = Assembly::new(Some(4)).unwrap();
        assembly.push(b"abc").unwrap();
        assert!(assembly.push(b"de").is_err());
        assert!(assembly.finish().is_err());
    }

    #[test]
    fn a_length_beyond_the_bound_allocates_nothing() {
        assert!(Assembly::new(Some(u64::MAX)).is_err());
        assert!(Assembly::new(Some(MAX_OBJECT_BYTES + 1)).is_err());
    }

    #[tokio::test]
    async fn a_body_of_unknown_length_arrives_whole() {
        let pieces = ["ab", "cd"].map(|piece| Ok::<_, std::io::Error>(bytes::Bytes::from(piece)));
        let body = Body::from_stream(tokio_stream::iter(pieces));
        let (object, _) = receive(body).await.unwrap().into_parts();
        assert_eq!(&object[..], b"abcd");
    }
}
