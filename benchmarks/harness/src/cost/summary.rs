//! What the sessions say together: one row for each target and scenario, one for each target's process.

use std::time::Duration;

use serde::Serialize;

use super::{
    Target,
    load::Slice,
    scenario::{Exchange, Scenario},
    session::{Pair, Session},
};
use crate::statistics::Sorted;

/// Everything that is printed.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// By scenario, then target.
    pub(crate) loads: Vec<Load>,
    /// By target.
    pub(crate) processes: Vec<Process>,
}

/// One scenario with one target, all rounds together.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Load {
    pub(crate) target: usize,
    pub(crate) scenario: Scenario,
    /// Requests that the rest is from.
    pub(crate) requests: usize,
    /// CPU time of the queue-proxy for one request.
    pub(crate) cpu_us_per_request: f64,
    /// That against the first target's in the same round, the median of all rounds; none for the first itself.
    pub(crate) cpu_ratio_to_first: Option<f64>,
    pub(crate) through: Pace,
    pub(crate) direct: Pace,
    /// CPU time of the queue-proxy for 10^9 bytes, where bodies are large.
    pub(crate) cpu_ms_per_gb: Option<f64>,
}

/// How fast one way was.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Pace {
    pub(crate) requests_per_second: f64,
    pub(crate) gb_per_second: f64,
    pub(crate) median_us: f64,
    /// From 100 requests on.
    pub(crate) p99_us: Option<f64>,
}

/// One target as a process.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Process {
    pub(crate) target: usize,
    pub(crate) starts: usize,
    pub(crate) start_median_ms: f64,
    pub(crate) start_worst_ms: f64,
    /// Medians of all sessions, in MiB: after the first request, after the small requests, after everything.
    pub(crate) rss_mib: [f64; 3],
    /// The same of what is the process's own.
    pub(crate) anon_mib: [f64; 3],
}

/// Sums up all sessions.
pub(crate) fn of(targets: &[Target], scenarios: &[Scenario], sessions: &[Session]) -> Summary {
    let every = |number: usize| (0..targets.len()).map(move |target| load(sessions, target, number, scenarios[number]));
    Summary {
        loads: (0..scenarios.len()).flat_map(every).collect(),
        processes: (0..targets.len())
            .map(|target| process(sessions, target, scenarios))
            .collect(),
    }
}

fn load(sessions: &[Session], target: usize, number: usize, scenario: Scenario) -> Load {
    let pairs: Vec<&Pair> = own(sessions, target).map(|session| &session.pairs[number]).collect();
    let requests: usize = pairs.iter().map(|pair| pair.through.latencies.len()).sum();
    let cpu: Duration = pairs.iter().map(|pair| pair.through.cpu).sum();
    let bytes = scenario.exchange.bytes() * requests;
    Load {
        target,
        scenario,
        requests,
        cpu_us_per_request: ratio(cpu.as_secs_f64() * 1e6, requests as f64),
        cpu_ratio_to_first: (target > 0).then(|| against_first(sessions, target, number)),
        through: Pace::of(scenario.exchange, pairs.iter().map(|pair| &pair.through)),
        direct: Pace::of(scenario.exchange, pairs.iter().map(|pair| &pair.direct)),
        cpu_ms_per_gb: (bytes > 0).then(|| ratio(cpu.as_secs_f64() * 1e3, bytes as f64 / 1e9)),
    }
}

fn own(sessions: &[Session], target: usize) -> impl Iterator<Item = &Session> {
    sessions.iter().filter(move |session| session.target == target)
}

fn against_first(sessions: &[Session], target: usize, number: usize) -> f64 {
    let per_request = |session: &Session| {
        let slice = &session.pairs[number].through;
        ratio(slice.cpu.as_secs_f64(), slice.latencies.len() as f64)
    };
    let firsts = own(sessions, 0);
    let ratios = firsts.filter_map(|first| {
        let same_round = own(sessions, target).find(|session| session.round == first.round)?;
        Some(ratio(per_request(same_round), per_request(first)))
    });
    median(ratios)
}

