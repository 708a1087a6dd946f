//! The table that a run prints, and the README shows: one block of rows per cell, one row per column.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use comfy_table::{Cell as Field, CellAlignment, ContentArrangement, Table};

use crate::{
    results::{CellFacts, Results, Summary},
    text::{STYLE, bytes, compared},
};

const HEADER: [&str; 12] = [
    "pattern",
    "object",
    "degree",
    "backend",
    "path",
    "n",
    "median ms",
    "p99 ms",
    "MB/s",
    "vs s3",
    "vs grpc-stream",
    "verified",
];
/// The columns that hold words; all others hold numbers and are set flush right.
const WORDS: [usize; 4] = [0, 1, 3, 4];
/// Longest label of an object; of longer ones the end is shown, where paths differ.
const MAX_LABEL_CHARS: usize = 28;

/// Marks in a file between which the table stands.
const BEGIN: &str = "<!-- bench table";
const END: &str = "<!-- end of bench table -->";

/// Says again what a folder of results says.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Result folder.
    folder: PathBuf,
    /// Markdown file whose table is replaced.
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
}

impl Args {
    /// Prints the table, or writes it into the file.
    ///
    /// # Errors
    /// If the folder cannot be read, or the file has no place for a table.
    pub(crate) fn run(&self) -> Result<()> {
        let results = Results::load(&self.folder)?;
        let Some(path) = &self.into else {
            println!("{}", of(&results));
            return Ok(());
        };
        let shown = || path.display().to_string();
        let text = fs::read_to_string(path).with_context(shown)?;
        let text = replaced(&text, &results, &self.folder).with_context(shown)?;
        crate::results::write(path, text.as_bytes())
    }
}

/// `text` with another table between its marks.
fn replaced(text: &str, results: &Results, folder: &Path) -> Result<String> {
    let begin = text
        .find(BEGIN)
        .with_context(|| format!("there is no line {BEGIN} …"))?;
    let length = text[begin..]
        .find(END)
        .with_context(|| format!("there is no line {END}"))?;
    let run = &results.run;
    let table = format!(
        "{BEGIN}: made by `xdt-bench table {} --into …` -->\n```\nmachine: {}; load averages before the run: {}; profile {}, {}\n{}\n```\n",
        folder.display(),
        run.machine,
        run.load_average,
        run.profile,
        run.started,
        of(results)
    );
    Ok(format!("{}{table}{}", &text[..begin], &text[begin + length..]))
}

/// Lays out all cells of a run, and says what the signs mean.
pub(crate) fn of(results: &Results) -> String {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(
        HEADER
            .iter()
            .enumerate()
            .map(|(column, text)| aligned(column, (*text).to_owned())),
    );
    let summaries = results.summaries();
    let mut before = "";
    for (facts, summary) in results.run.cells.iter().zip(&summaries) {
        let is_first = facts.cell != before;
        if is_first && !before.is_empty() {
            table.add_row([""]);
        }
        before = &facts.cell;
        let row = row(facts, summary, &results.run.cells, &summaries, is_first);
        table.add_row(row.into_iter().enumerate().map(|(column, text)| aligned(column, text)));
    }
    format!("{}\n{}", table.trim_fmt(), legend(results))
}

fn legend(results: &Results) -> String {
    let mut text = String::from(
        "times are the client's, around the whole call; MB/s = 10^6 delivered bytes per second at the mean; p99 from 100 \
         samples on;\n!: not valid, the reason stands below; `vs`: medians, how many times less or more time",
    );
    if let Some(overhead) = results.run.overhead {
        text += &format!(
            "\nof every time, a call that moves nothing takes {:.3} ms (straight to a function {:.3} ms; reading the clock twice {} ns)",
            overhead.through_ms, overhead.straight_ms, overhead.clock_ns
        );
    }
    let drifted = results.run.drifted.iter().filter(|drifted| **drifted).count();
    if drifted > 0 {
        text += &format!(
            "\nthe machine was busy with something else in {drifted} of {} blocks",
            results.run.drifted.len()
        );
    }
    text
}

fn row(facts: &CellFacts, summary: &Summary, all: &[CellFacts], summaries: &[Summary], is_first: bool) -> [String; 12] {
    let head = |text: String| if is_first { text } else { String::new() };
    let against = |backend: &str| {
        let other = all
            .iter()
            .zip(summaries)
            .find(|(other, _)| other.cell == facts.cell && other.backend == backend);
        let other = other
            .filter(|_| facts.backend != backend)
            .and_then(|(_, summary)| summary.p50_ms);
        let pair = summary.p50_ms.zip(other);
        pair.map(|(own, other)| compared(own, other)).unwrap_or_default()
    };
    let number = |value: Option<f64>| value.map(decimals).unwrap_or_default();
    let mark = if facts.invalid.is_some() { " !" } else { "" };
    let label = if facts.object.chars().count() > MAX_LABEL_CHARS || facts.object.contains('/') {
        format!("{} ({})", short(&facts.object), bytes(facts.size_bytes))
    } else {
        facts.object.clone()
    };
    [
        head(facts.pattern.clone()),
        head(label),
        head(facts.degree.to_string()),
        facts.backend.clone(),
        format!("{}{mark}", facts.paths.join(", ")),
        summary.n.to_string(),
        number(summary.p50_ms),
        number(summary.p99_ms),
        number(summary.bw_mean_mbs),
        against("s3"),
        against("grpc-stream"),
        format!("{}/{}", facts.intact, facts.verified),
    ]
}

/// Three decimals below 100, fewer above.
fn decimals(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.3}"),
        ..100.0 => format!("{value:.2}"),
        ..1000.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn aligned(column: usize, text: String) -> Field {
    Field::new(text).set_alignment(if WORDS.contains(&column) {
        CellAlignment::Left
    } else {
        CellAlignment::Right
    })
}

fn short(label: &str) -> String {
    let chars = label.chars().count();
    if chars <= MAX_LABEL_CHARS {
        return label.to_owned();
    }
    let end: String = label.chars().skip(chars - MAX_LABEL_CHARS + 1).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixtures::{facts, run, sample};

    #[test]
    fn a_file_gets_a_new_table_between_its_marks() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = Results::open(folder.path(), run()).unwrap();
        results
            .add(
                vec![facts("xdt-ct")],
                vec![sample("xdt-ct", 0, 1_000_000, false)],
                Vec::new(),
            )
            .unwrap();
        let text = format!("before\n{BEGIN}: old -->\nold\n{END}\nafter\n");
        let text = replaced(&text, &results, Path::new("a/b")).unwrap();
        assert!(
            text.starts_with("before\n") && text.ends_with(&format!("{END}\nafter\n")),
            "{text}"
        );
        assert!(
            text.contains("one-to-one") && text.contains("a/b") && !text.contains("old"),
            "{text}"
        );
        assert!(replaced("nothing", &results, Path::new("a")).is_err());
    }

    #[test]
    fn long_labels_keep_their_end() {
        assert_eq!(short("short"), "short");
        let long = format!("{}/last.bin", "d".repeat(60));
        assert!(short(&long).starts_with('…') && short(&long).ends_with("/last.bin"));
        assert_eq!(short(&long).chars().count(), MAX_LABEL_CHARS);
    }

    #[test]
    fn numbers_keep_the_digits_that_mean_something() {
        let shown = [0.123_45, 12.345, 123.45, 1234.5].map(decimals);
        assert_eq!(shown, ["0.123", "12.35", "123.5", "1234"]);
    }
}
