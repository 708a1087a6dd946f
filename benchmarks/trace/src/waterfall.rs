//! One trace as a page: a bar for each span, the critical path in colour, no script and nothing to fetch.

use anyhow::{Context as _, Result};
use minijinja::{AutoEscape, Environment, value::Serde};
use serde::Serialize;

use crate::{critical, span::Span};

/// One line of the waterfall.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    service: String,
    /// Parts of the whole, in percent.
    left: f64,
    width: f64,
    milliseconds: String,
    /// Pieces of the critical path within the bar, in percent of the whole.
    pieces: Vec<(f64, f64)>,
    depth: usize,
}

/// The page of a trace.
///
/// # Errors
/// If the trace has no spans.
pub fn page(trace: &[Span]) -> Result<String> {
    let begin = trace
        .iter()
        .map(Span::start_ns)
        .min()
        .context("a trace without spans")?;
    let end = trace.iter().map(Span::end_ns).max().unwrap_or(begin);
    let whole = (end - begin).max(1) as f64;
    let percent = |ns: u64| ns as f64 * 100.0 / whole;
    // A trace without a single root has bars and no path.
    let pieces = critical::path(trace).unwrap_or_default();
    let rows = trace.iter().enumerate().map(|(at, span)| Row {
        name: span.name.clone(),
        service: span.service().to_owned(),
        left: percent(span.start_ns() - begin),
        width: percent(span.end_ns() - span.start_ns()).max(0.15),
        milliseconds: format!("{:.3}", (span.end_ns() - span.start_ns()) as f64 / 1e6),
        pieces: pieces
            .iter()
            .filter(|piece| piece.span == at)
            .map(|piece| (percent(piece.start_ns - begin), percent(piece.duration_ns).max(0.1)))
            .collect(),
        depth: depth(trace, span),
    });
    let rows: Vec<_> = rows.collect();
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("page", include_str!("waterfall.html"))?;
    let id = trace.first().map(|span| span.trace_id.as_str());
    let page = serde_json::json!({ "id": id, "rows": rows, "milliseconds": format!("{:.3}", whole / 1e6) });
    environment
        .get_template("page")?
        .render(Serde(page))
        .context("the waterfall's template")
}

/// How many parents a span has within the trace; at most as many as there are spans.
fn depth(trace: &[Span], span: &Span) -> usize {
    let parent_of = |span: &Span| {
        let id = span.parent_id.clone()?;
        trace.iter().find(|other| other.id == id)
    };
    std::iter::successors(parent_of(span), |parent| parent_of(parent))
        .take(trace.len().min(32))
        .count()
}
