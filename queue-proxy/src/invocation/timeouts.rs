//! The three limits of a request's time, from the moment it is passed on: revision, response start and idle.
//!
//! Source: Knative `pkg/http/handler/timeout.go`; contract of the queue-proxy, section 4. "Written" means that the head
//! of the answer was handed to the HTTP server. Until then [`Clock::until_started`] watches the request; afterwards
//! `guard::Timed` watches a body and [`Clock::until_closed`] a tunnel.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use http::{HeaderValue, Response, StatusCode, header};
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::Activity;
use crate::body::{Body, full};

/// Stands for "never" where a limit is beyond what the system's clock can count.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The limits of a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// `REVISION_TIMEOUT_SECONDS`: a request ends after this, whether or not its response has started.
    pub revision: Duration,
    /// `REVISION_RESPONSE_START_TIMEOUT_SECONDS`: its response starts within this; `None` = off.
    pub response_start: Option<Duration>,
    /// `REVISION_IDLE_TIMEOUT_SECONDS`: the longest pause between writes to the client; `None` = off.
    pub idle: Option<Duration>,
}

/// Which limit was exceeded. Its text is the line that goes into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Expired {
    /// The revision timeout.
    #[error("Request timeout: {}", GoDuration(*.0))]
    Request(Duration),
    /// The response-start timeout.
    #[error("Response start timeout: {}", GoDuration(*.0))]
    ResponseStart(Duration),
    /// The idle timeout.
    #[error("Idle timeout: {}", GoDuration(*.0))]
    Idle(Duration),
}

impl Expired {
    /// Writes the line of Knative's.
    pub fn log(self) {
        tracing::warn!("{self}");
    }

    /// What a client gets to which nothing has been written.
    #[must_use]
    pub fn response(self) -> Response<Body> {
        let mut response = Response::new(full("request timeout"));
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        response
    }
}

/// The time of one request.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    limits: Timeouts,
    started: Instant,
}

impl Clock {
    /// Starts now.
    #[must_use]
    pub fn start(limits: Timeouts) -> Self {
        Self {
            limits,
            started: Instant::now(),
        }
    }

    /// When the revision timeout ends the request.
    #[must_use]
    pub fn end(&self) -> Instant {
        after(self.started, self.limits.revision)
    }

    /// Whether the idle limit is on, so that writes must be noticed.
    #[must_use]
    pub fn is_counting_idle(&self) -> bool {
        self.limits.idle.is_some()
    }

    /// What ends the request first, and when, if nothing is written before.
    fn first(&self) -> (Instant, Expired) {
        let revision = (self.limits.revision, Expired::Request(self.limits.revision));
        let start = self
            .limits
            .response_start
            .map(|limit| (limit, Expired::ResponseStart(limit)));
        let idle = self.limits.idle.map(|limit| (limit, Expired::Idle(limit)));
        let first = [start, idle].into_iter().flatten().fold(
            revision,
            |first, other| {
                if other.0 < first.0 { other } else { first }
            },
        );
        (after(self.started, first.0), first.1)
    }

    /// What ends a request next whose response has started and was last written to at `written`.
    #[must_use]
    pub fn next(&self, written: Instant) -> (Instant, Expired) {
        let revision = (self.end(), Expired::Request(self.limits.revision));
        match self.limits.idle {
            Some(limit) if after(written, limit) < revision.0 => (after(written, limit), Expired::Idle(limit)),
            _ => revision,
        }
    }

    /// Awaits the head of the answer. With a revision timeout of zero `work` is not even begun.
    ///
    /// # Errors
    /// [`Expired`], and `work` is dropped.
    pub async fn until_started<T>(&self, work: impl Future<Output = T>) -> Result<T, Expired> {
        let (due, expired) = self.first();
        if due <= self.started {
            return Err(expired);
        }
        tokio::time::timeout_at(due, work).await.map_err(|_| expired)
    }

