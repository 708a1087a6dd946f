//! How often a cell is repeated: a target, and a time budget that targets must shrink to where one is given.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Rough price of a repetition of one column, to share time between cells: a fixed part and a part per byte (150 MB/s).
const NS_PER_TRANSFER: f64 = 4e6;
const NS_PER_BYTE: f64 = 6.5;
/// Part of a cell's time that warm-ups may take.
const WARM_UP_PART: f64 = 0.25;

/// Repetitions of one cell: in each, every column runs once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Target {
    /// Discarded ones, at the start.
    pub(crate) warm_up: u64,
    /// Those that count.
    pub(crate) measured: u64,
}

impl Target {
    /// All of them.
    pub(crate) const fn total(self) -> u64 {
        self.warm_up + self.measured
    }

    /// Rough price of all of them, in nanoseconds, when `columns` columns each move `bytes` bytes.
    pub(crate) fn cost(self, bytes: u64, columns: usize) -> f64 {
        (self.total() * columns as u64) as f64 * (NS_PER_TRANSFER + NS_PER_BYTE * bytes as f64)
    }
}

/// The time of the whole run, from its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    end: Instant,
}

impl Budget {
    /// Begins now.
    pub(crate) fn new(total: Duration) -> Self {
        Self {
            end: Instant::now() + total,
        }
    }

    /// The part of the time left that a cell of price `own` may take when those still to come, itself included, cost
    /// `all`.
    pub(crate) fn share(&self, own: f64, all: f64) -> Share {
        let begun = Instant::now();
        let left = self.end.saturating_duration_since(begun);
        Share::new(begun, left.mul_f64((own / all.max(own).max(1.0)).clamp(0.0, 1.0)))
    }
}

/// One cell's time, and what has been done in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    begun: Instant,
    length: Duration,
    done: u64,
    warm: u64,
}

/// What comes next for a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A repetition that is discarded.
    WarmUp,
    /// A repetition that counts.
    Measure,
    /// Nothing: the target is reached, or the time is over.
    End,
}

impl Share {
    /// Time without an end.
    pub(crate) fn unlimited() -> Self {
        Self::new(Instant::now(), Duration::MAX)
    }

    const fn new(begun: Instant, length: Duration) -> Self {
        Self {
            begun,
            length,
            done: 0,
            warm: 0,
        }
    }

    /// Decides at `now`. Whatever the time, each cell gets one warm-up and one repetition that counts; a further one is
    /// begun only if it would end in time, going by those before.
    pub(crate) fn next(&self, target: Target, now: Instant) -> Next {
        let spent = now.saturating_duration_since(self.begun).as_secs_f64();
        let one = if self.done == 0 { 0.0 } else { spent / self.done as f64 };
        let after = spent + one;
        let fits = |part: f64| after <= self.length.as_secs_f64() * part;
        let measured = self.done - self.warm;
        match (measured, self.warm) {
            (0, 0) if target.warm_up > 0 => Next::WarmUp,
            (0, warm) if warm < target.warm_up && fits(WARM_UP_PART) => Next::WarmUp,
            (0, _) => Next::Measure,
            (measured, _) if measured < target.measured && fits(1.0) => Next::Measure,
            _ => Next::End,
        }
    }

    /// Counts a repetition.
    pub(crate) fn count(&mut self, next: Next) {
        self.done += 1;
        self.warm += u64::from(next == Next::WarmUp);
    }

    /// Repetitions so far; also the number of the one that comes next.
    pub(crate) const fn done(&self) -> u64 {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target = Target {
        warm_up: 5,
        measured: 100,
    };

    /// Repetitions that fit if each takes `one`: warm-ups, and those that count.
    fn repetitions(mut share: Share, one: Duration) -> (u64, u64) {
        let mut now = share.begun;
        loop {
            let next = share.next(TARGET, now);
            if next == Next::End {
                return (share.warm, share.done - share.warm);
            }
            share.count(next);
            now += one;
        }
    }

    #[test]
    fn with_time_enough_the_target_is_reached() {
        assert_eq!(repetitions(Share::unlimited(), Duration::from_secs(9)), (5, 100));
        let share = Budget::new(Duration::from_secs(1000)).share(1.0, 1.0);
        assert_eq!(repetitions(share, Duration::from_millis(20)), (5, 100));
    }

    #[test]
    fn repetitions_shrink_to_the_time() {
        let share = Budget::new(Duration::from_secs(10)).share(1.0, 1.0);
        let (warm, measured) = repetitions(share, Duration::from_secs(2));
        assert_eq!(warm, 1);
        assert!((3..=4).contains(&measured), "{measured}");
    }

    #[test]
    fn without_time_one_repetition_counts() {
        let share = Budget::new(Duration::ZERO).share(1.0, 2.0);
        assert_eq!(repetitions(share, Duration::from_secs(1)), (1, 1));
    }

    #[test]
    fn large_objects_get_more_of_the_time() {
        let budget = Budget::new(Duration::from_secs(100));
        let (small, large) = (TARGET.cost(10 << 10, 8), TARGET.cost(100 << 20, 8));
        assert!(budget.share(small, small + large).length < budget.share(large, small + large).length);
        assert!(budget.share(small, small).length > Duration::from_secs(90));
    }
}
