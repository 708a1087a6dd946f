//! How fast the machine is right now: hashing and copying 64 MiB, timed at the beginning of every block.
//!
//! A block whose calibration differs by more than a tenth from the run's median ran on a machine that was busy with
//! something else (or was throttled), and is marked.

use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use xdt_patterns::object::Digest;

use crate::statistics::Sorted;

/// Bytes hashed and copied.
const BYTES: usize = 64 << 20;
/// Difference from the median above which a block is marked.
const DRIFT: f64 = 0.10;

/// One calibration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    /// Time to hash 64 MiB.
    pub(crate) hash_ns: u64,
    /// Time to copy 64 MiB.
    pub(crate) copy_ns: u64,
}

/// The memory that calibrations work on, made and touched once.
#[derive(Debug)]
pub(crate) struct Calibrator {
    buffers: Option<(Vec<u8>, Vec<u8>)>,
}

impl Calibrator {
    /// Takes 128 MiB.
    pub(crate) fn new() -> Self {
        Self {
            buffers: Some((vec![1; BYTES], vec![2; BYTES])),
        }
    }

    /// Runs the loop, off the runtime's threads.
    ///
    /// # Errors
    /// Only if the runtime is shutting down.
    pub(crate) async fn run(&mut self) -> Result<Calibration> {
        let (source, mut target) = self.buffers.take().unwrap_or_else(|| (vec![1; BYTES], vec![2; BYTES]));
        let work = move || {
            let begun = Instant::now();
            std::hint::black_box(Digest::of(std::hint::black_box(&source)));
            let hash_ns = nanos(begun);
            let begun = Instant::now();
            target.copy_from_slice(std::hint::black_box(&source));
            std::hint::black_box(&target);
            let calibration = Calibration {
                hash_ns,
                copy_ns: nanos(begun),
            };
            (calibration, (source, target))
        };
        let (calibration, buffers) = tokio::task::spawn_blocking(work).await.context("no calibration")?;
        self.buffers = Some(buffers);
        Ok(calibration)
    }
}

/// Which of `calibrations` drifted from the median of all.
pub(crate) fn drifted(calibrations: &[Calibration]) -> Vec<bool> {
    let median = |part: fn(&Calibration) -> u64| Sorted::new(calibrations.iter().map(part).collect()).median();
    let (hash, copy) = (median(|one| one.hash_ns), median(|one| one.copy_ns));
    let is_off = |value: u64, median: Option<u64>| {
        median.is_some_and(|median| (value as f64 - median as f64).abs() > DRIFT * median as f64)
    };
    let each = calibrations.iter();
    each.map(|one| is_off(one.hash_ns, hash) || is_off(one.copy_ns, copy))
        .collect()
}

fn nanos(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_more_or_less_is_a_drift() {
        let one = |hash_ns, copy_ns| Calibration { hash_ns, copy_ns };
        let all = [one(100, 100), one(109, 100), one(100, 111), one(80, 100), one(100, 100)];
        assert_eq!(drifted(&all), [false, false, true, true, false]);
        assert!(drifted(&[]).is_empty());
    }

    #[tokio::test]
    async fn it_takes_time() {
        let mut calibrator = Calibrator::new();
        let first = calibrator.run().await.unwrap();
        assert!(first.hash_ns > 0 && first.copy_ns > 0);
        assert!(calibrator.buffers.is_some());
    }
}
