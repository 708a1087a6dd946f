//! Where spans go: a file that has all of them, and memory that has the newest traces.
//!
//! Bounded: at most [`MAX_TRACES`] traces of at most [`MAX_SPANS_PER_TRACE`] spans are answered from memory; what leaves it
//! is still in the file. Whatever is not stored is counted.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::span::Span;

/// Traces in memory: some hundred MB at worst, with spans of usual size.
pub const MAX_TRACES: usize = 10_000;
/// Spans of one trace in memory.
pub const MAX_SPANS_PER_TRACE: usize = 10_000;

/// What came in, and what became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Spans and requests that arrived.
    pub received: u64,
    /// Spans in the file.
    pub stored: u64,
    /// Requests that could not be read, and spans whose ids are none.
    pub malformed: u64,
    /// Stored spans that memory had no room for; they are in the file.
    pub not_in_memory: u64,
}

/// All spans of a collector.
#[derive(Debug)]
pub struct Store(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    file: BufWriter<File>,
    traces: HashMap<String, Vec<Span>>,
    /// Oldest first.
    order: VecDeque<String>,
    counts: Counts,
}

impl Store {
    /// Appends to the file at `path`.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(Mutex::new(Inner {
            file: BufWriter::new(file),
            traces: HashMap::new(),
            order: VecDeque::new(),
            counts: Counts::default(),
        })))
    }

    /// Takes the spans of one request; they are in the file when this returns.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&self, spans: Vec<Span>) -> Result<()> {
        let mut inner = self.locked();
        for span in spans {
            inner.counts.received += 1;
            if !span.is_well_formed() {
                inner.counts.malformed += 1;
                continue;
            }
            serde_json::to_writer(&mut inner.file, &span)?;
            inner.file.write_all(b"\n")?;
            inner.counts.stored += 1;
            inner.remember(span);
        }
        inner.file.flush().context("cannot write the spans")
    }

    /// Counts a request that could not be read.
    pub fn malformed(&self) {
        let mut inner = self.locked();
        inner.counts.received += 1;
        inner.counts.malformed += 1;
    }

    /// The spans of a trace, by start; none: not in memory.
    #[must_use]
    pub fn trace(&self, id: &str) -> Option<Vec<Span>> {
        let mut spans = self.locked().traces.get(id)?.clone();
        spans.sort_by_key(Span::start_ns);
        Some(spans)
    }

    /// The newest traces, newest first.
    #[must_use]
    pub fn newest(&self, limit: usize) -> Vec<Vec<Span>> {
        let inner = self.locked();
        let ids = inner.order.iter().rev().take(limit);
        ids.filter_map(|id| inner.traces.get(id).cloned()).collect()
    }

    /// What came in so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.locked().counts
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn remember(&mut self, span: Span) {
        if !self.traces.contains_key(&span.trace_id) {
            self.order.push_back(span.trace_id.clone());
            if self.order.len() > MAX_TRACES
                && let Some(oldest) = self.order.pop_front()
            {
                let dropped = self.traces.remove(&oldest).map_or(0, |spans| spans.len());
                self.counts.not_in_memory += dropped as u64;
            }
        }
        let trace = self.traces.entry(span.trace_id.clone()).or_default();
        if trace.len() < MAX_SPANS_PER_TRACE {
            trace.push(span);
        } else {
            self.counts.not_in_memory += 1;
        }
    }
}

/// Reads a file of spans, one JSON object a line.
///
/// # Errors
/// If it cannot be read, or a line is no span.
pub fn read(path: &Path) -> Result<Vec<Span>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}, line {}", path.display(), number + 1))
    };
    lines.map(parse).collect()
}
