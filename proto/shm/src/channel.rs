//! Messages with memory files over a unix stream socket, for both ends of the local socket.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use prost::Message;
use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::UnixStream,
};

pub use crate::frame::MAX_FRAME;
use crate::{
    frame::{Frames, TooLong, framed},
    pass,
};

/// Bytes read at once.
const READ: usize = 16 * 1024;

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The socket failed, or the other side broke off within a message.
    #[error("the local socket broke off")]
    Broken(#[from] io::Error),
    /// A message that is too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// Bytes that are no message.
    #[error("a message on the local socket is malformed")]
    Malformed(#[from] prost::DecodeError),
    /// A message announced a memory file that did not come.
    #[error("a memory file was announced and did not come")]
    NoFile,
    /// More memory files than messages that announce one.
    #[error("more than one memory file came with a message")]
    TooManyFiles,
}

/// One connection. Holds at most one unfinished message ([`MAX_FRAME`]) and one memory file.
#[derive(Debug)]
pub struct Channel {
    socket: UnixStream,
    frames: Frames,
    file: Option<OwnedFd>,
}

impl Channel {
    /// Speaks over this connection.
    #[must_use]
    pub fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            frames: Frames::default(),
            file: None,
        }
    }

    /// Who is at the other end.
    ///
    /// # Errors
    /// Those of the system.
    pub fn peer(&self) -> io::Result<tokio::net::unix::UCred> {
        self.socket.peer_cred()
    }

    /// Sends a message, and `file` with it.
    ///
    /// # Errors
    /// [`ChannelError::TooLong`], with nothing sent; [`ChannelError::Broken`].
    /// # Cancel safety
    /// None: a dropped future may leave half a message behind, so the connection must go with it.
    pub async fn send(&mut self, message: &impl Message, file: Option<BorrowedFd<'_>>) -> Result<(), ChannelError> {
        let frame = framed(message, file.is_some())?;
        let mut sent = 0;
        if file.is_some() {
            let first = || pass::send(&self.socket, &frame, file);
            sent = self.socket.async_io(Interest::WRITABLE, first).await?;
        }
        self.socket.write_all(&frame[sent..]).await?;
        Ok(())
    }

    /// The next message and the memory file that came with it; `None` when the other side has closed.
    ///
    /// # Errors
    /// [`ChannelError`]; the connection is of no use then.
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn receive<M: Message + Default>(&mut self) -> Result<Option<(M, Option<OwnedFd>)>, ChannelError> {
        loop {
            if let Some((message, with_file)) = self.frames.next()? {
                let file = if with_file {
                    Some(self.file.take().ok_or(ChannelError::NoFile)?)
                } else {
                    None
                };
                return Ok(Some((M::decode(message.as_slice())?, file)));
            }
            let (socket, frames) = (&self.socket, &mut self.frames);
            // The buffer lives on the stack of this call, not in the future, which exists once for each waiting peer.
            let read = || {
                let mut bytes = [0; READ];
                let (count, file) = pass::receive(socket.as_fd(), &mut bytes)?;
                frames.push(bytes.get(..count).unwrap_or_default());
                Ok((count, file))
            };
            let (count, file) = socket.async_io(Interest::READABLE, read).await?;
            if count == 0 {
                return if self.frames.is_empty() {
                    Ok(None)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                };
            }
            if file.is_some() && std::mem::replace(&mut self.file, file).is_some() {
                return Err(ChannelError::TooManyFiles);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use xdt_proto::{ByteCount, v1};

    use super::*;
    use crate::{Building, Sealed};

    fn pair() -> (Channel, Channel) {
        let (left, right) = UnixStream::pair().expect("a socket pair");
        (Channel::new(left), Channel::new(right))
    }

    fn get(reference: &str) -> v1::LocalGet {
        v1::LocalGet {
            reference: reference.to_owned(),
            most: None,
        }
    }

    #[tokio::test]
    async fn messages_arrive_with_their_own_files() {
        let (mut left, mut right) = pair();
        let mut building = Building::new(ByteCount::new(3)).expect("memory");
        building.bytes().copy_from_slice(b"abc");
        let file = building.seal().expect("own file");
        left.send(&get("one"), None).await.expect("open");
        left.send(&get("two"), Some(file.as_fd())).await.expect("open");
        left.send(&get("three"), None).await.expect("open");
        drop(left);
        let (one, none) = right.receive::<v1::LocalGet>().await.expect("open").expect("a message");
        assert_eq!((one.reference.as_str(), none.is_none()), ("one", true));
        let (two, passed) = right.receive::<v1::LocalGet>().await.expect("open").expect("a message");
        let passed = Sealed::verify(passed.expect("a file"), ByteCount::new(3)).expect("sealed");
        assert_eq!(
            (two.reference.as_str(), passed.map().expect("mapped").as_ref()),
            ("two", &b"abc"[..])
        );
        let (three, none) = right.receive::<v1::LocalGet>().await.expect("open").expect("a message");
        assert_eq!((three.reference.as_str(), none.is_none()), ("three", true));
        assert!(
            right
                .receive::<v1::LocalGet>()
                .await
                .expect("closed in order")
                .is_none()
        );
    }

    #[tokio::test]
    async fn half_a_message_is_no_end() {
        let (left, mut right) = pair();
        let mut socket = left.socket;
        socket.write_all(&[0, 0, 0, 9, 1]).await.expect("open");
        drop(socket);
        assert!(matches!(
            right.receive::<v1::LocalGet>().await,
            Err(ChannelError::Broken(_))
        ));
    }

    #[tokio::test]
    async fn waiting_can_be_given_up_without_loss() {
        let (mut left, mut right) = pair();
        let waiting = tokio::time::timeout(Duration::from_millis(5), right.receive::<v1::LocalGet>());
        assert!(waiting.await.is_err(), "nothing was sent");
        left.send(&get("late"), None).await.expect("open");
        let (late, _) = right.receive::<v1::LocalGet>().await.expect("open").expect("a message");
        assert_eq!(late.reference, "late");
    }
}
