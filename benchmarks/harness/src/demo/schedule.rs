//! How often each object is sent: a target by size, and a time budget that the targets must shrink to.

use std::time::{Duration, Instant};

use crate::object::Object;

/// Rough price of a transfer, to share time between objects: a fixed part and a part per byte (200 MB/s).
const NS_PER_TRANSFER: f64 = 2e6;
const NS_PER_BYTE: f64 = 5.0;
/// Part of an object's time that warm-ups may take.
const WARM_UP_PART: f64 = 0.25;

/// Blocks of one object: in each, every backend sends it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// Discarded ones, at the start.
    pub(crate) warm_up: u64,
    /// Those that count.
    pub(crate) measured: u64,
}

impl Blocks {
    /// The target for an object of `size` bytes; `repetitions` replaces the table.
    pub(crate) fn target(size: u64, repetitions: Option<u64>) -> Self {
        let (warm_up, measured) = match size {
            0..=102_400 => (5, 200),
            102_401..=1_048_576 => (5, 100),
            1_048_577..=4_194_304 => (5, 50),
            4_194_305..=10_485_760 => (3, 20),
            _ => (2, 8),
        };
        Self {
            warm_up,
            measured: repetitions.unwrap_or(measured),
        }
    }

    /// All of them.
    pub(crate) const fn total(self) -> u64 {
        self.warm_up + self.measured
    }

    fn cost(self, size: u64) -> f64 {
        self.total() as f64 * (NS_PER_TRANSFER + NS_PER_BYTE * size as f64)
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

    /// The part of the time left that the first of `objects` may take; the others are those still to come.
    pub(crate) fn share(&self, objects: &[Object], repetitions: Option<u64>) -> Share {
        let cost = |object: &Object| Blocks::target(object.size, repetitions).cost(object.size);
        let all: f64 = objects.iter().map(cost).sum();
        let part = objects.first().map_or(0.0, |first| cost(first) / all);
        let begun = Instant::now();
        let left = self.end.saturating_duration_since(begun);
        Share {
            begun,
            length: left.mul_f64(part.clamp(0.0, 1.0)),
            done: 0,
            warm: 0,
        }
    }
}

/// One object's time, and what has been done in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    begun: Instant,
    length: Duration,
    done: u64,
    warm: u64,
}

/// What comes next for an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// A block that is discarded.
    WarmUp,
    /// A block that counts.
    Measure,
    /// Nothing: the target is reached, or the time is over.
    End,
}

impl Share {
    /// Decides at `now`. Whatever the time, each object gets one warm-up and one block that counts; a further block is
    /// begun only if one like those before would end in time.
    pub(crate) fn next(&self, target: Blocks, now: Instant) -> Next {
        let spent = now.saturating_duration_since(self.begun).as_secs_f64();
        let block = if self.done == 0 { 0.0 } else { spent / self.done as f64 };
        let after = spent + block;
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

    /// Counts a block.
    pub(crate) fn count(&mut self, next: Next) {
        self.done += 1;
        self.warm += u64::from(next == Next::WarmUp);
    }

    /// Blocks so far; also the number of the one that comes next.
    pub(crate) const fn done(&self) -> u64 {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Size;

    fn objects(sizes: &[&str]) -> Vec<Object> {
        sizes
            .iter()
            .map(|size| Object::seeded(size.parse::<Size>().unwrap()))
            .collect()
    }

    /// Blocks that fit if each takes `block`.
    fn blocks(share: &mut Share, target: Blocks, block: Duration) -> (u64, u64) {
        let mut now = share.begun;
        loop {
            let next = share.next(target, now);
            if next == Next::End {
                return (share.warm, share.done - share.warm);
            }
            share.count(next);
            now += block;
        }
    }

    #[test]
    fn targets_fall_with_the_size() {
        let target = |size| Blocks::target(size, None);
        assert_eq!(
            target(10 << 10),
            Blocks {
                warm_up: 5,
                measured: 200
            }
        );
        assert_eq!(
            target(100 << 10),
            Blocks {
                warm_up: 5,
                measured: 200
            }
        );
        assert_eq!(
            target(1 << 20),
            Blocks {
                warm_up: 5,
                measured: 100
            }
        );
        assert_eq!(
            target(10 << 20),
            Blocks {
                warm_up: 3,
                measured: 20
            }
        );
        assert_eq!(
            target(100 << 20),
            Blocks {
                warm_up: 2,
                measured: 8
            }
        );
        assert_eq!(
            Blocks::target(1, Some(3)),
            Blocks {
                warm_up: 5,
                measured: 3
            }
        );
    }

    #[test]
    fn with_time_enough_the_target_is_reached() {
        let mut share = Budget::new(Duration::from_secs(1000)).share(&objects(&["1MB"]), None);
        assert_eq!(
            blocks(&mut share, Blocks::target(1 << 20, None), Duration::from_millis(20)),
            (5, 100)
        );
    }

    #[test]
    fn repetitions_shrink_to_the_time() {
        let mut share = Budget::new(Duration::from_secs(10)).share(&objects(&["100MB"]), None);
        let (warm, measured) = blocks(&mut share, Blocks::target(100 << 20, None), Duration::from_secs(2));
        assert_eq!(warm, 1);
        assert!((3..=4).contains(&measured), "{measured}");
    }

    #[test]
    fn without_time_one_block_is_measured() {
        let mut share = Budget::new(Duration::ZERO).share(&objects(&["10KB", "1MB"]), None);
        assert_eq!(
            blocks(&mut share, Blocks::target(10 << 10, None), Duration::from_secs(1)),
            (1, 1)
        );
    }

    #[test]
    fn large_objects_get_more_of_the_time() {
        let budget = Budget::new(Duration::from_secs(100));
        let (small, large) = (objects(&["10KB", "100MB"]), objects(&["100MB", "10KB"]));
        assert!(budget.share(&small, None).length < budget.share(&large, None).length);
        assert!(budget.share(&objects(&["1MB"]), None).length > Duration::from_secs(90));
    }
}
