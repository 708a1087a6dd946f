//! A socket to the user container that knows whether the current request has gone out and an answer has begun.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

/// Longest read. Below a power of two, because hyper doubles its buffer whenever a read has filled it.
const MAX_READ: u64 = 256 * 1024 - 1;

/// Informational answers to one request; a user container that sends more would keep a thread to itself.
const MAX_INFORMATIONAL: u32 = 1000;

/// What has moved on a connection since its current request began.
#[derive(Default)]
pub(super) struct Traffic {
    gone: AtomicBool,
    come: AtomicBool,
    informational: AtomicU32,
    first: Notify,
}

impl Traffic {
    /// A request begins.
    pub(super) fn begin(&self) {
        self.gone.store(false, Ordering::Relaxed);
        self.come.store(false, Ordering::Relaxed);
        self.informational.store(0, Ordering::Relaxed);
    }

    /// An informational answer came. False when it was one too many: nothing more is read.
    pub(super) fn informed(&self) -> bool {
        self.informational.fetch_add(1, Ordering::Relaxed) < MAX_INFORMATIONAL
    }

    fn is_flooded(&self) -> bool {
        self.informational.load(Ordering::Relaxed) > MAX_INFORMATIONAL
    }

    /// Bytes were written.
    pub(super) fn has_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// Waits for the first bytes that are read. For one who waits.
    pub(super) async fn first(&self) {
        self.first.notified().await;
    }

    /// Bytes were read.
    pub(super) fn has_come(&self) -> bool {
        self.come.load(Ordering::Relaxed)
    }
}

pub(super) struct UserSocket {
    socket: TcpStream,
    traffic: Arc<Traffic>,
}

impl UserSocket {
    pub(super) fn new(socket: TcpStream, traffic: Arc<Traffic>) -> Self {
        Self { socket, traffic }
    }

    fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(polled, Poll::Ready(Ok(1..))) {
            self.traffic.gone.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncRead for UserSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.traffic.is_flooded() {
            let told = "more than 1000 informational answers";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, told)));
        }
        let before = buffer.filled().len();
        let mut bounded = (&mut self.socket).take(MAX_READ);
        let polled = Pin::new(&mut bounded).poll_read(cx, buffer);
        if buffer.filled().len() > before && !self.traffic.has_come() {
            self.traffic.come.store(true, Ordering::Relaxed);
            self.traffic.first.notify_one();
        }
        polled
    }
}

impl AsyncWrite for UserSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.written(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.written(polled)
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
