//! A memory file written by copying, from its beginning to its end: where bytes come from elsewhere, this touches each
//! page once, and is faster than a map of fresh pages.

use rustix::{
    fd::OwnedFd,
    io::{Errno, pwrite},
};
use xdt_proto::ByteCount;

use crate::{
    Sealed, ShmError,
    building::{new_file, seal},
};

/// A file being written.
#[derive(Debug)]
pub struct Writer {
    file: OwnedFd,
    written: u64,
}

impl Writer {
    /// An empty file.
    ///
    /// # Errors
    /// [`ShmError::Create`].
    pub fn new() -> Result<Self, ShmError> {
        let create = |source| ShmError::Create {
            size: ByteCount::ZERO,
            source,
        };
        Ok(Self {
            file: new_file().map_err(create)?,
            written: 0,
        })
    }

    /// Appends all of `bytes`.
    ///
    /// # Errors
    /// [`ShmError::Write`], where memory is short for instance.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), ShmError> {
        while !bytes.is_empty() {
            match pwrite(&self.file, bytes, self.written) {
                Ok(0) => return Err(ShmError::Write(Errno::NOSPC)),
                Ok(count) => {
                    self.written += count as u64;
                    bytes = bytes.get(count..).unwrap_or_default();
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(ShmError::Write(error)),
            }
        }
        Ok(())
    }

    /// Ends the writing, here and for everybody.
    ///
    /// # Errors
    /// [`ShmError::Seal`].
    pub fn seal(self) -> Result<Sealed, ShmError> {
        seal(&self.file)?;
        Ok(Sealed::made_here(self.file, ByteCount::new(self.written)))
    }
}
