//! `run.json`: all that is needed to repeat a run, and what it found besides times.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    calibrate::Calibration,
    machine::Machine,
    stores::{About, LeftOut},
};

/// Version of the folder's layout: raised when a reader of older folders would misread a newer one.
pub(crate) const LAYOUT: u32 = 1;

/// The whole file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) layout: u32,
    pub(crate) run_id: String,
    /// Which plan: `demo`, `quick`, `published`, a pattern or a study.
    pub(crate) profile: String,
    /// The command line, program name included.
    pub(crate) command: Vec<String>,
    /// Of bytes and order.
    pub(crate) seed: u64,
    /// Of the checkout that was built, with `-dirty` if it had changes; `unknown` outside of one.
    pub(crate) commit: String,
    /// Of our programs, by name.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) machine: Machine,
    /// What else the machine was doing when the run began: its load averages over 1, 5 and 15 minutes.
    pub(crate) load_average: String,
    /// The store servers that took part.
    pub(crate) stores: Vec<About>,
    /// Those that could not be had.
    pub(crate) left_out: Vec<LeftOut>,
    /// Settings of the sidecars by column; a column without an entry has XDT off.
    pub(crate) sidecars: BTreeMap<String, BTreeMap<String, String>>,
    /// RFC 3339, UTC.
    pub(crate) started: String,
    /// The same; empty while it runs.
    pub(crate) ended: String,
    /// Whether every planned cell was measured.
    pub(crate) complete: bool,
    /// The harness's own part in the times.
    pub(crate) overhead: Option<Overhead>,
    /// One for each block, in order.
    pub(crate) calibrations: Vec<Calibration>,
    /// Whether that block drifted more than a tenth from the median of all.
    pub(crate) drifted: Vec<bool>,
    /// What is known of each column of each finished cell.
    pub(crate) cells: Vec<CellFacts>,
}

/// What a transfer costs when it moves nothing: the part of every `e2e` that is not the backend's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Overhead {
    /// Median of a request from the client to a function's own port and back: client and HTTP.
    pub(crate) straight_ms: f64,
    /// The same through ingress and sidecar.
    pub(crate) through_ms: f64,
    /// Reading the clock twice.
    pub(crate) clock_ns: u64,
}

/// One column of one finished cell.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct CellFacts {
    /// Name of the cell.
    pub(crate) cell: String,
    pub(crate) experiment: String,
    pub(crate) pattern: String,
    pub(crate) backend: String,
    /// What tables call the object.
    pub(crate) object: String,
    pub(crate) size_bytes: u64,
    pub(crate) degree: usize,
    /// Why the times do not speak for the column, if they do not: another path, wrong bytes, a failure.
    pub(crate) invalid: Option<String>,
    /// Paths taken by all repetitions, warm-ups included.
    pub(crate) paths: Vec<String>,
    /// Repetitions whose bytes were compared with the generator's, and those that were right.
    pub(crate) verified: u64,
    pub(crate) intact: u64,
    /// Stands for all bytes that arrived: equal for two columns only if they delivered the same.
    pub(crate) digest: String,
    /// Objects that a further get found gone, after a broadcast.
    pub(crate) gone: u64,
    /// CPU time over the measured repetitions.
    pub(crate) cpu_user_s: f64,
    pub(crate) cpu_sidecar_s: f64,
    pub(crate) cpu_store_s: f64,
    /// Peak memory of the fullest sidecar, and of the store.
    pub(crate) rss_sidecar_bytes: u64,
    pub(crate) rss_store_bytes: u64,
    /// Bytes that went through the loopback device meanwhile, whoever sent them.
    pub(crate) loopback_bytes: u64,
}
