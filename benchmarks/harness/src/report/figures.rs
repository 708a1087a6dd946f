//! Figures 6.3 to 6.8 of the thesis, redrawn: which series, on which axes, with which published marks.

use std::collections::BTreeSet;

use serde::Serialize;

use super::chart::{Axis, Chart, Kind, Point, Series, short, swatch};
use crate::{
    column::Standard,
    results::{CellFacts, Results, Summary},
    statistics::Sorted,
};

/// A drawing with what stands around it.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    /// Anchor on the page.
    id: String,
    title: String,
    svg: String,
    legend: Vec<Entry>,
    caption: String,
}

#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    swatch: String,
}

/// One column of one cell with its summary.
type Row<'a> = (&'a CellFacts, &'a Summary);

/// A value of a summary that a chart can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Mean,
    Median,
    P99,
    Bandwidth,
}

impl Quantity {
    const fn axis(self) -> &'static str {
        match self {
            Self::Mean => "mean latency, ms",
            Self::Median => "median latency, ms",
            Self::P99 => "99th percentile, ms",
            Self::Bandwidth => "effective bandwidth, MB/s",
        }
    }

    fn point(self, x: f64, summary: &Summary) -> Option<Point> {
        let y = match self {
            Self::Mean => summary.mean_ms,
            Self::Median => summary.p50_ms,
            Self::P99 => summary.p99_ms,
            Self::Bandwidth => summary.bw_mean_mbs,
        };
        let interval = (self == Self::Median)
            .then(|| summary.ci_lo_ms.zip(summary.ci_hi_ms))
            .flatten();
        y.map(|y| Point { x, y, interval })
    }
}

/// All figures that the results have points for.
pub(super) fn of(results: &Results) -> Vec<Figure> {
    let summaries = results.summaries();
    let rows: Vec<Row<'_>> = results.run.cells.iter().zip(&summaries).collect();
    let valid: Vec<Row<'_>> = rows.into_iter().filter(|(facts, _)| facts.invalid.is_none()).collect();
    let mut figures = Vec::new();
    figures.extend(one_to_one(&valid));
    figures.extend(buffers(&valid));
    figures.extend(distributions(results, &valid));
    for (pattern, number) in [("gather", "6.6"), ("scatter", "6.7"), ("broadcast", "6.8")] {
        figures.extend(by_degree(&valid, pattern, number));
    }
    figures.extend(studies(&valid));
    figures
}

