//! The time that a client has for the head of a request, on every request of a connection.
//!
//! hyper's own limit counts from the end of the previous answer, which would close idle connections; this one counts
//! from the first byte of a head (as Go's server does). Idle connections stay open for as long as the client likes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant as StdInstant},
};

use hyper::rt::{Sleep, Timer};
use tokio::time::Instant;

use super::line::Line;

/// Stock: 60 s.
pub(in crate::server) const HEAD_TIME: Duration = Duration::from_secs(60);

/// hyper's timer for the heads of one connection.
pub(in crate::server) struct HeadTimer {
    line: Arc<Line>,
    time: Duration,
}

impl HeadTimer {
    /// Each head gets so much `time`.
    pub(in crate::server) fn new(line: Arc<Line>, time: Duration) -> Self {
        Self { line, time }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, _duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.line.awaits_head();
        Box::pin(HeadSleep {
            line: self.line.clone(),
            time: self.time,
            running: None,
        })
    }

    fn sleep_until(&self, _deadline: StdInstant) -> Pin<Box<dyn Sleep>> {
        self.sleep(self.time)
    }
}

/// Runs from the first byte of a head on. hyper looks at it after each read that did not complete the head.
struct HeadSleep {
    line: Arc<Line>,
    time: Duration,
    running: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Sleep for HeadSleep {}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.running.is_none() && self.line.head_began() {
            self.running = Some(Box::pin(tokio::time::sleep_until(Instant::now() + self.time)));
        }
        // What has not begun is woken by the first byte.
        self.running
            .as_mut()
            .map_or(Poll::Pending, |sleep| sleep.as_mut().poll(cx))
    }
}
