//! Sampling: of lines with the same level and message, each second lets the first few pass and then every so many-th.
//!
//! Source: `go.uber.org/zap/zapcore/sampler.go`. Messages share a fixed number of counters, so memory is bounded.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use super::{config::Sampling, level::Level};

/// How long a count holds.
const TICK: Duration = Duration::from_secs(1);
/// Counters for the messages of one level (zap: 4096); messages that share one are sampled together.
const COUNTERS: usize = 256;

#[derive(Clone, Copy)]
struct Counter {
    until: SystemTime,
    count: u64,
}

/// Counts lines.
pub(super) struct Sampler {
    rates: Sampling,
    counters: Mutex<Box<[Counter]>>,
}

impl Sampler {
    pub(super) fn new(rates: Sampling) -> Self {
        let fresh = Counter {
            until: SystemTime::UNIX_EPOCH,
            count: 0,
        };
        Self {
            rates,
            counters: Mutex::new(vec![fresh; COUNTERS * Level::COUNT].into()),
        }
    }

    /// Whether this line is written.
    pub(super) fn passes(&self, level: Level, message: &str, now: SystemTime) -> bool {
        let count = self.count(level, message, now);
        // A number below zero is a huge one, as in Go.
        let (initial, thereafter) = (
            self.rates.initial.cast_unsigned(),
            self.rates.thereafter.cast_unsigned(),
        );
        count <= initial || thereafter != 0 && (count - initial).is_multiple_of(thereafter)
    }

    fn count(&self, level: Level, message: &str, now: SystemTime) -> u64 {
        let mut hasher = DefaultHasher::new();
        message.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % COUNTERS as u64).unwrap_or(0) + COUNTERS * level as usize;
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        let counter = &mut counters[place];
        if counter.until <= now {
            *counter = Counter {
                until: now + TICK,
                count: 0,
            };
        }
        counter.count += 1;
        counter.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(initial: i64, thereafter: i64, lines: u32) -> Vec<u32> {
        let sampler = Sampler::new(Sampling { initial, thereafter });
        let now = SystemTime::now();
        (1..=lines)
            .filter(|_| sampler.passes(Level::Info, "same", now))
            .collect()
    }

    #[test]
    fn the_first_pass_and_then_every_so_many_th() {
        assert_eq!(passed(3, 4, 12), [1, 2, 3, 7, 11]);
        assert_eq!(passed(2, 0, 9), [1, 2]);
        assert_eq!(passed(0, 0, 9), [0; 0]);
        assert_eq!(passed(-1, -1, 3), [1, 2, 3]);
    }

    #[test]
    fn levels_messages_and_seconds_are_counted_apart() {
        let sampler = Sampler::new(Sampling {
            initial: 1,
            thereafter: 0,
        });
        let now = SystemTime::now();
        assert!(sampler.passes(Level::Info, "a", now) && !sampler.passes(Level::Info, "a", now));
        assert!(sampler.passes(Level::Warn, "a", now) && sampler.passes(Level::Info, "b", now));
        assert!(!sampler.passes(Level::Info, "a", now + TICK - Duration::from_nanos(1)));
        assert!(sampler.passes(Level::Info, "a", now + TICK));
    }
}
