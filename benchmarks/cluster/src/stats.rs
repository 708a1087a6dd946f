//! The sidecar's autoscaler stats, and what the cluster concludes from load: how many instances are too many.
//!
//! Source: contract `queue-proxy.md` section 7.1 (Knative's `pkg/autoscaler/metrics/stat.proto`).

use std::time::Duration;

use tokio::time::Instant;

/// Longest stats that the autoscaler reads.
pub(crate) const STAT_BYTES: usize = 336;

/// One second of one instance, as `GET :9090/metrics` tells it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Stat {
    /// `SERVING_POD` of the sidecar.
    #[prost(string, tag = "1")]
    pub(crate) pod_name: String,
    /// Requests at once, averaged over the last second, waiting ones included.
    #[prost(double, tag = "2")]
    pub(crate) average_concurrent_requests: f64,
    /// The part of it that came through an activator.
    #[prost(double, tag = "3")]
    pub(crate) average_proxied_concurrent_requests: f64,
    /// Arrivals in the last second.
    #[prost(double, tag = "4")]
    pub(crate) request_count: f64,
    /// The part of it that came through an activator.
    #[prost(double, tag = "5")]
    pub(crate) proxied_request_count: f64,
    /// Seconds since the sidecar started.
    #[prost(double, tag = "6")]
    pub(crate) process_uptime: f64,
    /// Never set by a sidecar.
    #[prost(int64, tag = "7")]
    pub(crate) timestamp: i64,
}

impl Stat {
    /// Whether nothing ran and nothing came in the last second.
    pub(crate) fn is_idle(&self) -> bool {
        self.average_concurrent_requests <= 0.0 && self.request_count <= 0.0
    }
}

/// Watches for how long more instances run than were needed. Pure: it is told the time.
#[derive(Debug)]
pub(crate) struct Surplus {
    patience: Duration,
    since: Instant,
    /// Most instances that were needed since then.
    most_needed: usize,
}

impl Surplus {
    pub(crate) fn new(patience: Duration, now: Instant) -> Self {
        Self {
            patience,
            since: now,
            most_needed: 0,
        }
    }

    /// Takes one look: `needed` of `ready` instances since the last look. Tells how many may be stopped now.
    pub(crate) fn look(&mut self, needed: usize, ready: usize, now: Instant) -> usize {
        self.most_needed = self.most_needed.max(needed);
        let surplus = ready.saturating_sub(self.most_needed);
        if surplus > 0 && now.duration_since(self.since) < self.patience {
            return 0;
        }
        (self.since, self.most_needed) = (now, needed);
        surplus
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn the_stats_are_those_of_the_contract() {
        let first_tick = Stat::decode(&b"\x0a\x07pod-abc"[..]).unwrap();
        assert_eq!((first_tick.pod_name.as_str(), first_tick.is_idle()), ("pod-abc", true));
        assert!(
            !Stat {
                average_concurrent_requests: 0.2,
                ..Stat::default()
            }
            .is_idle()
        );
        assert!(
            !Stat {
                request_count: 1.0,
                ..Stat::default()
            }
            .is_idle()
        );
    }

    #[test]
    fn a_surplus_is_told_after_it_has_lasted() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut surplus = Surplus::new(Duration::from_secs(30), begin);
        assert_eq!(surplus.look(1, 4, at(1)), 0);
        assert_eq!(surplus.look(3, 4, at(10)), 0);
        assert_eq!(surplus.look(0, 4, at(29)), 0);
        assert_eq!(surplus.look(0, 4, at(30)), 1, "three were needed within the window");
        assert_eq!(surplus.look(0, 3, at(59)), 0);
        assert_eq!(surplus.look(0, 3, at(60)), 3);
    }

    #[test]
    fn full_use_begins_the_window_again() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut surplus = Surplus::new(Duration::from_secs(30), begin);
        assert_eq!(surplus.look(0, 1, at(29)), 0);
        assert_eq!(surplus.look(1, 1, at(30)), 0);
        assert_eq!(
            surplus.look(0, 1, at(31)),
            0,
            "the instance was still in use in the second before"
        );
        assert_eq!(surplus.look(0, 1, at(60)), 0);
        assert_eq!(surplus.look(0, 1, at(61)), 1);
    }
}
