//! One clock for two processes: `CLOCK_MONOTONIC` is the same for every process of a host, and nothing sets it back.
//!
//! Timestamps of producer and consumer may therefore be subtracted; on two hosts they may not.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since some fixed moment of this host.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_does_not_run_backwards() {
        let first = monotonic_ns();
        assert!(first > 0);
        assert!(monotonic_ns() >= first);
    }
}
