//! One HTML file that says what a result folder says: opens without a network, in light and dark, on a phone.
//!
//! Where a baseline wins stands in its first paragraph. Every figure carries its numbers in a table below it; published
//! values are hollow marks. The template is `report/page.html`, compiled in; nothing is loaded when the page is opened.

mod chart;
mod figures;
mod tables;
mod verdict;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use minijinja::{AutoEscape, Environment, value::Serde};

use crate::{
    price::Prices,
    published::PLATFORM,
    results::{self, Results},
};
use figures::Figure;

/// The page's name in its result folder.
pub(crate) const PAGE: &str = "report.html";

/// Says again what folders of results say.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Result folder; its `report.html` is written anew.
    folder: PathBuf,
    /// Further folders, such as those of sensitivity studies, whose figures are added.
    #[arg(long, num_args = 1.., value_name = "FOLDER")]
    with: Vec<PathBuf>,
}

impl Args {
    /// Writes the page and tells where.
    ///
    /// # Errors
    /// If a folder cannot be read or the page not be written.
    pub(crate) fn run(&self) -> Result<()> {
        let results = Results::load(&self.folder)?;
        let more: Vec<_> = self
            .with
            .iter()
            .map(|folder| Results::load(folder))
            .collect::<Result<_>>()?;
        let page = write_with(&results, &more)?;
        println!("{}", page.display());
        Ok(())
    }
}

/// Writes the page of one folder into it.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write(results: &Results) -> Result<PathBuf> {
    write_with(results, &[])
}

fn write_with(results: &Results, more: &[Results]) -> Result<PathBuf> {
    let page = page(results, more)?;
    let path = results.folder().join(PAGE);
    results::write(&path, page.as_bytes())?;
    Ok(path)
}

fn page(results: &Results, more: &[Results]) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_function("num", num);
    environment.add_template("page", include_str!("report/page.html"))?;
    let mut figures: Vec<Figure> = figures::of(results);
    figures.extend(more.iter().flat_map(figures::of));
    let prices = Prices::built_in()?;
    let run = &results.run;
    let drifted = run.drifted.iter().filter(|drifted| **drifted).count();
    let page = serde_json::json!({
        "run": run,
        "machine": run.machine.to_string(),
        "platform": PLATFORM,
        "verdict": verdict::of(results),
        "caveats": caveats(results, drifted),
        "figures": figures,
        "cells": tables::cells(results),
        "costs": tables::costs(results, &prices),
        "correctness": tables::correctness(results),
        "resources": tables::resources(results),
        "published": tables::published(),
        "prices": {
            "dated": prices.dated,
            "note": prices.note,
            "sources": prices.sources,
            "function_memory": prices.function_memory_gb,
            "sidecar_memory": prices.sidecar_memory_gb,
        },
    });
    let template = environment.get_template("page")?;
    template.render(Serde(page)).context("the report's template")
}

/// A number for a table: four digits that mean something, or nothing.
fn num(value: Option<f64>) -> String {
    match value {
        None => String::new(),
        Some(value) if value < 10.0 => format!("{value:.3}"),
        Some(value) if value < 100.0 => format!("{value:.2}"),
        Some(value) if value < 1000.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// What a reader must know before any number.
fn caveats(results: &Results, drifted: usize) -> Vec<String> {
    let run = &results.run;
    let mut caveats = vec![
        format!(
            "Everything ran on one machine with {} cores: functions, sidecars, ingress and stores share them. Wall time \
             does not show scale-out; CPU time is the honest figure.",
            run.machine.cores
        ),
        "Stores on loopback are kind to the baselines: no network, no replication, no disk. They are far faster than a \
         cloud's S3, so speed-ups over them are far below the published ones."
            .to_owned(),
        format!("Published values come from another machine ({PLATFORM}). Compare shapes and ratios, not milliseconds."),
    ];
    if drifted > 0 {
        caveats.push(format!(
            "In {drifted} of {} blocks the calibration loop was more than 10 % off the run's median: the machine was \
             busy with something else (load averages at the start: {}). Read medians and ratios, and not the tails.",
            run.drifted.len(),
            run.load_average
        ));
    }
    if !run.complete {
        caveats.push("The run was ended early; cells that are missing were not measured.".to_owned());
    }
    for left_out in &run.left_out {
        caveats.push(format!("{} is missing: {}", left_out.column, left_out.reason));
    }
    if let Some(overhead) = run.overhead {
        caveats.push(format!(
            "The harness itself: a call that moves nothing takes {:.3} ms through ingress and sidecar, {:.3} ms straight \
             to the function; reading the clock twice takes {} ns. No time here is corrected for it.",
            overhead.through_ms, overhead.straight_ms, overhead.clock_ns
        ));
    }
    caveats
}

#[cfg(test)]
mod tests;
