//! The three tables: small requests, large bodies, the process itself.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use super::{
    Target,
    scenario::Exchange,
    summary::{Load, Process, Summary},
};
use crate::text::STYLE;

const REQUESTS: [&str; 11] = [
    "scenario",
    "queue-proxy",
    "n",
    "CPU µs/request",
    "vs first",
    "req/s per core",
    "req/s",
    "of direct",
    "p50 µs (added)",
    "p99 µs (added)",
    "direct p99 µs",
];
const BODIES: [&str; 8] = [
    "scenario",
    "queue-proxy",
    "n",
    "GB/s",
    "direct GB/s",
    "CPU ms/GB",
    "vs first",
    "GB/s per core",
];
const PROCESSES: [&str; 7] = [
    "queue-proxy",
    "starts",
    "start ms",
    "worst ms",
    "idle MiB (own)",
    "after small requests",
    "after bodies",
];

/// Rows of small requests.
pub(crate) fn requests(targets: &[Target], summary: &Summary) -> String {
    let rows = of_kind(summary, true).map(|load| {
        let (through, direct) = (&load.through, &load.direct);
        [
            load.scenario.name.to_owned(),
            targets[load.target].label.clone(),
            load.requests.to_string(),
            format!("{:.1}", load.cpu_us_per_request),
            versus(load),
            format!("{:.0}", 1e6 / load.cpu_us_per_request),
            format!("{:.0}", through.requests_per_second),
            format!(
                "{:.0} %",
                100.0 * through.requests_per_second / direct.requests_per_second
            ),
            added(Some(through.median_us), Some(direct.median_us)),
            added(through.p99_us, direct.p99_us),
            direct.p99_us.map(micros).unwrap_or_default(),
        ]
    });
    table(&REQUESTS, 2, rows)
}

/// Rows of large bodies.
pub(crate) fn bodies(targets: &[Target], summary: &Summary) -> String {
    let rows = of_kind(summary, false).map(|load| {
        let cost = load.cpu_ms_per_gb.unwrap_or_default();
        [
            load.scenario.name.to_owned(),
            targets[load.target].label.clone(),
            load.requests.to_string(),
            format!("{:.2}", load.through.gb_per_second),
            format!("{:.2}", load.direct.gb_per_second),
            format!("{cost:.0}"),
            versus(load),
            format!("{:.2}", 1e3 / cost),
        ]
    });
    table(&BODIES, 2, rows)
}

/// A row for each process.
pub(crate) fn processes(targets: &[Target], summary: &Summary) -> String {
    let rows = summary.processes.iter().map(|process: &Process| {
        let memory = |moment: usize| format!("{:.1} ({:.1})", process.rss_mib[moment], process.anon_mib[moment]);
        [
            targets[process.target].label.clone(),
            process.starts.to_string(),
            format!("{:.1}", process.start_median_ms),
            format!("{:.1}", process.start_worst_ms),
            memory(0),
            memory(1),
            memory(2),
        ]
    });
    table(&PROCESSES, 1, rows)
}

fn of_kind(summary: &Summary, small: bool) -> impl Iterator<Item = &Load> {
    let loads = summary.loads.iter();
    loads.filter(move |load| (load.scenario.exchange == Exchange::Small) == small)
}

fn versus(load: &Load) -> String {
    let ratio = load.cpu_ratio_to_first;
    ratio.map(|ratio| format!("{ratio:.3}x")).unwrap_or_default()
}

/// `150 (+90)`: the time, and what it is more than a direct call's.
fn added(through: Option<f64>, direct: Option<f64>) -> String {
    match (through, direct) {
        (Some(through), Some(direct)) => format!("{} ({:+.0})", micros(through), through - direct),
        (Some(through), None) => micros(through),
        (None, _) => String::new(),
    }
}

fn micros(us: f64) -> String {
    format!("{us:.0}")
}

/// The first `words` columns hold words and are set flush left, all others numbers.
fn table<const N: usize>(header: &[&str; N], words: usize, rows: impl Iterator<Item = [String; N]>) -> String {
    let aligned = |column: usize, text: String| {
        Cell::new(text).set_alignment(if column < words {
            CellAlignment::Left
        } else {
            CellAlignment::Right
        })
    };
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(
        header
            .iter()
            .enumerate()
            .map(|(column, text)| aligned(column, (*text).into())),
    );
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(|(column, text)| aligned(column, text)));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_tell_what_was_added() {
        assert_eq!(added(Some(150.4), Some(60.0)), "150 (+90)");
        assert_eq!(added(Some(50.0), Some(60.0)), "50 (-10)");
        assert_eq!(added(Some(50.0), None), "50");
        assert_eq!(added(None, Some(1.0)), "");
    }

    #[test]
    fn columns_of_words_are_flush_left() {
        let rows = [["a".to_owned(), "1".to_owned()], ["bbb".to_owned(), "100".to_owned()]];
        let text = table(&["name", "n"], 1, rows.into_iter());
        assert!(
            text.lines()
                .any(|line| line.starts_with(" a") && line.trim_end().ends_with("  1")),
            "{text}"
        );
    }
}
