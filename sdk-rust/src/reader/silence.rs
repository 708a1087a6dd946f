//! A limit on how long a sender may say nothing while somebody waits for it.
//!
//! Used by [`Reader`](super::Reader) only. The clock runs from the first poll that found nothing until bytes come, so a
//! slow reader never times out by its own slowness, and no timer is touched while bytes keep coming.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

pub(super) struct Silence {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Silence {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            timer: None,
            running: false,
        }
    }

    /// The sender was heard.
    pub(super) fn broken(&mut self) {
        self.running = false;
    }

    /// Ready once the sender has been silent for the limit; to be called when it was found silent.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.running {
            timer.as_mut().reset(Instant::now() + limit);
            self.running = true;
        }
        timer.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test(start_paused = true)]
    async fn only_unbroken_silence_counts() {
        let limit = Duration::from_secs(10);
        let mut silence = Silence::new(limit);
        let start = Instant::now();
        for _ in 0..3 {
            let wait = poll_fn(|cx| silence.poll(cx));
            assert!(tokio::time::timeout(Duration::from_secs(9), wait).await.is_err());
            silence.broken();
        }
        poll_fn(|cx| silence.poll(cx)).await;
        assert_eq!(start.elapsed(), Duration::from_secs(3 * 9 + 10));
    }
}
