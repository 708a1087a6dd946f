//! How often and how fast a pull that broke is begun again.

use std::time::Duration;

/// Breaks that one pull survives. Each but a few in a row has brought bytes, so a peer cannot keep a pull busy for nothing.
const MOST: u32 = 64;
/// Breaks in a row without a byte in between; then whoever is there is not worth asking again.
const MOST_IN_VAIN: u32 = 4;
/// Pause before the second attempt in a row; the first follows at once. Doubles up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The attempts of one pull.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    breaks: u32,
    in_vain: u32,
}

impl Attempts {
    /// Bytes came: what breaks from now on is another break.
    pub(super) fn progress(&mut self) {
        self.in_vain = 0;
    }

    /// Whether one more break is survived.
    pub(super) fn broke(&mut self) -> bool {
        self.breaks += 1;
        self.in_vain += 1;
        self.breaks <= MOST && self.in_vain <= MOST_IN_VAIN
    }
}

/// Pauses between attempts in a row: none, then [`SHORTEST_PAUSE`], doubling.
pub(super) fn pauses() -> impl Iterator<Item = Duration> {
    let growing = std::iter::successors(Some(SHORTEST_PAUSE), |pause| Some((*pause * 2).min(LONGEST_PAUSE)));
    std::iter::once(Duration::ZERO).chain(growing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_survives_many_breaks_but_few_in_vain() {
        let mut attempts = Attempts::default();
        for _ in 0..MOST {
            assert!(attempts.broke());
            attempts.progress();
        }
        assert!(!attempts.broke(), "not for ever");
        let mut attempts = Attempts::default();
        assert_eq!((0..10).filter(|_| attempts.broke()).count(), MOST_IN_VAIN as usize);
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let pauses: Vec<Duration> = pauses().take(9).collect();
        assert_eq!(pauses[..3], [0, 5, 10].map(Duration::from_millis));
        assert_eq!(pauses[8], LONGEST_PAUSE);
    }
}
