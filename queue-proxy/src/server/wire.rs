//! The socket of an HTTP/1.1 connection, between hyper and the system.
//!
//! Passes bytes through, and adds what hyper's server cannot send (contract of the queue-proxy, sections 2.4, 2.6 and
//! 2.8): informational answers before the final one, trailers whether or not they were announced or asked for, and
//! bodies of the answers that hyper gives itself to requests it cannot read. It never guesses: own bytes go out only
//! when all that hyper had was flushed, and replace only what is exactly as expected.

mod clock;
mod line;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Duration, Instant, Sleep},
};

pub(super) use clock::{HEAD_TIME, HeadTimer};
pub use line::Interim;
pub(super) use line::Line;

/// How hyper ends a chunked body without trailers.
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// What follows the status line of an answer to an unreadable request (Go's server).
const ERROR_HEADERS: &str = "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n";
/// A closing connection reads on for so long (Go: 500 ms), so that the client sees its answer and no reset.
const LINGER: Duration = Duration::from_millis(500);

/// A connection's socket.
pub(super) struct Wire<S> {
    socket: S,
    line: Arc<Line>,
    /// Read before the protocol was known.
    early: Bytes,
    /// Own bytes on their way out.
    own: BytesMut,
    /// hyper has handed out nothing since its last flush.
    clean: bool,
    lingering: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A socket of which `early` was read already.
    pub(super) fn new(socket: S, early: Bytes) -> Self {
        Self {
            socket,
            line: Line::new(),
            early,
            own: BytesMut::new(),
            clean: true,
            lingering: None,
        }
    }

    /// A socket whose bytes all belong to another protocol.
    pub(super) fn transparent(socket: S, early: Bytes) -> Self {
        let wire = Self::new(socket, early);
        wire.line.switch();
        wire
    }

    /// What the exchanges on this connection share with it.
    pub(super) fn line(&self) -> Arc<Line> {
        self.line.clone()
    }

    fn write_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.own.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.own))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.own.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what must go out before hyper's next bytes, which begin with `next`. True if those were replaced.
    fn before(&mut self, cx: &mut Context<'_>, next: &[u8]) -> Poll<io::Result<bool>> {
        if self.clean
            && let Some(interim) = self.line.take_interim(cx)
        {
            self.own.unsplit(interim);
        }
        ready!(self.write_own(cx))?;
        let was_clean = std::mem::replace(&mut self.clean, false);
        if was_clean {
            self.line.writes();
        }
        if let Some(trailers) = self.line.take_trailers()
            && was_clean
            && next == LAST_CHUNK
        {
            self.own.extend_from_slice(b"0\r\n");
            self.own.extend_from_slice(&trailers);
            self.own.extend_from_slice(b"\r\n");
            return Poll::Ready(Ok(true));
        }
        if was_clean
            && !self.line.is_owed()
            && !self.line.is_switched()
            && let Some(answer) = unreadable(next)
        {
            self.line.linger();
            self.own.extend_from_slice(answer.as_bytes());
            return Poll::Ready(Ok(true));
        }
        Poll::Ready(Ok(false))
    }

    /// Reads and drops what the client still sends, until it closes or [`LINGER`] is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = self
            .lingering
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + LINGER)));
        if until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut thrown_away = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut thrown_away);
            let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// hyper's own answer to a request that it cannot read, with the body that Go's server gives it.
fn unreadable(head: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    let (line, _) = head.split_once("\r\n")?;
    let status = line.strip_prefix("HTTP/1.1 4")?;
    Some(format!("HTTP/1.1 4{status}\r\n{ERROR_HEADERS}4{status}"))
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.split_to(count));
            self.line.received();
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.socket).poll_read(cx, buffer));
        if buffer.filled().len() > before {
            self.line.received();
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if ready!(self.before(cx, bytes))? {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices
            .iter()
            .find(|slice| !slice.is_empty())
            .map_or(&[][..], |slice| slice);
        if ready!(self.before(cx, first))? {
            return Poll::Ready(Ok(first.len()));
        }
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(interim) = self.line.take_early_interim(cx) {
            self.own.unsplit(interim);
        }
        ready!(self.write_own(cx))?;
        ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
        self.clean = true;
        self.line.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_own(cx))?;
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
        }
        if self.line.lingers() {
            return self.poll_linger(cx);
        }
        Poll::Ready(Ok(()))
    }
}
