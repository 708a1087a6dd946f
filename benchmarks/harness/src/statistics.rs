//! Order statistics of a cell. Percentiles are nearest-rank: always a value that was measured, never a mixture.

use rand::RngExt as _;
use rand_pcg::{Pcg64, rand_core::SeedableRng as _};

/// Fewest samples from which a 99th percentile is told; with fewer it would only be the maximum under another name.
const MIN_P99_SAMPLES: usize = 100;

/// Draws of a bootstrap: enough for two digits of the interval's ends.
const RESAMPLES: usize = 1000;

/// Samples in ascending order.
#[derive(Debug, Clone)]
pub(crate) struct Sorted(Vec<u64>);

impl Sorted {
    /// Sorts `samples`.
    pub(crate) fn new(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest value such that at least `percent` % of the samples are not above it; `None` without samples.
    pub(crate) fn percentile(&self, percent: usize) -> Option<u64> {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied()
    }

    /// The median, by the same rule.
    pub(crate) fn median(&self) -> Option<u64> {
        self.percentile(50)
    }

    /// The arithmetic mean; 0 without samples.
    pub(crate) fn mean(&self) -> f64 {
        let sum: f64 = self.0.iter().map(|value| *value as f64).sum();
        if self.0.is_empty() {
            0.0
        } else {
            sum / self.0.len() as f64
        }
    }

    /// The sample standard deviation; 0 with fewer than two samples.
    pub(crate) fn deviation(&self) -> f64 {
        if self.0.len() < 2 {
            return 0.0;
        }
        let mean = self.mean();
        let squares: f64 = self.0.iter().map(|value| (*value as f64 - mean).powi(2)).sum();
        (squares / (self.0.len() - 1) as f64).sqrt()
    }

    /// The samples, ascending.
    pub(crate) fn values(&self) -> &[u64] {
        &self.0
    }

    /// The 95 % interval of the median by the percentile bootstrap (Efron): medians of `RESAMPLES` draws with replacement,
    /// from a fixed seed, so that the same samples give the same interval. `None` with fewer than two samples.
    pub(crate) fn median_interval(&self) -> Option<(u64, u64)> {
        if self.0.len() < 2 {
            return None;
        }
        let mut random = Pcg64::seed_from_u64(self.0.len() as u64);
        let mut draw = vec![0; self.0.len()];
        let mut medians = Vec::with_capacity(RESAMPLES);
        for _ in 0..RESAMPLES {
            for value in &mut draw {
                *value = self.0[random.random_range(0..self.0.len())];
            }
            let middle = (draw.len() - 1) / 2;
            medians.push(*draw.select_nth_unstable(middle).1);
        }
        medians.sort_unstable();
        let at = |permille: usize| medians[(medians.len() - 1) * permille / 1000];
        Some((at(25), at(975)))
    }

    /// The 99th percentile, from 100 samples on.
    pub(crate) fn p99(&self) -> Option<u64> {
        (self.len() >= MIN_P99_SAMPLES).then(|| self.percentile(99)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let sorted = Sorted::new(vec![50, 15, 40, 20, 35]);
        let found = [0, 5, 30, 40, 50, 100].map(|percent| sorted.percentile(percent));
        assert_eq!(found, [15, 15, 20, 20, 35, 50].map(Some));
    }

    #[test]
    fn an_even_number_has_its_lower_middle_as_median() {
        assert_eq!(Sorted::new(vec![4, 1, 3, 2]).median(), Some(2));
        assert_eq!(Sorted::new(vec![7]).median(), Some(7));
        assert_eq!(Sorted::new(vec![]).median(), None);
    }

    #[test]
    fn moments_are_those_of_a_sample() {
        let sorted = Sorted::new(vec![2, 4, 4, 4, 5, 5, 7, 9]);
        assert!((sorted.mean() - 5.0).abs() < 1e-9);
        assert!((sorted.deviation() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-9);
        assert!(Sorted::new(vec![3]).deviation().abs() < f64::EPSILON);
    }

    #[test]
    fn the_interval_holds_the_median_and_is_narrow_for_many_samples() {
        let few = Sorted::new((1..=11).collect()).median_interval().unwrap();
        assert!(few.0 <= 6 && 6 <= few.1 && few.0 < few.1, "{few:?}");
        let many = Sorted::new((1..=2000).collect()).median_interval().unwrap();
        assert!(many.0 <= 1000 && 1000 <= many.1 && many.1 - many.0 < 200, "{many:?}");
        assert_eq!(Sorted::new(vec![7]).median_interval(), None);
    }

    #[test]
    fn p99_needs_a_hundred_samples() {
        assert_eq!(Sorted::new((1..=99).collect()).p99(), None);
        assert_eq!(Sorted::new((1..=100).collect()).p99(), Some(99));
        assert_eq!(Sorted::new((1..=200).collect()).p99(), Some(198));
    }
}
