//! How many threads run the proxy: as many as the container's CPU quota allows, rounded down, at least one; without a
//! quota one for each core that the process may use. `GOMAXPROCS` overrides, as it does for stock.
//!
//! The quota is read by the standard library, from cgroup v2 (`cpu.max`, of all levels) and v1 (`cpu.cfs_quota_us`).

use std::thread;

/// More threads than any node has cores (Go's own bound in older releases).
const MOST: usize = 1024;

/// The number of worker threads; `gomaxprocs` is the variable. Go ignores what is no number above zero.
pub(super) fn count(gomaxprocs: Option<&str>) -> usize {
    let given = gomaxprocs.and_then(|text| text.parse().ok()).filter(|count| *count > 0);
    let count = given.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    count.min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gomaxprocs_overrides_when_it_is_a_number_above_zero() {
        assert_eq!((count(Some("1")), count(Some("7"))), (1, 7));
        assert_eq!(count(Some("999999999")), MOST);
        let own = count(None);
        assert!(own >= 1);
        for text in ["", "0", "-1", "many", "99999999999999999999"] {
            assert_eq!(count(Some(text)), own, "{text}");
        }
    }
}
