//! Traffic of a tunnel, for its idle timeout: bytes in either direction count.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// When bytes last went through a tunnel.
#[derive(Debug, Clone)]
pub struct Activity {
    begun: Instant,
    /// Microseconds from `begun`.
    last: Arc<AtomicU64>,
}

impl Activity {
    /// The tunnel opens now.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            begun: Instant::now(),
            last: Arc::default(),
        }
    }

    /// Bytes went through.
    pub fn note(&self) {
        let passed = u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last.store(passed, Ordering::Relaxed);
    }

    /// When they last did.
    #[must_use]
    pub fn last(&self) -> Instant {
        self.begun + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }
}

/// One side of a tunnel, whose every byte is noted.
#[derive(Debug)]
pub struct Noted<T> {
    side: T,
    activity: Activity,
}

impl<T> Noted<T> {
    /// Notes what is read from `side` and written to it.
    pub fn new(side: T, activity: Activity) -> Self {
        Self { side, activity }
    }

    fn note<E>(&self, moved: &Poll<Result<usize, E>>) {
        if matches!(moved, Poll::Ready(Ok(1..))) {
            self.activity.note();
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Noted<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.side).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.note();
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Noted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.side).poll_write(cx, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.side).poll_write_vectored(cx, parts);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.side.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.side).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_are_noted_in_both_directions_and_silence_is_not() {
        let (near, mut far) = tokio::io::duplex(64);
        let activity = Activity::begin();
        let begun = Instant::now();
        let mut near = Noted::new(near, activity.clone());
        let pause = || tokio::time::sleep(Duration::from_secs(1));
        pause().await;
        near.write_all(b"out").await.expect("room");
        assert_eq!(activity.last() - begun, Duration::from_secs(1));
        pause().await;
        far.write_all(b"in").await.expect("room");
        near.read_exact(&mut [0; 2]).await.expect("two bytes");
        assert_eq!(activity.last() - begun, Duration::from_secs(2));
        pause().await;
        near.flush().await.expect("open");
        drop(far);
        assert_eq!(near.read(&mut [0; 2]).await.expect("the end"), 0);
        assert_eq!(activity.last() - begun, Duration::from_secs(2));
    }
}