impl Pace {
    fn of<'a>(exchange: Exchange, slices: impl Iterator<Item = &'a Slice>) -> Self {
        let (mut latencies, mut elapsed) = (Vec::new(), Duration::ZERO);
        for slice in slices {
            latencies.extend_from_slice(&slice.latencies);
            elapsed += slice.elapsed;
        }
        let sorted = Sorted::new(latencies);
        let rate = ratio(sorted.len() as f64, elapsed.as_secs_f64());
        let micros = |ns: u64| ns as f64 / 1e3;
        Self {
            requests_per_second: rate,
            gb_per_second: rate * exchange.bytes() as f64 / 1e9,
            median_us: sorted.median().map(micros).unwrap_or_default(),
            p99_us: sorted.p99().map(micros),
        }
    }
}

fn process(sessions: &[Session], target: usize, scenarios: &[Scenario]) -> Process {
    const MIB: f64 = 1_048_576.0;
    let last_small = scenarios
        .iter()
        .rposition(|scenario| scenario.exchange == Exchange::Small);
    let moments = |part: fn(&crate::usage::Memory) -> u64| {
        let after = |number: usize| {
            median(own(sessions, target).map(|session| part(&session.pairs[number].memory) as f64 / MIB))
        };
        let idle = median(own(sessions, target).map(|session| part(&session.idle) as f64 / MIB));
        [idle, after(last_small.unwrap_or_default()), after(scenarios.len() - 1)]
    };
    let starts: Vec<f64> = own(sessions, target)
        .map(|session| session.start.as_secs_f64() * 1e3)
        .collect();
    Process {
        target,
        starts: starts.len(),
        start_median_ms: median(starts.iter().copied()),
        start_worst_ms: starts.iter().copied().fold(0.0, f64::max),
        rss_mib: moments(|memory| memory.rss),
        anon_mib: moments(|memory| memory.anon),
    }
}

/// The lower middle of `values`; 0 without any.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or_default()
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::{cost::scenario::SCENARIOS, usage::Memory};

    fn session(target: usize, round: u32, cpu_us: u64) -> Session {
        let slice = Slice {
            latencies: vec![100_000, 200_000],
            elapsed: Duration::from_secs(1),
            cpu: Duration::from_micros(cpu_us),
        };
        let memory = Memory {
            rss: 4 << 20,
            anon: 1 << 20,
        };
        let pair = Pair {
            through: slice.clone(),
            direct: slice,
            memory,
        };
        Session {
            target,
            round,
            start: Duration::from_millis(4 + u64::from(round)),
            idle: memory,
            pairs: vec![pair; SCENARIOS.len()],
        }
    }

    #[test]
    fn rounds_are_paired_and_the_rest_summed() {
        let target = Target {
            label: "q".into(),
            binary: PathBuf::new(),
            keyring: None,
        };
        // The machine was twice as slow in the second round; the second target costs half as much in each.
        let sessions = [
            session(0, 0, 20),
            session(1, 0, 10),
            session(1, 1, 20),
            session(0, 1, 40),
        ];
        let summary = of(&[target.clone(), target], &SCENARIOS, &sessions);
        assert_eq!(summary.loads.len(), 2 * SCENARIOS.len());
        let (first, second) = (&summary.loads[0], &summary.loads[1]);
        assert_eq!((first.requests, first.cpu_us_per_request), (4, 15.0));
        assert_eq!((first.cpu_ratio_to_first, second.cpu_ratio_to_first), (None, Some(0.5)));
        assert_eq!(
            (first.through.requests_per_second, first.through.median_us),
            (2.0, 100.0)
        );
        let body = &summary.loads[2 * SCENARIOS.len() - 1];
        assert!(body.cpu_ms_per_gb.is_some_and(|ms| ms > 0.0) && body.through.gb_per_second > 0.1);
        let process = &summary.processes[1];
        assert_eq!(
            (process.starts, process.start_median_ms, process.start_worst_ms),
            (2, 4.0, 5.0)
        );
        assert_eq!((process.rss_mib, process.anon_mib), ([4.0; 3], [1.0; 3]));
    }
}
