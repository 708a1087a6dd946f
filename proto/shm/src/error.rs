//! What can go wrong with a memory file.

use rustix::io::Errno;
use xdt_proto::ByteCount;

/// The system did not do its part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShmError {
    /// No memory file could be made.
    #[error("no memory file of {size} could be made")]
    Create {
        /// What was asked for.
        size: ByteCount,
        /// Why.
        #[source]
        source: Errno,
    },
    /// It could not be written.
    #[error("the memory file could not be written")]
    Write(#[source] Errno),
    /// It could not be sealed.
    #[error("the memory file could not be sealed")]
    Seal(#[source] Errno),
    /// It could not be mapped.
    #[error("the memory file could not be mapped")]
    Map(#[source] Errno),
    /// It ended before its size.
    #[error("the memory file ended early")]
    Short,
    /// It could not be read.
    #[error("the memory file could not be read")]
    Read(#[source] Errno),
}

/// A descriptor that came from another process and is not what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A pipe, a socket, a device, an ordinary file, an entry of /proc.
    #[error("the descriptor is not a memory file")]
    NotMemory,
    /// It could still shrink or grow.
    #[error("the memory file is not sealed against shrinking and growing")]
    NotSealed,
    /// Another size than announced.
    #[error("the memory file has {found} and not the announced {announced}")]
    WrongSize {
        /// What the message said.
        announced: ByteCount,
        /// What the file has.
        found: ByteCount,
    },
    /// Pages are missing, which the reader would have to pay for.
    #[error("the memory file has holes")]
    Holes,
    /// It can still be written, so it may be copied but not mapped.
    #[error("the memory file can still be written")]
    Writable,
}
