//! Two result folders side by side: which medians moved, and whether by more than chance.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Result, bail};
use comfy_table::{Cell as Field, CellAlignment, ContentArrangement, Table};

use crate::{
    results::{Results, Summary},
    text::STYLE,
};

/// What two runs on an idle machine may differ by at 1 MB and more (contract, G).
const TOLERANCE_PERCENT: f64 = 10.0;

/// Compares the medians of two result folders.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder before.
    before: PathBuf,
    /// The folder after.
    after: PathBuf,
    /// Fails if a cell of 1 MB or more differs by more than this, in percent.
    #[arg(long, value_name = "PERCENT", default_missing_value = "10", num_args = 0..=1)]
    within: Option<f64>,
}

/// One column of one cell in both folders.
#[derive(Debug)]
struct Pair<'a> {
    before: &'a Summary,
    after: &'a Summary,
}

impl Pair<'_> {
    /// By how many percent the median grew.
    fn percent(&self) -> Option<f64> {
        let (before, after) = self.before.p50_ms.zip(self.after.p50_ms)?;
        (before > 0.0).then(|| (after / before - 1.0) * 100.0)
    }

    /// Whether the 95 % intervals of the medians do not even touch.
    fn is_apart(&self) -> bool {
        let interval = |summary: &Summary| summary.ci_lo_ms.zip(summary.ci_hi_ms);
        let pair = interval(self.before).zip(interval(self.after));
        pair.is_some_and(|((low, high), (other_low, other_high))| high < other_low || other_high < low)
    }
}

impl Args {
    /// Prints the table.
    ///
    /// # Errors
    /// A folder that cannot be read, nothing in common, or, with `--within`, a difference above it.
    pub(crate) fn run(&self) -> Result<()> {
        let (before, after) = (Results::load(&self.before)?, Results::load(&self.after)?);
        if before.run.machine != after.run.machine {
            println!("different machines: {} | {}", before.run.machine, after.run.machine);
        }
        let (before, after) = (before.summaries(), after.summaries());
        let pairs = pairs(&before, &after);
        if pairs.is_empty() {
            bail!("the folders have no cell in common");
        }
        println!("{}", table(&pairs));
        let tolerance = self.within.unwrap_or(TOLERANCE_PERCENT);
        let off = |pair: &&Pair<'_>| {
            pair.before.size_bytes >= 1 << 20 && pair.percent().is_some_and(|percent| percent.abs() > tolerance)
        };
        let off = pairs.iter().filter(off).count();
        println!(
            "{off} cells of 1 MB or more differ by more than {tolerance} %; *: the intervals of the medians do not touch"
        );
        if self.within.is_some() && off > 0 {
            bail!("{off} cells differ by more than {tolerance} %");
        }
        Ok(())
    }
}

fn key(summary: &Summary) -> (&str, &str, u64, usize, &str) {
    (
        &summary.experiment,
        &summary.pattern,
        summary.size_bytes,
        summary.degree,
        &summary.backend,
    )
}

/// What both have, in the order of the first.
fn pairs<'a>(before: &'a [Summary], after: &'a [Summary]) -> Vec<Pair<'a>> {
    let after: BTreeMap<_, _> = after.iter().map(|summary| (key(summary), summary)).collect();
    let pair = |before: &'a Summary| after.get(&key(before)).map(|after| Pair { before, after });
    before.iter().filter_map(pair).collect()
}

fn table(pairs: &[Pair<'_>]) -> String {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "pattern",
        "bytes",
        "degree",
        "backend",
        "before ms",
        "after ms",
        "change",
    ]);
    for pair in pairs {
        let ms = |value: Option<f64>| value.map(|value| format!("{value:.3}")).unwrap_or_default();
        let change = pair
            .percent()
            .map(|percent| format!("{percent:+.1} %"))
            .unwrap_or_default();
        let mark = if pair.is_apart() { " *" } else { "" };
        let numbers = [
            pair.before.size_bytes.to_string(),
            pair.before.degree.to_string(),
            pair.before.backend.clone(),
            ms(pair.before.p50_ms),
            ms(pair.after.p50_ms),
            format!("{change}{mark}"),
        ];
        let right = numbers
            .into_iter()
            .map(|text| Field::new(text).set_alignment(CellAlignment::Right));
        table.add_row(std::iter::once(Field::new(&pair.before.pattern)).chain(right));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::fixtures::{facts, sample};

    fn summary(backend: &str, ms: u64) -> Summary {
        let samples: Vec<_> = (0..20)
            .map(|rep| sample(backend, rep, ms * 1_000_000 + rep, false))
            .collect();
        Summary::of("r", &facts(backend), &samples.iter().collect::<Vec<_>>())
    }

    #[test]
    fn what_both_have_is_compared() {
        let before = [summary("s3", 10), summary("redis", 4)];
        let after = [summary("s3", 12), summary("inline", 1)];
        let pairs = pairs(&before, &after);
        assert_eq!(pairs.len(), 1);
        assert!((pairs[0].percent().unwrap() - 20.0).abs() < 0.1);
        assert!(pairs[0].is_apart());
        let text = table(&pairs);
        assert!(text.contains("+20.0 %") && text.contains('*'), "{text}");
    }

    #[test]
    fn the_same_run_does_not_differ_from_itself() {
        let one = [summary("s3", 10)];
        let pairs = pairs(&one, &one);
        assert!(pairs[0].percent().unwrap().abs() < 1e-9 && !pairs[0].is_apart());
    }
}
