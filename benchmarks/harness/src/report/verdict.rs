//! The first paragraph: where XDT wins, and where a baseline does, from the medians of valid cells.

use crate::{
    plan::MICROBENCHMARK,
    results::{CellFacts, Results, Summary},
};

/// What XDT is held against, in the order in which it is told. Of the two S3 servers, the better one of each cell counts.
/// Raw TCP is left out: it is the machine's ceiling, and nobody's alternative.
const BASELINES: [(&str, &[&str]); 4] = [
    ("S3", &["s3", "s3-control"]),
    ("Redis", &["redis"]),
    ("inline", &["inline"]),
    ("plain gRPC, which bypasses the platform,", &["grpc-stream"]),
];

/// Sentences; the losses come first.
pub(super) fn of(results: &Results) -> Vec<String> {
    let summaries = results.summaries();
    let mut cells: Vec<Vec<(&CellFacts, f64)>> = Vec::new();
    for (facts, summary) in results.run.cells.iter().zip(&summaries) {
        let Some(median) = usable(facts, summary) else { continue };
        match cells.last_mut() {
            Some(columns) if columns.iter().any(|(other, _)| other.cell == facts.cell) => columns.push((facts, median)),
            _ => cells.push(vec![(facts, median)]),
        }
    }
    let (mut losses, mut wins) = (Vec::new(), Vec::new());
    for own in ["xdt-auto", "xdt-ct"] {
        let (mut lost_to, mut won_over) = (Vec::new(), Vec::new());
        for (name, ids) in BASELINES {
            let compared: Vec<_> = cells.iter().filter_map(|columns| compare(columns, own, ids)).collect();
            let (lost, won): (Vec<_>, Vec<_>) = compared.iter().partition(|(_, ratio)| *ratio > 1.0);
            if !lost.is_empty() {
                lost_to.push(format!(
                    "{name} in {} of {} cells ({})",
                    lost.len(),
                    compared.len(),
                    shown(&lost)
                ));
            }
            let best = won.iter().map(|(_, ratio)| 1.0 / ratio).fold(1.0, f64::max);
            if !won.is_empty() {
                won_over.push(format!(
                    "{name} in {} of {} (up to {best:.2}x)",
                    won.len(),
                    compared.len()
                ));
            }
        }
        if !lost_to.is_empty() {
            losses.push(format!("{own} loses, by median, to {}.", lost_to.join("; to ")));
        }
        if !won_over.is_empty() {
            wins.push(format!("{own} is faster than {}.", won_over.join("; than ")));
        }
    }
    losses.extend(wins);
    let invalid = results.run.cells.iter().filter(|facts| facts.invalid.is_some()).count();
    if invalid > 0 {
        losses.insert(
            0,
            format!("{invalid} cells are not valid; the tables say why, and no figure shows them."),
        );
    }
    if losses.is_empty() {
        losses.push("Nothing here compares XDT with a baseline.".to_owned());
    }
    losses
}

/// Cells named for one baseline.
const SHOWN: usize = 5;

fn shown(lost: &[&(String, f64)]) -> String {
    let cells = lost
        .iter()
        .take(SHOWN)
        .map(|(cell, ratio)| format!("{cell} {ratio:.2}x"));
    let more = if lost.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", cells.collect::<Vec<_>>().join(", "))
}

fn usable(facts: &CellFacts, summary: &Summary) -> Option<f64> {
    let counts = facts.invalid.is_none() && facts.experiment == MICROBENCHMARK;
    summary.p50_ms.filter(|_| counts)
}

/// Median of `own` over the smallest median among `ids`, with the cell's name.
fn compare(columns: &[(&CellFacts, f64)], own: &str, ids: &[&str]) -> Option<(String, f64)> {
    let (facts, median) = columns.iter().find(|(facts, _)| facts.backend == own)?;
    let others = columns
        .iter()
        .filter(|(facts, _)| ids.contains(&facts.backend.as_str()));
    let best = others.map(|(_, median)| *median).min_by(f64::total_cmp)?;
    let degree = if facts.degree > 1 {
        format!(" x {}", facts.degree)
    } else {
        String::new()
    };
    (best > 0.0).then(|| (format!("{} {}{degree}", facts.pattern, facts.object), median / best))
}
