//! Descriptors over a unix stream socket (`SCM_RIGHTS`): at most one with each call, and never one too many.
//!
//! Both functions are single system calls on a socket that does not block; whoever owns the socket waits for it and
//! calls again on [`io::ErrorKind::WouldBlock`].

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
};

use rustix::{
    cmsg_space,
    fd::{AsFd, BorrowedFd, OwnedFd},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};

/// Sends the beginning of `bytes`, and `file` with its first byte. Returns how many were taken: the descriptor has gone
/// with them, and must not be sent again with the rest.
///
/// # Errors
/// Those of the system; `bytes` must not be empty, because a descriptor travels with a byte.
pub fn send(socket: impl AsFd, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = file.as_slice();
    if bytes.is_empty() || (!files.is_empty() && !control.push(SendAncillaryMessage::ScmRights(files))) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok(sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?)
}

/// Receives bytes, and the descriptor that came with them. No bytes: the peer has closed.
///
/// # Errors
/// Those of the system; [`io::ErrorKind::InvalidData`] when more than one descriptor came (they are closed).
pub fn receive(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
    let mut file = None;
    let mut too_many = received.flags.contains(ReturnFlags::CTRUNC);
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            for next in files {
                too_many |= file.replace(next).is_some();
            }
        }
    }
    if too_many {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "more than one descriptor came at once",
        ));
    }
    Ok((received.bytes, file))
}