fn one_to_one(rows: &[Row<'_>]) -> Vec<Figure> {
    let own: Vec<_> = rows
        .iter()
        .filter(|(facts, _)| facts.pattern == "one-to-one" && is_microbenchmark(facts))
        .copied()
        .collect();
    let n = counts(&own);
    let figure = |part: &str, quantity: Quantity, title: &str, published: Vec<Series>, note: &str| {
        let mut series = lines(&own, quantity, |facts| facts.size_bytes as f64);
        series.extend(published);
        let caption = format!("One-to-one; {n} repetitions by size. Both axes logarithmic. {note}");
        figure(
            &format!("fig-6-3-{part}"),
            title,
            sizes(&own),
            Axis::log(quantity.axis()),
            series,
            &caption,
        )
    };
    let published = [
        ("published xdt-ct", Standard::XdtCt, 855.0),
        ("published xdt-sf", Standard::XdtSf, 306.0),
        ("published s3", Standard::S3, 117.0),
    ];
    let marks = published
        .map(|(name, standard, y)| hollow(name, standard, f64::from(100 << 20), y))
        .to_vec();
    let has_large = own.iter().any(|(facts, _)| facts.size_bytes == 100 << 20);
    let (marks, note) = if has_large {
        (
            marks,
            "Hollow: published peaks at 100 MB (6.6.1.1): xdt-ct 855, xdt-sf 306, S3 117 MB/s.",
        )
    } else {
        (Vec::new(), "")
    };
    [
        figure(
            "a",
            Quantity::Mean,
            "Figure 6.3a: one-to-one, latency by size",
            Vec::new(),
            "",
        ),
        figure(
            "b",
            Quantity::Bandwidth,
            "Figure 6.3b: one-to-one, bandwidth by size",
            marks,
            note,
        ),
        figure(
            "median",
            Quantity::Median,
            "Figure 6.5b: one-to-one, median by size",
            Vec::new(),
            "Bars: 95 % bootstrap interval of the median.",
        ),
        figure(
            "p99",
            Quantity::P99,
            "Figure 6.5b: one-to-one, 99th percentile by size",
            Vec::new(),
            "Only where there are 100 samples.",
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn by_degree(rows: &[Row<'_>], pattern: &str, number: &str) -> Vec<Figure> {
    let own: Vec<_> = rows
        .iter()
        .filter(|(facts, _)| facts.pattern == pattern && is_microbenchmark(facts))
        .copied()
        .collect();
    let all: BTreeSet<_> = own
        .iter()
        .map(|(facts, _)| (facts.size_bytes, facts.object.clone()))
        .collect();
    let mut figures = Vec::new();
    for (size, label) in all {
        let these: Vec<_> = own
            .iter()
            .filter(|(facts, _)| facts.size_bytes == size)
            .copied()
            .collect();
        let n = counts(&these);
        let degrees: BTreeSet<_> = these.iter().map(|(facts, _)| facts.degree).collect();
        let ticks = degrees
            .iter()
            .map(|degree| (*degree as f64, degree.to_string()))
            .collect();
        let most = degrees.last().copied().unwrap_or(1) as f64;
        for (part, quantity) in [("a", Quantity::Mean), ("b", Quantity::Bandwidth)] {
            let mut series = lines(&these, quantity, |facts| facts.degree as f64);
            let mut caption = format!("{pattern}, objects of {label}; {n} repetitions. Both axes logarithmic.");
            if quantity == Quantity::Bandwidth {
                let published = published_peaks(pattern, size);
                for (name, standard, y) in &published {
                    series.push(hollow(name, *standard, most, *y));
                }
                if !published.is_empty() {
                    caption += " Hollow: published peaks, drawn at the highest degree.";
                }
            }
            let x = Axis {
                label: "degree".to_owned(),
                is_log: true,
                ticks: Clone::clone(&ticks),
            };
            let what = if quantity == Quantity::Mean {
                "latency"
            } else {
                "bandwidth"
            };
            let title = format!("Figure {number}{part}: {pattern} of {label}, {what} by degree");
            let id = format!("fig-{}-{part}-{size}", number.replace('.', "-"));
            figures.extend(figure(&id, &title, x, Axis::log(quantity.axis()), series, &caption));
        }
    }
    figures
}

fn published_peaks(pattern: &str, size: u64) -> Vec<(&'static str, Standard, f64)> {
    match (pattern, size) {
        ("gather", 10_240) => vec![
            ("published xdt", Standard::XdtCt, 11.8),
            ("published s3", Standard::S3, 2.1),
        ],
        ("gather", 10_485_760) => vec![
            ("published xdt", Standard::XdtCt, 2175.0),
            ("published s3", Standard::S3, 230.0),
        ],
        ("scatter", 10_240) => vec![
            ("published xdt", Standard::XdtCt, 3.6),
            ("published s3", Standard::S3, 2.1),
        ],
        ("broadcast", 10_485_760) => vec![
            ("published xdt", Standard::XdtCt, 3331.0),
            ("published s3", Standard::S3, 590.0),
        ],
        _ => Vec::new(),
    }
}

/// Figure 6.5a at 1 MB, and the same at the other sizes.
fn distributions(results: &Results, rows: &[Row<'_>]) -> Vec<Figure> {
    let own: Vec<_> = rows
        .iter()
        .filter(|(facts, _)| facts.pattern == "one-to-one" && is_microbenchmark(facts))
        .copied()
        .collect();
    let all: BTreeSet<_> = own
        .iter()
        .map(|(facts, _)| (facts.size_bytes, facts.object.clone()))
        .collect();
    let mut figures = Vec::new();
    for (size, label) in all {
        let mut series = Vec::new();
        for (facts, _) in own.iter().filter(|(facts, _)| facts.size_bytes == size) {
            let counted = results.samples_of(facts).into_iter().filter(|sample| sample.counts());
            let times = Sorted::new(counted.map(|sample| sample.e2e_ns).collect());
            let curve = distribution(&times);
            if times.len() >= 5 {
                let marks = [times.median().map(|ns| (ns, 50.0)), times.p99().map(|ns| (ns, 99.0))];
                let marks = marks
                    .into_iter()
                    .flatten()
                    .map(|(ns, part)| Point::new(ns as f64 / 1e6, part));
                series.push(column_series(&facts.backend, curve, Kind::Curve));
                series.push(column_series(&facts.backend, marks.collect(), Kind::Hollow));
            }
        }
        let y = Axis {
            label: "% of repetitions".to_owned(),
            is_log: false,
            ticks: [0.0, 25.0, 50.0, 75.0, 99.0].map(|part| (part, short(part))).to_vec(),
        };
        let number = if size == 1 << 20 {
            "Figure 6.5a"
        } else {
            "As figure 6.5a"
        };
        let title = format!("{number}: distribution of one-to-one latency at {label}");
        let caption = format!(
            "{} repetitions. Marks at the median and, from 100 samples on, the 99th percentile. Time axis logarithmic. \
             Published at 1 MB: XDT's median 8.9x, its p99 6.5x below S3's (6.6.2.1).",
            counts(
                &own.iter()
                    .filter(|(facts, _)| facts.size_bytes == size)
                    .copied()
                    .collect::<Vec<_>>()
            )
        );
        figures.extend(figure(
            &format!("fig-cdf-{size}"),
            &title,
            Axis::log("latency, ms"),
            y,
            series,
            &caption,
        ));
    }
    figures
}

/// At most a hundred steps of a cumulative distribution.
fn distribution(times: &Sorted) -> Vec<Point> {
    let values = times.values();
    let steps = values.len().min(100);
    let step = |number: usize| {
        let rank = (values.len() * (number + 1)).div_ceil(steps) - 1;
        values
            .get(rank)
            .map(|ns| Point::new(*ns as f64 / 1e6, (rank + 1) as f64 * 100.0 / values.len() as f64))
    };
    (0..steps).filter_map(step).collect()
}

/// Figure 6.4: latency against buffer depth, one line for each size.
fn buffers(rows: &[Row<'_>]) -> Vec<Figure> {
    let name = "invoke-buffer-size=";
    let published = [
        ("1 MB", 64.0, 15.0),
        ("1 MB", 4096.0, 16.0),
        ("100 MB", 64.0, 270.0),
        ("100 MB", 1024.0, 250.0),
        ("100 MB", 4096.0, 243.0),
    ];
    setting_figure(
        rows,
        "sensitivity-buffers",
        name,
        "fig-6-4",
        "Figure 6.4: latency by buffer depth",
        "buffer size, KiB",
        &published,
        "Hollow: published (6.6.1.2): 1 MB in 15 and 16 ms, 100 MB in 270, 250 and 243 ms.",
    )
}

fn studies(rows: &[Row<'_>]) -> Vec<Figure> {
    let chunks = setting_figure(
        rows,
        "sensitivity-chunks",
        "chunk-size=",
        "fig-chunks",
        "Chunk size: latency",
        "chunk size, KiB",
        &[],
        "Ours; the thesis fixes 64 KiB.",
    );
    let own: Vec<_> = rows
        .iter()
        .filter(|(facts, _)| facts.experiment == "sensitivity-inline-limit")
        .copied()
        .collect();
    let limit = figure(
        "fig-inline-limit",
        "Break-even between inline and reference",
        sizes(&own),
        Axis::log(Quantity::Median.axis()),
        lines(&own, Quantity::Median, |facts| facts.size_bytes as f64),
        "Where the lines cross, the default of XDT_INLINE_LIMIT should lie. Ours.",
    );
    let own: Vec<_> = rows
        .iter()
        .filter(|(facts, _)| facts.experiment == "sensitivity-path")
        .copied()
        .collect();
    let path = figure(
        "fig-path",
        "Path: between sidecars by stream, or on one node by memory file",
        sizes(&own),
        Axis::log(Quantity::Median.axis()),
        lines(&own, Quantity::Median, |facts| facts.size_bytes as f64),
        "One-to-one by put and get. Ours.",
    );
    chunks.into_iter().chain(limit).chain(path).collect()
}

#[allow(clippy::too_many_arguments)] // one caller a line, all of them words of the figure
fn setting_figure(
    rows: &[Row<'_>],
    experiment: &str,
    setting: &str,
    id: &str,
    title: &str,
    x_label: &str,
    published: &[(&str, f64, f64)],
    note: &str,
) -> Vec<Figure> {
    let own: Vec<_> = rows
        .iter()
        .filter(|(facts, _)| facts.experiment == experiment)
        .copied()
        .collect();
    let all: BTreeSet<_> = own
        .iter()
        .map(|(facts, _)| (facts.size_bytes, facts.object.clone()))
        .collect();
    let mut series = Vec::new();
    let mut ticks: Vec<(f64, String)> = Vec::new();
    for (number, (size, label)) in all.iter().enumerate() {
        let mut points = Vec::new();
        for (facts, summary) in own.iter().filter(|(facts, _)| facts.size_bytes == *size) {
            let kib = facts.backend.split(setting).nth(1).and_then(kibibytes);
            if let Some((kib, mean)) = kib.zip(summary.mean_ms) {
                points.push(Point::new(kib, mean));
                if !ticks.iter().any(|(value, _)| (value - kib).abs() < 0.5) {
                    ticks.push((kib, short(kib)));
                }
            }
        }
        let class = format!("c-size-{number}");
        let line = |name: String, points, kind| Series {
            name,
            class: class.clone(),
            mark: number,
            points,
            kind,
        };
        series.push(line(label.clone(), points, Kind::Line));
        let marks: Vec<_> = published
            .iter()
            .filter(|(of, _, _)| of == label)
            .map(|(_, x, y)| Point::new(*x, *y))
            .collect();
        if !marks.is_empty() {
            series.push(line(format!("published {label}"), marks, Kind::Hollow));
        }
    }
    let x = Axis {
        label: x_label.to_owned(),
        is_log: true,
        ticks,
    };
    let caption = format!("{} repetitions. Both axes logarithmic. {note}", counts(&own));
    figure(id, title, x, Axis::log(Quantity::Mean.axis()), series, &caption)
        .into_iter()
        .collect()
}

fn kibibytes(text: &str) -> Option<f64> {
    let (digits, factor) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
        (Some(digits), _) => (digits, 1.0),
        (_, Some(digits)) => (digits, 1024.0),
        _ => return None,
    };
    digits.parse::<f64>().ok().map(|number| number * factor)
}

fn is_microbenchmark(facts: &CellFacts) -> bool {
    facts.experiment == crate::plan::MICROBENCHMARK && !facts.object.contains('/')
}

/// One line for each column, in the order of the tables.
fn lines(rows: &[Row<'_>], quantity: Quantity, x: impl Fn(&CellFacts) -> f64) -> Vec<Series> {
    let mut columns: Vec<&str> = Vec::new();
    for (facts, _) in rows {
        if !columns.contains(&facts.backend.as_str()) {
            columns.push(&facts.backend);
        }
    }
    let line = |column: &str| {
        let own = rows.iter().filter(|(facts, _)| facts.backend == column);
        let mut points: Vec<_> = own
            .filter_map(|(facts, summary)| quantity.point(x(facts), summary))
            .collect();
        points.sort_by(|one, other| one.x.total_cmp(&other.x));
        let kind = if matches!(column, "grpc-stream" | "tcp" | "s3-control") {
            Kind::Dashed
        } else {
            Kind::Line
        };
        column_series(column, points, kind)
    };
    columns
        .into_iter()
        .map(line)
        .filter(|series| !series.points.is_empty())
        .collect()
}

/// A series in the colour and with the mark of its column: the same in every figure.
fn column_series(column: &str, points: Vec<Point>, kind: Kind) -> Series {
    let known = Standard::ALL.iter().position(|standard| standard.id() == column);
    let study = || column.bytes().map(usize::from).sum::<usize>();
    let mark = known.unwrap_or_else(study);
    Series {
        name: column.to_owned(),
        class: known.map_or_else(|| format!("c-size-{}", mark % 7), |_| format!("c-{column}")),
        mark,
        points,
        kind,
    }
}

fn hollow(name: &str, standard: Standard, x: f64, y: f64) -> Series {
    Series {
        name: name.to_owned(),
        ..column_series(standard.id(), vec![Point::new(x, y)], Kind::Hollow)
    }
}

/// The axis of object sizes.
fn sizes(rows: &[Row<'_>]) -> Axis {
    let ticks: BTreeSet<_> = rows
        .iter()
        .map(|(facts, _)| (facts.size_bytes, facts.object.clone()))
        .collect();
    Axis {
        label: "object size".to_owned(),
        is_log: true,
        ticks: ticks.into_iter().map(|(size, label)| (size as f64, label)).collect(),
    }
}

/// How many repetitions the rows have: one number, or from–to.
fn counts(rows: &[Row<'_>]) -> String {
    let counts: BTreeSet<_> = rows.iter().map(|(_, summary)| summary.n).collect();
    match (counts.first(), counts.last()) {
        (Some(least), Some(most)) if least == most => format!("n = {least}"),
        (Some(least), Some(most)) => format!("n = {least} to {most}"),
        _ => "no".to_owned(),
    }
}

fn figure(id: &str, title: &str, x: Axis, y: Axis, series: Vec<Series>, caption: &str) -> Option<Figure> {
    let is_named = |series: &&Series| series.kind != Kind::Hollow || series.name.starts_with("published");
    let legend = series.iter().filter(is_named).map(|series| Entry {
        name: series.name.clone(),
        swatch: swatch(&series.class, series.mark),
    });
    let legend: Vec<_> = legend.filter(|entry| !entry.name.starts_with("published")).collect();
    let chart = Chart {
        title: title.to_owned(),
        x,
        y,
        series,
    };
    Some(Figure {
        id: id.to_owned(),
        title: title.to_owned(),
        svg: chart.svg()?,
        legend,
        caption: caption.to_owned(),
    })
}
