//! A memory file that its maker fills in place and then seals for good.

use rustix::{
    fd::OwnedFd,
    fs::{MemfdFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create},
    io::Errno,
};
use xdt_proto::ByteCount;

use crate::{Sealed, ShmError, map::MapMut};

/// Name of the files in `/proc/PID/maps`; never that of an object.
const NAME: &str = "xdt";

/// A file being filled.
pub struct Building {
    file: OwnedFd,
    map: Option<MapMut>,
    size: ByteCount,
}

impl Building {
    /// A file of `size` bytes, all zero, all of its pages in memory.
    ///
    /// # Errors
    /// [`ShmError::Create`], where memory is short for instance; [`ShmError::Map`].
    pub fn new(size: ByteCount) -> Result<Self, ShmError> {
        let file = allocated(size).map_err(|source| ShmError::Create { size, source })?;
        let length = usize::try_from(size.get()).map_err(|_| ShmError::Map(Errno::OVERFLOW))?;
        let map = if length == 0 {
            None
        } else {
            Some(MapMut::new(&file, length)?)
        };
        Ok(Self { file, map, size })
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> ByteCount {
        self.size
    }

    /// Its bytes, for reading.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.map.as_ref().map_or(&[], MapMut::as_slice)
    }

    /// Its bytes.
    pub fn bytes(&mut self) -> &mut [u8] {
        self.map.as_mut().map_or(&mut [], MapMut::bytes)
    }

    /// Ends the writing, here and for everybody.
    ///
    /// # Errors
    /// [`ShmError::Seal`].
    pub fn seal(self) -> Result<Sealed, ShmError> {
        let Self { file, map, size } = self;
        // A writable map forbids the seal against writing.
        drop(map);
        self::seal(&file)?;
        Ok(Sealed::made_here(file, size))
    }

    /// As [`Self::seal`], while pointers into the bytes may still be in use: the pages stay mapped where they are. What is
    /// written there afterwards changes private copies of the pages and never the object.
    ///
    /// # Errors
    /// [`ShmError::Map`], [`ShmError::Seal`].
    pub fn seal_in_place(&mut self) -> Result<Sealed, ShmError> {
        if let Some(map) = &mut self.map {
            map.become_private(&self.file)?;
        }
        self::seal(&self.file)?;
        let file = self.file.try_clone().map_err(|_| ShmError::Seal(Errno::MFILE))?;
        Ok(Sealed::made_here(file, self.size))
    }
}

fn allocated(size: ByteCount) -> Result<OwnedFd, Errno> {
    let file = new_file()?;
    ftruncate(&file, size.get())?;
    if size.get() > 0 {
        // Fails now instead of with SIGBUS at a later write, where memory is short.
        fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size.get())?;
    }
    Ok(file)
}

/// An empty memory file that can be sealed.
pub(crate) fn new_file() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Older kernels (before 6.3) do not know the seal against execution.
    memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL).or_else(|error| match error {
        // Kernels before 6.3 do not know the seal against execution.
        Errno::INVAL => memfd_create(NAME, flags),
        other => Err(other),
    })
}

/// Nobody can change the file any more.
pub(crate) fn seal(file: &OwnedFd) -> Result<(), ShmError> {
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    fcntl_add_seals(file, seals).map_err(ShmError::Seal)
}
