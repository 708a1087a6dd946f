//! What the autoscaler scrapes on 9090: concurrency and arrivals, published once a second.
//!
//! Source: Knative `knative.dev/networking/pkg/http/stats` and `pkg/autoscaler/metrics/stat.proto`.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use prost::Message as _;
use tokio::time::MissedTickBehavior;

/// How often a snapshot is published.
const WINDOW: Duration = Duration::from_secs(1);

/// The message of `stat.proto`. At most 336 bytes are read by the autoscaler.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Stat {
    /// Pod name.
    #[prost(string, tag = "1")]
    pub pod_name: String,
    /// All requests.
    #[prost(double, tag = "2")]
    pub average_concurrent_requests: f64,
    /// Those that came through the activator.
    #[prost(double, tag = "3")]
    pub average_proxied_concurrent_requests: f64,
    /// Arrivals per second.
    #[prost(double, tag = "4")]
    pub request_count: f64,
    /// Arrivals per second through the activator.
    #[prost(double, tag = "5")]
    pub proxied_request_count: f64,
    /// Seconds since start.
    #[prost(double, tag = "6")]
    pub process_uptime: f64,
    /// Never set by a queue-proxy.
    #[prost(int64, tag = "7")]
    pub timestamp: i64,
}

/// Counts requests.
pub struct Stats {
    pod: String,
    started: Instant,
    ledger: Mutex<Ledger>,
}

struct Ledger {
    all: Flow,
    proxied: Flow,
    published: Bytes,
}

/// Concurrency over time, and arrivals, of one kind of request.
struct Flow {
    concurrency: f64,
    arrivals: f64,
    integral: f64,
    elapsed: f64,
    moved: Instant,
}

impl Flow {
    fn new(now: Instant) -> Self {
        Self {
            concurrency: 0.0,
            arrivals: 0.0,
            integral: 0.0,
            elapsed: 0.0,
            moved: now,
        }
    }

    fn arrive(&mut self) {
        self.concurrency += 1.0;
        self.arrivals += 1.0;
    }

    fn leave(&mut self) {
        self.concurrency -= 1.0;
    }

    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.moved).as_secs_f64();
        self.integral += self.concurrency * passed;
        self.elapsed += passed;
        self.moved = now;
    }

    /// Average concurrency and arrivals per second since the last snapshot.
    fn publish(&mut self, now: Instant) -> (f64, f64) {
        self.advance(now);
        let average = if self.elapsed > 0.0 {
            self.integral / self.elapsed
        } else {
            0.0
        };
        let rate = self.arrivals / WINDOW.as_secs_f64();
        (self.integral, self.elapsed, self.arrivals) = (0.0, 0.0, 0.0);
        (average, rate)
    }
}

impl Stats {
    /// Starts at zero, for the pod with this name.
    #[must_use]
    pub fn new(pod: impl Into<String>, now: Instant) -> Arc<Self> {
        let pod = pod.into();
        let published = Stat {
            pod_name: pod.clone(),
            ..Stat::default()
        }
        .encode_to_vec()
        .into();
        let ledger = Ledger {
            all: Flow::new(now),
            proxied: Flow::new(now),
            published,
        };
        Arc::new(Self {
            pod,
            started: now,
            ledger: Mutex::new(ledger),
        })
    }

    /// Counts a request until the guard is dropped.
    pub fn arrived(self: &Arc<Self>, proxied: bool) -> Counted {
        self.change(proxied, Instant::now(), Flow::arrive);
        Counted {
            stats: self.clone(),
            proxied,
        }
    }

    /// The last snapshot, encoded.
    #[must_use]
    pub fn published(&self) -> Bytes {
        self.ledger().published.clone()
    }

    /// Publishes a snapshot each second. Never returns.
    pub async fn run(&self) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + WINDOW, WINDOW);
        // As Go's ticker: a late tick does not move the next one, and missed ones are not made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.publish(Instant::now());
        }
    }

    fn publish(&self, now: Instant) {
        let mut ledger = self.ledger();
        let (concurrency, rate) = ledger.all.publish(now);
        let (proxied_concurrency, proxied_rate) = ledger.proxied.publish(now);
        let stat = Stat {
            pod_name: self.pod.clone(),
            average_concurrent_requests: concurrency,
            average_proxied_concurrent_requests: proxied_concurrency,
            request_count: rate,
            proxied_request_count: proxied_rate,
            process_uptime: now.saturating_duration_since(self.started).as_secs_f64(),
            timestamp: 0,
        };
        ledger.published = stat.encode_to_vec().into();
    }

    fn change(&self, proxied: bool, now: Instant, change: fn(&mut Flow)) {
        let mut ledger = self.ledger();
        ledger.all.advance(now);
        change(&mut ledger.all);
        if proxied {
            ledger.proxied.advance(now);
            change(&mut ledger.proxied);
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request in flight.
pub struct Counted {
    stats: Arc<Stats>,
    proxied: bool,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.stats.change(self.proxied, Instant::now(), Flow::leave);
    }
}

#[cfg(test)]
mod tests;
