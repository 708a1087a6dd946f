//! The page's tables: every cell, costs, correctness, CPU and memory, and the published figures.

use serde::Serialize;
use xdt_patterns::messages::{Backend, Pattern};

use crate::{
    price::{Cost, Prices, Usage},
    results::{CellFacts, Results, Summary},
};

/// Repetitions per hour over which cache hours are divided.
const PER_HOUR: [f64; 2] = [1.0, 1000.0];

/// One column of one cell.
#[derive(Debug, Serialize)]
pub(super) struct CellRow {
    is_first: bool,
    pattern: String,
    object: String,
    degree: usize,
    backend: String,
    path: String,
    summary: Summary,
    /// Median by that of S3 in the same cell.
    vs_s3: Option<String>,
    invalid: Option<String>,
}

pub(super) fn cells(results: &Results) -> Vec<CellRow> {
    let summaries = results.summaries();
    let mut before = String::new();
    let mut rows = Vec::new();
    for (facts, summary) in results.run.cells.iter().zip(&summaries) {
        let s3 = results
            .run
            .cells
            .iter()
            .zip(&summaries)
            .find(|(other, _)| other.cell == facts.cell && other.backend == "s3");
        let s3 = s3
            .filter(|_| facts.backend != "s3")
            .and_then(|(_, summary)| summary.p50_ms);
        let ratio = summary.p50_ms.zip(s3).filter(|(own, _)| *own > 0.0);
        rows.push(CellRow {
            is_first: facts.cell != before,
            pattern: facts.pattern.clone(),
            object: facts.object.clone(),
            degree: facts.degree,
            backend: facts.backend.clone(),
            path: facts.paths.join(", "),
            summary: summary.clone(),
            vs_s3: ratio.map(|(own, s3)| format!("{:.2}x", s3 / own)),
            invalid: facts.invalid.clone(),
        });
        before.clone_from(&facts.cell);
    }
    rows
}

/// One line of the cost table, in 10^-6 USD per repetition.
#[derive(Debug, Serialize)]
pub(super) struct CostRow {
    is_first: bool,
    cell: String,
    way: String,
    compute: String,
    storage_published: String,
    storage_list: String,
    total_published: String,
    total_list: String,
}

pub(super) fn costs(results: &Results, prices: &Prices) -> Vec<CostRow> {
    let mut rows: Vec<CostRow> = Vec::new();
    let mut before = String::new();
    for facts in results.run.cells.iter().filter(|facts| facts.invalid.is_none()) {
        let Some((usage, backend)) = usage(results, facts) else {
            continue;
        };
        let ways: Vec<(String, Cost)> = match backend {
            Backend::Inline => vec![("inline".into(), usage.inline(prices))],
            Backend::S3 => vec![("s3".into(), usage.through_s3(prices))],
            Backend::Xdt => vec![(facts.backend.clone(), usage.by_xdt(prices))],
            Backend::Redis => {
                let each = PER_HOUR.into_iter().flat_map(|per_hour| {
                    let (serverless, node) = usage.through_cache(prices, per_hour);
                    let name = |kind: &str| format!("cache {kind}, {per_hour} per hour");
                    [(name("serverless"), serverless), (name("node"), node)]
                });
                each.collect()
            }
            _ => continue,
        };
        for (way, cost) in ways {
            rows.push(CostRow {
                is_first: facts.cell != before,
                cell: format!("{} {} x {}", facts.pattern, facts.object, facts.degree),
                way,
                compute: micros(cost.compute),
                storage_published: micros(cost.storage_published),
                storage_list: micros(cost.storage_list),
                total_published: micros(cost.compute + cost.storage_published),
                total_list: micros(cost.compute + cost.storage_list),
            });
            before.clone_from(&facts.cell);
        }
    }
    rows
}

fn usage(results: &Results, facts: &CellFacts) -> Option<(Usage, Backend)> {
    let pattern = match facts.pattern.as_str() {
        "one-to-one" => Pattern::OneToOne,
        "gather" => Pattern::Gather,
        "scatter" => Pattern::Scatter,
        "broadcast" => Pattern::Broadcast,
        _ => return None,
    };
    let backend = match facts.backend.as_str() {
        "inline" => Backend::Inline,
        "s3" => Backend::S3,
        "redis" => Backend::Redis,
        "xdt-ct" | "xdt-auto" => Backend::Xdt,
        _ => return None,
    };
    let samples = results.samples_of(facts);
    let counted: Vec<_> = samples.iter().filter(|sample| sample.counts()).collect();
    let mean = |part: fn(&crate::results::Sample) -> u64| {
        let sum: f64 = counted.iter().map(|sample| part(sample) as f64).sum();
        (!counted.is_empty()).then(|| sum / counted.len() as f64 / 1e9)
    };
    let usage = Usage {
        pattern,
        degree: facts.degree,
        size: facts.size_bytes,
        e2e_s: mean(|sample| sample.e2e_ns)?,
        transfer_s: mean(|sample| sample.transfer_ns)?,
    };
    Some((usage, backend))
}

fn micros(usd: f64) -> String {
    let micros = usd * 1e6;
    if micros >= 100.0 {
        format!("{micros:.0}")
    } else {
        format!("{micros:.3}")
    }
}

/// Whether the columns of one cell delivered the same bytes.
#[derive(Debug, Serialize)]
pub(super) struct CorrectnessRow {
    cell: String,
    /// What columns delivered, by digest.
    digests: Vec<(String, Vec<String>)>,
    verified: u64,
    intact: u64,
    gone: u64,
    is_equal: bool,
}

