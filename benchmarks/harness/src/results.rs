//! A result folder: `run.json`, `samples.csv`, `summary.csv`, `transfers.csv`.
//!
//! Written anew after every finished cell, each file whole or not at all, so that a run can be ended at any moment and
//! taken up again: finished cells are not measured twice.

mod facts;
mod sample;
mod summary;

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use facts::{CellFacts, LAYOUT, Overhead, Run};
pub(crate) use sample::{FAILED, OK, Sample, Transfer, WRONG};
pub(crate) use summary::Summary;

const RUN: &str = "run.json";
const SAMPLES: &str = "samples.csv";
const SUMMARY: &str = "summary.csv";
const TRANSFERS: &str = "transfers.csv";

/// A result folder in memory.
#[derive(Debug)]
pub(crate) struct Results {
    folder: PathBuf,
    /// What `run.json` says.
    pub(crate) run: Run,
    /// Every repetition of finished cells.
    pub(crate) samples: Vec<Sample>,
    transfers: Vec<Transfer>,
}

impl Results {
    /// A new folder, or the one that is there, to be taken up.
    ///
    /// # Errors
    /// If the folder holds another run, or cannot be read or made.
    pub(crate) fn open(folder: &Path, run: Run) -> Result<Self> {
        if folder.join(RUN).is_file() {
            let mut there = Self::load(folder)?;
            let same = there.run.profile == run.profile && there.run.seed == run.seed && there.run.commit == run.commit;
            ensure!(
                same,
                "{} holds another run ({} of {}, seed {}); choose another folder, or the same settings to go on",
                folder.display(),
                there.run.profile,
                there.run.commit,
                there.run.seed
            );
            there.run.stores = run.stores;
            there.run.left_out = run.left_out;
            return Ok(there);
        }
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            run,
            samples: Vec::new(),
            transfers: Vec::new(),
        })
    }

    /// Reads a folder.
    ///
    /// # Errors
    /// If a file is missing, or is of another layout.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(RUN);
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let run: Run = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        ensure!(
            run.layout == LAYOUT,
            "{} has layout {}, this program reads {LAYOUT}",
            path.display(),
            run.layout
        );
        Ok(Self {
            run,
            samples: read(&folder.join(SAMPLES))?,
            transfers: read(&folder.join(TRANSFERS)).unwrap_or_default(),
            folder: folder.to_owned(),
        })
    }

    /// Where it lies.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names of the finished cells.
    pub(crate) fn finished(&self) -> BTreeSet<String> {
        self.run.cells.iter().map(|facts| facts.cell.clone()).collect()
    }

    /// Adds a finished cell and saves.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(crate) fn add(&mut self, facts: Vec<CellFacts>, samples: Vec<Sample>, transfers: Vec<Transfer>) -> Result<()> {
        self.run.cells.extend(facts);
        self.samples.extend(samples);
        self.transfers.extend(transfers);
        self.save()
    }

    /// Writes all files.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(crate) fn save(&mut self) -> Result<()> {
        self.run.drifted = crate::calibrate::drifted(&self.run.calibrations);
        write(&self.folder.join(SAMPLES), &rows(&self.samples)?)?;
        write(&self.folder.join(TRANSFERS), &rows(&self.transfers)?)?;
        write(&self.folder.join(SUMMARY), &rows(&self.summaries())?)?;
        let mut json = serde_json::to_vec_pretty(&self.run)?;
        json.push(b'\n');
        write(&self.folder.join(RUN), &json)
    }

    /// One summary for each column of each finished cell, in the order in which they were measured.
    pub(crate) fn summaries(&self) -> Vec<Summary> {
        let each = self.run.cells.iter();
        each.map(|facts| Summary::of(&self.run.run_id, facts, &self.samples_of(facts)))
            .collect()
    }

    /// The repetitions of one column of one cell.
    pub(crate) fn samples_of(&self, facts: &CellFacts) -> Vec<&Sample> {
        let is_own = |sample: &&Sample| {
            sample.experiment == facts.experiment
                && sample.pattern == facts.pattern
                && sample.backend == facts.backend
                && sample.size_bytes == facts.size_bytes
                && sample.degree == facts.degree
        };
        self.samples.iter().filter(is_own).collect()
    }
}

fn rows<T: Serialize>(rows: &[T]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(writer.into_inner()?)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let shown = || path.display().to_string();
    let mut reader = csv::Reader::from_path(path).with_context(shown)?;
    reader.deserialize().collect::<Result<_, _>>().with_context(shown)
}

/// Replaces a file as a whole.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let part = path.with_extension("part");
    let mut file = fs::File::create(&part).with_context(cannot)?;
    file.write_all(bytes).with_context(cannot)?;
    fs::rename(&part, path).with_context(cannot)
}

#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod tests;
