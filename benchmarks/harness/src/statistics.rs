//! Order statistics of a cell. Percentiles are nearest-rank: always a value that was measured, never a mixture.

/// Fewest samples from which a 99th percentile is told; with fewer it would only be the maximum under another name.
const MIN_P99_SAMPLES: usize = 100;

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
    fn p99_needs_a_hundred_samples() {
        assert_eq!(Sorted::new((1..=99).collect()).p99(), None);
        assert_eq!(Sorted::new((1..=100).collect()).p99(), Some(99));
        assert_eq!(Sorted::new((1..=200).collect()).p99(), Some(198));
    }
}
