//! Maps of memory files: all `unsafe` code of this crate.

#![allow(unsafe_code)]

use std::{
    ffi::c_void,
    ptr::{NonNull, null_mut},
};

use rustix::{
    fd::{AsFd as _, BorrowedFd, OwnedFd},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

use crate::{Sealed, ShmError};

/// A mapped range of pages; unmapped when dropped. Never empty.
struct Pages {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: a map belongs to the process, not to a thread, and `Pages` is its only owner; all access to the bytes goes
// through the borrows of `Map` and `MapMut` below. Test: `maps_are_read_from_several_threads`.
unsafe impl Send for Pages {}
// SAFETY: through a shared borrow the bytes can only be read. Test: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// `at_once`: all pages by this call, instead of by a page fault for every few of them.
    fn new(file: BorrowedFd<'_>, length: usize, protection: ProtFlags, at_once: bool) -> Result<Self, ShmError> {
        let mut flags = MapFlags::SHARED;
        flags.set(MapFlags::POPULATE, at_once);
        // SAFETY: the kernel chooses the address (null), so no other memory is touched. Test: every test of this file.
        let start = unsafe { mmap(null_mut(), length, protection, flags, file, 0) }.map_err(ShmError::Map)?;
        let start = NonNull::new(start).ok_or(ShmError::Map(rustix::io::Errno::NOMEM))?;
        Ok(Self { start, length })
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what `mmap` returned, and no borrow of it outlives its owner.
        // Test: `maps_go_away_when_dropped`.
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.length) };
        debug_assert!(unmapped.is_ok(), "a range of our own is unmapped");
    }
}

/// The bytes of a sealed file, for reading.
pub struct Map(Option<Pages>);

impl Map {
    pub(crate) fn new(file: &Sealed, at_once: bool) -> Result<Self, ShmError> {
        let length = usize::try_from(file.size().get()).map_err(|_| ShmError::Map(rustix::io::Errno::OVERFLOW))?;
        if length == 0 {
            return Ok(Self(None));
        }
        Pages::new(file.as_fd(), length, ProtFlags::READ, at_once)
            .map(Some)
            .map(Self)
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        let Some(pages) = &self.0 else { return &[] };
        // SAFETY: `Sealed` promises a file of at least this length that can neither shrink (no SIGBUS) nor be written
        // by anybody (no data race), and the map lives as long as the borrow. Test: `a_sealed_file_cannot_be_changed`,
        // `what_could_change_is_never_mapped`.
        unsafe { std::slice::from_raw_parts(pages.start.as_ptr().cast(), pages.length) }
    }
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Map({} bytes)", self.0.as_ref().map_or(0, |pages| pages.length))
    }
}

/// The bytes of a file that this process made and has not passed on, for writing.
pub(crate) struct MapMut(Pages);

impl MapMut {
    /// `file` has `length` bytes, more than none, and no other process has its descriptor.
    pub(crate) fn new(file: &OwnedFd, length: usize) -> Result<Self, ShmError> {
        Pages::new(file.as_fd(), length, ProtFlags::READ | ProtFlags::WRITE, true).map(Self)
    }

    /// Puts a private map of the same file in place of the shared one, in one step: there is no moment without a map, and
    /// from then on what is written here stays here.
    pub(crate) fn become_private(&mut self, file: &OwnedFd) -> Result<(), ShmError> {
        let Pages { start, length } = self.0;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: exactly the range of `self.0` is mapped anew, which this value owns; the file has at least this length.
        // The bytes at every address stay the same. Test: `a_buffer_sealed_in_place_keeps_its_bytes_and_the_objects`.
        let mapped = unsafe { mmap(start.as_ptr(), length, protection, flags, file, 0) };
        mapped.map(drop).map_err(ShmError::Map)
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the pages are mapped for writing, and only this process has the file, in which `Building` holds its
        // only map; its borrow is exclusive. Test: `what_was_built_is_what_is_read`.
        unsafe { std::slice::from_raw_parts_mut(self.0.start.as_ptr().cast(), self.0.length) }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: as in `bytes`, and the borrow is shared: nothing writes while it lives. Test: as there.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr().cast(), self.0.length) }
    }
}
