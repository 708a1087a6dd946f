//! A complete object in memory: blocks or a memory file, their permits, and the checksum over all of it.

use bytes::{Buf, Bytes};
use crc_fast::{CrcAlgorithm, Digest};
use xdt_proto::ByteCount;
use xdt_shm::{Map, Sealed, ShmError, Writer};

use super::{
    Parcel,
    description::Description,
    handover::SMALL,
    pool::{BLOCK, Permit, Pool, freeze},
};

/// The checksum of the data plane: CRC-64/NVME, about as fast as memory.
pub(super) fn new_checksum() -> Digest {
    Digest::new(CrcAlgorithm::Crc64Nvme)
}

/// An object that `put` holds. Dropping the last handle, and the last slice of a block, frees its memory.
pub struct Held {
    /// What is known of it; `size` is always present.
    pub description: Description,
    bytes: Lying,
    checksum: u64,
    size: u64,
    /// What a small object is charged beyond its bytes.
    _surcharge: Permit,
}

/// Where the bytes lie.
enum Lying {
    /// All blocks but the last are full.
    Blocks(Vec<Bytes>),
    /// In a file that nobody can change, mapped.
    File(Sealed, Bytes),
}

/// A map and the permit for its bytes; both return when the last slice is dropped.
struct Mapped {
    map: Map,
    _permit: Permit,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.map.as_ref()
    }
}

impl Held {
    /// An object that lies in a memory file. `granted` covers its bytes and its surcharge.
    pub(super) fn in_file(file: Sealed, map: Map, mut granted: Permit, mut description: Description) -> Self {
        let mut checksum = new_checksum();
        checksum.update(map.as_ref());
        let size = file.size();
        description.size = Some(size);
        let permit = granted.split(size.get());
        let bytes = Bytes::from_owner(Mapped { map, _permit: permit });
        Self {
            description,
            bytes: Lying::File(file, bytes),
            checksum: checksum.finalize(),
            size: size.get(),
            _surcharge: granted,
        }
    }

    /// The memory file that it lies in, where it does.
    #[must_use]
    pub fn file(&self) -> Option<&Sealed> {
        match &self.bytes {
            Lying::Blocks(_) => None,
            Lying::File(file, _) => Some(file),
        }
    }

    /// As it can be passed to another process: a small one as bytes, another as its memory file, if it lies in one.
    pub(super) fn parcel(&self) -> Option<Parcel> {
        if self.size <= SMALL {
            return Some(Parcel::Small(self.slice(0, usize::MAX)));
        }
        self.file().cloned().map(Parcel::File)
    }

    /// Bytes in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// CRC-64/NVME of all bytes, computed as they came in.
    pub(super) fn checksum(&self) -> u64 {
        self.checksum
    }

    /// At most `most` bytes from `offset` on, without copying; empty at the end.
    pub(super) fn slice(&self, offset: u64, most: usize) -> Bytes {
        if offset >= self.size {
            return Bytes::new();
        }
        let blocks = match &self.bytes {
            Lying::Blocks(blocks) => blocks,
            Lying::File(_, bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                return bytes.slice(start..start.saturating_add(most).min(bytes.len()));
            }
        };
        let index = usize::try_from(offset / BLOCK as u64).unwrap_or(usize::MAX);
        let within = usize::try_from(offset % BLOCK as u64).unwrap_or(usize::MAX);
        blocks.get(index).map_or_else(Bytes::new, |block| {
            let end = block.len().min(within.saturating_add(most));
            block.slice(within.min(end)..end)
        })
    }
}

/// Fills a [`Held`] object block by block, or in a memory file. Memory for the bytes must have been granted before they are
/// written.
pub(super) struct HeldWriter {
    blocks: Vec<Bytes>,
    current: Vec<u8>,
    /// In place of blocks.
    file: Option<Writer>,
    granted: Permit,
    checksum: Digest,
    size: u64,
}

impl HeldWriter {
    /// Starts with the permit for the first bytes (all of them, where the size is known).
    pub(super) fn new(granted: Permit) -> Self {
        Self {
            blocks: Vec::new(),
            current: Vec::new(),
            file: None,
            granted,
            checksum: new_checksum(),
            size: 0,
        }
    }

    /// As [`Self::new`], into a memory file, which can be passed to another process; into blocks where there are no files.
    pub(super) fn in_file(granted: Permit) -> Self {
        Self {
            file: Writer::new().ok(),
            ..Self::new(granted)
        }
    }

    /// Bytes that may still be written under the permit.
    pub(super) fn room(&self) -> u64 {
        let written = if self.file.is_some() {
            self.size
        } else {
            self.current.len() as u64
        };
        self.granted.bytes() - written
    }

