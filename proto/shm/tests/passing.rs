//! Descriptors on their way over a unix socket: one with its message, none lost, none too many.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::{ErrorKind, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::net::UnixStream,
    },
};

use rustix::{
    cmsg_space,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use xdt_proto::ByteCount;
use xdt_shm::{Building, Sealed, pass};

fn object() -> Sealed {
    let mut building = Building::new(ByteCount::new(6)).unwrap();
    building.bytes().copy_from_slice(b"object");
    building.seal().unwrap()
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// One test for all: descriptors are counted for the whole process.
#[test]
fn descriptors_travel_with_their_message_and_are_never_left_behind() {
    let before = open_descriptors();
    {
        let (left, right) = UnixStream::pair().unwrap();
        let file = object();
        assert_eq!(pass::send(&left, b"here", Some(file.as_fd())).unwrap(), 4);
        drop(file);
        assert_eq!(pass::send(&left, b"more", None).unwrap(), 4);

        let mut bytes = [0; 4];
        let (count, passed) = pass::receive(&right, &mut bytes).unwrap();
        assert_eq!((count, &bytes), (4, b"here"));
        let received = Sealed::verify(passed.expect("a descriptor"), ByteCount::new(6)).unwrap();
        assert_eq!(received.map().unwrap().as_ref(), b"object");
        let (count, passed) = pass::receive(&right, &mut bytes).unwrap();
        assert_eq!((count, passed.is_none()), (4, true));

        assert_eq!(
            pass::send(&left, b"", Some(left.as_fd())).unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
        send_two(&left);
        assert_eq!(
            pass::receive(&right, &mut bytes).unwrap_err().kind(),
            ErrorKind::InvalidData
        );

        right.set_nonblocking(true).unwrap();
        assert_eq!(
            pass::receive(&right, &mut bytes).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        drop(left);
        assert_eq!(pass::receive(&right, &mut bytes).unwrap().0, 0, "closed");
    }
    assert_eq!(open_descriptors(), before);
}

fn send_two(socket: &UnixStream) {
    let file = object();
    let files: [BorrowedFd<'_>; 2] = [file.as_fd(), file.as_fd()];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
    sendmsg(socket, &[IoSlice::new(b"two")], &mut control, SendFlags::empty()).unwrap();
}
