//! create: memory to build an object in place, so that its put copies nothing (thesis, section 6.5).
//!
//! Called by producers. Holds one memory file of the size asked for, all of its pages touched.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use xdt_proto::ByteCount;
use xdt_shm::Building;

use crate::{Client, Error, ErrorKind, Payload, Put, Result};

impl Client {
    /// Memory of `length` bytes, all zero, in which to build an object. Its [`Buffer::put`] passes the memory itself to
    /// the sidecar; where that cannot be (no local socket), the bytes are sent.
    ///
    /// ```no_run
    /// # async fn example(client: xdt::Client) -> xdt::Result<()> {
    /// let mut buffer = client.create(10 << 20)?;
    /// buffer.fill(7);
    /// let reference = buffer.put()?.retrievals(2).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`TooLarge`](ErrorKind::TooLarge) if the system has no memory for it.
    pub fn create(&self, length: u64) -> Result<Buffer> {
        let building = Building::new(ByteCount::new(length));
        let building =
            building.map_err(|_| Error::new(ErrorKind::TooLarge, "the system has no memory for the buffer"))?;
        Ok(Buffer {
            client: self.clone(),
            building,
        })
    }
}

/// An object being built. Derefs to its bytes; dropping it frees them.
pub struct Buffer {
    client: Client,
    building: Building,
}

impl Buffer {
    /// Puts the object as it is now; the bytes cannot be changed any more. Await the returned [`Put`].
    ///
    /// # Errors
    /// [`PayloadFailed`](ErrorKind::PayloadFailed) if the system does not let the memory be sealed.
    pub fn put(self) -> Result<Put> {
        let sealed = self.building.seal().map_err(|_| unsealed())?;
        Ok(self.client.put(Payload::sealed(sealed)))
    }

    /// As [`put`](Self::put), for callers that cannot give the buffer up, because something still points into it: the bytes
    /// stay readable and writable at their address, but what is written from now on is a private copy, page by page, and
    /// never reaches the object. Once only.
    ///
    /// # Errors
    /// As [`put`](Self::put); also at a second call.
    pub fn put_in_place(&mut self) -> Result<Put> {
        let sealed = self.building.seal_in_place().map_err(|_| unsealed())?;
        Ok(self.client.put(Payload::sealed(sealed)))
    }
}

fn unsealed() -> Error {
    Error::new(ErrorKind::PayloadFailed, "the buffer cannot be sealed")
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.building.as_slice()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.building.bytes()
    }
}

/// Prints the length, never the bytes.
impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
