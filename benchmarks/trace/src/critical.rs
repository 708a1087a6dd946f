//! The critical path of a trace, and how its time divides among stages.
//!
//! From the root's end backwards, the child that finished last is on the path; what no child covers is the parent's own
//! time (6.5.5 warns that the path may differ between backends, so every breakdown names its path). Each nanosecond of the
//! root belongs to just one span, so the stages sum to the whole exactly.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use crate::span::Span;

/// The stage of whatever no rule names.
pub const OTHER: &str = "other";
/// Part of a trace that may be [`OTHER`]; above it, instrumentation has failed.
pub const MAX_OTHER: f64 = 0.05;

/// Gives spans a stage by their name; the first rule that fits counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Beginning of the span's name; empty fits all.
    #[serde(default)]
    pub name: String,
    /// Beginning of the service's name; empty fits all.
    #[serde(default)]
    pub service: String,
    /// The stage.
    pub stage: String,
}

/// The stages of the microbenchmarks.
#[must_use]
pub fn microbenchmark() -> Vec<Rule> {
    let rules = [
        ("xdt.invoke", "", "producer SDK"),
        ("xdt.sdk.put", "", "producer SDK"),
        ("xdt.sdk.get", "", "delivery"),
        ("xdt.put", "", "producer sidecar"),
        ("xdt.offer", "", "producer sidecar"),
        ("xdt.egress", "", "producer sidecar"),
        ("xdt.serve", "", "producer sidecar"),
        ("xdt.pull", "", "pull"),
        ("xdt.get", "", "consumer sidecar"),
        ("xdt.resolve", "", "consumer sidecar"),
        ("xdt.deliver", "", "delivery"),
        ("queue_wait", "", "control path"),
        ("queue_proxy", "", "consumer sidecar"),
        ("ingress", "", "control path"),
        ("handler", "", "handler"),
        ("control", "", "control path"),
    ];
    let rule = |(name, service, stage): (&str, &str, &str)| Rule {
        name: name.to_owned(),
        service: service.to_owned(),
        stage: stage.to_owned(),
    };
    rules.into_iter().map(rule).collect()
}

/// A piece of the critical path: one span's own time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Place of the span in the trace that was given.
    pub span: usize,
    /// Nanoseconds since the epoch.
    pub start_ns: u64,
    /// Nanoseconds.
    pub duration_ns: u64,
}

/// The critical path, in order of time.
///
/// # Errors
/// Unless the trace has just one root.
pub fn path(trace: &[Span]) -> Result<Vec<Piece>> {
    let ids: HashMap<&str, usize> = trace
        .iter()
        .enumerate()
        .map(|(at, span)| (span.id.as_str(), at))
        .collect();
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut roots = Vec::new();
    for (at, span) in trace.iter().enumerate() {
        let parent = span
            .parent_id
            .as_deref()
            .and_then(|id| ids.get(id))
            .filter(|parent| **parent != at);
        match parent {
            Some(parent) => children.entry(*parent).or_default().push(at),
            None => roots.push(at),
        }
    }
    ensure!(roots.len() == 1, "a trace has one root, this one has {}", roots.len());
    let mut pieces = Vec::new();
    let root = &trace[roots[0]];
    // A stack instead of recursion: how deep a trace is, its senders decide.
    let mut stack = vec![(roots[0], root.start_ns(), root.end_ns())];
    while let Some((at, from, mut cursor)) = stack.pop() {
        let mut own = children.remove(&at).unwrap_or_default();
        own.sort_by_key(|child| trace[*child].end_ns());
        while let Some(child) = own.pop() {
            let (start, end) = (trace[child].start_ns().max(from), trace[child].end_ns().min(cursor));
            if start >= end {
                continue; // beside the path, or outside of its parent
            }
            push(&mut pieces, at, end, cursor);
            stack.push((child, start, end));
            cursor = start;
        }
        push(&mut pieces, at, from, cursor);
    }
    pieces.sort_by_key(|piece| piece.start_ns);
    Ok(pieces)
}

fn push(pieces: &mut Vec<Piece>, span: usize, from: u64, to: u64) {
    if to > from {
        pieces.push(Piece {
            span,
            start_ns: from,
            duration_ns: to - from,
        });
    }
}

/// A trace divided among stages.
#[derive(Debug, Clone, PartialEq)]
pub struct Breakdown {
    /// The root's duration.
    pub total_ns: u64,
    /// Nanoseconds by stage; they sum to the total.
    pub stages: BTreeMap<String, u64>,
    /// Names of the spans on the path, in order, neighbours once.
    pub path: Vec<String>,
}

impl Breakdown {
    /// Divides `trace`.
    ///
    /// # Errors
    /// As [`path`].
    pub fn of(trace: &[Span], rules: &[Rule]) -> Result<Self> {
        let pieces = path(trace)?;
        let mut breakdown = Self {
            total_ns: pieces.iter().map(|piece| piece.duration_ns).sum(),
            stages: BTreeMap::new(),
            path: Vec::new(),
        };
        for piece in &pieces {
            let span = &trace[piece.span];
            *breakdown.stages.entry(stage(span, rules).to_owned()).or_default() += piece.duration_ns;
            if breakdown.path.last() != Some(&span.name) {
                breakdown.path.push(span.name.clone());
            }
        }
        Ok(breakdown)
    }

    /// Whether more than [`MAX_OTHER`] of the time has no stage.
    #[must_use]
    pub fn is_badly_instrumented(&self) -> bool {
        let other = self.stages.get(OTHER).copied().unwrap_or_default();
        other as f64 > self.total_ns as f64 * MAX_OTHER
    }
}

/// The stage of a span.
#[must_use]
pub fn stage<'a>(span: &Span, rules: &'a [Rule]) -> &'a str {
    let fits = |rule: &&Rule| span.name.starts_with(&rule.name) && span.service().starts_with(&rule.service);
    rules.iter().find(fits).map_or(OTHER, |rule| &rule.stage)
}

#[cfg(test)]
mod tests;