    /// Awaits the end of a tunnel that notes every byte in `activity`.
    ///
    /// # Errors
    /// [`Expired`], and `tunnel` is dropped.
    pub async fn until_closed<T>(&self, activity: &Activity, tunnel: impl Future<Output = T>) -> Result<T, Expired> {
        let mut tunnel = pin!(tunnel);
        let (due, mut expired) = self.next(activity.last());
        let mut alarm = pin!(sleep_until(due));
        poll_fn(|cx| {
            if let Poll::Ready(closed) = tunnel.as_mut().poll(cx) {
                return Poll::Ready(Ok(closed));
            }
            while alarm.as_mut().poll(cx).is_ready() {
                let (due, next) = self.next(activity.last());
                expired = next;
                if due <= Instant::now() {
                    return Poll::Ready(Err(expired));
                }
                Sleep::reset(alarm.as_mut(), due);
            }
            Poll::Pending
        })
        .await
    }
}

fn after(from: Instant, limit: Duration) -> Instant {
    from.checked_add(limit).unwrap_or_else(|| from + NEVER)
}

/// A duration as Go prints it; whole seconds, as all limits are.
struct GoDuration(Duration);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        match (hours, minutes) {
            (0, 0) => write!(f, "{seconds}s"),
            (0, _) => write!(f, "{minutes}m{seconds}s"),
            _ => write!(f, "{hours}h{minutes}m{seconds}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn clock(revision: u64, response_start: u64, idle: u64) -> Clock {
        let optional = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
        Clock::start(Timeouts {
            revision: Duration::from_secs(revision),
            response_start: optional(response_start),
            idle: optional(idle),
        })
    }

    #[test]
    fn lines_read_as_in_go() {
        let line = |seconds| Expired::Request(Duration::from_secs(seconds)).to_string();
        for (seconds, text) in [
            (0, "0s"),
            (2, "2s"),
            (60, "1m0s"),
            (300, "5m0s"),
            (3661, "1h1m1s"),
            (7200, "2h0m0s"),
        ] {
            assert_eq!(line(seconds), format!("Request timeout: {text}"));
        }
        assert_eq!(Expired::Idle(Duration::from_secs(1)).to_string(), "Idle timeout: 1s");
        let start = Expired::ResponseStart(Duration::from_secs(90));
        assert_eq!(start.to_string(), "Response start timeout: 1m30s");
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_limit_ends_a_silent_request() {
        for (limits, seconds, expired) in [
            ((5, 0, 0), 5, Expired::Request(Duration::from_secs(5))),
            ((5, 3, 4), 3, Expired::ResponseStart(Duration::from_secs(3))),
            ((5, 4, 2), 2, Expired::Idle(Duration::from_secs(2))),
            ((5, 5, 5), 5, Expired::Request(Duration::from_secs(5))),
        ] {
            let clock = clock(limits.0, limits.1, limits.2);
            let begun = Instant::now();
            assert_eq!(clock.until_started(pending::<()>()).await, Err(expired));
            assert_eq!(begun.elapsed().as_secs(), seconds);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn with_no_time_at_all_the_request_is_not_begun() {
        let begun = async { panic!("not begun") };
        assert_eq!(
            clock(0, 0, 0).until_started(begun).await,
            Err::<(), _>(Expired::Request(Duration::ZERO))
        );
    }

    #[tokio::test]
    async fn limits_beyond_the_systems_clock_are_never() {
        let clock = clock(u64::MAX, u64::MAX, 0);
        assert!(clock.end() > Instant::now() + Duration::from_secs(3600 * 24 * 365));
        assert_eq!(clock.until_started(async { 1 }).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_tunnel_lives_until_the_revision_timeout_and_a_silent_one_is_idle() {
        let clock = clock(10, 1, 2);
        let activity = Activity::begin();
        let noted = activity.clone();
        let busy = async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                noted.note();
            }
        };
        let begun = Instant::now();
        let ended: Result<(), _> = clock.until_closed(&activity, busy).await;
        assert_eq!(ended, Err(Expired::Request(Duration::from_secs(10))));
        assert_eq!(begun.elapsed().as_secs(), 10);
        let clock = self::clock(10, 1, 2);
        let ended = clock.until_closed(&Activity::begin(), pending::<()>()).await;
        assert_eq!(ended, Err(Expired::Idle(Duration::from_secs(2))));
        assert_eq!(begun.elapsed().as_secs(), 12);
    }
}
