//! What another process may send in place of a memory file, and what becomes of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

use std::{fs::File, io::Write as _, os::fd::OwnedFd, sync::Arc, thread};

use proptest::prelude::*;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, ftruncate, memfd_create};
use xdt_proto::ByteCount;
use xdt_shm::{Building, Received, Refused, Sealed, Writer};

const FIXED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW);
const PAGE: u64 = 4096;

fn size(bytes: u64) -> ByteCount {
    ByteCount::new(bytes)
}

/// A memory file of `length` bytes with every page written.
fn memory(length: u64) -> OwnedFd {
    let file = hollow(length);
    let written = vec![7; usize::try_from(length).unwrap()];
    (&File::from(file.try_clone().unwrap())).write_all(&written).unwrap();
    file
}

/// One without any page.
fn hollow(length: u64) -> OwnedFd {
    let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, length).unwrap();
    file
}

fn sealed(file: OwnedFd, seals: SealFlags) -> OwnedFd {
    fcntl_add_seals(&file, seals).unwrap();
    file
}

#[test]
fn what_was_built_is_what_is_read() {
    for length in [0, 1, PAGE - 1, PAGE, 3 * PAGE + 5] {
        let mut building = Building::new(size(length)).unwrap();
        assert_eq!(building.bytes().len() as u64, length);
        for (index, byte) in building.bytes().iter_mut().enumerate() {
            *byte = (index % 251) as u8;
        }
        let expected = building.bytes().to_vec();
        let made = building.seal().unwrap();
        let passed = rustix::io::dup(&made).unwrap();
        let received = Sealed::verify(passed, size(length)).unwrap();
        assert_eq!(received.map().unwrap().as_ref(), expected);
        assert_eq!(made.map().unwrap().as_ref(), expected);
    }
}

#[test]
fn a_buffer_sealed_in_place_keeps_its_bytes_and_the_objects() {
    for length in [0, 1, 3 * PAGE + 5] {
        let mut building = Building::new(size(length)).unwrap();
        building.bytes().fill(7);
        let address = building.bytes().as_ptr();
        let object = building.seal_in_place().unwrap();
        assert_eq!(building.bytes().as_ptr(), address);
        assert!(building.bytes().iter().all(|byte| *byte == 7));
        building.bytes().fill(9);
        let passed = Sealed::verify(rustix::io::dup(&object).unwrap(), size(length)).unwrap();
        assert!(
            passed.map().unwrap().as_ref().iter().all(|byte| *byte == 7),
            "the object is written"
        );
        assert!(building.seal_in_place().is_err(), "an object is sealed once");
    }
}

#[test]
fn what_was_written_is_what_is_read() {
    for parts in [&[][..], &[&b"one"[..]], &[&[1; 5000], &[], &[2; 70_000]]] {
        let mut writer = Writer::new().unwrap();
        for part in parts {
            writer.write(part).unwrap();
        }
        let expected = parts.concat();
        let passed = rustix::io::dup(writer.seal().unwrap()).unwrap();
        let received = Sealed::verify(passed, size(expected.len() as u64)).unwrap();
        assert_eq!(received.map().unwrap().as_ref(), expected);
    }
}

#[test]
fn what_is_no_memory_file_is_refused() {
    let (pipe, _other) = rustix::pipe::pipe().unwrap();
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let ordinary = tempfile::tempfile().unwrap();
    ordinary.set_len(PAGE).unwrap();
    let folder = File::open("/").unwrap();
    let null = File::options().read(true).write(true).open("/dev/zero").unwrap();
    let process = File::open("/proc/self/status").unwrap();
    let all: [(&str, OwnedFd); 6] = [
        ("a pipe", pipe),
        ("a socket", socket.into()),
        ("an ordinary file", ordinary.into()),
        ("a folder", folder.into()),
        ("a device", null.into()),
        ("an entry of /proc", process.into()),
    ];
    for (name, descriptor) in all {
        let refused = Sealed::verify(descriptor, size(PAGE)).expect_err(name);
        assert!(
            matches!(refused, Refused::NotMemory | Refused::NotSealed),
            "{name}: {refused}"
        );
    }
}

#[test]
fn an_ordinary_file_in_memory_is_refused() {
    let Ok(file) = tempfile::tempfile_in("/dev/shm") else {
        return eprintln!("skipped: no /dev/shm here");
    };
    file.set_len(PAGE).unwrap();
    assert_eq!(Sealed::verify(file.into(), size(PAGE)).unwrap_err(), Refused::NotSealed);
}

#[test]
fn a_file_that_may_change_its_size_is_refused() {
    for seals in [SealFlags::empty(), SealFlags::SHRINK, SealFlags::GROW, SealFlags::WRITE] {
        let file = sealed(memory(PAGE), seals);
        assert_eq!(
            Sealed::verify(file, size(PAGE)).unwrap_err(),
            Refused::NotSealed,
            "{seals:?}"
        );
    }
}

#[test]
fn another_size_than_announced_is_refused() {
    for announced in [0, PAGE - 1, PAGE + 1, u64::MAX] {
        let refused = Sealed::verify(sealed(memory(PAGE), FIXED), size(announced)).unwrap_err();
        let expected = Refused::WrongSize {
            announced: size(announced),
            found: size(PAGE),
        };
        assert_eq!(refused, expected);
    }
}