    /// Bytes written.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether the bytes go into a memory file.
    pub(super) fn is_in_file(&self) -> bool {
        self.file.is_some()
    }

    /// Bytes granted in all.
    pub(super) fn granted(&self) -> u64 {
        self.size + self.room()
    }

    /// Adds the permit for more bytes.
    pub(super) fn grant(&mut self, more: Permit) {
        self.granted.absorb(more);
    }

    /// Copies as much of `data` as there is room for, and takes it off the front.
    ///
    /// # Errors
    /// The system has no memory for the file.
    pub(super) fn write(&mut self, pool: &Pool, data: &mut Bytes) -> Result<(), ShmError> {
        let room = usize::try_from(self.room()).unwrap_or(usize::MAX);
        if let Some(file) = &mut self.file {
            let part = data.split_to(room.min(data.len()));
            self.checksum.update(&part);
            self.size += part.len() as u64;
            return file.write(&part);
        }
        while data.has_remaining() && self.room() > 0 {
            if self.current.capacity() == 0 {
                let want = usize::try_from(self.granted.bytes()).unwrap_or(usize::MAX).min(BLOCK);
                self.current = pool.block(want);
            }
            let free = BLOCK.min(usize::try_from(self.granted.bytes()).unwrap_or(usize::MAX)) - self.current.len();
            let part = data.split_to(free.min(data.len()));
            self.checksum.update(&part);
            self.current.extend_from_slice(&part);
            self.size += part.len() as u64;
            if self.current.len() == BLOCK {
                self.seal_block();
            }
        }
        Ok(())
    }

    fn seal_block(&mut self) {
        let mut block = std::mem::take(&mut self.current);
        if block.is_empty() {
            return;
        }
        let permit = self.granted.split(block.len() as u64);
        if block.capacity() != BLOCK {
            block.shrink_to_fit();
        } else if block.len() < BLOCK {
            block = block.as_slice().to_vec(); // the tail keeps no more memory than it was granted
        }
        self.blocks.push(freeze(block, permit));
    }

    /// The object; what was granted beyond its bytes and beyond `charge` goes back.
    ///
    /// # Errors
    /// The system does not let the file be sealed or mapped.
    pub(super) fn finish(mut self, mut description: Description, charge: ByteCount) -> Result<Held, ShmError> {
        let bytes = match self.file.take() {
            None => {
                self.seal_block();
                Lying::Blocks(self.blocks)
            }
            Some(file) => {
                let file = file.seal()?;
                let (map, permit) = (file.map()?, self.granted.split(self.size));
                Lying::File(file, Bytes::from_owner(Mapped { map, _permit: permit }))
            }
        };
        let surcharge = self.granted.split(charge.get().saturating_sub(self.size));
        description.size = Some(ByteCount::new(self.size));
        Ok(Held {
            description,
            bytes,
            checksum: self.checksum.finalize(),
            size: self.size,
            _surcharge: surcharge,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;
    use tokio::time::Instant;

    fn fill(pool: &std::sync::Arc<Pool>, in_file: bool, parts: &[Vec<u8>]) -> Held {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("runtime");
        runtime.block_on(async {
            let deadline = Instant::now() + Duration::from_secs(1);
            let granted = pool.reserve(ByteCount::ZERO, deadline).await.expect("nothing asked");
            let new = if in_file { HeldWriter::in_file } else { HeldWriter::new };
            let mut writer = new(granted);
            for part in parts {
                let mut data = Bytes::copy_from_slice(part);
                while data.has_remaining() {
                    if writer.room() == 0 {
                        writer.grant(pool.reserve(ByteCount::kib(100), deadline).await.expect("free"));
                    }
                    writer.write(pool, &mut data).expect("memory");
                }
            }
            let held = writer.finish(Description::default(), ByteCount::ZERO).expect("memory");
            assert_eq!(held.file().is_some(), in_file);
            held
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_cut_of_the_input_gives_the_same_object(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300_000), 0..6), in_file: bool) {
            let pool = Pool::new(ByteCount::mib(8));
            let held = fill(&pool, in_file, &parts);
            let whole = parts.concat();
            prop_assert_eq!(held.size(), whole.len() as u64);
            prop_assert_eq!(held.checksum(), crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &whole));
            prop_assert_eq!(pool.used().get(), whole.len() as u64, "unused grants went back");
            let mut read = Vec::new();
            loop {
                let slice = held.slice(read.len() as u64, 70_000);
                if slice.is_empty() { break; }
                read.extend_from_slice(&slice);
            }
            prop_assert_eq!(read, whole);
            drop(held);
            prop_assert_eq!(pool.used(), ByteCount::ZERO);
        }
    }
}
