//! What `cost` says: the tables with the published figures of the stock sidecar below, and the same as JSON.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{Target, load::Slice, scenario::Scenario, session::Session, summary::Summary, table};
use crate::{machine::Machine, statistics::Sorted, usage::Memory};

/// For orientation, never measured here: Knative's Go queue-proxy on a machine of two cores of the same kind.
const PUBLISHED: &str = "\
published for Knative's Go queue-proxy on a two-core cloud machine, not measured here: 66-72 µs of CPU per small \
HTTP/1.1 request,\n16,000-19,000 requests/s on one busy core, 24 MB resident idle and 31 MB after load, 10-12 ms from \
exec to the first served\nrequest, 2.2-3.1 GB/s for large bodies";
const LEGEND: &str = "\
added: against direct calls between the same slices; loaded latencies are those of a closed loop on a busy machine; \
req/s per core: of the\nqueue-proxy's own CPU time; vs first: CPU against the first queue-proxy's in the same round, the \
median of the rounds; own: without the\npages of the program file";

/// Prints what people read.
pub(crate) fn print(targets: &[Target], summary: &Summary) {
    let (requests, bodies) = (table::requests(targets, summary), table::bodies(targets, summary));
    println!("\n{requests}\n\n{bodies}\n\n{}", table::processes(targets, summary));
    println!("\n{LEGEND}\n{PUBLISHED}");
}

#[derive(Debug, Serialize)]
struct Results<'a> {
    version: &'static str,
    machine: &'a Machine,
    targets: &'a [Target],
    summary: &'a Summary,
    slices: Vec<Row>,
}

/// One slice of one session.
#[derive(Debug, Serialize)]
struct Row {
    target: usize,
    round: u32,
    scenario: Scenario,
    through: Numbers,
    direct: Numbers,
    memory_after: Memory,
    start_ns: u64,
}

#[derive(Debug, Serialize)]
struct Numbers {
    requests: usize,
    elapsed_ns: u64,
    cpu_ns: u64,
    median_ns: Option<u64>,
    p99_ns: Option<u64>,
}

impl Numbers {
    fn of(slice: &Slice) -> Self {
        let sorted = Sorted::new(slice.latencies.clone());
        Self {
            requests: sorted.len(),
            elapsed_ns: nanoseconds(slice.elapsed),
            cpu_ns: nanoseconds(slice.cpu),
            median_ns: sorted.median(),
            p99_ns: sorted.p99(),
        }
    }
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn rows<'a>(session: &'a Session, summary: &'a Summary) -> impl Iterator<Item = Row> {
    let own = summary.loads.iter().filter(|load| load.target == session.target);
    let pairs = session.pairs.iter().zip(own.map(|load| load.scenario));
    pairs.map(|(pair, scenario)| Row {
        target: session.target,
        round: session.round,
        scenario,
        through: Numbers::of(&pair.through),
        direct: Numbers::of(&pair.direct),
        memory_after: pair.memory,
        start_ns: nanoseconds(session.start),
    })
}

/// Writes the summary and every slice to `path`.
///
/// # Errors
/// If the file cannot be written.
pub(crate) fn write(
    path: &Path,
    machine: &Machine,
    targets: &[Target],
    summary: &Summary,
    sessions: &[Session],
) -> Result<()> {
    let results = Results {
        version: env!("CARGO_PKG_VERSION"),
        machine,
        targets,
        summary,
        slices: sessions.iter().flat_map(|session| rows(session, summary)).collect(),
    };
    let cannot = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(cannot)?);
    serde_json::to_writer_pretty(&mut file, &results).with_context(cannot)?;
    file.flush().with_context(cannot)
}