pub(super) fn correctness(results: &Results) -> Vec<CorrectnessRow> {
    let mut rows: Vec<CorrectnessRow> = Vec::new();
    for facts in &results.run.cells {
        let cell = format!("{} {} x {}", facts.pattern, facts.object, facts.degree);
        if rows.last().is_none_or(|row| row.cell != cell) {
            rows.push(CorrectnessRow {
                cell,
                digests: Vec::new(),
                verified: 0,
                intact: 0,
                gone: 0,
                is_equal: true,
            });
        }
        let Some(row) = rows.last_mut() else { continue };
        (row.verified, row.intact) = (row.verified + facts.verified, row.intact + facts.intact);
        row.gone += facts.gone;
        match row.digests.iter_mut().find(|(digest, _)| *digest == facts.digest) {
            Some((_, columns)) => columns.push(facts.backend.clone()),
            None => row.digests.push((facts.digest.clone(), vec![facts.backend.clone()])),
        }
        row.is_equal = row.digests.len() == 1 && row.verified == row.intact;
    }
    rows
}

/// CPU time and memory of one column of one cell.
#[derive(Debug, Serialize)]
pub(super) struct ResourceRow {
    is_first: bool,
    cell: String,
    backend: String,
    /// CPU milliseconds per repetition.
    user: String,
    sidecar: String,
    store: String,
    all: String,
    /// CPU seconds per 10^9 delivered bytes.
    per_gb: String,
    sidecar_mb: String,
    store_mb: String,
    /// Bytes on the loopback device by bytes delivered.
    amplification: String,
}

pub(super) fn resources(results: &Results) -> Vec<ResourceRow> {
    let summaries = results.summaries();
    let mut before = String::new();
    let mut rows = Vec::new();
    for (facts, summary) in results
        .run
        .cells
        .iter()
        .zip(&summaries)
        .filter(|(_, summary)| summary.n > 0)
    {
        let n = summary.n as f64;
        let delivered = n * facts.size_bytes as f64 * facts.degree as f64;
        let all = facts.cpu_user_s + facts.cpu_sidecar_s + facts.cpu_store_s;
        let each = |seconds: f64| format!("{:.3}", seconds * 1e3 / n);
        let megabytes = |bytes: u64| {
            if bytes > 0 {
                format!("{:.1}", bytes as f64 / 1e6)
            } else {
                String::new()
            }
        };
        rows.push(ResourceRow {
            is_first: facts.cell != before,
            cell: format!("{} {} x {}", facts.pattern, facts.object, facts.degree),
            backend: facts.backend.clone(),
            user: each(facts.cpu_user_s),
            sidecar: each(facts.cpu_sidecar_s),
            store: if facts.cpu_store_s > 0.0 {
                each(facts.cpu_store_s)
            } else {
                String::new()
            },
            all: each(all),
            per_gb: format!("{:.2}", all * 1e9 / delivered.max(1.0)),
            sidecar_mb: megabytes(facts.rss_sidecar_bytes),
            store_mb: megabytes(facts.rss_store_bytes),
            amplification: format!("{:.1}", facts.loopback_bytes as f64 / delivered.max(1.0)),
        });
        before.clone_from(&facts.cell);
    }
    rows
}

/// The published figures that no cell stands for, and those that one does, with their sections.
pub(super) fn published() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("through storage against inline at 100 KB", "4.3x overhead", "6.1"),
        ("XDT against S3, all microbenchmarks", "1.8–12.3x", "6.1"),
        (
            "store-and-forward against S3, 10 KB and 100 MB",
            "3.2x and 5.6x lower latency",
            "6.6.1.1",
        ),
        (
            "peak bandwidth one-to-one: store-and-forward, S3",
            "306 and 117 MB/s",
            "6.6.1.1",
        ),
        (
            "cut-through over store-and-forward, 10 KB and 100 MB",
            "1.1x and 2.8x",
            "6.6.1.1",
        ),
        ("cut-through against S3", "3.6–15.7x lower latency", "6.6.1.1"),
        (
            "cut-through at 100 MB",
            "855 MB/s, within 13 % of plain gRPC streaming",
            "6.6.1.1",
        ),
        ("inline against XDT", "1.9–3.8x faster, but below 4 MB", "6.6.1.1"),
        ("buffers of 64 KB and 4 MB, object of 1 MB", "15 and 16 ms", "6.6.1.2"),
        (
            "buffers of 64 KB, 1 MB and 4 MB, object of 100 MB",
            "270, 250 and 243 ms (another set-up than 855 MB/s)",
            "6.6.1.2",
        ),
        (
            "one-to-one at 1 MB against S3",
            "median 8.9x, p99 6.5x lower",
            "6.6.2.1",
        ),
        (
            "one-to-one over all sizes against S3",
            "median 6.0–14.2x, p99 6.5–13.0x lower",
            "6.6.2.1",
        ),
        (
            "gather of 10 KB",
            "5.6–9.3x lower; up to 11.8 MB/s against 2.1",
            "6.6.2.2",
        ),
        (
            "gather of 10 MB",
            "8.2–12.3x lower; up to 2175 MB/s against 230",
            "6.6.2.2",
        ),
        (
            "scatter of 10 KB",
            "1.8–3.7x lower; 0.5–3.6 MB/s against 0.1–2.1",
            "6.6.2.3",
        ),
        (
            "scatter of 10 MB",
            "10.9–11.6x (degree 1–4), 2.4–4.9x (8–16), as S3 at 32",
            "6.6.2.3",
        ),
        (
            "broadcast of 10 KB and 10 MB",
            "2.6–6.3x lower; up to 3331 MB/s against 590",
            "6.6.2.4",
        ),
        (
            "memory that a sidecar adds",
            "2 MB without buffers; 32 x 1 MB and 40 x 5 MB of buffers",
            "6.4.1.3, 6.5.3",
        ),
    ]
}