#[test]
fn holes_are_refused_also_when_the_count_of_blocks_is_right() {
    assert_eq!(
        Sealed::verify(sealed(hollow(2 * PAGE), FIXED), size(2 * PAGE)).unwrap_err(),
        Refused::Holes
    );
    // As many pages as the size needs, but behind the end of the file.
    let trick = hollow(2 * PAGE);
    fallocate(&trick, FallocateFlags::KEEP_SIZE, 2 * PAGE, 2 * PAGE).unwrap();
    assert_eq!(
        Sealed::verify(sealed(trick, FIXED), size(2 * PAGE)).unwrap_err(),
        Refused::Holes
    );
    // One page missing in the middle.
    let punched = memory(3 * PAGE);
    fallocate(
        &punched,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        PAGE,
        PAGE,
    )
    .unwrap();
    let (given_back, refused) = Received::accept(sealed(punched, FIXED), size(3 * PAGE))
        .unwrap()
        .seal()
        .unwrap_err();
    assert_eq!(refused, Refused::Holes);
    let mut bytes = vec![9; 3 * PAGE as usize];
    assert_eq!(given_back.copy_into(0, &mut bytes).unwrap(), bytes.len());
    assert_eq!((bytes[0], bytes[PAGE as usize], bytes[2 * PAGE as usize]), (7, 0, 7));
}

/// The sender keeps a descriptor; a file that its receiver maps must stay as it is.
#[test]
fn a_sealed_file_cannot_be_changed() {
    let kept = sealed(memory(PAGE), FIXED);
    let received = Sealed::verify(kept.try_clone().unwrap(), size(PAGE)).unwrap();
    let map = received.map().unwrap();
    assert!(rustix::io::pwrite(&kept, b"changed", 0).is_err());
    assert!(ftruncate(&kept, 0).is_err());
    assert!(fallocate(&kept, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, PAGE).is_err());
    assert!(map.as_ref().iter().all(|byte| *byte == 7));
}

/// While its sender still has it mapped for writing, or has forbidden more seals, it is copied at most.
#[test]
fn what_could_change_is_never_mapped() {
    let closed = sealed(memory(PAGE), FIXED | SealFlags::SEAL);
    let (copyable, refused) = Received::accept(closed, size(PAGE)).unwrap().seal().unwrap_err();
    assert_eq!(refused, Refused::Writable);
    let mut bytes = [0; 16];
    assert_eq!(copyable.copy_into(PAGE - 8, &mut bytes).unwrap(), 8, "up to the end");
    assert_eq!(bytes[..8], [7; 8]);
}

#[test]
fn a_file_from_the_own_sidecar_must_be_sealed_too() {
    let made = Sealed::verify(sealed(memory(2 * PAGE), FIXED), size(2 * PAGE)).unwrap();
    let passed = || rustix::io::dup(&made).unwrap();
    let taken = Sealed::from_sidecar(passed(), size(2 * PAGE)).unwrap();
    assert!(taken.map_as_read().unwrap().as_ref().iter().all(|byte| *byte == 7));
    assert!(Sealed::from_sidecar(passed(), size(PAGE)).is_err(), "another size");
    for seals in [SealFlags::empty(), FIXED, SealFlags::WRITE] {
        let file = sealed(memory(PAGE), seals);
        assert!(Sealed::from_sidecar(file, size(PAGE)).is_err(), "{seals:?}");
    }
}

#[test]
fn maps_are_read_from_several_threads() {
    let mut building = Building::new(size(1 << 20)).unwrap();
    building.bytes().fill(3);
    let map = Arc::new(building.seal().unwrap().map().unwrap());
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let map = map.clone();
            thread::spawn(move || map.as_ref().as_ref().iter().map(|byte| u64::from(*byte)).sum::<u64>())
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 3 << 20);
    }
}

#[test]
fn maps_go_away_when_dropped() {
    let made = Building::new(size(64 << 20)).unwrap().seal().unwrap();
    let mapped = || {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        maps.contains("memfd:xdt")
            && maps
                .lines()
                .any(|line| line.starts_with("Size:") && line.contains(" 65536 kB"))
    };
    let map = made.map().unwrap();
    assert!(mapped());
    drop(map);
    assert!(!mapped(), "64 MiB are still mapped");
}

proptest! {
    /// Whatever seals, size and pages a file has: only what nobody can change is mapped, and its bytes are right.
    #[test]
    fn only_whole_fixed_files_are_mapped(
        pages in 0_u64..4, tail in 0_u64..4096, seals in 0_u32..32, announced_off in -1_i64..=1, written in any::<bool>(),
    ) {
        let length = pages * PAGE + tail;
        let seals = SealFlags::from_bits_truncate(seals);
        let file = sealed(if written { memory(length) } else { hollow(length) }, seals);
        let announced = length.saturating_add_signed(announced_off);
        let good = seals.contains(FIXED)
            && announced == length
            && (written || length == 0)
            && (seals.contains(SealFlags::WRITE) || !seals.contains(SealFlags::SEAL));
        match Sealed::verify(file, size(announced)) {
            Ok(verified) => {
                prop_assert!(good);
                let map = verified.map().unwrap();
                prop_assert_eq!(map.as_ref().len() as u64, length);
                prop_assert!(map.as_ref().iter().all(|byte| *byte == 7));
            }
            Err(refused) => prop_assert!(!good, "{}", refused),
        }
    }
}
