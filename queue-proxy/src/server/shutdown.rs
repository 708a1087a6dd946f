//! The way out, in the order of contract section 6: not ready → quiet → HTTP/1 → upgraded and HTTP/2 → objects.
//!
//! What follows (the last line of the log, telemetry's last words, the exit code) is `super::run`'s.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::connections::Group;
use crate::drain::{Drain, QUIET_PERIOD};

/// What requests on upgraded and HTTP/2 connections get after the last HTTP/1 request (stock: 60 s).
const LINGER: Duration = Duration::from_secs(60);

/// Everything that serves Knative.
#[derive(Default)]
pub(super) struct Servers {
    /// The main port, 8022 and 9090.
    pub(super) plain: Group,
    /// What stops after all others: the port with TLS.
    pub(super) tls: Group,
    /// Upgraded connections of both.
    pub(super) tunnels: TaskTracker,
}

impl Servers {
    /// Resolves when a listener can accept nothing any more: why.
    pub(super) async fn died(&self) -> String {
        tokio::select! {
            error = self.plain.died() => error.to_string(),
            error = self.tls.died() => error.to_string(),
        }
    }

    /// From SIGTERM (now) until nothing that serves Knative is left.
    pub(super) async fn leave(self, drain: &Drain) {
        let quiet = drain.quiet();
        tracing::info!("Received TERM signal, attempting to gracefully shutdown servers.");
        tracing::info!("Sleeping {QUIET_PERIOD:?} to allow K8s propagation of non-ready state");
        quiet.await;
        for server in ["main", "admin", "metrics"] {
            tracing::info!("Shutting down server: {server}");
        }
        self.plain.finish().await;
        self.tls.finish().await;
        self.tunnels.close();
        let lingering = async {
            tokio::join!(
                self.plain.finish_multiplexed(),
                self.tls.finish_multiplexed(),
                self.tunnels.wait()
            )
        };
        if timeout(LINGER, lingering).await.is_err() {
            tracing::info!("upgraded or HTTP/2 connections were cut at shutdown");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    async fn left_after(servers: Servers) -> u64 {
        let begun = Instant::now();
        servers.leave(&Drain::new()).await;
        begun.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn with_nothing_open_the_quiet_period_is_all() {
        assert_eq!(left_after(Servers::default()).await, 30);
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_tunnel_is_cut_after_a_minute() {
        let servers = Servers::default();
        let _open = servers.tunnels.token();
        assert_eq!(left_after(servers).await, 90);
    }

    #[tokio::test(start_paused = true)]
    async fn the_minute_begins_when_the_last_http1_request_has_ended() {
        let servers = Servers::default();
        let _open = servers.tunnels.token();
        let long = servers.plain.seat();
        long.request(http::Version::HTTP_11);
        let multiplexed = servers.tls.seat();
        multiplexed.request(http::Version::HTTP_2);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(100)).await;
            drop(long);
            tokio::time::sleep(Duration::from_secs(30)).await;
            drop(multiplexed);
        });
        assert_eq!(left_after(servers).await, 160);
    }
}
