//! A descriptor from another process, and what it must be before its bytes are used.

use std::sync::Arc;

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{FileType, SealFlags, SeekFrom, fcntl_add_seals, fcntl_get_seals, fstat, fstatfs, seek},
    io::{Errno, pread},
};
use xdt_proto::ByteCount;

use crate::{Map, Refused, ShmError};

/// Where memory files live (`TMPFS_MAGIC` of statfs(2)).
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// A file whose size stands: nobody can shrink or grow it. Its bytes may still change under the reader.
#[derive(Debug)]
pub struct Received {
    file: OwnedFd,
    size: ByteCount,
}

/// A file that nobody can change any more: safe to map and to share.
#[derive(Debug, Clone)]
pub struct Sealed {
    file: Arc<OwnedFd>,
    size: ByteCount,
}

impl Received {
    /// Looks at a descriptor that another process sent, with the size it announced.
    ///
    /// # Errors
    /// [`Refused::NotMemory`], [`Refused::NotSealed`], [`Refused::WrongSize`].
    pub fn accept(file: OwnedFd, announced: ByteCount) -> Result<Self, Refused> {
        let seals = fcntl_get_seals(&file).map_err(|_| Refused::NotMemory)?;
        let about = fstat(&file).map_err(|_| Refused::NotMemory)?;
        // Huge pages (another file system) know no holes that could be seen, and a missing one kills its reader.
        let ordinary = fstatfs(&file).is_ok_and(|system| system.f_type == TMPFS);
        if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile || !ordinary {
            return Err(Refused::NotMemory);
        }
        if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
            return Err(Refused::NotSealed);
        }
        // Sealed before it was asked for: the answer cannot change.
        let found = ByteCount::new(u64::try_from(about.st_size).unwrap_or(0));
        if found != announced {
            return Err(Refused::WrongSize { announced, found });
        }
        Ok(Self { file, size: found })
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> ByteCount {
        self.size
    }

    /// Copies bytes from `offset` on, whatever their sender does with them meanwhile; fewer at the end of the file.
    /// Holes read as zeros and allocate nothing.
    ///
    /// # Errors
    /// [`ShmError::Read`].
    pub fn copy_into(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, ShmError> {
        loop {
            match pread(&self.file, &mut *bytes, offset) {
                Err(Errno::INTR) => {}
                result => return result.map_err(ShmError::Read),
            }
        }
    }

    /// Makes sure that it can never change again, adding the seal where its sender has not.
    ///
    /// # Errors
    /// [`Refused::Writable`], while somebody has it mapped for writing or forbade more seals, and [`Refused::Holes`]: the
    /// file is given back and can still be copied.
    pub fn seal(self) -> Result<Sealed, (Self, Refused)> {
        let written = fcntl_get_seals(&self.file).is_ok_and(|seals| seals.contains(SealFlags::WRITE));
        if !written && fcntl_add_seals(&self.file, SealFlags::WRITE).is_err() {
            return Err((self, Refused::Writable));
        }
        // Only now: until then holes could still be punched.
        if has_holes(&self.file, self.size) {
            return Err((self, Refused::Holes));
        }
        Ok(Sealed::made_here(self.file, self.size))
    }
}

impl Sealed {
    pub(crate) fn made_here(file: OwnedFd, size: ByteCount) -> Self {
        Self {
            file: Arc::new(file),
            size,
        }
    }

    /// [`Received::accept`] and [`Received::seal`] in one.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn verify(file: OwnedFd, announced: ByteCount) -> Result<Self, Refused> {
        Received::accept(file, announced)?
            .seal()
            .map_err(|(_, refused)| refused)
    }

    /// As [`Self::verify`], without the search for holes, which takes time for each page (2 ms for 100 MB): for files from
    /// one's own sidecar, which has searched, and on which the bytes depend anyway. Seals and size are checked.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn from_sidecar(file: OwnedFd, announced: ByteCount) -> Result<Self, Refused> {
        let Received { file, size } = Received::accept(file, announced)?;
        let seals = fcntl_get_seals(&file).map_err(|_| Refused::NotMemory)?;
        if !seals.contains(SealFlags::WRITE) {
            return Err(Refused::Writable);
        }
        Ok(Self::made_here(file, size))
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> ByteCount {
        self.size
    }

    /// Maps its bytes for reading, all pages at once. The map outlives this handle.
    ///
    /// # Errors
    /// [`ShmError::Map`].
    pub fn map(&self) -> Result<Map, ShmError> {
        Map::new(self, true)
    }

    /// As [`Self::map`], but each page when it is first read: takes microseconds for any size. Reading all of it then costs
    /// what mapping all pages at once would have.
    ///
    /// # Errors
    /// [`ShmError::Map`].
    pub fn map_as_read(&self) -> Result<Map, ShmError> {
        Map::new(self, false)
    }
}

impl AsFd for Sealed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether a page is missing. Counting blocks would not tell: pages may lie beyond the end of the file.
fn has_holes(file: &OwnedFd, size: ByteCount) -> bool {
    if size.get() == 0 {
        return false;
    }
    // The first hole of a file without any is its end.
    seek(file, SeekFrom::Hole(0)) != Ok(size.get())
}
