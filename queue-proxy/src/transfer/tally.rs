//! Counts finished transfers by path and outcome, for the status and for metrics. Labels come from closed enums.

use std::sync::atomic::{AtomicU64, Ordering};

use xdt_proto::ErrorWord;

/// How bytes came to the consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// Producer and consumer are one instance.
    Instance,
    /// Producer and consumer are on one node: the memory itself was passed.
    Node,
    /// Over the network, from queue-proxy to queue-proxy.
    Stream,
    /// From the spill store.
    Spill,
}

impl Path {
    const ALL: [Self; 4] = [Self::Instance, Self::Node, Self::Stream, Self::Spill];

    /// The name in status, metrics and traces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Node => "node",
            Self::Stream => "stream",
            Self::Spill => "spill",
        }
    }
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every byte was handed on.
    Ok,
    /// The reader left before the end.
    Abandoned,
    /// It failed.
    Failed(ErrorWord),
}

impl Outcome {
    const COUNT: usize = 2 + ErrorWord::ALL.len();

    fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Abandoned => 1,
            Self::Failed(word) => 2 + ErrorWord::ALL.iter().position(|each| *each == word).unwrap_or(0),
        }
    }

    /// The name in status, metrics and traces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::name(self.index())
    }

    fn name(index: usize) -> &'static str {
        match index {
            0 => "ok",
            1 => "abandoned",
            _ => ErrorWord::ALL[index - 2].as_str(),
        }
    }
}

/// The counters.
#[derive(Default)]
pub struct Tally {
    counts: [[AtomicU64; Outcome::COUNT]; Path::ALL.len()],
    copied: AtomicU64,
}

impl Tally {
    /// Counts one finished transfer.
    pub fn add(&self, path: Path, outcome: Outcome) {
        self.counts[path as usize][outcome.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts payload that this process copied from one memory into another, beside what it writes to sockets.
    pub fn add_copied(&self, bytes: usize) {
        self.copied.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Payload bytes copied so far; told in the log at debug level with each put and each get of a whole object.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// The rows that are not zero, as the status shows them.
    #[must_use]
    pub fn rows(&self) -> Vec<serde_json::Value> {
        let mut rows = Vec::new();
        for path in Path::ALL {
            for (index, count) in self.counts[path as usize].iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let (path, outcome) = (path.as_str(), Outcome::name(index));
                    rows.push(serde_json::json!({ "path": path, "outcome": outcome, "count": count }));
                }
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_name_path_and_outcome() {
        let tally = Tally::default();
        tally.add(Path::Stream, Outcome::Ok);
        tally.add(Path::Stream, Outcome::Ok);
        tally.add(Path::Instance, Outcome::Failed(ErrorWord::Timeout));
        let rows = serde_json::Value::from(tally.rows());
        assert_eq!(
            rows,
            serde_json::json!([
                { "path": "instance", "outcome": "timeout", "count": 1 },
                { "path": "stream", "outcome": "ok", "count": 2 },
            ])
        );
    }
}
