//! A socket that never keeps its connection's task to itself.
//!
//! An HTTP/1 connection and the exchange on it are one task. A peer that sends without pause what comes to nothing (a
//! chunk size of zeros without end) would use up the task's share of the runtime in reading, again and again, and the
//! exchange's own timers would never be looked at: its place in the breaker would be held for as long as the peer
//! likes. So reading stops after a while, although there is more, and goes on when the rest of the task has had its turn.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads in a row: a quarter of what tokio lets a task do in one turn (128), so that the others find some left.
const IN_A_ROW: u32 = 32;

/// A socket whose reads pause now and then.
pub(super) struct Fair<S> {
    socket: S,
    in_a_row: u32,
}

impl<S> Fair<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { socket, in_a_row: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fair<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.in_a_row == IN_A_ROW {
            self.in_a_row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        self.in_a_row = if read.is_ready() { self.in_a_row + 1 } else { 0 };
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fair<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn reading_pauses_although_there_is_more_and_goes_on() {
        let mut socket = Fair::new(tokio::io::repeat(7));
        let mut byte = [0];
        for _ in 0..3 {
            for _ in 0..IN_A_ROW {
                assert_eq!(
                    socket.read(&mut byte).now_or_never().expect("ready").expect("a byte"),
                    1
                );
            }
            assert!(socket.read(&mut byte).now_or_never().is_none(), "a pause");
        }
        assert_eq!(socket.read(&mut byte).await.expect("woken at once"), 1);
    }
}
